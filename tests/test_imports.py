"""What an import loads: time and memory that every program and every test run pays."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

#: Modules that take a tenth of a second or many megabytes, or that only parts of Spech need.
HEAVY = {
    "OpenSSL",
    "av",
    "click",
    "cryptography",
    "dns",
    "hypercorn",
    "pylibsrtp",
    "quart",
    "quart_trio",
    "rich",
    "soxr",
    "trio_websocket",
}


def loaded(program: str) -> set[str]:
    """The modules that a new interpreter has loaded after ``program``."""
    program += "\nimport sys; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return set(run.stdout.split())


def test_importing_spech_loads_its_errors_only() -> None:
    modules = loaded("import spech")
    assert {name for name in modules if name.startswith("spech")} == {"spech", "spech.errors"}
    assert not modules & {*HEAVY, "numpy", "trio"}


def test_the_pytest_plugin_loads_nothing_but_pytest() -> None:
    ours = loaded("import spech.testing.plugin") - loaded("import pytest, contextlib, os, typing")
    assert ours == {"spech", "spech.errors", "spech.testing", "spech.testing.plugin"}


@pytest.mark.parametrize(
    "module",
    [
        "OpenSSL",
        "av",
        "cffi",
        "cryptography",
        "dns",
        "hypercorn",
        "importlib.metadata",
        "opuslib",
        "pylibsrtp",
        "quart",
        "trio_websocket",
    ],
)
def test_the_library_loads_these_when_a_call_needs_them(module: str) -> None:
    assert module not in loaded("from spech import *")


def test_names_that_do_not_exist_are_reported() -> None:
    run = subprocess.run(
        [sys.executable, "-c", "import spech; spech.open_fone"], capture_output=True, text=True
    )
    assert "AttributeError: module 'spech' has no attribute 'open_fone'" in run.stderr


def test_threads_that_read_or_write_a_file_load_ffmpeg(tmp_path: Path) -> None:
    program = """
import os, sys, threading
import numpy as np

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name in ("spech.audio.ffmpeg", "spech.audio.ogg"):
            print(name, "by", threading.current_thread().name)

sys.meta_path.insert(0, Watch())
from spech.audio.readahead import ReadAhead
from spech.audio.recorder import Recording

os.chdir(sys.argv[1])
with Recording("a.opus", 48000) as recording:
    recording.write(np.zeros(48000, np.int16))
recording.wait(60)
sound = ReadAhead("a.opus", 8000)
while not len(sound._ready) and not sound._ended:
    sound.read(160, 8000)
sound.close()
"""
    run = subprocess.run(
        [sys.executable, "-c", program, tmp_path], capture_output=True, text=True, timeout=60
    )
    assert run.stdout.splitlines() == [
        "spech.audio.ogg by recording a.opus",
        "spech.audio.ffmpeg by playing a.opus",
    ], run.stderr
