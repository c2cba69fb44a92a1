"""Many requests, including hostile ones: memory is bounded, and no source starves."""

from __future__ import annotations

import random
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spech.shares import Shares, source_of
from spech.sip import events
from spech.sip.agent import UserAgent
from spech.sip.call.session import Session
from spech.sip.description.offer_answer import Negotiator
from spech.sip.description.payload_types import AudioFormat
from spech.sip.message.message import Request, Response, response_to
from spech.sip.message.parser import parse
from spech.sip.timeline import Timeline
from spech.sip.transaction.flow import Flow
from spech.sip.transaction.timers import TRANSACTION_TIMEOUT, TimerSet

NOISY = Flow("udp", ("192.0.2.100", 5060), ("192.0.2.66", 5060))
QUIET = Flow("udp", ("192.0.2.100", 5060), ("192.0.2.7", 5060))
AUDIO = AudioFormat("PCMU", "PCMU", 8000, 0)

REQUEST = (
    "{method} sip:600@192.0.2.100 SIP/2.0\r\n"
    "Via: SIP/2.0/UDP {host};branch=z9hG4bK{number}\r\n"
    "Max-Forwards: 70\r\n"
    "From: <sip:a@{host}>;tag={number}\r\n"
    "To: <sip:600@192.0.2.100>{tag}\r\n"
    "Call-ID: {call}@{host}\r\n"
    "CSeq: {number} {method}\r\n"
    "Contact: <sip:a@{host}>\r\n"
    "Content-Length: {length}\r\n"
    "\r\n"
)


def request(
    method: str, flow: Flow, number: int, *, call: int = 0, tag: str = "", body: bytes = b""
) -> bytes:
    text = REQUEST.format(
        method=method,
        host=flow.remote[0],
        number=number,
        call=call or number,
        tag=f";tag={tag}" if tag else "",
        length=len(body),
    )
    if method == "MESSAGE":
        text = text.replace("Contact:", "Content-Type: text/plain\r\nContact:")
    return text.encode() + body


def exchanged(agent: UserAgent, data: bytes, flow: Flow, now: float = 0.0) -> list[Response]:
    """The agent's response to ``data``."""
    agent.receive_message(data, flow, now)
    answers = [parse(outgoing.data) for outgoing in agent.to_send(now)]
    return [answer for answer in answers if isinstance(answer, Response)]


def flooded(agent: UserAgent) -> int:
    """Send requests from the noisy source until it is refused; return their number."""
    agent.takes_messages = True
    for number in range(1, 100_000):
        (answer,) = exchanged(agent, request("MESSAGE", NOISY, number), NOISY)
        agent.next_event()
        if answer.status == 503:
            assert 0 < int(answer.headers.get("Retry-After") or "") < 60
            return number
    raise AssertionError("it was never refused")


def test_a_flood_is_refused_and_others_are_served() -> None:
    agent = UserAgent(random.Random(1))
    taken = flooded(agent)
    assert taken > 1000  # A busy trunk is one source.
    assert len(agent.layer) < taken
    for number in range(1, 100):
        (answer,) = exchanged(agent, request("MESSAGE", QUIET, number), QUIET)
        assert answer.status == 200
    (answer,) = exchanged(agent, request("MESSAGE", NOISY, 100_001), NOISY)
    assert answer.status == 503
    # The refusals end with the flood.
    agent.handle_timer(TRANSACTION_TIMEOUT + 1)
    assert len(agent.layer) == 0
    (answer,) = exchanged(agent, request("MESSAGE", NOISY, 100_002), NOISY, TRANSACTION_TIMEOUT + 1)
    assert answer.status == 200


def incoming(agent: UserAgent, flow: Flow = NOISY) -> Session:
    """The session of the call that came over ``flow``."""
    while (event := agent.next_event()) is not None:
        if isinstance(event, events.InviteReceived):
            assert event.session.dialog is not None
            if event.session.dialog.flow == flow:
                return event.session
    raise AssertionError("nobody called")


def test_a_call_that_is_up_can_be_ended_during_a_flood() -> None:
    agent = UserAgent(random.Random(1))
    offer = Negotiator([AUDIO], "192.0.2.66", 4000, 1).offer()
    invite = request("INVITE", NOISY, 1, body=offer)
    invite = invite.replace(b"Contact:", b"Content-Type: application/sdp\r\nContact:")
    exchanged(agent, invite, NOISY)
    session = incoming(agent)
    session.answer(lambda number: Negotiator([AUDIO], "192.0.2.100", 5000, number), 0.0)
    exchanged(agent, request("ACK", NOISY, 1, tag=session.local_tag), NOISY)
    flooded(agent)
    bye = request("BYE", NOISY, 2, call=1, tag=session.local_tag)
    answers = exchanged(agent, bye.replace(b"tag=2\r\n", b"tag=1\r\n"), NOISY)
    assert [answer.status for answer in answers] == [200]


def test_one_caller_leaves_room_for_others() -> None:
    agent = UserAgent(random.Random(1), max_sessions=10)
    for number in range(1, 6):
        assert not exchanged(agent, request("INVITE", NOISY, number), NOISY)
    first = incoming(agent)
    (answer,) = exchanged(agent, request("INVITE", NOISY, 6), NOISY)
    assert answer.status == 503
    assert "Retry-After" in answer.headers
    assert not exchanged(agent, request("INVITE", QUIET, 1), QUIET)
    assert len(agent.sessions) == 6
    # After hanging up, the caller may call again.
    first.hang_up(0.0)
    exchanged(agent, request("ACK", NOISY, 1, tag=first.local_tag), NOISY)
    agent.handle_timer(TRANSACTION_TIMEOUT)
    agent.to_send(TRANSACTION_TIMEOUT)
    assert not exchanged(agent, request("INVITE", NOISY, 7), NOISY, TRANSACTION_TIMEOUT)
    assert len(agent.sessions) == 6


def refuse_strangers(request: Request, flow: Flow, now: float) -> Response | None:
    """A server's screen: REGISTER and INVITE need credentials, REFER is forbidden."""
    if request.method in ("REGISTER", "INVITE"):
        nonce = ("WWW-Authenticate", f'Digest realm="spech", nonce="{now}"')
        return response_to(request, 401, to_tag="screen", headers=[nonce])
    return response_to(request, 403, to_tag="screen") if request.method == "REFER" else None


@pytest.mark.parametrize(
    ("method", "tag", "status"),
    [
        ("OPTIONS", "", 200),
        ("REGISTER", "", 401),
        ("INVITE", "", 401),
        ("REFER", "", 403),
        ("MESSAGE", "", 480),
        ("SUBSCRIBE", "", 489),
        ("NOTIFY", "", 489),
        ("CANCEL", "", 481),
        ("PUBLISH", "", 405),
        ("BYE", "unknown", 481),
        ("INVITE", "unknown", 481),
        ("INFO", "unknown", 481),
    ],
)
def test_stateless_responses_leave_no_state(method: str, tag: str, status: int) -> None:
    agent = UserAgent(random.Random(1), screen=refuse_strangers)
    data = request(method, NOISY, 1, tag=tag)
    first, *more = exchanged(agent, data, NOISY)
    assert (first.status, more) == (status, [])
    assert len(agent.layer) == len(agent.timers) == agent.layer.memory == 0
    assert agent.sessions == ()
    # No response is retransmitted by a timer, and each copy gets the same tag (RFC 3261 8.2.7).
    assert agent.get_timer() is None
    (again,) = exchanged(agent, data, NOISY)
    assert bytes(again) == bytes(first)
    (other,) = exchanged(agent, request(method, NOISY, 2, tag=tag), NOISY)
    assert tag or method in ("REGISTER", "INVITE", "REFER") or other.to.tag != first.to.tag


def test_an_unreadable_invite_releases_its_share() -> None:
    agent = UserAgent(random.Random(1), max_sessions=4)
    for number in range(1, 10):
        bad = request("INVITE", NOISY, number).replace(b"Contact:", b"Record-Route: <\r\nContact:")
        answers = exchanged(agent, bad, NOISY)
        assert [answer.status for answer in answers] == [400]
        assert len(agent.layer) == 0
    assert not exchanged(agent, request("INVITE", NOISY, 10), NOISY)


def setup_by(agent: UserAgent, trunk: Flow, number: int, now: float) -> bool:
    """A whole call from ``trunk``: whether it was answered. It stays up."""
    offer = Negotiator([AUDIO], trunk.remote[0], 4000, 1).offer()
    invite = request("INVITE", trunk, number, body=offer)
    invite = invite.replace(b"Contact:", b"Content-Type: application/sdp\r\nContact:")
    if exchanged(agent, invite, trunk, now):
        return False
    session = incoming(agent, trunk)
    session.answer(lambda number: Negotiator([AUDIO], "192.0.2.100", 5000, number), now)
    agent.to_send(now)
    exchanged(agent, request("ACK", trunk, number, tag=session.local_tag), trunk, now)
    return session.is_up


def test_a_flood_from_many_spoofed_sources_does_not_lock_out_known_peers() -> None:
    """1,000 requests a second from 10,000 sources; the trunk calls 5 times a second."""
    agent = UserAgent(random.Random(1), max_sessions=300, max_memory=5_000_000)
    agent.takes_messages = True
    agent.is_known_peer = lambda host: host == QUIET.remote[0]
    methods = ["INVITE", "MESSAGE", "OPTIONS", "REGISTER"]
    refused = set_up = 0
    for number in range(1, 6001):
        now = number / 1000
        source = Flow("udp", NOISY.local, (f"198.51.{number % 100}.{number // 100 % 100}", 5060))
        for answer in exchanged(agent, request(methods[number % 4], source, number), source, now):
            refused += answer.status == 503
        if number % 200 == 0:
            set_up += setup_by(agent, QUIET, 100_000 + number, now)
        agent.handle_timer(now)
        while agent.next_event() is not None:
            pass
    assert refused > 1000  # The flood used up the share of strangers.
    assert set_up == 30
    assert agent.layer.memory <= 5_000_000 * 11 / 8
    assert len(agent.sessions) <= 300 * 11 / 8
    # A peer with a call is known as well.
    agent.is_known_peer = lambda host: False
    assert setup_by(agent, QUIET, 200_000, 6.0)
    other = Flow("udp", QUIET.local, ("192.0.2.8", 5060))
    assert not setup_by(agent, other, 200_001, 6.0)


@pytest.mark.parametrize("size", [0, 30_000])
def test_transactions_use_no_more_memory_than_accounted(size: int) -> None:
    agent = UserAgent(random.Random(1))
    # The timeline's memory has its own bound.
    agent.timeline = Timeline()
    agent.takes_messages = True
    exchanged(agent, request("MESSAGE", NOISY, 100_000), NOISY)
    number = 300
    before = agent.layer.memory
    tracemalloc.start()
    try:
        for one in range(1, number):
            agent.receive_message(request("MESSAGE", NOISY, one, body=bytes(size)), NOISY, 0.0)
            agent.to_send(0.0)
            agent.next_event()
        agent.timeline = Timeline()
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken < agent.layer.memory - before


def test_the_timeline_keeps_a_bounded_number_of_bytes() -> None:
    timeline = Timeline()
    calls = [f"{number}@192.0.2.66" for number in range(1, 2001)]
    for number, call in enumerate(calls, 1):
        timeline.open(call)
        for _ in range(3):
            timeline.received(request("OPTIONS", NOISY, number, body=bytes(60_000)), NOISY, 0.0)
    kept = [len(entry.data) for call in calls for entry in timeline.entries(call)]
    assert 1_000_000 < sum(kept) < 66_000_000


def test_disarmed_timers_are_forgotten() -> None:
    timers: Any = TimerSet()
    for number in range(10_000):
        timers.set(number, "expire", 2.0**32)
        timers.set("steady", "tick", float(number))
        timers.clear_all(number)
    assert len(timers) == 1
    assert len(timers._heap) < 200
    assert timers.pop_due(10_000.0) == ("steady", "tick")
    assert timers.next_at() is None


def test_ipv6_networks_count_as_one_source() -> None:
    assert source_of("192.0.2.1") == "192.0.2.1"
    assert source_of("::ffff:192.0.2.1") == "192.0.2.1"
    assert source_of("2001:db8::1") == source_of("2001:db8::2:0:0:1")
    assert source_of("2001:db8::1") != source_of("2001:db8:0:1::1")
    assert source_of("fe80::1%eth0") == source_of("fe80::2%eth0")


@settings(deadline=None, derandomize=True, database=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 9), st.booleans()), max_size=60))
def test_shares_leave_room_for_newcomers(steps: list[tuple[str, int, bool]]) -> None:
    shares = Shares(100)
    held: dict[str, list[int]] = {"a": [], "b": [], "c": []}
    for source, amount, gives in steps:
        if gives and held[source]:
            shares.give_back(source, held[source].pop())
        elif shares.take(source, amount):
            held[source].append(amount)
            assert sum(held[source]) <= 100 - shares.lent + amount
    assert shares.lent == sum(map(sum, held.values())) <= 100
    assert len(shares) == sum(1 for amounts in held.values() if amounts)
    # A newcomer gets a share.
    assert shares.take("d", 1)
