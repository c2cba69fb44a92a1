"""Calls between two pure user agents: the usual flows, and the rules that peers rely on."""

from __future__ import annotations

import random
from typing import Any

import pytest

from spech.errors import LocalProtocolError, RemoteProtocolError
from spech.sip import events
from spech.sip.call.states import SessionState
from spech.sip.dialog.digest import DigestServer
from spech.sip.message.headers import Headers
from spech.sip.message.message import Request, response_to
from spech.sip.message.uri import Uri
from spech.sip.transaction.flow import Outgoing
from spech.testing.wire import FakeWire

from ..conftest import Pair, called, invite, media, within
from ..registrar import challenging


def test_a_call_runs_from_ringing_to_bye(pair: Pair) -> None:
    ours = pair.call()
    theirs = pair.incoming()
    pair.ring(theirs)
    pair.wire.run(3)
    pair.answer(theirs)
    pair.wire.run(1)
    assert [type(event).__name__ for event in pair.alice.events] == ["Ringing", "Answered"]
    answered = pair.alice.events[1]
    assert isinstance(answered, events.Answered)
    assert answered.agreed is not None
    assert answered.agreed.codec == "PCMU"
    assert answered.agreed.remote == ("10.0.0.2", 5000)
    assert answered.agreed.telephone_event_send == 101
    assert ours.state is SessionState.CONFIRMED
    assert theirs.state is SessionState.CONFIRMED
    pair.hang_up(pair.bob, theirs)
    pair.quiet()
    assert pair.wire.ladder() == [
        "10.0.0.1 INVITE",
        "10.0.0.2 180 INVITE",
        "10.0.0.2 200 INVITE",
        "10.0.0.1 ACK",
        "10.0.0.2 BYE",
        "10.0.0.1 200 BYE",
    ]


def test_an_invite_is_retransmitted_until_timer_b(pair: Pair) -> None:
    pair.wire.loss = 1.0
    pair.call()
    start = pair.wire.now
    pair.wire.run(40)
    times = [packet.time - start for packet in pair.wire.log]
    assert times == pytest.approx([0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5])  # RFC 3261 17.1.1.2
    ended = pair.ended(pair.alice)
    assert (ended.status, ended.by) == (408, "remote")


def test_a_lost_ack_is_repeated_for_the_repeated_200(pair: Pair) -> None:
    lost = []

    def drop(packet: object) -> bool:
        if getattr(packet, "kind", "") == "ACK" and len(lost) < 2:
            lost.append(packet)
            return True
        return False

    pair.wire.drop = drop
    _, theirs = pair.established()
    pair.wire.run(5)
    assert theirs.state is SessionState.CONFIRMED
    assert pair.kinds(pair.alice).count("ACK") == 3


def test_each_repeated_200_costs_one_ack(pair: Pair) -> None:
    ours, _ = pair.established()
    assert ours._invitation is not None
    (fork,) = ours._invitation._forks.values()
    sent: list[Outgoing] = []

    class Context:
        """The agent's context, but for what is sent."""

        send = staticmethod(sent.append)

        def __getattr__(self, name: str) -> Any:
            return getattr(pair.alice.agent, name)

    context: Any = Context()
    for _ in range(1000):
        fork.acknowledge_again(context)
    assert len(sent) == 1000
    assert len(set(map(id, sent))) <= len(fork.dialog.flows)
    assert len(fork._used) <= len(fork.dialog.flows)


def test_a_duplicated_invite_rings_once() -> None:
    pair = Pair(FakeWire(seed=3, duplication=1.0))
    pair.call()
    pair.incoming()
    pair.wire.run(2)
    assert sum(isinstance(event, events.InviteReceived) for event in pair.bob.events) == 1


def test_a_merged_request_is_refused(pair: Pair) -> None:
    pair.call()
    pair.incoming()
    invite = next(p.message for p in pair.wire.log if p.kind == "INVITE")
    assert isinstance(invite, Request)
    via = invite.headers.get("Via") or ""
    other = invite.replace(
        headers=invite.headers.set("Via", via.replace("branch=", "branch=z9hG4bKx"))
    )
    pair.alice.send(other, pair.bob)
    pair.wire.run(1)
    assert "482 INVITE" in pair.kinds(pair.bob)  # RFC 3261 8.2.2.2


def test_a_merged_copy_of_a_declined_invite_does_not_ring_again(pair: Pair) -> None:
    """A proxy that tries the bindings of a phone in turn sends such a copy (RFC 3261 8.2.2.2)."""
    pair.call()
    session = pair.incoming()
    invite = next(p.message for p in pair.wire.log if p.kind == "INVITE")
    pair.hang_up(pair.bob, session, 486)
    pair.wire.run(0.1)
    via = (invite.headers.get("Via") or "").replace("branch=", "branch=z9hG4bKx")
    assert isinstance(invite, Request)
    pair.alice.send(invite.replace(headers=invite.headers.set("Via", via)), pair.bob)
    pair.wire.run(0.1)
    assert pair.kinds(pair.bob)[-1] == "482 INVITE"
    assert sum(isinstance(event, events.InviteReceived) for event in pair.bob.events) == 1
    pair.quiet()


def test_early_media_stays_if_the_answer_has_no_body(scripted: Pair, sdp_answer: bytes) -> None:
    pair = scripted
    pair.call()
    pair.wire.run(0.1)
    invite = pair.bob.take("INVITE")
    pair.reply(invite, 183, body=sdp_answer)
    pair.wire.run(0.1)
    early = pair.alice.events[-1]
    assert isinstance(early, events.EarlyMedia)
    pair.reply(invite, 200)
    pair.wire.run(0.1)
    answered = pair.alice.events[-1]
    assert isinstance(answered, events.Answered)
    assert answered.agreed == early.agreed


def test_each_fork_has_its_own_dialog(scripted: Pair, sdp_answer: bytes) -> None:
    pair = scripted
    session = pair.call()
    pair.wire.run(0.1)
    invite = pair.bob.take("INVITE")
    pair.reply(invite, 180, "b1")
    pair.reply(invite, 183, "b2", sdp_answer)
    pair.wire.run(0.1)
    pair.reply(invite, 200, "b1", sdp_answer)
    pair.wire.run(0.1)
    assert session.dialog is not None
    assert session.dialog.remote.tag == "b1"
    assert pair.bob.take("ACK").to.tag == "b1"


def test_an_offerless_invite_gets_an_offer_and_reads_the_answer_from_the_ack(
    scripted: Pair,
) -> None:
    pair = scripted
    headers = Headers(
        [
            ("Via", "SIP/2.0/UDP 10.0.0.2:5060;branch=z9hG4bKoff"),
            ("Max-Forwards", "70"),
            ("From", "<sip:bob@10.0.0.2>;tag=b1"),
            ("To", "<sip:alice@10.0.0.1>"),
            ("Call-ID", "offerless"),
            ("CSeq", "1 INVITE"),
            ("Contact", "<sip:bob@10.0.0.2>"),
        ]
    )
    pair.bob.send(Request("INVITE", Uri.parse("sip:alice@10.0.0.1"), headers), pair.alice)
    pair.wire.run(0.1)
    incoming = pair.find(pair.alice, events.InviteReceived)
    assert isinstance(incoming, events.InviteReceived)
    incoming.session.answer(media("10.0.0.1"), pair.wire.now)
    pair.wire.run(0.1)
    success = pair.bob.take("200 INVITE")
    assert success.body
    answer, _ = media("10.0.0.2", 5000)(1).receive_offer(success.body)
    ack_headers = headers.set("CSeq", "1 ACK").set("To", str(success.to))
    ack_headers = ack_headers.set("Via", "SIP/2.0/UDP 10.0.0.2:5060;branch=z9hG4bKack")
    ack_headers = ack_headers.add("Content-Type", "application/sdp")
    target = Uri.parse("sip:alice@10.0.0.1")
    pair.bob.send(Request("ACK", target, ack_headers, answer), pair.alice)
    pair.wire.run(0.1)
    changed = pair.find(pair.alice, events.MediaChanged)
    assert isinstance(changed, events.MediaChanged)
    assert changed.agreed.remote == ("10.0.0.2", 5000)


def test_a_call_is_held_and_resumed(pair: Pair) -> None:
    ours, _ = pair.established()
    ours.hold(pair.wire.now)
    pair.wire.run(1)
    held = pair.find(pair.bob, events.MediaChanged)
    assert isinstance(held, events.MediaChanged)
    assert held.agreed.direction == "recvonly"
    ours.resume(pair.wire.now)
    pair.wire.run(1)
    resumed = pair.bob.events[-1]
    assert isinstance(resumed, events.MediaChanged)
    assert resumed.agreed.direction == "sendrecv"


def test_a_late_repeated_answer_changes_nothing(scripted: Pair, sdp_answer: bytes) -> None:
    """It needs an ACK, but the agreement has changed since."""
    pair = scripted
    held = sdp_answer.replace(b"sendrecv", b"recvonly")
    session = pair.call()
    pair.wire.run(0.1)
    pair.reply(pair.bob.take("INVITE"), 200, body=sdp_answer)
    pair.wire.run(0.1)
    session.hold(pair.wire.now)
    pair.wire.run(0.1)
    first = pair.bob.take("INVITE")
    pair.reply(first, 200, body=held)
    pair.wire.run(0.1)
    session.resume(pair.wire.now)
    pair.wire.run(0.1)
    pair.reply(pair.bob.take("INVITE"), 200, body=sdp_answer)
    pair.wire.run(0.1)
    pair.bob.inbox.clear()
    pair.reply(first, 200, body=held)
    pair.wire.run(0.1)
    assert pair.bob.take("ACK").cseq.number == first.cseq.number
    changes = [one for one in pair.alice.events if isinstance(one, events.MediaChanged)]
    assert [change.agreed.direction for change in changes] == ["sendonly", "sendrecv"]


@pytest.mark.parametrize("offered", [True, False])
def test_a_hold_before_the_ack_waits_for_it(scripted: Pair, offered: bool) -> None:
    pair = scripted
    request = invite(body=media("10.0.0.2")(1).offer() if offered else b"")
    session = called(pair, request).session
    session.answer(media("10.0.0.1"), pair.wire.now)
    session.hold(pair.wire.now)
    pair.wire.run(0.1)
    success = pair.bob.take("200 INVITE")
    assert not [one for one in pair.bob.inbox if isinstance(one, Request)]
    ack = within(request, "ACK", 1, str(success.to))
    if not offered:
        answer, _ = media("10.0.0.2")(1).receive_offer(success.body)
        headers = ack.headers.add("Content-Type", "application/sdp")
        ack = ack.replace(headers=headers, body=answer)
    pair.bob.send(ack, pair.alice)
    pair.wire.run(0.1)
    assert b"a=sendonly" in pair.bob.take("INVITE").body


@pytest.mark.parametrize(("renewed", "method"), [(False, "BYE"), (True, None)])
def test_an_ack_without_the_due_answer_ends_a_call_without_media(
    scripted: Pair, renewed: bool, method: str | None
) -> None:
    """Without media the call ends; with media it continues."""
    pair = scripted
    request = invite(body=media("10.0.0.2")(1).offer() if renewed else b"")
    session = called(pair, request).session
    session.answer(media("10.0.0.1"), pair.wire.now)
    pair.wire.run(0.1)
    to = str(pair.bob.take("200 INVITE").to)
    pair.bob.send(within(request, "ACK", 1, to), pair.alice)
    if renewed:
        pair.bob.send(within(request, "INVITE", 2, to), pair.alice)
        pair.wire.run(0.1)
        assert pair.bob.take("200 INVITE").body
        pair.bob.send(within(request, "ACK", 2, to), pair.alice)
    pair.wire.run(0.1)
    came = [one.method for one in pair.bob.inbox if isinstance(one, Request)]
    assert came == ([] if method is None else [method])


@pytest.mark.parametrize("resumed", [False, True])
def test_a_refused_hold_is_undone(scripted: Pair, sdp_answer: bytes, resumed: bool) -> None:
    pair = scripted
    session = pair.call()
    pair.wire.run(0.1)
    pair.reply(pair.bob.take("INVITE"), 200, body=sdp_answer)
    pair.wire.run(0.1)
    session.hold(pair.wire.now)
    pair.wire.run(0.1)
    if resumed:  # Before their answer.
        session.resume(pair.wire.now)
    pair.reply(pair.bob.take("INVITE"), 403)
    pair.wire.run(0.1)
    refused = pair.find(pair.alice, events.ChangeRefused)
    if resumed:
        assert refused is None
        assert b"a=sendrecv" in pair.bob.take("INVITE").body
    else:
        assert refused == events.ChangeRefused(session, "sendrecv", 403)
        session.handle_timer("refresh", pair.wire.now)
        pair.wire.run(0.1)
        assert b"a=sendrecv" in pair.bob.take("INVITE").body
    assert session.state is SessionState.CONFIRMED


def test_glare_is_resolved(pair: Pair) -> None:
    ours, theirs = pair.established()
    ours.hold(pair.wire.now)
    theirs.hold(pair.wire.now)
    pair.wire.run(10)
    assert "491 INVITE" in pair.kinds(pair.alice)
    assert "491 INVITE" in pair.kinds(pair.bob)
    last = [peer.events[-1] for peer in (pair.alice, pair.bob)]
    assert all(isinstance(event, events.MediaChanged) for event in last)
    assert ours.state is SessionState.CONFIRMED
    assert theirs.state is SessionState.CONFIRMED


def test_a_reinvite_with_another_address_moves_the_media(pair: Pair) -> None:
    _, theirs = pair.established()
    assert theirs.dialog is not None
    offer = media("10.0.0.99", 7000)(9).offer()
    invite = theirs.dialog.request(
        "INVITE",
        pair.bob.agent.via(theirs.dialog.flow),
        headers=[("Contact", "<sip:bob@10.0.0.2>"), ("Content-Type", "application/sdp")],
        body=offer,
    )
    pair.bob.send(invite, pair.alice)
    pair.wire.run(1)
    changed = pair.find(pair.alice, events.MediaChanged)
    assert isinstance(changed, events.MediaChanged)
    assert changed.agreed.remote == ("10.0.0.99", 7000)


def test_an_offer_with_nothing_in_common_is_refused_with_488(pair: Pair) -> None:
    pair.call()
    theirs = pair.incoming()
    from spech.sip.description.offer_answer import Negotiator
    from spech.sip.description.payload_types import AudioFormat

    opus = AudioFormat("opus", "opus", 48000, None, None, 2)
    with pytest.raises(RemoteProtocolError):
        theirs.answer(lambda number: Negotiator([opus], "10.0.0.2", 5000, number), pair.wire.now)
    pair.quiet()
    assert pair.ended(pair.alice).status == 488


def test_an_invite_fails_over_to_the_next_server() -> None:
    wire = FakeWire(seed=5)
    pair = Pair(wire, bob_agent=False)
    carol = wire.peer("10.0.0.3", agent=False)
    pair.call(carol)
    wire.run(0.1)
    pair.reply(pair.bob.take("INVITE"), 503)
    wire.run(0.1)
    second = carol.take("INVITE")
    assert isinstance(second, Request)
    carol.send(response_to(second, 486, to_tag="c"), pair.alice)
    wire.run(0.1)
    assert pair.ended(pair.alice).status == 486


@pytest.mark.parametrize(("password", "status"), [("secret", 200), ("wrong", 401)])
def test_an_invite_is_authenticated(password: str, status: int) -> None:
    wire = FakeWire(seed=7)
    pair = Pair(wire)
    server = DigestServer("spech", random.Random(1), 60)
    pair.bob = wire.peer("10.0.0.2", screen=challenging(server, {"alice": "secret"}))
    pair.call(password=password)
    wire.run(2)
    if status == 200:
        theirs = pair.incoming()
        pair.answer(theirs)
        wire.run(1)
        assert pair.find(pair.alice, events.Answered) is not None
    else:
        assert pair.ended(pair.alice).status == 401
        # A password that was refused with three nonces is not retried.
        assert pair.kinds(pair.alice).count("INVITE") == 4


def test_impossible_commands_raise(pair: Pair) -> None:
    ours = pair.call()
    with pytest.raises(LocalProtocolError):
        ours.hold(pair.wire.now)
    theirs = pair.incoming()
    pair.answer(theirs)
    with pytest.raises(LocalProtocolError):
        pair.answer(theirs)


@pytest.mark.parametrize(
    ("method", "status"), [("OPTIONS", 200), ("BYE", 481), ("PUBLISH", 405), ("CANCEL", 481)]
)
def test_requests_outside_a_dialog_are_answered(scripted: Pair, method: str, status: int) -> None:
    pair = scripted
    headers = Headers(
        [
            ("Via", "SIP/2.0/UDP 10.0.0.2:5060;branch=z9hG4bK1"),
            ("Max-Forwards", "70"),
            ("From", "<sip:bob@10.0.0.2>;tag=b1"),
            ("To", "<sip:alice@10.0.0.1>"),
            ("Call-ID", "outside"),
            ("CSeq", f"1 {method}"),
        ]
    )
    pair.bob.send(Request(method, Uri.parse("sip:alice@10.0.0.1"), headers), pair.alice)
    pair.wire.run(0.1)
    response = pair.bob.take(f"{status} {method}")
    if status in (200, 405):
        assert "INVITE" in (response.headers.get("Allow") or "")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00" * 40,
        b"INVITE",
        b"SIP/2.0 200 OK\r\n\r\n",
        b"INVITE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.2;branch=z9hG4bKx\r\n\r\n",
        b"INVITE sip:a@b SIP/2.0\r\n" + b"X-Pad: 1\r\n" * 10_000 + b"\r\n",
        b"\xff\xfe INVITE sip:a@b SIP/2.0\r\n\r\n",
    ],
)
def test_garbage_is_dropped_and_counted_and_ends_no_call(pair: Pair, data: bytes) -> None:
    ours, _ = pair.established()
    agent = pair.alice.agent
    agent.receive_message(data, pair.alice.flow_to(pair.bob), pair.wire.now)
    assert sum(agent.dropped.values()) == 1
    assert any(isinstance(event, events.Malformed) for event in iter(agent.next_event, None))
    assert ours.state is SessionState.CONFIRMED
    pair.hang_up(pair.alice, ours)
    pair.quiet()


def test_the_answer_lists_our_capabilities(pair: Pair) -> None:
    """A transferor looks for "replaces" there (RFC 3261 13.3.1.4)."""
    pair.established()
    (success,) = [p.message for p in pair.wire.log if p.kind == "200 INVITE"]
    assert success.headers.values("Supported") == ["100rel", "timer", "replaces"]
