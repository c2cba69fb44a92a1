"""What the parts of a user agent need of the whole."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Protocol

from spech.addresses import Address
from spech.sip.dialog.dialog import Dialog
from spech.sip.message.ids import Identifiers
from spech.sip.message.uri import Uri
from spech.sip.transaction.flow import Flow, Outgoing
from spech.sip.transaction.layer import TransactionLayer
from spech.sip.transaction.timers import TimerSet
from spech.sip.transaction.transaction import ServerTransaction

if TYPE_CHECKING:
    from spech.sip.call.session import Session
    from spech.sip.events import Event


class Context(Protocol):
    """The user agent, as its sessions, registrations and subscriptions know it."""

    rng: random.Random
    ids: Identifiers
    timers: TimerSet
    layer: TransactionLayer

    def via(self, flow: Flow) -> str: ...
    def contact(self, flow: Flow, uri: Uri) -> str: ...
    def locate(self, dialog: Dialog) -> None: ...
    def learn_address(self, flow: Flow, seen: Address) -> bool: ...
    def standard_headers(self) -> list[tuple[str, str]]: ...
    def emit(self, event: Event) -> None: ...
    def send(self, outgoing: Outgoing) -> None: ...
    def note(self, call_id: str, text: str) -> None: ...
    def forget(self, session: Session) -> None: ...
    def registered_at(self, host: str) -> bool: ...
    def receive_within(
        self, session: Session, transaction: ServerTransaction, now: float
    ) -> None: ...
