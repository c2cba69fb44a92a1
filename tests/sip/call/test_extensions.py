"""Reliable provisional responses (RFC 3262), UPDATE (RFC 3311), session timers (RFC 4028), 3xx."""

from __future__ import annotations

import pytest

from spech.sip import events
from spech.sip.call.states import SessionState
from spech.sip.message.message import Request, response_to
from spech.testing.wire import FakeWire

from ..conftest import Pair, called, invite, media, within

# ---------------------------------------------------------------------- 100rel


def test_a_reliable_provisional_response_gets_its_prack(scripted: Pair, sdp_answer: bytes) -> None:
    pair = scripted
    pair.call()
    pair.wire.run(0.1)
    request = pair.bob.take("INVITE")
    assert isinstance(request, Request)
    assert "100rel" in request.headers.values("Supported")
    headers = [("Contact", "<sip:bob@10.0.0.2>"), ("Require", "100rel"), ("RSeq", "71")]
    ringing = response_to(
        request, 183, to_tag="b1", headers=headers, body=sdp_answer, content_type="application/sdp"
    )
    pair.bob.send(ringing, pair.alice)
    pair.bob.send(ringing, pair.alice)  # A retransmission gets no PRACK.
    pair.wire.run(0.1)
    prack = pair.bob.take("PRACK")
    assert prack.headers.get("RAck") == f"71 {request.cseq.number} INVITE"
    assert prack.to.tag == "b1"
    pair.reply(prack, 200)
    pair.wire.run(0.1)
    assert [type(event) for event in pair.alice.events] == [events.EarlyMedia]
    with pytest.raises(LookupError):
        pair.bob.take("PRACK")
    pair.reply(request, 200)
    pair.wire.run(0.1)
    assert pair.bob.take("ACK").cseq.number == request.cseq.number


def test_a_required_reliable_180_is_repeated_until_the_prack(scripted: Pair) -> None:
    pair = scripted
    request = invite(("Require", "100rel"), body=media("10.0.0.2", 5000)(1).offer())
    session = called(pair, request).session
    session.ring(pair.wire.now)
    pair.wire.run(4)
    assert pair.kinds(pair.alice).count("180 INVITE") == 4  # At 0, 0.5, 1.5 and 3.5 s.
    ringing = pair.bob.take("180 INVITE")
    number = ringing.headers.get("RSeq") or ""
    wrong = within(request, "PRACK", 2, str(ringing.to), ("RAck", f"{int(number) + 1} 1 INVITE"))
    pair.bob.send(wrong, pair.alice)
    right = within(request, "PRACK", 3, str(ringing.to), ("RAck", f"{number} 1 INVITE"))
    pair.bob.send(right, pair.alice)
    pair.wire.run(0.1)
    pair.bob.take("481 PRACK")
    pair.bob.take("200 PRACK")
    sent = pair.kinds(pair.alice).count("180 INVITE")
    pair.wire.run(20)
    assert pair.kinds(pair.alice).count("180 INVITE") == sent


def test_a_later_reliable_180_has_the_next_rseq(scripted: Pair) -> None:
    """The caller ignores any other number (RFC 3262 4), and the call would end without a PRACK."""
    pair = scripted
    request = invite(("Require", "100rel"), body=media("10.0.0.2", 5000)(1).offer())
    session = called(pair, request).session
    session.ring(pair.wire.now)
    numbers = []
    for sequence in (2, 3, 4):
        pair.wire.run(0.1)
        ringing = pair.bob.take("180 INVITE")
        numbers.append(int(ringing.headers.get("RSeq") or ""))
        acknowledged = ("RAck", f"{numbers[-1]} 1 INVITE")
        prack = within(request, "PRACK", sequence, str(ringing.to), acknowledged)
        pair.bob.send(prack, pair.alice)
        pair.wire.run(0.1)
        pair.bob.take("200 PRACK")
        pair.wire.run(59.9)
    assert numbers == [numbers[0], numbers[0] + 1, numbers[0] + 2]


def test_without_a_prack_the_call_is_refused(scripted: Pair) -> None:
    pair = scripted
    request = invite(("Require", "100rel"), body=media("10.0.0.2", 5000)(1).offer())
    session = called(pair, request).session
    session.ring(pair.wire.now)
    pair.wire.run(40)
    assert pair.kinds(pair.alice).count("504 INVITE") > 0
    assert session.state is SessionState.ENDED


def test_unknown_required_extensions_are_refused(scripted: Pair) -> None:
    scripted.bob.send(invite(("Require", "100rel, telepathy")), scripted.alice)
    scripted.wire.run(0.1)
    assert scripted.bob.take("420 INVITE").headers.get("Unsupported") == "telepathy"


# ---------------------------------------------------------------------- UPDATE


def test_an_update_changes_the_media_without_an_ack(pair: Pair) -> None:
    _, theirs = pair.established()
    assert theirs.dialog is not None
    update = theirs.dialog.request(
        "UPDATE",
        pair.bob.agent.via(theirs.dialog.flow),
        headers=[("Contact", "<sip:bob@10.0.0.2>"), ("Content-Type", "application/sdp")],
        body=media("10.0.0.77", 7700)(9).offer(),
    )
    pair.bob.send(update, pair.alice)
    pair.wire.run(1)
    changed = pair.find(pair.alice, events.MediaChanged)
    assert isinstance(changed, events.MediaChanged)
    assert changed.agreed.remote == ("10.0.0.77", 7700)
    assert "200 UPDATE" in pair.kinds(pair.alice)


def test_an_update_before_the_answer_is_put_off(scripted: Pair) -> None:
    pair = scripted
    request = invite(body=media("10.0.0.2", 5000)(1).offer())
    session = called(pair, request).session
    session.ring(pair.wire.now)
    pair.wire.run(0.1)
    to = str(pair.bob.take("180 INVITE").to)
    update = within(request, "UPDATE", 2, to, ("Content-Type", "application/sdp"))
    pair.bob.send(update.replace(body=media("10.0.0.2", 5002)(1).offer()), pair.alice)
    pair.wire.run(0.1)
    assert pair.bob.take("500 UPDATE").headers.get("Retry-After")


def test_an_update_without_an_offer_needs_no_answer(scripted: Pair) -> None:
    """It may refresh the target while we ring (RFC 3311 5.2)."""
    pair = scripted
    request = invite(body=media("10.0.0.2", 5000)(1).offer())
    session = called(pair, request).session
    session.ring(pair.wire.now)
    pair.wire.run(0.1)
    to = str(pair.bob.take("180 INVITE").to)
    update = within(request, "UPDATE", 2, to)
    headers = update.headers.set("Contact", "<sip:bob@10.0.0.2:5060;x=y>")
    pair.bob.send(update.replace(headers=headers), pair.alice)
    pair.wire.run(0.1)
    assert pair.bob.take("200 UPDATE").contact is not None
    assert session.dialog is not None
    assert session.dialog.target.parameter("x") == "y"


@pytest.mark.parametrize(
    ("reliable", "body", "answer"),
    [
        (True, media("10.0.0.77", 7700)(9).offer(), "200 UPDATE"),
        (True, b"v=0\r\nnonsense\r\n", "400 UPDATE"),
        (False, media("10.0.0.77", 7700)(9).offer(), "491 UPDATE"),
        (False, b"", "200 UPDATE"),
    ],
)
def test_an_update_changes_early_media(
    scripted: Pair, sdp_answer: bytes, reliable: bool, body: bytes, answer: str
) -> None:
    """Another offer may arrive as soon as ours has its final answer (RFC 3311 5.1)."""
    pair = scripted
    pair.call()
    pair.wire.run(0.1)
    request = pair.bob.take("INVITE")
    assert isinstance(request, Request)
    headers = [("Contact", "<sip:bob@10.0.0.2>")]
    headers += [("Require", "100rel"), ("RSeq", "71")] if reliable else []
    progress = response_to(
        request, 183, to_tag="b1", headers=headers, body=sdp_answer, content_type="application/sdp"
    )
    pair.bob.send(progress, pair.alice)
    pair.wire.run(0.1)
    more = [("Contact", "<sip:bob@10.0.0.2>")]
    if body:
        more.append(("Content-Type", "application/sdp"))
    pair.ask("UPDATE", progress, *more, body=body)
    pair.wire.run(0.1)
    response = pair.bob.take(answer)
    assert response.to.tag == request.from_.tag
    changed = pair.find(pair.alice, events.MediaChanged)
    if answer == "200 UPDATE" and body:
        assert isinstance(changed, events.MediaChanged)
        assert changed.agreed.remote == ("10.0.0.77", 7700)
        # The answer to the INVITE changes nothing; the last agreement stays.
        pair.reply(request, 200)
        pair.wire.run(0.1)
        answered = pair.find(pair.alice, events.Answered)
        assert isinstance(answered, events.Answered)
        assert answered.agreed == changed.agreed
    else:
        assert changed is None


def test_an_answer_in_a_reliable_response_is_final(scripted: Pair, sdp_answer: bytes) -> None:
    """RFC 3261 13.2.1: any further description of the same INVITE is ignored."""
    pair = scripted
    session = pair.call()
    pair.wire.run(0.1)
    request = pair.bob.take("INVITE")
    assert isinstance(request, Request)
    headers = [("Contact", "<sip:bob@10.0.0.2>"), ("Require", "100rel"), ("RSeq", "71")]
    for number, body in ((71, sdp_answer), (72, b"v=0\r\nnonsense\r\n")):
        headers[-1] = ("RSeq", str(number))
        progress = response_to(
            request, 183, to_tag="b1", headers=headers, body=body, content_type="application/sdp"
        )
        pair.bob.send(progress, pair.alice)
        pair.wire.run(0.1)
        pair.bob.take("PRACK")
    pair.reply(request, 200, body=media("10.0.0.99", 9900)(1).receive_offer(request.body)[0])
    pair.wire.run(0.1)
    answered = pair.find(pair.alice, events.Answered)
    assert isinstance(answered, events.Answered)
    assert answered.agreed is not None
    assert answered.agreed.remote == ("10.0.0.2", 5000)
    assert session.state is SessionState.CONFIRMED


@pytest.mark.parametrize(
    ("invited", "updated", "status"),
    [
        (True, True, 200),  # Our 200 completes offer and answer.
        (True, False, 200),
        (False, True, 491),  # The offer in our 200 waits for the answer in the ACK.
        (False, False, 200),
    ],
)
def test_an_update_before_the_ack_is_answered(
    scripted: Pair, invited: bool, updated: bool, status: int
) -> None:
    """RFC 3311 5.2."""
    pair = scripted
    offer = media("10.0.0.2", 5000)(1).offer()
    request = invite(body=offer if invited else b"")
    session = called(pair, request).session
    session.answer(media("10.0.0.1"), pair.wire.now)
    pair.wire.run(0.1)
    to = str(pair.bob.take("200 INVITE").to)
    more = [("Content-Type", "application/sdp")] if updated else []
    update = within(request, "UPDATE", 2, to, *more)
    pair.bob.send(
        update.replace(body=media("10.0.0.77", 7700)(1).offer() if updated else b""), pair.alice
    )
    pair.wire.run(0.1)
    pair.bob.take(f"{status} UPDATE")
    answer = b"" if invited else media("10.0.0.2", 5000)(1).receive_offer(offer)[0]
    ack = within(request, "ACK", 1, to, *([("Content-Type", "application/sdp")] if answer else []))
    pair.bob.send(ack.replace(body=answer), pair.alice)
    pair.wire.run(0.1)
    assert session.state is SessionState.CONFIRMED
    changes = [one for one in pair.alice.events if isinstance(one, events.MediaChanged)]
    assert len(changes) == (invited and updated) + (not invited)


# ---------------------------------------------------------------------- session timers


def test_two_agents_keep_a_call_alive_for_hours(pair: Pair) -> None:
    ours, theirs = pair.established()
    assert ours.timer.interval == 1800
    assert ours.timer.ours
    assert not theirs.timer.ours
    pair.wire.run(3 * 3600)
    assert ours.state is SessionState.CONFIRMED
    assert theirs.state is SessionState.CONFIRMED
    assert pair.kinds(pair.alice).count("UPDATE") == 12  # Every 900 s.
    pair.hang_up(pair.alice, ours)
    pair.quiet()


def test_a_call_ends_when_the_caller_stops_refreshing(pair: Pair) -> None:
    _, theirs = pair.established()
    pair.wire.loss = 1.0
    pair.wire.run(1800 - 32 + 1)
    assert pair.ended(pair.bob).reason == "Session expired"
    assert pair.ended(pair.bob).by == "local"
    pair.wire.run(60)
    assert theirs.state is SessionState.ENDED


def test_too_small_an_interval_is_lengthened(scripted: Pair, sdp_answer: bytes) -> None:
    pair = scripted
    session = pair.call()
    pair.wire.run(0.1)
    first = pair.bob.take("INVITE")
    assert isinstance(first, Request)
    pair.bob.send(response_to(first, 422, to_tag="b", headers=[("Min-SE", "3600")]), pair.alice)
    pair.wire.run(0.1)
    second = pair.bob.take("INVITE")
    assert second.headers.get("Session-Expires") == "3600"
    assert second.headers.get("Min-SE") == "3600"
    assert isinstance(second, Request)
    headers = [
        ("Contact", "<sip:bob@10.0.0.2>"),
        ("Session-Expires", "3600;refresher=uas"),
        ("Require", "timer"),
    ]
    success = response_to(
        second, 200, to_tag="b", headers=headers, body=sdp_answer, content_type="application/sdp"
    )
    pair.bob.send(success, pair.alice)
    pair.wire.run(0.1)
    assert (session.timer.interval, session.timer.ours) == (3600, False)


def test_a_too_small_interval_of_the_caller_is_refused_with_422(scripted: Pair) -> None:
    pair = scripted
    body = media("10.0.0.2", 5000)(1).offer()
    request = invite(("Supported", "timer"), ("Session-Expires", "30"), body=body)
    pair.bob.send(request, pair.alice)
    pair.wire.run(0.1)
    assert pair.bob.take("422 INVITE").headers.get("Min-SE") == "90"
    assert pair.find(pair.alice, events.InviteReceived) is None


# ---------------------------------------------------------------------- redirection


def test_a_redirection_is_followed_to_the_preferred_target() -> None:
    wire = FakeWire(seed=8)
    pair = Pair(wire, bob_agent=False)
    carol = wire.peer("10.0.0.3", agent=False)
    session = pair.call()
    wire.run(0.1)
    request = pair.bob.take("INVITE")
    assert isinstance(request, Request)
    contacts = [("Contact", "<sip:x@10.0.0.9>;q=0.1, <sip:carol@10.0.0.3>;q=0.8")]
    pair.bob.send(response_to(request, 302, to_tag="b", headers=contacts), pair.alice)
    wire.run(0.1)
    event = pair.find(pair.alice, events.Redirected)
    assert isinstance(event, events.Redirected)
    assert [str(target) for target in event.targets] == ["sip:carol@10.0.0.3", "sip:x@10.0.0.9"]
    flows = [pair.alice.flow_to(carol)]
    session.redirect(event.targets[0], flows, wire.now)
    wire.run(0.1)
    second = carol.take("INVITE")
    assert isinstance(second, Request)
    assert str(second.uri) == "sip:carol@10.0.0.3"
    assert second.to == request.to  # RFC 3261 8.1.3.4
    assert second.call_id == request.call_id
    assert second.cseq.number == request.cseq.number + 1


def test_hanging_up_between_two_targets_leaks_nothing(scripted: Pair) -> None:
    pair = scripted
    session = pair.call()
    pair.wire.run(0.1)
    request = pair.bob.take("INVITE")
    assert isinstance(request, Request)
    contacts = [("Contact", "<sip:carol@10.0.0.3>")]
    pair.bob.send(response_to(request, 302, to_tag="b", headers=contacts), pair.alice)
    pair.wire.run(0.1)
    pair.hang_up(pair.alice, session)
    pair.quiet()
    assert pair.ended(pair.alice).by == "local"
