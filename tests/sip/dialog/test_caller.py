"""The identity of callers, privacy, and the reasons why calls end."""

from __future__ import annotations

import pytest

from spech.sip import events
from spech.sip.dialog.caller import Caller, answered_elsewhere, caller_of, reason_of
from spech.testing.wire import FakeWire

from ..conftest import Pair, called, invite, within


@pytest.mark.parametrize(
    ("headers", "caller"),
    [
        ([], Caller("bob", None, False)),
        (
            [("P-Asserted-Identity", '"Bob Stone" <sip:+4930123@x.example>')],
            Caller("+4930123", "Bob Stone", True),
        ),
        ([("Remote-Party-ID", "<sip:77@x>;party=calling;privacy=off")], Caller("77", None, True)),
        ([("Remote-Party-ID", "<sip:77@x>;privacy=full")], Caller("bob", None, False)),
        ([("P-Asserted-Identity", "<<<")], Caller("bob", None, False)),
        ([("P-Asserted-Identity", "<tel:+49301;cpc=priority>")], Caller("+49301", None, True)),
        (
            [("P-Asserted-Identity", "<sip:+1215;verstat=TN-Validation-Passed@x;user=phone>")],
            Caller("+1215", None, True),
        ),
        ([("P-Asserted-Identity", "<sip:a;b@x>")], Caller("a;b", None, True)),
        ([("P-Asserted-Identity", "<sip:%2A43%23@x>")], Caller("*43#", None, True)),
    ],
)
def test_the_caller_is_identified(headers: list[tuple[str, str]], caller: Caller) -> None:
    assert caller_of(invite(*headers), trusted=True) == caller
    assert caller_of(invite(*headers), trusted=False) == Caller("bob", None, False)


@pytest.mark.parametrize("trusted", [True, False])
def test_a_stranger_cannot_assert_an_identity(trusted: bool) -> None:
    pair = Pair(FakeWire(seed=9), bob_agent=False)
    pair.alice.agent.is_known_peer = lambda host: trusted and host == pair.bob.address[0]
    call = called(pair, invite(("P-Asserted-Identity", '"Police" <sip:110@x>')))
    shown = Caller("110", "Police", True) if trusted else Caller("bob", None, False)
    assert call.session.caller == shown


@pytest.mark.parametrize(
    ("address", "caller"),
    [
        ("<sip:@10.0.0.2>", Caller("anonymous", None, False)),
        ('"Anonymous" <sip:@10.0.0.2>', Caller("anonymous", "Anonymous", False)),
        ("<sip:10.0.0.2>", Caller("10.0.0.2", None, False)),
        ("<sip:161 201 11111@10.0.0.2>", Caller("161 201 11111", None, False)),
        ('""unknown"" <sip:100@10.0.0.2>', Caller("100", '"unknown"', False)),
        # Text that would deceive a person or a terminal.
        ('"\u202egro.elpmaxe" <sip:1@x>', Caller("1", "gro.elpmaxe", False)),
        ("<sip:%1b]0;x%07%0d%0aok@x>", Caller("]0;x ok", None, False)),
        (f'"{"A" * 7000}" <sip:1@x>', Caller("1", "A" * 63 + "…", False)),
        (f"<sip:{'1' * 7000}@x>", Caller("1" * 63 + "…", None, False)),
        ('"\u200b\u2066" <sip:%E2%80%AE@x>', Caller("x", None, False)),
    ],
)
def test_an_odd_from_still_identifies_the_caller(address: str, caller: Caller) -> None:
    request = invite()
    headers = request.headers.set("From", f"{address};tag=1")
    assert caller_of(request.replace(headers=headers), trusted=False) == caller


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ('SIP;cause=200;text="Call completed elsewhere"', "Call completed elsewhere"),
        ("SIP ;cause=200", "Call completed elsewhere"),
        ('Q.850;cause=17;text="User \\"busy\\""', 'User "busy"'),
        ("Q.850;cause=16", None),
        ("nonsense", None),
        ("SIP;cause=²", None),
    ],
)
def test_the_reason_of_an_end_is_read(value: str, reason: str | None) -> None:
    assert reason_of(invite(("Reason", value))) == reason


def test_a_call_answered_elsewhere_is_marked(scripted: Pair) -> None:
    request = invite()
    session = called(scripted, request).session
    cancel = within(request, "CANCEL", 1, str(request.to), ("Reason", "SIP;cause=200"))
    via = request.headers.get("Via") or ""
    scripted.bob.send(cancel.replace(headers=cancel.headers.set("Via", via)), scripted.alice)
    scripted.wire.run(0.1)
    ended = scripted.find(scripted.alice, events.SessionEnded)
    assert isinstance(ended, events.SessionEnded)
    assert (ended.session, ended.reason) == (session, "Call completed elsewhere")
    assert session.answered_elsewhere


@pytest.mark.parametrize(
    ("value", "elsewhere"),
    [
        ('SIP;cause=200;text="Taken by Carol"', True),
        ("SIP;cause=600", False),
        ("Q.850;cause=200", False),
        ("nonsense", False),
    ],
)
def test_answered_elsewhere_is_recognized(value: str, elsewhere: bool) -> None:
    assert answered_elsewhere(invite(("Reason", "Q.850;cause=26"), ("Reason", value))) is elsewhere
