"""RFC 4475 and RFC 5118: every message, and the required behavior."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from spech.errors import RemoteProtocolError
from spech.sip.agent import UserAgent
from spech.sip.description import sdp
from spech.sip.message.framing import StreamFramer
from spech.sip.message.message import Request, Response, SipMessage
from spech.sip.message.parser import parse, salvage, validate
from spech.sip.transaction.flow import Flow
from spech.sip.transaction.timers import TRANSACTION_TIMEOUT

DATA = Path(__file__).parents[1] / "data"
UDP = Flow("udp", ("192.0.2.100", 5060), ("192.0.2.200", 5060))


@dataclass(frozen=True)
class Case:
    """The expected handling of a message.

    ``refused``: None when it is accepted, else the status of its refusal; ``parse`` tells whether
    the parser refuses it, or the validator. ``answer``: the first status that goes out for it, None
    for silence. ``cut``: how many messages a stream of its bytes holds, None when the stream cannot
    be read on.
    """

    name: str
    answer: int | None
    refused: int | None = None
    parse: bool = False
    read: Callable[[SipMessage], object] = lambda message: None
    value: object = None
    cut: int | None = 1


def named(message: SipMessage) -> tuple[object, ...]:
    """The long header names that a short one or an odd spelling stands for."""
    assert isinstance(message, Request)
    return (
        message.method,
        message.to.tag,
        message.from_.display_name,
        message.from_.tag,
        message.headers.get("Max-Forwards"),
        str(message.cseq),
        [(via.transport, via.host, via.branch) for via in message.vias],
        message.headers.get("Subject"),
        message.headers.get("NewFangledHeader"),
        message.headers.get("UnknownHeaderWithUnusualValue"),
        message.routes[0].uri.parameter("unknown-no-value"),
        message.contacts[0].display_name,
        message.contacts[0].parameters,
        len(message.body),
    )


def wide(message: SipMessage) -> tuple[object, ...]:
    """Unusual characters wherever they may stand."""
    assert isinstance(message, Request)
    return (
        message.method,
        message.uri.user,
        message.uri.password,
        message.uri.host,
        message.via.branch,
        message.to.display_name,
        message.from_.display_name,
        message.from_.parameters,
        message.call_id,
        message.headers.get("extensionHeader-!.%*+_`'~"),
    )


def uri(message: SipMessage) -> tuple[object, ...]:
    """The parts of the Request-URI."""
    assert isinstance(message, Request)
    return (message.uri.user, message.uri.host, message.uri.port, message.uri.headers)


def method(message: SipMessage) -> str:
    """The method."""
    assert isinstance(message, Request)
    return message.method


def contacts(message: SipMessage) -> list[str]:
    """The Contact values as they would be written."""
    return [str(contact) for contact in message.contacts]


def vias(message: SipMessage) -> list[tuple[str, str, int | None, str | None]]:
    """Transport, sent-by and ``received`` of all Via values."""
    return [(via.transport, via.host, via.port, via.received) for via in message.vias]


def connections(message: SipMessage) -> list[str | None]:
    """The addresses that media are sent to."""
    session = sdp.parse(message.body)
    return [media.connection or session.connection for media in session.media]


def reason(message: SipMessage) -> tuple[int, str]:
    """Status and phrase."""
    assert isinstance(message, Response)
    return message.status, message.reason


LONG_CALLER = "amazinglylongcallername" * 5

CASES = [
    # RFC 4475 3.1.1, valid messages.
    Case(
        "wsinv",
        481,  # It has the tags of a dialog.
        read=named,
        value=(
            "INVITE",
            "1918181833n",
            'J Rosenberg \\"',
            "98asjd8",
            "0068",
            "9 INVITE",
            [
                ("UDP", "192.0.2.2", "390skdjuw"),
                ("TCP", "spindle.example.com", "z9hG4bK9ikj8"),
                ("UDP", "192.168.255.111", "z9hG4bK30239"),
            ],
            "",
            "newfangled value continued newfangled value",
            ";;,,;;,;",
            "",
            'Quoted string ""',
            (("newparam", "newvalue"), ("secondparam", None), ("q", "0.33")),
            150,
        ),
    ),
    Case(
        "intmeth",
        501,
        read=wide,
        value=(
            "!interesting-Method0123456789_*+`.%indeed'~",
            "1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*",
            "&it+has=1,weird!*pas$wo~d_too.(doesn't-it)",
            "example.com",
            "z9hG4bK-.!%66*_+`'~",
            # The escaped control characters are not passed on to a terminal.
            "BEL:\ufffd NUL:\ufffd DEL:\ufffd",
            "token1~` token2'+_ token3*%!.-",
            (("fromParam''~+*_!.-%", "работающий"), ("tag", "_token~1'+`*%!-.")),
            "intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{",
            "\ufeff大停電",
        ),
    ),
    Case(
        "esc01",
        100,
        read=lambda m: (uri(m), m.to.uri.address, contacts(m)),
        value=(
            ("sips%3Auser%40example.com", "example.net", None, ""),
            "sip:%75se%72@example.com",
            ["<sip:cal%6Cer@host5.example.net;%6C%72;n%61me=v%61lue%25%34%31>"],
        ),
    ),
    Case(
        "escnull",
        405,
        read=lambda m: (m.to.uri.user, contacts(m)),
        value=(
            "null-%00-null",
            ["<sip:%00@host5.example.com>", "<sip:%00%00@host5.example.com>"],
        ),
    ),
    Case(
        "esc02",
        501,
        read=lambda m: (method(m), m.from_.display_name, len(m.contacts)),
        value=("RE%47IST%45R", "%Z%45", 2),
    ),
    Case("lwsdisp", 200, read=lambda m: m.from_.display_name, value="caller"),
    Case(
        "longreq",
        100,
        read=lambda m: (
            m.to.display_name,
            m.to.uri.parameter("very" + "long" * 25 + "ParameterNameWithNoValue"),
            m.from_.uri.user,
            m.from_.tag,
            m.call_id,
            m.headers.get("unknown-" + "long" * 20 + "-name"),
            [via.host for via in m.vias[:33]],
            m.vias[33].branch,
            contacts(m),
            len(m.body),
        ),
        value=(
            "I have a user name of " + "extreme" * 10 + " proportion",
            "",
            LONG_CALLER,
            "12" + "982" * 50 + "424",
            "longreq.one" + "really" * 20 + "longcallid",
            "unknown-{0}-value; unknown-{0}-parameter-name = unknown-{0}-parameter-value".format(
                "long" * 20
            ),
            [f"sip{number}.example.com" for number in range(33, 0, -1)],
            "very" + "long" * 50 + "branchvalue",
            [f"<sip:{LONG_CALLER}@host5.example.net>"],
            150,
        ),
    ),
    # The octets after the body are noise in a datagram; on a stream they are the next message.
    Case("dblreq", 405, read=lambda m: (method(m), m.body), value=("REGISTER", b""), cut=2),
    Case("semiuri", 200, read=uri, value=("user;par=u%40example.net", "example.com", None, "")),
    Case(
        "transports",
        200,
        read=lambda m: [via.transport for via in m.vias],
        value=["UDP", "SCTP", "TLS", "UNKNOWN", "TCP"],
    ),
    Case(
        "mpart01",
        415,
        read=lambda m: (len(m.body), m.body.count(b"\0"), m.body[-22:]),
        value=(553, 2, b"--7a9cbec02ceef655--\r\n"),
    ),
    Case(
        "unreason",
        None,
        read=reason,
        value=(200, "= 2**3 * 5**2 но сто девяносто девять - простое"),
    ),
    Case("noreason", None, read=reason, value=(100, "")),
    # 3.1.2, invalid messages.
    Case("badinv01", 400, refused=400),
    # On a stream the rest may still arrive.
    Case("clerr", 400, refused=400, parse=True, cut=0),
    Case("ncl", 400, refused=400, parse=True, cut=None),
    Case("scalar02", 400, refused=400),
    Case("scalarlg", None, refused=400),
    Case("ltgtruri", 400, refused=400, parse=True),
    Case("lwsruri", 400, refused=400, parse=True),
    Case("lwsstart", 400, refused=400, parse=True),
    # RFC 4475 3.1.2.6 asks for 400. Phones in the field write names with raw quotes, so the lenient
    # reading takes the name from what stands before the URI.
    Case("quotbal", 100, read=lambda m: m.to.display_name, value="Mr. J. User"),
    # Some of the following may be accepted or refused. We accept what is not ambiguous.
    Case("trws", 200, read=lambda m: m.version, value="SIP/2.0"),
    Case(
        "escruri", 100, read=uri, value=("user", "example.com", None, "Route=%3Csip:example.com%3E")
    ),
    Case(
        "baddate", 100, read=lambda m: m.headers.get("Date"), value="Fri, 01 Jan 2010 16:00:00 EST"
    ),
    Case("regbadct", 400, refused=400),
    Case("badaspec", 200, read=lambda m: str(m.to.uri), value="sip:t.watson@example.org"),
    Case("baddn", 200, read=lambda m: m.from_.display_name, value="Bell, Alexander"),
    Case("badvers", 505, refused=505),
    Case("mismatch01", 400, refused=400),
    Case("mismatch02", 400, refused=400),
    Case("bigcode", None, refused=400, parse=True),
    # 3.2, the transaction layer.
    Case("badbranch", 200, read=lambda m: m.via.branch, value="z9hG4bK"),
    # 3.3, the application.
    Case("insuf", 400, refused=400),
    Case("unkscm", 416, refused=416),
    Case("novelsc", 416, refused=416),
    Case(
        "unksm2",
        405,
        read=lambda m: (m.to.uri.scheme, m.from_.uri.user, m.contacts[0].uri.scheme),
        value=("isbn", "//www.example.com", "name"),
    ),
    Case("bext01", 420),
    Case(
        "invut",
        415,
        read=lambda m: m.body.split(),
        value=[b"<audio>", b"<pcmu", b'port="443"/>', b"</audio>"],
    ),
    Case("regaut01", 405),
    # Its Content-Length is also wrong: 154 for 152 bytes.
    Case("multi01", 400, refused=400, parse=True, cut=0),
    Case("mcl01", 400, refused=400, parse=True, cut=None),
    Case("bcast", None, refused=400),
    Case("zeromf", 200),
    Case(
        "cparam01",
        405,
        read=lambda m: (m.contacts[0].parameter("unknownparam"), m.contacts[0].uri.parameters),
        value=("", ()),
    ),
    Case(
        "cparam02",
        405,
        read=lambda m: (m.contacts[0].parameters, m.contacts[0].uri.parameter("unknownparam")),
        value=((), ""),
    ),
    Case(
        "regescrt",
        405,
        read=lambda m: m.contacts[0].uri.headers,
        value="Route=%3Csip:sip.example.com%3E",
    ),
    Case("sdp01", 406),
    # 3.4, RFC 2543. A stream needs Content-Length.
    Case(
        "inv2543",
        100,
        read=lambda m: (m.from_.tag, m.via.branch, len(m.body)),
        value=(None, None, 105),
        cut=None,
    ),
    # RFC 5118.
    Case("ipv6-good", 405, read=uri, value=(None, "2001:db8::10", None, "")),
    Case("ipv6-bad", 400, refused=400, parse=True),
    Case("port-ambiguous", 405, read=uri, value=(None, "2001:db8::10:5070", None, "")),
    Case("port-unambiguous", 405, read=uri, value=(None, "2001:db8::10", 5070, "")),
    Case(
        "via-received-param-with-delim",
        481,
        read=vias,
        value=[("UDP", "2001:db8::9:1", None, "2001:db8::9:255")],
    ),
    Case(
        "via-received-param-no-delim",
        200,
        read=vias,
        value=[("UDP", "2001:db8::9:1", None, "2001:db8::9:255")],
    ),
    Case("ipv6-in-sdp", 100, read=connections, value=["2001:db8::20", "2001:db8::20"]),
    Case(
        "mult-ip-in-header",
        481,
        read=vias,
        value=[
            ("UDP", "2001:db8::9:1", 6050, None),
            ("UDP", "192.0.2.1", None, None),
            ("TCP", "2001:db8::9:255", None, "192.0.2.200"),
        ],
    ),
    Case("mult-ip-in-sdp", 100, read=connections, value=["192.0.2.1", "2001:db8::1"]),
    Case(
        "ipv4-mapped-ipv6",
        100,
        read=lambda m: (vias(m), m.contacts[0].uri.host, connections(m)),
        value=(
            [
                ("UDP", "::ffff:192.0.2.10", 19823, None),
                ("UDP", "::ffff:192.0.2.2", None, None),
            ],
            "::ffff:192.0.2.2",
            ["::ffff:192.0.2.2", "::ffff:192.0.2.2"],
        ),
    ),
    Case("ipv6-bug-abnf-3-colons", 200, read=uri, value=("user", "2001:db8::192.0.2.1", None, "")),
    Case(
        "ipv6-correct-abnf-2-colons", 200, read=uri, value=("user", "2001:db8::192.0.2.1", None, "")
    ),
]

EACH = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def bytes_of(case: Case) -> bytes:
    return (DATA / f"{case.name}.dat").read_bytes()


def statuses(agent: UserAgent, now: float = 0.0) -> list[int]:
    """The statuses of what ``agent`` sends."""
    found = []
    for outgoing in agent.to_send(now):
        message = parse(outgoing.data)
        assert isinstance(message, Response)
        found.append(message.status)
    return found


def test_every_message_is_in_the_table() -> None:
    assert len(CASES) == 49 + 12
    assert {case.name for case in CASES} == {path.stem for path in DATA.glob("*.dat")}


@EACH
def test_parser_and_validator_match_the_table(case: Case) -> None:
    data = bytes_of(case)
    if case.parse:
        with pytest.raises(RemoteProtocolError) as caught:
            parse(data)
        assert caught.value.status == case.refused
        left = salvage(data)
        assert (left is None) == data.startswith(b"SIP/")
        return
    message = parse(data)
    assert parse(bytes(message)).headers.get_all("Via") == message.headers.get_all("Via")
    if case.refused is None:
        validate(message)
        assert case.read(message) == case.value
    else:
        with pytest.raises(RemoteProtocolError) as caught:
            validate(message)
        assert caught.value.status == case.refused


@EACH
def test_the_agents_response_matches_the_table(case: Case) -> None:
    data = bytes_of(case)
    agent = UserAgent(random.Random(1))
    agent.receive_message(data, UDP, 0.0)
    agent.handle_timer(0.2)  # An INVITE without another response gets 100 then (RFC 3261 17.2.1).
    answers = [parse(outgoing.data) for outgoing in agent.to_send(0.0)]
    assert [answer.status for answer in answers if isinstance(answer, Response)] == (
        [] if case.answer is None else [case.answer]
    )
    for answer in answers:
        # The response echoes the headers of the request unchanged (RFC 3261 8.2.6.2).
        request = salvage(data)
        assert request is not None
        for name in ("From", "Call-ID", "CSeq"):
            assert answer.headers.get(name) == request.headers.get(name)
        assert answer.headers.values("Via")[1:] == request.headers.values("Via")[1:]
    # Nothing is left in the end.
    for session in agent.sessions:
        session.hang_up(1.0)
    for step in range(1, 80):
        agent.handle_timer(step * TRANSACTION_TIMEOUT / 32)
        agent.to_send(step * TRANSACTION_TIMEOUT / 32)
    assert len(agent.layer) == 0
    assert len(agent.timers) == 0
    assert agent.sessions == ()


def test_the_agent_survives_all_messages_in_a_row() -> None:
    agent = UserAgent(random.Random(1))
    for _ in range(3):
        for case in CASES:
            agent.receive_message(bytes_of(case), UDP, 0.0)
    assert agent.dropped["too many transactions"] == 0


def test_unsupported_extensions_are_named() -> None:
    agent = UserAgent(random.Random(1))
    agent.receive_message((DATA / "bext01.dat").read_bytes(), UDP, 0.0)
    (answer,) = (parse(outgoing.data) for outgoing in agent.to_send(0.0))
    expected = ["nothingSupportsThis", "nothingSupportsThisEither"]
    assert answer.headers.values("Unsupported") == expected


def test_supported_methods_are_named() -> None:
    agent = UserAgent(random.Random(1))
    agent.receive_message((DATA / "intmeth.dat").read_bytes(), UDP, 0.0)
    (answer,) = (parse(outgoing.data) for outgoing in agent.to_send(0.0))
    assert "INVITE" in answer.headers.values("Allow")


def test_the_bare_cookie_does_not_identify_a_transaction() -> None:
    # RFC 4475 3.2.1: two requests with this branch are not one that was sent twice.
    agent = UserAgent(random.Random(1))
    data = (DATA / "badbranch.dat").read_bytes()
    for request in (data, data.replace(b"CSeq: 8", b"CSeq: 9"), data):
        agent.receive_message(request, UDP, 0.0)
    answers = [parse(outgoing.data) for outgoing in agent.to_send(0.0)]
    assert [answer.cseq.number for answer in answers] == [8, 9, 8]
    assert all(isinstance(answer, Response) and answer.status == 200 for answer in answers)


def feed(data: bytes, size: int) -> list[bytes] | None:
    """The messages in a stream of ``data``, None if it cannot be read to the end."""
    framer = StreamFramer()
    found: list[bytes] = []
    try:
        for start in range(0, len(data), size):
            found += framer.receive_data(data[start : start + size])
    except RemoteProtocolError:
        return None
    return found


@EACH
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_streams_are_split_as_in_the_table(case: Case, size: int) -> None:
    data = bytes_of(case)
    found = feed(data, size)
    if case.cut is None:
        assert found is None
        return
    assert found is not None
    assert len(found) == case.cut
    if case.cut == 1:
        assert found == [data]
    if found and not case.parse:
        assert bytes(parse(found[0])) == bytes(parse(data))
