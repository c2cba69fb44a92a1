"""What a bridge notes about its calls: the present ones, and the last that have ended.

Digits are not noted: they may be PINs.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final, Literal

import msgspec
import trio

from spech.bridge.dialects.base import ConversationEnded
from spech.phone.call import Call

#: Records of calls that have ended.
_MOST_ENDED: Final = 100
_STOPPED: Final = ConversationEnded("shutdown", 503, "the bridge ends")


class CallRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One call, now or at its end.

    Attributes:
        id: given by the bridge; the Call-ID is chosen by the caller.
        setup_seconds: from the INVITE to the answer, with the bot's WebSocket in between.
        cause, status, reason: why it ended, as the bot is told; None before.
        untaken_frames: 20 ms each of the caller's sound that the bot did not take.
        lost_seconds: sound of the bot that was lost because too much waited.
        mos: estimated quality, 1 to 4.5 (ITU-T G.107).
        summary: the end in words.
    """

    id: str
    call_id: str
    caller: str
    called: str
    state: Literal["ringing", "answered", "ended"]
    began: datetime
    setup_seconds: float | None
    seconds: float
    codec: str | None
    cause: str | None
    status: int | None
    reason: str | None
    untaken_frames: int
    lost_seconds: float
    mos: float | None
    summary: str


@dataclass(slots=True, eq=False)
class CarriedCall:
    """A call that the bridge carries.

    Attributes:
        call: the call, once it is taken.
        end: why it has ended; what is here at first holds if the bridge is stopped.
        said: the end in words.
    """

    call_id: str
    caller: str
    called: str
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    began_at: float = field(default_factory=trio.current_time)
    call: Call | None = None
    setup_seconds: float | None = None
    end: ConversationEnded = _STOPPED
    said: str = _STOPPED.reason
    untaken_frames: int = 0
    lost_ms: float = 0.0

    def take(self, call: Call) -> None:
        """The call has been taken."""
        self.call = call
        self.setup_seconds = round(trio.current_time() - self.began_at, 3)

    def record(self, *, ended: bool = False) -> CallRecord:
        """What there is to say about it."""
        call = self.call
        return CallRecord(
            id=self.id,
            call_id=self.call_id,
            caller=self.caller,
            called=self.called,
            state="ended" if ended else "ringing" if call is None else "answered",
            began=self.began,
            setup_seconds=self.setup_seconds,
            seconds=0.0 if call is None else round(call.duration, 3),
            codec=None if call is None else call.codec,
            cause=self.end.cause if ended else None,
            status=self.end.status if ended else None,
            reason=self.end.reason if ended else None,
            untaken_frames=self.untaken_frames,
            lost_seconds=round(self.lost_ms / 1000, 3),
            mos=None if call is None else call.statistics.mos,
            summary=f"{self.caller} -> {self.called}: {self.said}" if ended else "",
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
        """All records, the oldest first, those of the present calls last."""
        return [*self._ended.values(), *(one.record() for one in self._present.values())]
