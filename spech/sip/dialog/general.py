"""OPTIONS and MESSAGE: requests that come outside dialogs and inside them alike."""

from __future__ import annotations

from dataclasses import dataclass

from spech.sip.dialog.capabilities import options
from spech.sip.dialog.context import Context
from spech.sip.dialog.event import Event
from spech.sip.message.message import Request, response_to
from spech.sip.transaction.transaction import ServerTransaction


@dataclass(frozen=True, slots=True)
class MessageReceived(Event):
    """A text message; ``request`` is the MESSAGE, which has been answered."""

    request: Request
    text: str


def receive_options(context: Context, transaction: ServerTransaction, tag: str, now: float) -> None:
    """Answer OPTIONS with what we can do (RFC 3261 11.2)."""
    headers = [*context.standard_headers(), *options()]
    response = response_to(transaction.request, 200, to_tag=tag, headers=headers)
    transaction.respond(response, now)


def receive_instant_message(
    context: Context, transaction: ServerTransaction, tag: str, now: float
) -> None:
    """Take a text message, or answer 480 where the program takes none (RFC 3428 7)."""
    request = transaction.request
    status = 200 if context.takes_messages else 480
    transaction.respond(response_to(request, status, to_tag=tag), now)
    if context.takes_messages:
        context.emit(MessageReceived(request, request.body.decode(errors="replace")))
