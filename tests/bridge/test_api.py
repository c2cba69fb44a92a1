"""The control plane of a bridge, over HTTP."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from spech.bridge.api.app import serve_api
from spech.bridge.api.metrics import BridgeMetrics
from spech.testing.waiting import until
from spech.web.http import bind

from .bots import Bridged, bridged, echo, websocket_server


class Api:
    """A control plane, and the bridge that it controls."""

    def __init__(self, bridge: Bridged, port: int) -> None:
        self.bridge = bridge
        self._url = f"http://127.0.0.1:{port}"

    async def ask(
        self, path: str, body: Any = None, method: str = "GET", **fields: str
    ) -> tuple[int, str]:
        """Status and body of an answer."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} if data else {}
        headers |= {name.replace("_", "-"): value for name, value in fields.items()}
        asked = urllib.request.Request(self._url + path, data, headers, method=method)

        def send() -> tuple[int, str]:
            try:
                with urllib.request.urlopen(asked, timeout=5) as answer:
                    return answer.status, answer.read().decode()
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, error.read().decode()

        return await trio.to_thread.run_sync(send)


@asynccontextmanager
async def controlled(token: str | None = None) -> AsyncIterator[Api]:
    metrics = BridgeMetrics()
    async with (
        websocket_server(echo) as url,
        bridged(url) as bridge,
        trio.open_nursery() as nursery,
    ):
        bridge.also = metrics.note
        listener = await bind("127.0.0.1", 0)
        port = listener.socket.getsockname()[1]
        nursery.start_soon(serve_api, bridge.served, bridge.answering, metrics, listener, token)
        yield Api(bridge, port)
        nursery.cancel_scope.cancel()


async def test_a_call_is_seen_controlled_and_counted() -> None:
    async with controlled() as api:
        async with api.bridge.phone.call(api.bridge.address) as call:
            await call.answered(timeout=5)
            status, body = await api.ask("/v1/calls")
            (shown,) = json.loads(body)
            assert (status, shown["state"], shown["called"]) == (200, "answered", "bot")
            assert shown["call_id"] == call.call_id
            path = f"/v1/calls/{shown['id']}"
            assert (await api.ask(f"{path}/dtmf", {"digits": "7"}, "POST"))[0] == 204
            assert await call.collect_digits(1, terminator=None) == "7"
            assert (await api.ask(f"{path}/dtmf", {"digits": "x"}, "POST"))[0] in (400, 409)
            assert (await api.ask(f"{path}/dtmf", {"keys": "7"}, "POST"))[0] == 400
            assert (await api.ask(f"{path}/hangup", method="POST"))[0] == 204
            with trio.fail_after(5):
                await call.ended()
            assert call.ended_by == "remote"
        await api.bridge.line()
        assert json.loads((await api.ask(path))[1])["state"] == "ended"
        assert (await api.ask(f"{path}/hangup", method="POST"))[0] == 404
        _, metrics = await api.ask("/metrics")
    assert "spech_calls 0.0" in metrics
    assert "spech_call_setup_seconds_count 1.0" in metrics
    assert 'spech_calls_ended_total{cause="hangup"} 1.0' in metrics


async def test_a_call_is_transferred() -> None:
    async with controlled() as api, api.bridge.phone.call(api.bridge.address) as call:
        await call.answered(timeout=5)
        (shown,) = json.loads((await api.ask("/v1/calls"))[1])
        path = f"/v1/calls/{shown['id']}/transfer"
        status, body = await api.ask(path, {"target": "sip:bob@127.0.0.1:9"}, "POST")
        assert status == 502  # The caller declines transfers.
        assert "603" in json.loads(body)["error"]
        await until(lambda: call.state == "answered")


async def test_health_needs_no_token_and_calls_do() -> None:
    async with controlled("secret") as api:
        assert (await api.ask("/healthz"))[0] == 200
        assert (await api.ask("/readyz"))[0] == 200
        for fields in ({}, {"Authorization": "Bearer secre"}, {"Authorization": "Bearer ä"}):
            assert (await api.ask("/v1/calls", **fields))[0] == 401
            assert (await api.ask("/metrics", **fields))[0] == 401
        assert (await api.ask("/v1/calls", Authorization="Bearer secret")) == (200, "[]\n")
        api.bridge.served.draining = True
        assert (await api.ask("/readyz"))[0] == 503


@pytest.mark.parametrize("fields", [{"Origin": "http://127.0.0.1"}, {"Host": "evil.example"}])
async def test_without_a_token_browsers_are_refused(fields: dict[str, str]) -> None:
    async with controlled() as api:
        assert (await api.ask("/v1/calls", **fields))[0] == 403
        assert (await api.ask("/openapi.json", **fields))[0] == 403
        described = json.loads((await api.ask("/openapi.json"))[1])
    assert "/v1/calls/{name}/hangup" in described["paths"]
