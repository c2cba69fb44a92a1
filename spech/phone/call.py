"""A call as a scope: one nursery, one session, one pair of ports. Leaving it hangs up."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, suppress
from typing import Final

import trio

from spech.agreement import Agreed
from spech.errors import CallEnded, CallFailed, LocalProtocolError, ServerUnreachable
from spech.media.engine import Media
from spech.media.events import EventDigit, HandshakeFinished, InfoDigit, MediaEvent, ToneDigit
from spech.phone.sound import Sound
from spech.phone.transfer import TransferRequest
from spech.rtp.clock import MediaClock
from spech.rtp.ports import PortPair
from spech.scopes import open_scope
from spech.sip import events
from spech.sip.call.replaces import Replaces
from spech.sip.call.session import Session
from spech.sip.call.transfer import Transfer
from spech.sip.description.offer_answer import Negotiator
from spech.sip.endpoint import Endpoint
from spech.sip.message.uri import Uri
from spech.sip.timeline import Entry, ladder, to_pcap
from spech.sip.transaction.flow import Flow

_log: Final = logging.getLogger(__name__)

#: Transfer requests that wait for ``transfers()``; a further one is declined.
_WAITING_TRANSFERS: Final = 8

#: What the stack tells a call. Unbounded in name only: the peer paces it with its transactions.
EventChannel = trio.MemoryReceiveChannel[events.SessionEvent]


class Call(Sound):
    """One call, from either side. Made by ``phone.call(...)`` and ``incoming.answer(...)``.

    What is asked of a call that is over raises :class:`~spech.errors.CallEnded`, with the exception
    of :meth:`hang_up` and of looking at it.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        session: Session,
        media: Media,
        remote: str,
        *,
        negotiator: Callable[[int], Negotiator],
        complete: Callable[[str], Uri],
        flows_to: Callable[[Uri], Awaitable[list[Flow]]],
    ) -> None:
        super().__init__(media)
        self._endpoint = endpoint
        #: What the stack knows it by.
        self.session = session
        #: Makes offers and answers for the call's media (see ``UserAgent.invite``).
        self.negotiator: Final = negotiator
        self._complete = complete
        self._leases = ExitStack()
        self._flows_to = flows_to
        self._transfer: Transfer | None = None
        self._requests_in, self._requests = trio.open_memory_channel[TransferRequest](
            _WAITING_TRANSFERS
        )
        self._opened_at = trio.current_time()
        self._opened_wall = time.time()
        self._agreed: Agreed | None = None
        self._answered_at: float | None = None
        self._ended_at: float | None = None
        #: "outgoing" or "incoming".
        self.direction: Final = "outgoing" if session.outgoing else "incoming"
        #: Whom we talk to: the number or address that was dialled, or the caller's; another one
        #: after the far end transferred us to a call of its own.
        self.remote = remote
        #: "trying", "ringing", "early" (early media is heard), "answered" or "ended".
        self.state = "trying"
        #: The last SIP status, and its reason phrase.
        self.status: int | None = None
        self.reason = ""
        #: "local" or "remote" once the call has ended.
        self.ended_by: str | None = None
        #: Whether we hold the far end, and whether it holds us: it does not want to hear us then.
        self.on_hold = False
        self.held = False
        #: The codec in use, or None while there is no media.
        self.codec: str | None = None
        media.on_event = self._receive_media
        media.speech.keypad.has_dialog = True

    def __repr__(self) -> str:
        return f"<Call {self.direction} {self.remote} {self.state}>"

    # ------------------------------------------------------------------ looking at it

    @property
    def call_id(self) -> str:
        """The Call-ID, as it stands in both ends' logs."""
        return self.session.call_id

    @property
    def duration(self) -> float:
        """Seconds since it was answered, up to its end; 0.0 when it was not."""
        if self._answered_at is None:
            return 0.0
        return (self._ended_at or trio.current_time()) - self._answered_at

    @property
    def timeline(self) -> tuple[Entry, ...]:
        """What happened so far, in order; times are those of ``trio.current_time()``."""
        return self._endpoint.agent.timeline.entries(self.call_id)

    def ladder(self) -> str:
        """What both ends said so far, as text to read: messages, timers, states, media changes."""
        return ladder(self.timeline, wall=self._wall())

    def capture(self) -> bytes:
        """The messages so far as a packet capture (pcap), credentials masked.

        After the phone has closed it is complete, the confirmation of the farewell included.
        """
        return to_pcap(self.timeline, self._wall())

    def _wall(self) -> float:
        return self._opened_wall - self._opened_at

    # ------------------------------------------------------------------ its course

    async def answered(self, timeout: float | None = None) -> None:
        """Wait until the far end answers.

        Args:
            timeout: seconds to wait at the most. When they are over the call still rings; leaving
                the block takes it back.

        Raises:
            CallFailed: it was refused, failed, or (408) nobody answered in time.
        """
        with trio.move_on_after(float("inf") if timeout is None else timeout):
            while self.state not in ("answered", "ended"):
                await self.changed()
        if self._answered_at is not None:
            return
        if self.state == "ended":
            raise CallFailed(self.status or 487, self.reason)
        raise CallFailed(408, f"No answer within {timeout:g} s")

    async def ended(self) -> None:
        """Wait until the call is over, whoever ends it."""
        while self.state != "ended":
            await self.changed()

    def hang_up(self) -> None:
        """Give the far end the farewell that fits. Synchronous, idempotent, never raises."""
        with self._endpoint.command() as (agent, now):
            agent.hang_up(self.session, now)

    def hold(self) -> None:
        """Ask the far end to stop sending, with a re-INVITE (RFC 3264 8.4).

        Where it refuses, the call goes on as it was, and :attr:`on_hold` is false again.
        """
        self._require_up()
        with self._endpoint.command() as (agent, now):
            agent.hold(self.session, now)
        self.on_hold = True
        self._notify()

    def resume(self) -> None:
        """Take the far end back from hold."""
        self._require_up()
        with self._endpoint.command() as (agent, now):
            agent.resume(self.session, now)
        self.on_hold = False
        self._notify()

    async def played(self) -> None:
        """Wait until all queued sounds and digits were sent, and digits in INFO confirmed."""
        await self._media.speech.played()
        while self.session.digits.pending:
            self._require_up()
            await self.changed()
        self._require_up()

    # ------------------------------------------------------------------ transfer

    @property
    def transfer_progress(self) -> tuple[int, str] | None:
        """Status and reason of the transfer that we asked for last, None without any."""
        return None if self._transfer is None else (self._transfer.status, self._transfer.reason)

    @property
    def transfer_accepted(self) -> bool:
        """Whether the far end agreed to the transfer that we asked for last."""
        return self._transfer is not None and self._transfer.accepted

    async def transfer(self, target: str, timeout: float = 30.0) -> None:
        """Have the far end call ``target`` in our stead, then hang up (blind transfer, RFC 5589 6).

        Meanwhile the call goes on, and :meth:`changed` wakes when the far end tells how it goes.
        Where the far end hangs up once it agreed, without telling the outcome, that is taken as
        success. Cancelling stops the waiting; the far end may do it all the same.

        Args:
            target: a number or name at the account's server (``601``), or a SIP URI.
            timeout: seconds to wait for the outcome.

        Raises:
            CallFailed: the far end or the target refused, or (408) no outcome came in time. The
                call goes on.
            CallEnded: the call is over.
            LocalProtocolError: ``target`` is no number and no SIP URI, or the call is not answered
                or being transferred already.
        """
        await self._refer(self._complete(target), timeout)

    async def transfer_to(self, other: Call, timeout: float = 30.0) -> None:
        """Connect the far ends of both calls with each other and hang up both (RFC 5589 7).

        Args:
            other: a call that is up; its far end is called by ours, and replaces it.
            timeout: seconds to wait for the outcome.

        Raises:
            CallFailed: it was refused, or (408) no outcome came in time. Both calls go on.
            CallEnded: one of the calls is over.
            LocalProtocolError: one of the calls is not answered, or being transferred already.
        """
        await other._confirmed(timeout)
        if other.session.dialog is None or not other.session.is_up:
            raise LocalProtocolError("the other call is not answered")
        target = other.session.dialog.target
        await self._refer(Replaces.of(other.session).within(target), timeout)
        other.hang_up()
        await other.ended()

    async def _confirmed(self, timeout: float) -> None:
        """Wait for the ACK of an answer of ours, if one is still on its way."""
        with trio.move_on_after(timeout):
            while self.state == "answered" and not self.session.is_up:
                await self.changed()
        self._require_up()

    async def _refer(self, target: Uri, timeout: float) -> None:
        await self._confirmed(timeout)
        with self._endpoint.command() as (agent, now):
            transfer = self._transfer = agent.transfer(self.session, target, now)
        try:
            with trio.move_on_after(timeout):
                while not transfer.over:
                    await self.changed()
            if not transfer.over:
                raise CallFailed(408, f"No outcome within {timeout:g} s")
        finally:
            transfer.over = True
        if transfer.status >= 300:
            raise CallFailed(transfer.status, transfer.reason)
        self.hang_up()
        await self.ended()

    def transfers(self) -> AsyncIterator[TransferRequest]:
        """What the far end asks for when it transfers us: ``async for request in ...``.

        Until this is called, transfers are declined (603). The iterator ends with the call. See
        :class:`TransferRequest` for what to do with a request.

            async for request in call.transfers():
                async with request.follow() as new:
                    await new.ended()

        An attended transfer at its other end needs nothing: the call goes on by itself, with
        another :attr:`remote`.
        """
        self.session.takes_transfers = True
        return self._requests

    def offer_transfer(self, request: TransferRequest) -> None:
        """The far end asks for a transfer."""
        try:
            self._requests_in.send_nowait(request)
        except (trio.WouldBlock, trio.ClosedResourceError):
            request.reject(486)

    def adopt(self, session: Session, remote: str) -> None:
        """Go on with another session, which took the place of ours (RFC 3891)."""
        session.takes_transfers = self.session.takes_transfers
        self.session = session
        self.remote = remote

    # ------------------------------------------------------------------ what happens to it

    async def follow(self, channel: EventChannel) -> None:
        """Act on what the stack says, until the call has ended. Runs in the call's nursery."""
        async for event in channel:
            if isinstance(event, events.Redirected):
                await self._redirect(event)
            self._receive(event)
            if self.state == "ended":
                return

    async def _redirect(self, event: events.Redirected) -> None:
        """Call the first of the new targets that there is a way to (RFC 3261 8.1.3.4).

        By the account's proxy and transport where it has them, as any other call; and not from
        encrypted signalling to plain with the keys of a call that has to be encrypted.
        """
        for target in event.targets:
            try:
                flows = await self._flows_to(target)
            except ServerUnreachable:
                continue
            if self.session.confidential and not all(flow.secure for flow in flows):
                continue
            with self._endpoint.command() as (agent, now):
                agent.redirect(self.session, target, flows, now)
            return
        reason = "Redirected to where there is no way"
        with self._endpoint.command() as (agent, now):
            agent.hang_up(self.session, now, status=503, reason=reason)

    def move(self, host: str, leased: AbstractContextManager[PortPair]) -> None:
        """Go on at another address of this machine, with ports leased there.

        Raises:
            PortsExhausted, OSError: they cannot be leased. Everything stays as it was.
        """
        leases = ExitStack()
        pair = leases.enter_context(leased)
        self._leases.close()  # Of an earlier move.
        self._leases = leases
        self._media.rebind(pair)
        with self._endpoint.command() as (agent, now):
            agent.move(self.session, host, (host, pair.port), now)

    def close(self) -> None:
        """Give back what it leased."""
        self._leases.close()

    def catch_up(self, channel: EventChannel) -> None:
        """Act at once on what the stack has said so far."""
        with suppress(trio.WouldBlock, trio.EndOfChannel):
            while True:
                self._receive(channel.receive_nowait())

    def _receive(self, event: events.SessionEvent) -> None:
        match event:
            case events.Ringing(_, status, reason):
                self.status, self.reason = status, reason
                if self.state == "trying":
                    self.state = "ringing"
            case events.EarlyMedia(_, status, agreed):
                self.status, self.reason = status, "Session Progress"
                self.state = "early"
                self._configure(agreed)
            case events.Answered(_, agreed):
                self.status, self.reason = 200, "OK"
                self.state = "answered"
                if self._answered_at is None:  # Else it goes on with somebody else.
                    self._answered_at = trio.current_time()
                if agreed is not None:
                    self._configure(agreed)
                elif self._agreed is not None:  # A handshake may have failed while it rang.
                    self._configure(self._agreed)
            case events.MediaChanged(_, agreed):
                self._configure(agreed)
            case events.ChangeRefused(_, direction, status):
                _log.warning("call %s: hold or resume was refused with %d", self.call_id, status)
                self.on_hold = direction == "sendonly"
            case events.DigitReceived(_, digit):
                self._receive_digit(digit)
            case events.DigitSent(_, digit, status) if status >= 300:
                _log.warning("the digit %s was refused in INFO with %d", digit, status)
                self._media.speech.keypad.accepts_info = False
            case events.CallEnded(_, by, status, reason):
                self.state = "ended"
                self.ended_by, self.status, self.reason = by, status, reason
                self._ended_at = trio.current_time()
                self._media.close()
                self._requests_in.close()
            case _:
                pass  # What is looked at elsewhere, and wakes who waits for a change.
        self._notify()

    def _configure(self, agreed: Agreed) -> None:
        if agreed.remote_name is not None and self.session.dialogs:
            agreed = agreed.located(self.session.dialogs[0].flow.remote[0])
        self._agreed = agreed
        self.codec = agreed.codec.partition(";")[0]  # Without its settings.
        self.held = agreed.direction in ("recvonly", "inactive")
        self._media.speech.keypad.accepts_info = self.session.timer.info_allowed
        self._media.configure(agreed)

    def _receive_media(self, event: MediaEvent) -> None:
        match event:
            case EventDigit(digit):
                self._receive_digit(digit)
            case ToneDigit(digit):
                self._receive_tone(digit)
            case InfoDigit(digit, duration_ms):
                self._send_info(digit, duration_ms)
            case HandshakeFinished(failure):
                self._finish_handshake(failure)

    def _send_info(self, digit: str, duration_ms: int) -> None:
        # It may have ended in this moment.
        with suppress(LocalProtocolError), self._endpoint.command() as (_, now):
            self.session.digits.send(digit, duration_ms, now)

    def _finish_handshake(self, failure: str | None) -> None:
        """The sound is encrypted now, or cannot be: then there is no call (RFC 5763 6.7.1).

        Before it is answered only its early media is missing.
        """
        if failure is not None and self._answered_at is not None:
            with self._endpoint.command() as (agent, now):
                agent.hang_up(self.session, now, status=488, reason=failure)
        self._notify()

    def _require_up(self) -> None:
        if self.state == "ended":
            raise CallEnded(f"The call has ended: {self.status} {self.reason}")


@asynccontextmanager
async def run_call(
    call: Call, media: Media, channel: EventChannel, clock: MediaClock
) -> AsyncIterator[None]:
    """The life of one call: its nursery, its place on the media clock, its farewell.

    However the block is left, the farewell is queued and sent before anything is awaited. An error
    in the media or in an event ends this call's block, and no other call.
    """
    failures: list[Exception] = []
    try:
        async with open_scope() as nursery:

            def media_failed(error: Exception) -> None:
                failures.append(error)
                nursery.cancel_scope.cancel()

            nursery.start_soon(call.follow, channel)
            with clock.attach(media.tick, media_failed):
                yield
            nursery.cancel_scope.cancel()
        if failures:
            raise failures[0]
    finally:
        # No await from here on, so nothing can interrupt it.
        call.hang_up()
        try:
            call.catch_up(channel)
        finally:
            media.close()
            call.close()
            if call.codec is not None:
                _log.info(
                    "call %s ended after %.1f s, %s: %s",
                    call.call_id,
                    call.duration,
                    call.codec,
                    media.monitor.statistics,
                )
