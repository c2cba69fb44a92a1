"""Twilio's REST interface, as far as calls are created, fetched and updated."""

from __future__ import annotations

from typing import Any, Final

from quart import Blueprint, request
from quart_schema import hide
from werkzeug.exceptions import HTTPException

from spech.bridge.records import CallRecord
from spech.bridge.twilio.forms import API_VERSION, call_resource
from spech.bridge.twilio.requests import RestRefusal, read_create, read_update
from spech.bridge.twilio.service import TwilioService

RestAnswer = tuple[dict[str, object], int]
"""The body and the status of an answer."""

#: Twilio's codes for errors of HTTP.
_CODES: Final = {401: 20003, 403: 20003, 405: 20004}
#: What Twilio's libraries show for 401.
_UNAUTHENTICATED: Final = "Authenticate"


def create_rest(service: TwilioService) -> Blueprint:
    """The routes of the interface. Whoever serves them decides who may use them.

    The account in the path is not looked at: there is only one.
    """
    rest = Blueprint("twilio", __name__, url_prefix=f"/{API_VERSION}/Accounts/<account>")

    @rest.errorhandler(RestRefusal)
    async def refuse(refusal: RestRefusal) -> RestAnswer:
        return refusal.body, refusal.status

    @rest.errorhandler(HTTPException)
    async def explain(error: HTTPException) -> RestAnswer:
        status = error.code or 500
        text = _UNAUTHENTICATED if status == 401 else error.description or error.name
        return RestRefusal(status, _CODES.get(status, 20000 + status), text).body, status

    @rest.post("/Calls.json")
    @hide
    async def create(account: str) -> RestAnswer:
        return _shown(await service.create(read_create(await _form())), 201)

    @rest.get("/Calls/<sid>.json")
    @hide
    async def fetch(account: str, sid: str) -> RestAnswer:
        return _shown(service.fetch(sid))

    @rest.post("/Calls/<sid>.json")
    @hide
    async def update(account: str, sid: str) -> RestAnswer:
        return _shown(service.update(sid, read_update(await _form())))

    return rest


def _shown(record: CallRecord, status: int = 200) -> RestAnswer:
    return call_resource(record), status


async def _form() -> Any:
    return (await request.form).to_dict(flat=False)
