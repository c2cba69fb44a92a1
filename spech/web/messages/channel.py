"""What goes through the control channel: every command, and the answers.

A command that does not fit these types is a ``bad_request``.
"""

from __future__ import annotations

import msgspec

from spech.web.messages.accounts import AccountCommand
from spech.web.messages.call_settings import ChangeCallSettings
from spech.web.messages.calls import CallCommand
from spech.web.messages.chats import ChatCommand
from spech.web.messages.contacts import ContactCommand
from spech.web.messages.history import HistoryCommand
from spech.web.messages.people import PeopleCommand
from spech.web.messages.quality import QualityHistory
from spech.web.messages.recordings import RecordingCommand

Command = (
    CallCommand
    | RecordingCommand
    | HistoryCommand
    | ContactCommand
    | PeopleCommand
    | AccountCommand
    | ChangeCallSettings
    | ChatCommand
    | QualityHistory
)


class Fault(msgspec.Struct, frozen=True):
    """The ``error`` of an answer."""

    code: str
    message: str
    hint: str


class Done(msgspec.Struct, frozen=True):
    """The answer to a command that was carried out."""

    id: int | str
    ok: msgspec.Struct


class Failed(msgspec.Struct, frozen=True):
    """The answer to a command that was not. ``id`` is null when the command had no usable one."""

    id: int | str | None
    error: Fault
