"""Far ends of measured programs: SIP and RTP, a WebSocket and a page."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol, Self
from urllib.parse import urlsplit

import trio
from trio_websocket import WebSocketConnection, wrap_client_stream

from bench.echo import accept
from spech import codecs
from spech.audio.tones import tone

#: The sockets of this module; bench/costs.py does not count calls on them.
sockets: set[object] = set()
_TIMESTAMP_STEP = 160
#: 20 ms of 400 Hz, a whole number of periods, so that playout can splice packets.
_TONE = codecs.create("PCMU").encode(tone((400,), 0.02, 8000))


class Refused(RuntimeError):
    """A request was answered with an error; the message is the answer."""


class Stream(Protocol):
    """The RTP of a call."""

    def description(self, *, events: bool) -> str:
        """The session description, with or without telephone-event."""

    def follow(self, message: str) -> None:
        """Send to the address in the session description of ``message``."""

    def exchange(self) -> None:
        """Send 20 ms of sound."""

    def close(self) -> None: ...


class SipPeer:
    """A telephone of one UDP socket.

    Args:
        stream: makes what sends and receives the RTP of a call.
        user: whom its calls are from.
    """

    def __init__(self, stream: Callable[[], Stream] | None = None, user: str = "guest") -> None:
        self.target = ("", 0)
        self.user = user
        self._stream = stream or RtpPeer
        self._socket = _bound()
        self.port = self._socket.getsockname()[1]
        self._calls = 0
        self._streams: list[Stream] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        for stream in self._streams:
            stream.close()

    async def call(self, *, number: str = "bot", events: bool = True) -> Caller:
        """Call ``number`` at :attr:`target` and wait for the answer."""
        self._calls += 1
        caller = Caller(self, self._calls, self._open_stream(), number)
        await caller.invite(events)
        return caller

    async def register(self) -> None:
        """Accept registrations and answer OPTIONS, until cancelled."""
        while True:
            request, source = await self.receive("REGISTER", "OPTIONS")
            headers = ""
            if request.startswith("REGISTER"):
                headers = f"Contact: {_header(request, 'Contact')};expires=3600\r\n"
            self._socket.sendto(_response(request, 200, "OK", headers), source)

    async def take_call(self, dial: Callable[[], Awaitable[None]]) -> Stream:
        """Run ``dial``, and answer the resulting call."""
        await dial()
        request, source = await self.receive("INVITE")
        stream = self._open_stream()
        stream.follow(request)
        contact = f"Contact: <sip:far@127.0.0.1:{self.port}>\r\n"
        body = stream.description(events=True)
        self._socket.sendto(_response(request, 200, "OK", contact, body), source)
        await self.receive("ACK")
        return stream

    def _open_stream(self) -> Stream:
        stream = self._stream()
        self._streams.append(stream)
        return stream

    def send(self, message: str) -> None:
        self._socket.sendto(message.encode(), self.target)

    async def receive(self, *starts: str) -> tuple[str, tuple[str, int]]:
        """The next message that starts with one of ``starts``; others are ignored."""
        while True:
            data, source = await _take(self._socket)
            text = data.decode()
            if text.startswith(starts):
                return text, source
            if re.match(r"SIP/2\.0 [3-6]", text):
                raise Refused(text)


class Caller:
    """A call that :class:`SipPeer` makes."""

    def __init__(self, peer: SipPeer, number: int, stream: Stream, called: str) -> None:
        self.exchange = stream.exchange
        self.stream: Final = stream
        self._peer = peer
        self._number = number
        self._target = f"sip:{called}@127.0.0.1:{peer.target[1]}"
        self._to = f"<{self._target}>"
        self._routes = ""

    async def invite(self, events: bool) -> None:
        self._request("INVITE", 1, self.stream.description(events=events))
        answer = await self._answer("INVITE")
        self._to = _header(answer, "To")
        self._target = _header(answer, "Contact").strip("<>")
        routes = re.findall(r"(?mi)^Record-Route: *(.*?)\r$", answer)
        self._routes = "".join(f"Route: {route}\r\n" for route in reversed(routes))
        self.stream.follow(answer)
        self._request("ACK", 1)

    async def end(self) -> None:
        self._request("BYE", 2)
        await self._answer("BYE")
        self.stream.close()

    async def _answer(self, method: str) -> str:
        """The 200 of this call to ``method``; a repeated one of another call is ignored."""
        while True:
            answer, _ = await self._peer.receive("SIP/2.0 200")
            if f" {self._call_id}\r\n" in answer and f" {method}\r\n" in answer:
                return answer

    @property
    def _call_id(self) -> str:
        return f"cost-{self._number}@127.0.0.1:{self._peer.port}"

    def _request(self, method: str, sequence: int, body: str = "") -> None:
        here = f"127.0.0.1:{self._peer.port}"
        branch = f"{self._peer.port}-{self._number}{method}"
        kind = "Content-Type: application/sdp\r\n" if body else ""
        self._peer.send(
            f"{method} {self._target} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP {here};branch=z9hG4bK{branch};rport\r\n{self._routes}"
            f'From: "Far End" <sip:{self._peer.user}@{here}>;tag=f{self._number}\r\n'
            f"To: {self._to}\r\nCall-ID: {self._call_id}\r\nCSeq: {sequence} {method}\r\n"
            f"Contact: <sip:far@{here}>\r\nMax-Forwards: 70\r\n"
            f"Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE\r\nSupported: timer\r\n{kind}"
            f"Content-Length: {len(body)}\r\n\r\n{body}"
        )


class RtpPeer:
    """An RTP and an RTCP socket that send PCMU and discard what arrives."""

    def __init__(self) -> None:
        self._rtp, self._rtcp = bound_pair()
        self._there = ("", 0)
        self._sequence = 0

    def close(self) -> None:
        self._rtp.close()
        self._rtcp.close()

    def description(self, *, events: bool) -> str:
        event = "a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\n" if events else ""
        port = self._rtp.getsockname()[1]
        return (
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
            f"m=audio {port} RTP/AVP 0{' 101' if events else ''}\r\n"
            f"a=rtpmap:0 PCMU/8000\r\n{event}a=ptime:20\r\na=sendrecv\r\n"
        )

    def follow(self, message: str) -> None:
        """Send to the address in the session description of ``message``."""
        self._there = ("127.0.0.1", audio_port(message))

    def exchange(self) -> None:
        """Send 20 ms of sound, and read what has arrived."""
        self._sequence += 1
        head = struct.pack(
            "!BBHII", 0x80, 0, self._sequence, self._sequence * _TIMESTAMP_STEP, 0x5EC4
        )
        self._rtp.sendto(head + _TONE, self._there)
        for waiting in (self._rtp, self._rtcp):
            _empty(waiting)


class WebSocketEcho:
    """The other end of a bridge's WebSockets: sends a frame of silence a tick, and reads."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.setblocking(False)
        sockets.add(self._listening)
        self.port = self._listening.getsockname()[1]
        self._connected: list[socket.socket] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for each in (self._listening, *self._connected):
            each.close()

    async def accept(self) -> None:
        """Accept connections and WebSocket handshakes."""
        while True:
            await trio.lowlevel.wait_readable(self._listening)
            connected, _ = self._listening.accept()
            connected.setblocking(False)
            sockets.add(connected)
            head = b""
            while b"\r\n\r\n" not in head:
                await trio.lowlevel.wait_readable(connected)
                head += connected.recv(65536)
            connected.sendall(accept(head))
            self._connected.append(connected)

    def exchange(self) -> None:
        """Send 20 ms and read what has arrived; close connections that the bridge closed."""
        frame = bytes((0x82, 126, 320 >> 8, 320 & 0xFF)) + bytes(320)
        for connected in tuple(self._connected):
            received = _empty(connected)
            if _closes(received) or not _sent(connected, frame):
                connected.close()
                self._connected.remove(connected)


class PageClient:
    """What a page does for a call: the control connection and the audio connection."""

    def __init__(self, link: str, audio_port: int) -> None:
        self._link = link
        self._cookie = b""
        self._audio_port = audio_port
        self._nursery_manager = trio.open_nursery()
        self._answers: dict[int, dict[str, Any]] = {}
        self._news = trio.Event()
        self._number = 0
        self._frames = 0
        self._call = ""
        self._audio: WebSocketConnection | None = None
        self._streams: list[trio.SocketStream] = []

    async def __aenter__(self) -> Self:
        self._nursery = await self._nursery_manager.__aenter__()
        parts = urlsplit(self._link)
        port = parts.port or 80
        self._cookie = await self._sign_in(port, parts.fragment.removeprefix("link="))
        self._control = await self._connect(port, "/control")
        self._nursery.start_soon(self._read)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._nursery.cancel_scope.cancel()
        await self._nursery_manager.__aexit__(None, None, None)
        for stream in self._streams:
            await trio.aclose_forcefully(stream)

    async def _open(self, port: int) -> trio.SocketStream:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        self._streams.append(stream)
        sockets.add(stream.socket._sock)  # type: ignore[attr-defined]
        return stream

    async def _sign_in(self, port: int, token: str) -> bytes:
        """Follow a link; return the cookie."""
        body = json.dumps({"link": token})
        head = f"POST /session HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n"
        async with await self._open(port) as stream:
            await stream.send_all(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
            answer = b"".join([part async for part in stream])
        return answer.partition(b"set-cookie: ")[2].partition(b";")[0]

    async def _connect(self, port: int, path: str) -> WebSocketConnection:
        return await wrap_client_stream(
            self._nursery,
            await self._open(port),
            f"127.0.0.1:{port}",
            path,
            extra_headers=[(b"Cookie", self._cookie)],
        )

    async def _read(self) -> None:
        while True:
            message = json.loads(await self._control.get_message())
            if "ok" in message or "error" in message:
                self._answers[message["id"]] = message
                self._news.set()
                self._news = trio.Event()

    async def _ask(self, command: str, **fields: Any) -> dict[str, Any]:
        self._number += 1
        number = self._number
        await self._control.send_message(json.dumps({"id": number, "command": command, **fields}))
        while number not in self._answers:
            await self._news.wait()
        answer: dict[str, Any] = self._answers.pop(number)["ok"]
        return answer

    async def save_account(self, port: int) -> None:
        await self._ask(
            "save_account", server="127.0.0.1", port=port, transport="udp", user="alice",
            password="-", codecs=["PCMU"],
        )  # fmt: skip

    async def dial(self) -> None:
        self._call = (await self._ask("dial", target="600"))["call"]

    async def attach(self) -> None:
        """Open the call's audio connection."""
        grant = await self._ask("audio_ticket", call=self._call)
        self._audio = await self._connect(self._audio_port, "/")
        await self._audio.send_message(json.dumps({"ticket": grant["ticket"], "rate": 8000}))
        await self._audio.get_message()
        self._nursery.start_soon(self._read_audio)

    async def _read_audio(self) -> None:
        assert self._audio is not None
        while True:
            await self._audio.get_message()

    def exchange(self) -> None:
        """Send 20 ms of silence."""
        assert self._audio is not None
        header = struct.pack("<IQ", self._frames, self._frames * 160)
        self._nursery.start_soon(self._audio.send_message, header + bytes(320))
        self._frames += 1


def audio_port(message: str) -> int:
    """The port in the session description of a message."""
    port = re.search(r"(?m)^m=audio (\d+)", message)
    assert port is not None, message
    return int(port[1])


def usual_port() -> int:
    """A free UDP port below 60000: URIs with other ports take a slower path in the parser."""
    with _bound() as bound:
        return int(bound.getsockname()[1])


def _bound(port: int = 0) -> socket.socket:
    while True:
        bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sockets.add(bound)
        bound.setblocking(False)
        bound.bind(("127.0.0.1", port))
        if 10000 <= bound.getsockname()[1] < 60000:
            return bound
        bound.close()


def bound_pair() -> tuple[socket.socket, socket.socket]:
    """A pair of ports, the even one first."""
    while True:
        rtp = _bound()
        port = rtp.getsockname()[1]
        if port % 2 == 0:
            with contextlib.suppress(OSError):
                return rtp, _bound(port + 1)
        rtp.close()


async def _take(waiting: socket.socket) -> tuple[bytes, tuple[str, int]]:
    await trio.lowlevel.wait_readable(waiting)
    return waiting.recvfrom(65536)


def _empty(waiting: socket.socket) -> bytes:
    received = b""
    try:
        while data := waiting.recv(65536):
            received = data
    except BlockingIOError:
        pass
    return received


def _closes(received: bytes) -> bool:
    """Whether one of these frames of a WebSocket's client is a Close."""
    at = 0
    while len(received) >= at + 2:
        if received[at] == 0x88:
            return True
        length = received[at + 1] & 0x7F
        more = {126: 2, 127: 8}.get(length, 0)
        if more:
            length = int.from_bytes(received[at + 2 : at + 2 + more], "big")
        at += 2 + more + 4 + length
    return False


def _sent(connected: socket.socket, data: bytes) -> bool:
    try:
        connected.sendall(data)
    except OSError:
        return False
    return True


def _header(message: str, name: str) -> str:
    found = re.search(rf"(?mi)^{name}: *(.*?)\r$", message)
    assert found is not None, message
    return found[1]


def _response(request: str, status: int, reason: str, headers: str = "", body: str = "") -> bytes:
    kind = "Content-Type: application/sdp\r\n" if body else ""
    vias = "".join(f"Via: {via}\r\n" for via in re.findall(r"(?mi)^Via: *(.*?)\r$", request))
    return (
        f"SIP/2.0 {status} {reason}\r\n{vias}From: {_header(request, 'From')}\r\n"
        f"To: {_header(request, 'To')};tag=far\r\nCall-ID: {_header(request, 'Call-ID')}\r\n"
        f"CSeq: {_header(request, 'CSeq')}\r\n{headers}{kind}Content-Length: {len(body)}\r\n\r\n"
        f"{body}"
    ).encode()
