"""Commands against a `spech exchange` process, most of them in this process."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys
import wave
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio
from click.testing import CliRunner, Result

from spech import Account, PortRange, SpechError, open_phone
from spech.cli import main
from spech.testing.audio import assert_tone, sine, sounding, write_wav
from spech.testing.waiting import first

from .program import command, environment, events_of

PASSWORD = "wonderland"
PORTS = PortRange(37_490, 37_499)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the exchange runs; its number 700 plays a tone of 700 Hz."""
    sound = tmp_path_factory.mktemp("sounds") / "tone.wav"
    write_wav(sound, sine(700, 8000, 1.0), 8000)
    words = ("exchange", "--listen", "127.0.0.1:0", "--password", PASSWORD)
    more = ("--extension", f"700={sound}", "--extension", "701=echo", "--json")
    with subprocess.Popen(command(*words, *more), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        event = json.loads(process.stdout.readline())
        assert event["event"] == "listening"
        assert event["users"] == {"alice": PASSWORD, "bob": PASSWORD}
        assert event["extensions"]["700"] == "plays tone.wav"
        assert event["extensions"]["701"] == event["extensions"]["600"]
        yield event["address"]
        process.terminate()
        assert process.wait(10) == 0


def spech(address: str, *words: str, password: str = PASSWORD, stdin: str = "") -> Result:
    """Run the command in this process, as alice."""
    arguments = [*words, "--account", f"sip:alice@{address}"]
    variables = {"SPECH_SIP_PASSWORD": password, "COLUMNS": "200"}
    return CliRunner().invoke(main, arguments, input=stdin, env=variables)


def test_a_registration_is_proved(address: str) -> None:
    result = spech(address, "register", "--json")
    assert result.exit_code == 0, result.output
    (event,) = events_of(result.stdout)
    assert (event["event"], event["account"]) == ("registered", f"sip:alice@{address}")
    assert event["expires_s"] in (299, 300)
    assert event["took_ms"] > 0


def test_one_command_answers_the_other(address: str) -> None:
    """bob stays registered until he is stopped; then he cannot be reached."""
    words = ("--account", f"sip:bob@{address}", "--json")
    with started("answer", *words, "--dtmf", "12#", "--duration", "1.5") as bob:
        assert [next(bob)["event"] for _ in range(2)] == ["registered", "waiting"]
        result = spech(address, "call", "bob", "--no-register", "--json")
        assert result.exit_code == 0, result.output
        assert events_of(result.stdout)[-1]["dtmf_received"] == "12#"
        assert events_of(result.stdout)[-1]["ended_by"] == "remote"
        names = [event["event"] for event in bob]
        assert names == ["ringing", "answered", "ended"]
    with started("register", *words, "--keep") as bob:
        assert next(bob)["event"] == "registered"
        ringing = spech(address, "call", "bob", "--no-register", "--json", "-q")
        assert events_of(ringing.stdout)[-1]["reason"] == "Temporarily Unavailable"
    gone = spech(address, "message", "bob", "hello")
    assert gone.stderr == "error: Refused: 480 Temporarily Unavailable\n"


@contextmanager
def started(*words: str) -> Iterator[Iterator[dict[str, Any]]]:
    """The events of a command that runs until it has ended or is stopped."""
    with subprocess.Popen(
        command(*words), stdout=subprocess.PIPE, text=True, env=environment(PASSWORD)
    ) as process:
        assert process.stdout is not None
        yield map(json.loads, process.stdout)
        process.terminate()
        assert process.wait(10) == 0


def test_a_refused_registration_has_a_hint(address: str) -> None:
    result = spech(address, "register", password="guess")
    assert result.exit_code == 3
    assert result.stdout == ""
    error, hint = result.stderr.splitlines()
    assert error == "error: Could not register: 403 Forbidden"
    assert hint.startswith("hint: The server does not accept this user and password.")


def test_a_refused_call_has_a_hint(address: str) -> None:
    result = spech(address, "call", "600", "--no-register", password="guess")
    assert result.exit_code == 1
    assert "error: Not answered: 403 Forbidden\nhint: The server does not accept" in result.stderr


def test_a_server_is_pinged(address: str) -> None:
    result = spech(address, "ping", "-c", "2", "-i", "0.1", "--json")
    assert result.exit_code == 0, result.output
    events = events_of(result.stdout)
    assert [event["event"] for event in events] == ["answer", "answer", "summary"]
    assert [event["status"] for event in events[:2]] == [200, 200]


def test_a_server_that_is_not_there_is_reported() -> None:
    result = CliRunner().invoke(main, ["ping", "sip:127.0.0.1:9", "-c", "1"])
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1] == "1 sent, 0 answered, 100 % lost"
    assert result.stderr == "error: There was no answer.\n"


async def test_a_message_reaches_its_recipient(address: str) -> None:
    account = Account(f"sip:bob@{address}", password=PASSWORD)
    async with open_phone(account, listen=("127.0.0.1", 0), ports=PORTS) as bob:
        await bob.registered(timeout=10)
        messages = bob.messages()
        sent = await trio.run_process(
            command("message", "bob", "--account", f"sip:alice@{address}", "--json"),
            stdin="Grüße\nzweite Zeile\n".encode(),
            capture_stdout=True,
            env=environment(PASSWORD),
        )
        message = await first(messages)
    assert (message.text, message.recipient) == ("Grüße\nzweite Zeile", "bob")
    (event,) = events_of(sent.stdout)
    assert (event["delivery"], event["status"]) == ("delivered", 200)


@pytest.mark.parametrize(
    ("words", "stdin", "code", "says"),
    [
        (("nobody", "hello"), "", 1, "error: Refused: 404 Not Found"),
        (("sip:bob@127.0.0.1:9", "hello"), "", 3, "error: sip:bob@127.0.0.1:9 does not answer."),
        (("bob",), "x" * 901, 2, "the text has 901 bytes; at most 900 are allowed"),
        (("bob",), "", 2, "the text is empty"),
        (("bob",), "\n", 2, "the text is empty"),
        (("bob", " "), "", 2, "the text is empty"),
    ],
)
def test_a_message_that_is_not_delivered_is_an_error(
    address: str, words: tuple[str, ...], stdin: str, code: int, says: str
) -> None:
    result = spech(address, "message", *words, stdin=stdin)
    assert (result.exit_code, result.stdout) == (code, "")
    assert says in result.stderr


@pytest.mark.parametrize("sound", [b"", b"this is no sound"])
def test_standard_input_without_sound_is_an_error(address: str, sound: bytes) -> None:
    ended = subprocess.run(
        command("call", "701", "--account", f"sip:alice@{address}", "--play", "-"),
        input=sound,
        capture_output=True,
        env=environment(PASSWORD),
        timeout=30,
    )
    assert ended.returncode == 1
    assert b"error: cannot open /dev/stdin" in ended.stderr


@pytest.mark.parametrize("stereo", [False, True])
def test_sound_goes_through_standard_streams(address: str, stereo: bool, tmp_path: Path) -> None:
    """The echo of what standard input says comes back; both are on their channels in stereo."""
    said = io.BytesIO()
    with wave.open(said, "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(sine(900, 8000, 1.0).tobytes())
    words = ["call", "701", "--account", f"sip:alice@{address}", "--play", "-", "--record", "-"]
    ended = subprocess.run(
        command(*words, *(["--stereo"] if stereo else [])),
        input=said.getvalue(),
        capture_output=True,
        env=environment(PASSWORD),
        timeout=30,
        check=True,
    )
    assert "701: answered, PCMU" in ended.stderr.decode()
    with wave.open(io.BytesIO(ended.stdout)) as heard:
        assert (heard.getframerate(), heard.getnchannels()) == (8000, 1 + stereo)
        pcm = np.frombuffer(heard.readframes(1 << 20), "<i2").reshape(-1, 1 + stereo)
    for channel in pcm.T:
        assert_tone(sounding(channel, 8000)[800:4800], 8000, 900)


def test_a_reader_that_goes_ends_the_call(address: str) -> None:
    words = ["call", "601", "--account", f"sip:alice@{address}", "--record", "-", "--json"]
    with subprocess.Popen(
        command(*words),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(PASSWORD),
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(4) == b"RIFF"
        process.stdout.close()
        ended: dict[str, Any] = events_of(process.stderr.read())[-1]
        assert process.wait(10) == 0
    assert (ended["event"], ended["ended_by"]) == ("ended", "local")


@pytest.mark.parametrize("value", ["700", "=echo", "700=nonsense", f"700={__file__}"])
def test_an_extension_that_does_nothing_is_rejected(value: str) -> None:
    result = CliRunner().invoke(main, ["exchange", "--extension", value])
    assert result.exit_code == 2
    assert result.stderr.startswith("error: Invalid value for '--extension': ")


def test_each_user_gets_a_password_that_is_hard_to_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, str] = {}

    def open_exchange(listen: object, accounts: dict[str, str], **more: object) -> None:
        given.update(accounts)
        raise SpechError("that is all")

    # The name spech.cli.exchange is the command, not its module.
    monkeypatch.setattr(sys.modules["spech.cli.exchange"], "open_exchange", open_exchange)
    result = CliRunner().invoke(main, ["exchange", "--user", "carol", "--user", "dave"])
    assert result.stderr == "error: that is all\n"
    assert list(given) == ["carol", "dave"]
    assert len(given["carol"]) == len(given["dave"]) == 8
    assert given["carol"] != given["dave"]


def test_a_display_is_shown_on_a_terminal_and_vanishes(address: str) -> None:
    ours, theirs = pty.openpty()
    words = ("call", "601", "--account", f"sip:alice@{address}", "--duration", "1.5")
    with subprocess.Popen(
        command(*words),
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=subprocess.STDOUT,
        env={**environment(PASSWORD), "TERM": "xterm"},
    ) as process:
        os.close(theirs)
        said = b""
        with suppress(OSError):  # Linux reports the end of a terminal as an error.
            while piece := os.read(ours, 4096):
                said += piece
        assert process.wait(10) == 0
    os.close(ours)
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", said.decode())
    assert re.search(r"they say +█{20,}", text)
    assert "of 4.5, loss 0.0 %" in text
    assert "we say" not in text[text.index("ended after 1.5 s, we hung up") :]
    assert said.count(b"\x1b[?25l") == said.count(b"\x1b[?25h")


def test_an_address_in_use_is_reported(address: str) -> None:
    result = CliRunner().invoke(main, ["exchange", "--listen", address])
    assert result.exit_code == 3
    assert result.stderr == f"error: Cannot listen on {address}: Address already in use.\n"
