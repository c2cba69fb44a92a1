"""Carries calls as PCM over WebSockets, for bots and recorders.

Spech opens a WebSocket for each incoming call. The first message is JSON text with the caller, the
codec and the sample rate; every binary message is PCM, signed 16-bit little-endian mono: 20 ms each
to the program, any length from it. When the call or the WebSocket ends, so does the other.
"""

from __future__ import annotations

import json
import logging
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import trio
from trio_websocket import (
    ConnectionClosed,
    HandshakeError,
    WebSocketConnection,
    wrap_client_stream,
)

from spech.errors import LocalProtocolError, ServerUnreachable, SpechError
from spech.media.port import AudioPort
from spech.phone.call import Call
from spech.phone.incoming import IncomingCall
from spech.phone.phone import Phone
from spech.scopes import open_scope
from spech.sip.transaction.flow import host_port
from spech.websocket.frames import FrameStream

_log: Final = logging.getLogger(__name__)
#: Seconds until the WebSocket must be open; meanwhile the call rings.
_CONNECT_SECONDS: Final = 5.0
_CLOSE_SECONDS: Final = 1.0
_MAX_MESSAGE: Final = 1 << 16
#: Frames that may wait in the kernel for a peer that does not read.
_FRAMES_UNSENT: Final = 4


@dataclass(frozen=True, slots=True)
class WebSocketUrl:
    """The URL of the WebSockets: ``ws://host[:port]/path`` or ``wss://…``.

    Raises:
        LocalProtocolError: it is not such a URL.
    """

    host: str
    port: int
    resource: str
    tls: bool

    @classmethod
    def parse(cls, url: str) -> WebSocketUrl:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise LocalProtocolError(f"{url!r} is not an address: {error}") from None
        if parts.scheme not in ("ws", "wss") or not parts.hostname:
            raise LocalProtocolError(f"{url!r} is not ws://host[:port]/path or wss://…")
        tls = parts.scheme == "wss"
        resource = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return cls(parts.hostname, port or (443 if tls else 80), resource, tls)

    def __str__(self) -> str:
        return f"{'wss' if self.tls else 'ws'}://{host_port((self.host, self.port))}{self.resource}"


class Bridge:
    """Connects every incoming call to a WebSocket.

    Args:
        target: the URL to connect to for each call.
        rate: of the PCM in Hz; by default that of each call's codec.
        report: called with a one-line summary of each call when it is over.
    """

    def __init__(
        self,
        target: WebSocketUrl,
        *,
        rate: int | None = None,
        report: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._target = target
        self._rate = rate
        self._report = report

    async def serve(self, phone: Phone) -> None:
        """Accept calls until cancelled. An error ends its call and no other."""
        await phone.serve(self._take)

    async def _take(self, incoming: IncomingCall) -> None:
        line = f"{incoming.caller_number} -> {incoming.called}: "
        try:
            line += await self._carry(incoming)
        except* ServerUnreachable as group:
            incoming.reject(503)
            line += f"rejected with 503: {group.exceptions[0]}"
        except* SpechError as group:
            line += str(group.exceptions[0])
        except* Exception:
            _log.exception("a call failed")
            line += "failed, see the log"
        self._report(line)

    async def _carry(self, incoming: IncomingCall) -> str:
        """Carry one call from beginning to end; return its summary."""
        async with (
            self._connect() as (connection, frames),
            incoming.answer() as call,
        ):
            await call.answered()
            with call.open_audio(self._rate) as port:
                await connection.send_message(_introduction(incoming, call, port))
                await _join(call, port, connection, frames)
            ended_by = "they hung up" if call.ended_by == "remote" else "the WebSocket closed"
            said = f"{call.codec}, {call.duration:.1f} s, {ended_by}"
            if port.dropped or port.missed:
                said += f", frames dropped: {port.dropped} in, {port.missed} out"
            return said

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[tuple[WebSocketConnection, FrameStream | None]]:
        """Open a WebSocket for a block; on exit it closes cleanly, or after a short timeout.

        Raises:
            ServerUnreachable: the WebSocket cannot be opened.
        """
        opened = False
        deadline = trio.current_time() + _CONNECT_SECONDS
        # The reading task is shielded, so that the closing handshake can complete.
        shelter = trio.CancelScope(shield=True)
        try:
            async with open_scope() as nursery:
                try:
                    with trio.fail_at(deadline):
                        readers = await nursery.start(_shelter, shelter)
                        stream = await self._dial()
                    # trio-websocket does not close the stream if the peer aborted the connection.
                    async with stream:
                        with trio.fail_at(deadline):
                            connection = await wrap_client_stream(
                                readers,
                                stream,  # type: ignore[arg-type]  # any trio.abc.Stream serves
                                host_port((self._target.host, self._target.port)),
                                self._target.resource,
                                max_message_size=_MAX_MESSAGE,
                            )
                        opened = True
                        try:
                            yield connection, stream if isinstance(stream, FrameStream) else None
                        finally:
                            with trio.move_on_after(_CLOSE_SECONDS, shield=True):
                                await connection.aclose()
                finally:
                    shelter.cancel()
        except (HandshakeError, OSError, trio.TooSlowError) as error:
            if opened:
                raise
            raise ServerUnreachable(f"no WebSocket at {self._target}: {_reason(error)}") from error

    async def _dial(self) -> FrameStream | trio.SSLStream[trio.SocketStream]:
        host, port = self._target.host, self._target.port
        if self._target.tls:
            context = ssl.create_default_context()
            return await trio.open_ssl_over_tcp_stream(
                host, port, ssl_context=context, https_compatible=True
            )
        return FrameStream(await trio.open_tcp_stream(host, port), client=True)


async def _shelter(scope: trio.CancelScope, *, task_status: trio.TaskStatus[trio.Nursery]) -> None:
    """Run a nursery in a scope that another task cancels."""
    with scope:
        async with trio.open_nursery() as nursery:
            task_status.started(nursery)
            await trio.sleep_forever()


async def _join(
    call: Call, port: AudioPort, connection: WebSocketConnection, frames: FrameStream | None
) -> None:
    """Carry sound both ways until either side ends."""

    def speak(pcm: bytes) -> None:
        if len(pcm) % 2 == 0:
            port.send(pcm)

    async def listen() -> None:
        # With TLS, all messages come here; otherwise only those that ``frames`` does not handle.
        while True:
            message = await connection.get_message()
            if isinstance(message, bytes):
                speak(message)

    try:
        async with open_scope() as nursery:
            nursery.start_soon(listen)
            if frames is None:
                async for pcm in port:
                    await connection.send_message(pcm)
            else:
                frames.keep_queue_short(_FRAMES_UNSENT * port.frame_samples * 2)
                with frames.polled(speak), port.driven(frames.poll, frames.send_frame):
                    await call.ended()
            nursery.cancel_scope.cancel()
    except* ConnectionClosed:
        pass  # The program has closed its WebSocket.


def _introduction(incoming: IncomingCall, call: Call, port: AudioPort) -> str:
    return json.dumps(
        {
            "call_id": incoming.call_id,
            "caller": incoming.caller_number,
            "called": incoming.called,
            "codec": call.codec,
            "rate": port.rate,
            "frame_samples": port.frame_samples,
        }
    )


def _reason(error: BaseException) -> str:
    if isinstance(error, trio.TooSlowError):
        return f"no answer within {_CONNECT_SECONDS:g} s"
    return str(error) or type(error).__name__
