"""Programs that are measured, and where those of others are installed."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from spech.testing.asterisk import cache

#: This folder.
HERE: Final = Path(__file__).parent


def interpreter(peer: str) -> Path | None:
    """The interpreter of an environment that tools/setup.sh makes, None if it is not there."""
    program = cache() / "peers" / peer / "bin" / "python"
    return program if program.exists() else None


def versions() -> str:
    """What is installed there that the bench compares with, with versions."""
    found = (cache() / "peers").glob("*/lib/python3.*/site-packages/*.dist-info")
    names = dict(path.stem.rsplit("-", 1) for path in found)
    return ", ".join(
        f"{name} {names[name.replace('-', '_')]}"
        for name in ("agent-transport", "pjsua2-python", "sipmessage")
        if name.replace("-", "_") in names
    )


def library(package: str) -> str:
    """The folder in which ``tools/setup.sh peers`` installed a pure package, "" without it."""
    for folder in (cache() / "peers" / "bench" / "lib").glob("python3.*/site-packages"):
        if (folder / package).exists():
            return str(folder)
    return ""
