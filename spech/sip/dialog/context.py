"""The interface that a UserAgent gives its sessions, registrations and subscriptions."""

from __future__ import annotations

import random
from typing import Protocol

from spech.addresses import Address
from spech.sip.dialog.dialog import Dialog
from spech.sip.dialog.event import Event
from spech.sip.message.ids import Identifiers
from spech.sip.message.uri import Uri
from spech.sip.transaction.flow import Flow, Outgoing
from spech.sip.transaction.layer import TransactionLayer
from spech.sip.transaction.timers import TimerSet


class Context(Protocol):
    """The user agent, as its sessions, registrations and subscriptions know it."""

    rng: random.Random
    ids: Identifiers
    timers: TimerSet
    layer: TransactionLayer
    #: Whether text messages are accepted; otherwise their senders get 480.
    takes_messages: bool

    def via(self, flow: Flow) -> str: ...
    def contact(self, flow: Flow, uri: Uri) -> str: ...
    def locate(self, dialog: Dialog) -> None: ...
    def learn_address(self, flow: Flow, seen: Address) -> bool: ...
    def standard_headers(self) -> list[tuple[str, str]]: ...
    def emit(self, event: Event) -> None: ...
    def send(self, outgoing: Outgoing) -> None: ...
    def note(self, call_id: str, text: str) -> None: ...
    def registered_at(self, host: str) -> bool: ...
    def is_trusted_host(self, host: str) -> bool: ...
