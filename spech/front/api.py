"""The control plane of a front: one address for the calls of all workers.

A worker answers for its calls; its answers come over the channel. The front adds them up, and
counts what has become of calls, so that its counters survive a worker.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
import trio
from prometheus_client.parser import text_string_to_metric_families
from quart import Response, request
from quart_trio import QuartTrio
from werkzeug.datastructures import Headers

from spech.bridge.api.app import LARGEST_REQUEST, guard
from spech.bridge.api.metrics import BridgeMetrics
from spech.bridge.bridge import RETRY_SECONDS
from spech.bridge.records import MOST_RECORDS_LISTED, CallRecord
from spech.bridge.twilio.forms import API_VERSION
from spech.bridge.twilio.requests import RestRefusal
from spech.front.front import Front
from spech.front.messages import ApiAnswer, ApiHeaders, ApiRequest
from spech.front.seat import Seat
from spech.web.connections import Connections
from spech.web.http import serve_app

_log: Final = logging.getLogger(__name__)

_CALLS: Final = "/v1/calls"
#: The name of a call in a path of either interface.
_NAMED: Final = re.compile(
    rf"{_CALLS}/(?P<name>[^/]+)(?:/.*)?|/{API_VERSION}/Accounts/[^/]+/Calls/CA(?P<sid>[^/]+)\.json"
)
_CREATED: Final = re.compile(rf"{_CALLS}|/{API_VERSION}/Accounts/[^/]+/Calls\.json")
#: Seconds that a sum waits for a worker.
_PATIENCE: Final = 2.0
_RECORDS: Final = msgspec.json.Decoder(list[CallRecord])


async def serve_front_api(
    front: Front, metrics: BridgeMetrics, listener: trio.SocketListener, token: str | None
) -> None:
    """Serve the control plane of a front until cancelled.

    Args:
        front: whose workers there are.
        metrics: what has become of calls.
        listener: on loopback, unless there is a token.
        token: what each request must show, except those for health.
    """
    await serve_app(_create(front, metrics, token), listener, Connections(), LARGEST_REQUEST)


def _create(front: Front, metrics: BridgeMetrics, token: str | None) -> QuartTrio:
    app = QuartTrio(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = LARGEST_REQUEST
    guard(app, token)

    @app.get("/healthz")
    async def health() -> Response:
        return Response("running\n", content_type="text/plain")

    @app.get("/readyz")
    async def readiness() -> Response:
        if front.ready:
            return Response("ready\n", content_type="text/plain")
        return Response("not ready\n", 503, content_type="text/plain")

    @app.get("/metrics")
    async def show_metrics() -> Response:
        pairs = used = 0.0
        for answer in await _ask_all(front, "/metrics"):
            for family in text_string_to_metric_families(answer.body.decode()):
                total = sum(sample.value for sample in family.samples)
                pairs += total if family.name == "spech_ports" else 0
                used += total if family.name == "spech_ports_used" else 0
        present = front.board.counts.total()
        text = metrics.render(int(pairs), int(used), present, front.ready)
        return Response(text, content_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get(_CALLS)
    async def calls() -> Response:
        answers = await _ask_all(front, _CALLS)
        found = [record for answer in answers for record in _RECORDS.decode(answer.body)]
        # A call may have ended since its worker answered.
        present = [one for one in found if front.board.ended(one.id) is None]
        return _json([*front.board.latest(MOST_RECORDS_LISTED), *present])

    @app.route("/", defaults={"path": ""}, methods=_METHODS)
    @app.route("/<path:path>", methods=_METHODS)
    async def forward(path: str) -> Response:
        named = _NAMED.fullmatch(request.path)
        if named is not None:
            name = named["name"] or named["sid"]
            record = front.board.ended(name)
            if request.method == "GET" and record and request.path == f"{_CALLS}/{name}":
                return _json(record)
            worker = front.board.worker_of(name)
            # Any worker can say that there is no such call.
            return await _forward(_any(front) if worker is None else front.seats[worker])
        if request.method == "POST" and _CREATED.fullmatch(request.path):
            return await _originate(front)
        return await _forward(_any(front))

    return app


_METHODS: Final = ["GET", "POST", "PUT", "DELETE", "PATCH"]


async def _originate(front: Front) -> Response:
    """Have the worker with the fewest calls place one."""
    loads = front.loads
    if front.full or not loads:
        refusal = "there are too many calls" if front.full else "no worker is ready"
        return _refused(refusal)
    seat = front.seats[min(loads, key=loads.__getitem__)]
    seat.orders += 1
    try:
        return await _forward(seat)
    finally:
        seat.orders -= 1


def _any(front: Front) -> Seat | None:
    return next((seat for seat in front.seats if seat.ready), None)


async def _forward(seat: Seat | None) -> Response:
    """The answer of a worker to the present request."""
    answer = None
    if seat is not None:
        body = await request.get_data()
        assert isinstance(body, bytes)  # Its type is for text as well.
        answer = await _ask(seat, request.path, request.method, request.query_string, body)
    if answer is None:
        return _refused("the worker has ended, and is started again")
    return Response(answer.body, answer.status, Headers(answer.headers))


async def _ask(
    seat: Seat, path: str, method: str = "GET", query: bytes = b"", body: bytes = b""
) -> ApiAnswer | None:
    headers: ApiHeaders = list(request.headers.items())
    return await seat.ask(method, path, query, headers, body)


async def _ask_all(front: Front, path: str) -> list[ApiAnswer]:
    """The answers of all workers that give one soon."""
    answers: list[ApiAnswer] = []

    async def ask(seat: Seat) -> None:
        answer = await _ask(seat, path)
        if answer is not None and answer.status == 200:
            answers.append(answer)

    with trio.move_on_after(_PATIENCE):
        async with trio.open_nursery() as nursery:
            for seat in front.seats:
                nursery.start_soon(ask, seat)
    return answers


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, content_type="application/json")


def _refused(reason: str) -> Response:
    """503, as both interfaces tell it."""
    body = {"error": reason, **RestRefusal(503, 20503, reason).body}
    response = _json(body, 503)
    response.headers["Retry-After"] = str(RETRY_SECONDS)
    return response


# ------------------------------ in a worker


class _Admitted:
    """In place of a connection."""

    def trust(self) -> None:
        """Nothing to do: the front has admitted it."""


async def answer_request(app: Callable[..., Awaitable[Any]], asked: ApiRequest) -> ApiAnswer:
    """What an application answers to a request that has come over the channel.

    An error of it is logged, and answered with 500.

    Args:
        app: a worker's control plane, an application of ASGI.
        asked: the request, as it came to the front.
    """
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": asked.method,
        "scheme": "http",
        "path": asked.path,
        "raw_path": asked.path.encode(),
        "query_string": asked.query,
        "root_path": "",
        "headers": [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in asked.headers
        ],
        "client": None,
        "server": None,
        "extensions": {},
        "state": {"connection": _Admitted()},
    }
    unread: list[dict[str, Any]] = [{"type": "http.request", "body": asked.body}]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if not unread:
            await trio.sleep_forever()
        return unread.pop()

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    try:
        await app(scope, receive, send)
        start, *parts = sent
    except Exception:
        # It must not end the worker, which carries calls.
        _log.exception("a request to the control plane failed")
        return ApiAnswer(asked.number, 500, [], b"")
    headers = [
        (name.decode("latin-1"), value.decode("latin-1")) for name, value in start["headers"]
    ]
    body = b"".join(part.get("body", b"") for part in parts)
    return ApiAnswer(asked.number, start["status"], headers, body)
