"""Damaged torture messages raise nothing and leak nothing."""

from __future__ import annotations

import random
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from spech.errors import RemoteProtocolError
from spech.sip import events
from spech.sip.agent import UserAgent
from spech.sip.description.offer_answer import Negotiator
from spech.sip.description.payload_types import AudioFormat
from spech.sip.dialog.identity import Identity
from spech.sip.message.framing import StreamFramer
from spech.sip.message.headers import NameAddr
from spech.sip.message.message import Request, response_to
from spech.sip.message.parser import MAX_MESSAGE, parse, parse_head
from spech.sip.message.uri import Uri
from spech.sip.transaction.flow import Flow
from spech.sip.transaction.timers import TRANSACTION_TIMEOUT

PROPERTY = settings(deadline=None, derandomize=True, database=None)
FLOW = Flow("udp", ("192.0.2.100", 5060), ("192.0.2.200", 5060))
CORPUS = [path.read_bytes() for path in sorted((Path(__file__).parent / "data").glob("*.dat"))]
#: Characters that parsers of text often fail on.
SHARP = [b"", b"\r\n", b"\n", b"\0", b'"', b"\\", b"<", b">", b",", b";", b":", b"@", b"\xff", b"%"]

Wound = tuple[int, int, bytes]
WOUNDS = st.lists(
    st.tuples(
        st.integers(0, 1200),
        st.integers(0, 6),
        st.sampled_from(SHARP)
        | st.sampled_from(CORPUS).map(lambda one: one[:80])
        | st.binary(max_size=4),
    ),
    max_size=5,
)


def read_head(head: bytes) -> object:
    try:
        return parse_head(head)
    except RemoteProtocolError as error:
        return str(error)


@PROPERTY
@given(
    st.lists(
        st.text("Viaf: \t,x\xe9", max_size=8) | st.sampled_from(["Via: x", "From: ", " y", "t: z"]),
        max_size=5,
    )
)
def test_the_fast_path_for_heads_agrees_with_the_full_parser(lines: list[str]) -> None:
    """A usual head takes a fast path; bare line feeds lead to the full parser."""
    head = "\n".join(["OPTIONS sip:x SIP/2.0", *lines, "CSeq: 1 OPTIONS"]).encode()
    assert read_head(head.replace(b"\n", b"\r\n")) == read_head(head)


def media(number: int) -> Negotiator:
    return Negotiator([AudioFormat("PCMU", "PCMU", 8000, 0)], "192.0.2.100", 4000, number)


def damaged(data: bytes, wounds: list[Wound]) -> bytes:
    injured = bytearray(data)
    for position, length, replacement in wounds:
        injured[position : position + length] = replacement
    return bytes(injured)


def answer_calls(agent: UserAgent, now: float) -> None:
    while (event := agent.next_event()) is not None:
        if isinstance(event, events.InviteReceived):
            event.session.ring(now)
            try:
                event.session.answer(media, now)
            except RemoteProtocolError:
                continue


def run_out(agent: UserAgent, now: float) -> None:
    """Nothing may be left after all calls have ended and timers have expired."""
    agent.close(now)
    for _ in range(1000):
        agent.to_send(now)
        answer_calls(agent, now)
        at = agent.get_timer()
        if at is None:
            break
        assert at < now + 2 * TRANSACTION_TIMEOUT
        now = max(now, at)
        agent.handle_timer(now)
    assert len(agent.layer) == 0
    assert agent.sessions == ()
    assert agent.idle


@settings(PROPERTY, max_examples=400)
@given(st.lists(st.tuples(st.sampled_from(CORPUS), WOUNDS), min_size=1, max_size=4))
def test_the_agent_survives_damaged_messages(messages: list[tuple[bytes, list[Wound]]]) -> None:
    agent = UserAgent(random.Random(1))
    for data, wounds in messages:
        agent.receive_message(damaged(data, wounds), FLOW, 0.0)
        answer_calls(agent, 0.0)
        for outgoing in agent.to_send(0.0):
            parse(outgoing.data)
    run_out(agent, 1.0)


@settings(PROPERTY, max_examples=300)
@given(st.lists(st.tuples(st.integers(100, 699), WOUNDS), min_size=1, max_size=4))
def test_the_agent_survives_damaged_responses(answers: list[tuple[int, list[Wound]]]) -> None:
    agent = UserAgent(random.Random(1))
    alice = Identity(NameAddr(Uri.parse("sip:alice@192.0.2.200")), "alice", "secret", agent.rng)
    agent.invite(alice, Uri.parse("sip:bob@192.0.2.200"), [FLOW], media, 0.0)
    (invite,) = (parse(outgoing.data) for outgoing in agent.to_send(0.0))
    assert isinstance(invite, Request)
    for status, wounds in answers:
        challenge = 'Digest realm="x", nonce="y", qop="auth"'
        headers = [("Contact", "<sip:bob@192.0.2.200>"), ("WWW-Authenticate", challenge)]
        body = media(1).receive_offer(invite.body)[0]
        response = response_to(
            invite, status, to_tag="b", headers=headers, body=body, content_type="application/sdp"
        )
        agent.receive_message(damaged(bytes(response), wounds), FLOW, 0.0)
        answer_calls(agent, 0.0)
    run_out(agent, 1.0)


@settings(PROPERTY, max_examples=300)
@given(st.lists(st.tuples(st.sampled_from(CORPUS), WOUNDS), max_size=3), st.integers(1, 2000))
def test_the_framer_survives_damaged_streams(
    messages: list[tuple[bytes, list[Wound]]], size: int
) -> None:
    data = b"".join(damaged(one, wounds) for one, wounds in messages)

    def cut(size: int) -> tuple[list[bytes], bool]:
        framer = StreamFramer()
        found: list[bytes] = []
        try:
            for start in range(0, len(data), size):
                found += framer.receive_data(data[start : start + size])
                assert len(framer) <= MAX_MESSAGE + size
            framer.receive_data(b"")
        except RemoteProtocolError:
            return found, True
        return found, False

    # The messages do not depend on the chunks.
    assert cut(size) == cut(1)
