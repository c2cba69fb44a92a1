"""The ground of all commands: their fields in common, and how one is refused."""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec

from spech.errors import SpechError

Id = Annotated[str, msgspec.Meta(max_length=128)] | int
CallId = Annotated[str, msgspec.Meta(max_length=32)]
AccountId = Annotated[str, msgspec.Meta(min_length=1, max_length=32)]
Short = Annotated[str, msgspec.Meta(max_length=1024)]


class Refused(SpechError):
    """A command cannot be done: ``code`` for programs, ``message`` and ``hint`` for people."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint


class Envelope(msgspec.Struct, frozen=True):
    """As much of a command as is needed to answer it when the rest is unusable."""

    id: Id


class Nothing(msgspec.Struct, frozen=True):
    """The ``ok`` of a command that has no result."""


class PageCommand(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="command"
):
    """A command of a page. Its ``id`` returns in the answer."""

    #: What ``ok`` of the answer holds.
    outcome: ClassVar[type[msgspec.Struct]] = Nothing

    id: Id
