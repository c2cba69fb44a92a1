"""The required responses to requests that cannot be served (RFC 3261 8.2 and 21.4)."""

from __future__ import annotations

import random

import pytest

from spech.sip import events
from spech.sip.agent import UserAgent
from spech.sip.call.states import SessionState
from spech.sip.dialog.capabilities import ALLOW, KNOWN
from spech.sip.message.body import MAX_BODY
from spech.sip.message.message import Request, Response, response_to
from spech.sip.message.parser import parse
from spech.sip.message.uri import Uri
from spech.sip.transaction.flow import Flow
from spech.testing.wire import FakeWire

from ..conftest import Pair, invite, media

OFFER = media("10.0.0.2", 5000)(1).offer()
FLOW = Flow("udp", ("10.0.0.1", 5060), ("10.0.0.2", 5060))


def ask(pair: Pair, method: str, *headers: tuple[str, str], body: bytes = b"") -> Response:
    """Alice's response to Bob's request outside a dialog."""
    request = invite(*headers, body=body)
    changed = request.headers.set("CSeq", f"1 {method}")
    pair.bob.send(request.replace(method=method, headers=changed), pair.alice)
    pair.wire.run(0.3)
    response = pair.bob.inbox[-1]
    assert isinstance(response, Response)
    if response.status >= 200:
        assert response.to.tag is not None  # 8.2.6.2
    return response


def text(*headers: tuple[str, str], start: str = "INVITE sip:alice@10.0.0.1 SIP/2.0") -> bytes:
    """A request as text, without validation."""
    lines = {
        "Via": "SIP/2.0/UDP 10.0.0.2:5060;branch=z9hG4bKtext",
        "Max-Forwards": "70",
        "From": "<sip:bob@10.0.0.2>;tag=b1",
        "To": "<sip:alice@10.0.0.1>",
        "Call-ID": "text",
        "CSeq": f"1 {start.partition(' ')[0]}",
        "Contact": "<sip:bob@10.0.0.2>",
    } | dict(headers)
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value)
    return f"{start}\r\n{head}\r\n".encode()


def told(data: bytes) -> list[Response]:
    """An agent's response to ``data``, which it must have counted in any case."""
    agent = UserAgent(random.Random(1))
    agent.receive_message(data, FLOW, 0.0)
    responses = [parse(outgoing.data) for outgoing in agent.to_send(0.0)]
    assert sum(agent.dropped.values()) == 1
    assert isinstance(agent.next_event(), events.Malformed)
    assert all(isinstance(response, Response) for response in responses)
    return [response for response in responses if isinstance(response, Response)]


# ---------------------------------------------------------------------- 8.2.1 the method


@pytest.mark.parametrize("method", ["REGISTER", "PUBLISH"])
def test_an_unsupported_method_is_refused_with_405(scripted: Pair, method: str) -> None:
    response = ask(scripted, method)
    assert (response.status, response.headers.get("Allow")) == (405, ALLOW)


@pytest.mark.parametrize("method", ["SUMMON", "invite", "X-1"])
def test_an_unknown_method_is_refused_with_501(scripted: Pair, method: str) -> None:
    assert method not in KNOWN
    assert ask(scripted, method).status == 501


def test_unsupported_methods_within_a_call_are_refused(pair: Pair) -> None:
    ours, theirs = pair.established()
    assert theirs.dialog is not None
    for method, status in (("REGISTER", 405), ("SUMMON", 501), ("OPTIONS", 200)):
        via = pair.bob.agent.via(theirs.dialog.flow)
        pair.bob.send(theirs.dialog.request(method, via), pair.alice)
        pair.wire.run(0.1)
        assert pair.kinds(pair.alice)[-1] == f"{status} {method}"
    assert ours.state is SessionState.CONFIRMED


# ---------------------------------------------------------------------- 8.2.2 the headers


@pytest.mark.parametrize("uri", ["mailto:alice@example.org", "nobody:knows", "http://10.0.0.1/"])
def test_an_unsupported_scheme_is_refused_with_416(uri: str) -> None:
    (response,) = told(text(start=f"INVITE {uri} SIP/2.0"))
    assert response.status == 416


def test_unknown_required_extensions_are_refused_with_420(scripted: Pair) -> None:
    response = ask(scripted, "OPTIONS", ("Require", "timer, telepathy, levitation"))
    assert (response.status, response.headers.get("Unsupported")) == (
        420,
        "telepathy, levitation",
    )


def test_a_420_within_a_call_keeps_it(pair: Pair) -> None:
    ours, theirs = pair.established()
    assert theirs.dialog is not None
    via = pair.bob.agent.via(theirs.dialog.flow)
    headers = [("Require", "telepathy"), ("Contact", "<sip:bob@10.0.0.2>")]
    pair.bob.send(theirs.dialog.request("UPDATE", via, headers=headers), pair.alice)
    pair.wire.run(0.1)
    assert "420 UPDATE" in pair.kinds(pair.alice)
    assert ours.state is SessionState.CONFIRMED


@pytest.mark.parametrize("method", ["BYE", "INFO", "PRACK", "UPDATE"])
def test_a_request_for_an_unknown_call_is_refused_with_481(scripted: Pair, method: str) -> None:
    assert ask(scripted, method).status == 481
    other = ask(scripted, method, ("Via", "SIP/2.0/UDP 10.0.0.2:5060;branch=z9hG4bKother"))
    assert other.status == 481


def test_a_request_for_an_unknown_dialog_is_refused_with_481(scripted: Pair) -> None:
    request = invite(body=OFFER)
    headers = request.headers.set("To", "<sip:alice@10.0.0.1>;tag=gone")
    scripted.bob.send(request.replace(headers=headers), scripted.alice)
    scripted.wire.run(0.1)
    assert scripted.bob.take("481 INVITE").to.tag == "gone"


# ---------------------------------------------------------------------- 8.2.3 the content


def test_a_body_of_another_type_is_refused_with_415(scripted: Pair) -> None:
    request = invite(("Content-Type", "application/x-fax"))
    scripted.bob.send(request.replace(body=b"fax"), scripted.alice)
    scripted.wire.run(0.1)
    assert scripted.bob.take("415 INVITE").headers.get("Accept") == "application/sdp"


def test_an_encoded_body_is_refused_with_415(scripted: Pair) -> None:
    response = ask(scripted, "INVITE", ("Content-Encoding", "gzip"), body=OFFER)
    assert (response.status, response.headers.get("Accept-Encoding")) == (415, "identity")


def test_a_message_of_another_type_is_refused_with_415(scripted: Pair) -> None:
    scripted.alice.agent.takes_messages = True
    request = invite(("Content-Type", "text/html"))
    headers = request.headers.set("CSeq", "1 MESSAGE")
    scripted.bob.send(
        request.replace(method="MESSAGE", headers=headers, body=b"<b>"), scripted.alice
    )
    scripted.wire.run(0.1)
    assert scripted.bob.take("415 MESSAGE").headers.get("Accept") == "text/plain"


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("text/nothing", 406),
        ("application/sdp;level=1", 100),
        ("text/plain, application/*", 100),
        ("*/*", 100),
    ],
)
def test_a_caller_that_accepts_no_description_is_refused_with_406(
    scripted: Pair, accept: str, status: int
) -> None:
    assert ask(scripted, "INVITE", ("Accept", accept), body=OFFER).status == status


def test_a_too_large_body_is_refused_with_413(scripted: Pair) -> None:
    assert ask(scripted, "INVITE", body=OFFER + b"a=x\r\n" * (MAX_BODY // 5)).status == 413


def test_a_488_names_the_cause(pair: Pair) -> None:
    from spech.errors import RemoteProtocolError
    from spech.sip.description.offer_answer import Negotiator
    from spech.sip.description.payload_types import AudioFormat

    pair.call()
    theirs = pair.incoming()
    opus = AudioFormat("opus", "opus", 48000, None, None, 2)
    with pytest.raises(RemoteProtocolError):
        theirs.answer(lambda number: Negotiator([opus], "10.0.0.2", 5000, number), pair.wire.now)
    pair.wire.run(0.1)
    refused = next(p.message for p in pair.wire.log if p.kind == "488 INVITE")
    assert (refused.headers.get("Warning") or "").startswith("305 spech ")


def test_a_488_to_a_new_offer_keeps_the_call(pair: Pair) -> None:
    ours, theirs = pair.established()
    assert theirs.dialog is not None
    via = pair.bob.agent.via(theirs.dialog.flow)
    headers = [("Contact", "<sip:bob@10.0.0.2>"), ("Content-Type", "application/sdp")]
    body = OFFER.replace(b"PCMU/8000", b"XXXX/8000").replace(b"PCMA/8000", b"YYYY/8000")
    update = theirs.dialog.request("UPDATE", via, headers=headers, body=body)
    pair.bob.send(update, pair.alice)
    pair.wire.run(0.1)
    refused = next(p.message for p in pair.wire.log if p.kind == "488 UPDATE")
    assert refused.headers.get("Warning") is not None
    assert ours.state is SessionState.CONFIRMED


# ---------------------------------------------------------------------- what breaks the grammar


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (text(start="INVITE sip:alice@10.0.0.1 SIP/3.0"), 505),
        (text(("CSeq", "1 OPTIONS")), 400),
        (text(("Max-Forwards", "many")), 400),
        (text(("Contact", "")), 400),
        (text(("Content-Length", "500")), 400),
        (text(("Content-Length", "many")), 400),
        (text(("bad name", "x")), 400),
        (text(start="INVITE sip:alice@10.0.0.1  SIP/2.0"), 400),
        (text(start="INVITE <sip:alice@10.0.0.1> SIP/2.0"), 400),
        (text(("X-Long", "x" * 9000)), 513),
        (text(("X-Many", "\r\n".join(f"X-{n}: y" for n in range(300)))), 513),
    ],
)
def test_invalid_requests_are_refused(data: bytes, status: int) -> None:
    (response,) = told(data)
    assert response.status == status
    assert response.to.tag is not None
    assert response.via.branch == "z9hG4bKtext"


@pytest.mark.parametrize(
    "data",
    [
        text(("Content-Length", "500"), start="ACK sip:alice@10.0.0.1 SIP/2.0"),
        text(("Content-Length", "500"), ("Via", "")),
        text(("Content-Length", "500"), ("Via", "by pigeon")),
        text(("Content-Length", "500"), start="SIP/2.0 200 OK"),
        b"GET / HTTP/1.1\r\nHost: 10.0.0.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_unanswerable_messages_are_only_counted(data: bytes) -> None:
    assert told(data) == []


def test_a_refused_request_leaks_nothing(scripted: Pair) -> None:
    for number, method in enumerate(("SUMMON", "PUBLISH", "OPTIONS", "BYE")):
        via = ("Via", f"SIP/2.0/UDP 10.0.0.2:5060;branch=z9hG4bKx{number}")
        request = invite()
        headers = request.headers.set("CSeq", f"1 {method}").set(*via)
        scripted.bob.send(request.replace(method=method, headers=headers), scripted.alice)
    scripted.wire.run(200)
    agent = scripted.alice.agent
    assert agent.sessions == ()
    assert len(agent.layer) == 0
    assert agent.get_timer() is None


# ---------------------------------------------------------------------- 11 capabilities


def test_options_are_answered_correctly(scripted: Pair) -> None:
    response = ask(scripted, "OPTIONS")
    assert response.status == 200
    assert response.headers.values("Allow") == ALLOW.split(", ")
    assert response.headers.values("Supported") == ["100rel", "timer", "replaces"]
    assert response.headers.values("Accept") == [
        "application/sdp",
        "multipart/mixed",
        "text/plain",
    ]
    assert response.headers.get("Accept-Encoding") == "identity"
    assert "refer" in response.headers.values("Allow-Events")
    for method in response.headers.values("Allow"):
        if method not in ("ACK", "CANCEL", "INVITE"):
            # None of them is refused for what it is.
            via = ("Via", f"SIP/2.0/UDP 10.0.0.2:5060;branch=z9hG4bK{method}")
            request = invite()
            headers = request.headers.set("CSeq", f"1 {method}").set(*via)
            request = Request(method, Uri.parse("sip:alice@10.0.0.1"), headers)
            scripted.bob.send(request, scripted.alice)
            scripted.wire.run(0.1)
            answer = scripted.bob.inbox[-1]
            assert isinstance(answer, Response)
            assert answer.cseq.method == method
            assert answer.status not in (405, 501)


def test_a_redirection_to_many_targets_costs_few_lookups() -> None:
    pair = Pair(FakeWire(seed=9), bob_agent=False)
    pair.call()
    pair.wire.run(0.1)
    request = pair.bob.take("INVITE")
    assert isinstance(request, Request)
    places = ", ".join(f"<sip:x@h{number}.test>;q=0.{number:03}" for number in range(100))
    response = response_to(request, 302, to_tag="b", headers=[("Contact", places)])
    pair.bob.send(response, pair.alice)
    pair.wire.run(0.1)
    event = pair.find(pair.alice, events.Redirected)
    assert isinstance(event, events.Redirected)
    assert [str(uri) for uri in event.targets][:2] == ["sip:x@h99.test", "sip:x@h98.test"]
    assert len(event.targets) == 8
