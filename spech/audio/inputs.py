"""Tells FFmpeg how to open a path: regular files by name, pipes and odd WAV files through Python.

FFmpeg opens most files itself. It needs help with four kinds: pipes, because reads must be
interruptible; WAV on a pipe, because it would wait for 64 KB before the first sample; raw G.711
and linear PCM, because only the file's name tells the rate; and WAV files with fewer valid bits
than bits per sample, because it assumes the wrong sample size.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import stat
import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final

#: FFmpeg's demuxer and the rate of files without a header, by suffix.
_RAW: Final = {
    ".ul": ("mulaw", 8000),
    ".ulaw": ("mulaw", 8000),
    ".mu": ("mulaw", 8000),
    ".al": ("alaw", 8000),
    ".alaw": ("alaw", 8000),
    ".alw": ("alaw", 8000),
    **{f".sln{kilohertz}": ("s16le", kilohertz * 1000) for kilohertz in (12, 16, 24, 32, 48, 96)},
}
#: The first bytes of files with a header. A raw suffix is wrong for such a file.
_HEADERS: Final = (b"RIFF", b"RF64", b".snd", b"OggS", b"fLaC", b"ID3", b"FORM", b"caff")

#: FFmpeg's demuxers of sound without a header, by WAV format tag and bits per sample.
_SAMPLES: Final = {
    (1, 8): "u8",
    (1, 16): "s16le",
    (1, 24): "s24le",
    (1, 32): "s32le",
    (3, 32): "f32le",
    (6, 8): "alaw",
    (7, 8): "mulaw",
}
#: Names of demuxers that :func:`open_input` may return.
RAW_FORMATS: Final = ("alaw", "f32le", "mulaw", "s16le", "s24le", "s32le", "u8")

_EXTENSIBLE: Final = 0xFFFE
_FORM: Final = struct.Struct("<HHI6xH")
_MOST_HEADER: Final = 1 << 20
#: The size of a chunk whose length the writer did not know.
_UNKNOWN_SIZES: Final = (0, 0x7FFFFFFF, 0xFFFFFFFF)
_POLL_MS: Final = 200


def open_input(
    path: str, interrupted: Callable[[], bool]
) -> tuple[str | io.RawIOBase, str | None, dict[str, str]]:
    """Arguments for ``av.open``: the file, the name of its format if known, and options.

    Args:
        path: of the file.
        interrupted: polled while waiting for a pipe; when it returns True, the pipe ends.

    Raises:
        OSError: there is no such file, or it may not be read.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 (a path may have no file behind it)
        pipe = Pipe(path, interrupted)
        form, options = _read_header(pipe)
        return pipe, form, options
    with open(path, "rb") as file:  # noqa: PTH123
        head = file.read(12)
        wrong = _wrong_bits(file) if head[:4] == b"RIFF" and head[8:] == b"WAVE" else None
    if wrong is not None:
        return _Patched(path, *wrong), "wav", {}
    # "file:" keeps FFmpeg from taking the path for a network address.
    name = f"file:{Path(path).absolute()}"
    raw = _RAW.get(Path(path).suffix.lower())
    if raw is None or head.startswith(_HEADERS):
        return name, None, {}
    form, rate = raw
    return name, form, {"sample_rate": str(rate)}


class Pipe(io.RawIOBase):
    """A FIFO, a pipe or a device, read until its writers close it or it is interrupted.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: str, interrupted: Callable[[], bool]) -> None:
        super().__init__()
        # Opening a FIFO would otherwise wait for a writer.
        self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self.name = path
        self._interrupted = interrupted
        self._returned = b""
        self._left: int | None = None

    def limit(self, size: int) -> None:
        """End after ``size`` more bytes."""
        self._left = size

    def unread(self, data: bytes) -> None:
        """Read ``data`` again."""
        self._returned = data + self._returned

    def exactly(self, size: int) -> bytes:
        """Read ``size`` bytes; fewer only at the end."""
        data = b""
        while len(data) < size and (part := self.read(size - len(data))):
            data += part
        return data

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        size = len(buffer) if self._left is None else min(len(buffer), self._left)
        data = self._returned[:size]
        if data:
            self._returned = self._returned[size:]
        elif size:
            data = self._receive(size)
        buffer[: len(data)] = data
        if self._left is not None:
            self._left -= len(data)
        return len(data)

    def _receive(self, size: int) -> bytes:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        while not self._interrupted():
            # A FIFO reports nothing until a writer has opened and closed it.
            if not poll.poll(_POLL_MS):
                continue
            with contextlib.suppress(BlockingIOError):
                return os.read(self._descriptor, size)
        return b""

    def close(self) -> None:
        if not self.closed:
            os.close(self._descriptor)
        super().close()


class _Patched(io.FileIO):
    """A file that reads as if some of its bytes were different."""

    def __init__(self, path: str, position: int, patch: bytes) -> None:
        super().__init__(path, "rb")
        self._position, self._patch = position, patch

    def readinto(self, buffer: bytearray) -> int | None:  # type: ignore[override]
        start = self.tell()
        count = super().readinto(buffer)
        view = memoryview(buffer)
        for offset, byte in enumerate(self._patch, self._position - start):
            if 0 <= offset < (count or 0):
                view[offset] = byte
        return count

    def read(self, size: int | None = -1) -> bytes:
        if size is None or size < 0:
            return self.readall()
        buffer = bytearray(size)
        return bytes(buffer[: self.readinto(buffer)])


def _read_header(pipe: Pipe) -> tuple[str | None, dict[str, str]]:
    """Read a WAV header up to the samples: the demuxer for them, and its options.

    None for anything else; then nothing has been consumed.
    """
    head = pipe.exactly(12)
    form: tuple[str | None, dict[str, str]] = None, {}
    while head[:4] == b"RIFF" and head[8:12] == b"WAVE" and len(head) < _MOST_HEADER:
        name, size = struct.unpack("<4sI", (chunk := pipe.exactly(8)).ljust(8, b"\0"))
        head += chunk
        if name == b"data" and form[0] is not None:
            if size not in _UNKNOWN_SIZES:
                pipe.limit(size)
            return form
        if name in (b"data", b"\0\0\0\0") or size > _MOST_HEADER:
            break
        body = pipe.exactly(size + size % 2)
        head += body
        if name == b"fmt " and size >= _FORM.size:
            tag, channels, rate, bits = _FORM.unpack_from(body)
            if tag == _EXTENSIBLE and size >= 26:
                tag = int.from_bytes(body[24:26], "little")
            options = {"sample_rate": str(rate), "ch_layout": f"{channels}c"}
            form = _SAMPLES.get((tag, bits)), options
    pipe.unread(head)
    return None, {}


def _wrong_bits(file: BinaryIO) -> tuple[int, bytes] | None:
    """The offset of a WAV file's count of valid bits, and the value that FFmpeg needs there.

    In WAVE_FORMAT_EXTENSIBLE a sample may be longer than its valid bits, which are then its upper
    ones. FFmpeg infers the length from the valid bits. None if that gives the right length.
    """
    position = 12
    while position < _MOST_HEADER:
        file.seek(position)
        name, size = struct.unpack("<4sI", file.read(8).ljust(8, b"\0"))
        if name == b"fmt " and size >= 40:
            tag, bits, valid = struct.unpack("<H12xH2xH", file.read(20).ljust(20, b"\0"))
            if tag == _EXTENSIBLE and 0 < valid < bits and (valid + 7) // 8 != bits // 8:
                return position + 8 + 18, struct.pack("<H", bits)
        if name in (b"fmt ", b"data", b"\0\0\0\0"):
            return None
        position += 8 + size + size % 2
    return None
