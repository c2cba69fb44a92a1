"""Early media in a call that comes in: 183 with a description, then the answer."""

from __future__ import annotations

import pytest

from spech.errors import LocalProtocolError
from spech.sip import events
from spech.sip.call.session import Session
from spech.sip.call.states import SessionState
from spech.sip.message.message import Response

from ..conftest import Pair, called, invite, media, within


def begin(pair: Pair, session: Session) -> None:
    session.begin_early_media(media("10.0.0.2", 5000), pair.wire.now)
    pair.bob.flush()


def test_the_caller_hears_sound_before_the_answer_and_the_same_after_it(pair: Pair) -> None:
    ours = pair.call()
    theirs = pair.incoming()
    pair.ring(theirs)
    pair.wire.run(1)
    begin(pair, theirs)
    pair.wire.run(1)
    early = pair.find(pair.alice, events.EarlyMedia)
    assert isinstance(early, events.EarlyMedia)
    assert (early.status, early.agreed.remote) == (183, ("10.0.0.2", 5000))
    assert theirs.state is SessionState.INCOMING
    mine = pair.find(pair.bob, events.EarlyMedia)
    assert isinstance(mine, events.EarlyMedia)
    pair.answer(theirs)
    pair.wire.run(1)
    answered = pair.find(pair.bob, events.Answered)
    assert isinstance(answered, events.Answered)
    assert answered.agreed == mine.agreed
    assert ours.is_up
    assert theirs.is_up
    bodies = [
        packet.message.body
        for packet in pair.wire.log
        if packet.kind in ("183 INVITE", "200 INVITE")
    ]
    assert len(bodies) == 2
    assert bodies[0] == bodies[1] != b""


def test_a_minute_later_it_is_sent_again(pair: Pair) -> None:
    pair.call()
    theirs = pair.incoming()
    begin(pair, theirs)
    pair.wire.run(130)
    assert pair.kinds(pair.bob).count("183 INVITE") == 3
    assert "180 INVITE" not in pair.kinds(pair.bob)


def test_it_can_be_declined(pair: Pair) -> None:
    pair.call()
    theirs = pair.incoming()
    begin(pair, theirs)
    pair.wire.run(1)
    pair.hang_up(pair.bob, theirs, 486)
    pair.wire.run(1)
    assert pair.ended(pair.alice).status == 486
    pair.quiet()


def test_the_caller_can_give_up(pair: Pair) -> None:
    ours = pair.call()
    theirs = pair.incoming()
    begin(pair, theirs)
    pair.wire.run(1)
    pair.hang_up(pair.alice, ours)
    pair.wire.run(1)
    assert pair.ended(pair.bob).by == "remote"
    pair.quiet()


def test_without_an_offer_there_is_no_early_media(scripted: Pair) -> None:
    session = called(scripted, invite()).session
    with pytest.raises(LocalProtocolError, match="no offer"):
        session.begin_early_media(media("10.0.0.1"), scripted.wire.now)
    session.answer(media("10.0.0.1"), scripted.wire.now)


def test_a_required_reliable_183_follows_the_prack_and_describes_the_media_once(
    scripted: Pair,
) -> None:
    pair = scripted
    request = invite(("Require", "100rel"), body=media("10.0.0.2", 5000)(1).offer())
    session = called(pair, request).session
    session.ring(pair.wire.now)
    session.begin_early_media(media("10.0.0.1"), pair.wire.now)
    pair.wire.run(0.1)
    ringing = pair.bob.take("180 INVITE")
    assert "183 INVITE" not in pair.kinds(pair.alice)
    number = int(ringing.headers.get("RSeq") or "")
    acknowledged = ("RAck", f"{number} 1 INVITE")
    pair.bob.send(within(request, "PRACK", 2, str(ringing.to), acknowledged), pair.alice)
    pair.wire.run(0.1)
    progress = pair.bob.take("183 INVITE")
    assert progress.headers.get("RSeq") == str(number + 1)
    assert progress.body
    acknowledged = ("RAck", f"{number + 1} 1 INVITE")
    pair.bob.send(within(request, "PRACK", 3, str(ringing.to), acknowledged), pair.alice)
    pair.wire.run(0.1)
    session.answer(media("10.0.0.1"), pair.wire.now)
    pair.wire.run(0.1)
    answer = pair.bob.take("200 INVITE")
    assert isinstance(answer, Response)
    assert answer.body == b""  # RFC 3261 13.2.1: there is one answer.
