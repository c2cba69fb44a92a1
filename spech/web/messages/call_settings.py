"""What a person wants of calls: do not disturb, forwarding, answering, recording."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Final

import msgspec

from spech.phone.rules import CallRules
from spech.web.messages.command import PageCommand, Short

#: A number or an address as a person enters it.
DIALLABLE: Final = re.compile(r"(?=.*[A-Za-z0-9*#])[^\x00-\x1f\x7f<>\"]{1,256}")


class CallSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The settings of a person for all accounts.

    ``forward``, ``forward_busy`` and ``forward_unanswered`` are numbers or addresses, empty for
    none. ``auto_answer`` lets an open page answer, ``record_beep`` tells the other side of the
    recording with a beep every 15 s.
    """

    do_not_disturb: bool = False
    call_waiting: bool = True
    auto_answer: bool = False
    forward: str = ""
    forward_busy: str = ""
    forward_unanswered: str = ""
    unanswered_s: Annotated[int, msgspec.Meta(ge=5, le=120)] = 20
    record: bool = False
    record_beep: bool = True

    def changed(self, changes: Mapping[str, object]) -> CallSettings:
        """The settings with other values for some fields.

        Raises:
            msgspec.ValidationError: there is no such field, or a value is of the wrong kind.
        """
        return msgspec.convert(msgspec.structs.asdict(self) | dict(changes), CallSettings)

    @property
    def fault(self) -> str:
        """What is wrong with them, in a sentence, or ""."""
        for target in (self.forward, self.forward_busy, self.forward_unanswered):
            if target and not DIALLABLE.fullmatch(target):
                return "Calls cannot be forwarded to this: it is not a number."
        return ""

    def rules(self, *, engaged: bool) -> CallRules:
        """The rules for the phones of all accounts; ``engaged`` while there is a call."""
        return CallRules(
            do_not_disturb=self.do_not_disturb,
            call_waiting=self.call_waiting,
            engaged=engaged,
            forward=self.forward,
            forward_busy=self.forward_busy,
            forward_unanswered=self.forward_unanswered,
            unanswered_after=self.unanswered_s,
        )


class ChangeCallSettings(PageCommand, frozen=True, tag="change_call_settings"):
    """``changes`` holds the fields of `CallSettings` that get another value."""

    changes: dict[Annotated[str, msgspec.Meta(max_length=32)], Short | bool | int]
