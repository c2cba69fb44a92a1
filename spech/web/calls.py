"""The calls that pages show: live ones, and those that ended in the last 30 seconds."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Literal

import trio

from spech.sip.message.display import displayable
from spech.web.appearance import LONGEST_ADDRESS, Appearance
from spech.web.messages.command import Refused

if TYPE_CHECKING:
    from spech import IncomingCall

#: Calls that may be up at once; a further incoming one is busy.
CALL_LIMIT = 8
#: How long an ended call stays in the list, seconds.
ENDED_STAYS = 30.0
#: Calls off the list whose timeline can still be had.
_KEPT = 50


class CallList:
    """Appearances by id, in the order in which they began.

    Args:
        notify: called at each change.
        note: notes what is new about a call in the history.
    """

    def __init__(self, notify: Callable[[], None], note: Callable[[Appearance], None]) -> None:
        self._notify = notify
        self.note = note
        self._appearances: dict[str, Appearance] = {}
        self._kept: deque[Appearance] = deque(maxlen=_KEPT)
        self._number = 0

    def __iter__(self) -> Iterator[Appearance]:
        return iter(list(self._appearances.values()))

    @property
    def live(self) -> list[Appearance]:
        """The calls that are not over."""
        return [appearance for appearance in self._appearances.values() if appearance.live]

    def is_full(self, direction: Literal["incoming", "outgoing"]) -> bool:
        """Whether no further call may begin: incoming ones leave room for those that we place."""
        return sum(one.direction == direction for one in self.live) >= CALL_LIMIT

    def begin(
        self,
        account: str,
        direction: Literal["incoming", "outgoing"],
        remote: str,
        display_name: str | None,
    ) -> Appearance:
        """A new call of an account; those that have ended leave the list for it.

        The peer chose ``remote`` and ``display_name``, so they are made fit to be shown.
        """
        for appearance in self:
            if not appearance.live:
                self._drop(appearance)
        appearance = self._make(account, direction, remote, display_name)
        self._appearances[appearance.id] = appearance
        self.note(appearance)
        self._notify()
        return appearance

    def refuse(
        self,
        incoming: IncomingCall,
        account: str,
        status: int,
        text: str,
    ) -> Appearance:
        """Reject an incoming call of an account without ringing; only the history has it.

        ``text`` says why, for people. One that is over already is only noted.
        """
        appearance = self._make(account, "incoming", incoming.caller_number, incoming.display_name)
        if not incoming.over:
            incoming.reject(status)
        appearance.timeline = partial(getattr, incoming, "timeline")
        appearance.end("local", status, text, trio.current_time())
        self.note(appearance)
        return appearance

    def _make(
        self,
        account: str,
        direction: Literal["incoming", "outgoing"],
        remote: str,
        display_name: str | None,
    ) -> Appearance:
        self._number += 1
        return Appearance(
            f"c{self._number}",
            account,
            direction,
            displayable(remote, LONGEST_ADDRESS),
            displayable(display_name) if display_name else None,
            trio.current_time(),
        )

    def forget(self, appearance: Appearance) -> None:
        """Take an ended call off the list."""
        self._drop(appearance)
        self._notify()

    def _drop(self, appearance: Appearance) -> None:
        self._kept.append(self._appearances.pop(appearance.id))

    def together(self, appearance: Appearance) -> list[Appearance]:
        """The call, and all live calls that are in a conference with it."""
        membership = appearance.membership
        if membership is None:
            return [appearance]
        return [
            each
            for each in self.live
            if each.membership is not None and each.membership.conference is membership.conference
        ]

    def find_kept(self, call: str) -> Appearance:
        """The call of that id, live, ended, or one of the last that left the list.

        Raises:
            Refused: ``no_such_call``.
        """
        kept = next((kept for kept in self._kept if kept.id == call), None)
        return kept or self.find(call)

    def find(self, call: str) -> Appearance:
        """The call of that id, live or ended.

        Raises:
            Refused: ``no_such_call``.
        """
        try:
            return self._appearances[call]
        except KeyError:
            raise Refused(
                "no_such_call", "This call is over.", "It was ended or dismissed before."
            ) from None

    def find_live(self, call: str) -> Appearance:
        """The call of that id, which is not over.

        Raises:
            Refused: ``no_such_call``.
        """
        appearance = self.find(call)
        if not appearance.live:
            raise Refused("no_such_call", "This call is over.")
        return appearance

    def find_answered(self, call: str) -> Appearance:
        """The call of that id, which is up.

        Raises:
            Refused: ``no_such_call``, ``not_answered``.
        """
        appearance = self.find_live(call)
        if not appearance.answered:
            raise Refused("not_answered", "The call is not answered yet.", "Wait for the answer.")
        return appearance
