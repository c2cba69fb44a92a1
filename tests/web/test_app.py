"""The page's files, their headers, and who gets them."""

from __future__ import annotations

import base64
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from quart.testing import WebsocketResponseError

from spech.errors import SpechError
from spech.web import app as web_app
from spech.web.app import create_app, frontend_folder, serve
from spech.web.audio import Tickets
from spech.web.auth import Gate
from spech.web.store import Store
from spech.web.switchboard import open_switchboard
from spech.web.vault import Vault

from .conftest import PATIENCE, Exchange, Installation, open_page, run_server


@pytest.fixture
def frontend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "frontend"
    (folder / "locales").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html><title>Phone</title>")
    (folder / "app.js").write_text("export {}")
    (folder / "style.css").write_text("body {}")
    (folder / "icon.svg").write_text("<svg/>")
    (folder / "locales" / "en.json").write_text("{}")
    (tmp_path / "secret").write_text("not for you")
    monkeypatch.setattr(web_app, "frontend_folder", lambda: folder)
    return folder


@asynccontextmanager
async def client(data_folder: Path, gate: Gate | None = None) -> AsyncIterator[Any]:
    """Quart's own test client; requests name a loopback host unless told otherwise."""
    async with open_switchboard(Store(Vault(data_folder))) as switchboard:
        app = create_app(switchboard, Tickets(), gate or Gate("127.0.0.1"))
        async with app.test_app() as running:
            yield running.test_client()


async def refusal(connecting: Any) -> int:
    """The HTTP status with which a WebSocket is refused."""
    status = 0
    with pytest.RaisesGroup(WebsocketResponseError):
        async with connecting as websocket:
            try:
                await websocket.receive()
            except WebsocketResponseError as error:
                status = error.response.status_code
                raise
    return status


async def test_files_come_with_their_types(frontend: Path, data_folder: Path) -> None:
    async with client(data_folder) as http:
        for path, kind in (
            ("/", "text/html; charset=utf-8"),
            ("/index.html", "text/html; charset=utf-8"),
            ("/app.js", "text/javascript; charset=utf-8"),
            ("/style.css", "text/css; charset=utf-8"),
            ("/icon.svg", "image/svg+xml; charset=utf-8"),
            ("/locales/en.json", "application/json"),
        ):
            response = await http.get(path)
            assert response.status_code == 200
            assert response.headers["Content-Type"] == kind, path
        assert (await (await http.get("/app.js")).get_data()) == b"export {}"


async def test_every_answer_has_the_headers(frontend: Path, data_folder: Path) -> None:
    async with client(data_folder) as http:
        for path in ("/", "/app.js", "/missing.js", "/control"):
            headers = (await http.get(path)).headers
            policy = headers["Content-Security-Policy"]
            assert policy.startswith(
                "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:; "
                "style-src 'self'; script-src 'self'"
            )
            assert "unsafe" not in policy
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Referrer-Policy"] == "no-referrer"
        assert (await http.get("/")).headers["Cache-Control"] == "no-store"
        assert (await http.get("/index.html")).headers["Cache-Control"] == "no-store"
        assert (await http.get("/app.js")).headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize(
    "path",
    ["/../secret", "/%2e%2e/secret", "/locales/../../secret", "//etc/passwd", "/..%2fsecret"],
)
async def test_nothing_beside_the_page_is_served(
    frontend: Path, data_folder: Path, path: str
) -> None:
    async with client(data_folder) as http:
        response = await http.get(path)
        assert response.status_code in (404, 308)
        assert b"not for you" not in await response.get_data()


async def test_only_reading_is_served(frontend: Path, data_folder: Path) -> None:
    async with client(data_folder) as http:
        assert (await http.post("/", data=b"x")).status_code == 405
        assert (await http.head("/app.js")).status_code == 200


async def test_rebound_names_are_refused(frontend: Path, data_folder: Path) -> None:
    async with client(data_folder) as http:
        assert (await http.get("/", headers={"Host": "evil.example"})).status_code == 421
        assert (await http.get("/", headers={"Host": "localhost:99"})).status_code == 200
        assert await refusal(http.websocket("/control", headers={"Host": "evil.example"})) == 421


async def test_the_password_is_asked_for(frontend: Path, data_folder: Path) -> None:
    async with client(data_folder, Gate("0.0.0.0", password="let me in")) as http:
        refused = await http.get("/")
        assert refused.status_code == 401
        assert refused.headers["WWW-Authenticate"].startswith("Basic ")
        assert await refusal(http.websocket("/control")) == 401
        credentials = base64.b64encode(b"anyone:let me in").decode()
        headers = {"Authorization": f"Basic {credentials}"}
        assert (await http.get("/", headers=headers)).status_code == 200
        async with http.websocket("/control", headers=headers) as websocket:
            assert '"type":"state"' in await websocket.receive()


async def test_listening_for_others_without_a_password_says_what_to_do(data_folder: Path) -> None:
    with pytest.raises(SpechError, match="set SPECH_WEB_PASSWORD, or listen on 127"):
        await serve(host="0.0.0.0", port=0, audio_port=0, data_folder=data_folder)


async def test_a_port_in_use_is_told(data_folder: Path) -> None:
    with socket.socket() as occupied:
        occupied.bind(("127.0.0.1", 0))
        occupied.listen()
        port = occupied.getsockname()[1]
        for ports in ({"port": port, "audio_port": 0}, {"port": 0, "audio_port": port}):
            with pytest.raises(OSError, match=f"127.0.0.1:{port}"):
                await serve(data_folder=data_folder, **ports)


async def test_the_whole_server_answers_over_a_socket(
    frontend: Path, installation: Installation
) -> None:
    port = int(installation.url.rstrip("/").rpartition(":")[2])
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = b""
        async for data in stream:
            answer += data
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"<title>Phone</title>" in answer
    assert b"hypercorn" not in answer.lower()


async def test_accepted_connections_give_up_on_a_peer_that_is_gone(
    installation: Installation,
) -> None:
    if not hasattr(socket, "TCP_USER_TIMEOUT"):
        pytest.skip("this system has no TCP_USER_TIMEOUT")
    with await web_app._bind("127.0.0.1", 0) as listening:
        async with await trio.open_tcp_stream(*listening.getsockname()[:2]):
            accepted, _ = listening.accept()
            with accepted:
                timeout = accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
                assert timeout == web_app.PEER_TIMEOUT_MS


async def test_a_web_server_that_breaks_is_started_again_and_calls_go_on(
    exchange: Exchange,
    data_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    real_serve = web_app.hypercorn.trio.serve
    breaking = trio.Event()

    async def fragile_serve(*args: Any, **options: Any) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(real_serve, *args, **options))
            if not breaking.is_set():
                await breaking.wait()
                raise ZeroDivisionError

    monkeypatch.setattr(web_app.hypercorn.trio, "serve", fragile_serve)
    monkeypatch.setattr(web_app, "RESTART_SECONDS", 0.01)
    with trio.fail_after(PATIENCE):
        async with run_server(exchange, data_folder) as installation:
            async with open_page(installation.url) as page:
                await page.ask("save_account", **installation.settings())
                await page.registered()
                await page.ask("dial", target="600")
                await page.call_in_state("answered")
                breaking.set()
            async with open_page(installation.url) as page:
                await page.call_in_state("answered")
    assert "The web server broke" in caplog.text


def test_the_page_is_found() -> None:
    assert frontend_folder().is_dir()
