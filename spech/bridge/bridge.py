"""Connects calls to bots and recorders over WebSockets.

Spech opens a WebSocket for each call, incoming or placed, and a dialect says what goes through it;
see docs/bots.md. When the call or the WebSocket ends, so does the other.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import trio

from spech.bridge.access import Access
from spech.bridge.audiosocket import AudioSocketLink
from spech.bridge.carrying import EARLY_RATE, Carrier
from spech.bridge.dialects.base import CallInfo, ConversationEnded, Dialect, StartEarlyMedia
from spech.bridge.link import BotLink, LinkFailed
from spech.bridge.orders import CallOrder, CallRefused
from spech.bridge.recordings import RecordingStore
from spech.bridge.records import CallListener, CallRecord, CarriedCall, Ledger
from spech.bridge.ringing import Decision, Rejected, RingingCall
from spech.bridge.routes import Routes
from spech.bridge.scripts import CallScript
from spech.bridge.targets import Bots
from spech.bridge.url import WebSocketUrl
from spech.errors import CallEnded, LocalProtocolError, SpechError
from spech.media.port import FRAMES_PER_SECOND
from spech.phone.call import Call
from spech.phone.incoming import IncomingCall
from spech.phone.phone import Phone
from spech.scopes import open_scope
from spech.sip.message.headers import Headers

_log: Final = logging.getLogger(__name__)

#: Header fields of an INVITE that a bot is told, besides those that begin with ``X-``.
_TOLD: Final = ("Diversion", "History-Info", "Subject", "User-to-User")
#: Characters of all of them together.
_MOST_TOLD: Final = 8000

_GAVE_UP: Final = ConversationEnded("hangup", 487, "they gave up")
#: Orders that wait to be placed, which takes as long as the name of a server has to be looked up.
_MOST_ORDERS: Final = 100
#: Seconds after which one call too many may be tried again.
RETRY_SECONDS: Final = 10

Fallback = WebSocketUrl | Path | str
"""What takes the place of a bot that fails: another one, a sound file, or a SIP URI."""


@dataclass(frozen=True, slots=True)
class _Placing:
    """A call to be placed; see :meth:`Bridge.originate`."""

    order: CallOrder
    script: CallScript | None
    listener: CallListener | None
    answer: trio.MemorySendChannel[CallRecord | SpechError]


class Bridge:
    """Connects every incoming call to a WebSocket, and every call that it is asked to place.

    Args:
        routes: the URL to connect to for each call.
        protocol: the name of the dialect that the bot speaks.
        rate: of the PCM in Hz, for dialects that leave it open; by default that of each call's
            codec.
        access: what is shown to servers of bots, and asked from them.
        parameters: what the bot is told as custom parameters.
        fallbacks: what to try in turn where the bot cannot be reached or fails: another bot, a
            sound file that is played, or a SIP URI that the caller is transferred to.
        recordings: the folder for recordings; None for none.
        tap: a listener that hears both sides of each call; None for none.
        bot_answers: whether each incoming call rings until the bot answers or rejects it.
        low_latency: whether bots hear sound as it arrives; see :attr:`spech.Call.low_latency`.
        max_calls: how many calls there may be at once, None for no limit.
        callable_targets: regular expressions, one of which has to match what programs and bots call
            or transfer a call to; None if that may be anything.
        script: decides about incoming calls in place of the routes; None for the routes.
        show_digits: whether records tell the digits that were pressed; they may be PINs.
        report: called with the record of each call at each change of its state, None for nobody.
        on_barge_in: called with the seconds for which each caller who interrupted a bot waited for
            its silence; None not to measure it.

    Raises:
        LocalProtocolError: the protocol is unknown, or not that of a URL.
    """

    def __init__(
        self,
        routes: Routes,
        *,
        access: Access | None = None,
        protocol: str = "raw",
        rate: int | None = None,
        parameters: Mapping[str, str] | None = None,
        fallbacks: Sequence[Fallback] = (),
        recordings: RecordingStore | None = None,
        tap: WebSocketUrl | None = None,
        bot_answers: bool = False,
        low_latency: bool = True,
        max_calls: int | None = None,
        callable_targets: Sequence[Any] | None = None,
        script: CallScript | None = None,
        show_digits: bool = False,
        report: CallListener | None = None,
        on_barge_in: Callable[[float], None] | None = None,
    ) -> None:
        self._access = access or Access()
        others = [one for one in fallbacks if isinstance(one, WebSocketUrl)]
        self._bots = Bots(routes, others, protocol, self._access)
        if tap is not None and tap.audiosocket:
            raise LocalProtocolError("a tap is a WebSocket: ws://… or wss://…")
        if protocol.startswith("audiosocket") and tap is None and self._access != Access():
            raise LocalProtocolError(
                "audiosocket has no handshake: headers, tokens, signatures and certificates "
                "cannot be sent"
            )
        self._carrier = Carrier(
            self._bots,
            next((one for one in fallbacks if not isinstance(one, WebSocketUrl)), None),
            self._access,
            rate,
            recordings,
            tap,
            low_latency,
            self._advance,
            self.check_target,
            on_barge_in,
        )
        self._parameters = dict(parameters or {})
        self._bot_answers = bot_answers
        self._script = script
        self._max_calls = max_calls
        self._callable_targets = callable_targets
        self._show_digits = show_digits
        self._report = report
        #: The calls.
        self.ledger = Ledger()
        #: Whether calls are rejected, because the bridge is to end.
        self.draining = False
        #: What serves it; told to refuse calls when the bridge is to end.
        self._phone: Phone | None = None
        self._quiet = trio.lowlevel.ParkingLot()
        self._ordered = 0
        self._orders_in, self._orders = trio.open_memory_channel[_Placing](_MOST_ORDERS)

    async def serve(self, phone: Phone) -> None:
        """Carry calls until cancelled. An error ends its call and no other."""
        self._phone = phone
        async with open_scope() as nursery:
            if self._carrier.recordings is not None:
                nursery.start_soon(self._carrier.recordings.keep)
            nursery.start_soon(self._place_all, phone)
            await phone.serve(partial(self._take, phone))

    async def drain(self) -> None:
        """Reject calls with 503 from now on, and wait until the present ones have ended."""
        self.draining = True
        if self._phone is not None:
            self._phone.refuse_calls()
        await trio.lowlevel.checkpoint()
        while self.ledger.present:
            await self._quiet.park()

    @property
    def _full(self) -> bool:
        """Whether there are too many calls for another one, orders included."""
        present = len(self.ledger.present) + self._ordered
        return self._max_calls is not None and present >= self._max_calls

    # ------------------------------------------------------------------ all calls

    @contextmanager
    def _guarding(self, carried: CarriedCall) -> Iterator[None]:
        """Carry a call in a block. An error ends the block, and is noted in the ledger."""
        try:
            with carried.scope:
                yield
        except CallEnded:
            carried.finish(_GAVE_UP)
        except SpechError as error:
            carried.finish(ConversationEnded("error", 500, str(error)))
        except Exception:
            _log.exception("a call failed")
            carried.finish(ConversationEnded("error", 500, "failed, see the log"))
        finally:
            if carried.id in self.ledger.present:
                self._advance(carried)
                self._tell(carried, self.ledger.close(carried))
            if not self.ledger.present:
                self._quiet.unpark_all()

    def _open(self, carried: CarriedCall) -> None:
        """Note a call, until its block ends."""
        self.ledger.open(carried)
        self._tell(carried)

    def _advance(self, carried: CarriedCall) -> None:
        if carried.advance():
            self._tell(carried)

    def _tell(self, carried: CarriedCall, record: CallRecord | None = None) -> None:
        """Tell who wants to know how the call is, or what its last record is."""
        for hear in (self._report, carried.listener):
            if hear is not None:
                record = record or carried.record()
                hear(record)

    # ------------------------------------------------------------------ incoming calls

    async def _take(self, phone: Phone, incoming: IncomingCall) -> None:
        if self.draining or self._full:
            again = None if self.draining else {"Retry-After": str(RETRY_SECONDS)}
            incoming.reject(503, headers=again)
            return
        info = CallInfo(
            incoming.call_id,
            incoming.caller_number,
            incoming.called,
            None,
            EARLY_RATE,
            EARLY_RATE // FRAMES_PER_SECOND,
            incoming.display_name,
            _told(incoming.headers),
            self._parameters,
            "inbound",
            uuid.uuid4().hex,
        )
        carried = CarriedCall(info, self._show_digits)
        with self._guarding(carried):
            self._open(carried)
            try:
                await self._answer(phone, incoming, carried)
            except LinkFailed as error:
                incoming.reject(error.status)
                end = ConversationEnded("error", error.status, str(error))
                carried.finish(end, f"rejected with {error.status}: {error}")

    async def _answer(self, phone: Phone, incoming: IncomingCall, carried: CarriedCall) -> None:
        """Carry an incoming call from beginning to end.

        Raises:
            LinkFailed: it was not answered, because no bot can be reached.
        """
        if self._script is None:
            targets = self._bots.of(carried.info, self._bots.choose(incoming.called))
        else:
            try:
                await self._carrier.follow(self._script, phone, incoming, carried)
                return
            except LinkFailed:
                targets = self._bots.of(carried.info)
                if not targets and self._carrier.last_resort is None:
                    raise
        async with AsyncExitStack() as stack:
            reached, early = None, False
            try:
                reached = await stack.enter_async_context(targets.reach())
                if self._bot_answers:
                    decision = await self._ask(incoming, carried.info, *reached)
                    if isinstance(decision, Rejected):
                        carried.finish(_refuse(incoming, decision))
                        return
                    early = isinstance(decision, StartEarlyMedia)
            except LinkFailed:
                reached = None
                if self._carrier.last_resort is None and not targets:
                    raise
            take = incoming.progress if early else incoming.answer
            call = await stack.enter_async_context(take())
            carried.call = call
            talk = None
            if reached is not None:
                talk = partial(self._carrier.converse, phone, carried, carried.info, call, *reached)
            await self._carrier.carry(phone, carried, call, targets, talk)

    async def _ask(
        self,
        incoming: IncomingCall,
        info: CallInfo,
        link: BotLink | AudioSocketLink,
        dialect: Dialect,
    ) -> Decision:
        """Let the bot decide about a call that rings.

        Raises:
            LinkFailed: the bot failed meanwhile.
        """
        info = info.sounding(None, dialect.rate or self._carrier.rate or EARLY_RATE)
        return await RingingCall(incoming, link, dialect, info).decide()

    def divert(self, phone: Phone, carried: CarriedCall, script: CallScript) -> None:
        """Have a script decide about a call from now on, in place of what is done with it.

        Args:
            phone: that of the bridge.
            carried: a call that is answered.
            script: what decides.

        Raises:
            LocalProtocolError: the call is not answered.
        """
        call = carried.call
        if call is None or call.state != "answered":
            raise LocalProtocolError("the call is not answered")
        carried.divert(partial(script, self._carrier.scripted(phone, carried, call)))

    # ------------------------------------------------------------------ calls that are placed

    async def originate(
        self,
        order: CallOrder,
        script: CallScript | None = None,
        listener: CallListener | None = None,
    ) -> CallRecord:
        """Place a call; its bot is connected when it is answered.

        Args:
            order: whom to call.
            script: decides about the call once it is answered, in place of a bot.
            listener: is told how far the call gets.

        Returns:
            The record of the call, once its INVITE is sent. After a cancellation it may be placed
            all the same.

        Raises:
            CallRefused: the bridge does not place it.
            LocalProtocolError: the order cannot be carried out as it is.
            LinkFailed: there is no bot for it.
            ServerUnreachable, PortsExhausted: as of :meth:`spech.Phone.call`.
        """
        if self.draining:
            raise CallRefused(503, "the bridge ends")
        self.check_target(order.to)
        answer_in, answer = trio.open_memory_channel[CallRecord | SpechError](1)
        too_many = CallRefused(503, "there are too many calls", retry_after=RETRY_SECONDS)
        if self._full:
            raise too_many
        self._ordered += 1
        try:
            self._orders_in.send_nowait(_Placing(order, script, listener, answer_in))
            outcome = await answer.receive()
        except trio.WouldBlock:
            raise too_many from None
        except trio.EndOfChannel:
            raise CallRefused(500, "failed, see the log") from None
        finally:
            self._ordered -= 1
        if isinstance(outcome, SpechError):
            raise outcome
        return outcome

    def check_target(self, target: str) -> None:
        """Check whether programs and bots may call a number or a SIP URI, or transfer to it.

        Raises:
            CallRefused: they may not.
        """
        allowed = self._callable_targets
        if allowed is not None and not any(one.fullmatch(target) for one in allowed):
            raise CallRefused(403, f"{target!r} may not be called")

    async def _place_all(self, phone: Phone) -> None:
        async with open_scope() as nursery:
            async for placing in self._orders:
                nursery.start_soon(self._place, phone, placing)

    async def _place(self, phone: Phone, placing: _Placing) -> None:
        """Carry a call from its INVITE to its end."""
        order, script, answer = placing.order, placing.script, placing.answer
        info = CallInfo(
            "",
            "",
            order.to,
            None,
            EARLY_RATE,
            EARLY_RATE // FRAMES_PER_SECOND,
            order.display_name,
            {},
            {**self._parameters, **order.parameters},
            "outbound",
            uuid.uuid4().hex,
        )
        carried = CarriedCall(info, self._show_digits, stage="initiated", listener=placing.listener)
        with answer, self._guarding(carried):
            async with AsyncExitStack() as stack:
                try:
                    first = None
                    if script is None:
                        first = self._bots.choose(order.to, order.websocket)
                    calling = phone.call(
                        order.to,
                        caller=order.caller,
                        display_name=order.display_name,
                        headers=order.headers,
                    )
                    call = await stack.enter_async_context(calling)
                    told = _told(Headers(order.headers.items()))
                    carried.info = replace(
                        info, call_id=call.call_id, caller=call.local, headers=told
                    )
                    targets = self._bots.of(carried.info, first)
                except SpechError as error:
                    answer.send_nowait(error)
                    return
                carried.call = call
                self._open(carried)
                answer.send_nowait(carried.record())
                if await self._answered(carried, call, order.timeout):
                    activity = None
                    if script is not None:
                        activity = partial(script, self._carrier.scripted(phone, carried, call))
                    await self._carrier.carry(phone, carried, call, targets, activity)

    async def _answered(self, carried: CarriedCall, call: Call, timeout: float) -> bool:
        """Wait until a call that was placed is answered. Returns whether it is."""
        with trio.move_on_after(timeout):
            await self._carrier.watch(carried, call)
        if call.state == "answered":
            return True
        status, reason = 408, f"no answer within {timeout:g} s"
        if call.state == "ended":
            status, reason = call.status or 487, call.reason
        # A call that was answered may have ended already.
        cause = "hangup" if call.duration or call.ended_by == "local" else "unanswered"
        carried.finish(ConversationEnded(cause, status, reason), f"{status} {reason}")
        return False


def _refuse(incoming: IncomingCall, rejected: Rejected) -> ConversationEnded:
    """Reject a call that the bot does not want; its end."""
    if rejected.status is None:
        return _GAVE_UP
    incoming.reject(rejected.status)
    said = f"rejected by the bot with {rejected.status}"
    return ConversationEnded("bot", rejected.status, said)


def _told(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The header fields of an INVITE that a bot is told."""
    told: dict[str, str] = {}
    room = _MOST_TOLD
    for name, value in headers:
        if (name in _TOLD or name.startswith("X-")) and len(name) + len(value) <= room:
            room -= len(name) + len(value)
            told[name] = f"{told[name]}, {value}" if name in told else value
    return told
