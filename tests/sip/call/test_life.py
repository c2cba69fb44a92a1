"""OPTIONS within a call, and early media, as signs of life."""

from __future__ import annotations

from spech.sip.call.states import SessionState

from ..conftest import Pair


def test_an_answer_to_options_is_a_sign_of_life(pair: Pair) -> None:
    ours, _ = pair.established()
    answers: list[bool] = []
    ours.ask_options(pair.wire.now, lambda answered, now: answers.append(answered))
    pair.alice.flush()
    pair.wire.run(1)
    assert answers == [True]
    assert ours.is_up


def test_unanswered_options_do_not_end_the_call(pair: Pair) -> None:
    ours, _ = pair.established()
    answers: list[bool] = []
    pair.wire.loss = 1.0
    ours.ask_options(pair.wire.now, lambda answered, now: answers.append(answered))
    pair.alice.flush()
    pair.wire.run(40)
    assert answers == [False]
    assert ours.is_up


def test_a_481_to_options_ends_the_call(pair: Pair) -> None:
    """For example, after a restart (RFC 3261 12.2.1.2)."""
    ours, theirs = pair.established()
    del pair.bob.agent._sessions[theirs.call_id, theirs.local_tag]
    ours.ask_options(pair.wire.now, lambda answered, now: None)
    pair.alice.flush()
    pair.wire.run(1)
    ended = pair.ended(pair.alice)
    assert (ended.by, ended.status) == ("remote", 481)
    assert "BYE" not in pair.kinds(pair.alice)


def test_early_media_keeps_a_call_without_further_responses(scripted: Pair) -> None:
    session = scripted.call()
    scripted.wire.run(0.1)
    scripted.reply(scripted.bob.take("INVITE"), 183)
    for _ in range(20):
        scripted.wire.run(60)
        session.hear_early_media(scripted.wire.now)
    assert session.state is SessionState.RINGING
    scripted.wire.run(184)
    assert session.state is SessionState.RINGING
    scripted.wire.run(2)
    assert session.state is SessionState.CANCELLING
