"""A user agent with calls and a registration, which reads each header that it makes use of."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from spech.errors import RemoteProtocolError
from spech.sip import events
from spech.sip.agent import UserAgent
from spech.sip.description.offer_answer import Negotiator
from spech.sip.description.payload_types import AudioFormat
from spech.sip.dialog.identity import Identity
from spech.sip.message.headers import NameAddr
from spech.sip.message.message import Request, response_to
from spech.sip.message.parser import parse
from spech.sip.message.uri import Uri
from spech.sip.transaction.flow import Flow

from .parser import Parser

_FLOW: Final = Flow("udp", ("192.0.2.1", 5060), ("192.0.2.2", 5060))
_ADDRESS: Final = NameAddr(Uri.parse("sip:alice@192.0.2.2"))
_SERVER: Final = Uri.parse("sip:192.0.2.2")


def _media(number: int) -> Negotiator:
    return Negotiator([AudioFormat("PCMU", "PCMU", 8000, 0)], "192.0.2.1", 4000, number)


def _hear(agent: UserAgent, data: bytes) -> None:
    """A message, what the program does about it, and what is sent."""
    agent.receive_message(data, _FLOW, 0.0)
    while (event := agent.next_event()) is not None:
        if isinstance(event, events.InviteReceived):
            event.session.ring(0.0)
            try:
                event.session.answer(_media, 0.0)
            except RemoteProtocolError:
                continue
    for outgoing in agent.to_send(0.0):
        parse(outgoing.data)


def _agent() -> tuple[UserAgent, Identity]:
    agent = UserAgent(random.Random(1))
    return agent, Identity(_ADDRESS, "alice", "secret", agent.rng)


def _requested(method: bytes) -> Callable[[bytes], None]:
    """A request from outside any dialog."""
    head = (
        b"%b sip:alice@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.2;branch=z9hG4bK1\r\n"
        b"From: <sip:bob@192.0.2.2>;tag=1\r\nTo: <sip:alice@192.0.2.1>\r\nCall-ID: 1\r\n"
        b"CSeq: 1 %b\r\nMax-Forwards: 70\r\nContact: <sip:bob@192.0.2.2>\r\n"
    ) % (method, method)

    def read(data: bytes) -> None:
        agent, _ = _agent()
        _hear(agent, head + data)

    return read


def _in_call(method: str) -> Callable[[bytes], None]:
    """A request of the peer within a call."""

    def read(data: bytes) -> None:
        agent, identity = _agent()
        agent.invite(identity, _SERVER, [_FLOW], _media, 0.0)
        invite = _sent(agent)
        description = _media(2).receive_offer(invite.body)[0]
        answer = response_to(
            invite,
            200,
            to_tag="2",
            headers=[("Contact", "<sip:192.0.2.2>"), ("Content-Type", "application/sdp")],
            body=description,
        )
        _hear(agent, bytes(answer))
        head = (
            f"{method} sip:alice@192.0.2.1 SIP/2.0\r\n"
            "Via: SIP/2.0/UDP 192.0.2.2;branch=z9hG4bK2\r\n"
            f"From: {answer.headers.get('To')}\r\nTo: {invite.headers.get('From')}\r\n"
            f"Call-ID: {invite.call_id}\r\nCSeq: 7 {method}\r\nMax-Forwards: 70\r\n"
            "Contact: <sip:192.0.2.2>\r\n"
        )
        _hear(agent, head.encode() + data)

    return read


def _sent(agent: UserAgent) -> Request:
    (outgoing,) = agent.to_send(0.0)
    request = parse(outgoing.data)
    assert isinstance(request, Request)
    return request


def _answered(status: int, *, registers: bool) -> Callable[[bytes], None]:
    """A response to our INVITE or REGISTER."""

    def read(data: bytes) -> None:
        agent, identity = _agent()
        if registers:
            agent.register(identity, _SERVER, [_FLOW], 0.0)
        else:
            agent.invite(identity, _SERVER, [_FLOW], _media, 0.0)
        answer = bytes(response_to(_sent(agent), status, to_tag="2"))
        _hear(agent, answer.removesuffix(b"Content-Length: 0\r\n\r\n") + data)

    return read


def _headers(*names: bytes) -> tuple[tuple[bytes, bytes], ...]:
    return tuple((name + b": ", b"\r\n\r\n") for name in names)


AGENTS: Final = (
    Parser(
        "INVITE to us",
        _requested(b"INVITE"),
        (
            *_headers(b"Session-Expires", b"Require", b"Supported", b"Record-Route"),
            *_headers(b"Replaces", b"Alert-Info", b"Accept", b"Content-Disposition"),
        ),
    ),
    Parser("MESSAGE to us", _requested(b"MESSAGE"), _headers(b"Content-Type", b"Route")),
    Parser("REFER in a call", _in_call("REFER"), _headers(b"Refer-To", b"Referred-By")),
    Parser(
        "NOTIFY in a call",
        _in_call("NOTIFY"),
        (
            *_headers(b"Event", b"Event: refer\r\nSubscription-State"),
            (
                b"Event: refer\r\nSubscription-State: active\r\n"
                b"Content-Type: message/sipfrag\r\n\r\n",
                b"",
            ),
        ),
    ),
    Parser(
        "INVITE in a call",
        _in_call("INVITE"),
        _headers(b"Session-Expires", b"Contact", b"Content-Type"),
    ),
    Parser(
        "180",
        _answered(180, registers=False),
        _headers(b"Require: 100rel\r\nRSeq", b"Record-Route", b"Alert-Info"),
    ),
    Parser(
        "200",
        _answered(200, registers=False),
        _headers(b"Session-Expires", b"Record-Route", b"Contact", b"Content-Type"),
    ),
    Parser("302", _answered(302, registers=False), _headers(b"Contact")),
    Parser("401", _answered(401, registers=True), _headers(b"WWW-Authenticate")),
    Parser("422", _answered(422, registers=False), _headers(b"Min-SE")),
    Parser("423", _answered(423, registers=True), _headers(b"Min-Expires")),
    Parser("503", _answered(503, registers=True), _headers(b"Retry-After")),
    Parser(
        "registered",
        _answered(200, registers=True),
        _headers(b"Contact", b"Service-Route", b"Path", b"P-Associated-URI"),
    ),
)
