"""The headers of event notification: Event and Subscription-State (RFC 6665 8.2)."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from spech.errors import RemoteProtocolError
from spech.sip.message.display import displayable
from spech.sip.message.grammar import find_parameter, maybe_number, parse_parameters
from spech.sip.message.message import Request

#: The longest time that is accepted, in seconds.
_LONGEST: Final = 86_400


@dataclass(frozen=True, slots=True)
class EventHeader:
    """An event package, and which of several subscriptions to it is meant."""

    package: str
    identifier: str | None = None

    @classmethod
    def of(cls, request: Request) -> EventHeader | None:
        """The event of a request, or None where it names none."""
        package, _, listed = (request.headers.get("Event") or "").partition(";")
        if not package.strip():
            return None
        identifier: str | None = None
        with suppress(RemoteProtocolError):
            identifier = find_parameter(parse_parameters(listed), "id")
        return cls(package.strip().lower(), identifier)


@dataclass(frozen=True, slots=True)
class SubscriptionStateHeader:
    """``word`` is "active", "pending" or "terminated"; times are in seconds."""

    word: str
    reason: str | None = None
    expires: int | None = None
    retry_after: int | None = None

    @classmethod
    def of(cls, request: Request) -> SubscriptionStateHeader | None:
        """The state of a subscription as a NOTIFY gives it, or None where it cannot be read."""
        word, _, listed = (request.headers.get("Subscription-State") or "").partition(";")
        try:
            parameters = parse_parameters(listed)
        except RemoteProtocolError:
            return None
        if not word.strip():
            return None
        reason = find_parameter(parameters, "reason")
        return cls(
            word.strip().lower(),
            displayable(reason.lower()) if reason else None,
            maybe_number(find_parameter(parameters, "expires") or "", _LONGEST),
            maybe_number(find_parameter(parameters, "retry-after") or "", _LONGEST),
        )
