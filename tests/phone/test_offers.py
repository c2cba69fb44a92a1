"""An offer that the phone cannot answer is refused before it rings."""

from __future__ import annotations

import socket

import pytest
import trio
import trio.testing

from spech import Account, IncomingCall, PortRange, open_phone
from spech.sip.description.media_security import Policy
from spech.sip.message.message import Response
from spech.sip.message.parser import parse

LOOPBACK = ("127.0.0.1", 0)
PORTS = PortRange(37_940, 37_959)

PLAIN = ("m=audio 5000 RTP/AVP 0",)


async def statuses(*lines: str, encryption: Policy = "off") -> tuple[list[int], int]:
    """The statuses that answer an INVITE with the media lines ``lines``, and the calls that rang.

    Without lines the INVITE has no offer.
    """
    rang: list[IncomingCall] = []

    async def ring(incoming: IncomingCall) -> None:
        rang.append(incoming)
        await incoming.ended()

    account = Account("sip:bob@127.0.0.1:1", register=False, encryption=encryption)
    found: list[int] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller:
        caller.bind(LOOPBACK)
        caller.setblocking(False)
        async with (
            open_phone(account, listen=LOOPBACK, ports=PORTS, codecs=["PCMU"]) as phone,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(phone.serve, ring)
            await trio.testing.wait_all_tasks_blocked()
            caller.sendto(invite(caller.getsockname()[1], lines), phone.address)
            await trio.sleep(1)
            while True:
                try:
                    response = parse(caller.recv(65536))
                except BlockingIOError:
                    break
                assert isinstance(response, Response)
                found.append(response.status)
            nursery.cancel_scope.cancel()
    return sorted(set(found)), len(rang)


def invite(port: int, lines: tuple[str, ...]) -> bytes:
    session = ("v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "c=IN IP4 127.0.0.1", "t=0 0")
    body = "".join(f"{line}\r\n" for line in (*session, *lines)) if lines else ""
    kind = "Content-Type: application/sdp\r\n" if body else ""
    return (
        "INVITE sip:bob@127.0.0.1 SIP/2.0\r\n"
        f"Via: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bKoffer\r\n"
        "From: <sip:x@127.0.0.1>;tag=1\r\nTo: <sip:bob@127.0.0.1>\r\nCall-ID: offer\r\n"
        f"CSeq: 1 INVITE\r\nContact: <sip:x@127.0.0.1:{port}>\r\n"
        f"{kind}Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


@pytest.mark.parametrize(
    "lines",
    [
        ("m=audio 5000 RTP/AVP 96", "a=rtpmap:96 AMR-WB/16000"),
        ("m=audio 5000 RTP/AVP 9",),  # G.722: Spech has it, this phone does not.
        ("m=audio 5000 RTP/AVP 101", "a=rtpmap:101 telephone-event/8000"),
        ("m=video 5000 RTP/AVP 31",),
        ("m=audio 0 RTP/AVP 0",),
        ("m=audio 5000 RTP/SAVP 0", "a=crypto:1 UNKNOWN_SUITE inline:AAAA"),
    ],
    ids=["unknown", "not chosen", "events alone", "no audio", "port 0", "unknown encryption"],
)
async def test_an_offer_with_nothing_in_common_is_refused_at_once(
    lines: tuple[str, ...], autojump_clock: trio.testing.MockClock
) -> None:
    assert await statuses(*lines) == ([488], 0)


async def test_an_unencrypted_offer_does_not_ring_if_encryption_is_required(
    autojump_clock: trio.testing.MockClock,
) -> None:
    assert await statuses(*PLAIN, encryption="required") == ([488], 0)


@pytest.mark.parametrize("lines", [PLAIN, ()], ids=["in common", "no offer"])
async def test_an_acceptable_offer_rings(
    lines: tuple[str, ...], autojump_clock: trio.testing.MockClock
) -> None:
    found, rang = await statuses(*lines)
    assert found[-1] != 488
    assert 180 in found
    assert rang == 1
