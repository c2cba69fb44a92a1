"""What pytest reports when a test with calls fails, as a user's own test run shows it."""

from __future__ import annotations

import os
import re
import wave
from pathlib import Path

import numpy as np
import pytest

from spech.sip.timeline import from_pcap
from spech.testing.asterisk import Asterisk
from spech.testing.audio import write_wav

pytest_plugins = "pytester"

RATE = 8000

#: What is wrong, what the PBX does, the one line that finds it, and what the report has to say.
FAULTS = {
    "one_way_audio": (
        ["Answer()", "Wait(20)"],
        "await trio.sleep(0.3); assert_packets(call)",
        "no packets have come in",
    ),
    "codec_order": (
        ["Answer()", "Wait(20)"],
        'assert_codec(call, "PCMA")',
        "wanted the codec PCMA, but it is PCMU",
    ),
    "lost_digits": (
        ["Answer()", "Wait(0.3)", "SendDTMF(124)", "Wait(0.2)", "Hangup(16)"],
        'await hear_digits(call, "1234")',
        "wanted the digits 1234, but 124 came, and the call ended",
    ),
    "early_hang_up": (
        ["Answer()", "Wait(0.3)", "Hangup(16)"],
        "await stay_up(call, 5)",
        "the remote end hung up after",
    ),
    "wrong_prompt": (
        ["Answer()", "Wait(0.2)", "Playback({wrong})", "Wait(20)"],
        'await hear_prompt(call, "{right}", within=0.4)',
        "wanted the prompt, but it is another sound",
    ),
}

TEST = """
import trio
from spech import open_phone
from spech.testing.calls import *

async def test_{name}(asterisk):
    async with trio.open_nursery() as nursery:  # Puts the error into a group.
        async with open_phone(asterisk.account(), listen=("127.0.0.1", 0)) as phone:
            async with phone.call("{number}", codecs=["PCMU", "PCMA"]) as call:
                await call.answered(timeout=10)
                {line}
"""


@pytest.fixture
def prompts(pbx: Asterisk, tmp_path: Path) -> dict[str, str]:
    """The file of a prompt, and another one as Asterisk plays it."""
    right, wrong = (
        np.random.default_rng(seed).normal(0, 3000, RATE).astype(np.int16) for seed in (3, 4)
    )
    write_wav(tmp_path / "right.wav", right, RATE)
    write_wav(tmp_path / "wrong.wav", wrong, RATE)
    played = pbx.share("other.wav", (tmp_path / "wrong.wav").read_bytes())
    return {"right": str(tmp_path / "right.wav"), "wrong": played.removesuffix(".wav")}


def plant(pbx: Asterisk, number: int, steps: list[str]) -> None:
    """Give an extension these steps."""
    pbx.command(f"dialplan remove extension {number}@phones")
    for priority, step in enumerate(steps, 1):
        quoted = step.replace(",", "\\,")
        pbx.command(f"dialplan add extension {number},{priority},{quoted} into phones")


def sections(report: str) -> dict[str, str]:
    """The report of each failed test, by its name."""
    parts = re.split(r"^_+ test_(\w+) _+$", report, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_planted_faults_are_named_by_the_reports(
    pbx: Asterisk,
    prompts: dict[str, str],
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for number, (name, (steps, line, _)) in enumerate(FAULTS.items(), 691):
        plant(pbx, number, [step.format(**prompts) for step in steps])
        test = TEST.format(name=name, number=number, line=line.format(**prompts))
        pytester.makepyfile(**{f"test_{name}": test})
    monkeypatch.setenv("SPECH_TEST_PBX", pbx.domain)
    result = pytester.runpytest_subprocess("-o", "trio_mode=true", "-p", "no:cacheprovider")
    result.assert_outcomes(failed=len(FAULTS))
    found = sections(result.stdout.str())
    for name, (_, _, fault) in FAULTS.items():
        report = found[name]
        assert re.search(f"^E +AssertionError: .*{fault}", report, re.MULTILINE)
        assert "ExceptionGroup" not in report
        assert "outgoing call to 69" in report
        assert "INVITE sip:69" in report  # The ladder.
        assert re.search(r"packets: \d+ were sent, \d+ have come", report)
        assert "codec: PCMU" in report
    assert ", 0 have come (one-way audio)" in found["one_way_audio"]
    assert "digits that came: 124" in found["lost_digits"]
    assert "ended by the remote end, 200 OK, cause 16" in found["early_hang_up"]
    check_files(found["wrong_prompt"])


def check_files(report: str) -> None:
    """The folder that is named has the sound of both sides, and what was on the wire."""
    named = re.search(r"^files \(.*\): (.+)$", report, re.MULTILINE)
    assert named is not None
    sound, capture = (next(Path(named[1]).glob(f"*.{suffix}")) for suffix in ("wav", "pcap"))
    with wave.open(str(sound)) as file:
        assert (file.getnchannels(), file.getframerate()) == (2, RATE)
        both = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)
    assert len(both) > RATE
    assert not both[:, 0].any()
    assert np.abs(both[:, 1]).max() > 3000
    packets = from_pcap(capture.read_bytes())
    sizes = [len(entry.data) for entry in packets if entry.data[:1] == b"\x80"]
    assert sizes.count(172) > 60  # 20 ms of G.711 in both directions.
    assert any(entry.data.startswith(b"BYE ") for entry in packets)
    assert b"correct-horse" not in capture.read_bytes()


def test_several_errors_at_once_stay_a_group_and_a_folder_can_be_chosen(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile("""
import trio
from spech import open_phone

async def fail(error):
    raise error

async def test_both():
    async with open_phone(listen=("127.0.0.1", 0)) as phone:
        async with phone.call(f"sip:x@127.0.0.1:{phone.address[1]}") as call:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(fail, ValueError("one"))
                nursery.start_soon(fail, KeyError("two"))

def test_without_a_call():
    raise ExceptionGroup("alone", [ValueError("three")])
""")
    result = pytester.runpytest_subprocess("-o", "trio_mode=true", "--call-folder", "kept")
    result.assert_outcomes(failed=2)
    both = sections(result.stdout.str())
    lines = both["both"].splitlines()
    assert {"ValueError: one", "KeyError: 'two'"} <= set(lines)
    assert "ExceptionGroup: alone" in both["without_a_call"]
    assert "call to" not in both["without_a_call"]
    assert {file.suffix for file in (pytester.path / "kept").rglob("*.*") if file.is_file()} == {
        ".pcap",
        ".wav",
    }


def test_a_run_without_calls_loads_nothing_of_spech(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
import sys

def test_nothing():
    ours = {name for name in sys.modules if name.partition(".")[0] == "spech"}
    assert ours == {
        "spech", "spech.errors", "spech.observers", "spech.testing", "spech.testing.plugin"
    }
    assert not {"numpy", "OpenSSL"} & set(sys.modules)
""")
    assert os.environ.get("PYTEST_DISABLE_PLUGIN_AUTOLOAD") is None
    pytester.runpytest_subprocess().assert_outcomes(passed=1)
