"""`spech call` against a real PBX, as people and scripts run it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from spech.testing.asterisk import Asterisk
from spech.testing.audio import assert_tone, read_wav, sine, sounding, write_wav
from spech.testing.dialplan import PASSWORD
from spech.testing.waiting import wait

SPECH = [sys.executable, "-m", "spech", "call"]
SECONDS = 20


def environment(password: str = PASSWORD) -> dict[str, str]:
    return {**os.environ, "SPECH_SIP_PASSWORD": password}


def run(
    pbx: Asterisk, *arguments: str, password: str = PASSWORD
) -> subprocess.CompletedProcess[str]:
    command = [*SPECH, "--account", f"sip:alice@{pbx.domain}", *arguments]
    return subprocess.run(
        command,
        env=environment(password),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def test_a_call_is_reported(asterisk: Asterisk, tmp_path: Path) -> None:
    write_wav(tmp_path / "say.wav", sine(900, 8000, 1.5, level=-18), 8000)
    play = ("--play", str(tmp_path / "say.wav"), "--record", str(tmp_path / "heard.wav"))
    result = run(asterisk, "600", "--codec", "PCMA", *play, "--json")
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout.splitlines()[-1])
    assert report["remote"] == "600"
    assert report["answered"] is True
    assert report["status"] == 200
    assert report["codec"] == "PCMA"
    assert report["ended_by"] == "local"
    assert report["rtp"]["sent"] >= 70
    assert report["rtp"]["received"] >= 60
    assert report["rtp"]["lost"] == 0
    assert report["quality"]["mos"] > 4.2
    heard, rate = read_wav(tmp_path / "heard.wav")
    assert_tone(sounding(heard, rate), rate, 900, tolerance=2)


def test_digits_are_sent_and_received(asterisk: Asterisk) -> None:
    result = run(asterisk, "602", "--dtmf", "1234*0#", "--duration", "8", "--json")
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout.splitlines()[-1])
    assert report["dtmf_received"] == "1234*0"
    assert report["ended_by"] == "remote"


@pytest.mark.parametrize(("number", "status"), [("603", 486), ("699", 404)])
def test_a_refused_call_exits_with_status_1(asterisk: Asterisk, number: str, status: int) -> None:
    result = run(asterisk, number, "--json")
    assert result.returncode == 1
    report = json.loads(result.stdout.splitlines()[-1])
    assert report["answered"] is False
    assert report["status"] == status


def test_a_refusal_names_the_sip_status(asterisk: Asterisk) -> None:
    result = run(asterisk, "603")
    assert result.returncode == 1
    assert "486" in result.stdout + result.stderr


def test_wrong_usage_exits_with_status_2(asterisk: Asterisk) -> None:
    assert run(asterisk, "600", "--codec", "NOISE").returncode == 2


def test_a_wrong_password_exits_with_status_3(asterisk: Asterisk) -> None:
    result = run(asterisk, "600", password="guessed")
    assert result.returncode == 3
    assert "password" in result.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_hangs_up(pbx: Asterisk, trace: Callable[[], str], number: signal.Signals) -> None:
    command = [*SPECH, "--account", f"sip:alice@{pbx.domain}", "600"]
    with subprocess.Popen(
        command, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    ) as process:
        wait(lambda: "ACK sip:" in trace())
        process.send_signal(number)
        process.wait(SECONDS)
    wait(lambda: "BYE sip:" in trace())
    pbx.await_channels(0)
