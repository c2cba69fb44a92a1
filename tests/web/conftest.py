"""A registrar with a few numbers to call, and a page without a browser."""

from __future__ import annotations

import json
import os
import random
import re
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import numpy as np
import pytest
import trio
from numpy.typing import NDArray
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_client_stream

import spech
from spech.sip.dialog.digest import DigestServer, DigestVerdict
from spech.sip.message.headers import AuthHeader
from spech.sip.message.message import Request as SipRequest
from spech.sip.message.message import Response, response_to
from spech.sip.transaction.flow import Flow
from spech.testing.audio import samples, sine
from spech.testing.talk import talk
from spech.web.admin import MakeLink, SignInLink, ask_server
from spech.web.app import Serving, serve
from spech.web.vault import KEY_VARIABLE

from ..inside import sessions_of

PATIENCE = 20.0
PASSWORD = "open-sesame-42"


class Exchange:
    """The other side: registers users with the right password, and acts by the called number.

    600 echoes, 601 is busy, 602 rings, 604 reads digits until ``#`` and hangs up, 605 lets itself
    be transferred, 606 holds who calls from a digit on until ``patience_ends``, 607
    takes two digits, 608 passes on to 600 who presses a key. 7 and a frequency
    in Hz says that tone, and keeps the last half second that was heard in ``listened``.
    """

    def __init__(self) -> None:
        self.phone: spech.Phone
        #: The contacts of registered users, by user.
        self.contacts: dict[str, str] = {}
        self.refuse: int | None = None
        self.digits: list[str] = []
        #: Seconds between the two digits that 607 reads.
        self.between = 0.0
        self.patience_ends = trio.Event()
        self.heard: list[str] = []
        #: The callers, in order, their names, and whom they called.
        self.callers: list[str] = []
        self.names: list[str | None] = []
        self.called: list[str] = []
        #: The user names of credentials, in order.
        self.usernames: list[str | None] = []
        self.listened: dict[str, NDArray[np.int16]] = {}
        self._digest = DigestServer("spech.test", random.Random(1), 60.0)

    @property
    def contact(self) -> str | None:
        """Where alice can be called."""
        return self.contacts.get("alice")

    @property
    def port(self) -> int:
        return self.phone.address[1]

    def screen(self, request: SipRequest, flow: Flow, now: float) -> Response | None:
        if request.method != "REGISTER":
            return None
        if self.refuse is not None:
            return response_to(request, self.refuse, to_tag="t")
        credentials = request.headers.get("Authorization")
        if credentials is not None:
            auth = AuthHeader.parse(credentials)
            self.usernames.append(auth.parameters.get("username"))
            if self._digest.verify(auth, "REGISTER", PASSWORD, now) is DigestVerdict.OK:
                return self._bind(request)
        challenges = [("WWW-Authenticate", str(each)) for each in self._digest.challenge(now)]
        return response_to(request, 401, to_tag="t", headers=challenges)

    def _bind(self, request: SipRequest) -> Response:
        contact = request.contact
        assert contact is not None
        user = request.to.uri.user
        assert user is not None
        gone = request.expires == 0
        if not gone:
            self.contacts[user] = str(contact.uri)
        elif self.contacts.get(user) == str(contact.uri):
            del self.contacts[user]
        headers = [] if gone else [("Contact", f"<{contact.uri}>;expires=300")]
        return response_to(request, 200, to_tag="t", headers=headers)

    async def serve(self) -> None:
        async with trio.open_nursery() as nursery:
            async for incoming in self.phone.incoming_calls():
                nursery.start_soon(self._serve_call, incoming)

    async def _serve_call(self, incoming: spech.IncomingCall) -> None:
        self.callers.append(incoming.caller_number)
        self.names.append(incoming.display_name)
        self.called.append(incoming.called)
        match incoming.called:
            case "600":
                async with incoming.answer() as call:
                    with call.open_audio() as port:
                        async for pcm in port:
                            port.send(pcm)
            case "602":
                await incoming.ended()
                self.heard.append("gave up")
            case "604":
                async with incoming.answer() as call:
                    self.digits.append(await call.collect_digits(20, timeout=PATIENCE))
            case called if called.startswith("7"):
                async with incoming.answer() as call:
                    with call.open_audio(8000) as port, suppress(spech.CallEnded):
                        while True:
                            tone = sine(float(called[1:]), 8000, 1)
                            self.listened[called] = await talk(port, tone, 0.5)
            case "605":
                async with incoming.answer() as call:
                    async for request in call.transfers():
                        async with request.follow() as other:
                            await other.ended()
            case "606":
                async with incoming.answer() as call:
                    await call.collect_digits(1, timeout=PATIENCE)
                    call.hold()
                    await self.patience_ends.wait()
                    call.resume()
                    await call.ended()
            case "608":
                async with incoming.answer() as call:
                    await call.collect_digits(1, timeout=PATIENCE)
                    try:
                        await call.transfer(f"sip:600@127.0.0.1:{self.port}")
                    except spech.CallFailed as error:
                        self.heard.append(str(error.status))
                        await call.ended()
            case "607":
                async with incoming.answer() as call:
                    self.digits.append(await call.collect_digits(1, timeout=PATIENCE))
                    began = trio.current_time()
                    self.digits.append(await call.collect_digits(1, timeout=PATIENCE))
                    self.between = trio.current_time() - began
            case _:
                incoming.reject(486)

    async def quiet(self) -> None:
        """Wait until no call is left."""
        while sessions_of(self.phone):  # noqa: ASYNC110, nothing tells of it
            await trio.sleep(0.01)


class Page:
    """A control connection, which sends commands and sees the state as a page does."""

    def __init__(self, connection: WebSocketConnection) -> None:
        self.connection = connection
        self.state: dict[str, Any] = {}
        self.meters: list[dict[str, Any]] = []
        self.quality: list[dict[str, Any]] = []
        #: The steps of check-ups, by the ids of their commands.
        self.steps: dict[Any, list[dict[str, Any]]] = {}
        self.everything = ""
        self.cookie = ""
        self._answers: dict[Any, dict[str, Any]] = {}
        self._news = trio.Event()
        self._number = 0

    async def read(self) -> None:
        try:
            while True:
                text = await self.connection.get_message()
                assert isinstance(text, str)
                self.everything += text
                message = json.loads(text)
                if message.get("type") == "state":
                    self.state = message["state"]
                elif message.get("type") == "meters":
                    self.meters.append(message["calls"])
                elif message.get("type") == "quality":
                    self.quality.append(message["calls"])
                elif message.get("type") == "step":
                    assert message["id"] not in self._answers
                    self.steps.setdefault(message["id"], []).append(message["step"])
                else:
                    assert message["id"] not in self._answers
                    self._answers[message["id"]] = message
                self._wake()
        except ConnectionClosed:
            self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = trio.Event()

    async def send(self, command: str, **fields: Any) -> int:
        self._number += 1
        message = {"id": self._number, "command": command, **fields}
        await self.connection.send_message(json.dumps(message))
        return self._number

    async def answer_to(self, id: Any) -> dict[str, Any]:
        while id not in self._answers:
            await self._news.wait()
        return self._answers.pop(id)

    async def ask(self, command: str, **fields: Any) -> dict[str, Any]:
        """Send a command that succeeds, and return its ``ok``."""
        answer = await self.answer_to(await self.send(command, **fields))
        assert "ok" in answer, answer
        ok: dict[str, Any] = answer["ok"]
        return ok

    async def refused(self, command: str, **fields: Any) -> dict[str, Any]:
        """Send a command that is refused, and return its ``error``."""
        answer = await self.answer_to(await self.send(command, **fields))
        assert "error" in answer, answer
        error: dict[str, Any] = answer["error"]
        return error

    @property
    def told(self) -> list[dict[str, Any]]:
        """The steps of the latest command."""
        return self.steps.get(self._number, [])

    @property
    def latest_steps(self) -> list[tuple[str, bool]]:
        """Their names, and whether they passed."""
        return [(step["name"], step["passed"]) for step in self.told]

    async def until(self, test: Callable[[dict[str, Any]], Any]) -> Any:
        """Wait until ``test`` of the state is truthy, and return that."""
        while not self.state or not (found := test(self.state)):
            await self._news.wait()
        return found

    async def closed(self) -> None:
        """Wait until the server has closed the connection."""
        while self.connection.closed is None:
            await self._news.wait()

    async def metered(self, count: int) -> list[dict[str, Any]]:
        """Wait for ``count`` meter messages, and return them."""
        while len(self.meters) < count:
            await self._news.wait()
        return self.meters

    async def judged(self, test: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """Wait until the quality of the calls satisfies ``test``, and return it."""
        while not self.quality or not test(self.quality[-1]):
            await self._news.wait()
        return self.quality[-1]

    async def call_in_state(self, *states: str) -> dict[str, Any]:
        """The first call of the list, as soon as it is in one of ``states``."""
        call: dict[str, Any] = await self.until(
            lambda state: next((c for c in state["calls"][:1] if c["state"] in states), None)
        )
        return call

    async def registered(self) -> None:
        """Wait until there is an account, and all are registered."""
        await self.until(lambda state: set(bindings(state)) == {"registered"})


def bindings(state: dict[str, Any]) -> list[str]:
    """The states of the accounts' registrations."""
    return [account["registration"]["state"] for account in state["accounts"]]


def sign_in(url: str, attempt: dict[str, str]) -> str:
    """Sign in at a page's address with a name and a password, or with a link; return the cookie."""
    request = Request(f"{url}session", json.dumps(attempt).encode())
    with urlopen(request, timeout=10) as response:
        cookie: str = response.headers["Set-Cookie"]
    return cookie.partition(";")[0]


def follow_link(link: str) -> str:
    """Sign in with a link, remember the cookie for the address of its page, and return it."""
    url, _, token = link.partition("#link=")
    COOKIES[url] = sign_in(url, {"link": token})
    return COOKIES[url]


#: By the address of a page, the cookie that `open_page` and `get` send there.
COOKIES: dict[str, str] = {}


def new_link(folder: Path) -> str:
    """A link to sign in at the server that uses a data folder."""
    (reply,) = list(ask_server(folder, MakeLink()) or [])
    assert isinstance(reply, SignInLink)
    return reply.url


async def get(
    url: str, cookie: str, *, method: str = "GET", **headers: str
) -> tuple[int, Any, bytes]:
    """Send a request; return status, headers and body."""

    request = Request(url, headers={"Cookie": cookie, **headers}, method=method)
    return await trio.to_thread.run_sync(_fetch, request)


async def post(url: str, cookie: str, **body: str) -> int:
    """Send a JSON object, and return the status of the answer."""
    request = Request(url, json.dumps(body).encode(), {"Cookie": cookie})
    return (await trio.to_thread.run_sync(_fetch, request))[0]


def _fetch(request: Request) -> tuple[int, Any, bytes]:
    try:
        with urlopen(request, timeout=10) as answer:
            return answer.status, answer.headers, answer.read()
    except HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


@asynccontextmanager
async def connect(
    url: str, origin: str | None = None, cookie: str | None = None
) -> AsyncIterator[WebSocketConnection]:
    """A WebSocket whose TCP connection is always closed, whichever end closes the WebSocket."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    headers = [] if origin is None else [(b"Origin", origin.encode())]
    if cookie is not None:
        headers.append((b"Cookie", cookie.encode()))
    tcp = await trio.open_tcp_stream(parts.hostname, parts.port)
    if parts.scheme == "https":
        trusting = ssl.create_default_context()
        secure = trio.SSLStream(tcp, trusting, server_hostname=parts.hostname)
    async with (
        tcp if parts.scheme == "http" else secure as stream,
        trio.open_nursery() as nursery,
    ):
        connection = await wrap_client_stream(
            nursery, stream, parts.netloc, parts.path, extra_headers=headers
        )
        yield connection
        with trio.move_on_after(1.0):
            await connection.aclose()
        nursery.cancel_scope.cancel()


async def close_code(connection: WebSocketConnection) -> int:
    """Read to the end, and return the code of the close frame."""
    with suppress(ConnectionClosed):
        while True:
            await connection.get_message()
    assert connection.closed is not None
    return connection.closed.code


@asynccontextmanager
async def open_page(
    url: str, origin: str | None = None, cookie: str | None = None
) -> AsyncIterator[Page]:
    """A page of a person who has signed in; without ``cookie`` it is the administrator."""
    cookie = cookie or COOKIES[url]
    async with (
        connect(f"{url}control", origin, cookie) as connection,
        trio.open_nursery() as nursery,
    ):
        page = Page(connection)
        nursery.start_soon(page.read)
        yield page
        nursery.cancel_scope.cancel()


async def answered(page: Page, target: str) -> str:
    """Place a call, wait for the answer, and return its ID."""
    call: str = (await page.ask("dial", target=target))["call"]
    await page.until(lambda state: shown(state, call)["state"] == "answered")
    return call


def shown(state: dict[str, Any], call: str) -> dict[str, Any]:
    """A call in the state."""
    return next((each for each in state["calls"] if each["id"] == call), {"state": None})


class Installation:
    """A running server, with what is needed to connect to it."""

    def __init__(self, serving: Serving, exchange: Exchange, stop: trio.CancelScope) -> None:
        self.serving = serving
        self.exchange = exchange
        self.stop = stop

    @property
    def url(self) -> str:
        return self.serving.web_url

    @property
    def cookie(self) -> str:
        """The administrator's."""
        return COOKIES[self.url]

    @property
    def audio_url(self) -> str:
        """The port of its own."""
        return f"http://127.0.0.1:{self.serving.audio_port}/"

    def settings(self, **changes: Any) -> dict[str, Any]:
        return {
            "server": "127.0.0.1",
            "port": self.exchange.port,
            "transport": "udp",
            "user": "alice",
            "password": PASSWORD,
            "codecs": ["PCMU", "PCMA"],
        } | changes


class ServeProcess:
    """``spech serve`` as a process that may open ``descriptors`` files."""

    def __init__(self, data: Path, descriptors: int = 1024) -> None:
        program = (
            "import resource, sys\n"
            "resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]),) * 2)\n"
            "del sys.argv[1]\n"
            "from spech.cli import main\n"
            "main()\n"
        )
        self._command = [sys.executable, "-c", program, str(descriptors), "serve"]
        self._command += ["--data", str(data), "--port", "0", "--audio-port", "0"]
        self._command += ["--sip-host", "127.0.0.1"]
        self._data = data
        self.url = ""

    @property
    def descriptors(self) -> int:
        """How many files the process has open."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))  # noqa: PTH208

    @property
    def port(self) -> int:
        return int(self.url.rstrip("/").rpartition(":")[2])

    def __enter__(self) -> ServeProcess:
        self.process = subprocess.Popen(
            self._command,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if found := re.search(r"http://[^\s/]+/", line):
                self.url = found[0]
                follow_link(new_link(self._data))
                return self
        raise AssertionError("spech serve has ended")

    def __exit__(self, *exception: object) -> None:
        with self.process:
            self.process.kill()


@pytest.fixture
async def exchange() -> AsyncIterator[Exchange]:
    exchange = Exchange()
    async with (
        spech.open_phone(listen=("127.0.0.1", 0), screen=exchange.screen, drain=1.0) as phone,
        trio.open_nursery() as nursery,
    ):
        exchange.phone = phone
        nursery.start_soon(exchange.serve)
        yield exchange
        nursery.cancel_scope.cancel()


@pytest.fixture
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    return tmp_path / "data"


@asynccontextmanager
async def run_server(
    exchange: Exchange, data_folder: Path, **options: Any
) -> AsyncIterator[Installation]:
    settings: dict[str, Any] = {
        "grace": 30.0,
        "drain": 2.0,
        "sip_listen": ("127.0.0.1", 0),
    } | options
    async with trio.open_nursery() as nursery:
        serving = await nursery.start(
            lambda task_status: serve(
                port=0,
                audio_port=0,
                data_folder=data_folder,
                task_status=task_status,
                **settings,
            )
        )
        await trio.to_thread.run_sync(follow_link, serving.link)
        yield Installation(serving, exchange, nursery.cancel_scope)
        nursery.cancel_scope.cancel()


@pytest.fixture
async def installation(exchange: Exchange, data_folder: Path) -> AsyncIterator[Installation]:
    """A server without an account, with a timeout for the whole test."""
    with trio.fail_after(PATIENCE):
        async with run_server(exchange, data_folder) as installation:
            yield installation


@pytest.fixture
async def page(installation: Installation) -> AsyncIterator[Page]:
    """A page whose phone is registered."""
    async with AsyncExitStack() as stack:
        page = await stack.enter_async_context(open_page(installation.url))
        await page.ask("save_account", **installation.settings())
        await page.registered()
        yield page


def has(pcm: Any, hertz: float) -> bool:
    """Whether a tone is in the sound; a level between -25 and -50 dBFS is inconclusive."""
    sound = samples(pcm)
    window = np.hanning(len(sound))
    turns = np.exp(-2j * np.pi * hertz * np.arange(len(sound)) / 8000)
    level = 20 * np.log10(abs(np.sum(sound * window * turns)) / window.sum() + 1e-9) + 3
    assert not -50 < level < -25, level
    return bool(level > -25)


async def until_heard(installation: Installation, called: str, *hertz: float) -> None:
    """Wait until exactly these tones are heard there."""
    everything = {700.0, 1200.0, 1900.0, 2500.0}
    while True:
        await trio.sleep(0.2)
        sound = installation.exchange.listened.get(called)
        if sound is None:
            continue
        try:
            if {each for each in everything if has(sound, each)} == set(hertz):
                return
        except AssertionError:
            continue
