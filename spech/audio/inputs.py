"""Opens a sound file or a pipe, and recognizes sound that is not compressed.

WAV, G.711 and linear PCM are read by :mod:`spech.audio.uncompressed`. All else is left to FFmpeg,
which opens regular files itself. It reads pipes through Python, because these reads must be
interruptible, and so are file objects of a program, and Ogg, whose links are separated there.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import stat
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final


@dataclass(frozen=True, slots=True)
class Encoding:
    """How the bytes of uncompressed sound are read.

    Attributes:
        sample: "alaw", "mulaw", "u8", or little-endian: "s16", "s24", "s32", "f32", "f64".
        rate: samples per second of each channel.
        channels: how many samples are interleaved.
    """

    sample: str
    rate: int
    channels: int


#: The encoding of files without a header, by suffix.
_RAW: Final = {
    ".ul": Encoding("mulaw", 8000, 1),
    ".ulaw": Encoding("mulaw", 8000, 1),
    ".mu": Encoding("mulaw", 8000, 1),
    ".al": Encoding("alaw", 8000, 1),
    ".alaw": Encoding("alaw", 8000, 1),
    ".alw": Encoding("alaw", 8000, 1),
    ".sln": Encoding("s16", 8000, 1),
    **{f".sln{khz}": Encoding("s16", khz * 1000, 1) for khz in (12, 16, 24, 32, 44, 48, 96, 192)},
}
#: The first bytes of an Ogg file, and of each page in it.
CAPTURE: Final = b"OggS"
#: The first bytes of files with a header. A raw suffix is wrong for such a file.
_HEADERS: Final = (b"RIFF", b"RF64", b".snd", CAPTURE, b"fLaC", b"ID3", b"FORM", b"caff")

#: The encoding of samples in WAV, by format tag and bits of storage per sample.
_SAMPLES: Final = {
    (1, 8): "u8",
    (1, 16): "s16",
    (1, 24): "s24",
    (1, 32): "s32",
    (3, 32): "f32",
    (3, 64): "f64",
    (6, 8): "alaw",
    (7, 8): "mulaw",
}

_EXTENSIBLE: Final = 0xFFFE
_FORM: Final = struct.Struct("<HHI6xH")
_MOST_HEADER: Final = 1 << 20
#: The size of a chunk whose length the writer did not know.
_UNKNOWN_SIZES: Final = (0, 0x7FFFFFFF, 0xFFFFFFFF)
_POLL_MS: Final = 200
#: Opening a FIFO would otherwise wait for a writer, and Windows would take a file for text.
_OPEN: Final = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)

#: What is said where FFmpeg is needed and not installed.
NEEDS_FILES: Final = (
    "compressed sound needs PyAV, which is not installed; run: pip install 'spech[files]'"
)


class FileObject:
    """A file that a program has opened, for reading in binary mode. It stays open.

    Each reading begins where the file stood at first.

    Attributes:
        name: its name, for messages.
        seekable: whether it can be read again.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.name = str(getattr(file, "name", "the file object"))
        self.seekable = file.seekable()
        self._file = file
        self._begin = file.tell() if self.seekable else 0

    def __str__(self) -> str:
        return self.name

    def open(self) -> ObjectInput:
        """Go to the beginning.

        Raises:
            OSError: the file is closed.
        """
        try:
            if self.seekable:
                self._file.seek(self._begin)
        except ValueError as error:
            raise OSError(str(error)) from None
        return ObjectInput(self._file)


def open_input(
    path: str | FileObject, interrupted: Callable[[], bool]
) -> tuple[InputFile | str, Encoding | None]:
    """Open a file or a pipe.

    Args:
        path: of the file, or a file object.
        interrupted: polled while waiting for a pipe; when it returns True, the pipe ends.

    Returns:
        Uncompressed sound as a file that stands at the first sample, with its encoding. None
        otherwise, with a pipe or Ogg file that stands at its beginning, or with the URL of another
        file.

    Raises:
        OSError: there is no such file, or it may not be read.
    """
    if isinstance(path, FileObject):
        return _open_object(path)
    regular = stat.S_ISREG(os.stat(path).st_mode)  # noqa: PTH116 (a path may have no file behind it)
    file = InputFile(path, interrupted)
    try:
        encoding = _read_header(file, Path(path).suffix.lower())
    except BaseException:
        file.close()
        raise
    if encoding is None and regular and not file.begins(CAPTURE):
        file.close()
        # "file:" keeps FFmpeg from taking the path for a network address.
        return f"file:{Path(path).absolute()}", None
    return file, encoding


def _open_object(source: FileObject) -> tuple[InputFile, Encoding | None]:
    file = source.open()
    return file, _read_header(file, Path(source.name).suffix.lower())


class InputFile(io.RawIOBase):
    """A file, a pipe or a device, read until it ends or is interrupted.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: str, interrupted: Callable[[], bool]) -> None:
        super().__init__()
        self._descriptor = os.open(path, _OPEN)
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

    def begins(self, data: bytes) -> bool:
        """Whether ``data`` is what is read next."""
        head = self.exactly(len(data))
        self.unread(head)
        return head == data

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
        if not hasattr(select, "poll"):  # Windows, where a read cannot be interrupted.
            return os.read(self._descriptor, size)
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


class ObjectInput(InputFile):
    """Reads from a file object, and leaves it open."""

    def __init__(self, file: IO[bytes]) -> None:
        io.RawIOBase.__init__(self)
        self.name = ""
        self._file = file
        self._returned = b""
        self._left = None

    def _receive(self, size: int) -> bytes:
        try:
            return self._file.read(size) or b""
        except ValueError as error:  # The program has closed it.
            raise OSError(str(error)) from None

    def close(self) -> None:
        io.RawIOBase.close(self)


def _read_header(file: InputFile, suffix: str) -> Encoding | None:
    """Read a WAV header up to the samples, or recognize a file without a header by its suffix.

    None for anything else. Without a WAV header nothing has been consumed.
    """
    head = bytearray(file.exactly(12))
    encoding = None
    if head[:4] == b"RIFF" and head[8:] == b"WAVE":
        while len(head) < _MOST_HEADER:
            name, size = struct.unpack("<4sI", (chunk := file.exactly(8)).ljust(8, b"\0"))
            head += chunk
            if name == b"data" and encoding is not None:
                if size not in _UNKNOWN_SIZES:
                    file.limit(size)
                return encoding
            if name in (b"data", b"\0\0\0\0") or size > _MOST_HEADER:
                break
            body = file.exactly(size + size % 2)
            head += body
            if name == b"fmt " and size >= _FORM.size:
                encoding = _read_form(body, size)
    file.unread(bytes(head))
    return None if head.startswith(_HEADERS) else _RAW.get(suffix)


def _read_form(body: bytes, size: int) -> Encoding | None:
    """The encoding that the format chunk of a WAV file describes; None if it is compressed.

    In WAVE_FORMAT_EXTENSIBLE a sample may be longer than its valid bits, which are then its upper
    ones, so that their number does not matter.
    """
    tag, channels, rate, bits = _FORM.unpack_from(body.ljust(_FORM.size, b"\0"))
    if tag == _EXTENSIBLE and size >= 26:
        tag = int.from_bytes(body[24:26], "little")
    sample = _SAMPLES.get((tag, bits))
    return None if sample is None else Encoding(sample, rate, channels)
