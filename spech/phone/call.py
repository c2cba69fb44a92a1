"""The public class of a call, and the transfers that the far end requests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import trio

from spech.errors import CallEnded, CallFailed, LocalProtocolError
from spech.phone.arguments import check_refusal
from spech.phone.driver import CallDirection, CallDriver, CallStateName, EndedBy
from spech.phone.fields import cause_header, retry_after, shown
from spech.phone.talking import Talking
from spech.scopes import require_trio
from spech.sip.call.replaces import Replaces
from spech.sip.call.transfer import Referral
from spech.sip.dialog.caller import number_of, q850_cause
from spech.sip.message.uri import Uri
from spech.sip.timeline import Entry, ladder, to_pcap

#: Calls the target of a referral, with these codecs and this caller.
PlaceReferred = Callable[
    [Referral, Sequence[str] | None, str | None], "AbstractAsyncContextManager[Call]"
]


class Call(Talking):
    """One call, from either side. Made by ``phone.call(...)`` and ``incoming.answer(...)``.

    Commands to a call that is over raise :class:`~spech.errors.CallEnded`, except :meth:`hang_up`.
    Properties can be read at any time.
    """

    def __init__(
        self,
        driver: CallDriver,
        *,
        complete: Callable[[str], Uri],
        place_referred: PlaceReferred,
    ) -> None:
        super().__init__(driver.media)
        self._driver = driver
        self._complete = complete
        self._place_referred = place_referred
        driver.on_change = self._notify
        driver.on_digit = self._receive_digit
        driver.on_tone = self._receive_tone
        driver.on_speech = self._receive_speech
        driver.on_cadence = self._receive_cadence
        driver.on_greeting = self._receive_greeting

    def __repr__(self) -> str:
        return f"<Call {self.direction} {self.remote} {self.state}>"

    # ------------------------------------------------------------------ state

    @property
    def direction(self) -> CallDirection:
        """``"outgoing"`` or ``"incoming"``."""
        return self._driver.direction

    @property
    def remote(self) -> str:
        """The far end: the number or address that was dialed, or the caller's number.

        It changes when the far end transfers us to another party (an attended transfer).
        """
        return self._driver.remote

    @property
    def local(self) -> str:
        """Our end: the number or name that we call from, or that the caller has called."""
        session = self._driver.session
        invited_by = session.invited_by
        return number_of(session.identity.uri if invited_by is None else invited_by.uri)

    @property
    def state(self) -> CallStateName:
        """``"trying"``, ``"ringing"``, ``"early"`` (early media), ``"answered"`` or ``"ended"``."""
        return self._driver.state

    @property
    def status(self) -> int | None:
        """The last SIP status, None before the first."""
        return self._driver.status

    @property
    def reason(self) -> str:
        """The reason phrase of :attr:`status`; once the call has ended, why it ended."""
        return self._driver.reason

    @property
    def ended_by(self) -> EndedBy | None:
        """``"local"`` or ``"remote"`` once the call has ended, None before."""
        return self._driver.ended_by

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """What the far end's INVITE carried, or its latest response to ours: names and values.

        See :attr:`IncomingCall.headers <spech.IncomingCall.headers>`.
        """
        return shown(self._driver.session.received)

    @property
    def cause(self) -> int | None:
        """The cause of ITU-T Q.850 with which the far end ended the call (RFC 3326), or None.

        16 is a normal end, 17 busy, 19 no answer, 34 no circuit.
        """
        return q850_cause(self._driver.session.parting)

    @property
    def on_hold(self) -> bool:
        """Whether we have put the far end on hold. See :meth:`hold`."""
        return self._driver.on_hold

    @property
    def held(self) -> bool:
        """Whether the far end has put us on hold: it does not receive our sound."""
        return self._driver.held

    @property
    def no_sound(self) -> bool:
        """Whether no sound has arrived for a while (5 s by default), though it should.

        It is False while the far end may be silent: during a hold, and where silence suppression
        is negotiated, as long as the far end answers OPTIONS.
        """
        return self._driver.life.no_sound

    @property
    def codec(self) -> str | None:
        """The name of the codec in use, None before media is negotiated."""
        return self._driver.codec

    @property
    def call_id(self) -> str:
        """The Call-ID, as in the logs of both ends."""
        return self._driver.session.call_id

    @property
    def duration(self) -> float:
        """Seconds since the answer, up to the end; 0.0 without an answer."""
        return self._driver.duration

    @property
    def timeline(self) -> tuple[Entry, ...]:
        """The events so far, in order; times are those of ``trio.current_time()``."""
        return self._driver.endpoint.agent.timeline.entries(self.call_id)

    def ladder(self) -> str:
        """The call so far as text: messages, timers, states and media changes."""
        return ladder(self.timeline, wall=self.wall)

    def capture(self) -> bytes:
        """The messages so far as a packet capture (pcap), credentials masked.

        It is complete once the phone has closed, including the response to the farewell.
        """
        return to_pcap(self.timeline, self.wall)

    @property
    def wall(self) -> float:
        """What to add to a time of :attr:`timeline` to get seconds since 1970."""
        return self._driver.opened_wall - self._driver.opened_at

    def _require_up(self) -> None:
        self._driver.require_up()

    # ------------------------------------------------------------------ course of the call

    async def answered(self, timeout: float | None = None) -> None:
        """Wait until the far end answers.

        Args:
            timeout: seconds to wait, None for no limit. After a timeout the call still rings;
                leaving its block cancels it.

        Raises:
            CallFailed: the call was refused or failed, or (408) was not answered in time.
            RuntimeError: this is not a task of Trio.
        """
        require_trio()
        with trio.move_on_after(float("inf") if timeout is None else timeout):
            while self.state not in ("answered", "ended"):
                await self.changed()
        if self._driver.answered_at is not None:
            return
        if self.state == "ended":
            after = retry_after(self._driver.session.parting)
            raise CallFailed(self.status or 487, self.reason, cause=self.cause, retry_after=after)
        raise CallFailed(408, f"No answer within {timeout:g} s")

    def answer(self) -> None:
        """Answer an incoming call that began with early media.

        See :meth:`IncomingCall.answer() <spech.IncomingCall.answer>`.

        Raises:
            CallEnded: the call is over.
            LocalProtocolError: the call is answered already, or is an outgoing one.
        """
        self._driver.answer()

    async def ended(self) -> None:
        """Wait until the call is over, whichever side ends it."""
        while self.state != "ended":
            await self.changed()

    def hang_up(
        self, status: int | None = None, reason: str | None = None, *, cause: int | None = None
    ) -> None:
        """Send the farewell that fits the call's state. Synchronous and idempotent.

        Args:
            status: the SIP status that says why, in the Reason header of a BYE (RFC 3326).
            reason: the same in words.
            cause: the cause for the telephone network (ITU-T Q.850), in another Reason header.

        Raises:
            LocalProtocolError: ``cause`` is not a number from 1 to 127.
        """
        self._driver.hang_up(status, reason, cause_header(cause))

    def hold(self) -> None:
        """Ask the far end to stop sending, with a re-INVITE (RFC 3264 8.4).

        If it refuses, the call continues as before, and :attr:`on_hold` is false again.

        Raises:
            CallEnded: the call is over.
            LocalProtocolError: the call is not answered.
        """
        self._driver.change_hold(True)

    def resume(self) -> None:
        """Take the far end off hold, with a re-INVITE.

        Raises:
            CallEnded: the call is over.
            LocalProtocolError: the call is not answered.
        """
        self._driver.change_hold(False)

    async def played(self) -> None:
        """Wait until all queued sounds and digits are sent, and digits in INFO are confirmed.

        Raises:
            CallEnded: the call ended first.
        """
        await self._media.speech.played()
        while self._driver.session.digits.pending:
            self._require_up()
            await self.changed()
        self._require_up()

    # ------------------------------------------------------------------ transfer

    @property
    def transfer_progress(self) -> tuple[int, str] | None:
        """Status and reason of the latest transfer that we asked for, None without one."""
        transfer = self._driver.transfer
        return None if transfer is None else (transfer.status, transfer.reason)

    @property
    def transfer_accepted(self) -> bool:
        """Whether the far end agreed to the latest transfer that we asked for."""
        transfer = self._driver.transfer
        return transfer is not None and transfer.accepted

    async def transfer(self, target: str, timeout: float = 30.0) -> None:
        """Have the far end call ``target`` in our place, then hang up (blind transfer, RFC 5589 6).

        The call continues until the outcome is known, and :meth:`changed` returns at each progress
        report. If the far end agrees and hangs up without reporting an outcome, the transfer counts
        as successful. After a cancellation the transfer may still happen.

        Args:
            target: a number or name at the account's server (``601``), or a SIP URI.
            timeout: seconds to wait for the outcome.

        Raises:
            CallFailed: the far end or the target refused, or (408) no outcome was reported in time.
                The call continues.
            CallEnded: the call is over.
            LocalProtocolError: ``target`` is neither a number nor a SIP URI, or the call is not
                answered or being transferred already.
        """
        await self._refer(self._complete(target), timeout)

    async def transfer_to(self, other: Call, timeout: float = 30.0) -> None:
        """Connect the far ends of both calls and hang up both (attended transfer, RFC 5589 7).

        Args:
            other: a call that is up. Our far end calls its far end, and replaces it.
            timeout: seconds to wait for the outcome.

        Raises:
            CallFailed: the transfer was refused, or (408) no outcome was reported in time. Both
                calls continue.
            CallEnded: one of the calls is over.
            LocalProtocolError: one of the calls is not answered, or being transferred already.
        """
        await other._confirmed(timeout)
        session = other._driver.session
        if session.dialog is None or not session.is_up:
            raise LocalProtocolError("the other call is not answered")
        await self._refer(Replaces.of(session).within(session.dialog.target), timeout)
        other.hang_up()
        await other.ended()

    async def _confirmed(self, timeout: float) -> None:
        """Wait for the ACK to our answer, if it has not arrived."""
        with trio.move_on_after(timeout):
            while self.state == "answered" and not self._driver.session.is_up:
                await self.changed()
        self._require_up()

    async def _refer(self, target: Uri, timeout: float) -> None:
        await self._confirmed(timeout)
        transfer = self._driver.refer(target)
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
        """The transfers that the far end requests: ``async for request in call.transfers()``.

        Transfers are declined (603) if this was not called half a second after they arrived. The
        iterator ends with the call.

            async for request in call.transfers():
                async with request.follow() as new:
                    await new.ended()

        This is not needed for a call that is the target of an attended transfer: the call
        continues, and its :attr:`remote` changes.
        """
        self._driver.take_transfers()
        return _TransferRequests(self._driver, self._place_referred)


class TransferRequest:
    """The far end asks us to call another party (RFC 5589). Follow or reject it.

    Made by :meth:`Call.transfers`. The far end receives progress reports on the new call, and
    usually hangs up when it is answered.
    """

    def __init__(self, driver: CallDriver, referral: Referral, place: PlaceReferred) -> None:
        self._driver = driver
        self._referral = referral
        self._place = place

    def __repr__(self) -> str:
        return f"<TransferRequest to {self.target}>"

    @property
    def target(self) -> str:
        """The SIP URI to call."""
        return str(self._referral.target)

    @property
    def referred_by(self) -> str | None:
        """Who requests the transfer, as the far end claims (RFC 3892); not verified."""
        return self._referral.referred_by

    def reject(self, status: int = 603) -> None:
        """Decline it; the present call continues. Does nothing after it was followed.

        Raises:
            LocalProtocolError: ``status`` is not a failure from 400 to 699.
        """
        check_refusal(status)
        self._driver.reject_referral(self._referral, status)

    @asynccontextmanager
    async def follow(
        self, codecs: Sequence[str] | None = None, *, caller: str | None = None
    ) -> AsyncIterator[Call]:
        """Call the target; leaving the block hangs that call up. The old call is not touched.

        Args:
            codecs: names in order of preference; the phone's own by default.
            caller: a SIP URI to call from, in place of the account's.

        Raises:
            CallEnded: the transfer was rejected, or has expired.
            ServerUnreachable: the host is unknown.
            PortsExhausted: no RTP port is free.
            CodecUnavailable: a name in ``codecs`` is unknown or its library is missing.
        """
        if self._referral.over:
            raise CallEnded("The transfer is over.")
        try:
            async with self._place(self._referral, codecs, caller) as call:
                yield call
        finally:
            self.reject(480)  # Reports the outcome now, unless the new call has done so.


class _TransferRequests(AsyncIterator[TransferRequest]):
    """Waiting transfer requests. Not a generator, so that it may be left at any time."""

    def __init__(self, driver: CallDriver, place: PlaceReferred) -> None:
        self._driver = driver
        self._place = place

    async def __anext__(self) -> TransferRequest:
        referral = await anext(self._driver.referrals)
        return TransferRequest(self._driver, referral, self._place)
