"""A bug in handling a peer's message ends neither the phone nor another call."""

from __future__ import annotations

import logging

import pytest
import trio
import trio.testing

from spech import LocalProtocolError, Phone, PortRange, open_phone
from spech.sip.agent import UserAgent

from .. import ports
from ..inside import endpoint_of

LOOPBACK = ("127.0.0.1", 0)
PORT = ports.reserve(8)
OPTIONS = (
    b"OPTIONS sip:a@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;rport;branch=z9hG4bKx%d\r\n"
    b"From: <sip:b@127.0.0.1>;tag=1\r\nTo: <sip:a@127.0.0.1>\r\nCall-ID: %d\r\n"
    b"CSeq: 1 OPTIONS\r\nContact: <sip:b@127.0.0.1>\r\n\r\n"
)


def fail(*arguments: object) -> None:
    raise ZeroDivisionError


async def answers(phone: Phone, number: int, timeout: float = 5) -> bool:
    """Whether the phone answers OPTIONS."""
    with trio.socket.socket(type=trio.socket.SOCK_DGRAM) as peer:
        await peer.bind(LOOPBACK)
        await peer.sendto(OPTIONS % (number, number), phone.address)
        with trio.move_on_after(timeout):
            return (await peer.recv(4096)).startswith(b"SIP/2.0 200")
    return False


@pytest.mark.parametrize("method", ["receive_message", "handle_timer", "transport_failed"])
async def test_an_error_of_the_user_agent_is_counted_and_logged_once(
    method: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        open_phone(listen=LOOPBACK, ports=PortRange(PORT, PORT + 3)) as phone,
        open_phone(listen=LOOPBACK, ports=PortRange(PORT + 4, PORT + 7)) as other,
    ):
        with monkeypatch.context() as patch:
            patch.setattr(UserAgent, method, fail)
            for number in range(3):
                if method == "receive_message":
                    assert not await answers(phone, number, 0.1)
                else:
                    stream = await trio.open_tcp_stream(*phone.address)
                    await stream.aclose()
                    endpoint_of(phone).flush()
                    await trio.sleep(0.05)
        assert await answers(phone, 10)
        assert await answers(other, 11)
    errors = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len([record for record in errors if "cannot handle" in record.message]) <= 1
    if method != "handle_timer":
        assert "ZeroDivisionError" in caplog.text


async def test_an_error_of_the_program_in_an_event_ends_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with open_phone(listen=LOOPBACK, ports=PortRange(PORT, PORT + 3), drain=0) as phone:
        endpoint_of(phone).on_event = fail
        invite = (OPTIONS % (1, 1)).replace(b"OPTIONS", b"INVITE")
        with trio.socket.socket(type=trio.socket.SOCK_DGRAM) as peer:
            await peer.bind(LOOPBACK)
            await peer.sendto(invite, phone.address)
            await trio.sleep(0.1)
        assert await answers(phone, 2)
    assert caplog.text.count("cannot handle the event") == 1


async def test_a_password_in_a_uri_is_refused_before_it_is_sent_or_shown() -> None:
    async with open_phone(listen=LOOPBACK, ports=PortRange(PORT, PORT + 3)) as phone:
        for target in ("sip:600:secret@127.0.0.1", "600:secret@127.0.0.1"):
            with pytest.raises(LocalProtocolError, match="must not contain a password") as caught:
                async with phone.call(target):
                    pass
            assert "secret" not in str(caught.value)
