"""What an application is told about a call: forms, and the Call resource in JSON.

https://www.twilio.com/docs/voice/twiml#request-parameters
https://www.twilio.com/docs/voice/api/call-resource
"""

from __future__ import annotations

from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Final

from spech.bridge.dialects.base import CallInfo
from spech.bridge.dialects.twilio import ACCOUNT_SID, call_sid
from spech.bridge.records import CallRecord, CallStage

#: The version of Twilio's interface, as it stands in its paths and forms.
API_VERSION: Final = "2010-04-01"

#: What Twilio calls how far a call has got.
STATUSES: Final[dict[CallStage, str]] = {
    "initiated": "initiated",
    "ringing": "ringing",
    "answered": "in-progress",
}
#: SIP statuses of calls that were not answered. All others are "failed".
_BUSY: Final = (486, 600)
_NO_ANSWER: Final = (408, 480, 603)
_GIVEN_UP: Final = 487


def refused_status(status: int) -> str:
    """What Twilio calls a call that was not answered, from its SIP status."""
    if status in _BUSY:
        return "busy"
    if status in _NO_ANSWER:
        return "no-answer"
    return "canceled" if status == _GIVEN_UP else "failed"


def call_status(record: CallRecord) -> str:
    """What Twilio calls how far a call has got."""
    if record.state != "ended":
        return STATUSES[record.state]
    if record.setup_seconds is not None:
        return "completed"
    return refused_status(record.status or 500)


def call_form(call: CallInfo, status: str) -> dict[str, str]:
    """The form with which a document is asked for.

    Args:
        call: the call.
        status: how far it has got, as Twilio calls it.
    """
    form = _identity(call, status)
    if call.display_name:
        form["CallerName"] = call.display_name
    return form | {f"SipHeader_{name}": value for name, value in call.headers.items()}


def progress_form(record: CallRecord, number: int, now: datetime) -> dict[str, str]:
    """The form that tells how far a call has got.

    Args:
        record: the call.
        number: of forms before this one.
        now: when that happened.
    """
    form = _identity(record, call_status(record)) | {
        "CallbackSource": "call-progress-events",
        "SequenceNumber": str(number),
        "Timestamp": _time(now),
    }
    if record.state == "ended":
        form["CallDuration"] = str(round(record.seconds))
        form["SipResponseCode"] = str(record.status)
    return form


def _identity(call: CallInfo | CallRecord, status: str) -> dict[str, str]:
    return {
        "AccountSid": ACCOUNT_SID,
        "ApiVersion": API_VERSION,
        "CallSid": call_sid(call.id),
        "CallStatus": status,
        "Direction": _direction(call.direction),
        "From": call.caller,
        "To": call.called,
        "Caller": call.caller,
        "Called": call.called,
    }


def call_resource(record: CallRecord) -> dict[str, object]:
    """A call as the REST interface describes it."""
    status = call_status(record)
    path = f"/{API_VERSION}/Accounts/{ACCOUNT_SID}/Calls/{call_sid(record.id)}.json"
    answered = ended = None
    if record.setup_seconds is not None:
        answered = record.began + timedelta(seconds=record.setup_seconds)
        if record.state == "ended":
            ended = answered + timedelta(seconds=record.seconds)
    updated = ended or answered or record.began
    return {
        "sid": call_sid(record.id),
        "account_sid": ACCOUNT_SID,
        "api_version": API_VERSION,
        "uri": path,
        "status": "queued" if status == "initiated" else status,
        "direction": _direction(record.direction),
        "from": record.caller,
        "from_formatted": record.caller,
        "to": record.called,
        "to_formatted": record.called,
        "date_created": _time(record.began),
        "date_updated": _time(updated),
        "start_time": answered and _time(answered),
        "end_time": ended and _time(ended),
        "duration": str(round(record.seconds)) if ended else None,
        "queue_time": "0",
        "price_unit": "USD",
        "subresource_uris": {},
        **dict.fromkeys(_ABSENT),
    }


#: Members of the Call resource that are always null here.
_ABSENT: Final = (
    "annotation",
    "answered_by",
    "caller_name",
    "forwarded_from",
    "group_sid",
    "parent_call_sid",
    "phone_number_sid",
    "price",
    "trunk_sid",
)


def _direction(direction: str) -> str:
    return "outbound-api" if direction == "outbound" else "inbound"


def _time(moment: datetime) -> str:
    """RFC 5322 3.3, as in mails."""
    return format_datetime(moment)
