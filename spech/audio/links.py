"""The links of a chained Ogg file (RFC 3533 section 4), as `cat a.opus b.opus` makes them.

FFmpeg gives up where the next link has other channels, and keeps the padding at the beginning of a
link of Opus (RFC 7845 section 4.2). So each link is decoded as a file of its own.
"""

from __future__ import annotations

import io
from typing import Final

from spech.audio.inputs import CAPTURE, InputFile

_HEADER: Final = 27
_FLAGS: Final = 5
_BEGINS: Final = 2


class OggLink(io.RawIOBase):
    """A file up to its end or to the beginning of the next link.

    Anything that is not Ogg is one link.

    Args:
        source: stands at the beginning of the link. It is not closed here.

    Attributes:
        followed: whether another link follows. That is known when this one has been read.
    """

    def __init__(self, source: InputFile) -> None:
        super().__init__()
        self.name = source.name
        self._source = source
        self._page = memoryview(b"")
        self._in_pages = True
        self._beginning = True
        self.followed = False

    def next(self) -> OggLink:
        """The link that follows."""
        return OggLink(self._source)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        if not self._page and not self.followed:
            self._page = memoryview(self._next_page() if self._in_pages else b"")
        if not self._page and not self._in_pages:
            return self._source.readinto(buffer)
        size = min(len(buffer), len(self._page))
        buffer[:size] = self._page[:size]
        self._page = self._page[size:]
        return size

    def _next_page(self) -> bytes:
        """One page; less where the file is damaged or ends, and nothing where a link begins."""
        header = self._source.exactly(_HEADER)
        if len(header) < _HEADER or not header.startswith(CAPTURE):
            self._in_pages = False
            return header
        begins = bool(header[_FLAGS] & _BEGINS)
        if begins and not self._beginning:
            self._source.unread(header)
            self.followed = True
            return b""
        self._beginning = begins
        lengths = self._source.exactly(header[-1])
        return header + lengths + self._source.exactly(sum(lengths))
