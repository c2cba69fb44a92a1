"""The page's files, their headers, and access to them."""

from __future__ import annotations

import gzip
import json
import re
import socket
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
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
from spech.web.entrance import Entrance
from spech.web.http import PEER_TIMEOUT_MS, bind
from spech.web.people import open_people
from spech.web.proxies import TrustedProxies
from spech.web.roster import Roster
from spech.web.sessions import Sessions
from spech.web.store import ADMINISTRATOR, Store
from spech.web.switchboard import open_switchboard
from spech.web.vault import Vault

from .conftest import Installation, open_page


@pytest.fixture
def frontend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "frontend"
    (folder / "locales").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html><title>Phone</title>")
    (folder / "sign-in.html").write_text("<!doctype html><title>Sign in</title>")
    (folder / "app.js").write_text("export {}")
    (folder / "style.css").write_text("body {}")
    (folder / "icon.svg").write_text("<svg/>")
    (folder / "locales" / "en.json").write_text("{}")
    (tmp_path / "secret").write_text("not for you")
    monkeypatch.setattr(web_app, "frontend_folder", lambda: folder)
    return folder


@asynccontextmanager
async def client(
    data_folder: Path,
    *,
    host: str = "127.0.0.1",
    password: str | None = None,
    proxies: Collection[str] = (),
    signed_in: bool = True,
) -> AsyncIterator[Any]:
    """Quart's test client; requests name a loopback host by default."""
    store = Store(Vault(data_folder))
    sessions = Sessions(data_folder)
    opening = partial(open_switchboard, store)
    async with open_people(Roster(store, sessions), opening, password=password) as people:
        entrance = Entrance(Gate(host), people, sessions, TrustedProxies(proxies), "cookie")
        app = create_app(people, entrance, Tickets())
        inner = app.asgi_app

        async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
            await inner(scope | {"client": ("127.0.0.1", 50000)}, receive, send)

        app.asgi_app = asgi_app  # type: ignore[method-assign]
        async with app.test_app() as running:
            http = running.test_client()
            if signed_in:
                http.set_cookie("localhost", "cookie", await sessions.begin(ADMINISTRATOR))
            yield http


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


async def test_files_have_their_content_types(frontend: Path, data_folder: Path) -> None:
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


async def test_every_response_has_the_security_headers(frontend: Path, data_folder: Path) -> None:
    async with client(data_folder) as http:
        for path in ("/", "/app.js", "/missing.js", "/control"):
            headers = (await http.get(path)).headers
            policy = headers["Content-Security-Policy"]
            assert policy.startswith(
                "default-src 'self'; img-src 'self' data:; style-src 'self'; script-src 'self'"
            )
            assert "unsafe" not in policy
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Referrer-Policy"] == "no-referrer"
        assert (await http.get("/")).headers["Cache-Control"] == "no-store"
        assert (await http.get("/index.html")).headers["Cache-Control"] == "no-store"
        assert (await http.get("/app.js")).headers["Cache-Control"] == "no-cache"


async def test_the_styles_of_a_page_are_one_answer(frontend: Path, data_folder: Path) -> None:
    links = "".join(f'<link rel="stylesheet" href="style/{name}.css">\n' for name in "ab")
    (frontend / "index.html").write_text(f"<head>\n{links}</head>")
    (frontend / "style").mkdir()
    for name in "ab":
        (frontend / "style" / f"{name}.css").write_text(f".{name} {{}}")
    async with client(data_folder) as http:
        page = (await (await http.get("/")).get_data()).decode()
        (style,) = re.findall(r'rel="stylesheet" href="([0-9a-f]{12}/index\.css)"', page)
        response = await http.get(f"/{style}")
        assert response.headers["Content-Type"] == "text/css; charset=utf-8"
        assert await response.get_data() == b".a {}\n.b {}"
        assert await (await http.get("/style/b.css")).get_data() == b".b {}"
        assert (await http.get("/other.css")).status_code == 404


async def test_scripts_are_kept_until_a_file_changes(frontend: Path, data_folder: Path) -> None:
    def scripts(page: bytes) -> list[str]:
        return re.findall(r'"([0-9a-f]{12}/app\.js)"', page.decode())

    (frontend / "index.html").write_text('<script type="module" src="app.js"></script>')
    (frontend / "app.js").write_text('import { b } from "./b.js";')
    (frontend / "b.js").write_text("export const b = 1;")
    async with client(data_folder) as http:
        (first,) = scripts(await (await http.get("/")).get_data())
        response = await http.get(f"/{first}")
        assert response.headers["Cache-Control"] == "max-age=31536000, immutable"
        assert b"const b = 1;" in await response.get_data()
        assert b"const b" not in await (await http.get("/app.js")).get_data()
        (frontend / "b.js").write_text("export const b = true;" * 100)
        second = scripts(await (await http.get("/")).get_data())[0]
        assert second != first
        packed = await http.get(f"/{second}", headers={"Accept-Encoding": "gzip"})
        assert packed.headers["Content-Encoding"] == "gzip"
        content = await (await http.get(f"/{second}")).get_data()
        assert gzip.decompress(await packed.get_data()) == content
        tag = {"Accept-Encoding": "gzip", "If-None-Match": packed.headers["ETag"]}
        assert (await http.get(f"/{second}", headers=tag)).status_code == 304
        assert (await http.get("/0123456789ab/../secret")).status_code in (404, 308)


@pytest.mark.parametrize(
    "path",
    ["/../secret", "/%2e%2e/secret", "/locales/../../secret", "//etc/passwd", "/..%2fsecret"],
)
async def test_only_files_of_the_page_are_served(
    frontend: Path, data_folder: Path, path: str
) -> None:
    async with client(data_folder) as http:
        response = await http.get(path)
        assert response.status_code in (404, 308)
        assert b"not for you" not in await response.get_data()


async def test_only_get_and_head_are_served(frontend: Path, data_folder: Path) -> None:
    async with client(data_folder) as http:
        assert (await http.post("/", data=b"x")).status_code == 405
        assert (await http.head("/app.js")).status_code == 200


async def test_unknown_host_names_are_refused(frontend: Path, data_folder: Path) -> None:
    async with client(data_folder) as http:
        assert (await http.get("/", headers={"Host": "evil.example"})).status_code == 421
        assert (await http.get("/", headers={"Host": "localhost:99"})).status_code == 200
        assert await refusal(http.websocket("/control", headers={"Host": "evil.example"})) == 421


async def test_strangers_get_files_and_nothing_else(frontend: Path, data_folder: Path) -> None:
    async with client(data_folder, signed_in=False) as http:
        assert b"<title>Sign in</title>" in await (await http.get("/")).get_data()
        assert (await http.get("/app.js")).status_code == 200
        for path in ("/calls/c1.txt", "/calls/c1.pcap", "/recordings/a.wav", "/session"):
            assert (await http.get(path)).status_code == 401, path
        assert await refusal(http.websocket("/control")) == 401


async def test_a_password_needs_ten_characters(data_folder: Path) -> None:
    with pytest.raises(SpechError, match=r"SPECH_WEB_PASSWORD.* at least 10 characters"):
        await serve(port=0, audio_port=0, data_folder=data_folder, password="nine char")


async def test_a_port_in_use_is_reported(data_folder: Path) -> None:
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
    assert b"<title>Sign in</title>" in answer
    assert b"hypercorn" not in answer.lower()


def websocket_frame(first: int, payload: bytes) -> bytes:
    """A masked frame (RFC 6455 5.2) with the all-zero mask."""
    assert len(payload) < 126
    return bytes([first, 0x80 | len(payload)]) + bytes(4) + payload


CLOSE = websocket_frame(0x88, b"\x03\xe8")
TEXT = websocket_frame(0x81, b"{}")
UPGRADE = (
    b"GET /control HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
HOSTILE = {
    "closed at once": UPGRADE + b"\r\n" + CLOSE,
    "text after the close": UPGRADE + b"\r\n" + CLOSE + TEXT,
    "two closes": UPGRADE + b"\r\n" + CLOSE + CLOSE,
    "a text within a text": UPGRADE + b"\r\n" + websocket_frame(0x01, b"x") + TEXT,
    "no frame at all": UPGRADE + b"\r\n" + b"\xff" * 500,
    "broken UTF-8": UPGRADE + b"\r\n" + websocket_frame(0x81, b"\xff\xfe"),
    "unknown extension": UPGRADE + b"Sec-WebSocket-Extensions: ;;,=\r\n\r\n",
    "bad window": UPGRADE
    + b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=99\r\n\r\n",
    "bad compression": UPGRADE
    + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
    + websocket_frame(0xC1, b"\xff\xff\xff\xff"),
    "another version": UPGRADE.replace(b"13", b"8") + b"\r\n" + TEXT,
    "no key": b"GET /control HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\n\r\n" + TEXT,
    "half a body": b"POST" + GET[3:] + b"Content-Length: 99999\r\n\r\n" + b"x" * 5000,
    "bad chunk": b"POST" + GET[3:] + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "odd host": b"GET / HTTP/1.1\r\nHost: localhost\xe9\r\n\r\n",
    "many headers": GET + b"A: b\r\n" * 10_000 + b"\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(50),
    "HTTP/2 upgrade": GET + b"Upgrade: h2c\r\nConnection: upgrade\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
    "zeros": bytes(70_000),
}


@pytest.mark.parametrize("ending", ["half-closed", "reset", "one more frame"])
async def test_a_hostile_connection_ends_only_itself(
    installation: Installation, caplog: pytest.LogCaptureFixture, ending: str
) -> None:
    async with open_page(installation.url) as page:
        for data in HOSTILE.values():
            for url in (installation.url, installation.audio_url):
                port = int(url.rstrip("/").rpartition(":")[2])
                stream = await trio.open_tcp_stream("127.0.0.1", port)
                with suppress(trio.BrokenResourceError):
                    await stream.send_all(data)
                    if ending == "half-closed":
                        await stream.send_eof()
                    if ending != "reset":
                        with trio.move_on_after(0.02):
                            await stream.receive_some()
                    if ending == "one more frame":
                        await stream.send_all(TEXT)
                await stream.aclose()
        assert (await page.refused("hang_up", call="c1"))["code"] == "no_such_call"
    # At most once for each port, however many messages were sent.
    assert sum(record.levelname != "DEBUG" for record in caplog.records) <= 2


async def test_accepted_connections_have_a_user_timeout() -> None:
    if not hasattr(socket, "TCP_USER_TIMEOUT"):
        pytest.skip("this system has no TCP_USER_TIMEOUT")
    async with (
        await bind("127.0.0.1", 0) as listener,
        await trio.open_tcp_stream(*listener.socket.getsockname()[:2]),
        await listener.accept() as accepted,
    ):
        timeout = accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
        assert timeout == PEER_TIMEOUT_MS


def test_the_folder_of_the_page_is_found() -> None:
    assert frontend_folder().is_dir()


async def test_pages_get_the_tones_of_every_country(frontend: Path, data_folder: Path) -> None:
    async with client(data_folder) as http:
        response = await http.get("/tones.json")
        table = json.loads(await response.get_data())
        assert table["de"]["busy"] == "425/480 0/480"
        assert table[""].keys() == table["us"].keys()
