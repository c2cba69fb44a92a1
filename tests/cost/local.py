"""Every parser of the page's server and of WebSockets, and those of our own files."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Final

import msgspec

from spech.audio.inputs import open_input
from spech.phone.journal import Journal
from spech.web.admin import AdminRequest
from spech.web.audio import Hello
from spech.web.audio_frames import FrameReader
from spech.web.auth import Gate, same_origin
from spech.web.contact_files import ContactFileFault, read_contacts
from spech.web.entrance import Attempt, find_cookie
from spech.web.messages.channel import Command
from spech.web.messages.command import Envelope
from spech.web.proxies import TrustedProxies
from spech.web.vcards import read_cards
from spech.websocket.frames import FrameStream

from .parser import Parser, of_text


class _Pipe:
    """The part of a TCP stream that a frame stream needs: a descriptor to read from."""

    def __init__(self, descriptor: int) -> None:
        self.socket: Any = self
        self.descriptor = descriptor

    def fileno(self) -> int:
        return self.descriptor


def _frames(data: bytes, *, client: bool) -> None:
    reading, writing = os.pipe()
    try:
        os.set_blocking(reading, False)
        frames = FrameStream(_Pipe(reading), client=client)  # type: ignore[arg-type]
        with frames.polled(lambda frame: None):
            for start in range(0, len(data), 8192):
                os.write(writing, data[start : start + 8192])
                frames.poll()
    finally:
        os.close(reading)
        os.close(writing)


def _piped(data: bytes) -> None:
    """A sound that comes through a pipe."""
    reading, writing = os.pipe()
    try:
        os.write(writing, data[:65_536])
        os.close(writing)
        source, _ = open_input(f"/proc/self/fd/{reading}", lambda: False)
        assert isinstance(source, io.RawIOBase)
        source.close()
    finally:
        os.close(reading)


@contextmanager
def _stored(data: bytes) -> Iterator[str]:
    """A file in memory, by its path."""
    descriptor = os.memfd_create("stored")
    try:
        os.pwrite(descriptor, data, 0)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _sound(data: bytes) -> None:
    with _stored(data) as path:
        source, _ = open_input(path, lambda: False)
        if isinstance(source, io.RawIOBase):
            source.close()


def _journal(data: bytes) -> None:
    with _stored(data) as path, Journal(path, None):
        pass


def _entry(data: bytes) -> None:
    """A line whose checksum is right."""
    _journal(b"%08x %b\n" % (zlib.crc32(data), data))


_UPGRADE: Final = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"
_PLACES_IN_FRAMES: Final = (
    (b"", b""),
    (_UPGRADE, b""),
    (_UPGRADE + b"\x82\xff" + struct.pack("!Q", 60_000) + bytes(4), b""),
    (_UPGRADE + b"\x82\x7f" + struct.pack("!Q", 60_000), b""),
)
_PLACES_IN_WAV: Final = (
    (b"", b""),
    (b"RIFF" + bytes(4) + b"WAVE", b""),
    (b"RIFF" + bytes(4) + b"WAVEfmt (\0\0\0\xfe\xff", b""),
)
_GATE: Final = Gate("127.0.0.1")
_PROXIES: Final = TrustedProxies(["192.0.2.0/24"])


def _forwarded(text: str) -> None:
    for name in ("Forwarded", "X-Forwarded-For"):
        _PROXIES.client("192.0.2.1", [(name, text)])


def _sound_in_opus(data: bytes) -> None:
    reader = FrameReader(8000, lambda: 0.0)
    reader.receive_frame('{"format":"opus"}')
    reader.receive_frame(data)


def _contacts(text: str) -> None:
    with suppress(ContactFileFault):
        read_contacts(text)


KINDS: Final = {
    "frames": (
        Parser("frames", partial(_frames, client=False), _PLACES_IN_FRAMES),
        Parser("their frames", partial(_frames, client=True), _PLACES_IN_FRAMES),
    ),
    "control": (
        Parser(
            "command",
            of_text(msgspec.json.Decoder(Command).decode),
            ((b"", b""), (b'{"type":"dial","id":1,"target":"', b'"}'), (b'{"x":', b"}")),
        ),
        Parser("envelope", of_text(msgspec.json.Decoder(Envelope).decode)),
        Parser(
            "admin request",
            of_text(msgspec.json.Decoder(AdminRequest).decode),
            ((b"", b""), (b'{"type":"check_account","account":"', b'"}')),
        ),
        Parser("hello", of_text(msgspec.json.Decoder(Hello).decode)),
        Parser(
            "change of format",
            of_text(lambda text: FrameReader(8000, lambda: 0.0).receive_frame(text)),
            ((b"", b""), (b'{"format":"', b'"}'), (b'{"x":', b"}"), (b'{"format":', b"}")),
        ),
        Parser("sound in Opus", _sound_in_opus, ((b"", b""), (b"\0" * 12, b""))),
    ),
    "HTTP": (
        Parser(
            "origin",
            of_text(lambda text: same_origin(text, text)),
            ((b"", b""), (b"http://", b"")),
        ),
        Parser("host", of_text(_GATE.host_allowed), ((b"", b""), (b"[", b"]"), (b"a:", b""))),
        Parser(
            "cookie",
            of_text(lambda text: find_cookie(text, "spech-8080")),
            ((b"", b""), (b"a=", b"; b=c"), (b"spech-8080=", b"")),
        ),
        Parser(
            "attempt",
            of_text(msgspec.json.Decoder(Attempt).decode),
            ((b"", b""), (b'{"name":"', b'"}')),
        ),
        Parser(
            "forwarded",
            of_text(_forwarded),
            ((b"", b""), (b"for=", b""), (b'for="', b'"'), (b"192.0.2.1,", b",192.0.2.2")),
        ),
    ),
    "contacts": (
        Parser(
            "vCards",
            of_text(lambda text: list(read_cards(text))),
            (
                (b"", b""),
                (b"BEGIN:VCARD\nFN:", b"\nTEL:1\nEND:VCARD\n"),
                (b"BEGIN:VCARD\nFN:a\nTEL:1\n", b"\nEND:VCARD\n"),
                (b"BEGIN:VCARD\nN;ENCODING=QUOTED-PRINTABLE:=\n", b"\nTEL:1\nEND:VCARD\n"),
                (b"BEGIN:VCARD\nFN:a\nTEL;TYPE=", b":1\nEND:VCARD\n"),
            ),
        ),
        Parser(
            "table of contacts",
            of_text(_contacts),
            ((b"", b""), (b"Name,Phone\n", b""), (b"Name,Phone\na,", b"")),
        ),
    ),
    "files": (
        Parser("journal", _journal, ((b"", b""), (b"00000000 ", b"\n"))),
        Parser("journal entry", _entry, ((b"", b""), (b'[null,"', b'","",null]'))),
        Parser("sound in a pipe", _piped, _PLACES_IN_WAV),
        Parser("sound in a file", _sound, _PLACES_IN_WAV),
    ),
}
