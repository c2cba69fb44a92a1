"""The webhook is told of incoming calls, and its failures hurt nobody."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import trio

from spech.errors import SpechError
from spech.web.webhook import CallNote, Webhook

from .conftest import PATIENCE, Exchange, open_page, run_server

#: Makes a listener answer with something else than HTTP.
NO_HTTP = 0


class Listener(HTTPServer):
    """An HTTP server that keeps what is posted to it, and answers with ``status``."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.posted: list[tuple[str, Any]] = []
        self.status = 204

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/calls?key=s3cret"


class _Handler(BaseHTTPRequestHandler):
    server: Listener

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posted.append((self.path, json.loads(body)))
        if self.server.status == NO_HTTP:
            self.wfile.write(b"garbage\r\n\r\n")
            return
        self.send_response(self.server.status)
        self.send_header("Location", "/elsewhere")
        self.end_headers()

    def do_GET(self) -> None:
        self.server.posted.append((self.path, None))

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def listener() -> Iterator[Listener]:
    with Listener() as listener:
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield listener
        finally:
            listener.shutdown()
            thread.join()


async def posted(listener: Listener, count: int) -> list[dict[str, Any]]:
    """Wait for so many posts, and return their bodies."""
    while len(listener.posted) < count:  # noqa: ASYNC110, it is in another thread
        await trio.sleep(0.01)
    return [body for _, body in listener.posted]


async def test_incoming_calls_are_told(
    exchange: Exchange, data_folder: Path, listener: Listener
) -> None:
    with trio.fail_after(PATIENCE):
        async with (
            run_server(exchange, data_folder, webhook=listener.url) as installation,
            open_page(installation.url) as page,
        ):
            await page.ask("save_account", **installation.settings())
            await page.registered()
            async with exchange.phone.call(
                exchange.contacts["alice"], caller='"Bob" <sip:bob@example.test>'
            ) as call:
                ringing = await page.call_in_state("ringing")
                await page.ask("answer", call=ringing["id"])
                await call.answered(10)
                await posted(listener, 2)
            rings, answered, ended = await posted(listener, 3)
            # Calls that we place are not told.
            await page.ask("dial", target="601")
            await page.call_in_state("ended")
            assert len(listener.posted) == 3
    assert [each["event"] for each in (rings, answered, ended)] == ["ringing", "answered", "ended"]
    for each in (rings, answered, ended):
        assert (each["number"], each["name"], each["person"]) == ("bob", "Bob", "admin")
        assert each["account"] == f"sip:alice@127.0.0.1:{exchange.port}"
        assert each["call"] == ringing["id"]
    assert rings["seconds"] is None
    assert ended["seconds"] >= 0.0
    assert ended["text"] == "The other side hung up."
    assert {path for path, _ in listener.posted} == {"/calls?key=s3cret"}


NOTE = CallNote(
    event="ringing", at=0.0, call="c1", person="admin", account="sip:a@b", number="1", name=None
)


async def test_failures_are_logged_without_the_secret_and_the_next_note_is_posted(
    listener: Listener,
    nursery: trio.Nursery,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # It is not used.
    caplog.set_level(logging.DEBUG)
    webhook = Webhook(listener.url)
    nursery.start_soon(webhook.run)
    for status in (302, 500, NO_HTTP, 204):
        listener.status = status
        webhook.tell(NOTE)
        await posted(listener, len(listener.posted) + 1)
    assert {path for path, _ in listener.posted} == {"/calls?key=s3cret"}
    assert caplog.text.count("the webhook at 127.0.0.1 failed") == 3
    assert "s3cret" not in caplog.text
    nursery.cancel_scope.cancel()


async def test_notes_that_cannot_wait_are_dropped(caplog: pytest.LogCaptureFixture) -> None:
    webhook = Webhook("http://127.0.0.1:9/")
    for _ in range(101):
        webhook.tell(NOTE)
    assert caplog.text.count("a note is dropped") == 1


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://x",
        "crm.example.org",
        "http://",
        "http://[::1",
        "http://crm.test:port/",
        "http://xn--/",
        "http://crm.test/\n",
        "http://user:s3cret@crm.test/",
    ],
)
def test_only_http_urls_without_a_user_are_taken(url: str) -> None:
    with pytest.raises(SpechError, match="webhook") as refused:
        Webhook(url)
    assert "s3cret" not in str(refused.value)
