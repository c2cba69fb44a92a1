"""Two user agents on a wire, with the commands that a test of calls needs."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from spech.errors import LocalProtocolError
from spech.sip import events
from spech.sip.call.session import Session
from spech.sip.description.offer_answer import Negotiator
from spech.sip.description.payload_types import AudioFormat
from spech.sip.dialog.identity import Identity
from spech.sip.message.headers import Headers, NameAddr
from spech.sip.message.message import Request, Response, SipMessage, response_to
from spech.sip.message.parser import parse
from spech.sip.message.uri import Uri
from spech.sip.transaction.flow import Flow, Outgoing
from spech.testing.wire import FakeWire, Peer

PCMU = AudioFormat("PCMU", "PCMU", 8000, 0)
PCMA = AudioFormat("PCMA", "PCMA", 8000, 8)


def media(host: str, port: int = 4000) -> Callable[[int], Negotiator]:
    return lambda number: Negotiator([PCMU, PCMA], host, port, number)


class Pair:
    """Alice, who calls, and Bob. Bob has an agent unless the test acts for him."""

    def __init__(self, wire: FakeWire, *, bob_agent: bool = True) -> None:
        self.wire = wire
        self.alice = wire.peer("10.0.0.1")
        self.bob = wire.peer("10.0.0.2", agent=bob_agent)

    def call(self, *more: Peer, password: str | None = None) -> Session:
        identity = Identity(
            NameAddr(Uri.parse("sip:alice@10.0.0.1")), "alice", password, self.alice.agent.rng
        )
        flows = [self.alice.flow_to(peer) for peer in (self.bob, *more)]
        identity.trust(flows)  # Bob's host stands for the account's server.
        session = self.alice.agent.invite(
            identity, Uri.parse("sip:bob@10.0.0.2"), flows, media("10.0.0.1"), self.wire.now
        )
        self.alice.flush()
        return session

    def call_unsent(self, flow: Flow | None = None) -> Session:
        """A call whose INVITE still waits for ``to_send``."""
        agent = self.alice.agent
        identity = Identity(NameAddr(Uri.parse("sip:alice@10.0.0.1")), "alice", None, agent.rng)
        flows = [flow or self.alice.flow_to(self.bob)]
        target = Uri.parse("sip:bob@10.0.0.2")
        return agent.invite(identity, target, flows, media("10.0.0.1"), self.wire.now)

    @staticmethod
    def read(outgoing: Outgoing) -> SipMessage:
        return parse(outgoing.data)

    def incoming(self) -> Session:
        """Bob's end, once it exists."""
        assert self.wire.run_until(lambda: self.find(self.bob, events.InviteReceived) is not None)
        event = self.find(self.bob, events.InviteReceived)
        assert isinstance(event, events.InviteReceived)
        return event.session

    def ring(self, session: Session) -> None:
        session.ring(self.wire.now)
        self.bob.flush()

    def answer(self, session: Session) -> None:
        session.answer(media("10.0.0.2", 5000), self.wire.now)
        self.bob.flush()

    def hang_up(self, peer: Peer, session: Session, status: int | None = None) -> None:
        session.hang_up(self.wire.now, status=status)
        peer.flush()

    def established(self) -> tuple[Session, Session]:
        """A call that is up, seen from both ends."""
        ours = self.call()
        theirs = self.incoming()
        self.answer(theirs)
        self.wire.run(1.0)
        return ours, theirs

    def find(self, peer: Peer, kind: type) -> events.Event | None:
        return next((event for event in peer.events if isinstance(event, kind)), None)

    def ended(self, peer: Peer) -> events.SessionEnded:
        found = [event for event in peer.events if isinstance(event, events.SessionEnded)]
        assert len(found) == 1, found
        return found[0]

    def kinds(self, peer: Peer) -> list[str]:
        """What ``peer`` sent, including retransmissions."""
        return [packet.kind for packet in self.wire.log if packet.source == peer.address]

    def quiet(self) -> None:
        """Let all timers expire, then check that nothing is left at either end."""
        self.wire.run(200)
        for peer in (self.alice, self.bob):
            try:
                agent = peer.agent
            except LocalProtocolError:  # The test acts for him.
                continue
            assert agent.sessions == ()
            assert len(agent.layer) == 0
            assert agent.idle
            assert agent.get_timer() is None

    def reply(
        self, request: Request | Response, status: int, tag: str = "b1", body: bytes = b""
    ) -> None:
        """As Bob, answer ``request``."""
        assert isinstance(request, Request)
        headers = [("Contact", "<sip:bob@10.0.0.2>")]
        kind = "application/sdp" if body else None
        response = response_to(
            request, status, to_tag=tag, headers=headers, body=body, content_type=kind
        )
        self.bob.send(response, self.alice)

    def ask(
        self, method: str, heard: SipMessage, *headers: tuple[str, str], body: bytes = b""
    ) -> None:
        """As Bob, send his first request in the dialog of ``heard``.

        That is a request from Alice with Bob's tag, or a response to one.
        """
        pairs = [
            ("Via", f"SIP/2.0/UDP 10.0.0.2:5060;branch=z9hG4bK{method}"),
            ("Max-Forwards", "70"),
            ("From", str(heard.to)),
            ("To", str(heard.from_)),
            ("Call-ID", heard.call_id),
            ("CSeq", f"1 {method}"),
            *headers,
        ]
        request = Request(method, Uri.parse("sip:alice@10.0.0.1"), Headers(pairs), body)
        self.bob.send(request, self.alice)


@pytest.fixture
def pair() -> Pair:
    return Pair(FakeWire(seed=1))


@pytest.fixture
def scripted() -> Pair:
    return Pair(FakeWire(seed=1), bob_agent=False)


@pytest.fixture
def sdp_answer() -> bytes:
    negotiator = media("10.0.0.2", 5000)(1)
    return negotiator.receive_offer(media("10.0.0.1")(2).offer())[0]


def invite(*headers: tuple[str, str], body: bytes = b"") -> Request:
    """Bob's INVITE to Alice, with more headers."""
    pairs = [
        ("Via", "SIP/2.0/UDP 10.0.0.2:5060;branch=z9hG4bKi1"),
        ("Max-Forwards", "70"),
        ("From", "<sip:bob@10.0.0.2>;tag=b1"),
        ("To", "<sip:alice@10.0.0.1>"),
        ("Call-ID", "extended"),
        ("CSeq", "1 INVITE"),
        ("Contact", "<sip:bob@10.0.0.2>"),
        *headers,
    ]
    if body:
        pairs.append(("Content-Type", "application/sdp"))
    return Request("INVITE", Uri.parse("sip:alice@10.0.0.1"), Headers(pairs), body)


def within(
    request: Request, method: str, number: int, to: str, *headers: tuple[str, str]
) -> Request:
    """A later request of the same dialog."""
    changed = request.headers.set("CSeq", f"{number} {method}").set("To", to)
    changed = changed.set("Via", f"SIP/2.0/UDP 10.0.0.2:5060;branch=z9hG4bKn{number}")
    for name in ("Require", "Supported", "Session-Expires", "Content-Type"):
        changed = changed.remove(name)
    for name, value in headers:
        changed = changed.add(name, value)
    return Request(method, request.uri, changed)


def called(pair: Pair, request: Request) -> events.InviteReceived:
    """Alice gets ``request``; her end of it."""
    pair.bob.send(request, pair.alice)
    pair.wire.run(0.1)
    event = pair.find(pair.alice, events.InviteReceived)
    assert isinstance(event, events.InviteReceived)
    return event
