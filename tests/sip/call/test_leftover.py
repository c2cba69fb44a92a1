"""Farewells of a killed process, sent by the next one."""

from __future__ import annotations

import random

import msgspec
import pytest

from spech.sip.call.leftover import FarewellRecord, LeftoverCall
from spech.sip.call.session import Session
from spech.sip.call.states import SessionState
from spech.sip.dialog.identity import Identity
from spech.sip.message.headers import NameAddr
from spech.sip.message.message import Request, response_to
from spech.sip.message.uri import Uri
from spech.testing.wire import Peer

from ..conftest import Pair, media


def stored(record: FarewellRecord | None) -> FarewellRecord:
    """The record as read from a file."""
    assert record is not None
    text = msgspec.json.encode(record)
    assert b"secret" not in text
    return msgspec.json.decode(text, type=FarewellRecord)


class Restart:
    """Alice's process was killed, and a new one sends the farewell from the same address."""

    def __init__(self, pair: Pair, session: Session) -> None:
        self.pair = pair
        record = stored(session.farewell_record())
        self.alice: Peer = pair.wire.peer("10.0.0.1")
        agent = self.alice.agent
        address = NameAddr(Uri.parse(record.account))
        identity = Identity(address, "alice", "secret", random.Random(5))
        identity.trust([self.alice.flow_to(pair.bob)])
        self.outcome: list[int] = []
        LeftoverCall(agent, record, identity, lambda flow: flow, pair.wire.now, self.outcome.append)
        self.alice.flush()
        pair.wire.run(0.2)

    def nothing_left(self) -> None:
        self.pair.wire.run(100)
        for peer in (self.alice, self.pair.bob):
            assert peer.agent.sessions == ()
            assert peer.agent.idle
            assert peer.agent.get_timer() is None


def test_an_outgoing_call_gets_a_bye(pair: Pair) -> None:
    ours, theirs = pair.established()
    restart = Restart(pair, ours)
    assert theirs.ended is not None
    assert theirs.ended.by == "remote"
    assert restart.outcome == [200]
    restart.nothing_left()


def test_an_incoming_call_gets_a_bye(pair: Pair) -> None:
    theirs, ours = pair.established()
    pair.alice, pair.bob = pair.bob, pair.alice
    record = stored(ours.farewell_record())
    pair.alice = pair.wire.peer("10.0.0.2")
    identity = Identity(NameAddr(Uri.parse(record.account)), "bob", None, random.Random(5))
    LeftoverCall(pair.alice.agent, record, identity, lambda flow: flow, pair.wire.now)
    pair.wire.run(0.2)
    assert theirs.state is SessionState.ENDED


def test_the_bye_has_a_higher_cseq_than_unrecorded_requests(pair: Pair) -> None:
    ours, theirs = pair.established()
    record = stored(ours.farewell_record())
    ours.hold(pair.wire.now)
    pair.wire.run(0.5)
    assert ours.dialog is not None
    assert record.dialogs[0].sequence < ours.dialog.local_sequence
    alice = pair.wire.peer("10.0.0.1")
    identity = Identity(NameAddr(Uri.parse(record.account)), "alice", None, random.Random(5))
    LeftoverCall(alice.agent, record, identity, lambda flow: flow, pair.wire.now)
    pair.wire.run(0.2)
    assert "200 BYE" in pair.kinds(pair.bob)
    assert theirs.state is SessionState.ENDED


def test_the_bye_comes_after_hundreds_of_requests_in_the_dialog(pair: Pair) -> None:
    """A call that is held for hours asks for a sign of life four times a minute."""
    ours, theirs = pair.established()
    record = stored(ours.farewell_record())
    for _ in range(300):
        ours.ask_options(pair.wire.now, lambda answered, now: None)
        pair.alice.flush()
        pair.wire.run(0.1)
    alice = pair.wire.peer("10.0.0.1")
    identity = Identity(NameAddr(Uri.parse(record.account)), "alice", None, random.Random(5))
    LeftoverCall(alice.agent, record, identity, lambda flow: flow, pair.wire.now)
    pair.wire.run(0.2)
    assert theirs.state is SessionState.ENDED


def test_a_record_that_has_not_changed_is_the_same_object(pair: Pair) -> None:
    ours, _ = pair.established()
    before = ours.farewell_record()
    ours.ask_options(pair.wire.now, lambda answered, now: None)
    assert ours.farewell_record() is before
    assert ours.dialog is not None
    ours.dialog.target = Uri.parse("sip:bob@10.0.0.2:5070")
    after = ours.farewell_record()
    assert after is not None
    assert after.dialogs[0].target == "sip:bob@10.0.0.2:5070"


@pytest.mark.parametrize("ringing", [True, False])
def test_our_invite_is_cancelled(pair: Pair, ringing: bool) -> None:
    """With and without an earlier provisional response."""
    ours = pair.call()
    theirs = pair.incoming()
    if ringing:
        pair.ring(theirs)
        pair.wire.run(0.1)
    restart = Restart(pair, ours)
    assert theirs.ended is not None
    assert theirs.ended.status == 487
    assert restart.outcome == [487]
    assert pair.kinds(restart.alice)[-1] == "ACK"
    restart.nothing_left()


def test_an_answer_that_crosses_the_cancel_gets_ack_and_bye(pair: Pair) -> None:
    ours = pair.call()
    theirs = pair.incoming()
    pair.ring(theirs)
    pair.wire.run(0.1)
    theirs.answer(media("10.0.0.2", 5000), pair.wire.now)
    restart = Restart(pair, ours)
    pair.wire.run(2)
    assert theirs.state is SessionState.ENDED
    assert restart.outcome[-1] == 200
    restart.nothing_left()


@pytest.mark.parametrize("tags", [("b1",), ("b1", "b2")], ids=["one end", "two forks"])
def test_an_invite_answered_meanwhile_gets_a_bye(scripted: Pair, tags: tuple[str, ...]) -> None:
    """481 to the CANCEL: the BYE goes to the early dialogs (RFC 3261 15)."""
    pair = scripted
    ours = pair.call()
    pair.wire.run(0.1)
    invite = pair.bob.take("INVITE")
    assert isinstance(invite, Request)
    for tag in tags:
        contact = [("Contact", f"<sip:{tag}@10.0.0.2>")]
        pair.bob.send(response_to(invite, 180, to_tag=tag, headers=contact), pair.alice)
    pair.wire.run(0.1)
    restart = Restart(pair, ours)
    cancel = pair.bob.take("CANCEL")
    assert isinstance(cancel, Request)
    pair.bob.send(response_to(cancel, 481), restart.alice)
    pair.wire.run(0.1)
    for tag in tags:
        assert not restart.outcome
        bye = pair.bob.take("BYE")
        assert isinstance(bye, Request)
        assert bye.to.tag == tag
        assert str(bye.uri) == f"sip:{tag}@10.0.0.2"
        assert bye.cseq.number > invite.cseq.number
        pair.bob.send(response_to(bye, 200), restart.alice)
        pair.wire.run(0.1)
    assert restart.outcome == [200]
    pair.wire.run(100)
    assert restart.alice.agent.idle


def test_an_unknown_invite_needs_no_farewell(scripted: Pair) -> None:
    """481 to the CANCEL, and there is no early dialog."""
    pair = scripted
    ours = pair.call()
    pair.wire.run(0.1)
    restart = Restart(pair, ours)
    cancel = pair.bob.take("CANCEL")
    assert isinstance(cancel, Request)
    pair.bob.send(response_to(cancel, 481), restart.alice)
    pair.wire.run(0.1)
    assert restart.outcome == [481]
    pair.wire.run(100)
    assert restart.alice.agent.idle


def test_their_invite_is_declined(pair: Pair) -> None:
    theirs = pair.call()
    ours = pair.incoming()
    pair.ring(ours)
    pair.wire.run(0.1)
    record = stored(ours.farewell_record())
    bob = pair.wire.peer("10.0.0.2")
    identity = Identity(NameAddr(Uri.parse(record.account)), "bob", None, random.Random(5))
    LeftoverCall(bob.agent, record, identity, lambda flow: flow, pair.wire.now)
    pair.wire.run(0.2)
    assert theirs.ended is not None
    assert theirs.ended.status == 480
    pair.wire.run(100)
    assert bob.agent.idle
    assert bob.agent.get_timer() is None


@pytest.mark.parametrize("status", [401, 407])
def test_the_bye_answers_a_challenge(scripted: Pair, status: int, sdp_answer: bytes) -> None:
    pair = scripted
    ours = pair.call(password="secret")
    pair.wire.run(0.1)
    pair.reply(pair.bob.take("INVITE"), 200, body=sdp_answer)
    pair.wire.run(0.1)
    pair.bob.take("ACK")
    restart = Restart(pair, ours)
    bye = pair.bob.take("BYE")
    assert isinstance(bye, Request)
    name = "WWW-Authenticate" if status == 401 else "Proxy-Authenticate"
    challenge = [(name, 'Digest realm="pbx", nonce="n", qop="auth"')]
    pair.bob.send(response_to(bye, status, headers=challenge), restart.alice)
    pair.wire.run(0.1)
    again = pair.bob.take("BYE")
    assert isinstance(again, Request)
    assert again.cseq.number > bye.cseq.number
    assert again.headers.get("Authorization" if status == 401 else "Proxy-Authorization")
    pair.bob.send(response_to(again, 200), restart.alice)
    pair.wire.run(0.1)
    assert restart.outcome == [200]


def test_an_ended_call_has_no_record(pair: Pair) -> None:
    ours, theirs = pair.established()
    pair.hang_up(pair.alice, ours)
    assert stored(ours.farewell_record()).farewell == "BYE"  # It is not confirmed yet.
    pair.wire.run(0.1)
    assert ours.farewell_record() is None
    assert theirs.farewell_record() is None


def test_each_change_of_the_record_is_reported(pair: Pair) -> None:
    records: list[str | None] = []

    def note(session: Session) -> None:
        record = session.farewell_record()
        records.append(None if record is None else record.farewell)

    pair.alice.agent.on_session_changed = note
    ours, _ = pair.established()
    pair.hang_up(pair.alice, ours)
    pair.wire.run(0.1)
    assert list(dict.fromkeys(records)) == ["CANCEL", "BYE", None]
