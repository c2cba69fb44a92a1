"""Requests with the identifiers of a call that do not come from its peer."""

from __future__ import annotations

import pytest

from spech.sip import events
from spech.sip.call.states import SessionState
from spech.sip.message.headers import Headers
from spech.sip.message.message import Request
from spech.sip.message.uri import Uri
from spech.testing.wire import FakeWire, Peer

from ..conftest import Pair, called, invite, media

CONTACT = ("Contact", "<sip:x@10.0.0.66>")


class Sniffed(Pair):
    """Alice and Bob have a call; a stranger has read their messages."""

    def __init__(self) -> None:
        super().__init__(FakeWire(seed=9))
        self.stranger = self.wire.peer("10.0.0.66", agent=False)
        self.ours, self.theirs = self.established()

    def forge(
        self, method: str, source: Peer, *headers: tuple[str, str], body: bytes = b""
    ) -> None:
        """A request to Bob as Alice would send it, from ``source``."""
        dialog = self.ours.dialog
        assert dialog is not None
        via = f"SIP/2.0/UDP {source.address[0]}:{source.address[1]};branch=z9hG4bKf{method};rport"
        more = [*headers, ("Content-Type", "application/sdp")] if body else [*headers]
        request = dialog.request(method, via, headers=more, body=body)
        dialog.local_sequence -= 1
        source.send(request, self.bob)


@pytest.fixture
def sniffed() -> Sniffed:
    return Sniffed()


@pytest.mark.parametrize(
    ("method", "headers", "body"),
    [
        ("BYE", [], b""),
        ("INVITE", [CONTACT], media("10.0.0.66", 6666)(1).offer()),
        ("UPDATE", [CONTACT], media("10.0.0.66", 6666)(1).offer()),
        ("REFER", [CONTACT, ("Refer-To", "<sip:premium@10.0.0.66>")], b""),
        ("INFO", [("Content-Type", "application/dtmf")], b""),
        ("OPTIONS", [], b""),
    ],
)
def test_a_stranger_who_knows_the_tags_changes_nothing(
    sniffed: Sniffed, method: str, headers: list[tuple[str, str]], body: bytes
) -> None:
    sniffed.theirs.takes_transfers = True
    sniffed.bob.events.clear()
    assert sniffed.theirs.dialog is not None
    target = sniffed.theirs.dialog.target
    sniffed.forge(method, sniffed.stranger, *headers, body=body)
    sniffed.wire.run(10)
    sniffed.stranger.take(f"403 {method}")
    assert sniffed.bob.events == []
    assert sniffed.theirs.is_up
    assert sniffed.theirs.dialog.target == target
    sniffed.hang_up(sniffed.alice, sniffed.ours)  # The call works as before.
    sniffed.wire.run(1)
    assert sniffed.theirs.state is SessionState.ENDED
    assert sniffed.ended(sniffed.bob).by == "remote"


def test_many_forged_requests_probe_the_peer_once_at_a_time(sniffed: Sniffed) -> None:
    for _ in range(20):
        assert sniffed.ours.dialog is not None
        sniffed.forge("BYE", sniffed.stranger)
        sniffed.forge("REFER", sniffed.stranger, CONTACT, ("Refer-To", "<sip:x@10.0.0.66>"))
    sniffed.wire.run(5)
    asked = {p.data for p in sniffed.wire.log if p.kind == "OPTIONS"}
    assert len(asked) <= 2
    assert sniffed.theirs.is_up


def test_another_port_of_the_peers_nat_is_followed_at_once(sniffed: Sniffed) -> None:
    rebound = sniffed.wire.peer("10.0.0.1", 40000, agent=False)
    sniffed.forge("BYE", rebound)
    sniffed.wire.run(0.1)
    rebound.take("200 BYE")
    assert sniffed.theirs.state is SessionState.ENDED


@pytest.mark.parametrize("method", ["BYE", "INVITE"])
def test_a_peer_at_a_new_address_is_followed_if_the_old_one_is_silent(
    sniffed: Sniffed, method: str
) -> None:
    """A NAT with another public address, or another network."""
    sniffed.wire.drop = lambda packet: "10.0.0.1" in (packet.source[0], packet.destination[0])
    body = media("10.0.0.66", 6666)(1).offer() if method == "INVITE" else b""
    sniffed.forge(method, sniffed.stranger, CONTACT, body=body)
    sniffed.wire.run(1)
    assert sniffed.stranger.inbox == []
    sniffed.wire.run(2)
    sniffed.stranger.take(f"200 {method}")
    assert sniffed.theirs.state is (
        SessionState.ENDED if method == "BYE" else SessionState.CONFIRMED
    )


def test_a_known_host_may_send_requests_of_the_call(sniffed: Sniffed) -> None:
    """A provider may send requests of a call from another configured address."""
    sniffed.bob.agent.is_known_peer = lambda host: host == "10.0.0.66"
    sniffed.forge("BYE", sniffed.stranger)
    sniffed.wire.run(0.1)
    sniffed.stranger.take("200 BYE")


@pytest.mark.parametrize("early", [True, False])
def test_a_stranger_cannot_replace_a_call(early: bool) -> None:
    pair = Pair(FakeWire(seed=9))
    stranger = pair.wire.peer("10.0.0.66", agent=False)
    if early:
        ours = pair.call()
        pair.ring(pair.incoming())
        pair.wire.run(0.1)
    else:
        ours, _ = pair.established()
    tag = ours.dialogs[0].remote.tag
    value = f"{ours.call_id};to-tag={ours.local_tag};from-tag={tag}"
    request = invite(("Replaces", value), body=media("10.0.0.66", 5000)(1).offer())
    headers = request.headers.set("Via", "SIP/2.0/UDP 10.0.0.66:5060;branch=z9hG4bKr1")
    stranger.send(request.replace(headers=headers), pair.alice)
    pair.wire.run(0.5)
    stranger.take("403 INVITE")
    assert ours.ended is None


def test_a_stranger_cannot_answer_our_offer_with_an_ack() -> None:
    """If the INVITE had no description, the ACK carries the answer."""
    pair = Pair(FakeWire(seed=9), bob_agent=False)
    stranger = pair.wire.peer("10.0.0.66", agent=False)
    request = invite()
    session = called(pair, request).session
    session.answer(media("10.0.0.1", 4000), pair.wire.now)
    pair.wire.run(0.1)
    success = pair.bob.take("200 INVITE")
    for source, port in ((stranger, 6666), (pair.bob, 5000)):
        host = source.address[0]
        headers = Headers(
            [
                ("Via", f"SIP/2.0/UDP {host}:5060;branch=z9hG4bKa{port}"),
                ("From", str(request.from_)),
                ("To", str(success.to)),
                ("Call-ID", request.call_id),
                ("CSeq", f"{request.cseq.number} ACK"),
                ("Content-Type", "application/sdp"),
            ]
        )
        answer, _ = media(host, port)(1).receive_offer(success.body)
        source.send(Request("ACK", request.uri, headers, answer), pair.alice)
        pair.wire.run(0.1)
        assert session.is_up is (source is pair.bob)
    changed = pair.find(pair.alice, events.MediaChanged)
    assert isinstance(changed, events.MediaChanged)
    assert changed.agreed.remote == (pair.bob.address[0], 5000)


def test_a_stranger_cannot_cancel_a_call() -> None:
    """A CANCEL has to come from the source of the INVITE."""
    pair = Pair(FakeWire(seed=9))
    stranger = pair.wire.peer("10.0.0.66", agent=False)
    pair.call()
    theirs = pair.incoming()
    asked = next(p.message for p in pair.wire.log if p.kind == "INVITE")
    assert isinstance(asked, Request)
    names = ("Via", "Max-Forwards", "From", "To", "Call-ID")
    pairs = [(name, asked.headers.get(name) or "") for name in names]
    headers = Headers([*pairs, ("CSeq", f"{asked.cseq.number} CANCEL")])
    stranger.send(Request("CANCEL", Uri.parse("sip:bob@10.0.0.2"), headers), pair.bob)
    pair.wire.run(0.5)
    assert theirs.ended is None
    assert pair.find(pair.bob, events.SessionEnded) is None
