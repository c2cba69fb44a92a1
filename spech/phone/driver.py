"""Runs a call behind its public class: the session, the media and the call's state."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Final, Literal

import trio

from spech.agreement import Agreed
from spech.audio.answerer import Greeting
from spech.audio.cadence import HeardTone
from spech.errors import CallEnded, LocalProtocolError, ServerUnreachable
from spech.media.engine import Media
from spech.media.events import (
    CadenceHeard,
    EventDigit,
    GreetingJudged,
    HandshakeFinished,
    InfoDigit,
    MediaEvent,
    SpeechChanged,
    ToneDigit,
)
from spech.phone.life import Patience, PeerLife
from spech.rtp.clock import MediaClock
from spech.rtp.ports import PortPair
from spech.scopes import open_scope
from spech.sip import events
from spech.sip.call.session import Session
from spech.sip.call.transfer import Referral, Transfer
from spech.sip.description.offer_answer import Negotiator
from spech.sip.endpoint import Endpoint
from spech.sip.message.uri import Uri
from spech.sip.transaction.flow import Flow

_log: Final = logging.getLogger(__name__)

CallStateName = Literal["trying", "ringing", "early", "answered", "ended"]
CallDirection = Literal["outgoing", "incoming"]
EndedBy = Literal["local", "remote"]

#: Transfer requests that wait for ``Call.transfers()``; further ones are declined.
_WAITING_TRANSFERS: Final = 8

#: Has each event of a call handed to a function as it comes.
EventFeed = Callable[[Callable[[events.SessionEvent], None]], None]


class CallDriver:
    """Drives one call: handles the stack's events and gives the stack commands.

    :class:`~spech.Call` is its public class.

    Args:
        endpoint: carries the signalling.
        session: the stack's handle for the call.
        media: the call's sound.
        remote: the number or address that was dialed, or the caller's.
        negotiator: makes offers and answers for the call's media (see ``UserAgent.invite``).
        flows_to: finds the servers of a redirection's target.
        patience: how long the far end may be silent.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        session: Session,
        media: Media,
        remote: str,
        *,
        negotiator: Callable[[int], Negotiator],
        flows_to: Callable[[Uri], Awaitable[list[Flow]]],
        patience: Patience,
    ) -> None:
        self.endpoint: Final = endpoint
        self.session = session
        self.media: Final = media
        self.negotiator: Final = negotiator
        self._flows_to = flows_to
        self._leases = ExitStack()
        self._referrals_in, self.referrals = trio.open_memory_channel[Referral](_WAITING_TRANSFERS)
        #: Called after each change.
        self.on_change: Callable[[], None] = lambda: None
        #: Called with each digit that comes as a telephone event or in an INFO request.
        self.on_digit: Callable[[str], None] = lambda digit: None
        #: Called with each digit that is detected in the sound.
        self.on_tone: Callable[[str], None] = lambda digit: None
        #: Called when the far end begins to speak (True), and when it has stopped.
        self.on_speech: Callable[[bool], None] = lambda speaking: None
        #: Called with each tone of the network, and each beep.
        self.on_cadence: Callable[[HeardTone], None] = lambda tone: None
        #: Called when it was decided who has answered.
        self.on_greeting: Callable[[Greeting], None] = lambda greeting: None

        self.opened_at = trio.current_time()
        self.opened_wall = time.time()
        self.answered_at: float | None = None
        self.ended_at: float | None = None
        self.direction: Final[CallDirection] = "outgoing" if session.outgoing else "incoming"
        self.remote = remote
        self.state: CallStateName = "trying"
        self.status: int | None = None
        self.reason = ""
        self.ended_by: EndedBy | None = None
        self.on_hold = False
        self.held = False
        self.codec: str | None = None
        #: The transfer that we asked for last.
        self.transfer: Transfer | None = None
        self.life: Final = PeerLife(endpoint, media, patience)
        self._agreed: Agreed | None = None
        #: The agreement as it was negotiated, with a host name where the peer gives no address.
        self._negotiated: Agreed | None = None
        media.on_event = self._receive_media
        media.speech.keypad.has_dialog = True

    @property
    def duration(self) -> float:
        """Seconds since the answer, up to the end; 0.0 without an answer."""
        if self.answered_at is None:
            return 0.0
        return (self.ended_at or trio.current_time()) - self.answered_at

    def require_up(self) -> None:
        """Raise :class:`~spech.errors.CallEnded` when the call has ended."""
        if self.state == "ended":
            raise CallEnded(f"The call has ended: {self.status} {self.reason}")

    # ------------------------------------------------------------------ commands

    def hang_up(
        self,
        status: int | None = None,
        reason: str | None = None,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Send the farewell that fits the state. Synchronous, idempotent, never raises."""
        if self.session.ended is not None:
            return
        with self.endpoint.command() as (_, now):
            self.session.hang_up(now, status, reason, headers)

    def answer(self) -> None:
        """Answer an incoming call that has early media.

        Raises:
            CallEnded: the call is over.
            LocalProtocolError: the call is answered already, or is ours.
        """
        self.require_up()
        with self.endpoint.command() as (_, now):
            self.session.answer(self.negotiator, now)

    def change_hold(self, on_hold: bool) -> None:
        """Hold or resume with a re-INVITE.

        Raises:
            CallEnded: the call is over.
            LocalProtocolError: the call is not answered.
        """
        self.require_up()
        with self.endpoint.command() as (_, now):
            (self.session.hold if on_hold else self.session.resume)(now)
        self.on_hold = on_hold
        self.on_change()

    def refer(self, target: Uri) -> Transfer:
        """Ask the far end to call ``target``.

        Raises:
            LocalProtocolError: the call is not answered, or is being transferred already.
        """
        with self.endpoint.command() as (_, now):
            self.transfer = self.session.transfer(target, now)
        return self.transfer

    def take_transfers(self) -> None:
        """Offer the program the transfers that the far end asks for from now on."""
        with self.endpoint.command() as (_, now):
            self.session.take_transfers(now)

    def offer_referral(self, referral: Referral) -> None:
        """The far end asks for a transfer."""
        try:
            self._referrals_in.send_nowait(referral)
        except (trio.WouldBlock, trio.ClosedResourceError):
            self.reject_referral(referral, 486)

    def reject_referral(self, referral: Referral, status: int) -> None:
        """Decline a transfer that the far end requests. Does nothing after it was followed."""
        with self.endpoint.command() as (_, now):
            referral.decline(status, now)

    def adopt(self, session: Session, remote: str) -> None:
        """Continue with the session that replaced ours (RFC 3891)."""
        session.takes_transfers = self.session.takes_transfers
        self.session = session
        self.remote = remote

    def move(self, host: str, leased: AbstractContextManager[PortPair]) -> None:
        """Continue at another address of this machine, with ports leased there.

        Raises:
            PortsExhausted, OSError: the ports cannot be leased. Nothing has changed.
        """
        leases = ExitStack()
        pair = leases.enter_context(leased)
        self._leases.close()  # Of an earlier move.
        self._leases = leases
        self.media.rebind(pair)
        with self.endpoint.command() as (_, now):
            self.session.move(host, (host, pair.port), now)

    # ------------------------------------------------------------------ what the stack reports

    @asynccontextmanager
    async def run(self, follow: EventFeed, clock: MediaClock) -> AsyncIterator[None]:
        """Run the call: open its nursery, attach it to the media clock, send its farewell.

        However the block is left, the farewell is queued and sent before anything is awaited. An
        error in the media or in an event ends this call's block, and no other call.

        Args:
            follow: has the call's events handed over.
            clock: drives the media.
        """
        failures: list[Exception] = []
        leaving = False
        try:
            async with open_scope() as nursery:

                def fail(error: Exception) -> None:
                    failures.append(error)
                    nursery.cancel_scope.cancel()

                def take(event: events.SessionEvent) -> None:
                    try:
                        # A nursery that is being left takes no more tasks.
                        if isinstance(event, events.Redirected) and not leaving:
                            nursery.start_soon(self._redirect, event)
                        self._receive(event)
                    except Exception as error:
                        fail(error)

                self.media.speech.plays.spawn = nursery.start_soon
                follow(take)
                try:
                    with clock.attach(self.media.tick, fail):
                        yield
                finally:
                    leaving = True
                    self.media.speech.plays.spawn = None
                nursery.cancel_scope.cancel()
        finally:
            # No await from here on, so nothing can interrupt it.
            try:
                self.hang_up()
            finally:
                self.media.close()
                self._leases.close()
                # The statistics cost something.
                if self.codec is not None and _log.isEnabledFor(logging.INFO):
                    _log.info(
                        "call %s ended after %.1f s, %s: %s",
                        self.session.call_id,
                        self.duration,
                        self.codec,
                        self.media.monitor.statistics,
                    )
        if failures:
            raise failures[0]

    async def _redirect(self, event: events.Redirected) -> None:
        """Call the first of the new targets that can be reached (RFC 3261 8.1.3.4).

        The new request uses the account's proxy and transport, as any other call does. A call that
        requires encryption never moves its keys from encrypted signalling to unencrypted.
        """
        for target in event.targets:
            try:
                flows = await self._flows_to(target)
            except ServerUnreachable:
                continue
            if self.session.confidential and not all(flow.secure for flow in flows):
                continue
            with self.endpoint.command() as (_, now):
                # Header fields in a redirection's URI are dangerous (RFC 3261 19.1.5).
                self.session.redirect(replace(target, headers=""), flows, now)
            return
        self.hang_up(503, "No redirection target can be reached")

    def _receive(self, event: events.SessionEvent) -> None:
        match event:
            case events.Ringing(_, status, reason):
                self.status, self.reason = status, reason
                if self.state == "trying":
                    self.state = "ringing"
            case events.EarlyMedia(_, status, reason, agreed):
                self.status, self.reason = status, reason
                self.state = "early"
                self._configure(agreed)
            case events.Answered(_, agreed):
                self.status, self.reason = 200, "OK"
                self.state = "answered"
                self.media.answered = True
                if self.answered_at is None:  # Otherwise another session replaced ours.
                    self.answered_at = trio.current_time()
                if agreed is not None:
                    self._configure(agreed)
                elif self._agreed is not None:  # A handshake may have failed while it rang.
                    self._apply(self._agreed)
            case events.MediaChanged(_, agreed):
                self._configure(agreed)
            case events.ChangeRefused(_, direction, status):
                call_id = self.session.call_id
                _log.warning("call %s: hold or resume was refused with %d", call_id, status)
                self.on_hold = direction == "sendonly"
            case events.DigitReceived(_, digit):
                self.on_digit(digit)
            case events.DigitSent(_, digit, status) if status >= 300:
                _log.warning("a digit was refused in INFO with %d", status)
                self.media.speech.keypad.accepts_info = False
            case events.SessionEnded(_, by, status, reason):
                self.state = "ended"
                self.ended_by = "local" if by == "local" else "remote"
                self.status, self.reason = status, reason
                self.ended_at = trio.current_time()
                self.media.close()
                self._referrals_in.close()
            case _:
                pass  # Tasks that wait for a change see it.
        self.on_change()

    def _configure(self, agreed: Agreed) -> None:
        self._negotiated = agreed
        if self.session.dialogs:
            source = self.session.dialogs[0].flow.remote[0]
            if agreed.remote_name is not None:
                self.endpoint.find_address(agreed.remote_name, partial(self._locate, agreed))
                agreed = agreed.located(source)
            elif not agreed.reachable_from(source):
                agreed = agreed.located(source)
        self._apply(agreed)

    def _locate(self, agreed: Agreed, host: str) -> None:
        """Use the address that DNS returned for the peer's media, if the agreement is current."""
        if self._negotiated is agreed and self.state != "ended":
            self._apply(agreed.located(host))

    def _apply(self, agreed: Agreed) -> None:
        self._agreed = agreed
        self.codec = agreed.codec.partition(";")[0]  # Without its settings.
        self.held = agreed.direction in ("recvonly", "inactive")
        self.media.speech.keypad.accepts_info = self.session.timer.info_allowed
        self.media.configure(agreed)
        self.life.configure(agreed, trio.current_time())

    def look(self) -> None:
        """Check whether the far end still responds; called each second."""
        if self.state != "ended" and self.life.look(self.session, trio.current_time()):
            self.on_change()

    def _receive_media(self, event: MediaEvent) -> None:
        match event:
            case EventDigit(digit):
                self.on_digit(digit)
            case ToneDigit(digit):
                self.on_tone(digit)
            case SpeechChanged(speaking):
                self.on_speech(speaking)
            case CadenceHeard(tone):
                self.on_cadence(tone)
            case GreetingJudged(greeting):
                self.on_greeting(greeting)
            case InfoDigit(digit, duration_ms):
                self._send_info(digit, duration_ms)
            case HandshakeFinished(failure):
                self._finish_handshake(failure)

    def _send_info(self, digit: str, duration_ms: int) -> None:
        # The call may have ended at this moment.
        with suppress(LocalProtocolError), self.endpoint.command() as (_, now):
            self.session.digits.send(digit, duration_ms, now)

    def _finish_handshake(self, failure: str | None) -> None:
        """Handle the end of a DTLS handshake; a failed one ends the call (RFC 5763 6.7.1).

        Before the answer, a failure only means that there is no early media.
        """
        if failure is not None and self.answered_at is not None:
            self.hang_up(488, failure)
        self.on_change()
