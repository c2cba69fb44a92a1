"""The web server: the page's files, the control WebSocket, and the audio server beside them."""

from __future__ import annotations

import socket
from collections.abc import Collection, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import trio
from quart import Request, Response, Websocket, abort, request, websocket
from quart_trio import QuartTrio
from werkzeug.datastructures import Headers
from werkzeug.security import safe_join

import spech
from spech.audio.progress import TABLE
from spech.web.admin import AdminServer, open_admin_socket
from spech.web.appearance import Appearance
from spech.web.audio import AudioServer, Tickets
from spech.web.auth import Gate, same_origin
from spech.web.connections import ClientConnection, Connections
from spech.web.control import MAX_COMMAND, converse
from spech.web.data_lock import data_lock
from spech.web.entrance import Entrance, refusal
from spech.web.http import bind, serve_app
from spech.web.line import PhoneSettings
from spech.web.messages import KnownNumber, Refused
from spech.web.page_files import compress, compresses, read_page, without_stamp
from spech.web.people import People, check_password, open_people
from spech.web.proxies import TrustedProxies
from spech.web.recordings import RECORDING_TYPES, RecordingBody
from spech.web.roster import Roster
from spech.web.sessions import PageSession, Sessions
from spech.web.store import ADMINISTRATOR, Person, Store
from spech.web.switchboard import Switchboard, open_switchboard
from spech.web.vault import Vault

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

#: What is served, by ending. Named here because nosniff makes the browser trust us, and the
#: machine's own table may be odd.
MEDIA_TYPES = {
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


@dataclass(frozen=True)
class Serving:
    """What is being served.

    Attributes:
        web_url: the page's address.
        audio_port: the TCP port for PCM.
        link: an address that signs the administrator in, once, within two minutes.
    """

    web_url: str
    audio_port: int
    link: str


async def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    audio_port: int = 8888,
    data_folder: Path,
    sip_listen: tuple[str, int] = ("0.0.0.0", 0),
    stun: str | None = None,
    callers: Sequence[str] = (),
    strangers: int = 0,
    grace: float = 30.0,
    password: str | None = None,
    drain: float = 5.0,
    allowed_hosts: Collection[str] = (),
    trusted_proxies: Collection[str] = (),
    numbers: tuple[KnownNumber, ...] = (),
    task_status: trio.TaskStatus[Serving] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve the phone until cancelled; being cancelled gives every call its farewell.

    Args:
        host: address or name to listen on.
        port: TCP port of the page, 0 for any.
        audio_port: TCP port for PCM, 0 for any.
        data_folder: where the vault is kept; made when missing.
        sip_listen: local address and UDP port for SIP.
        stun: see :func:`spech.open_phone`.
        callers: addresses, networks and host names that may ring besides the registrars.
        strangers: how many calls of others may ring at once, for each account.
        grace: seconds that calls continue after the last page has gone.
        password: the administrator's, at least ten characters; None if only links sign in.
        drain: seconds that farewells may take.
        allowed_hosts: further host names under which the page may be reached.
        trusted_proxies: addresses and networks of reverse proxies whose ``Forwarded`` and
            ``X-Forwarded-For`` headers are believed.
        numbers: numbers that pages suggest, with what answers there.
        task_status: gets a `Serving` when both ports accept connections.

    Raises:
        SpechError: the password is too short, or another server uses the data folder.
        OSError: a port is in use, or ``host`` is not an address of this machine.
    """
    check_password(password)
    gate = Gate(host, allowed_hosts=(socket.gethostname(), *allowed_hosts))
    proxies = TrustedProxies(trusted_proxies)
    connections = Connections(proxies)
    tickets = Tickets()
    with data_lock(data_folder), open_admin_socket(data_folder) as admin:
        async with await bind(host, port) as web, await bind(host, audio_port) as audio:
            web_port = web.socket.getsockname()[1]
            audio_port = audio.socket.getsockname()[1]
            store = Store(Vault(data_folder))

            def opening(person: Person) -> AbstractAsyncContextManager[Switchboard]:
                journals = store.make_folder(person.id) / "journals"
                journals.mkdir(mode=0o700, exist_ok=True)
                # The port is the administrator's, because it can be opened once.
                sip_port = sip_listen[1] if person.id == ADMINISTRATOR else 0
                local = (sip_listen[0], sip_port)
                return open_switchboard(
                    store,
                    person,
                    phones=PhoneSettings(local, drain, stun, callers, strangers, journals),
                    grace=grace,
                    audio_port=audio_port,
                    numbers=numbers,
                )

            sessions = Sessions(data_folder)
            await sessions.set_password(ADMINISTRATOR, password)
            shown = f"[{host}]" if ":" in host else host
            url = f"http://{shown}:{web_port}/"

            def make_link(person: str) -> str:
                return f"{url}#link={sessions.link(person)}"

            async with (
                open_people(Roster(store, sessions), opening, password=password) as people,
                trio.open_nursery() as nursery,
            ):
                entrance = Entrance(people, sessions, proxies, f"spech-{web_port}")
                app = create_app(people, entrance, tickets, gate)
                nursery.start_soon(serve_app, app, web, connections, MAX_COMMAND)
                nursery.start_soon(AdminServer(people, make_link).serve, admin)
                audio_server = AudioServer(tickets, gate, connections)
                nursery.start_soon(audio_server.serve, audio)
                task_status.started(Serving(url, audio_port, make_link(ADMINISTRATOR)))


def create_app(people: People, entrance: Entrance, tickets: Tickets, gate: Gate) -> QuartTrio:
    """The Quart application.

    It serves static files to everyone, and the calls, the recordings and the control WebSocket at
    ``/control`` of those who have signed in.
    """
    app = QuartTrio(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = 1024
    folder = frontend_folder()

    @app.before_request
    async def check_request() -> Response | None:
        return check_origin(request.headers, browser=request.method not in ("GET", "HEAD"))

    @app.before_websocket
    async def check_websocket() -> Response | None:
        refused = check_origin(websocket.headers, browser=True)
        if refused is None and signed_in(websocket) is None:
            refused = refusal(401, "Nobody has signed in here.")
        return refused

    def check_origin(headers: Headers, *, browser: bool) -> Response | None:
        """The refusal of a request under a foreign name, or of a foreign page; None if allowed."""
        if not gate.host_allowed(headers.get("Host")):
            return refusal(
                421,
                "The phone is not served under this host name. Start Spech with --allow-host NAME.",
            )
        if browser and not same_origin(headers.get("Origin"), headers.get("Host")):
            return refusal(403, "This page may not use the phone.")
        return None

    def signed_in(visit: Request | Websocket) -> tuple[PageSession, Switchboard] | None:
        """The session and the switchboard of a request, whose connection is then trusted."""
        session = entrance.session(visit.headers)
        switchboard = None if session is None else people.switchboard(session.person)
        if session is None or switchboard is None:
            return None
        connection: ClientConnection | None = visit.scope.get("state", {}).get("connection")
        if connection is not None:
            connection.trust()
        return session, switchboard

    def own_switchboard() -> Switchboard:
        """The switchboard of the person who sends the present request."""
        found = signed_in(request)
        if found is None:
            abort(401)
        return found[1]

    entrance.add_routes(app)

    @app.after_request
    async def add_headers(response: Response) -> Response:
        response.headers.update(HEADERS)
        # Files are asked for again each time, by their tag, unless their address has a stamp; the
        # page itself and what belongs to a call are never kept.
        whole = (
            request.path.endswith(("/", ".html"))
            or request.path.startswith(("/calls/", "/recordings/", "/session"))
            or response.status_code >= 400
        )
        if whole:
            response.headers["Cache-Control"] = "no-store"
        else:
            response.headers.setdefault("Cache-Control", "no-cache")
        return response

    @app.get("/")
    async def index() -> Response:
        return await file("sign-in.html" if signed_in(request) is None else "index.html")

    @app.get("/calls/<call>.pcap")
    async def capture(call: str) -> Response:
        content = find_call(call).capture()
        return _download(content, "application/vnd.tcpdump.pcap", f"{call}.pcap")

    @app.get("/calls/<call>.txt")
    async def ladder(call: str) -> Response:
        content = find_call(call).ladder().encode()
        return _download(content, "text/plain; charset=utf-8", f"{call}.txt")

    @app.get("/recordings/<name>")
    async def recording(name: str) -> Response:
        try:
            path = own_switchboard().recordings.find(name)
            body = RecordingBody(path)
        except (Refused, OSError):
            abort(404)
        response = Response(body, content_type=RECORDING_TYPES[path.suffix])
        response.timeout = None  # An hour of sound may take a while.
        response.content_length = body.size
        return await response.make_conditional(request, True, body.size)

    @app.get("/tones.json")
    async def tones() -> Response:
        return Response(await trio.Path(TABLE).read_bytes(), mimetype="application/json")

    def find_call(call: str) -> Appearance:
        try:
            return own_switchboard().calls.find_kept(call)
        except Refused:
            abort(404)

    @app.get("/<path:name>")
    async def file(name: str) -> Response:
        name, stamped = without_stamp(name)
        path = safe_join(str(folder), name)
        kind = None if path is None else MEDIA_TYPES.get(Path(path).suffix)
        if path is None or kind is None:
            abort(404)
        try:
            # Whole, because the files are small, and none stays open when a browser goes away.
            if kind == "text/html":
                content = await trio.to_thread.run_sync(read_page, folder, name)
            else:
                content = await trio.Path(path).read_bytes()
        except (OSError, ValueError):
            abort(404)
        packed = compresses(kind, content) and request.accept_encodings.quality("gzip") > 0
        response = Response(compress(content) if packed else content, mimetype=kind)
        if packed:
            response.headers["Content-Encoding"] = "gzip"
        response.headers["Vary"] = "Accept-Encoding"
        if stamped:
            response.headers["Cache-Control"] = "max-age=31536000, immutable"
        await response.add_etag()
        return await response.make_conditional(request)

    @app.websocket("/control")
    async def control() -> None:
        found = signed_in(websocket)
        assert found is not None  # check_websocket has found it.
        session, switchboard = found
        with session.connection():
            receive, send = websocket.receive, websocket.send
            await converse(people, switchboard, session, tickets, receive, send)

    return app


def frontend_folder() -> Path:
    """The folder of the page's files: in the installed package, or beside it in a checkout."""
    packaged = Path(__file__).parent / "frontend"
    return packaged if packaged.is_dir() else Path(spech.__file__).parent.parent / "frontend"


def _download(content: bytes, kind: str, name: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="spech-{name}"'}
    return Response(content, content_type=kind, headers=headers)
