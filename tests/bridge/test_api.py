"""The control plane of a bridge, over HTTP."""

from __future__ import annotations

import json
import stat
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio
from trio_websocket import WebSocketConnection

from spech import CallFailed
from spech.bridge.api.app import serve_api
from spech.bridge.api.metrics import BridgeMetrics
from spech.bridge.recordings import RecordingStore
from spech.bridge.routes import compile_pattern
from spech.testing.audio import assert_silence, sine, tone, write_wav
from spech.testing.talk import hear_tone, listen, talk
from spech.testing.waiting import until
from spech.web.http import bind

from .asking import ask
from .bots import Bridged, Program, bridged, echo, keep_silent, ringing, websocket_server


class Api:
    """A control plane, and the bridge that it controls."""

    def __init__(self, bridge: Bridged, port: int) -> None:
        self.bridge = bridge
        self._url = f"http://127.0.0.1:{port}"

    async def ask(
        self, path: str, body: Any = None, method: str | None = None, **fields: str
    ) -> tuple[int, str]:
        """Status and body of an answer."""
        return await ask(self._url + path, body, method, **fields)


@asynccontextmanager
async def controlled(
    token: str | None = None, program: Program = echo, **options: Any
) -> AsyncIterator[Api]:
    """A control plane of a bridge to such a bot. For the options see ``Bridge``."""
    metrics = BridgeMetrics()
    sounds = options.pop("sounds", None)
    options.setdefault("on_barge_in", metrics.note_barge_in)
    async with (
        websocket_server(program) as url,
        bridged(url, **options) as bridge,
        trio.open_nursery() as nursery,
    ):
        bridge.also = metrics.note
        listener = await bind("127.0.0.1", 0)
        port = listener.socket.getsockname()[1]
        nursery.start_soon(
            serve_api, bridge.served, bridge.answering, metrics, listener, token, sounds
        )
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
    assert 'spech_call_setup_seconds_count{direction="inbound"} 1.0' in metrics
    assert 'spech_calls_ended_total{cause="hangup",direction="inbound"} 1.0' in metrics
    assert "spech_ports 50.0" in metrics
    assert "spech_ports_used 0.0" in metrics


async def test_a_call_is_transferred_where_that_may_be_called() -> None:
    allowed = [compile_pattern("sip:bob@.*")]
    async with (
        controlled(callable_targets=allowed) as api,
        api.bridge.phone.call(api.bridge.address) as call,
    ):
        await call.answered(timeout=5)
        (shown,) = json.loads((await api.ask("/v1/calls"))[1])
        path = f"/v1/calls/{shown['id']}/transfer"
        status, body = await api.ask(path, {"target": "+4990012345"}, "POST")
        assert (status, "may not be called" in body) == (403, True)
        assert "REFER" not in call.ladder()
        status, body = await api.ask(path, {"target": "sip:bob@127.0.0.1:9"}, "POST")
        assert status == 502  # The caller declines transfers.
        assert "603" in json.loads(body)["error"]
        await until(lambda: call.state == "answered")


async def test_a_call_is_placed_and_found_when_it_has_ended() -> None:
    async with controlled() as api, ringing(api.bridge.phone) as arrivals:
        status, body = await api.ask("/v1/calls", {"to": api.bridge.alice}, "POST")
        placed = json.loads(body)
        assert (status, placed["state"], placed["direction"]) == (201, "initiated", "outbound")
        path = f"/v1/calls/{placed['id']}"
        async with (await arrivals.receive()).answer() as call:
            assert json.loads((await api.ask(path))[1])["call_id"] == call.call_id
            await until(lambda: "answered" in api.bridge.stages)
            assert json.loads((await api.ask(path))[1])["state"] == "answered"
        await api.bridge.line()
        assert json.loads((await api.ask(path))[1])["cause"] == "hangup"


async def test_a_call_that_rings_is_hung_up() -> None:
    async def wait(connection: WebSocketConnection) -> None:
        await connection.get_message()
        await trio.sleep_forever()

    async with controlled(program=wait, bot_answers=True) as api, ringing(api.bridge.phone) as them:
        async with api.bridge.phone.call(api.bridge.address) as call:
            while call.state != "ringing":
                await call.changed()
            (shown,) = json.loads((await api.ask("/v1/calls"))[1])
            assert shown["state"] == "ringing"
            assert (await api.ask(f"/v1/calls/{shown['id']}/dtmf", {"digits": "1"}, "POST"))[
                0
            ] == 409
            assert (await api.ask(f"/v1/calls/{shown['id']}/hangup", method="POST"))[0] == 204
            with pytest.raises(CallFailed, match="480"):
                await call.answered(timeout=5)
        _, body = await api.ask("/v1/calls", {"to": api.bridge.alice}, "POST")
        incoming = await them.receive()
        path = f"/v1/calls/{json.loads(body)['id']}/hangup"
        assert (await api.ask(path, method="POST"))[0] == 204
        await incoming.ended()
        await until(lambda: len(api.bridge.records) == 2)
    assert [(one.cause, one.status) for one in api.bridge.records] == [
        ("hangup", 480),
        ("hangup", 487),
    ]


@pytest.mark.parametrize(
    ("order", "status"),
    [
        ({}, 400),
        ({"to": ""}, 400),
        ({"to": "bob"}, 403),
        ({"to": "sip:bob@127.0.0.1", "timeout": 0}, 400),
        ({"to": "sip:bob@127.0.0.1", "pin": "1234"}, 400),
        ({"to": "sip:bob@127.0.0.1", "websocket": "http://127.0.0.1/"}, 400),
        ({"to": "sip:bob@nowhere.invalid"}, 502),
    ],
)
async def test_orders_that_cannot_be_carried_out(order: dict[str, Any], status: int) -> None:
    async with controlled(callable_targets=[compile_pattern("sip:.*")]) as api:
        found, body = await api.ask("/v1/calls", order, "POST")
        assert (found, bool(json.loads(body)["error"])) == (status, True)
        assert (await api.ask("/v1/calls"))[1] == "[]\n"


async def test_a_sound_is_played_over_what_the_bot_says(tmp_path: Path) -> None:
    write_wav(tmp_path / "news.wav", sine(600, 8000, 2, level=-12), 8000)
    async with (
        controlled(program=keep_silent, sounds=tmp_path) as api,
        api.bridge.phone.call(api.bridge.address) as call,
    ):
        await call.answered(timeout=5)
        (shown,) = json.loads((await api.ask("/v1/calls"))[1])
        path = f"/v1/calls/{shown['id']}/play"
        for file in ("../news.wav", "old.wav", ".", ""):
            assert (await api.ask(path, {"file": file}, "POST"))[0] == 400
        assert (await api.ask(path, {"file": "news.wav", "gain": 99}, "POST"))[0] == 400
        with call.open_audio() as port:
            order = {"file": "news.wav", "repeat": True, "gain": -6}
            assert (await api.ask(path, order, "POST"))[0] == 204
            await hear_tone(port, 600, level=-18)
            assert (await api.ask(f"{path}/stop", method="POST"))[0] == 204
            assert_silence((await listen(port, 0.6))[-2000:])


async def test_a_call_is_recorded(tmp_path: Path) -> None:
    async with (
        controlled(recordings=RecordingStore(tmp_path)) as api,
        api.bridge.phone.call(api.bridge.address) as call,
    ):
        await call.answered(timeout=5)
        (shown,) = json.loads((await api.ask("/v1/calls"))[1])
        path = f"/v1/calls/{shown['id']}/record"
        assert (await api.ask(path, {"name": "../call.wav"}, "POST"))[0] == 409
        status, body = await api.ask(path, {"stereo": True}, "POST")
        name = json.loads(body)["name"]
        assert (status, shown["id"] in name) == (201, True)
        assert (await api.ask(path, {"name": "other.wav"}, "POST"))[0] == 409
        with call.open_audio() as port:
            await hear_tone(port, 1000, say=sine(1000, 8000, 1, level=-12))
        assert (await api.ask(f"{path}/stop", method="POST"))[0] == 204
    file = tmp_path / name
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with wave.open(str(file)) as recorded:
        assert (recorded.getnchannels(), recorded.getframerate()) == (2, 8000)
        sides = np.frombuffer(recorded.readframes(recorded.getnframes()), "<i2").reshape(-1, 2)
    for side in sides.T:
        windows = side[: len(side) // 2000 * 2000].reshape(-1, 2000)
        # On a busy machine a frame may be missing in one of them.
        found = [tone(window, 8000) for window in windows]
        assert any(abs(one.frequency - 1000) < 5 and one.purity > 0.9 for one in found), found


@pytest.mark.parametrize(("shown", "digits"), [(False, "xxxx"), (True, "1234")])
async def test_digits_are_masked_unless_they_are_asked_for(shown: bool, digits: str) -> None:
    async with controlled(program=keep_silent, show_digits=shown) as api:
        async with api.bridge.phone.call(api.bridge.address) as call:
            await call.answered(timeout=5)
            call.send_dtmf("1234")
            await call.played()
        await api.bridge.line()
        (record,) = json.loads((await api.ask("/v1/calls"))[1])
    assert record["digits"] == digits


@pytest.mark.parametrize(("by_voice", "delay"), [(False, 0.0), (True, 0.0), (True, 0.1)])
async def test_the_time_until_an_interrupted_bot_is_silent_is_counted(
    by_voice: bool, delay: float
) -> None:
    async def speak(connection: WebSocketConnection) -> None:
        await connection.send_message(sine(600, 8000, 5, level=-12).tobytes())
        while True:
            message = await connection.get_message()
            if isinstance(message, bytes):
                interrupted = by_voice and np.abs(np.frombuffer(message, "<i2")).max() > 2000
            else:
                interrupted = json.loads(message).get("event") == "dtmf"
            if interrupted:
                await trio.sleep(delay)
                await connection.send_message('{"command": "clear"}')

    async with controlled(program=speak) as api:
        async with api.bridge.phone.call(api.bridge.address) as call:
            await call.answered(timeout=5)
            with call.open_audio() as port:
                await hear_tone(port, 600)
                if by_voice:
                    heard = await talk(port, sine(1000, 8000, 1, level=-12), 1)
                else:
                    call.send_dtmf("1")
                    heard = await listen(port, 1)
                assert_silence(heard[-4000:])
        await api.bridge.line()
        _, metrics = await api.ask("/metrics")
    assert "spech_barge_in_seconds_count 1.0" in metrics


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


async def test_all_that_is_served_for_calls_is_described() -> None:
    async with controlled() as api:
        described = json.loads((await api.ask("/openapi.json"))[1])
    found = {
        (method, path.removeprefix("/v1/calls")): sorted(operation["responses"])
        for path, operations in described["paths"].items()
        for method, operation in operations.items()
    }
    done = ["204", "default"]
    assert found == {
        ("get", ""): ["200", "default"],
        ("post", ""): ["201", "default"],
        ("get", "/{name}"): ["200", "default"],
        ("post", "/{name}/hangup"): done,
        ("post", "/{name}/transfer"): done,
        ("post", "/{name}/dtmf"): done,
        ("post", "/{name}/play"): done,
        ("post", "/{name}/play/stop"): done,
        ("post", "/{name}/record"): ["201", "default"],
        ("post", "/{name}/record/stop"): done,
    }
    listed = described["paths"]["/v1/calls"]["get"]["responses"]["200"]
    assert listed["content"]["application/json"]["schema"]["type"] == "array"
    schemas = described["components"]["schemas"]
    assert schemas["CallOrder"]["required"] == ["to"]
    assert {"id", "direction", "digits", "mos"} <= set(schemas["CallRecord"]["properties"])


@pytest.mark.parametrize("fields", [{"Origin": "http://127.0.0.1"}, {"Host": "evil.example"}])
async def test_without_a_token_browsers_are_refused(fields: dict[str, str]) -> None:
    async with controlled() as api:
        assert (await api.ask("/v1/calls", **fields))[0] == 403
        assert (await api.ask("/openapi.json", **fields))[0] == 403


async def test_pages_are_refused_with_a_token_too() -> None:
    async with controlled("secret") as api:
        fields = {"Authorization": "Basic OnNlY3JldA==", "Host": "bots.example"}
        assert (await api.ask("/v1/calls", **fields))[0] == 200
        assert (await api.ask("/v1/calls", Origin="http://bots.example", **fields))[0] == 403
