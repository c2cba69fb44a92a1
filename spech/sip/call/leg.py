"""The interface that a session gives its parts: our end of one call.

:mod:`~spech.sip.call.invitation`, :mod:`~spech.sip.call.responder` and the other parts of a call
know :class:`Leg`; only :class:`~spech.sip.call.session.Session`, with its base
:class:`~spech.sip.call.ending.EndingLeg`, knows the parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from spech.agreement import Agreed
from spech.sip.call.fork import Fork
from spech.sip.call.session_timer import SessionTimer
from spech.sip.dialog.context import Context
from spech.sip.dialog.dialog import Dialog
from spech.sip.dialog.identity import Identity
from spech.sip.message.headers import Headers
from spech.sip.message.message import Request, Response
from spech.sip.message.uri import Uri
from spech.sip.transaction.flow import Flow
from spech.sip.transaction.timers import TimerOwner


class Leg(TimerOwner, Protocol):
    """A session, as its parts and the events about it know it."""

    context: Context
    identity: Identity
    #: Set for a call that we made, not for one that came.
    outgoing: bool
    local_tag: str
    #: The confirmed dialog, or None.
    dialog: Dialog | None
    timer: SessionTimer
    #: Headers of our INVITE besides the usual ones.
    headers: tuple[tuple[str, str], ...]
    takes_transfers: bool
    #: The header fields of their INVITE, or of the latest response to ours.
    received: Headers
    #: The header fields of the message with which they ended the call.
    parting: Headers

    @property
    def call_id(self) -> str: ...
    @property
    def dialogs(self) -> list[Dialog]: ...
    @property
    def is_up(self) -> bool: ...
    @property
    def is_over(self) -> bool: ...
    @property
    def still_calling(self) -> bool: ...

    def invite_headers(self, *, in_dialog: bool = False) -> list[tuple[str, str]]: ...
    def response(
        self,
        request: Request,
        status: int,
        *,
        body: bytes = b"",
        headers: Sequence[tuple[str, str]] = (),
    ) -> Response: ...
    def hang_up(
        self,
        now: float,
        status: int | None = None,
        reason: str | None = None,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None: ...
    def report_change(self) -> None: ...
    def receive_ack(self, request: Request, flow: Flow, now: float) -> None: ...

    # The progress of our INVITE.
    def start_over(self) -> None: ...
    def heard_from(self, now: float) -> bool: ...
    def progressed(self, response: Response, agreed: Agreed | None, now: float) -> None: ...
    def redirected(self, targets: tuple[Uri, ...]) -> None: ...
    def refused(self, status: int, reason: str, now: float) -> None: ...
    def accepted(self, fork: Fork, response: Response, now: float) -> None: ...
