"""The state of the phone: everything that a page shows, except meters."""

from __future__ import annotations

import msgspec

from spech.web.messages.accounts import AccountState, VaultState
from spech.web.messages.call_settings import CallSettings
from spech.web.messages.calls import CallState
from spech.web.messages.chats import ChatsState
from spech.web.messages.contacts import ContactsState
from spech.web.messages.history import HistoryState
from spech.web.messages.people import PersonState


class CodecState(msgspec.Struct, frozen=True):
    name: str
    rate: int
    bitrate: int
    available: bool
    package: str
    suggested: bool


class KnownNumber(msgspec.Struct, frozen=True):
    """A number that pages suggest, and what answers there."""

    number: str
    title: str


class AudioState(msgspec.Struct, frozen=True):
    port: int
    rate: int


class PageState(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the page shows, except meters."""

    version: str
    person: PersonState
    accounts: tuple[AccountState, ...]
    vault: VaultState
    call_settings: CallSettings
    chats: ChatsState
    codecs: tuple[CodecState, ...]
    audio: AudioState
    grace_s: float
    numbers: tuple[KnownNumber, ...]
    history: HistoryState
    contacts: ContactsState
    calls: tuple[CallState, ...]


class StateMessage(msgspec.Struct, frozen=True, tag_field="type", tag="state"):
    state: PageState
