"""The HTTP server of a bridge: its calls, its health, its metrics."""

from __future__ import annotations

import hmac
from importlib.metadata import version
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import trio
from quart import Response, abort, request
from quart_schema import HttpSecurityScheme, QuartSchema, hide
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from spech.bridge.api.calls import call_routes
from spech.bridge.api.description import ApiDescription
from spech.bridge.api.metrics import BridgeMetrics
from spech.bridge.bridge import Bridge
from spech.bridge.orders import CallRefused
from spech.bridge.twilio.application import Application
from spech.bridge.twilio.rest import create_rest
from spech.bridge.twilio.service import TwilioService
from spech.errors import CallFailed, SpechError
from spech.phone.phone import Phone
from spech.web.auth import is_loopback
from spech.web.connections import Connections
from spech.web.http import serve_app

#: Bytes of a request.
LARGEST_REQUEST: Final = 65536


async def serve_api(
    bridge: Bridge,
    phone: Phone,
    metrics: BridgeMetrics,
    listener: trio.SocketListener,
    token: str | None,
    sounds: Path | None = None,
    application: Application | None = None,
) -> None:
    """Serve the control plane of a bridge until cancelled.

    Args:
        bridge, phone, metrics, token, sounds, application: see :func:`create_api`.
        listener: on loopback, unless there is a token.
    """
    app = create_api(bridge, phone, metrics, token, sounds, application)
    await serve_app(app, listener, Connections(), LARGEST_REQUEST)


def create_api(
    bridge: Bridge,
    phone: Phone,
    metrics: BridgeMetrics,
    token: str | None,
    sounds: Path | None = None,
    application: Application | None = None,
) -> QuartTrio:
    """The control plane of a bridge.

    Args:
        bridge: whose calls there are.
        phone: that of the bridge.
        metrics: what ``/metrics`` shows.
        token: what each request must show, except those for health.
        sounds: the folder with what can be played, None for nothing.
        application: the server that calls over Twilio's interface ask; None not to serve that.
    """
    app = QuartTrio(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = LARGEST_REQUEST
    QuartSchema(
        app,
        conversion_preference="msgspec",
        info={"title": "spech bridge", "version": version("spech")},
        openapi_provider_class=ApiDescription,
        security_schemes={"token": HttpSecurityScheme(scheme="bearer")},
        security=None if token is None else [{"token": []}],
        swagger_ui_path=None,  # These pages load scripts from elsewhere.
        redoc_ui_path=None,
        scalar_ui_path=None,
    )

    def ready() -> bool:
        registered = phone.account is None or phone.registration.state == "registered"
        return registered and not bridge.draining

    guard(app, token)

    @app.errorhandler(CallRefused)
    async def decline(error: CallRefused) -> tuple[dict[str, str], int, dict[str, str]]:
        again = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
        return {"error": error.reason}, error.status, again

    @app.errorhandler(SpechError)
    async def refuse(error: SpechError) -> tuple[dict[str, str], int]:
        return {"error": str(error)}, 502 if isinstance(error, CallFailed) else 409

    @app.get("/healthz")
    @hide
    async def health() -> Response:
        return Response("running\n", content_type="text/plain")

    @app.get("/readyz")
    @hide
    async def readiness() -> Response:
        if ready():
            return Response("ready\n", content_type="text/plain")
        return Response("not ready\n", 503, content_type="text/plain")

    @app.get("/metrics")
    @hide
    async def show_metrics() -> Response:
        used, present = len(phone.active_calls), len(bridge.ledger.present)
        text = metrics.render(phone.ports.pairs, used, present, ready())
        return Response(text, content_type="text/plain; version=0.0.4; charset=utf-8")

    app.register_blueprint(call_routes(bridge, sounds))
    if application is not None:
        app.register_blueprint(create_rest(TwilioService(bridge, phone, application)))
    return app


def guard(app: QuartTrio, token: str | None) -> None:
    """Refuse requests that may not use the control plane, and tell errors as JSON.

    Args:
        app: an application whose requests know their connection.
        token: what each request must show, except those for health.
    """

    @app.before_request
    async def judge() -> None:
        if request.path in ("/healthz", "/readyz"):
            return
        # Pages in a browser must not reach it, which may hold a token as a Basic password.
        if "Origin" in request.headers:
            abort(403, "Pages in browsers may not use this interface.")
        if token is None:
            # Nor those of a name that leads to this machine (DNS rebinding).
            if not is_loopback(urlsplit(f"//{request.host}").hostname or ""):
                abort(403, "Without a token, only names of this machine may be asked for.")
        else:
            shown = request.authorization
            secret = "" if shown is None else shown.token or shown.password or ""
            if not hmac.compare_digest(secret.encode(), token.encode()):
                abort(401, "The token is missing or wrong.")
        request.scope["state"]["connection"].trust()

    @app.errorhandler(HTTPException)
    async def explain(error: HTTPException) -> tuple[dict[str, str | None], int]:
        return {"error": error.description}, error.code or 500
