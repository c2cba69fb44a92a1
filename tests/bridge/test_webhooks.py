"""What becomes of calls is told to a server, which may be slow, broken or hostile."""

from __future__ import annotations

import hashlib
import hmac
import http.server
import json
import logging
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
import trio.testing

from spech import open_phone
from spech.bridge.access import Access
from spech.bridge.records import CallRecord, CallStage
from spech.bridge.webhooks import Webhooks, check_webhook, open_webhooks
from spech.errors import LocalProtocolError
from spech.testing.waiting import until

from .bots import PORTS
from .commands import bridge_command

URL = "https://office.example.org/calls?key=secret"
Handler = Callable[[httpx.Request], Any]


def record(state: CallStage = "ringing", name: str = "0" * 32) -> CallRecord:
    return CallRecord(
        id=name,
        call_id="a84b4c76e66710",
        direction="inbound",
        caller="alice",
        called="700",
        state=state,
        began=datetime(2026, 1, 1, tzinfo=UTC),
        setup_seconds=None,
        seconds=0.0,
        codec=None,
        cause=None,
        status=None,
        reason=None,
        untaken_frames=0,
        lost_seconds=0.0,
        digits="",
        mos=None,
        summary="",
    )


class Office:
    """A server whose answers are statuses, one after the other; the last one stays."""

    def __init__(self, *statuses: int, delay: float = 0.0) -> None:
        self.asked: list[tuple[float, httpx.Request]] = []
        self.outcomes: list[bool] = []
        self._statuses = list(statuses)
        self._delay = delay

    async def answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append((trio.current_time(), request))
        await trio.sleep(self._delay)
        status = self._statuses.pop(0) if len(self._statuses) > 1 else self._statuses[0]
        if not status:
            raise httpx.ConnectError("refused", request=request)
        return httpx.Response(status, stream=httpx.ByteStream(b"thanks"))

    @property
    def events(self) -> list[str]:
        return [json.loads(request.content)["event"] for _, request in self.asked]


@asynccontextmanager
async def told(office: Office, access: Access | None = None) -> AsyncIterator[Webhooks]:
    """Webhooks to an office."""
    transport = httpx.MockTransport(office.answer)
    async with httpx.AsyncClient(transport=transport) as client, trio.open_nursery() as nursery:
        webhooks = Webhooks(URL, access or Access(), client, office.outcomes.append)
        nursery.start_soon(webhooks.run)
        yield webhooks
        nursery.cancel_scope.cancel()


async def test_each_event_is_signed_and_comes_in_order(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    key = tmp_path / "key"
    key.write_text("open-sesame")
    office = Office(204)
    stages: list[CallStage] = ["initiated", "ringing", "answered", "ended"]
    async with told(office, Access(signing_key_file=key)) as webhooks:
        for stage in stages:
            webhooks.note(record(stage))
        await webhooks.sent_all()
    assert office.events == ["initiated", "ringing", "answered", "completed"]
    assert office.outcomes == [True] * 4
    names = set()
    for _, request in office.asked:
        assert str(request.url) == URL
        assert request.headers["Content-Type"] == "application/json"
        moment, digest = request.headers["X-Spech-Signature"].split(",")
        content = moment.removeprefix("t=").encode() + b"." + request.content
        expected = hmac.new(b"open-sesame", content, hashlib.sha256).hexdigest()
        assert digest == f"v1={expected}"
        body = json.loads(request.content)
        names.add(body["id"])
        assert (body["call"]["call_id"], body["call"]["caller"]) == ("a84b4c76e66710", "alice")
    assert len(names) == 4


async def test_what_is_not_taken_is_sent_again_later_and_later(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    office = Office(0, 503, 429, 200)
    async with told(office) as webhooks:
        began = trio.current_time()
        webhooks.note(record())
        webhooks.note(record("answered"))
        await webhooks.sent_all()
    assert [at - began for at, _ in office.asked] == pytest.approx([0, 1, 3, 7, 7])
    assert office.events == ["ringing"] * 4 + ["answered"]
    assert len({json.loads(request.content)["id"] for _, request in office.asked}) == 2
    assert office.outcomes == [True, True]
    assert [one.message for one in caplog.records if one.name.startswith("spech")] == [
        "the webhook does not take events: refused",
        "the webhook takes events again",
    ]


@pytest.mark.parametrize(
    ("status", "delay", "tries"),
    [(404, 0.0, 1), (301, 0.0, 1), (500, 0.0, 15), (200, 60.0, 13)],
)
async def test_an_event_is_dropped_when_it_is_refused_or_late(
    status: int, delay: float, tries: int, autojump_clock: trio.testing.MockClock
) -> None:
    office = Office(status, delay=delay)
    async with told(office) as webhooks:
        began = trio.current_time()
        webhooks.note(record())
        await webhooks.sent_all()
        assert trio.current_time() - began <= 610
    assert len(office.asked) == tries
    assert office.outcomes == [False]


async def test_a_server_that_takes_nothing_costs_bounded_memory_and_no_other_call(
    autojump_clock: trio.testing.MockClock,
) -> None:
    office = Office(200, delay=5)
    async with told(office) as webhooks:
        for _ in range(1000):
            webhooks.note(record())
        assert office.outcomes == [False] * 500
        webhooks.note(record("answered", "00000001" * 4))
        await trio.sleep(1)
        assert sorted(office.events) == ["answered", "ringing"]


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a/",
        "https://",
        "https://user:secret@a/",
        "calls",
        "http://a:99999/",
        "http://[/",
        "http://a/ b",
    ],
)
def test_a_webhook_needs_a_plain_url(url: str) -> None:
    with pytest.raises(LocalProtocolError):
        check_webhook(url)


@contextmanager
def office_at_work() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """An HTTP server that takes all events."""
    taken: list[dict[str, Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            taken.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing is logged."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/calls", taken
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def test_the_command_tells_of_a_call_up_to_the_end_that_a_signal_brings() -> None:
    with office_at_work() as (url, taken):
        async with (
            open_phone(listen=("127.0.0.1", 0), ports=PORTS) as phone,
            bridge_command("--webhook", url) as (process, bot),
            phone.call(bot) as call,
        ):
            await call.answered(timeout=5)
            await until(lambda: len(taken) == 2)
            process.send_signal(signal.SIGTERM)
            with trio.fail_after(10):
                assert await process.wait() == 0
    assert [event["event"] for event in taken] == ["ringing", "answered", "completed"]
    assert {event["call"]["call_id"] for event in taken} == {call.call_id}
    assert taken[-1]["call"]["cause"] == "shutdown"


async def test_a_secret_in_the_url_is_not_logged(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with open_webhooks("http://127.0.0.1:9/?key=secret", Access()) as webhooks:
        webhooks.note(record())
    assert "the webhook does not take events" in caplog.text
    assert "secret" not in caplog.text
