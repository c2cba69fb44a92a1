"""Requests of HTTP that come to a worker over its channel."""

from __future__ import annotations

from typing import Any

import pytest
from quart import request
from quart_trio import QuartTrio

from spech.front.api import answer_request
from spech.front.messages import ApiRequest


def asked(path: str, body: bytes = b"", **headers: str) -> ApiRequest:
    listed = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return ApiRequest(7, "POST", path, b"a=1&b=%C3%A9", [("Host", "localhost"), *listed], body)


async def test_an_application_is_asked_as_over_a_connection() -> None:
    app = QuartTrio(__name__)

    @app.post("/echo/<name>")
    async def echo(name: str) -> tuple[dict[str, Any], int, dict[str, str]]:
        request.scope["state"]["connection"].trust()
        seen = {
            "name": name,
            "query": request.args.to_dict(),
            "body": (await request.get_data()).decode(),
            "header": request.headers["X-Test"],
            "host": request.host,
        }
        return seen, 201, {"Location": "/new"}

    answer = await answer_request(app, asked("/echo/ü", "größer".encode(), X_Test="caf\xe9"))
    assert (answer.number, answer.status) == (7, 201)
    assert dict(answer.headers)["location"] == "/new"
    for part in (b'"name":"\\u00fc"', b'"header":"caf\\u00e9"', b'"host":"localhost"'):
        assert part in answer.body.replace(b": ", b":")
    missing = await answer_request(app, asked("/none"))
    assert missing.status == 404


async def test_an_application_that_fails_does_not_end_the_worker(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def app(scope: object, receive: object, send: object) -> None:
        raise ZeroDivisionError

    answer = await answer_request(app, asked("/"))
    assert (answer.number, answer.status, answer.body) == (7, 500, b"")
    assert "a request to the control plane failed" in caplog.text
