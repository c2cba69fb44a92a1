"""Spech without its extras: everything else works, and a sentence says what to install."""

from __future__ import annotations

import subprocess
import sys
import wave
from pathlib import Path

import pytest

from spech.audio.tones import tone

EXTRAS = {
    "bridge": ["httpx", "re2", "prometheus_client", "quart_schema"],
    "files": ["av"],
    "livekit": ["livekit"],
    "pipecat": ["pipecat"],
    "web": ["hypercorn", "quart", "quart_trio"],
}

#: Hides installed packages from the import system.
HIDE = """
import sys

class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {hidden!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Hide())
"""


def run(program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a program in an interpreter without the packages of any extra."""
    hidden = [package for packages in EXTRAS.values() for package in packages]
    program = HIDE.format(hidden=hidden) + program
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def spech(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command without the packages of any extra."""
    return run("from spech.cli import main; main(prog_name='spech')", *arguments)


@pytest.mark.parametrize("command", ["serve", "demo"])
def test_the_web_phone_says_what_to_install(command: str) -> None:
    ended = spech(command)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == (
        "error: The web phone needs packages that are not installed\n"
        "hint: pip install 'spech[web]'\n"
    )


@pytest.mark.parametrize("arguments", [["--help"], ["serve", "--help"], ["codecs"], ["tones"]])
def test_the_command_needs_no_extra(arguments: list[str]) -> None:
    ended = spech(*arguments)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_compressed_sound_says_what_to_install(tmp_path: Path) -> None:
    sound, recording = tmp_path / "a.mp3", tmp_path / "b.opus"
    sound.write_bytes(b"ID3" + bytes(1000))
    for option, path in (("--play", sound), ("--record", recording)):
        ended = spech("call", "600", "--account", "sip:alice@127.0.0.1", option, path)
        assert ended.returncode == 2, ended.stderr
        message = " ".join(ended.stderr.replace("│", " ").split())
        assert str(path) in message
        assert "pip install 'spech[files]'" in message
    assert not recording.exists()


def test_a_program_gets_an_error_of_spech_and_plays_wav(tmp_path: Path) -> None:
    for name, content in {"a.mp3": b"ID3" + bytes(1000), "text.wav": b"no sound"}.items():
        (tmp_path / name).write_bytes(content)
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((2, 2, 44100, 0, "NONE", ""))
        file.writeframes(tone((1000,), 1, 44100).repeat(2).tobytes())
    program = """
import os
from spech import MediaError
from spech.audio.player import Player
from spech.audio.readahead import ReadAhead
from spech.audio.recorder import Recording

os.chdir(sys.argv[1])
for attempt in (
    lambda: Player("a.mp3"), lambda: ReadAhead("a.mp3", 8000), lambda: Recording("b.ogg", 8000)
):
    try:
        attempt()
    except MediaError as error:
        print(error)
print(abs(len(Player("a.wav").read(9000, 8000)) - 8000) < 80)
"""
    ended = run(program, tmp_path)
    needs = "compressed sound needs PyAV, which is not installed; run: pip install 'spech[files]'"
    assert (ended.stdout.splitlines(), ended.stderr) == (
        [
            f"cannot open a.mp3: {needs}",
            f"cannot open a.mp3: {needs}",
            f"cannot record to b.ogg: {needs}",
            "True",
        ],
        "",
    )
    assert not (tmp_path / "b.ogg").exists()


@pytest.mark.parametrize(
    ("module", "framework"), [("pipecat", "Pipecat"), ("livekit", "LiveKit Agents")]
)
def test_an_adapter_says_what_to_install(module: str, framework: str) -> None:
    ended = run(f"import spech.contrib.{module}")
    assert ended.stderr.splitlines()[-1] == (
        f"ModuleNotFoundError: spech.contrib.{module} needs {framework}; "
        f"run: pip install 'spech[{module}]'"
    )
