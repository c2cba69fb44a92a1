"""What a bridge shows to the servers of bots, and which server each call goes to."""

from __future__ import annotations

import hashlib
import hmac
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
from trio_websocket import WebSocketRequest, serve_websocket

from spech import CallFailed, LocalProtocolError
from spech.bridge.access import Access, signature, twilio_signature
from spech.bridge.routes import Routes
from spech.bridge.url import WebSocketUrl
from spech.testing.certificates import self_signed

from .bots import Bridged, bridged, certificate, trusting


class Handshakes:
    """A server of bots that keeps the path and the header fields of each handshake."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.paths: list[str] = []
        self.fields: list[dict[str, str]] = []

    async def take(self, request: WebSocketRequest) -> None:
        self.paths.append(request.path)
        self.fields.append({name.decode(): value.decode() for name, value in request.headers})
        connection = await request.accept()
        await connection.get_message()
        await connection.aclose()


@asynccontextmanager
async def handshakes(context: ssl.SSLContext | None = None) -> AsyncIterator[Handshakes]:
    async with trio.open_nursery() as nursery:
        server = Handshakes("")
        serving = partial(serve_websocket, server.take, "localhost", 0, context)
        port = (await nursery.start(serving)).port
        server.url = f"{'ws' if context is None else 'wss'}://localhost:{port}/"
        yield server
        nursery.cancel_scope.cancel()


async def ring(bridge: Bridged, called: str = "bot", headers: str = "") -> None:
    """Call the bridge, and wait until the bot has hung up."""
    address = bridge.address.replace("bot@", f"{called}@") + headers
    async with bridge.phone.call(address) as call:
        await call.answered(timeout=5)
        await call.ended()


def refusal(url: str) -> str:
    """Why a URL is refused."""
    with pytest.raises(LocalProtocolError) as refused:
        WebSocketUrl.parse(url)
    return str(refused.value)


async def test_each_handshake_has_the_header_fields_and_the_token_of_that_moment(
    tmp_path: Path,
) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    access = Access({"X-Bridge": "seven"}, token_file=token)
    access.check()
    async with handshakes() as server, bridged(server.url, access=access) as bridge:
        await ring(bridge)
        token.write_text("second")
        await ring(bridge)
        token.unlink()
        with pytest.raises(CallFailed) as failed:
            await ring(bridge)
    assert failed.value.status == 503
    assert [fields["authorization"] for fields in server.fields] == [
        "Bearer first",
        "Bearer second",
    ]
    assert {fields["x-bridge"] for fields in server.fields} == {"seven"}


@pytest.mark.parametrize("twilio", [False, True])
async def test_each_handshake_is_signed(tmp_path: Path, twilio: bool) -> None:
    key = tmp_path / "key"
    key.write_text("secret")
    access = Access(signing_key_file=key, twilio=twilio)
    async with handshakes() as server, bridged(server.url + "a?b=c", access=access) as bridge:
        await ring(bridge)
    signed = f"{server.url}a?b=c"
    if twilio:
        assert server.fields[0]["x-twilio-signature"] == twilio_signature("secret", signed)
    else:
        shown = server.fields[0]["x-spech-signature"]
        moment = shown.partition(",")[0].removeprefix("t=")
        assert shown == signature("secret", signed.encode(), float(moment))


def test_signatures_are_those_of_the_published_example_and_of_hmac() -> None:
    # The example in the tests of Twilio's own library.
    form = "CallSidCA1234567890ABCDECaller+14158675309Digits1234From+14158675309To+18005551212"
    signed = twilio_signature("12345", "https://mycompany.com/myapp.php?foo=1&bar=2" + form)
    assert signed == "RSOYDt4T1cUTdK1PDd93/VVr8B8="
    expected = hmac.new(b"key", b"1700000000.hello", hashlib.sha256).hexdigest()
    assert signature("key", b"hello", 1700000000.9) == f"t=1700000000,v1={expected}"


async def test_a_server_may_ask_for_our_certificate(tmp_path: Path) -> None:
    theirs = certificate(tmp_path)
    ours = tmp_path / "ours.pem"
    ours.write_bytes(b"".join(self_signed("bridge")))
    context = trusting(theirs)
    context.load_verify_locations(ours)
    context.verify_mode = ssl.CERT_REQUIRED
    async with handshakes(context) as server:
        async with bridged(server.url, access=Access(ca=theirs, certificate=ours)) as bridge:
            await ring(bridge)
        assert server.paths == ["/"]
        async with bridged(server.url, access=Access(certificate=ours)) as bridge:
            with pytest.raises(CallFailed) as failed:  # It does not trust the server.
                await ring(bridge)
        assert failed.value.status == 503
    assert server.paths == ["/"]


@pytest.mark.parametrize(
    "access",
    [
        Access({"Sec-WebSocket-Key": "a"}),
        Access({"host": "a"}),
        Access({"X A": "a"}),
        Access({"X-A": "a\r\nX-B: b"}),
        Access({"Authorization": "a"}, token_file=Path("good")),
        Access(token_file=Path("missing")),
        Access(token_file=Path("two-lines")),
        Access(signing_key_file=Path("empty")),
        Access(ca=Path("good")),
        Access(certificate=Path("good")),
    ],
)
def test_access_that_cannot_work_is_refused(
    access: Access, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("good").write_text("secret")
    Path("two-lines").write_text("secret\nsecret")
    Path("empty").write_text("\n")
    with pytest.raises(LocalProtocolError) as refused:
        access.check()
    assert "secret" not in str(refused.value)


# ---------------------------------------------------------------------- URLs and routes


async def test_a_url_holds_values_of_the_call(tmp_path: Path) -> None:
    async with (
        handshakes() as server,
        bridged(server.url + "{called}/{header:x-customer}?from={caller}{header:X-None}") as bridge,
    ):
        await ring(bridge, "4930", "?X-Customer=a%20b%2F..%3Fc")
    assert server.paths == ["/4930/a%20b%2F..%3Fc?from=spech"]


@pytest.mark.parametrize("value", ["..", "9" * 257])
async def test_a_value_that_could_change_the_path_is_refused_with_404(value: str) -> None:
    async with handshakes() as server, bridged(server.url + "{header:X-A}/bot") as bridge:
        with pytest.raises(CallFailed) as failed:
            await ring(bridge, headers=f"?X-A={value}")
    assert failed.value.status == 404
    assert server.paths == []


def test_values_together_cannot_change_the_path_either() -> None:
    url = WebSocketUrl.parse("ws://example.org/{called}{caller}/bot?x={called}")
    assert str(url.fill(".", "1", {})) == "ws://example.org/.1/bot?x=."
    with pytest.raises(LocalProtocolError, match="not a path"):
        url.fill(".", ".", {})


def test_the_query_of_a_url_is_not_shown() -> None:
    assert WebSocketUrl.parse("wss://a.example/b?key=secret").shown == "wss://a.example/b"
    assert WebSocketUrl.parse("tcp://a.example:9").shown == "tcp://a.example:9"


def test_urls_that_cannot_be_filled_are_refused() -> None:
    assert "{number}; known are" in refusal("ws://example.org/{number}")
    assert "brace" in refusal("ws://example.org/{called")
    assert "characters" in refusal("ws://{called}.example.org/")
    assert "characters" in refusal("ws://example.org/ä")
    assert "is not ws://" in refusal("ws://user:secret@example.org/")


ROUTES = r"""
[prefix]
"+49" = "ws://bots.example.org/german"
"+4930" = 'ws://bots.example.org/berlin'

[regex]
"7[0-9]{2}" = "ws://bots.example.org/team/{called}"
'\+4930\d{3}' = "ws://bots.example.org/short"
"(a+)+b" = "ws://bots.example.org/slow"
"""


def test_patterns_come_before_prefixes_and_long_prefixes_before_short_ones(tmp_path: Path) -> None:
    path = tmp_path / "routes.toml"
    path.write_text(ROUTES)
    routes = Routes.read(path)
    found = {
        number: (bot := routes.find(number)) and bot.resource
        for number in ("+4989", "+4930123456", "+4930123", "712", "7123", "a" * 60_000 + "c")
    }
    assert list(found.values()) == [
        "/german",
        "/berlin",
        "/short",
        "/team/{called}",
        None,
        None,
    ]
    default = WebSocketUrl.parse("ws://bots.example.org/others")
    assert Routes.read(path, default).find("7123") == default


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('[prefix]\n"1" = "ws://a/"\n"2" = "http://a/"\n', "line 3: 'http://a/' is not ws://"),
        ('[prefix]\n"(" = "ws://a/"\n[regex]\n"(" = "ws://a/"', "line 4: '(' is no regular expr"),
        ('[regex]\n"1" = 7\n', "line 2: '1' has no URL in quotes"),
        ("\n[prefixes]\n", "line 2: 'prefixes' is not [prefix] or [regex]"),
        ("\nprefix = 7\n", "line 2: 'prefix' is not [prefix] or [regex]"),
        ('[prefix]\n"1" = ws://a/', "is not TOML: Invalid value (at line 2"),
    ],
)
def test_an_error_in_a_file_of_routes_names_the_line(text: str, error: str, tmp_path: Path) -> None:
    path = tmp_path / "routes.toml"
    path.write_text(text)
    with pytest.raises(LocalProtocolError) as refused:
        Routes.read(path)
    assert error in str(refused.value)
    assert str(path) in str(refused.value)


async def test_a_number_without_a_route_gets_404() -> None:
    async with handshakes() as server:
        routes = Routes(prefixes={"7": WebSocketUrl.parse(server.url)})
        async with bridged(server.url, routes=routes) as bridge:
            await ring(bridge, "70")
            with pytest.raises(CallFailed) as failed:
                await ring(bridge, "80")
    assert failed.value.status == 404
    assert len(server.paths) == 1
