"""The verb ``<Dial>``: calls other parties at once, and connects the first that answers."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import trio

from spech.bridge.dialects.twilio import call_sid
from spech.bridge.scripts import PlaceCallFrom
from spech.bridge.twilio.forms import refused_status
from spech.bridge.twilio.twiml import DialVerb
from spech.errors import CallEnded, CallFailed, SpechError
from spech.media.playback import Playback
from spech.phone.call import Call
from spech.phone.connecting import connect
from spech.scopes import open_scope

_log: Final = logging.getLogger(__name__)

#: What several parties together have answered: the first that one of them did.
_STATUSES: Final = ("busy", "no-answer", "failed")


@dataclass(frozen=True, slots=True)
class DialOutcome:
    """What became of parties that were called.

    Attributes:
        status: "completed" where one has answered, "busy", "no-answer" or "failed".
        seconds: of the conversation.
        sid: of the call to the party that has answered.
    """

    status: str
    seconds: float = 0.0
    sid: str | None = None

    @property
    def form(self) -> dict[str, str]:
        """What the action of the verb is told."""
        form = {"DialCallStatus": self.status, "DialBridged": str(self.sid is not None).lower()}
        if self.sid is not None:
            form |= {"DialCallSid": self.sid, "DialCallDuration": str(round(self.seconds))}
        return form


class Dialler:
    """Carries out one ``<Dial>``.

    Args:
        verb: whom to call.
        place: calls them.
        answer: answers the call that they are connected with, and returns it.
        call: that call, None where it still rings.
    """

    def __init__(
        self,
        verb: DialVerb,
        place: PlaceCallFrom,
        answer: Callable[[], Awaitable[Call]],
        call: Call | None,
    ) -> None:
        self._verb = verb
        self._place = place
        self._answer = answer
        self._ringback: Playback | None = None if call is None else call.play_tone("ringback")
        self._scopes: dict[str, trio.CancelScope] = {}
        self._refusals: list[str] = []
        self._chosen = False
        self._outcome: DialOutcome | None = None

    async def run(self) -> DialOutcome:
        """Until the conversation has ended, or nobody has answered.

        When it is cancelled, the other parties are hung up; the call is not.

        Raises:
            CallEnded: the call ended before it could be connected.
        """
        try:
            async with open_scope() as nursery:
                for target in dict.fromkeys(self._verb.parties):
                    self._scopes[target] = trio.CancelScope()
                    nursery.start_soon(self._ring, target)
        finally:
            self._quieten()
        if self._outcome is not None:
            return self._outcome
        return DialOutcome(min(self._refusals, key=_STATUSES.index, default="failed"))

    def _quieten(self) -> None:
        """End the tone that says that it rings."""
        if self._ringback is not None:
            self._ringback.flush()

    async def _ring(self, target: str) -> None:
        with self._scopes[target]:
            try:
                async with self._place(target, caller=self._verb.caller) as far:
                    await far.answered(timeout=self._verb.ringing_seconds)
                    if self._chosen:
                        return  # Another one was a moment earlier.
                    self._chosen = True
                    for other, scope in self._scopes.items():
                        if other != target:
                            scope.cancel()
                    self._quieten()
                    await self._connect(far)
            except CallEnded:
                raise
            except CallFailed as error:
                status = refused_status(error.status)
                self._refusals.append(status if status in _STATUSES else "failed")
            except SpechError as error:
                _log.warning("%s cannot be called: %s", target, error)

    async def _connect(self, far: Call) -> None:
        call = await self._answer()
        began = trio.current_time()
        self._outcome = DialOutcome("completed", sid=call_sid(uuid.uuid4().hex))
        with trio.move_on_after(self._verb.longest_seconds):
            await connect(call, far)
        seconds = trio.current_time() - began
        self._outcome = DialOutcome("completed", seconds, self._outcome.sid)
