"""Subscriptions (RFC 6665): Alice's agent subscribes, the test acts as the notifier."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest

from spech.errors import LocalProtocolError
from spech.sip import events
from spech.sip.dialog.identity import Identity
from spech.sip.message.headers import Headers, NameAddr
from spech.sip.message.message import Request, response_to
from spech.sip.message.uri import Uri
from spech.sip.watching.dialog_info import DialogInfo
from spech.sip.watching.mailbox import Mailbox
from spech.sip.watching.subscription import EventSubscription, SubscriptionState
from spech.testing.wire import FakeWire

from ..conftest import Pair

SUMMARY = b"Messages-Waiting: yes\r\nVoice-Message: 2/8 (0/2)\r\n"
KINDS = {
    "message-summary": "application/simple-message-summary",
    "dialog": "application/dialog-info+xml",
    "presence": "application/pidf+xml",
}


class Notifier(Pair):
    """Bob is the notifier."""

    def __init__(self, seed: int = 21) -> None:
        super().__init__(FakeWire(seed=seed), bob_agent=False)
        self.number = 0
        self.seen: Request | None = None

    def subscribe(self, package: str = "message-summary", expires: int = 3600) -> EventSubscription:
        agent = self.alice.agent
        identity = Identity(NameAddr(Uri.parse("sip:alice@10.0.0.1")), "alice", "secret", agent.rng)
        identity.trust([self.alice.flow_to(self.bob)])
        subscription = agent.services.subscribe(
            identity,
            Uri.parse("sip:alice@10.0.0.2"),
            package,
            [self.alice.flow_to(self.bob)],
            self.wire.now,
            expires=expires,
        )
        self.wire.run(0.1)
        return subscription

    def take(self) -> Request:
        """The received SUBSCRIBE."""
        request = self.bob.take("SUBSCRIBE")
        assert isinstance(request, Request)
        self.seen = request
        return request

    def answer(self, status: int, *headers: tuple[str, str], tag: str = "b1") -> Request:
        request = self.take()
        self.bob.send(response_to(request, status, to_tag=tag, headers=headers), self.alice)
        self.wire.run(0.1)
        return request

    def notify(
        self,
        state: str = "active;expires=3600",
        body: bytes = SUMMARY,
        tag: str = "b1",
        **changes: str,
    ) -> int:
        """Send a NOTIFY and return the status that it was answered with."""
        assert self.seen is not None
        self.number += 1
        package = (self.seen.headers.get("Event") or "").partition(";")[0]
        fields = {
            "Via": f"SIP/2.0/UDP 10.0.0.2:5060;branch=z9hG4bKnot{self.number}",
            "Max-Forwards": "70",
            "From": f"<sip:alice@10.0.0.2>;tag={tag}",
            "To": str(self.seen.from_),
            "Call-ID": self.seen.call_id,
            "CSeq": f"{self.number} NOTIFY",
            "Contact": "<sip:bob@10.0.0.2>",
            "Event": package,
            "Subscription-State": state,
            "Content-Type": KINDS[package],
        }
        fields |= {name.replace("_", "-"): value for name, value in changes.items()}
        headers = Headers([(name, value) for name, value in fields.items() if value])
        request = Request("NOTIFY", Uri.parse("sip:alice@10.0.0.1:5060"), headers, body)
        self.bob.send(request, self.alice)
        self.wire.run(0.1)
        kinds = [kind for kind in self.kinds(self.alice) if kind.endswith(" NOTIFY")]
        return int(kinds[-1].split()[0])

    def asked_again(self) -> None:
        """Advance time until the next SUBSCRIBE arrives."""
        self.bob.inbox.clear()
        assert self.wire.run_until(
            lambda: any(m.cseq.method == "SUBSCRIBE" for m in self.bob.inbox), 3600
        )

    def active(self, package: str = "message-summary", body: bytes = SUMMARY) -> EventSubscription:
        subscription = self.subscribe(package)
        self.answer(200, ("Expires", "3600"))
        assert self.notify(body=body) == 200
        assert subscription.state is SubscriptionState.ACTIVE
        return subscription

    def told(self) -> list[object]:
        return [event.content for event in self.alice.events if isinstance(event, events.Notified)]


@pytest.fixture
def notifier() -> Notifier:
    return Notifier()


def test_a_subscription_receives_notifications(notifier: Notifier) -> None:
    subscription = notifier.subscribe()
    request = notifier.answer(200, ("Expires", "3600"))
    assert request.headers.get("Event") == "message-summary"
    assert request.headers.get("Accept") == "application/simple-message-summary"
    assert request.expires == 3600
    assert request.contact is not None
    assert (
        subscription.state is SubscriptionState.SUBSCRIBING
    )  # The NOTIFY creates the subscription (4.4.1).
    assert notifier.notify() == 200
    assert subscription.state is SubscriptionState.ACTIVE
    assert notifier.told() == [subscription.content]
    assert isinstance(subscription.content, Mailbox)
    assert subscription.content.voice.new == 2


def test_a_notify_may_arrive_before_the_response(notifier: Notifier) -> None:
    subscription = notifier.subscribe()
    request = notifier.take()
    assert notifier.notify() == 200
    notifier.bob.send(response_to(request, 200, to_tag="b1"), notifier.alice)
    notifier.wire.run(60)
    assert subscription.state is SubscriptionState.ACTIVE
    with pytest.raises(LookupError):
        notifier.take()


def test_a_pending_subscription_waits_for_permission(notifier: Notifier) -> None:
    subscription = notifier.subscribe("presence")
    notifier.answer(202, ("Expires", "600"))
    notifier.notify("pending;expires=600", b"")
    assert subscription.state is SubscriptionState.PENDING
    notifier.notify(
        "active;expires=590", b'<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="pres:bob@x"/>'
    )
    assert subscription.state is SubscriptionState.ACTIVE


def test_a_subscription_is_refreshed_in_its_dialog_before_it_expires(notifier: Notifier) -> None:
    notifier.active()
    notifier.asked_again()
    request = notifier.answer(200, ("Expires", "3600"))
    assert request.to.tag == "b1"
    assert str(request.uri) == "sip:bob@10.0.0.2"
    assert request.call_id == notifier.seen.call_id if notifier.seen else False
    assert notifier.notify() == 200


def test_the_notifier_may_shorten_the_expiry(notifier: Notifier) -> None:
    notifier.active()
    notifier.notify("active;expires=60")
    start = notifier.wire.now
    notifier.asked_again()
    assert 40 < notifier.wire.now - start < 52


def test_a_challenge_to_a_subscribe_is_answered(notifier: Notifier) -> None:
    subscription = notifier.subscribe()
    challenge = ("WWW-Authenticate", 'Digest realm="pbx", nonce="n1", qop="auth"')
    first = notifier.answer(401, challenge)
    second = notifier.answer(200, ("Expires", "3600"))
    assert second.headers.get("Authorization") is not None
    assert second.cseq.number == first.cseq.number + 1
    assert (second.call_id, second.from_.tag) == (first.call_id, first.from_.tag)
    assert notifier.notify() == 200
    assert subscription.state is SubscriptionState.ACTIVE


def test_a_too_short_interval_is_lengthened(notifier: Notifier) -> None:
    notifier.subscribe(expires=60)
    notifier.answer(423, ("Min-Expires", "900"))
    assert notifier.take().expires == 900


def test_an_expiry_of_zero_is_retried_with_pauses(notifier: Notifier) -> None:
    subscription = notifier.subscribe()
    for pause in (5, 15, 30):
        before = notifier.wire.now
        notifier.answer(200, ("Expires", "0"))
        assert subscription.state is SubscriptionState.WAITING
        notifier.asked_again()
        assert 0.7 * pause < notifier.wire.now - before < 1.3 * pause


@pytest.mark.parametrize("status", [403, 404, 489, 603])
def test_a_refused_subscription_is_not_retried(notifier: Notifier, status: int) -> None:
    subscription = notifier.subscribe()
    notifier.answer(status)
    assert (subscription.state, subscription.status) == (SubscriptionState.ENDED, status)
    notifier.wire.run(1000)
    with pytest.raises(LookupError):
        notifier.take()
    assert notifier.alice.agent.get_timer() is None


def test_an_unanswered_subscribe_is_retried_within_20_seconds(
    notifier: Notifier,
) -> None:
    subscription = notifier.subscribe()
    notifier.wire.loss = 1.0
    notifier.wire.run(300)
    assert subscription.status == 408
    calls = {p.message.call_id for p in notifier.wire.log if p.kind == "SUBSCRIBE"}
    assert 300 / (32 + 20) <= len(calls) <= 8
    notifier.wire.loss = 0.0
    notifier.bob.inbox.clear()
    assert notifier.wire.run_until(lambda: bool(notifier.bob.inbox), 200)
    notifier.answer(200, ("Expires", "3600"))
    notifier.notify()
    assert subscription.state is SubscriptionState.ACTIVE


def test_a_subscription_needs_a_notify(notifier: Notifier) -> None:
    subscription = notifier.subscribe()
    notifier.answer(200, ("Expires", "3600"))
    notifier.wire.run(32)
    assert subscription.state is SubscriptionState.WAITING  # Timer N (4.1.2.4).
    notifier.wire.run(7)
    notifier.take()


@pytest.mark.parametrize(
    ("reason", "least", "most"),
    [
        ("deactivated", 0.5, 2),
        ("timeout", 0.5, 2),
        ("probation;retry-after=50", 49, 51),
        ("giveup;retry-after=20", 19, 21),
        ("giveup", 3, 7),
        ("strange", 3, 7),
        ("rejected", None, None),
        ("noresource", None, None),
        ("invariant", None, None),
    ],
)
def test_the_termination_reason_decides_about_a_retry(
    notifier: Notifier, reason: str, least: float | None, most: float | None
) -> None:
    """RFC 6665 4.1.3."""
    subscription = notifier.active()
    first = notifier.seen
    notifier.notify(f"terminated;reason={reason}")
    start = notifier.wire.now
    if least is None or most is None:
        assert subscription.state is SubscriptionState.ENDED
        notifier.wire.run(1000)
        assert notifier.bob.inbox[-1].cseq.method == "NOTIFY"
        return
    assert subscription.state is SubscriptionState.WAITING
    notifier.asked_again()
    assert least <= notifier.wire.now - start <= most
    request = notifier.answer(200, ("Expires", "3600"))
    assert first is not None
    assert request.call_id != first.call_id  # A new dialog.
    assert notifier.notify() == 200


def test_a_481_to_a_refresh_starts_a_new_subscription(notifier: Notifier) -> None:
    subscription = notifier.active()
    notifier.asked_again()
    notifier.answer(481)
    notifier.asked_again()
    request = notifier.answer(200, ("Expires", "3600"))
    assert request.to.tag is None
    notifier.notify()
    assert subscription.state is SubscriptionState.ACTIVE


def test_a_failed_refresh_is_retried_until_expiry(notifier: Notifier) -> None:
    subscription = notifier.active()
    notifier.asked_again()
    notifier.answer(500)
    assert subscription.state is SubscriptionState.ACTIVE
    notifier.wire.run(7)
    assert notifier.answer(200, ("Expires", "3600")).to.tag == "b1"


@pytest.mark.parametrize("end", ["deactivated", "timeout"])
def test_repeated_terminations_lengthen_the_pauses(notifier: Notifier, end: str) -> None:
    notifier.active()
    pauses = []
    for _ in range(8):
        start = notifier.wire.now
        notifier.notify(f"terminated;reason={end}")
        notifier.asked_again()
        pauses.append(notifier.wire.now - start)
        notifier.answer(200, ("Expires", "3600"))
        notifier.notify()
    assert pauses[0] < 2
    assert all(later > before for before, later in pairwise(pauses))
    assert pauses[-1] > 400


def test_a_long_lived_subscription_is_retried_soon(notifier: Notifier) -> None:
    notifier.active()
    for _ in range(3):
        notifier.wire.run(130)
        start = notifier.wire.now
        notifier.notify("terminated;reason=deactivated")
        notifier.asked_again()
        assert notifier.wire.now - start < 2
        notifier.answer(200, ("Expires", "3600"))
        notifier.notify()


def test_a_very_short_subscription_is_refreshed_every_five_seconds(notifier: Notifier) -> None:
    subscription = notifier.subscribe()
    notifier.answer(200, ("Expires", "1"))
    notifier.notify("active;expires=1")
    start = notifier.wire.now
    for _ in range(10):
        notifier.asked_again()
        notifier.answer(200, ("Expires", "1"))
    assert notifier.wire.now - start >= 50
    assert subscription.state is SubscriptionState.ACTIVE


def test_a_retry_resolves_the_name_of_its_target_again(notifier: Notifier) -> None:
    """RFC 3263 4. The notifier has another address after the loss."""
    subscription = notifier.subscribe()
    subscription.target = Uri.parse("sip:alice@pbx.test")
    notifier.answer(200, ("Expires", "3600"))
    notifier.notify()

    def due() -> list[events.ResubscribeDue]:
        return [one for one in notifier.alice.events if isinstance(one, events.ResubscribeDue)]

    notifier.wire.loss = 1.0
    assert notifier.wire.run_until(lambda: bool(due()), 3600)
    assert subscription.state is SubscriptionState.WAITING
    notifier.wire.loss = 0.0
    notifier.bob.inbox.clear()
    flow = notifier.alice.flow_to(notifier.bob)
    subscription.receive_flows([flow], notifier.wire.now)
    notifier.alice.flush()
    notifier.wire.run(0.1)
    request = notifier.answer(200, ("Expires", "3600"))
    assert request.to.tag is None
    notifier.notify()
    subscription.receive_flows([flow], notifier.wire.now)  # Too late: nothing happens.
    assert subscription.state is SubscriptionState.ACTIVE
    assert len(due()) == 1


def test_a_retry_uses_the_known_flows_if_dns_fails(notifier: Notifier) -> None:
    subscription = notifier.active()
    subscription.target = Uri.parse("sip:alice@pbx.test")
    notifier.notify("terminated;reason=deactivated")
    start = notifier.wire.now
    notifier.asked_again()
    assert 10.5 <= notifier.wire.now - start < 12


def test_a_refresh_resolves_the_name_of_the_notifier_again(notifier: Notifier) -> None:
    notifier.subscribe()
    notifier.answer(200, ("Expires", "3600"))
    notifier.notify(Contact="<sip:bob@pbx.test>")

    def named() -> int:
        return sum(isinstance(one, events.HostNamed) for one in notifier.alice.events)

    before = named()
    notifier.asked_again()
    assert named() == before + 1


def test_unsubscribing_ends_the_subscription(notifier: Notifier) -> None:
    subscription = notifier.active()
    subscription.unsubscribe(notifier.wire.now)
    subscription.unsubscribe(notifier.wire.now)
    notifier.wire.run(0.1)
    assert notifier.answer(200, ("Expires", "0")).expires == 0
    assert notifier.notify("terminated;reason=timeout") == 200
    assert subscription.state is SubscriptionState.ENDED
    notifier.wire.run(100)
    assert notifier.alice.agent.get_timer() is None
    assert notifier.notify() == 481


def test_unsubscribing_before_the_first_notify_ends_the_subscription(notifier: Notifier) -> None:
    subscription = notifier.subscribe()
    notifier.answer(200, ("Expires", "3600"))
    subscription.unsubscribe(notifier.wire.now)
    assert subscription.state is SubscriptionState.ENDED
    assert notifier.notify() == 481  # Which ends it at the notifier (4.2.2).


def test_closing_the_agent_ends_all_subscriptions(notifier: Notifier) -> None:
    subscription = notifier.active()
    notifier.alice.agent.close(notifier.wire.now)
    notifier.wire.run(0.1)
    assert notifier.answer(200, ("Expires", "0")).expires == 0
    notifier.wire.run(40)
    assert subscription.state is SubscriptionState.ENDED
    assert notifier.alice.agent.get_timer() is None


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"Event": "dialog"}, 481),
        ({"Event": ""}, 481),
        ({"Subscription_State": ""}, 400),
        ({"Content_Type": "text/html"}, 415),
        ({"Contact": ""}, 200),
        ({"CSeq": "1 NOTIFY"}, 200),  # The same through another server (RFC 3263 4.3).
        ({"CSeq": "0 NOTIFY"}, 500),
    ],
)
def test_a_mismatched_notify_is_refused(
    notifier: Notifier, changes: dict[str, Any], status: int
) -> None:
    notifier.active()
    assert notifier.notify(**changes) == status
    assert len(notifier.told()) == (2 if status == 200 else 1)


def test_notifies_of_another_fork_and_garbage_are_refused(notifier: Notifier) -> None:
    subscription = notifier.active()
    assert notifier.notify(tag="b2") == 481
    assert notifier.notify(body=b"nothing useful") == 400
    assert subscription.state is SubscriptionState.ACTIVE


def test_an_unknown_package_is_an_error(notifier: Notifier) -> None:
    with pytest.raises(LocalProtocolError):
        notifier.subscribe("weather")


def dialogs(version: int, state: str, *pairs: tuple[str, str]) -> bytes:
    inner = "".join(
        f'<dialog id="{i}" direction="recipient"><state>{s}</state></dialog>' for i, s in pairs
    )
    return (
        f'<dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" version="{version}" '
        f'state="{state}" entity="sip:bob@10.0.0.2">{inner}</dialog-info>'
    ).encode()


def test_partial_states_are_merged_and_gaps_cause_a_refresh(notifier: Notifier) -> None:
    """RFC 4235 3.2, 3.7."""
    subscription = notifier.active("dialog", dialogs(0, "full", ("a", "confirmed")))
    notifier.notify(body=dialogs(1, "partial", ("b", "early")))
    assert isinstance(subscription.content, DialogInfo)
    assert [(d.identifier, d.state) for d in subscription.content.dialogs] == [
        ("a", "confirmed"),
        ("b", "early"),
    ]
    assert subscription.content.busy
    assert subscription.content.ringing
    notifier.notify(body=dialogs(1, "partial", ("a", "terminated")))  # An old state.
    assert subscription.content.busy
    notifier.notify(body=dialogs(2, "partial", ("a", "terminated")))
    assert not subscription.content.busy
    notifier.bob.inbox.clear()
    notifier.notify(body=dialogs(5, "partial", ("c", "early")))
    notifier.answer(200, ("Expires", "3600"))
    notifier.notify(body=dialogs(6, "full"))
    assert subscription.content == DialogInfo("sip:bob@10.0.0.2", 6, full=True)


@pytest.mark.parametrize("seed", range(20))
def test_a_subscription_survives_a_bad_network(seed: int) -> None:
    """Lost messages are retransmitted by both ends."""
    notifier = Notifier(seed)
    notifier.wire.loss = 0.4
    subscription = notifier.subscribe()
    for _ in range(200):
        while any(m.cseq.method == "SUBSCRIBE" for m in notifier.bob.inbox):
            notifier.answer(200, ("Expires", "3600"))
            notifier.number = 0
        if notifier.seen is not None and subscription.state is not SubscriptionState.ACTIVE:
            notifier.number = 0  # The same NOTIFY again.
            with suppress(IndexError):
                notifier.notify()
        notifier.wire.run(0.5)
    assert subscription.state is SubscriptionState.ACTIVE
    assert len(notifier.told()) == 1


# ---------------------------------------------------------------------- without being asked


def unsolicited(pair: Pair, event: str, kind: str, body: bytes) -> str:
    headers = [
        ("Via", "SIP/2.0/UDP 10.0.0.2:5060;branch=z9hG4bKmwi"),
        ("Max-Forwards", "70"),
        ("From", "<sip:pbx@10.0.0.2>;tag=b1"),
        ("To", "<sip:alice@10.0.0.1>"),
        ("Call-ID", "unsolicited"),
        ("CSeq", "1 NOTIFY"),
        ("Contact", "<sip:pbx@10.0.0.2>"),
        ("Subscription-State", "terminated"),
        ("Content-Type", kind),
        *([("Event", event)] if event else []),
    ]
    request = Request("NOTIFY", Uri.parse("sip:alice@10.0.0.1"), Headers(headers), body)
    pair.bob.send(request, pair.alice)
    pair.wire.run(0.1)
    return pair.kinds(pair.alice)[-1]


def at_home(pair: Pair) -> Pair:
    """Alice, who asks Bob's host to be her registrar."""
    identity = Identity(
        NameAddr(Uri.parse("sip:alice@10.0.0.2")), "alice", None, pair.alice.agent.rng
    )
    flows = [pair.alice.flow_to(pair.bob)]
    pair.alice.agent.register(identity, Uri.parse("sip:10.0.0.2"), flows, pair.wire.now)
    return pair


def test_an_unsolicited_mailbox_notify_of_our_server_is_accepted(scripted: Pair) -> None:
    at_home(scripted)
    kind = KINDS["message-summary"]
    assert unsolicited(scripted, "message-summary", kind, SUMMARY) == "200 NOTIFY"
    event = scripted.find(scripted.alice, events.MailboxChanged)
    assert isinstance(event, events.MailboxChanged)
    assert event.mailbox.waiting
    assert event.mailbox.voice.old == 8


def test_an_unsolicited_notify_of_a_stranger_is_refused(scripted: Pair) -> None:
    stranger = scripted.wire.peer("10.0.0.66", agent=False)
    at_home(scripted).bob = stranger
    kind = KINDS["message-summary"]
    assert unsolicited(scripted, "message-summary", kind, SUMMARY) == "481 NOTIFY"
    assert scripted.find(scripted.alice, events.MailboxChanged) is None


@pytest.mark.parametrize(
    ("event", "kind", "body", "status"),
    [
        ("", "text/plain", b"", 489),
        ("check-sync", "text/plain", b"", 489),
        ("dialog", KINDS["dialog"], b"<x/>", 481),
        ("message-summary", "text/plain", SUMMARY, 415),
        ("message-summary", KINDS["message-summary"], b"hello", 400),
    ],
)
def test_other_unsolicited_notifies_are_refused(
    scripted: Pair, event: str, kind: str, body: bytes, status: int
) -> None:
    assert unsolicited(at_home(scripted), event, kind, body) == f"{status} NOTIFY"
    response = scripted.bob.take(f"{status} NOTIFY")
    if status == 489:
        assert "message-summary" in (response.headers.get("Allow-Events") or "")


@pytest.mark.parametrize("state", ["terminated;reason=timeout", "terminated", "active"])
def test_the_content_of_a_fetch_is_reported(notifier: Notifier, state: str) -> None:
    """With an expiry of zero, the state arrives once, in the following NOTIFY (RFC 6665 4.4.1)."""
    subscription = notifier.subscribe()
    notifier.answer(200, ("Expires", "0"))
    assert subscription.state is SubscriptionState.WAITING
    assert notifier.notify(state=state) == 200
    assert subscription.content is not None
    before = notifier.wire.now
    notifier.asked_again()
    assert notifier.wire.now - before > 3  # Not at once, whatever the notifier says.
