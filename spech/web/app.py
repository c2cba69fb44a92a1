"""The web server: the page's files, the control WebSocket, and the audio server beside them."""

from __future__ import annotations

import logging
import socket
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import hypercorn.trio
import trio
from hypercorn.config import Config
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, ASGISendEvent, Scope
from quart import Response, request, websocket
from quart_trio import QuartTrio

import spech
from spech.web.audio import AudioServer, Tickets
from spech.web.auth import Gate, same_origin
from spech.web.control import MAX_COMMAND, converse
from spech.web.store import Store
from spech.web.switchboard import Switchboard, open_switchboard
from spech.web.vault import Vault

logger = logging.getLogger("spech.web")

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:; "
        "style-src 'self'; script-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

#: Named here because nosniff makes the browser trust us, and the machine's own table may be odd.
TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".ico": "image/vnd.microsoft.icon",
    ".js": "text/javascript",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".wav": "audio/wav",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}

#: A peer that takes nothing for so long is gone: pings make sure that there is something to take.
PEER_TIMEOUT_MS = 20_000
PING_SECONDS = 10.0
RESTART_SECONDS = 1.0


@dataclass(frozen=True)
class Serving:
    """What is being served: the page's address, and the TCP port for PCM."""

    web_url: str
    audio_port: int


async def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    audio_port: int = 8888,
    data_folder: Path,
    sip_listen: tuple[str, int] = ("0.0.0.0", 0),
    grace: float = 30.0,
    password: str | None = None,
    drain: float = 5.0,
    allowed_hosts: Collection[str] = (),
    task_status: trio.TaskStatus[Serving] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve the phone until cancelled; being cancelled gives every call its farewell.

    Args:
        host: address or name to listen on; anything but loopback needs a ``password``.
        port: TCP port of the page, 0 for any.
        audio_port: TCP port for PCM, 0 for any.
        data_folder: where the vault is kept; made when missing.
        sip_listen: local address and UDP port for SIP.
        grace: seconds that calls go on after the last page has gone.
        password: asked for by the browser (HTTP Basic, any user name).
        drain: seconds that farewells may take.
        allowed_hosts: further host names under which the page may be reached.
        task_status: told a `Serving` when both ports accept connections.

    Raises:
        SpechError: a password is needed and missing.
        OSError: a port is in use, or ``host`` is not an address of this machine.
    """
    gate = Gate(host, password=password, allowed_hosts=(socket.gethostname(), *allowed_hosts))
    tickets = Tickets()
    with await _bind(host, port) as web_socket, await _bind(host, audio_port) as audio_socket:
        web_port: int = web_socket.getsockname()[1]
        audio_port = audio_socket.getsockname()[1]
        async with (
            open_switchboard(
                Store(Vault(data_folder)),
                sip_listen=sip_listen,
                grace=grace,
                drain=drain,
                audio_port=audio_port,
            ) as switchboard,
            trio.open_nursery() as nursery,
        ):
            app = create_app(switchboard, tickets, gate)
            audio = AudioServer(switchboard, tickets, gate)
            audio_listener = trio.SocketListener(trio.socket.from_stdlib_socket(audio_socket))
            nursery.start_soon(audio.serve, audio_listener)
            await nursery.start(_serve_web, app, web_socket)
            shown = f"[{host}]" if ":" in host else host
            task_status.started(Serving(f"http://{shown}:{web_port}/", audio_port))


def create_app(switchboard: Switchboard, tickets: Tickets, gate: Gate) -> QuartTrio:
    """The Quart application: static files, and the control WebSocket at ``/control``."""
    app = QuartTrio(__name__, static_folder=str(frontend_folder()), static_url_path="")
    app.config["MAX_CONTENT_LENGTH"] = 1024

    @app.before_request
    async def check_request() -> Response | None:
        return _judge(gate, request.headers.get("Host"), request.headers.get("Authorization"))

    @app.before_websocket
    async def check_websocket() -> Response | None:
        headers = websocket.headers
        if not same_origin(headers.get("Origin"), headers.get("Host")):
            return _refusal(403, "This page may not use the phone.")
        return _judge(gate, headers.get("Host"), headers.get("Authorization"))

    @app.after_request
    async def add_headers(response: Response) -> Response:
        response.headers.update(HEADERS)
        # Files are asked for again each time, by their tag; the page itself is never kept.
        whole = request.path.endswith(("/", ".html")) or response.status_code >= 400
        response.headers["Cache-Control"] = "no-store" if whole else "no-cache"
        kind = TYPES.get(Path(request.path).suffix)
        if kind is not None and response.status_code == 200:
            response.mimetype = kind
        return response

    @app.get("/")
    async def index() -> Response:
        return await app.send_static_file("index.html")

    @app.websocket("/control")
    async def control() -> None:
        await converse(switchboard, tickets, websocket.receive, websocket.send)

    return app


def frontend_folder() -> Path:
    """Where the page's files are: inside the installed package, or beside it in a checkout."""
    packaged = Path(__file__).parent / "frontend"
    return packaged if packaged.is_dir() else Path(spech.__file__).parent.parent / "frontend"


def _judge(gate: Gate, host: str | None, authorization: str | None) -> Response | None:
    if not gate.host_allowed(host):
        return _refusal(421, "The phone is not served under this host name.")
    if not gate.authorized(authorization):
        response = _refusal(401, "The password is missing or wrong.")
        response.headers["WWW-Authenticate"] = 'Basic realm="Spech", charset="UTF-8"'
        return response
    return None


def _refusal(status: int, text: str) -> Response:
    return Response(text + "\n", status=status, content_type="text/plain; charset=utf-8")


async def _serve_web(
    app: QuartTrio,
    listening: socket.socket,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run Hypercorn on a listening socket. What breaks it is logged and it is started again: the
    calls are not the web server's, and must not end with it."""
    while True:
        config = Config()
        # Hypercorn closes the descriptor it is given; each run has one of its own.
        config.bind = [f"fd://{listening.dup().detach()}"]
        config.errorlog = logging.getLogger("spech.web.http")
        config.include_server_header = False
        config.websocket_max_message_size = MAX_COMMAND
        config.websocket_ping_interval = PING_SECONDS
        try:
            await hypercorn.trio.serve(
                _Finishing(app), config, mode="asgi", task_status=task_status
            )
        except* Exception as group:
            logger.error("The web server broke, it is started again", exc_info=group)
        task_status = trio.TASK_STATUS_IGNORED
        await trio.sleep(RESTART_SECONDS)


class _Finishing:
    """An ASGI application whose HTTP responses are sent to their end.

    Quart cancels a request's tasks in the moment in which Hypercorn has taken the last byte, and
    with them Hypercorn's own work after it: the connection would be neither closed nor timed out.
    """

    def __init__(self, app: QuartTrio) -> None:
        self._app = app

    async def __call__(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        async def send_to_the_end(message: ASGISendEvent) -> None:
            with trio.CancelScope(shield=True):
                await send(message)

        await self._app(scope, receive, send_to_the_end if scope["type"] == "http" else send)


async def _bind(host: str, port: int) -> socket.socket:
    """A listening TCP socket on the first address of ``host``."""
    found = await trio.socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    family, kind, protocol, _, address = found[0]
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setblocking(False)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            # Inherited by accepted connections. Without it a page on a machine that went to
            # sleep would count as present, and its calls would never be given up.
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, PEER_TIMEOUT_MS)
        listening.bind(address)
        listening.listen(100)
    except OSError as error:
        listening.close()
        raise OSError(error.errno, f"{error.strerror}: {host}:{port}") from error
    return listening
