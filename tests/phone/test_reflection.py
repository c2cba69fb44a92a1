"""A forged INVITE cannot direct the sound of a call at a third party."""

from __future__ import annotations

import random
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from spech import Account, Phone, PortRange, open_phone
from spech.phone.callers import Callers
from spech.rtp import packet as rtp

LOOPBACK = ("127.0.0.1", 0)
PORTS = PortRange(36_100, 36_199)


class Forger:
    """Calls over UDP, and names ``victim`` as the address for media."""

    def __init__(self) -> None:
        self.signalling, self.victim = bound(), bound()
        self.invite = b""
        self.to = ""

    def close(self) -> None:
        self.signalling.close()
        self.victim.close()

    def send(
        self, method: str, target: tuple[str, int], body: str = "", padding: str = ""
    ) -> bytes:
        port = self.signalling.getsockname()[1]
        to = self.to or f"<sip:bob@127.0.0.1:{target[1]}>"
        kind = "Content-Type: application/sdp\r\n" if body else ""
        datagram = (
            f"{method} sip:bob@127.0.0.1:{target[1]} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bK{method}\r\n"
            f"From: <sip:x@127.0.0.1>;tag=1\r\nTo: {to}\r\nCall-ID: forged\r\n"
            f"CSeq: 1 {method}\r\nContact: <sip:x@127.0.0.1:{port}>\r\n"
            f"{kind}{padding}Content-Length: {len(body)}\r\n\r\n{body}"
        ).encode()
        self.signalling.sendto(datagram, target)
        return datagram

    def call(self, target: tuple[str, int], *, offer: bool = True, padding: str = "") -> None:
        port = self.victim.getsockname()[1]
        body = (
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
            f"m=audio {port} RTP/AVP 0\r\n"
        )
        self.invite = self.send("INVITE", target, body if offer else "", padding)

    def answer(self) -> str:
        """The responses to the INVITE, up to the final one."""
        *_, last = received(self.signalling)
        text = last.decode()
        self.to = next(line[4:] for line in text.split("\r\n") if line.startswith("To: "))
        return text


def bound() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind(LOOPBACK)
    made.setblocking(False)
    return made


def received(waiting: socket.socket) -> list[bytes]:
    datagrams = []
    while True:
        try:
            datagrams.append(waiting.recv(65536))
        except BlockingIOError:
            return datagrams


@asynccontextmanager
async def answering(**options: object) -> AsyncIterator[Phone]:
    """A phone that answers, and speaks constantly."""
    async with (
        open_phone(listen=LOOPBACK, ports=PORTS, rng=random.Random(1), **options) as phone,  # type: ignore[arg-type]
        trio.open_nursery() as nursery,
    ):

        async def serve() -> None:
            async for incoming in phone.incoming_calls():
                async with incoming.answer() as call:
                    await call.ended()

        nursery.start_soon(serve)
        await trio.testing.wait_all_tasks_blocked()
        yield phone
        nursery.cancel_scope.cancel()


@pytest.fixture
def forger(monkeypatch: pytest.MonkeyPatch) -> Iterator[Forger]:
    # Everything here uses loopback, which is normally trusted.
    monkeypatch.setattr(Callers, "names", lambda self, source: False)
    forger = Forger()
    yield forger
    forger.close()


def size_on_the_wire(datagrams: list[bytes]) -> int:
    return sum(len(datagram) + 28 for datagram in datagrams)


async def test_an_unconfirmed_call_gets_half_a_second_of_sound(
    forger: Forger, autojump_clock: trio.testing.MockClock
) -> None:
    async with answering(callers="anyone") as phone:
        forger.call(phone.address)
        await trio.sleep(40)
        sent = received(forger.victim)
    assert 0 < len(sent) <= 25
    assert size_on_the_wire(sent) <= 10 * size_on_the_wire([forger.invite])


@pytest.mark.parametrize("offer", [True, False])
@pytest.mark.parametrize("copies", [1, 4])
async def test_signalling_and_sound_together_are_ten_times_the_invite_at_most(
    offer: bool, copies: int, forger: Forger, autojump_clock: trio.testing.MockClock
) -> None:
    async with answering(callers="anyone") as phone:
        for _ in range(copies):
            forger.call(phone.address, offer=offer)
            await trio.sleep(0.3)
        await trio.sleep(80)
        responses, sound = received(forger.signalling), received(forger.victim)
    answers = [one for one in responses if one.startswith(b"SIP/2.0 200")]
    assert len(answers) >= 2
    assert any(one.startswith(b"BYE") for one in responses)
    assert bool(sound) is offer
    assert size_on_the_wire(responses + sound) <= 10 * size_on_the_wire([forger.invite] * copies)


async def test_the_invite_of_a_phone_gets_many_copies_of_the_answer(
    forger: Forger, autojump_clock: trio.testing.MockClock
) -> None:
    async with answering(callers="anyone") as phone:
        forger.call(phone.address, padding="X: " + "x" * 530 + "\r\n")
        assert len(forger.invite) == pytest.approx(900, abs=40)
        await trio.sleep(80)
        responses, sound = received(forger.signalling), received(forger.victim)
    answers = [one for one in responses if one.startswith(b"SIP/2.0 200")]
    assert len(answers) >= 6
    assert len(sound) >= 10
    assert size_on_the_wire(responses + sound) <= 10 * size_on_the_wire([forger.invite])


async def test_a_confirmed_call_gets_sound_from_a_silent_far_end(
    forger: Forger, autojump_clock: trio.testing.MockClock
) -> None:
    async with answering(callers="anyone") as phone:
        forger.call(phone.address)
        await trio.sleep(2)
        forger.answer()
        forger.send("ACK", phone.address)
        received(forger.victim)
        await trio.sleep(2)
        assert len(received(forger.victim)) > 90


async def test_sound_of_the_far_end_confirms_a_call_as_well(
    forger: Forger, autojump_clock: trio.testing.MockClock
) -> None:
    async with answering(callers="anyone") as phone:
        forger.call(phone.address)
        await trio.sleep(2)
        answer = forger.answer()
        port = int(answer.partition("m=audio ")[2].split()[0])
        received(forger.victim)
        forger.victim.sendto(rtp.build(0, True, 1, 0, 7, bytes(160)), ("127.0.0.1", port))
        await trio.sleep(2)
        assert len(received(forger.victim)) > 90


async def test_sound_to_a_known_peer_is_not_limited(
    forger: Forger, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    monkeypatch.setattr(Callers, "names", lambda self, source: True)
    async with answering() as phone:
        forger.call(phone.address)
        await trio.sleep(2)
        assert len(received(forger.victim)) > 90


@pytest.mark.parametrize("symmetric", [True, False])
async def test_media_follows_its_source_unless_the_account_forbids_it(
    symmetric: bool,
    forger: Forger,
    monkeypatch: pytest.MonkeyPatch,
    autojump_clock: trio.testing.MockClock,
) -> None:
    monkeypatch.setattr(Callers, "names", lambda self, source: True)
    account = Account("sip:bob@127.0.0.1", register=False, symmetric=symmetric)
    async with answering(account=account) as phone:
        forger.call(phone.address)
        await trio.sleep(1)
        port = int(forger.answer().partition("m=audio ")[2].split()[0])
        elsewhere = bound()
        elsewhere.sendto(rtp.build(0, True, 1, 0, 7, bytes(160)), ("127.0.0.1", port))
        await trio.sleep(1)
        received(forger.victim)
        await trio.sleep(1)
        counts = len(received(elsewhere)), len(received(forger.victim))
        elsewhere.close()
    assert (counts[0] > 40, counts[1] > 40) == (symmetric, not symmetric)
