"""The web server: the page's files, the control WebSocket, and the sound."""

from __future__ import annotations

import json
import socket
from collections.abc import Collection, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import trio
from quart import Request, Response, Websocket, abort, request, websocket
from quart_trio import QuartTrio
from werkzeug.security import safe_join

import spech
from spech.audio.progress import TABLE
from spech.phone.numbering import calling_codes
from spech.web.admin import AdminServer, open_admin_socket
from spech.web.appearance import Appearance
from spech.web.audio import AUDIO_PATH, AudioServer, Tickets
from spech.web.auth import Gate
from spech.web.certificate import PageCertificate
from spech.web.connections import Connections
from spech.web.contact_files import CONTACT_FILES
from spech.web.control import MAX_COMMAND, converse
from spech.web.data_lock import data_lock
from spech.web.entrance import Entrance, refusal
from spech.web.history_files import HISTORY_FILES
from spech.web.http import Upgrade, bind, serve_app
from spech.web.line import PhoneSettings
from spech.web.messages.command import Refused
from spech.web.messages.state import KnownNumber
from spech.web.page_files import compress, compresses, read_file, read_page, without_stamp
from spech.web.people import People, check_password, open_people
from spech.web.proxies import TrustedProxies
from spech.web.recordings import RECORDING_TYPES, UNLIMITED, RecordingBody, RecordingLimits
from spech.web.roster import Roster
from spech.web.sessions import PageSession, Sessions
from spech.web.store import ADMINISTRATOR, Person, Store
from spech.web.switchboard import Switchboard, open_switchboard
from spech.web.vault import Vault
from spech.web.webhook import Webhook

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; "
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
    certificate: PageCertificate | None = None,
    numbers: tuple[KnownNumber, ...] = (),
    recordings: RecordingLimits = UNLIMITED,
    webhook: str | None = None,
    task_status: trio.TaskStatus[Serving] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve the phone until cancelled; being cancelled gives every call its farewell.

    Args:
        host: address or name to listen on.
        port: TCP port of the page, 0 for any.
        audio_port: TCP port for PCM, which the web port carries too, on a path; 0 for any.
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
        certificate: serves both ports over TLS; None for a page that a proxy makes secure, or that
            is used on this machine only.
        numbers: numbers that pages suggest, with what answers there.
        recordings: how much each person's may take.
        webhook: an HTTP URL that is told of all incoming calls.
        task_status: gets a `Serving` when both ports accept connections.

    Raises:
        SpechError: the password is too short, another server uses the data folder, or the webhook
            is not an HTTP URL.
        OSError: a port is in use, or ``host`` is not an address of this machine.
    """
    check_password(password)
    hook = None if webhook is None else Webhook(webhook)
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
                    recordings=recordings,
                    tell=None if hook is None else hook.tell,
                )

            sessions = Sessions(data_folder)
            await sessions.set_password(ADMINISTRATOR, password)
            if certificate is None:
                url = f"http://{_in_url(host)}:{web_port}/"
            else:
                # The certificate is for a name.
                url = f"https://{_in_url(next(iter(allowed_hosts), host))}:{web_port}/"

            def make_link(person: str) -> str:
                return f"{url}#link={sessions.link(person)}"

            async with (
                open_people(Roster(store, sessions), opening, password=password) as people,
                trio.open_nursery() as nursery,
            ):
                if hook is not None:
                    nursery.start_soon(hook.run)
                entrance = Entrance(gate, people, sessions, proxies, f"spech-{web_port}")
                sound = AudioServer(tickets, gate)
                nursery.start_soon(
                    partial(
                        serve_app,
                        create_app(people, entrance, tickets),
                        web,
                        connections,
                        MAX_COMMAND,
                        upgrade=Upgrade(AUDIO_PATH, entrance.admits, sound.serve_connection),
                        certificate=certificate,
                    )
                )
                nursery.start_soon(sound.serve, audio, connections, certificate)
                nursery.start_soon(AdminServer(people, make_link).serve, admin)
                if certificate is not None:
                    nursery.start_soon(certificate.follow_files)
                task_status.started(Serving(url, audio_port, make_link(ADMINISTRATOR)))


def create_app(people: People, entrance: Entrance, tickets: Tickets) -> QuartTrio:
    """The Quart application.

    It serves static files to everyone, and the calls, the recordings and the control WebSocket at
    ``/control`` of those who have signed in.
    """
    app = QuartTrio(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = 1024
    folder = frontend_folder()

    @app.before_request
    async def check_request() -> Response | None:
        page_only = request.method not in ("GET", "HEAD")
        denied = entrance.denial(request.headers, page_only=page_only)
        return None if denied is None else refusal(*denied)

    @app.before_websocket
    async def check_websocket() -> Response | None:
        denied = entrance.denial(websocket.headers, page_only=True)
        if denied is not None:
            return refusal(*denied)
        if signed_in(websocket) is None:
            return refusal(401, "Nobody has signed in here.")
        return None

    def signed_in(visit: Request | Websocket) -> tuple[PageSession, Switchboard] | None:
        return entrance.signed_in(visit.headers, visit.scope.get("state", {}).get("connection"))

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
            or request.path.startswith(
                ("/calls/", "/contacts.", "/history.", "/recordings/", "/session", "/password")
            )
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

    @app.get("/history.<ending>")
    async def exported(ending: str) -> Response:
        if ending not in HISTORY_FILES:
            abort(404)
        kind, write = HISTORY_FILES[ending]
        try:
            entries = await own_switchboard().history.all()
        except Refused:
            abort(503)
        content = await trio.to_thread.run_sync(write, entries)
        return _download(content, kind, f"history.{ending}")

    @app.get("/contacts.<ending>")
    async def exported_contacts(ending: str) -> Response:
        if ending not in CONTACT_FILES:
            abort(404)
        kind, write = CONTACT_FILES[ending]
        content = await trio.to_thread.run_sync(write, own_switchboard().contacts.directory)
        return _download(content, kind, f"contacts.{ending}")

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

    @app.get("/countries.json")
    async def countries() -> Response:
        codes = await trio.to_thread.run_sync(calling_codes)
        return Response(json.dumps(codes), mimetype="application/json")

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
            whole_file = partial(read_file, stamped=stamped)
            read = read_page if kind == "text/html" else whole_file
            content = await trio.to_thread.run_sync(read, folder, name)
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


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def frontend_folder() -> Path:
    """The folder of the page's files: in the installed package, or beside it in a checkout."""
    packaged = Path(__file__).parent / "frontend"
    return packaged if packaged.is_dir() else Path(spech.__file__).parent.parent / "frontend"


def _download(content: bytes, kind: str, name: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="spech-{name}"'}
    return Response(content, content_type=kind, headers=headers)
