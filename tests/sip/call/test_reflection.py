"""What a UDP source gets that may be forged: at most ten times the bytes that came from it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from spech.shares import Standing
from spech.sip import events
from spech.sip.agent import Screen, UserAgent
from spech.sip.call.session import Session
from spech.sip.transaction.flow import Flow, Outgoing
from spech.testing.wire import FakeWire

from ..conftest import Pair, media

OFFER = (
    "v=0\r\no=- 1 1 IN IP4 1.1.1.1\r\ns=-\r\nc=IN IP4 1.1.1.1\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\n"
)
#: IP and UDP headers.
HEADERS = {4: 28, 6: 48}


class Forged:
    """A phone, and the host whose address an attacker forges: it says nothing by itself."""

    def __init__(self, version: int = 4, screen: Screen | None = None) -> None:
        self.wire = FakeWire(seed=3)
        self.hosts = ("1.1.1.1", "1.1.1.2") if version == 4 else ("2001:db8::1", "2001:db8::2")
        self.victim = self.wire.peer(self.hosts[0], agent=False)
        self.phone = self.wire.peer(self.hosts[1], screen=screen)
        self.overhead = HEADERS[version]
        self.received = 0

    def named(self, index: int) -> str:
        host = self.hosts[index]
        return f"[{host}]" if ":" in host else host

    def send(self, method: str, body: str = "", *more: str, tag: str = "") -> None:
        """The shortest request that there is: compact forms, one letter for each identifier."""
        victim, phone = self.named(0), self.named(1)
        lines = [
            f"{method} sip:b@{phone} SIP/2.0",
            f"v:SIP/2.0/UDP {victim};branch=z9hG4bK1",
            f"f:<sip:{victim}>;tag=1",
            f"t:<sip:{phone}>{tag}",
            "i:1",
            f"CSeq:1 {method}",
            f"m:<sip:{victim}>",
            *more,
            *(["c:application/sdp"] if body else []),
        ]
        data = ("\r\n".join(lines) + f"\r\nl:{len(body)}\r\n\r\n{body}").encode()
        self.received += len(data) + self.overhead
        self.wire.carry(Outgoing(data, self.victim.flow_to(self.phone)))

    @property
    def sent(self) -> int:
        return sum(
            len(packet.data) + self.overhead
            for packet in self.wire.log
            if packet.source == self.phone.address
        )

    def kinds(self) -> list[str]:
        return [p.kind for p in self.wire.log if p.source == self.phone.address]

    def on_invite(self, *acts: Callable[[Session, float], None]) -> None:
        def receive(event: events.Event) -> None:
            if isinstance(event, events.InviteReceived):
                for act in acts:
                    act(event.session, self.wire.now)

        self.phone.on_event = receive

    @property
    def ended(self) -> events.SessionEnded | None:
        found = (one for one in self.phone.events if isinstance(one, events.SessionEnded))
        return next(found, None)


def ring(session: Session, now: float) -> None:
    session.ring(now)


def answer(session: Session, now: float) -> None:
    session.answer(media("1.1.1.2"), now)


def refuse(session: Session, now: float) -> None:
    session.hang_up(now, status=486)


@pytest.mark.parametrize(
    ("acts", "lasts", "reason"),
    [
        ((answer,), 32, "No ACK"),
        ((ring, answer), 32, "No ACK"),
        ((ring,), 180, "Not answered"),
        ((refuse,), 0, "Busy Here"),
        ((ring, refuse), 0, "Busy Here"),
    ],
)
@pytest.mark.parametrize("offer", [OFFER, ""], ids=["offer", "no-offer"])
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("copies", [1, 5])
def test_a_call_sends_no_more_than_ten_times_what_came(
    acts: tuple[Callable[[Session, float], None], ...],
    lasts: float,
    reason: str,
    offer: str,
    version: int,
    copies: int,
) -> None:
    forged = Forged(version)
    forged.on_invite(*acts)
    began = forged.wire.now
    for _ in range(copies):
        forged.send("INVITE", offer)
    assert forged.wire.run_until(lambda: forged.ended is not None)
    assert forged.wire.now - began == pytest.approx(lasts, abs=0.1)
    assert forged.ended is not None
    assert forged.ended.reason == reason
    forged.wire.run(200)
    assert 0 < forged.sent <= 10 * forged.received
    agent = forged.phone.agent
    assert agent.sessions == ()
    assert agent.idle
    assert len(agent.layer) == 0


@pytest.mark.parametrize(
    "method", ["OPTIONS", "MESSAGE", "SUBSCRIBE", "NOTIFY", "REFER", "PUBLISH", "REGISTER", "X"]
)
@pytest.mark.parametrize("more", ["Require: a", "e: gzip", "X:"])
@pytest.mark.parametrize("tag", ["", ";tag=2"])
def test_a_request_outside_calls_is_answered_once(method: str, more: str, tag: str) -> None:
    forged = Forged()
    forged.phone.agent.takes_messages = True
    forged.send(method, "", more, tag=tag)
    forged.wire.run(200)
    assert 0 < forged.sent <= 10 * forged.received
    assert len(forged.kinds()) == 1


def test_a_long_invite_gets_all_copies_of_the_answer() -> None:
    """Phones send 900 bytes and more, so that a lossy path costs them nothing."""
    forged = Forged()
    forged.on_invite(answer)
    forged.send("INVITE", OFFER, "X:" + "x" * 615)
    assert forged.received == pytest.approx(900, abs=20)
    forged.wire.run(200)
    assert forged.kinds().count("200 INVITE") == 11
    assert "BYE" in forged.kinds()
    assert forged.sent <= 10 * forged.received


def test_the_shortest_invite_gets_copies_of_the_answer_and_a_farewell() -> None:
    forged = Forged()
    forged.on_invite(answer)
    forged.send("INVITE", OFFER)
    forged.wire.run(200)
    assert forged.kinds().count("200 INVITE") >= 3
    assert "BYE" in forged.kinds()


def our_tag(forged: Forged) -> str:
    message = forged.victim.take("200 INVITE")
    return f";tag={message.to.tag}"


@pytest.mark.parametrize("method", ["ACK", "PRACK", "OPTIONS", "BYE"])
def test_a_request_with_our_tag_proves_that_we_are_heard(method: str) -> None:
    forged = Forged()
    forged.on_invite(answer)
    forged.send("INVITE", OFFER)
    forged.wire.run(0.1)
    (session,) = forged.phone.agent.sessions
    assert session.allowance is not None
    assert not session.allowance.proven
    forged.send(method, tag=our_tag(forged))
    forged.wire.run(0.1)
    assert session.allowance.proven


def test_a_caller_that_has_authenticated_is_not_limited() -> None:
    forged = Forged(screen=lambda request, flow, now: Standing.KNOWN)
    forged.on_invite(answer)
    forged.send("INVITE", OFFER)
    forged.wire.run(200)
    assert forged.kinds().count("200 INVITE") == 11


@pytest.mark.parametrize("method", ["ACK", "CANCEL", "OPTIONS", "BYE"])
@pytest.mark.parametrize("tag", ["", ";tag=2"])
def test_a_request_without_our_tag_proves_nothing(method: str, tag: str) -> None:
    """The branch, the Call-ID and the CSeq number are the forger's own."""
    forged = Forged()
    forged.on_invite(answer)
    forged.send("INVITE", OFFER)
    forged.wire.run(0.1)
    (session,) = forged.phone.agent.sessions
    forged.send(method, tag=tag)
    forged.wire.run(0.1)
    assert session.allowance is not None
    assert not session.allowance.proven
    assert not session.is_up
    forged.wire.run(200)
    assert forged.sent <= 10 * forged.received
    assert forged.ended is not None
    assert forged.ended.reason == "No ACK"


def test_a_peer_that_proves_itself_late_gets_the_rest_of_the_copies() -> None:
    """Sound can prove it while each ACK is lost."""
    forged = Forged()
    forged.on_invite(answer)
    forged.send("INVITE", OFFER)
    forged.wire.run(20)
    before = forged.kinds().count("200 INVITE")
    (session,) = forged.phone.agent.sessions
    assert session.allowance is not None
    session.allowance.proven = True
    forged.wire.run(100)
    assert forged.kinds().count("200 INVITE") > before
    assert forged.kinds().count("BYE") == 11


def trusted(agent: UserAgent) -> None:
    agent.is_known_peer = lambda host: host == "1.1.1.1"


def untrusted(agent: UserAgent) -> None:
    agent.is_known_peer = lambda host: False


@pytest.mark.parametrize(
    ("prepare", "transport", "limited"),
    [(trusted, "udp", False), (untrusted, "udp", True), (untrusted, "tcp", False)],
)
def test_only_a_source_that_may_be_forged_is_limited(
    prepare: Callable[[UserAgent], None], transport: str, limited: bool
) -> None:
    forged = Forged()
    prepare(forged.phone.agent)
    forged.send("INVITE", OFFER)
    flow = Flow(transport, forged.phone.address, forged.victim.address)
    packet = forged.wire.log[0]
    data = packet.data.replace(b"UDP", transport.upper().encode())
    forged.phone.agent.receive_message(data, flow, forged.wire.now)
    (session,) = forged.phone.agent.sessions
    assert (session.allowance is not None) is limited


def test_a_caller_is_no_known_peer_before_it_is_proven() -> None:
    forged = Forged()
    forged.on_invite(answer)
    forged.send("INVITE", OFFER)
    forged.wire.run(0.1)
    assert not forged.phone.agent.is_known("1.1.1.1")
    forged.send("ACK", tag=our_tag(forged))
    forged.wire.run(0.1)
    assert forged.phone.agent.is_known("1.1.1.1")


@pytest.mark.parametrize("known", [False, True])
def test_strangers_on_a_lossy_path_get_through(known: bool) -> None:
    """Three in ten datagrams are lost each way; the limit costs none of the calls."""
    up = 0
    for seed in range(40):
        pair = Pair(FakeWire(seed=seed, loss=0.3))
        pair.bob.agent.is_known_peer = lambda host: known
        ours = pair.call()
        theirs = pair.incoming()
        assert (theirs.allowance is None) is known
        pair.answer(theirs)
        pair.wire.run(31)
        up += ours.is_up and theirs.is_up
    assert up == 40
