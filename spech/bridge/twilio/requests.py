"""What programs ask for over Twilio's REST interface: forms, read and checked.

https://www.twilio.com/docs/voice/api/call-resource
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from spech.bridge.orders import CallOrder
from spech.bridge.records import EVENT_NAMES
from spech.bridge.twilio.twiml import (
    DocumentUrl,
    HttpMethod,
    TwimlDocument,
    http_url,
    parse_twiml,
)
from spech.errors import RemoteProtocolError

_log: Final = logging.getLogger(__name__)

Form = Mapping[str, Sequence[str]]
"""The fields of a form; a name may come again."""

#: Characters of a number, a SIP URI or a URL, and of a document.
_LONGEST_FIELD: Final = 1000
_LONGEST_DOCUMENT: Final = 4000
#: Seconds until a call must be answered.
_RINGING_SECONDS: Final = 60
_LONGEST_RINGING: Final = 600


class RestRefusal(Exception):
    """A request that is refused, as Twilio does it.

    Attributes:
        status: of HTTP.
        code: of Twilio's list of errors.
    """

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code

    @property
    def body(self) -> dict[str, object]:
        """The body of the answer."""
        return {
            "code": self.code,
            "message": str(self),
            "more_info": f"https://www.twilio.com/docs/errors/{self.code}",
            "status": self.status,
        }


@dataclass(frozen=True, slots=True)
class StatusCallback:
    """Where an application is told how far a call has got, and which of these events."""

    where: DocumentUrl
    events: frozenset[str]


@dataclass(frozen=True, slots=True)
class CreateRequest:
    """A call to place, and what it does once it is answered."""

    order: CallOrder
    source: TwimlDocument | DocumentUrl
    callback: StatusCallback | None


@dataclass(frozen=True, slots=True)
class UpdateRequest:
    """A change of a call.

    Attributes:
        end: "completed" ends it, "canceled" only if it is not answered; None for neither.
        source: what it does from now on.
    """

    end: Literal["completed", "canceled"] | None
    source: TwimlDocument | DocumentUrl | None


def read_create(form: Form) -> CreateRequest:
    """Read the form of a call to place.

    Raises:
        RestRefusal: it cannot be placed.
    """
    fields = _Fields(form)
    to = fields.take("To")
    caller = fields.take("From")
    if to is None:
        raise RestRefusal(400, 21201, "No 'To' number is specified")
    if caller is None:
        raise RestRefusal(400, 21213, "No 'From' number is specified")
    source = fields.source()
    if source is None:
        raise RestRefusal(400, 21205, "Url or Twiml is required")
    timeout = fields.take("Timeout") or str(_RINGING_SECONDS)
    if not timeout.isascii() or not timeout.isdecimal() or len(timeout) > 9:
        raise RestRefusal(400, 20001, f"Timeout is not a number: {timeout[:40]!r}")
    seconds = min(max(int(timeout), 1), _LONGEST_RINGING)
    callback = fields.callback()
    fields.warn_about_others("a call to place")
    return CreateRequest(CallOrder(to=to, caller=caller, timeout=seconds), source, callback)


def read_update(form: Form) -> UpdateRequest:
    """Read the form of a change of a call.

    Raises:
        RestRefusal: it is none.
    """
    fields = _Fields(form)
    status = fields.take("Status")
    source = fields.source()
    fields.warn_about_others("a change of a call")
    match status:
        case None | "completed" | "canceled":
            pass
        case _:
            raise RestRefusal(400, 20001, "Status is neither completed nor canceled")
    if status is None and source is None:
        raise RestRefusal(400, 21205, "Url, Twiml or Status is required")
    return UpdateRequest(status, source)


class _Fields:
    """The fields of a form, until they are taken."""

    def __init__(self, form: Form) -> None:
        self._form = dict(form)

    def take(self, name: str, longest: int = _LONGEST_FIELD) -> str | None:
        """A field; None where it is missing or empty."""
        values = self._form.pop(name, ())
        value = values[0].strip() if values else ""
        if len(value) > longest:
            raise RestRefusal(400, 20001, f"{name} has more than {longest} characters")
        return value or None

    def source(self) -> TwimlDocument | DocumentUrl | None:
        """The document in ``Twiml``, or where one is asked for."""
        text = self.take("Twiml", _LONGEST_DOCUMENT)
        where = self._where("Url", "Method")
        if where is not None or text is None:
            return where
        try:
            return parse_twiml(text.encode())
        except RemoteProtocolError as error:
            raise RestRefusal(400, 12100, f"Twiml is none: {error}") from error

    def callback(self) -> StatusCallback | None:
        """Where to tell how far a call has got."""
        events = self._form.pop("StatusCallbackEvent", ())
        where = self._where("StatusCallback", "StatusCallbackMethod")
        # In some libraries, the events are one text.
        wanted = frozenset(" ".join(events).replace(",", " ").split()) & frozenset(
            EVENT_NAMES.values()
        )
        if where is None:
            return None
        return StatusCallback(where, wanted or frozenset(("completed",)))

    def _where(self, url_name: str, method_name: str) -> DocumentUrl | None:
        method: HttpMethod = "GET" if self.take(method_name) == "GET" else "POST"
        text = self.take(url_name)
        if text is None:
            return None
        try:
            return DocumentUrl(http_url(text), method)
        except RemoteProtocolError:
            raise RestRefusal(400, 21205, f"{url_name} is not a valid URL: {text[:80]}") from None

    def warn_about_others(self, what: str) -> None:
        """Say which fields have no effect."""
        if self._form:
            names = ", ".join(sorted(name[:40] for name in self._form)[:10])
            _log.warning("%s: these parameters have no effect: %s", what, names)
