"""Calls that a bridge places."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest
import trio
from trio_websocket import WebSocketConnection, WebSocketRequest, serve_websocket

from spech.bridge.access import Access
from spech.bridge.link import LinkFailed
from spech.bridge.orders import CallOrder, CallRefused
from spech.bridge.routes import Routes, compile_pattern
from spech.bridge.url import WebSocketUrl
from spech.errors import LocalProtocolError
from spech.testing.audio import sine
from spech.testing.talk import hear_tone
from spech.testing.waiting import until

from .bots import bridged, echo, ringing, websocket_server


async def test_a_call_is_placed_and_connected_to_its_bot() -> None:
    told: list[dict[str, Any]] = []

    async def bot(connection: WebSocketConnection) -> None:
        told.append(json.loads(await connection.get_message()))
        while True:
            await connection.send_message(await connection.get_message())

    async with (
        websocket_server(bot) as url,
        bridged(url, parameters={"language": "de"}) as bridge,
        ringing(bridge.phone) as arrivals,
    ):
        order = CallOrder(
            to=bridge.alice,
            display_name="The Bot",
            headers={"x-order": "7"},
            parameters={"order": "7"},
        )
        placed = await bridge.served.originate(order)
        assert (placed.state, placed.direction, placed.called) == (
            "initiated",
            "outbound",
            order.to,
        )
        incoming = await arrivals.receive()
        assert (incoming.call_id, incoming.display_name) == (placed.call_id, "The Bot")
        assert ("X-Order", "7") in incoming.headers
        assert not told
        await until(lambda: bridge.stages == ["initiated", "ringing"])
        async with incoming.answer() as call:
            with call.open_audio() as port:
                await hear_tone(port, 1000, say=sine(1000, 8000, 1, level=-20), level=-20)
        await bridge.line()
    (introduction,) = told
    assert introduction["id"] == placed.id
    assert introduction["direction"] == "outbound"
    assert introduction["called"] == order.to
    assert introduction["headers"] == {"X-Order": "7"}
    assert introduction["parameters"] == {"language": "de", "order": "7"}
    assert bridge.stages == ["initiated", "ringing", "answered", "ended"]
    (record,) = bridge.records
    assert (record.id, record.cause, record.status) == (placed.id, "hangup", 200)
    assert record.setup_seconds is not None
    assert bridge.served.ledger.find(placed.id) == record


async def test_a_call_that_is_not_answered_ends_with_the_status() -> None:
    async with (
        websocket_server(echo) as url,
        bridged(url) as bridge,
        ringing(bridge.phone) as arrivals,
    ):
        await bridge.served.originate(CallOrder(to=bridge.alice))
        (await arrivals.receive()).reject(486)
        await until(lambda: len(bridge.records) == 1)
        await bridge.served.originate(CallOrder(to=bridge.alice, timeout=1))
        late = await arrivals.receive()
        await late.ended()
        await until(lambda: len(bridge.records) == 2)
        placed = await bridge.served.originate(CallOrder(to=bridge.alice))
        cancelled = await arrivals.receive()
        bridge.served.ledger.present[placed.id].hang_up()
        await cancelled.ended()
        await until(lambda: len(bridge.records) == 3)
    found = [(record.cause, record.status) for record in bridge.records]
    assert found == [("unanswered", 486), ("unanswered", 408), ("hangup", 487)]
    assert all(record.setup_seconds is None for record in bridge.records)
    assert bridge.lines[0].endswith(": 486 Busy Here")


async def test_an_answered_call_whose_bot_is_not_there_is_ended() -> None:
    async with (
        bridged("ws://127.0.0.1:9/") as bridge,
        ringing(bridge.phone) as arrivals,
    ):
        await bridge.served.originate(CallOrder(to=bridge.alice))
        async with (await arrivals.receive()).answer() as call:
            await call.ended()
            assert call.ended_by == "remote"
        await bridge.line()
    assert (bridge.records[0].cause, bridge.records[0].status) == ("error", 503)
    assert "no WebSocket at ws://127.0.0.1:9/" in bridge.lines[0]


async def test_what_cannot_be_placed_is_refused_and_leaves_no_record() -> None:
    bot = WebSocketUrl.parse("ws://127.0.0.1:9/")
    routes = Routes(prefixes={"sip:": bot})
    allowed = [compile_pattern(r"sip:[a-z]+@127\.0\.0\.1:\d+"), compile_pattern("[a-z]+")]
    async with (
        bridged(str(bot), routes=routes, callable_targets=allowed, max_calls=1) as bridge,
        ringing(bridge.phone) as arrivals,
    ):
        place = bridge.served.originate
        for to, status in (("+4990012345", 403), (f"{bridge.alice};user=phone", 403)):
            with pytest.raises(CallRefused) as refused:
                await place(CallOrder(to=to))
            assert refused.value.status == status
        with pytest.raises(LinkFailed, match="no route"):
            await place(CallOrder(to="bob"))
        for wrong in (
            CallOrder(to=bridge.alice, websocket="http://127.0.0.1/"),
            CallOrder(to=bridge.alice, websocket="tcp://127.0.0.1:9"),
            CallOrder(to=bridge.alice, headers={"Contact": "<sip:me@example.org>"}),
            CallOrder(to=bridge.alice, headers={"X-Order": "7\r\nVia: x"}),
            CallOrder(to=bridge.alice, caller="no account"),
        ):
            with pytest.raises(LocalProtocolError):
                await place(wrong)
        assert (bridge.stages, bridge.served.ledger.records()) == ([], [])
        await place(CallOrder(to=bridge.alice))
        await arrivals.receive()
        with pytest.raises(CallRefused) as refused:
            await place(CallOrder(to=bridge.alice))
        assert (refused.value.status, refused.value.retry_after) == (503, 10)
        async with bridge.phone.call(bridge.address) as call:
            with pytest.raises(Exception, match="503"):
                await call.answered(timeout=5)
        bridge.served.draining = True
        with pytest.raises(CallRefused, match="ends"):
            await place(CallOrder(to=bridge.alice))


async def test_secrets_are_not_shown_to_servers_that_only_the_program_names() -> None:
    shown: list[dict[str, str]] = []

    async def serve(request: WebSocketRequest) -> None:
        shown.append({name.decode().lower(): value.decode() for name, value in request.headers})
        connection = await request.accept()
        await connection.get_message()

    async with trio.open_nursery() as nursery:
        one, two = [
            await nursery.start(partial(serve_websocket, serve, "127.0.0.1", 0, None))
            for _ in range(2)
        ]
        known, other = (f"ws://127.0.0.1:{server.port}/" for server in (one, two))
        async with (
            bridged(known, access=Access({"X-Secret": "7"})) as bridge,
            ringing(bridge.phone) as arrivals,
        ):
            for url in (f"{known}beside?n=1", other):
                await bridge.served.originate(CallOrder(to=bridge.alice, websocket=url))
                async with (await arrivals.receive()).answer() as call:
                    await call.ended()
        nursery.cancel_scope.cancel()
    assert [headers.get("x-secret") for headers in shown] == ["7", None]
