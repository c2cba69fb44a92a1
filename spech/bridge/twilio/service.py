"""Calls that programs control as they control those of Twilio."""

from __future__ import annotations

import re
from typing import Final

from spech.bridge.bridge import Bridge
from spech.bridge.orders import CallRefused
from spech.bridge.records import CallRecord
from spech.bridge.twilio.application import Application
from spech.bridge.twilio.course import script_of
from spech.bridge.twilio.progress import CallProgress
from spech.bridge.twilio.requests import CreateRequest, RestRefusal, UpdateRequest
from spech.errors import LocalProtocolError, PortsExhausted, ServerUnreachable
from spech.phone.phone import Phone

_CALL_SID: Final = re.compile("CA([0-9a-f]{32})")


class TwilioService:
    """Creates, shows and changes calls.

    Args:
        bridge: whose calls they are.
        phone: that of the bridge.
        application: the server that is asked and told.
    """

    def __init__(self, bridge: Bridge, phone: Phone, application: Application) -> None:
        self._bridge = bridge
        self._phone = phone
        self._application = application

    async def create(self, request: CreateRequest) -> CallRecord:
        """Place a call.

        Raises:
            RestRefusal: it is not placed.
        """
        script = script_of(self._application, request.source)
        progress = None if request.callback is None else CallProgress(request.callback)
        listener = None if progress is None else progress.note
        try:
            record = await self._bridge.originate(request.order, script, listener)
        except CallRefused as error:
            if error.status == 403:
                raise RestRefusal(400, 21215, error.reason) from error
            raise RestRefusal(error.status, 20503, error.reason) from error
        except PortsExhausted as error:
            raise RestRefusal(503, 20503, str(error)) from error
        except (LocalProtocolError, ServerUnreachable) as error:
            raise RestRefusal(400, 21211, f"The 'To' number cannot be called: {error}") from error
        if progress is not None:
            self._application.follow(progress)
        return record

    def fetch(self, sid: str) -> CallRecord:
        """A call that is present, or one of the last that have ended.

        Raises:
            RestRefusal: there is none.
        """
        record = self._bridge.ledger.find(_name_of(sid))
        if record is None:
            raise _not_found(sid)
        return record

    def update(self, sid: str, request: UpdateRequest) -> CallRecord:
        """Change a call.

        Raises:
            RestRefusal: there is none, or it has ended, or it is not answered and cannot do what
                another document says.
        """
        carried = self._bridge.ledger.present.get(_name_of(sid))
        if request.source is not None:
            self.fetch(sid)
            try:
                if carried is None:
                    raise LocalProtocolError("the call has ended")
                script = script_of(self._application, request.source)
                self._bridge.divert(self._phone, carried, script)
            except LocalProtocolError as error:
                raise RestRefusal(
                    400, 21220, "Call is not in-progress. Cannot redirect."
                ) from error
        if carried is None:
            raise _not_found(sid)
        if request.end == "completed" or (request.end and carried.stage != "answered"):
            carried.hang_up()
        return carried.record()


def _name_of(sid: str) -> str:
    """The name of a call in the records of the bridge, from its identifier."""
    found = _CALL_SID.fullmatch(sid)
    return found[1] if found else ""


def _not_found(sid: str) -> RestRefusal:
    return RestRefusal(404, 20404, f"The requested resource {sid[:40]} was not found")
