"""What a bridge notes about its calls: the present ones, and the last that have ended.

Digits may be PINs. They are masked unless the operator asks for them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal

import msgspec
import trio

from spech.bridge.dialects.base import CallInfo, ConversationEnded
from spech.bridge.recordings import CallRecorder
from spech.errors import LocalProtocolError
from spech.media.playback import Playback
from spech.phone.call import Call

#: Records of calls that have ended: those that are found by name, and those that are listed.
_MOST_ENDED: Final = 1000
MOST_RECORDS_LISTED: Final = 100
_STOPPED: Final = ConversationEnded("shutdown", 503, "the bridge ends")


CallStage = Literal["initiated", "ringing", "answered", "ended"]
"""How far a call has got; only a call that the bridge places is "initiated" at first."""

CallEventName = Literal["initiated", "ringing", "answered", "completed"]

#: What webhooks and applications call it when a call gets into a stage.
EVENT_NAMES: Final[Mapping[CallStage, CallEventName]] = {
    "initiated": "initiated",
    "ringing": "ringing",
    "answered": "answered",
    "ended": "completed",
}

#: The stage of a call that is not answered, by its state.
_STAGES: Final[Mapping[str, CallStage]] = {
    "trying": "initiated",
    "ringing": "ringing",
    "early": "ringing",
}


@dataclass(frozen=True, slots=True)
class ConversationOutcome:
    """How a conversation ended.

    Attributes:
        end: what the bot was told.
        failed: whether the bot failed, so that something else may take its place.
        untaken: frames of the caller's sound that the bot did not take.
        lost_ms: how much of the bot's sound was lost because too much waited.
    """

    end: ConversationEnded
    failed: bool = False
    untaken: int = 0
    lost_ms: float = 0.0


CallActivity = Callable[[], Awaitable[ConversationOutcome]]
"""What is done with a call; it may be cancelled, because something else is to be done instead."""


class CallRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One call, now or at its end.

    Attributes:
        id: given by the bridge; the Call-ID is chosen by the caller.
        direction: "inbound", or "outbound" where the bridge placed the call.
        setup_seconds: from the INVITE to the answer, with the bot's WebSocket in between.
        cause, status, reason: why it ended, as the bot is told; None before.
        untaken_frames: 20 ms each of the caller's sound that the bot did not take.
        lost_seconds: sound of the bot that was lost because too much waited.
        digits: what the far end has pressed, at most the last 1,000; ``x`` for each where they are
            masked.
        mos: estimated quality, 1 to 4.5 (ITU-T G.107).
        summary: the end in words.
    """

    id: str
    call_id: str
    direction: Literal["inbound", "outbound"]
    caller: str
    called: str
    state: CallStage
    began: datetime
    setup_seconds: float | None
    seconds: float
    codec: str | None
    cause: str | None
    status: int | None
    reason: str | None
    untaken_frames: int
    lost_seconds: float
    digits: str
    mos: float | None
    summary: str


CallListener = Callable[[CallRecord], object]
"""Is told the record of a call at each change of its state."""


@dataclass(slots=True, eq=False)
class CarriedCall:
    """A call that the bridge carries.

    Attributes:
        info: whose call it is.
        show_digits: whether its record tells the digits that were pressed.
        call: the call, once it is taken or placed.
        recorder: records it.
        sound: what the control plane plays in it.
        scope: what carries it; for a call that is not taken yet, cancelling it rejects the call.
        stage: how far it has got, as far as :meth:`advance` has noticed.
        end: why it has ended; what is here at first holds if the bridge is stopped.
        said: the end in words.
        listener: is told its changes, besides the listener of the bridge.
    """

    info: CallInfo
    show_digits: bool = False
    call: Call | None = None
    recorder: CallRecorder | None = None
    sound: Playback | None = None
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    began_at: float = field(default_factory=trio.current_time)
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    stage: CallStage = "ringing"
    setup_seconds: float | None = None
    end: ConversationEnded = _STOPPED
    said: str = _STOPPED.reason
    untaken_frames: int = 0
    lost_ms: float = 0.0
    listener: CallListener | None = None
    _doing: trio.CancelScope | None = None
    _next: CallActivity | None = None

    @property
    def id(self) -> str:
        """The bridge's name of the call."""
        return self.info.id

    def play(self, file: Path, *, gain: float, repeat: bool) -> None:
        """Play a file over what the bot says, in place of the one before.

        Raises:
            LocalProtocolError: the call is not answered, and has no early media.
            MediaError: the file cannot be read.
            CallEnded: the call is over.
        """
        self.sound = self.talking().play_background(file, gain=gain, repeat=repeat)

    def silence(self) -> None:
        """End what :meth:`play` has begun."""
        if self.sound is not None:
            self.sound.flush()

    def talking(self) -> Call:
        """The call, if sound flows in it.

        Raises:
            LocalProtocolError: it does not.
        """
        if self.call is None or self.call.state not in ("early", "answered"):
            raise LocalProtocolError("the call is not answered")
        return self.call

    def advance(self) -> bool:
        """Notice how far the call has got. Returns whether that is further than before."""
        call = self.call
        if call is None or self.stage == "answered":
            return False
        stage = _STAGES.get(call.state, self.stage)
        if call.state == "answered" or call.duration:
            stage = "answered"
            self.setup_seconds = round(trio.current_time() - call.duration - self.began_at, 3)
        advanced = stage != self.stage
        self.stage = stage
        return advanced

    async def do(self, activity: CallActivity) -> ConversationOutcome:
        """Do this, or what :meth:`divert` names meanwhile; returns how the last of them ended."""
        while True:
            if self._next is not None:
                activity, self._next = self._next, None
            with trio.CancelScope() as self._doing:
                outcome = await activity()
            if self._next is None:
                return outcome

    def divert(self, activity: CallActivity) -> None:
        """Do this from now on, in place of what is done at present."""
        self._next = activity
        if self._doing is not None:
            self._doing.cancel()

    def finish(self, end: ConversationEnded, said: str | None = None) -> None:
        """Note why the call has ended."""
        self.end = end
        self.said = end.reason if said is None else said

    def hang_up(self) -> None:
        """End the call; one that is not taken yet is rejected with 480."""
        if self.call is not None:
            self.call.hang_up()
        else:
            self.finish(ConversationEnded("hangup", 480, "rejected by the control plane"))
            self.scope.cancel()

    @property
    def _digits(self) -> str:
        digits = "" if self.call is None else self.call.digits_received
        return digits if self.show_digits else "x" * len(digits)

    def record(self, *, ended: bool = False) -> CallRecord:
        """What there is to say about it."""
        call = self.call
        return CallRecord(
            id=self.id,
            call_id=self.info.call_id,
            direction=self.info.direction,
            caller=self.info.caller,
            called=self.info.called,
            state="ended" if ended else self.stage,
            began=self.began,
            setup_seconds=self.setup_seconds,
            seconds=0.0 if call is None else round(call.duration, 3),
            codec=None if call is None else call.codec,
            cause=self.end.cause if ended else None,
            status=self.end.status if ended else None,
            reason=self.end.reason if ended else None,
            untaken_frames=self.untaken_frames,
            lost_seconds=round(self.lost_ms / 1000, 3),
            digits=self._digits,
            mos=None if call is None else call.statistics.mos,
            summary=f"{self.info.caller} -> {self.info.called}: {self.said}" if ended else "",
        )


class Ledger:
    """The present calls of a bridge by their names, and the records of the last that have ended."""

    def __init__(self) -> None:
        self._present: dict[str, CarriedCall] = {}
        self._ended: dict[str, CallRecord] = {}

    @property
    def present(self) -> Mapping[str, CarriedCall]:
        """The present calls."""
        return MappingProxyType(self._present)

    def open(self, carried: CarriedCall) -> None:
        """A call has arrived."""
        self._present[carried.id] = carried

    def close(self, carried: CarriedCall) -> CallRecord:
        """A call has ended; its record."""
        del self._present[carried.id]
        record = self._ended[carried.id] = carried.record(ended=True)
        if len(self._ended) > _MOST_ENDED:
            del self._ended[next(iter(self._ended))]
        return record

    def find(self, name: str) -> CallRecord | None:
        """The record of a call, None where there is none."""
        carried = self._present.get(name)
        return self._ended.get(name) if carried is None else carried.record()

    def records(self) -> list[CallRecord]:
        """The latest records, the oldest first, those of the present calls last."""
        ended = list(self._ended.values())[-MOST_RECORDS_LISTED:]
        return [*ended, *(one.record() for one in self._present.values())]
