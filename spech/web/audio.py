"""The audio channel: one WebSocket per call that carries sound, on the web port or one of its own.

docs/protocol.md is the contract. The first frame redeems a single-use ticket; after it both sides
send `spech.web.audio_frames`. The media clock reads and writes them (see `spech.websocket.frames`):
a frame that a slow peer does not take is dropped and counted, and the kernel queues only a few.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import trio
from trio_websocket import (
    ConnectionClosed,
    WebSocketConnection,
    WebSocketRequest,
    wrap_server_stream,
)

from spech.errors import CallEnded
from spech.web.appearance import Appearance, Attachment
from spech.web.audio_frames import (
    HEADER,
    OPUS_BITRATE,
    FormatChange,
    FrameReader,
    OpusSound,
    SoundFormat,
)
from spech.web.auth import Gate
from spech.web.certificate import PageCertificate
from spech.web.connection_errors import ConnectionErrors
from spech.web.connections import ClientConnection, Connections
from spech.web.messages.command import Refused
from spech.web.proxies import came_through_proxy
from spech.web.sessions import PageSession
from spech.websocket.frames import FrameStream

if TYPE_CHECKING:
    from spech import Call
    from spech.web.switchboard import Switchboard

#: Its path on the web port.
AUDIO_PATH = "/audio"
TICKET_SECONDS = 30.0
#: Unused tickets of a session.
TICKETS_KEPT = 64
FIRST_FRAME_SECONDS = 5.0
CLOSE_SECONDS = 2.0
#: What a client may choose, Hz: 20 ms must be a whole number of samples.
RATES = range(8000, 48001, 50)
#: Largest message: 100 ms at 48 kHz and the header, rounded up.
MAX_AUDIO_MESSAGE = 16384
#: Frames that may wait in the kernel for a client that does not read.
UNSENT_FRAMES = 4
#: What a frame in Opus has, at twice the usual bitrate.
OPUS_BYTES = OPUS_BITRATE // 8 // 50 * 2
#: Unusable frames after which the connection is closed.
MAX_BAD_FRAMES = 50

NORMAL = 1000
UNUSABLE = 4400
BAD_TICKET = 4401
TAKEN_OVER = 4409


class Grant(NamedTuple):
    """What a ticket permits: to hear and speak in ``call``, an id of ``switchboard``."""

    call: str
    switchboard: Switchboard
    session: PageSession


class Tickets:
    """Single-use tickets, each for one call, valid for 30 s. ``now`` is in seconds, any clock."""

    def __init__(self) -> None:
        self._issued: dict[str, tuple[Grant, float]] = {}

    def issue(self, grant: Grant, now: float) -> str:
        """A fresh ticket; beyond a limit the oldest unused one of the same session is void."""
        self._forget(now)
        unused = [key for key, (each, _) in self._issued.items() if each.session is grant.session]
        if len(unused) >= TICKETS_KEPT:
            del self._issued[unused[0]]
        ticket = secrets.token_urlsafe(24)
        self._issued[ticket] = (grant, now + TICKET_SECONDS)
        return ticket

    def redeem(self, ticket: str, now: float) -> Grant | None:
        """What ``ticket`` permits, once; None when unknown, used or too old."""
        self._forget(now)
        found = self._issued.pop(ticket, None)
        return None if found is None else found[0]

    def _forget(self, now: float) -> None:
        for ticket in [each for each, (_, until) in self._issued.items() if until <= now]:
            del self._issued[ticket]


class Hello(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The client's first frame."""

    ticket: str
    rate: int


class Welcome(msgspec.Struct, frozen=True):
    """The server's answer to it. ``formats`` are what the client can change to."""

    call: str
    rate: int
    frame_samples: int
    formats: tuple[SoundFormat, ...]


class AudioServer:
    """Serves the audio channel of everyone's calls."""

    def __init__(self, tickets: Tickets, gate: Gate) -> None:
        self._tickets = tickets
        self._gate = gate

    async def serve(
        self,
        listener: trio.SocketListener,
        connections: Connections,
        certificate: PageCertificate | None,
    ) -> None:
        """Serve a port of its own until cancelled."""
        errors = ConnectionErrors("the audio port")
        await connections.serve(listener, self.serve_connection, errors, certificate)

    async def serve_connection(self, admitted: ClientConnection, received: bytes = b"") -> None:
        """Serve one connection, of which ``received`` has already been read."""
        try:
            async with trio.open_nursery() as nursery:
                await self._serve(nursery, admitted, received)
                nursery.cancel_scope.cancel()
        except* ConnectionClosed:
            pass

    async def _serve(
        self, nursery: trio.Nursery, admitted: ClientConnection, received: bytes
    ) -> None:
        frames = FrameStream(admitted.stream, client=False, received=received)
        connection: WebSocketConnection | None = None
        try:
            with trio.fail_after(FIRST_FRAME_SECONDS):
                request = await wrap_server_stream(
                    nursery,
                    frames,  # type: ignore[arg-type]  # it has the methods of a trio.abc.Stream
                    max_message_size=MAX_AUDIO_MESSAGE,
                )
                if not self._origin_allowed(request):
                    await request.reject(403)
                    return
                connection = await request.accept()
                grant, rate = self._redeem(await connection.get_message())
            admitted.trust()
            proxied = came_through_proxy(name.decode("latin-1") for name, _ in request.headers)
            reader = FrameReader(rate, trio.current_time)
            attachment = Attachment(None if proxied else admitted.stream, frames, reader)
            with admitted.busy(), grant.session.connection() as signed_in:
                await _attach(connection, attachment, grant)
            code, reason = attachment.code, attachment.reason
            if signed_in.cancelled_caught:
                code, reason = BAD_TICKET, "signed out"
        except trio.TooSlowError:
            code, reason = UNUSABLE, "no first frame came"
        except Refused as refused:
            code, reason = int(refused.code), refused.message
        if connection is not None:
            with trio.move_on_after(CLOSE_SECONDS):
                await connection.aclose(code, reason)

    def _origin_allowed(self, request: WebSocketRequest) -> bool:
        # The Host header of this port says nothing about the page's; the page's own name does,
        # and a foreign page cannot have one of ours.
        origins = [value for name, value in request.headers if name.lower() == b"origin"]
        return all(self._gate.origin_allowed(value.decode("latin-1")) for value in origins)

    def _redeem(self, frame: str | bytes) -> tuple[Grant, int]:
        try:
            hello = msgspec.json.decode(frame if isinstance(frame, str) else b"", type=Hello)
        except msgspec.DecodeError:
            hello = None
        if hello is None or hello.rate not in RATES:
            raise Refused(str(UNUSABLE), "the first frame is not usable")
        grant = self._tickets.redeem(hello.ticket, trio.current_time())
        if grant is None:
            raise Refused(str(BAD_TICKET), "the ticket is unknown, used or too old")
        return grant, hello.rate


async def _attach(connection: WebSocketConnection, attachment: Attachment, grant: Grant) -> None:
    """Carry the call's sound until the call ends or another connection takes it over."""
    switchboard = grant.switchboard
    try:
        appearance = switchboard.calls.find(grant.call)
    except Refused as error:
        raise Refused(str(NORMAL), "the call has ended") from error
    if appearance.attachment is not None:
        appearance.attachment.close(TAKEN_OVER, "another connection took the audio over")
    appearance.attachment = attachment
    switchboard.notify()
    receiver = _FrameReceiver(appearance, attachment)
    try:
        with attachment.scope:
            rate, formats = attachment.reader.rate, attachment.reader.formats
            welcome = Welcome(appearance.id, rate, rate // 50, formats)
            await connection.send_message(msgspec.json.encode(welcome).decode())
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_receive_messages, connection, receiver)
                await appearance.ready.wait()
                if appearance.call is not None and appearance.live:
                    await _carry_sound(appearance.call, appearance, attachment, receiver)
                nursery.cancel_scope.cancel()
    except* CallEnded:
        pass  # It ended while the audio was about to be opened, which is a normal close.
    finally:
        if appearance.attachment is attachment:
            appearance.attachment = None
            switchboard.notify()


class _FrameReceiver:
    """Sends the client's frames to the call; frames that come before there is a port are lost."""

    def __init__(self, appearance: Appearance, attachment: Attachment) -> None:
        self._appearance = appearance
        self._attachment = attachment
        self._reader = attachment.reader

    def receive_frame(self, frame: str | bytes) -> None:
        """Take one message. Too many unusable ones close the connection."""
        reader = self._reader
        lost = reader.lost
        pcm = reader.receive_frame(frame)
        self._appearance.skipped += reader.lost - lost
        if pcm is None:
            if reader.bad > MAX_BAD_FRAMES:
                self._attachment.close(UNUSABLE, "too many unusable frames")
        elif self._attachment.port is not None:
            self._attachment.port.send(pcm)


async def _receive_messages(connection: WebSocketConnection, receiver: _FrameReceiver) -> None:
    """Receive what the media clock does not: text, fragments, and all frames before the answer."""
    while True:
        receiver.receive_frame(await connection.get_message())


async def _carry_sound(
    call: Call, appearance: Appearance, attachment: Attachment, receiver: _FrameReceiver
) -> None:
    """Have the media clock read and write the frames until the call ends."""
    frames, reader = attachment.frames, attachment.reader
    rate = reader.rate
    sequence = position = 0
    opus: OpusSound | None = None

    def send(pcm: bytes) -> None:
        # A frame that is dropped keeps its number, so that the client sees the gap.
        nonlocal sequence, position
        if reader.opus is not opus:
            change_format()
        sound = pcm if opus is None else opus.encode(pcm)
        frames.send_frame(HEADER.pack(sequence & 0xFFFFFFFF, position) + sound)
        sequence += 1
        position += len(pcm) // 2

    def change_format() -> None:
        """Follow the client, unless it does not read; then the next frame tries it again."""
        nonlocal opus
        change = FormatChange("pcm" if reader.opus is None else "opus")
        if frames.send_text(msgspec.json.encode(change).decode()):
            opus = reader.opus
            keep_queue_short()

    def keep_queue_short() -> None:
        usual = 2 * (rate // 50) if opus is None else OPUS_BYTES
        frames.keep_queue_short(UNSENT_FRAMES * (HEADER.size + usual))

    keep_queue_short()
    with call.open_audio(rate) as port, appearance.count_drops(port, frames):
        attachment.port = port
        receive = receiver.receive_frame
        with frames.polled(receive, receive), port.driven(frames.poll, send):
            await call.ended()
