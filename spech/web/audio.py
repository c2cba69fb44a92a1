"""The audio channel: one WebSocket per call that carries PCM, on a port of its own.

docs/protocol.md is the contract. The first frame redeems a single-use ticket; after it both sides
send binary frames with a small header, so that lost time can be seen. The media clock reads and
writes them (see `spech.websocket.frames`): a frame that a slow peer does not take is dropped and
counted, and the kernel queues only a few.
"""

from __future__ import annotations

import secrets
import struct
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
from spech.web.auth import Gate
from spech.web.connection_errors import ConnectionErrors, source_of
from spech.web.connections import ClientConnection, Connections
from spech.web.messages import Refused
from spech.web.sessions import PageSession
from spech.websocket.frames import FrameStream

if TYPE_CHECKING:
    from spech import Call
    from spech.web.switchboard import Switchboard

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
#: Unusable frames after which the connection is closed.
MAX_BAD_FRAMES = 50

NORMAL = 1000
UNUSABLE = 4400
BAD_TICKET = 4401
TAKEN_OVER = 4409

#: Sequence number of the frame, position of its first sample (see docs/protocol.md).
HEADER = struct.Struct("<IQ")


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
    """The server's answer to it."""

    call: str
    rate: int
    frame_samples: int


class FrameReader:
    """Takes the client's frames apart and refuses nonsense.

    Usable is a header, then 1 sample to 100 ms of PCM, with a sequence number ahead of the last
    one. ``bad`` counts the others, ``lost`` frames that the client numbered and never sent.
    """

    def __init__(self, rate: int) -> None:
        self._longest = rate // 10 * 2
        self._next_sequence: int | None = None
        self.bad = 0
        self.lost = 0

    def receive_frame(self, frame: str | bytes) -> bytes | None:
        """The frame's PCM, int16 little-endian mono, or None when the frame is dropped."""
        if isinstance(frame, bytes):
            length = len(frame) - HEADER.size
            if 2 <= length <= self._longest and length % 2 == 0:
                sequence, _ = HEADER.unpack_from(frame)
                expected = self._next_sequence
                ahead = 0 if expected is None else (sequence - expected) & 0xFFFFFFFF
                # TCP keeps order, so a number that lies behind was not counted by the rules.
                if ahead < 0x80000000:
                    self.lost += ahead
                    self._next_sequence = (sequence + 1) & 0xFFFFFFFF
                    return frame[HEADER.size :]
        self.bad += 1
        return None


class AudioServer:
    """Serves the audio channel of everyone's calls."""

    def __init__(self, tickets: Tickets, gate: Gate, connections: Connections) -> None:
        self._tickets = tickets
        self._gate = gate
        self._connections = connections
        self._errors = ConnectionErrors("the audio port")

    async def serve(self, listener: trio.SocketListener) -> None:
        """Serve until cancelled. One connection's error ends that connection alone."""
        await trio.serve_listeners(self._serve_stream, [listener])

    async def _serve_stream(self, stream: trio.SocketStream) -> None:
        with self._connections.admitted(stream) as connection:
            if connection is not None:
                await self._serve_admitted(stream, connection)

    async def _serve_admitted(self, stream: trio.SocketStream, admitted: ClientConnection) -> None:
        source = source_of(stream)
        try:
            async with trio.open_nursery() as nursery:
                await self._serve_connection(nursery, stream, admitted)
                nursery.cancel_scope.cancel()
        except* (ConnectionClosed, OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # Clients come and go.
        except* Exception as group:
            self._errors.note(source, group)

    async def _serve_connection(
        self, nursery: trio.Nursery, stream: trio.SocketStream, admitted: ClientConnection
    ) -> None:
        frames = FrameStream(stream, client=False)
        attachment = Attachment(stream, frames)
        connection: WebSocketConnection | None = None
        try:
            with trio.fail_after(FIRST_FRAME_SECONDS):
                request = await wrap_server_stream(
                    nursery, frames, max_message_size=MAX_AUDIO_MESSAGE
                )
                if not self._origin_allowed(request):
                    await request.reject(403)
                    return
                connection = await request.accept()
                grant, rate = self._redeem(await connection.get_message())
            admitted.trust()
            with admitted.busy(), grant.session.connection() as signed_in:
                await _attach(connection, attachment, grant, rate)
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


async def _attach(
    connection: WebSocketConnection, attachment: Attachment, grant: Grant, rate: int
) -> None:
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
    receiver = _FrameReceiver(appearance, attachment, FrameReader(rate))
    try:
        with attachment.scope:
            welcome = Welcome(appearance.id, rate, rate // 50)
            await connection.send_message(msgspec.json.encode(welcome).decode())
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_receive_messages, connection, receiver)
                await appearance.ready.wait()
                if appearance.call is not None and appearance.live:
                    await _carry_sound(appearance.call, appearance, attachment, receiver, rate)
                nursery.cancel_scope.cancel()
    except* CallEnded:
        pass  # It ended while the audio was about to be opened, which is a normal close.
    finally:
        if appearance.attachment is attachment:
            appearance.attachment = None
            switchboard.notify()


class _FrameReceiver:
    """Sends the client's frames to the call; frames that come before there is a port are lost."""

    def __init__(self, appearance: Appearance, attachment: Attachment, reader: FrameReader) -> None:
        self._appearance = appearance
        self._attachment = attachment
        self._reader = reader

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
    call: Call, appearance: Appearance, attachment: Attachment, receiver: _FrameReceiver, rate: int
) -> None:
    """Have the media clock read and write the frames until the call ends."""
    frames = attachment.frames
    sequence = position = 0

    def send(pcm: bytes) -> None:
        # A frame that is dropped keeps its number, so that the client sees the gap.
        nonlocal sequence, position
        frames.send_frame(HEADER.pack(sequence & 0xFFFFFFFF, position) + pcm)
        sequence += 1
        position += len(pcm) // 2

    frames.keep_queue_short(UNSENT_FRAMES * (HEADER.size + 2 * (rate // 50)))
    with call.open_audio(rate) as port, appearance.count_drops(port, frames):
        attachment.port = port
        with frames.polled(receiver.receive_frame), port.driven(frames.poll, send):
            await call.ended()
