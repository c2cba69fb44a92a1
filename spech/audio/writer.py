"""Writers of WAV and, with :mod:`spech.audio.ogg`, of Opus in Ogg.

The files can be played even if the process is killed. Both take interleaved int16 samples. All but
the last second can be read back at any time: :meth:`Writer.sync` corrects the header of WAV, and
the pages of Ogg are half a second long. New files can be read and written by their owner only.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from spech.audio.inputs import NEEDS_FILES
from spech.codecs.base import Samples
from spech.errors import MediaError

_LARGEST = 0xFFFFFFFF - 64
_HEADER = struct.Struct("<4sI4s4sIHHIIHH4sI")
#: What readers of WAV take for a length that the writer did not know.
_UNKNOWN_SIZE = 0xFFFFFFFF
#: Rates that the encoder supports; others are resampled to the next higher one.
_OPUS_RATES = (8000, 12000, 16000, 24000, 48000)


class Writer(Protocol):
    """A file that one thread writes sound to.

    The methods raise OSError on disk errors. Then only :meth:`abandon` may be called.
    """

    def write(self, samples: Samples) -> bool:
        """Append interleaved samples; False when the file cannot hold more."""
        ...

    def sync(self) -> None:
        """Make everything written so far readable; called about once a second."""
        ...

    def close(self) -> None:
        """Complete the file."""
        ...

    def abandon(self) -> None:
        """Leave the file as it is. Does not raise."""
        ...


def wav_header(rate: int, channels: int, size: int | None = None) -> bytes:
    """The header of a WAV file with 16-bit PCM.

    Args:
        rate: samples per second of each channel.
        channels: how many samples are interleaved.
        size: bytes of PCM, None in a pipe, where nobody knows.
    """
    block = 2 * channels
    return _HEADER.pack(
        b"RIFF",
        _UNKNOWN_SIZE if size is None else 36 + size,
        b"WAVE",
        b"fmt ",
        16,
        1,
        channels,
        rate,
        rate * block,
        block,
        16,
        b"data",
        _UNKNOWN_SIZE if size is None else size,
    )


class WavFile:
    """16-bit PCM in RIFF, up to its 4 GB."""

    def __init__(self, path: Path, rate: int, channels: int) -> None:
        self._rate = rate
        self._channels = channels
        self._bytes = 0
        self._file = open(path, "wb", opener=_create_private)  # noqa: SIM115
        try:
            self.sync()
        except OSError:
            self._file.close()
            raise

    def write(self, samples: Samples) -> bool:
        data = samples.astype("<i2", copy=False).tobytes()
        if self._bytes + len(data) > _LARGEST:
            return False
        self._file.write(data)
        self._bytes += len(data)
        return True

    def sync(self) -> None:
        self._file.seek(0)
        self._file.write(wav_header(self._rate, self._channels, self._bytes))
        self._file.seek(0, 2)
        self._file.flush()

    def close(self) -> None:
        self.sync()
        self._file.close()

    def abandon(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()


_SUFFIXES = (".wav", ".opus", ".ogg")


def plan_writer(path: str | Path, rate: int, channels: int) -> tuple[Callable[[], Writer], int]:
    """Choose the kind of file by its suffix: ``.wav``, ``.opus`` or ``.ogg``.

    Args:
        path: of the file; an existing one is replaced.
        rate: the sampling rate of the sound in Hz.
        channels: 1 or 2.

    Returns:


        A function that creates the file, and the rate in Hz that it accepts: that of the sound, or
        for Opus the next higher one that it supports. The function raises MediaError.

    Raises:
        MediaError: the name has another suffix, or Opus needs an extra that is not installed.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES:
        raise MediaError(f"cannot record to {path}: the name must end in {', '.join(_SUFFIXES)}")
    is_opus = suffix != ".wav"
    if is_opus:
        if not _has_av():
            raise MediaError(f"cannot record to {path}: {NEEDS_FILES}")
        rate = next((each for each in _OPUS_RATES if each >= rate), _OPUS_RATES[-1])

    def create() -> Writer:
        try:
            return _create_opus(path, rate, channels) if is_opus else WavFile(path, rate, channels)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise MediaError(f"cannot record to {path}: {reason}") from error

    return create, rate


def _has_av() -> bool:
    """Whether PyAV is installed; does not load it."""
    try:
        return find_spec("av") is not None
    except ModuleNotFoundError:
        return False


def _create_opus(path: Path, rate: int, channels: int) -> Writer:
    from spech.audio.ogg import OpusFile  # It loads FFmpeg; the thread that writes waits for it.

    # Unbuffered: what FFmpeg hands over is in the file, not in this process.
    return OpusFile(open(path, "wb", buffering=0, opener=_create_private), rate, channels)


def _create_private(path: str, flags: int) -> int:
    """Open a file that, if it is new, only its owner can read."""
    return os.open(path, flags, 0o600)
