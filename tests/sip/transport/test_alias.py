"""A connection opened by the peer carries our requests if the peer allows it (RFC 5923)."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trio
import trio.testing

from spech import Account, Call, CallFailed, Phone, PortRange, TlsSettings, open_phone
from spech.sip.message.headers import Headers
from spech.sip.message.message import Request, response_to
from spech.sip.message.parser import parse
from spech.sip.message.uri import Uri

from ... import ports
from .conftest import make_certificate

PORTS = PortRange(38_400, 38_499)
LOOPBACK = ("127.0.0.1", 0)
#: The advertised address of the other end, on which nothing listens.
ADVERTISED = ports.reserve()
Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]


def options(transport: str, sent_by: str) -> bytes:
    pairs = [
        ("Via", f"SIP/2.0/{transport} {sent_by};branch=z9hG4bKo1"),
        ("Max-Forwards", "70"),
        ("From", "<sip:pbx@127.0.0.1>;tag=p"),
        ("To", "<sip:alice@127.0.0.1>"),
        ("Call-ID", "alias"),
        ("CSeq", "1 OPTIONS"),
    ]
    return bytes(Request("OPTIONS", Uri.parse("sip:alice@127.0.0.1"), Headers(pairs)))


async def call_back(phone: Phone, stream: Stream, transport: str) -> Call:
    """Call the advertised address; the other end refuses with 486 if it receives the call."""
    target = f"sip:pbx@127.0.0.1:{ADVERTISED};transport={transport}"

    async def be_busy() -> None:
        request = parse(bytes(await stream.receive_some()))
        assert isinstance(request, Request)
        assert request.method == "INVITE"
        assert ("alias", None) in request.via.parameters
        await stream.send_all(bytes(response_to(request, 486)))
        ack = parse(bytes(await stream.receive_some()))
        assert isinstance(ack, Request)
        assert ack.method == "ACK"

    async with trio.open_nursery() as nursery:
        nursery.start_soon(be_busy)
        async with phone.call(target) as call:
            with pytest.raises(CallFailed):
                await call.answered(timeout=5)
        nursery.cancel_scope.cancel()
    return call


@pytest.mark.parametrize(
    ("sent_by", "status"),
    [
        ("127.0.0.1:{port};alias", 486),
        ("127.0.0.1:{port}", 503),
        # Otherwise any host could claim another host's address.
        ("127.0.0.7:{port};alias", 503),
    ],
)
async def test_an_alias_over_tcp_needs_the_source_host(
    sent_by: str, status: int, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_phone(listen=LOOPBACK, ports=PORTS) as phone:
        stream = await trio.open_tcp_stream(*phone.address)
        async with stream:
            await stream.send_all(options("TCP", sent_by.format(port=ADVERTISED)))
            assert parse(bytes(await stream.receive_some())).cseq.method == "OPTIONS"
            assert (await call_back(phone, stream, "tcp")).status == status


async def test_another_connection_is_opened_when_the_alias_breaks(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_phone(listen=LOOPBACK, ports=PORTS) as phone:
        stream = await trio.open_tcp_stream(*phone.address)
        await stream.send_all(options("TCP", f"127.0.0.1:{ADVERTISED};alias"))
        await stream.receive_some()
        async with phone.call(f"sip:pbx@127.0.0.1:{ADVERTISED};transport=tcp") as call:
            await stream.receive_some()
            await stream.aclose()
            began = trio.current_time()
            with pytest.raises(CallFailed, match="503"):  # Requests sent on it are not waited for.
                await call.answered(timeout=5)
            assert trio.current_time() == began
        listeners = await trio.open_tcp_listeners(ADVERTISED, host="127.0.0.1")
        async with (
            listeners[0],
            phone.call(f"sip:pbx@127.0.0.1:{ADVERTISED};transport=tcp"),
            await listeners[0].accept() as accepted,
        ):
            assert bytes(await accepted.receive_some()).startswith(b"INVITE ")


@pytest.mark.parametrize("shown", ["127.0.0.1", "other.test", None])
async def test_an_alias_over_tls_needs_a_matching_certificate(
    shown: str | None, tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    ours = make_certificate(tmp_path, "127.0.0.1")
    theirs = ours if shown in (None, "127.0.0.1") else make_certificate(tmp_path, shown)
    settings = TlsSettings(ca_file=theirs.ca_file, certificate_file=ours.file)
    account = Account("sip:alice@127.0.0.1;transport=tls", tls=settings, register=False)
    async with open_phone(account, listen=LOOPBACK, ports=PORTS) as phone:
        assert phone.secure_address is not None
        context = ssl.create_default_context(cafile=ours.ca_file)
        if shown is not None:
            context.load_cert_chain(theirs.file)
        stream = await trio.open_ssl_over_tcp_stream(
            *phone.secure_address, ssl_context=context, https_compatible=True
        )
        async with stream:
            await stream.send_all(options("TLS", f"127.0.0.1:{ADVERTISED};alias"))
            assert parse(bytes(await stream.receive_some())).cseq.method == "OPTIONS"
            call = await call_back(phone, stream, "tls")
            assert call.status == (486 if shown == "127.0.0.1" else 503)
