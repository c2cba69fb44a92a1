"""Carries calls that are answered: to bots in turn, or as a script says, and to their end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

import trio

from spech.bridge.access import Access
from spech.bridge.audiosocket import AudioSocketLink
from spech.bridge.conversation import Conversation
from spech.bridge.dialects.base import CallInfo, ConversationEnded, Dialect
from spech.bridge.link import BotLink, LinkFailed
from spech.bridge.recordings import CallRecorder, RecordingStore
from spech.bridge.records import CallActivity, CarriedCall, ConversationOutcome
from spech.bridge.scripts import CallScript, ScriptedCall
from spech.bridge.tap import tapped
from spech.bridge.targets import Bots, Targets
from spech.bridge.url import WebSocketUrl
from spech.errors import CallFailed, MediaError
from spech.phone.call import Call
from spech.phone.incoming import IncomingCall
from spech.phone.phone import Phone
from spech.scopes import open_scope

#: The rate of PCM, in Hz, where the bot has to know it before a codec is agreed on.
EARLY_RATE: Final = 8000
#: What is said where a call never had a bot.
_UNREACHED: Final = ConversationEnded("error", 503, "no WebSocket")
#: With which a call is rejected that a script has not answered, unless it names a status.
_DECLINED: Final = 603


@dataclass(frozen=True)
class Carrier:
    """How a bridge carries its calls; see :class:`spech.bridge.bridge.Bridge` for the options.

    Attributes:
        bots: those that a call may have.
        last_resort: what takes the place of the last bot: a file to play, or a SIP URI.
        advance: called when a call may have got further.
        check_target: raises :class:`CallRefused <spech.bridge.orders.CallRefused>` for what bots
            and scripts may not call, or transfer to.
    """

    bots: Bots
    last_resort: Path | str | None
    access: Access
    rate: int | None
    recordings: RecordingStore | None
    tap: WebSocketUrl | None
    low_latency: bool
    advance: Callable[[CarriedCall], object]
    check_target: Callable[[str], None]
    on_barge_in: Callable[[float], None] | None

    async def watch(self, carried: CarriedCall, call: Call) -> None:
        """Report how far a call gets, until it is answered."""
        while call.state != "ended":
            self.advance(carried)
            if carried.stage == "answered":
                return
            await call.changed()

    async def carry(
        self,
        phone: Phone,
        carried: CarriedCall,
        call: Call,
        targets: Targets,
        first: CallActivity | None = None,
    ) -> None:
        """Carry a call that is answered, or has early media, to its end.

        Args:
            phone: places further calls.
            carried: the call, in which its end is noted.
            call: the same.
            targets: the bots that are left.
            first: what is done before they are tried.
        """
        async with self._attended(carried, call):
            outcome = ConversationOutcome(_UNREACHED, failed=True)
            if first is not None:
                outcome = await carried.do(first)
            await self._conclude(phone, carried, call, targets, outcome)

    async def converse(
        self,
        phone: Phone,
        carried: CarriedCall,
        info: CallInfo,
        call: Call,
        link: BotLink | AudioSocketLink,
        dialect: Dialect,
    ) -> ConversationOutcome:
        """Let a bot that is connected talk in a call."""
        assert carried.recorder is not None
        rate = dialect.rate or self.rate or (EARLY_RATE if link.used else None)
        call.low_latency = self.low_latency
        with call.open_audio(rate) as port:
            told = info.sounding(call.codec, port.rate)
            conversation = Conversation(
                call,
                port,
                link,
                dialect,
                told,
                phone.call,
                self.check_target,
                carried.recorder,
                self.on_barge_in,
            )
            return await conversation.run()

    @asynccontextmanager
    async def _attended(self, carried: CarriedCall, call: Call) -> AsyncIterator[None]:
        """For a block, note how far a call gets, and let the listener hear it."""
        carried.recorder = CallRecorder(call, carried.id, self.recordings)
        async with open_scope() as nursery, AsyncExitStack() as stack:
            self.advance(carried)
            if carried.stage != "answered":
                nursery.start_soon(self.watch, carried, call)
            if self.tap is not None:
                tap = tapped(call, carried.info, self.tap, self.access)
                await stack.enter_async_context(tap)
            yield
            nursery.cancel_scope.cancel()

    async def _conclude(
        self,
        phone: Phone,
        carried: CarriedCall,
        call: Call,
        targets: Targets,
        outcome: ConversationOutcome,
    ) -> None:
        """If a bot has failed, try those that are left. Note how the call ends."""
        while outcome.failed and targets and call.state != "ended":
            try:
                async with targets.reach() as another:
                    talk = partial(self.converse, phone, carried, carried.info, call, *another)
                    outcome = await carried.do(talk)
            except LinkFailed as error:
                if outcome.end is _UNREACHED:
                    end = ConversationEnded("error", error.status, str(error))
                    outcome = replace(outcome, end=end)
                break
        await self._end(carried, call, outcome)

    async def _end(self, carried: CarriedCall, call: Call, outcome: ConversationOutcome) -> None:
        """Note how the last conversation ended. If the bot failed, do without one, or hang up."""
        carried.untaken_frames, carried.lost_ms = outcome.untaken, outcome.lost_ms
        said = f"{call.codec}, {call.duration:.1f} s, {_describe(outcome)}"
        carried.finish(outcome.end, said)
        if not outcome.failed or call.state == "ended":
            return
        if self.last_resort is None:
            call.hang_up(outcome.end.status, outcome.end.reason)
        else:
            done = await _fall_back(call, self.last_resort)
            carried.finish(outcome.end, f"{said}; then {done}")

    # ------------------------------------------------------------------ scripts

    def scripted(self, phone: Phone, carried: CarriedCall, call: Call) -> ScriptedCall:
        """A call that is answered, for a script."""

        async def answer() -> Call:
            return call

        talk = partial(self._talk, phone, carried, answer)
        return ScriptedCall(carried, partial(self._place, phone), answer, talk, call.ended)

    async def follow(
        self, script: CallScript, phone: Phone, incoming: IncomingCall, carried: CarriedCall
    ) -> None:
        """Let a script decide about an incoming call.

        Raises:
            LinkFailed: the script failed, and has not answered the call.
        """
        async with open_scope() as nursery:

            async def answer() -> Call:
                if carried.call is None:
                    carried.call = await nursery.start(self._hold, incoming, carried)
                return carried.call

            talk = partial(self._talk, phone, carried, answer)
            place = partial(self._place, phone)
            scripted = ScriptedCall(carried, place, answer, talk, incoming.ended)
            outcome = await carried.do(partial(script, scripted))
            if carried.call is not None:
                others = self.bots.of(carried.info)
                await self._conclude(phone, carried, carried.call, others, outcome)
            elif outcome.failed:
                raise LinkFailed(outcome.end.reason, outcome.end.status)
            else:
                status = outcome.end.status if outcome.end.status >= 400 else _DECLINED
                incoming.reject(status)
                carried.finish(replace(outcome.end, status=status))
            nursery.cancel_scope.cancel()

    @asynccontextmanager
    async def _place(
        self, phone: Phone, target: str, *, caller: str | None = None
    ) -> AsyncIterator[Call]:
        """See :attr:`ScriptedCall.place`."""
        self.check_target(target)
        async with phone.call(target, caller=caller) as call:
            yield call

    async def _hold(
        self, incoming: IncomingCall, carried: CarriedCall, *, task_status: trio.TaskStatus[Call]
    ) -> None:
        """Answer a call, and keep its block open until cancelled."""
        async with incoming.answer() as call:
            carried.call = call
            async with self._attended(carried, call):
                task_status.started(call)
                await trio.sleep_forever()

    async def _talk(
        self,
        phone: Phone,
        carried: CarriedCall,
        answer: Callable[[], Awaitable[Call]],
        bot: WebSocketUrl,
        parameters: Mapping[str, str],
    ) -> ConversationOutcome:
        """See :attr:`ScriptedCall.talk`."""
        info = replace(carried.info, parameters={**carried.info.parameters, **parameters})
        async with self.bots.only(info, bot).reach() as reached:
            return await self.converse(phone, carried, info, await answer(), *reached)


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
