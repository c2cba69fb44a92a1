"""The HTTP server of a bridge: its calls, its health, its metrics."""

from __future__ import annotations

import hmac
from importlib.metadata import version
from typing import Final
from urllib.parse import urlsplit

import msgspec
import trio
from quart import Response, abort, request
from quart_schema import QuartSchema, validate_request, validate_response
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from spech.bridge.api.metrics import BridgeMetrics
from spech.bridge.bridge import Bridge
from spech.bridge.records import CallRecord
from spech.errors import CallFailed, SpechError
from spech.phone.call import Call
from spech.phone.phone import Phone
from spech.web.auth import is_loopback
from spech.web.connections import Connections
from spech.web.http import serve_app

#: Bytes of a request.
_LARGEST_REQUEST: Final = 65536


class TransferOrder(msgspec.Struct, forbid_unknown_fields=True):
    """Whom to connect the caller to: a number or a SIP URI."""

    target: str


class DigitsOrder(msgspec.Struct, forbid_unknown_fields=True):
    """Keys to press: ``0-9 * # A-D``, ``,`` and ``w`` for pauses."""

    digits: str


async def serve_api(
    bridge: Bridge,
    phone: Phone,
    metrics: BridgeMetrics,
    listener: trio.SocketListener,
    token: str | None,
) -> None:
    """Serve the control plane of a bridge until cancelled.

    Args:
        bridge: whose calls there are.
        phone: that of the bridge.
        metrics: what ``/metrics`` shows.
        listener: on loopback, unless there is a token.
        token: what each request must show, except those for health.
    """
    app = create_api(bridge, phone, metrics, token)
    await serve_app(app, listener, Connections(), _LARGEST_REQUEST)


def create_api(
    bridge: Bridge, phone: Phone, metrics: BridgeMetrics, token: str | None
) -> QuartTrio:
    """The application; see :func:`serve_api`."""
    app = QuartTrio(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = _LARGEST_REQUEST
    QuartSchema(
        app,
        conversion_preference="msgspec",
        info={"title": "spech bridge", "version": version("spech")},
        swagger_ui_path=None,  # These pages load scripts from elsewhere.
        redoc_ui_path=None,
        scalar_ui_path=None,
    )

    def ready() -> bool:
        registered = phone.account is None or phone.registration.state == "registered"
        return registered and not bridge.draining

    def find_call(name: str) -> Call:
        carried = bridge.ledger.present.get(name)
        if carried is None:
            abort(404, "There is no such call.")
        if carried.call is None:
            abort(409, "The call is not answered.")
        return carried.call

    @app.before_request
    async def judge() -> None:
        if request.path in ("/healthz", "/readyz"):
            return
        if token is None:
            # Pages in a browser on this machine must not reach it.
            host = urlsplit(f"//{request.host}").hostname or ""
            if "Origin" in request.headers or not is_loopback(host):
                abort(403, "Browsers may not use this interface without a token.")
        else:
            shown = request.headers.get("Authorization", "").encode()
            if not hmac.compare_digest(shown, f"Bearer {token}".encode()):
                abort(401, "The token is missing or wrong.")
        request.scope["state"]["connection"].trust()

    @app.errorhandler(HTTPException)
    async def explain(error: HTTPException) -> tuple[dict[str, str | None], int]:
        return {"error": error.description}, error.code or 500

    @app.errorhandler(SpechError)
    async def refuse(error: SpechError) -> tuple[dict[str, str], int]:
        return {"error": str(error)}, 502 if isinstance(error, CallFailed) else 409

    @app.get("/healthz")
    async def health() -> Response:
        return Response("running\n", content_type="text/plain")

    @app.get("/readyz")
    async def readiness() -> Response:
        if ready():
            return Response("ready\n", content_type="text/plain")
        return Response("not ready\n", 503, content_type="text/plain")

    @app.get("/metrics")
    async def show_metrics() -> Response:
        text = metrics.render(len(bridge.ledger.present), ready())
        return Response(text, content_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/v1/calls")
    @validate_response(list[CallRecord])
    async def calls() -> list[CallRecord]:
        """The present calls, and the last hundred that have ended."""
        return bridge.ledger.records()

    @app.get("/v1/calls/<name>")
    @validate_response(CallRecord)
    async def call(name: str) -> CallRecord:
        """One call."""
        record = bridge.ledger.find(name)
        if record is None:
            abort(404, "There is no such call.")
        return record

    @app.post("/v1/calls/<name>/hangup")
    async def hang_up(name: str) -> tuple[str, int]:
        """End a call."""
        find_call(name).hang_up()
        return "", 204

    @app.post("/v1/calls/<name>/transfer")
    @validate_request(TransferOrder)
    async def transfer(name: str, data: TransferOrder) -> tuple[str, int]:
        """Connect the caller to another party (blind transfer); answered when that is done."""
        await find_call(name).transfer(data.target)
        return "", 204

    @app.post("/v1/calls/<name>/dtmf")
    @validate_request(DigitsOrder)
    async def press(name: str, data: DigitsOrder) -> tuple[str, int]:
        """Press keys in a call."""
        if len(data.digits) > 100:
            abort(400, "These are more than 100 digits.")
        try:
            find_call(name).send_dtmf(data.digits)
        except ValueError as error:
            abort(400, str(error))
        return "", 204

    return app
