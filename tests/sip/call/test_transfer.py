"""Transfers between pure user agents: REFER (RFC 3515), Referred-By (3892), Replaces (3891)."""

from __future__ import annotations

import pytest

from spech.errors import LocalProtocolError, RemoteProtocolError
from spech.sip import events
from spech.sip.call.replaces import Replaces, embedded
from spech.sip.call.states import SessionState
from spech.sip.message.message import Response
from spech.sip.message.uri import Uri
from spech.testing.wire import FakeWire

from ..conftest import Pair, invite, media
from .conftest import CAROL, Three, attended, referred

# ---------------------------------------------------------------------- REFER


def test_a_blind_transfer_succeeds(three: Three) -> None:
    ours, _ = referred(three)
    new = three.follow()
    three.at_carol().ring(three.wire.now)
    three.wire.run(0.5)
    three.carol_answers()
    assert three.progress() == [100, 180, 200]
    last = [e for e in three.alice.events if isinstance(e, events.TransferProgress)][-1]
    assert last.transfer.over
    assert (last.transfer.status, last.transfer.reason) == (200, "OK")
    assert new.state is SessionState.CONFIRMED
    invite = three.at_carol().invited_by
    assert invite is not None
    assert invite.headers.get("Referred-By") == "<sip:alice@10.0.0.1>"
    three.hang_up(three.alice, ours)
    three.hang_up(three.bob, new)
    three.nothing_left()


def test_the_refer_and_its_response_have_the_required_headers(three: Three) -> None:
    referred(three)
    refer = next(p.message for p in three.wire.log if p.kind == "REFER")
    assert refer.headers.get("Refer-To") == "<sip:carol@10.0.0.3>"
    assert refer.contact is not None
    accepted = next(p.message for p in three.wire.log if p.kind == "202 REFER")
    assert accepted.contact is not None
    notify = next(p.message for p in three.wire.log if p.kind == "NOTIFY")
    assert notify.headers.get("Event") == f"refer;id={refer.cseq.number}"
    assert (notify.headers.get("Subscription-State") or "").startswith("active;expires=")
    assert notify.headers.get("Content-Type") == "message/sipfrag;version=2.0"


def test_a_refer_is_declined_if_the_program_takes_none(three: Three) -> None:
    ours, theirs = three.established()
    three.refer(ours)
    three.wire.run(1)
    event = three.find(three.alice, events.TransferProgress)
    assert isinstance(event, events.TransferProgress)
    assert (event.transfer.status, event.transfer.over) == (603, True)
    assert ours.state is SessionState.CONFIRMED
    assert theirs.state is SessionState.CONFIRMED
    three.refer(ours)  # Another attempt is allowed.
    three.wire.run(1)


def test_a_refer_that_comes_before_the_program_takes_transfers_waits_for_it(three: Three) -> None:
    ours, theirs = three.established()
    three.refer(ours)
    three.wire.run(0.3)
    theirs.take_transfers(three.wire.now)
    three.wire.run(0.1)
    assert isinstance(three.find(three.bob, events.TransferRequested), events.TransferRequested)
    assert three.progress() == [100]


def test_a_refer_that_waits_is_answered_when_the_call_ends(three: Three) -> None:
    ours, theirs = three.established()
    three.refer(ours)
    three.wire.run(0.1)
    three.hang_up(three.bob, theirs)
    three.wire.run(0.1)
    assert [p.kind for p in three.wire.log if p.kind.endswith(" REFER")] == ["603 REFER"]
    three.nothing_left()


def test_the_program_can_decline_a_refer(three: Three) -> None:
    ours, _ = referred(three)
    event = three.find(three.bob, events.TransferRequested)
    assert isinstance(event, events.TransferRequested)
    event.referral.decline(603, three.wire.now)
    three.wire.run(1)
    assert three.progress()[-1] == 603
    assert ours.state is SessionState.CONFIRMED
    notify = [p.message for p in three.wire.log if p.kind == "NOTIFY"][-1]
    assert notify.headers.get("Subscription-State") == "terminated;reason=noresource"


def test_the_call_continues_if_the_target_is_busy(three: Three) -> None:
    ours, theirs = referred(three)
    three.follow()
    three.at_carol().hang_up(three.wire.now, status=486)
    three.wire.run(1)
    assert three.progress() == [100, 486]
    assert ours.is_up
    assert theirs.is_up


def test_the_transferor_may_hang_up_at_once(three: Three) -> None:
    """RFC 5589 6.1: the subscription outlives the call."""
    ours, theirs = referred(three)
    three.hang_up(three.alice, ours)
    three.wire.run(0.1)
    assert theirs.state is SessionState.ENDED
    three.follow()
    three.carol_answers()
    assert three.find(three.carol, events.Answered) is not None
    assert three.progress()[-1] == 200
    assert "481 NOTIFY" in three.kinds(three.alice)  # It is not retransmitted afterwards.


def test_a_bye_without_an_outcome_counts_as_success(three: Three) -> None:
    ours, theirs = referred(three)
    three.hang_up(three.bob, theirs)
    three.wire.run(0.1)
    last = [e for e in three.alice.events if isinstance(e, events.TransferProgress)][-1]
    assert (last.transfer.status, last.transfer.over) == (200, True)
    assert ours.state is SessionState.ENDED


def test_a_bye_overtaken_by_a_notify_is_sent_again(three: Three) -> None:
    """It arrives out of order, and is refused with 500 (RFC 3261 12.2.2)."""
    ours, theirs = referred(three)
    three.wire.drop = lambda packet: packet.kind == "BYE" and three.wire.now < started + 0.3
    started = three.wire.now
    three.hang_up(three.bob, theirs)
    three.follow()
    three.carol_answers()
    three.wire.run(2)
    assert "500 BYE" in three.kinds(three.alice)
    assert ours.state is SessionState.ENDED
    assert three.ended(three.alice).by == "remote"
    assert len({p.data for p in three.wire.log if p.kind == "BYE"}) == 2


def test_an_undecided_refer_expires(three: Three) -> None:
    referred(three)
    three.wire.run(200)
    assert three.progress() == [100, 408]


def test_only_one_transfer_at_a_time_is_possible(three: Three) -> None:
    ours, _ = referred(three)
    with pytest.raises(LocalProtocolError, match="already"):
        three.refer(ours)
    ringing = three.call()
    with pytest.raises(LocalProtocolError, match="is up"):
        three.refer(ringing)


@pytest.mark.parametrize("seed", range(20))
def test_a_transfer_succeeds_on_a_bad_network(seed: int) -> None:
    three = Three(FakeWire(seed=seed, duplication=0.2, delay=(0.01, 0.2)))
    ours, theirs = three.established()
    theirs.takes_transfers = True
    three.wire.loss = 0.3
    three.refer(ours)
    wire = three.wire
    assert wire.run_until(lambda: three.find(three.bob, events.TransferRequested) is not None)
    new = three.follow()
    assert wire.run_until(lambda: three.find(three.carol, events.InviteReceived) is not None)
    three.at_carol().answer(media("10.0.0.3", 6000), wire.now)
    assert wire.run_until(
        lambda: any(
            isinstance(e, events.TransferProgress) and e.transfer.over for e in three.alice.events
        )
    )
    last = [e for e in three.alice.events if isinstance(e, events.TransferProgress)][-1]
    assert last.transfer.status == 200
    wire.loss = 0.0
    wire.run(40)
    three.hang_up(three.alice, ours)
    three.hang_up(three.bob, new)
    three.nothing_left()


@pytest.mark.parametrize(
    ("value", "status"),
    [
        ("<sip:carol@10.0.0.3>, <sip:dave@10.0.0.4>", 400),
        ("nonsense <", 400),
        ("<mailto:carol@example.org>", 603),
        ("<sip:carol@10.0.0.3;method=BYE>", 603),
        ("<sip:carol@10.0.0.3?Replaces=nothing>", 400),
        (None, 400),
    ],
)
def test_a_refer_without_a_valid_target_is_refused(
    three: Three, value: str | None, status: int
) -> None:
    ours, theirs = three.established()
    ours.takes_transfers = True
    assert theirs.dialog is not None
    headers = [("Contact", "<sip:bob@10.0.0.2>")]
    if value is not None:
        headers.append(("Refer-To", value))
    via = three.bob.agent.via(theirs.dialog.flow)
    three.bob.send(theirs.dialog.request("REFER", via, headers=headers), three.alice)
    three.wire.run(0.1)
    assert f"{status} REFER" in three.kinds(three.alice)
    assert three.find(three.alice, events.TransferRequested) is None


def test_the_refer_subscription_can_be_refreshed_and_ended(three: Three) -> None:
    ours, _ = referred(three)
    assert ours.dialog is not None

    def subscribe(expires: int, event: str = "refer") -> Response:
        assert ours.dialog is not None
        via = three.alice.agent.via(ours.dialog.flow)
        headers = [("Event", event), ("Expires", str(expires))]
        three.alice.send(ours.dialog.request("SUBSCRIBE", via, headers=headers), three.bob)
        three.wire.run(0.1)
        return next(
            m
            for p in reversed(three.wire.log)
            if isinstance(m := p.message, Response) and m.cseq.method == "SUBSCRIBE"
        )

    assert subscribe(60).headers.get("Expires") == "60"
    assert subscribe(60, "refer;id=999").status == 481
    assert subscribe(60, "conference").status == 489
    assert subscribe(0).status == 200
    assert subscribe(60).status == 481
    assert three.progress() == [100, 100, 100]
    last = [p.message for p in three.wire.log if p.kind == "NOTIFY"][-1]
    assert (last.headers.get("Subscription-State") or "").startswith("terminated")


@pytest.mark.parametrize(
    ("event", "state", "kind", "body", "status"),
    [
        ("refer", "active", "message/sipfrag", b"SIP/2.0 180 Ringing", 200),
        ("refer;id=77", "active", "message/sipfrag", b"SIP/2.0 180 Ringing", 481),
        ("weather", "active", "message/sipfrag", b"SIP/2.0 180 Ringing", 489),
        ("refer", "active", "text/plain", b"SIP/2.0 180 Ringing", 415),
        ("refer", "active", "message/sipfrag", b"it rings", 400),
        ("refer", "", "message/sipfrag", b"SIP/2.0 180 Ringing", 400),
        ("", "active", "message/sipfrag", b"SIP/2.0 180 Ringing", 489),
    ],
)
def test_readable_and_unreadable_notifications_are_handled(
    three: Three, event: str, state: str, kind: str, body: bytes, status: int
) -> None:
    ours, theirs = referred(three)
    assert theirs.dialog is not None
    headers = [("Contact", "<sip:bob@10.0.0.2>"), ("Content-Type", kind)]
    headers += [(n, v) for n, v in (("Event", event), ("Subscription-State", state)) if v]
    via = three.bob.agent.via(theirs.dialog.flow)
    notify = theirs.dialog.request("NOTIFY", via, headers=headers, body=body)
    three.bob.send(notify, three.alice)
    three.wire.run(0.1)
    assert three.kinds(three.alice)[-1] == f"{status} NOTIFY"
    progress = [e for e in three.alice.events if isinstance(e, events.TransferProgress)]
    assert progress[-1].transfer.status == (180 if status == 200 else 100)
    assert ours.is_up


def test_a_subscription_that_ends_without_an_outcome_is_a_failure(three: Three) -> None:
    _, theirs = referred(three)
    assert theirs.dialog is not None
    headers = [
        ("Event", "refer"),
        ("Subscription-State", "terminated;reason=giveup"),
        ("Content-Type", "message/sipfrag"),
    ]
    via = three.bob.agent.via(theirs.dialog.flow)
    body = b"SIP/2.0 100 Trying\r\n"
    notify = theirs.dialog.request("NOTIFY", via, headers=headers, body=body)
    three.bob.send(notify, three.alice)
    three.wire.run(0.1)
    progress = [e for e in three.alice.events if isinstance(e, events.TransferProgress)]
    assert (progress[-1].transfer.status, progress[-1].transfer.over) == (408, True)


def test_a_refer_outside_a_call_is_declined(scripted: Pair) -> None:

    request = invite(("Refer-To", "<sip:carol@10.0.0.3>"))
    headers = request.headers.set("CSeq", "1 REFER")
    scripted.bob.send(request.replace(method="REFER", headers=headers), scripted.alice)
    scripted.wire.run(0.1)
    scripted.bob.take("603 REFER")


# ---------------------------------------------------------------------- Replaces


def test_an_attended_transfer_succeeds(three: Three) -> None:
    ours, _, second, carols = attended(three)
    new = three.at_carol()
    assert new.replaces is carols
    three.carol_answers()
    # Carol leaves Alice for Bob (RFC 3891 3).
    assert carols.state is SessionState.ENDED
    assert second.state is SessionState.ENDED
    assert three.progress()[-1] == 200
    three.hang_up(three.alice, ours)
    three.hang_up(three.carol, new)
    three.nothing_left()


def test_the_old_call_continues_if_the_replacement_is_refused(three: Three) -> None:
    ours, _, second, carols = attended(three)
    three.at_carol().hang_up(three.wire.now, status=488)
    three.wire.run(0.5)
    assert three.progress()[-1] == 488
    assert ours.is_up
    assert second.is_up
    assert carols.is_up


def replacing(three: Pair, value: str, number: int = 1) -> str:
    """The first answer to Bob's INVITE with that Replaces."""

    request = invite(("Replaces", value), body=media("10.0.0.2", 5000)(1).offer())
    headers = request.headers.set("Call-ID", f"replacing{number}")
    headers = headers.set("Via", f"SIP/2.0/UDP 10.0.0.2:5060;branch=z9hG4bKr{number}")
    three.bob.send(request.replace(headers=headers), three.alice)
    three.wire.run(0.3)
    answers = [packet for packet in three.wire.log if packet.kind.endswith(" INVITE")]
    return next(one.kind for one in answers if one.message.call_id == f"replacing{number}")


def test_only_matching_confirmed_calls_can_be_replaced(three: Three) -> None:
    ours, _ = three.established()
    good = str(Replaces.of(ours))
    # Seen from the owner, which is us: our tag is the to-tag.
    assert ours.dialog is not None
    good = f"{ours.call_id};to-tag={ours.local_tag};from-tag={ours.dialog.remote.tag}"
    assert replacing(three, "other;to-tag=a;from-tag=b", 1) == "481 INVITE"
    assert replacing(three, good.replace(ours.local_tag, "x"), 2) == "481 INVITE"
    assert replacing(three, good + "x", 3) == "481 INVITE"
    assert replacing(three, good + ";early-only", 4) == "486 INVITE"
    assert replacing(three, "nonsense", 5) == "400 INVITE"
    assert replacing(three, good, 6) == "100 INVITE"
    event = three.find(three.alice, events.InviteReceived)
    assert isinstance(event, events.InviteReceived)
    assert event.session.replaces is ours


def test_an_incoming_ringing_call_cannot_be_replaced(pair: Pair) -> None:
    pair.call()
    theirs = pair.incoming()
    assert theirs.dialog is not None
    value = f"{theirs.call_id};to-tag={theirs.local_tag};from-tag={theirs.dialog.remote.tag}"

    request = invite(("Replaces", value), body=media("10.0.0.1")(1).offer())
    pair.alice.send(request, pair.bob)
    pair.wire.run(0.1)
    assert pair.kinds(pair.bob)[-1] == "481 INVITE"


def test_an_outgoing_ringing_call_can_be_picked_up(pair: Pair) -> None:
    ours = pair.call()
    pair.ring(pair.incoming())
    pair.wire.run(0.1)
    tag = ours.dialogs[0].remote.tag
    assert replacing(pair, f"{ours.call_id};to-tag={ours.local_tag};from-tag={tag}") == "100 INVITE"
    event = pair.find(pair.alice, events.InviteReceived)
    assert isinstance(event, events.InviteReceived)
    event.session.answer(media("10.0.0.1"), pair.wire.now)
    pair.wire.run(0.5)
    assert "CANCEL" in pair.kinds(pair.alice)
    assert ours.state is SessionState.ENDED


def test_replaces_is_written_and_read_as_text_and_in_uris() -> None:
    asked = Replaces.parse("98732@sip.example.com;from-tag=r33th4x0r;to-tag=ff87ff;early-only")
    assert asked == Replaces("98732@sip.example.com", "ff87ff", "r33th4x0r", early_only=True)
    assert Replaces.parse(str(asked)) == asked
    uri = asked.within(CAROL)
    assert "@" not in str(uri).partition("?")[2]
    assert embedded(Uri.parse(str(uri))) == asked
    assert embedded(CAROL) is None
    # Other headers in the URI are ignored.
    wants_more = "sip:carol@10.0.0.3?Subject=hello&Replaces=a%3Bto-tag%3Db%3Bfrom-tag%3Dc"
    assert embedded(Uri.parse(wants_more)) == Replaces("a", "b", "c")
    for text in ("", "a", "a;to-tag=b", ";to-tag=a;from-tag=b", "a;to-tag;from-tag=b"):
        with pytest.raises(RemoteProtocolError):
            Replaces.parse(text)
