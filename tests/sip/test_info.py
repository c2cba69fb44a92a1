"""Digits in INFO requests (RFC 2976, 6086)."""

from __future__ import annotations

import pytest

from spech.sip import events

from .conftest import Pair


@pytest.mark.parametrize(
    ("kind", "body", "digit"),
    [
        ("application/dtmf-relay", b"Signal=5\r\nDuration=160\r\n", "5"),
        ("application/dtmf-relay", b"signal= #\nduration=100\n", "#"),
        ("application/dtmf", b"d", "D"),
        ("application/dtmf", b"12", None),
        ("application/dtmf-relay", b"Duration=160\r\n", None),
        ("text/plain", b"5", None),
    ],
)
def test_a_digit_is_heard_and_anything_else_is_confirmed(
    pair: Pair, kind: str, body: bytes, digit: str | None
) -> None:
    _, theirs = pair.established()
    assert theirs.dialog is not None
    via = pair.bob.agent.via(theirs.dialog.flow)
    info = theirs.dialog.request("INFO", via, headers=[("Content-Type", kind)], body=body)
    pair.bob.send(info, pair.alice)
    pair.bob.send(info, pair.alice)  # A retransmission is no second digit.
    pair.wire.run(0.1)
    assert "200 INFO" in pair.kinds(pair.alice)
    heard = [event.digit for event in pair.alice.events if isinstance(event, events.DigitReceived)]
    assert heard == ([] if digit is None else [digit])
