"""Many requests, hostile ones among them: memory stays bounded, and nobody starves."""

from __future__ import annotations

import random
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spech.shares import Shares, source_of
from spech.sip import events
from spech.sip.agent import UserAgent
from spech.sip.call.session import Session
from spech.sip.description.offer_answer import Negotiator
from spech.sip.description.payload_types import AudioFormat
from spech.sip.message.message import Response
from spech.sip.message.parser import parse
from spech.sip.timeline import Timeline
from spech.sip.transaction.flow import Flow
from spech.sip.transaction.timers import PATIENCE, TimerSet

NOISY = Flow("udp", ("192.0.2.100", 5060), ("192.0.2.66", 5060))
QUIET = Flow("udp", ("192.0.2.100", 5060), ("192.0.2.7", 5060))

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
    return text.encode() + body


def exchanged(agent: UserAgent, data: bytes, flow: Flow, now: float = 0.0) -> list[Response]:
    """What the agent answers to ``data``."""
    agent.receive(data, flow, now)
    answers = [parse(outgoing.data) for outgoing in agent.to_send(now)]
    return [answer for answer in answers if isinstance(answer, Response)]


def flooded(agent: UserAgent) -> int:
    """Requests from the noisy source until it is refused; how many it took."""
    for number in range(1, 100_000):
        (answer,) = exchanged(agent, request("OPTIONS", NOISY, number), NOISY)
        if answer.status == 503:
            assert 0 < int(answer.headers.get("Retry-After") or "") < 60
            return number
    raise AssertionError("it was never refused")


def test_a_flood_is_turned_away_and_others_are_served() -> None:
    agent = UserAgent(random.Random(1))
    taken = flooded(agent)
    assert taken > 1000  # A busy trunk is one source.
    assert len(agent.layer) < taken
    for number in range(1, 100):
        (answer,) = exchanged(agent, request("OPTIONS", QUIET, number), QUIET)
        assert answer.status == 200
    (answer,) = exchanged(agent, request("OPTIONS", NOISY, 100_001), NOISY)
    assert answer.status == 503
    # It is over when it is over.
    agent.handle_timer(PATIENCE + 1)
    assert len(agent.layer) == 0
    (answer,) = exchanged(agent, request("OPTIONS", NOISY, 100_002), NOISY, PATIENCE + 1)
    assert answer.status == 200


def incoming(agent: UserAgent) -> Session:
    while (event := agent.next_event()) is not None:
        if isinstance(event, events.InviteReceived):
            return event.session
    raise AssertionError("nobody called")


def test_a_call_that_is_up_can_be_ended_during_a_flood() -> None:
    agent = UserAgent(random.Random(1))
    offer = Negotiator([AudioFormat("PCMU", "PCMU", 8000, 0)], "192.0.2.66", 4000, 1).offer()
    invite = request("INVITE", NOISY, 1, body=offer)
    invite = invite.replace(b"Contact:", b"Content-Type: application/sdp\r\nContact:")
    exchanged(agent, invite, NOISY)
    session = incoming(agent)
    audio = AudioFormat("PCMU", "PCMU", 8000, 0)
    session.answer(lambda number: Negotiator([audio], "192.0.2.100", 5000, number), 0.0)
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
    # Who hangs up may call again.
    first.hang_up(0.0)
    exchanged(agent, request("ACK", NOISY, 1, tag=first.local_tag), NOISY)
    agent.handle_timer(PATIENCE)
    agent.to_send(PATIENCE)
    assert not exchanged(agent, request("INVITE", NOISY, 7), NOISY, PATIENCE)
    assert len(agent.sessions) == 6


@pytest.mark.parametrize("size", [0, 30_000])
def test_transactions_take_no_more_memory_than_is_accounted_for(size: int) -> None:
    agent = UserAgent(random.Random(1))
    # The timeline's memory has a bound of its own.
    agent.timeline = Timeline()
    exchanged(agent, request("OPTIONS", NOISY, 100_000), NOISY)
    number = 300
    before = agent.layer.memory
    tracemalloc.start()
    try:
        for one in range(1, number):
            agent.receive(request("OPTIONS", NOISY, one, body=bytes(size)), NOISY, 0.0)
            agent.to_send(0.0)
        agent.timeline = Timeline()
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken < agent.layer.memory - before


def test_timeline_keeps_a_bounded_number_of_bytes() -> None:
    timeline = Timeline()
    calls = [f"{number}@192.0.2.66" for number in range(1, 2001)]
    for number, call in enumerate(calls, 1):
        timeline.open(call)
        for _ in range(3):
            timeline.received(request("OPTIONS", NOISY, number, body=bytes(60_000)), NOISY, 0.0)
    kept = [len(entry.data) for call in calls for entry in timeline.entries(call)]
    assert 1_000_000 < sum(kept) < 66_000_000


def test_disarmed_timers_are_forgotten() -> None:
    timers = TimerSet()
    for number in range(10_000):
        timers.set(number, "expire", 2.0**32)
        timers.set("steady", "tick", float(number))
        timers.clear_all(number)
    assert len(timers) == 1
    assert len(timers._heap) < 200
    assert timers.pop_due(10_000.0) == ("steady", "tick")
    assert timers.next_at() is None


def test_sources() -> None:
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
    # Whoever comes now gets something.
    assert shares.take("d", 1)
