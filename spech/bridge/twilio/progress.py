"""What an application is told about how a call gets on."""

from __future__ import annotations

from datetime import UTC, datetime

import trio

from spech.bridge.records import EVENT_NAMES, CallRecord
from spech.bridge.twilio.forms import progress_form
from spech.bridge.twilio.requests import StatusCallback


class CallProgress:
    """What an application is told about one call.

    Attributes:
        where: whom to tell.
        forms: what is told, in order, to the end of the call.
    """

    def __init__(self, callback: StatusCallback) -> None:
        self.where = callback.where
        self._events = callback.events
        self._number = 0
        self._forms_in, self.forms = trio.open_memory_channel[dict[str, str]](len(EVENT_NAMES))

    def note(self, record: CallRecord) -> None:
        """Take the record of the call in its new state."""
        if EVENT_NAMES[record.state] in self._events:
            form = progress_form(record, self._number, datetime.now(UTC))
            self._forms_in.send_nowait(form)
            self._number += 1
        if record.state == "ended":
            self._forms_in.close()
