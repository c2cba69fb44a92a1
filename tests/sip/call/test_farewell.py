"""The farewell table, row by row, in virtual time."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spech.sip.call.states import FAREWELL, SessionState
from spech.sip.message.message import Request
from spech.testing.wire import FakeWire

from ..conftest import Pair


def test_every_state_has_its_farewell() -> None:
    assert set(FAREWELL) == set(SessionState)


def test_the_cancel_waits_for_a_provisional_response(scripted: Pair) -> None:
    pair = scripted
    session = pair.call()
    pair.wire.run(0.1)
    pair.hang_up(pair.alice, session)
    pair.wire.run(1.0)
    assert "CANCEL" not in pair.kinds(pair.alice)
    pair.reply(pair.bob.take("INVITE"), 180)
    pair.wire.run(0.1)
    cancel = pair.bob.take("CANCEL")
    invite = next(p.message for p in pair.wire.log if p.kind == "INVITE")
    assert isinstance(cancel, Request)
    assert isinstance(invite, Request)
    # RFC 3261 9.1: same Request-URI, Call-ID, To, numeric CSeq, From and top Via.
    assert cancel.uri == invite.uri
    assert str(cancel.via) == str(invite.via)
    assert cancel.cseq.number == invite.cseq.number
    assert str(cancel.to) == str(invite.to)
    pair.reply(cancel, 200)
    pair.reply(invite, 487)
    pair.wire.run(0.1)
    pair.bob.take("ACK")
    assert pair.ended(pair.alice).by == "local"
    pair.quiet()


def test_a_call_ends_if_ringing_is_not_refreshed(scripted: Pair) -> None:
    """A far end that is alive repeats a provisional response each minute (RFC 3261 13.3.1.1)."""
    pair = scripted
    pair.call()
    pair.wire.run(0.1)
    request = pair.bob.take("INVITE")
    for _ in range(5):
        pair.reply(request, 180)
        pair.wire.run(60)
    assert "CANCEL" not in pair.kinds(pair.alice)
    pair.wire.run(120)
    assert "CANCEL" not in pair.kinds(pair.alice)
    pair.wire.run(10)
    assert "CANCEL" in pair.kinds(pair.alice)
    ended = pair.ended(pair.alice)
    assert (ended.by, ended.status) == ("local", 408)
    pair.quiet()


def test_an_unanswered_invite_ends_with_timer_b(scripted: Pair) -> None:
    scripted.wire.loss = 1.0
    session = scripted.call()
    scripted.hang_up(scripted.alice, session)
    assert not scripted.alice.agent.idle
    scripted.wire.run(33)
    assert set(scripted.kinds(scripted.alice)) == {"INVITE"}
    assert scripted.alice.agent.idle
    scripted.quiet()


def test_nobody_waits_for_the_answer_to_a_question_of_a_call_that_is_over(pair: Pair) -> None:
    ours, theirs = pair.established()
    pair.wire.loss = 1.0
    ours.ask_options(pair.wire.now, lambda alive, now: None)
    pair.wire.run(0.1)
    pair.wire.loss = 0.0
    pair.hang_up(pair.bob, theirs)
    pair.wire.run(0.1)
    assert pair.ended(pair.alice).by == "remote"
    assert pair.alice.agent.idle


def test_a_ringing_call_is_cancelled(pair: Pair) -> None:
    session = pair.call()
    pair.ring(pair.incoming())
    pair.wire.run(1)
    pair.hang_up(pair.alice, session)
    pair.quiet()
    assert pair.kinds(pair.alice) == ["INVITE", "CANCEL", "ACK"]
    assert pair.kinds(pair.bob) == ["180 INVITE", "200 CANCEL", "487 INVITE"]
    assert pair.ended(pair.bob).status == 487


def test_a_200_that_crosses_the_cancel_gets_ack_and_bye(pair: Pair) -> None:
    session = pair.call()
    theirs = pair.incoming()
    pair.ring(theirs)
    pair.wire.run(1)
    pair.answer(theirs)
    pair.hang_up(pair.alice, session)
    pair.quiet()
    kinds = pair.kinds(pair.alice)
    assert kinds == ["INVITE", "CANCEL", "ACK", "BYE"]
    assert pair.ended(pair.bob).by == "remote"


def test_a_further_fork_gets_ack_and_bye(scripted: Pair, sdp_answer: bytes) -> None:
    pair = scripted
    session = pair.call()
    pair.wire.run(0.1)
    invite = pair.bob.take("INVITE")
    pair.reply(invite, 200, "b1", sdp_answer)
    pair.reply(invite, 200, "b2", sdp_answer)
    pair.wire.run(0.1)
    assert pair.bob.take("ACK").to.tag == "b1"
    assert pair.bob.take("ACK").to.tag == "b2"
    bye = pair.bob.take("BYE")
    assert bye.to.tag == "b2"
    pair.reply(bye, 200)
    assert session.state is SessionState.CONFIRMED
    # A retransmission gets the ACK again, but no second BYE.
    pair.reply(invite, 200, "b2", sdp_answer)
    pair.wire.run(0.1)
    assert pair.bob.take("ACK").to.tag == "b2"
    assert pair.kinds(pair.alice).count("BYE") == 1
    pair.hang_up(pair.alice, session)
    pair.wire.run(0.1)
    bye = pair.bob.take("BYE")
    assert bye.to.tag == "b1"
    pair.reply(bye, 200)
    pair.quiet()


@pytest.mark.parametrize("status", [None, 486, 603])
def test_an_unanswered_incoming_call_is_declined(pair: Pair, status: int | None) -> None:
    pair.call()
    theirs = pair.incoming()
    pair.ring(theirs)
    pair.hang_up(pair.bob, theirs, status)
    pair.quiet()
    assert pair.ended(pair.alice).status == (status or 480)
    assert pair.kinds(pair.alice) == ["INVITE", "ACK"]


def test_the_bye_of_an_answered_call_waits_for_the_ack(pair: Pair) -> None:
    pair.call()
    theirs = pair.incoming()
    pair.answer(theirs)
    pair.hang_up(pair.bob, theirs)
    assert "BYE" not in pair.kinds(pair.bob)
    pair.quiet()
    assert pair.kinds(pair.bob)[-1] == "BYE"
    assert pair.ended(pair.alice).by == "remote"


def test_an_answered_call_without_ack_gets_a_bye_after_64_t1(pair: Pair) -> None:
    pair.bob.agent.is_known_peer = lambda host: True  # A stranger gets fewer copies.
    pair.wire.drop = lambda packet: packet.kind == "ACK"
    pair.call()
    theirs = pair.incoming()
    pair.answer(theirs)
    start = pair.wire.now
    pair.wire.run_until(lambda: "BYE" in pair.kinds(pair.bob))
    assert pair.wire.now - start == pytest.approx(32, abs=0.1)
    # 2xx repeated at 0.5, 1.5, 3.5, then every 4 s (RFC 3261 13.3.1.4).
    assert pair.kinds(pair.bob).count("200 INVITE") == 11
    pair.quiet()
    assert pair.ended(pair.alice).by == "remote"


@pytest.mark.parametrize("who", ["alice", "bob"])
def test_a_confirmed_call_is_ended_with_bye(pair: Pair, who: str) -> None:
    ours, theirs = pair.established()
    peer, session = (pair.alice, ours) if who == "alice" else (pair.bob, theirs)
    pair.hang_up(peer, session)
    pair.hang_up(peer, session)
    pair.quiet()
    assert pair.kinds(peer).count("BYE") == 1
    assert pair.ended(pair.alice).by == ("local" if who == "alice" else "remote")
    assert pair.ended(pair.bob).by == ("remote" if who == "alice" else "local")


def test_crossing_byes_are_both_answered(pair: Pair) -> None:
    ours, theirs = pair.established()
    pair.hang_up(pair.alice, ours)
    pair.hang_up(pair.bob, theirs)
    pair.quiet()
    assert "200 BYE" in pair.kinds(pair.alice)
    assert "200 BYE" in pair.kinds(pair.bob)


@pytest.mark.parametrize("who", ["alice", "bob"])
def test_a_bye_is_sent_during_a_reinvite(pair: Pair, who: str) -> None:
    ours, theirs = pair.established()
    ours.hold(pair.wire.now)
    pair.alice.flush()
    peer, session = (pair.alice, ours) if who == "alice" else (pair.bob, theirs)
    pair.hang_up(peer, session)
    pair.quiet()
    assert "BYE" in pair.kinds(peer)


def test_the_bye_to_a_dead_far_end_times_out(pair: Pair) -> None:
    ours, _ = pair.established()
    pair.wire.loss = 1.0
    pair.hang_up(pair.alice, ours)
    pair.wire.run(33)
    # Timer E: 0.5, 1.5, 3.5, then every 4 s until 32 s are over.
    assert pair.kinds(pair.alice).count("BYE") == 11
    assert pair.alice.agent.sessions == ()


WORDS = st.sampled_from(["ring", "answer", "hold", "resume", "alice", "bob", "wait", "long wait"])


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 2**32),
    words=st.lists(WORDS, max_size=8),
    loss=st.sampled_from([0.0, 0.1, 0.3]),
)
def test_both_ends_agree_that_a_call_is_over_on_a_bad_network(
    seed: int, words: list[str], loss: float
) -> None:
    """On a network with loss, duplication and reordering: both ends end the call, nothing leaks."""
    wire = FakeWire(seed, loss=loss, duplication=0.2, delay=(0.005, 0.8))
    pair = Pair(wire)
    ours = pair.call()
    for word in words:
        theirs = next((e.session for e in pair.bob.events if hasattr(e, "session")), None)
        now = wire.now
        if word == "wait":
            wire.run(0.3)
        elif word == "long wait":
            wire.run(5)
        elif word == "alice":
            pair.hang_up(pair.alice, ours)
        elif word in ("hold", "resume") and ours.state is SessionState.CONFIRMED:
            getattr(ours, word)(now)
        elif theirs is not None and word == "bob":
            pair.hang_up(pair.bob, theirs)
        elif theirs is not None and theirs.state is SessionState.INCOMING and word == "ring":
            pair.ring(theirs)
        elif theirs is not None and theirs.state is SessionState.INCOMING and word == "answer":
            pair.answer(theirs)
        wire.run(0.05)
    pair.alice.agent.close(wire.now)
    wire.run(100)
    pair.bob.agent.close(wire.now)
    pair.quiet()
    for peer in (pair.alice, pair.bob):
        if any(hasattr(event, "session") for event in peer.events):
            pair.ended(peer)


def test_what_the_other_end_has_not_confirmed_is_named(pair: Pair) -> None:
    """A phone that never registered has no registration to remove."""
    ours, _ = pair.established()
    pair.wire.loss = 1.0
    pair.alice.agent.close(pair.wire.now)
    pair.wire.run(5)
    assert pair.alice.agent.unconfirmed == [f"call {ours.call_id}"]
