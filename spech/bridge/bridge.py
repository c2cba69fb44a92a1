"""Connects calls to bots and recorders over WebSockets.

Spech opens a WebSocket for each incoming call, and a dialect says what goes through it; see
docs/bots.md. When the call or the WebSocket ends, so does the other.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import trio

from spech.bridge.access import Access
from spech.bridge.audiosocket import AudioSocketLink, open_audiosocket
from spech.bridge.conversation import Conversation, ConversationOutcome, PlaceCall
from spech.bridge.dialects import find
from spech.bridge.dialects.base import CallInfo, ConversationEnded, Dialect, StartEarlyMedia
from spech.bridge.link import BotLink, LinkFailed, open_link
from spech.bridge.records import CallRecord, CarriedCall, Ledger
from spech.bridge.ringing import Decision, Rejected, RingingCall
from spech.bridge.routes import Routes
from spech.bridge.tap import tapped
from spech.bridge.url import WebSocketUrl
from spech.errors import CallFailed, LocalProtocolError, MediaError, SpechError
from spech.media.port import FRAMES_PER_SECOND
from spech.phone.call import Call
from spech.phone.incoming import IncomingCall
from spech.phone.phone import Phone

_log: Final = logging.getLogger(__name__)

#: Header fields of an INVITE that a bot is told, besides those that begin with ``X-``.
_TOLD: Final = ("Diversion", "History-Info", "Subject", "User-to-User")
#: Characters of all of them together.
_MOST_TOLD: Final = 8000

#: The rate of PCM, in Hz, where the bot has to know it before a codec is agreed on.
_RATE: Final = 8000
#: What is said where a call never had a bot.
_UNREACHED: Final = ConversationEnded("error", 503, "no WebSocket")

Fallback = WebSocketUrl | Path | str
"""What takes the place of a bot that fails: another one, a sound file, or a SIP URI."""


class Bridge:
    """Connects every incoming call to a WebSocket.

    Args:
        routes: the URL to connect to for each call.
        protocol: the name of the dialect that the bot speaks.
        rate: of the PCM in Hz, for dialects that leave it open; by default that of each call's
            codec.
        access: what is shown to servers of bots, and asked from them.
        parameters: what the bot is told as custom parameters.
        fallbacks: what to try in turn where the bot cannot be reached or fails: another bot, a
            sound file that is played, or a SIP URI that the caller is transferred to.
        recordings: the folder for recordings that bots ask for; None for none.
        tap: a listener that hears both sides of each call; None for none.
        bot_answers: whether each call rings until the bot answers or rejects it.
        low_latency: whether bots hear sound as it arrives; see :attr:`spech.Call.low_latency`.
        report: called with the record of each call when it is over.

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
        recordings: Path | None = None,
        tap: WebSocketUrl | None = None,
        bot_answers: bool = False,
        low_latency: bool = True,
        report: Callable[[CallRecord], None] = lambda record: None,
    ) -> None:
        self._make: Callable[[], Dialect] = find(protocol)
        self._routes = routes
        self._others = [one for one in fallbacks if isinstance(one, WebSocketUrl)]
        bots = (*routes.bots, *self._others)
        if any(protocol.startswith("audiosocket") != one.audiosocket for one in bots):
            raise LocalProtocolError(
                "audiosocket needs tcp://host:port, and no other protocol has it"
            )
        if tap is not None and tap.audiosocket:
            raise LocalProtocolError("a tap is a WebSocket: ws://… or wss://…")
        if protocol.startswith("audiosocket") and tap is None and access not in (None, Access()):
            raise LocalProtocolError(
                "audiosocket has no handshake: headers, tokens, signatures and certificates "
                "cannot be sent"
            )
        self._last_resort = next(
            (one for one in fallbacks if not isinstance(one, WebSocketUrl)), None
        )
        self._rate = rate
        self._parameters = dict(parameters or {})
        self._recordings = recordings
        self._tap = tap
        self._bot_answers = bot_answers
        self._low_latency = low_latency
        self._report = report
        #: The calls.
        self.ledger = Ledger()
        #: Whether calls are rejected, because the bridge is to end.
        self.draining = False
        self._quiet = trio.lowlevel.ParkingLot()
        self._access = access or Access()

    async def serve(self, phone: Phone) -> None:
        """Accept calls until cancelled. An error ends its call and no other."""
        await phone.serve(partial(self._take, phone.call))

    async def drain(self) -> None:
        """Reject calls with 503 from now on, and wait until the present ones have ended."""
        self.draining = True
        await trio.lowlevel.checkpoint()
        while self.ledger.present:
            await self._quiet.park()

    async def _take(self, place: PlaceCall, incoming: IncomingCall) -> None:
        if self.draining:
            incoming.reject(503)
            return
        carried = CarriedCall(incoming.call_id, incoming.caller_number, incoming.called)
        self.ledger.open(carried)
        try:
            await self._take_one(place, incoming, carried)
        finally:
            self._report(self.ledger.close(carried))
            if not self.ledger.present:
                self._quiet.unpark_all()

    async def _take_one(
        self, place: PlaceCall, incoming: IncomingCall, carried: CarriedCall
    ) -> None:
        try:
            carried.said = await self._carry(place, incoming, carried)
        except LinkFailed as error:
            incoming.reject(error.status)
            carried.end = ConversationEnded("error", error.status, str(error))
            carried.said = f"rejected with {error.status}: {error}"
        except SpechError as error:
            carried.end = ConversationEnded("error", 500, str(error))
            carried.said = str(error)
        except Exception:
            _log.exception("a call failed")
            carried.said = "failed, see the log"
            carried.end = ConversationEnded("error", 500, carried.said)

    async def _carry(self, place: PlaceCall, incoming: IncomingCall, carried: CarriedCall) -> str:
        """Carry one call from beginning to end; return its summary."""
        targets = self._targets(incoming)
        tap = self._tap and self._fill(self._tap, incoming)
        async with AsyncExitStack() as stack:
            reached, early = None, False
            try:
                reached = await stack.enter_async_context(self._reach(targets))
                if self._bot_answers:
                    decision = await self._ask(incoming, *reached)
                    if isinstance(decision, Rejected):
                        carried.end, said = _refuse(incoming, decision)
                        return said
                    early = isinstance(decision, StartEarlyMedia)
            except LinkFailed:
                reached = None
                if self._last_resort is None and not targets:
                    raise
            take = incoming.progress if early else incoming.answer
            call = await stack.enter_async_context(take())
            carried.take(call)
            if tap is not None:
                describe = partial(self._info, incoming, call.codec)
                await stack.enter_async_context(tapped(call, describe, tap, self._access))
            outcome = ConversationOutcome(_UNREACHED, failed=True)
            if reached is not None:
                outcome = await self._converse(place, incoming, call, *reached)
            while outcome.failed and targets and call.state != "ended":
                try:
                    async with self._reach(targets) as another:
                        outcome = await self._converse(place, incoming, call, *another)
                except LinkFailed:
                    break
            carried.end = outcome.end
            carried.untaken_frames, carried.lost_ms = outcome.untaken, outcome.lost_ms
            said = f"{call.codec}, {call.duration:.1f} s, {_describe(outcome)}"
            if outcome.failed and call.state != "ended":
                if self._last_resort is None:
                    call.hang_up(outcome.end.status, outcome.end.reason)
                else:
                    said += f"; then {await _fall_back(call, self._last_resort)}"
            return said

    def _targets(self, incoming: IncomingCall) -> deque[WebSocketUrl]:
        """The URLs to try for a call, in turn.

        Raises:
            LinkFailed: the called number has none, or values of the call do not fit into one.
        """
        first = self._routes.find(incoming.called)
        if first is None:
            raise LinkFailed("there is no route for it", 404)
        return deque([self._fill(one, incoming) for one in (first, *self._others)])

    def _fill(self, url: WebSocketUrl, incoming: IncomingCall) -> WebSocketUrl:
        """A URL with the values of a call.

        Raises:
            LinkFailed: they do not fit.
        """
        try:
            return url.fill(incoming.called, incoming.caller_number, _told(incoming))
        except LocalProtocolError as error:
            raise LinkFailed(str(error), 404) from error

    @asynccontextmanager
    async def _reach(
        self, targets: deque[WebSocketUrl]
    ) -> AsyncIterator[tuple[BotLink | AudioSocketLink, Dialect]]:
        """A WebSocket to the first of the targets that can be reached; those tried are removed.

        Raises:
            LinkFailed: none can be reached.
        """
        while True:
            dialect = self._make()
            async with AsyncExitStack() as stack:
                try:
                    link = await stack.enter_async_context(self._open(targets.popleft(), dialect))
                except LinkFailed:
                    if not targets:
                        raise
                    continue
                yield link, dialect
                return

    def _open(
        self, target: WebSocketUrl, dialect: Dialect
    ) -> AbstractAsyncContextManager[BotLink | AudioSocketLink]:
        if target.audiosocket:
            return open_audiosocket(target)
        return open_link(target, dialect.subprotocol, self._access)

    async def _ask(
        self, incoming: IncomingCall, link: BotLink | AudioSocketLink, dialect: Dialect
    ) -> Decision:
        """Let the bot decide about a call that rings.

        Raises:
            LinkFailed: the bot failed meanwhile.
        """
        info = self._info(incoming, None, dialect.rate or self._rate or _RATE)
        return await RingingCall(incoming, link, dialect, info).decide()

    def _info(self, incoming: IncomingCall, codec: str | None, rate: int) -> CallInfo:
        return CallInfo(
            incoming.call_id,
            incoming.caller_number,
            incoming.called,
            codec,
            rate,
            rate // FRAMES_PER_SECOND,
            incoming.display_name,
            _told(incoming),
            self._parameters,
        )

    async def _converse(
        self,
        place: PlaceCall,
        incoming: IncomingCall,
        call: Call,
        link: BotLink | AudioSocketLink,
        dialect: Dialect,
    ) -> ConversationOutcome:
        rate = dialect.rate or self._rate or (_RATE if link.used else None)
        call.low_latency = self._low_latency
        with call.open_audio(rate) as port:
            info = self._info(incoming, call.codec, port.rate)
            conversation = Conversation(
                call, port, link, dialect, info, place, recordings=self._recordings
            )
            return await conversation.run()


def _refuse(incoming: IncomingCall, rejected: Rejected) -> tuple[ConversationEnded, str]:
    """Reject a call that the bot does not want; its end, and the summary of it."""
    if rejected.status is None:
        return ConversationEnded("hangup", 487, "they gave up"), "they gave up"
    incoming.reject(rejected.status)
    said = f"rejected by the bot with {rejected.status}"
    return ConversationEnded("bot", rejected.status, said), said


async def _fall_back(call: Call, resort: Path | str) -> str:
    """Do without a bot: play a file, or transfer the caller. Returns what was done."""
    try:
        if isinstance(resort, Path):
            await call.play(resort).played()
            return f"{resort.name} was played"
        await call.transfer(resort)
    except (CallFailed, MediaError) as error:
        call.hang_up(503, str(error))
        return str(error)
    return f"transferred to {resort}"


def _told(incoming: IncomingCall) -> dict[str, str]:
    """The header fields of the INVITE that a bot is told."""
    told: dict[str, str] = {}
    room = _MOST_TOLD
    for name, value in incoming.headers:
        if (name in _TOLD or name.startswith("X-")) and len(name) + len(value) <= room:
            room -= len(name) + len(value)
            told[name] = f"{told[name]}, {value}" if name in told else value
    return told


def _describe(outcome: ConversationOutcome) -> str:
    """How a conversation ended, for the line about a call."""
    match outcome.end.cause:
        case "hangup":
            said = "they hung up"
        case "transfer":
            said = "transferred"
        case _:
            said = outcome.end.reason
    if outcome.untaken:
        said += f", frames that the bot did not take: {outcome.untaken}"
    if outcome.lost_ms:
        said += f", sound of the bot that was lost: {outcome.lost_ms / 1000:.1f} s"
    return said
