"""A parser of input from strangers, and the text that is repeated in its input."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NamedTuple

import msgspec

from spech.errors import ProtocolError

#: What a parser raises for input that it refuses.
REFUSED: Final = (ProtocolError, msgspec.DecodeError, RecursionError)

#: Each character that means something to a parser, and for those that mean nothing a letter, a
#: digit and two bytes above ASCII: part of a UTF-8 character, and of none.
SPECIAL: Final = [
    bytes([one]) for one in b"\0\t\n\r !\"#$%&'()*+,-./0:;<=>?@[\\]^_`a{|}~\x7f\x81\xff"
]
#: Every two of them, in both orders.
PAIRS: Final = [*map(b"".join, itertools.permutations(SPECIAL, 2))]


class Parser(NamedTuple):
    """``read`` takes input; the repeated text stands between the two halves of a place."""

    name: str
    read: Callable[[bytes], object]
    places: tuple[tuple[bytes, bytes], ...] = ((b"", b""),)

    def __call__(self, data: bytes) -> None:
        with suppress(*REFUSED):
            self.read(data)


def of_text(read: Callable[[str], object]) -> Callable[[bytes], object]:
    """A parser of text: what is not UTF-8 is taken as Latin-1, as the parser of messages does."""

    def use(data: bytes) -> object:
        try:
            text = data.decode()
        except UnicodeDecodeError:
            text = data.decode("latin-1")
        return read(text)

    return use


def repeated(place: tuple[bytes, bytes], unit: bytes, times: int) -> bytes:
    """Input with ``unit`` repeated in one place."""
    before, after = place
    return before + unit * times + after
