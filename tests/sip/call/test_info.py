"""Digits in INFO requests (RFC 2976, 6086)."""

from __future__ import annotations

import pytest

from spech.errors import LocalProtocolError
from spech.sip import events
from spech.sip.call.session import Session
from spech.sip.message.message import Request, response_to
from spech.testing.wire import FakeWire

from ..conftest import Pair


@pytest.mark.parametrize(
    ("kind", "body", "digit"),
    [
        ("application/dtmf-relay", b"Signal=5\r\nDuration=160\r\n", "5"),
        ("application/dtmf-relay", b"signal= #\nduration=100\n", "#"),
        ("application/dtmf", b"d", "D"),
        ("application/dtmf", b"16", None),
        ("application/dtmf-relay", b"Duration=160\r\n", None),
        ("text/plain", b"5", None),
    ],
)
def test_a_digit_is_reported_and_any_other_info_is_confirmed(
    pair: Pair, kind: str, body: bytes, digit: str | None
) -> None:
    _, theirs = pair.established()
    assert theirs.dialog is not None
    via = pair.bob.agent.via(theirs.dialog.flow)
    info = theirs.dialog.request("INFO", via, headers=[("Content-Type", kind)], body=body)
    pair.bob.send(info, pair.alice)
    pair.bob.send(info, pair.alice)  # A retransmission is not a second digit.
    pair.wire.run(0.1)
    assert "200 INFO" in pair.kinds(pair.alice)
    heard = [event.digit for event in pair.alice.events if isinstance(event, events.DigitReceived)]
    assert heard == ([] if digit is None else [digit])


def answered_by_hand(pair: Pair, sdp_answer: bytes) -> Session:
    """A call whose far end the test acts for."""
    session = pair.call()
    pair.wire.run(0.1)
    pair.reply(pair.bob.take("INVITE"), 200, body=sdp_answer)
    pair.wire.run(0.1)
    return session


def next_info(pair: Pair) -> Request:
    pair.wire.run(0.1)
    info = pair.bob.take("INFO")
    assert isinstance(info, Request)
    return info


def confirmed(pair: Pair) -> list[tuple[str, int]]:
    return [
        (event.digit, event.status)
        for event in pair.alice.events
        if isinstance(event, events.DigitSent)
    ]


def heard(pair: Pair) -> str:
    return "".join(
        event.digit for event in pair.bob.events if isinstance(event, events.DigitReceived)
    )


def send(pair: Pair, session: Session, digits: str) -> None:
    for digit in digits:
        session.digits.send(digit, 160, pair.wire.now)
    pair.alice.flush()


def test_digits_are_sent_one_after_the_other(pair: Pair) -> None:
    ours, theirs = pair.established()
    assert ours.timer.info_allowed
    assert theirs.timer.info_allowed
    send(pair, ours, "1#")
    assert pair.kinds(pair.alice).count("INFO") == 1
    assert ours.digits.pending
    pair.wire.run(0.5)
    assert not ours.digits.pending
    assert heard(pair) == "1#"
    assert confirmed(pair) == [("1", 200), ("#", 200)]
    pair.hang_up(pair.alice, ours)
    pair.quiet()


@pytest.mark.parametrize("seed", range(20))
def test_no_digit_is_lost_doubled_or_reordered_on_a_bad_network(seed: int) -> None:
    pair = Pair(FakeWire(seed=seed, duplication=0.1, delay=(0.01, 0.5)))
    ours, _ = pair.established()
    pair.wire.loss = 0.2
    send(pair, ours, "1122*#0D")
    assert pair.wire.run_until(lambda: not ours.digits.pending)
    assert heard(pair) == "1122*#0D"
    assert {status for _, status in confirmed(pair)} == {200}


def test_sent_digits_have_a_type_that_gateways_accept(scripted: Pair, sdp_answer: bytes) -> None:
    """After a 415 that names the older type, that type is used."""
    session = answered_by_hand(scripted, sdp_answer)
    send(scripted, session, "5D")
    info = next_info(scripted)
    assert info.headers.get("Content-Type") == "application/dtmf-relay"
    assert info.body == b"Signal=5\r\nDuration=160\r\n"
    headers = [("Accept", "application/dtmf, application/sdp")]
    scripted.bob.send(response_to(info, 415, to_tag="b1", headers=headers), scripted.alice)
    for digit in (b"5", b"D"):
        info = next_info(scripted)
        assert (info.headers.get("Content-Type"), info.body) == ("application/dtmf", digit)
        scripted.bob.send(response_to(info, 200, to_tag="b1"), scripted.alice)
    scripted.wire.run(0.1)
    assert confirmed(scripted) == [("5", 200), ("D", 200)]


def test_a_refusal_is_reported_and_a_lost_dialog_ends_the_call(
    scripted: Pair, sdp_answer: bytes
) -> None:
    session = answered_by_hand(scripted, sdp_answer)
    send(scripted, session, "123")
    for status in (415, 481):
        scripted.bob.send(response_to(next_info(scripted), status, to_tag="b1"), scripted.alice)
    scripted.wire.run(0.1)
    assert confirmed(scripted) == [("1", 415), ("2", 481)]
    assert session.ended is not None
    assert not session.digits.pending
    with pytest.raises(LocalProtocolError):
        session.digits.send("1", 100, scripted.wire.now)
