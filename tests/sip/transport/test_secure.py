"""TLS and WebSocket on loopback, with certificates made for each test."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from trio_websocket import ConnectionClosed, WebSocketRequest, serve_websocket

from spech import (
    Account,
    CallFailed,
    LocalProtocolError,
    Phone,
    PortRange,
    ServerUnreachable,
    TlsSettings,
    open_phone,
)
from spech.sip.message.framing import StreamFramer
from spech.sip.message.message import Request, response_to
from spech.sip.message.parser import parse

from ...inside import dialog_of
from .conftest import Certificate, make_certificate

PORTS = PortRange(38_100, 38_199)
LOOPBACK = ("127.0.0.1", 0)


def answer(data: bytes) -> bytes:
    request = parse(data)
    assert isinstance(request, Request)
    contact = ("Contact", f"{request.headers.get('Contact')};expires=300")
    return bytes(response_to(request, 200, headers=[contact]))


class Server:
    """A registrar over TLS or WebSocket that accepts everything."""

    def __init__(self) -> None:
        self.port = 0
        self.transports: list[str] = []
        self.contacts: list[str] = []
        self.client_certificates: list[bool] = []

    async def serve_tls(self, stream: trio.SSLStream[trio.SocketStream]) -> None:
        framer = StreamFramer()
        try:
            async for data in stream:
                for message in framer.receive_data(bytes(data)):
                    self.transports.append(parse(message).via.transport)
                    self.contacts.append(parse(message).headers.get("Contact") or "")
                    self.client_certificates.append(stream.getpeercert() is not None)
                    await stream.send_all(answer(message))
        except trio.BrokenResourceError:
            pass  # The client refused our certificate.

    async def serve_web(self, request: WebSocketRequest) -> None:
        assert request.path == "/ws"
        assert request.proposed_subprotocols == ("sip",)
        websocket = await request.accept(subprotocol="sip")
        try:
            while True:
                frame = await websocket.get_message()
                assert isinstance(frame, str)
                self.transports.append(parse(frame.encode()).via.transport)
                await websocket.send_message(answer(frame.encode()).decode())
        except ConnectionClosed:
            pass


@asynccontextmanager
async def open_server(certificate: Certificate, *, ask: bool = False) -> AsyncIterator[Server]:
    server = Server()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.file)
    if ask:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(certificate.ca_file)
    async with trio.open_nursery() as nursery:
        listeners: list[Any] = await trio.open_ssl_over_tcp_listeners(
            0, context, host="127.0.0.1", https_compatible=True
        )
        server.port = listeners[0].transport_listener.socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, server.serve_tls, listeners)
        yield server
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_web_server(certificate: Certificate | None) -> AsyncIterator[Server]:
    server = Server()
    context = None
    if certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate.file)
    async with trio.open_nursery() as nursery:
        serving = await nursery.start(
            partial(serve_websocket, server.serve_web, "127.0.0.1", 0, context)
        )
        server.port = serving.port
        yield server
        nursery.cancel_scope.cancel()


async def register(account: Account) -> None:
    async with open_phone(account, listen=LOOPBACK, ports=PORTS) as phone:
        await phone.registered(timeout=5)


async def test_the_server_certificate_is_verified(tmp_path: Path) -> None:
    right = make_certificate(tmp_path, "127.0.0.1")
    async with open_server(right) as server:
        account = Account(
            f"sip:alice@127.0.0.1:{server.port}",
            transport="tls",
            tls=TlsSettings(ca_file=right.ca_file),
        )
        await register(account)
        assert server.transports == ["TLS", "TLS"]
        # A sips: address implies TLS (RFC 3261 19.1).
        await register(
            replace(account, address=f"sips:alice@127.0.0.1:{server.port}", transport=None)
        )
        assert server.transports == ["TLS"] * 4
        # No CA that this machine trusts has signed it.
        with pytest.raises(ServerUnreachable, match="certificate is not accepted"):
            await register(replace(account, tls=TlsSettings()))
        await register(replace(account, tls=TlsSettings(fingerprint=right.fingerprint.upper())))
        with pytest.raises(ServerUnreachable, match="not the pinned one"):
            await register(replace(account, tls=TlsSettings(fingerprint="0" * 64)))
        assert len(server.transports) == 6


async def test_another_hosts_certificate_is_refused(tmp_path: Path) -> None:
    other = make_certificate(tmp_path, "other.test")
    async with open_server(other) as server:
        account = Account(
            f"sip:alice@localhost:{server.port};transport=tls",
            tls=TlsSettings(ca_file=other.ca_file),
        )
        with pytest.raises(ServerUnreachable, match="certificate is not accepted"):
            await register(account)
        assert server.transports == []


async def test_the_certificate_is_checked_against_the_name_in_the_uri(tmp_path: Path) -> None:
    right = make_certificate(tmp_path, "localhost")
    async with open_server(right) as server:
        account = Account(
            f"sip:alice@localhost:{server.port};transport=tls",
            tls=TlsSettings(ca_file=right.ca_file),
        )
        await register(account)


async def test_our_own_certificate_is_presented(tmp_path: Path) -> None:
    right = make_certificate(tmp_path, "127.0.0.1")
    settings = TlsSettings(ca_file=right.ca_file, certificate_file=right.file)
    async with open_server(right, ask=True) as server:
        await register(Account(f"sip:alice@127.0.0.1:{server.port};transport=tls", tls=settings))
        assert server.client_certificates == [True, True]


async def test_invalid_tls_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LocalProtocolError, match="64 hexadecimal"):
        TlsSettings(fingerprint="abc")
    for settings in (
        TlsSettings(ca_file=tmp_path / "none.pem"),
        TlsSettings(certificate_file=tmp_path / "none.pem"),
    ):
        with pytest.raises(LocalProtocolError, match="cannot be used"):
            await register(Account("sip:alice@127.0.0.1", transport="tls", tls=settings))


async def test_a_server_can_open_a_tls_connection_to_us(tmp_path: Path) -> None:
    """A phone with a certificate accepts TLS; a sips: address is reached over nothing else."""
    certificate = make_certificate(tmp_path, "127.0.0.1")
    settings = TlsSettings(ca_file=certificate.ca_file, certificate_file=certificate.file)
    async with open_server(certificate) as server:
        account = Account(f"sips:alice@127.0.0.1:{server.port}", tls=settings)
        trusting = Account("sip:bob@127.0.0.1", tls=replace(settings, certificate_file=None))
        untrusting = Account("sip:eve@127.0.0.1")

        async def answer_one(alice: Phone) -> None:
            async for incoming in alice.incoming_calls():
                async with incoming.answer() as call:
                    await call.ended()
                return

        async with (
            open_phone(account, listen=LOOPBACK, ports=PORTS) as alice,
            open_phone(replace(trusting, register=False), listen=LOOPBACK, ports=PORTS) as bob,
            open_phone(replace(untrusting, register=False), listen=LOOPBACK, ports=PORTS) as eve,
            trio.open_nursery() as nursery,
        ):
            await alice.registered(timeout=5)
            nursery.start_soon(answer_one, alice)
            assert alice.secure_address is not None
            at = f"sips:alice@127.0.0.1:{alice.secure_address[1]}"
            assert server.contacts[0].startswith(f"<{at}>")
            async with bob.call(at) as call:
                await call.answered(timeout=5)
                assert str(dialog_of(call).target) == at
                assert dialog_of(call).flow.transport == "tls"
                assert dialog_of(alice.active_calls[0]).flow.transport == "tls"
            with pytest.raises(CallFailed, match="503"):
                async with eve.call(at) as call:
                    await call.answered(timeout=5)
            nursery.cancel_scope.cancel()


async def test_a_sips_request_uses_tls_to_the_proxy(tmp_path: Path) -> None:
    """A sips: request uses TLS even if the proxy is given as sip: (RFC 3261 26.2.2)."""
    certificate = make_certificate(tmp_path, "127.0.0.1")
    async with open_server(certificate) as server:
        settings = TlsSettings(ca_file=certificate.ca_file)
        proxy = f"sip:127.0.0.1:{server.port}"
        await register(Account("sips:alice@example.invalid", proxy=proxy, tls=settings))
        assert server.transports == ["TLS", "TLS"]


@pytest.mark.parametrize("transport", ["ws", "wss"])
async def test_a_call_runs_over_websocket(tmp_path: Path, transport: Any) -> None:
    certificate = make_certificate(tmp_path, "127.0.0.1") if transport == "wss" else None
    settings = TlsSettings(ca_file=certificate.ca_file) if certificate else TlsSettings()
    async with open_web_server(certificate) as server:
        await register(
            Account(f"sip:alice@127.0.0.1:{server.port}", transport=transport, tls=settings)
        )
        assert server.transports == [transport.upper()] * 2


async def test_a_websocket_server_without_sip_is_reported() -> None:
    async def refuse(request: WebSocketRequest) -> None:
        await request.reject(404)

    async with trio.open_nursery() as nursery:
        serving = await nursery.start(partial(serve_websocket, refuse, "127.0.0.1", 0, None))
        with pytest.raises(ServerUnreachable, match="no SIP over WebSocket at that path"):
            await register(Account(f"sip:alice@127.0.0.1:{serving.port}", transport="ws"))
        nursery.cancel_scope.cancel()
