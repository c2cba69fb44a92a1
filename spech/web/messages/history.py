"""The history of calls: what pages ask of it, and what it holds."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from spech.web.messages.calls import TimelineOutcome
from spech.web.messages.command import PageCommand, Short

#: What became of a call. ``running`` ones are in no answer; ``lost`` ones ended with the server.
Fate = Literal[
    "running",
    "answered",
    "missed",
    "declined",
    "busy",
    "unanswered",
    "cancelled",
    "failed",
    "elsewhere",
    "forwarded",
    "lost",
]
EntryId = Annotated[str, msgspec.Meta(max_length=32)]
#: Calls that one answer lists.
MOST_LISTED = 200


class CallEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A call that was made or came in. Times are seconds since 1970.

    ``account`` is the id of the account, ``line`` its address then. ``remote`` and ``name`` are the
    far end, and ``contact`` the name that the person gave to it. ``status`` is the final SIP
    status, ``text`` says for people how the call ended. ``mos`` is the mean opinion score of the
    whole call. ``recordings`` are names of files, which may have been deleted since. ``unseen``
    calls were missed, and no page has shown them. ``told`` says whether there is a story.
    """

    id: str
    account: str
    line: str
    direction: Literal["incoming", "outgoing"]
    remote: str
    name: str | None
    began: float
    answered: float | None
    ended: float | None
    fate: Fate
    status: int | None
    text: str
    codec: str | None
    mos: float | None
    recordings: tuple[str, ...]
    contact: str | None = None
    unseen: bool = False
    told: bool = False


class HistoryOutcome(msgspec.Struct, frozen=True):
    """Calls that have ended, the newest first; ``more`` says whether there are older ones."""

    entries: tuple[CallEntry, ...]
    more: bool


class ShowHistory(PageCommand, frozen=True, tag="history"):
    outcome = HistoryOutcome

    search: Short = ""
    missed: bool = False
    before: EntryId | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=MOST_LISTED)] = 50


class TellHistory(PageCommand, frozen=True, tag="history_story"):
    outcome = TimelineOutcome

    entry: EntryId


class SeeHistory(PageCommand, frozen=True, tag="see_history"):
    pass


class ForgetEntry(PageCommand, frozen=True, tag="forget_entry"):
    entry: EntryId


class ForgetHistory(PageCommand, frozen=True, tag="forget_history"):
    pass


class KeepHistory(PageCommand, frozen=True, tag="keep_history"):
    days: Annotated[int, msgspec.Meta(ge=1, le=36500)] | None


HistoryCommand = ShowHistory | TellHistory | SeeHistory | ForgetEntry | ForgetHistory | KeepHistory


class HistoryState(msgspec.Struct, frozen=True):
    """How many ``missed`` calls no page has shown, and a number that grows with each change.

    ``keep_days`` is the age in days at which calls are forgotten, None for never.
    """

    missed: int
    revision: int
    keep_days: int | None
