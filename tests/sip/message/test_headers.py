"""Headers: the multimap, and structured values."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spech.errors import LocalProtocolError, RemoteProtocolError
from spech.sip.message.headers import (
    AuthHeader,
    CSeq,
    Headers,
    NameAddr,
    Via,
    parse_parameters,
    split_list,
)
from spech.sip.message.uri import Uri

PROPERTY = settings(deadline=None, derandomize=True, database=None)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("v", "Via"),
        ("V", "Via"),
        ("via", "Via"),
        ("CALL-ID", "Call-ID"),
        ("i", "Call-ID"),
        ("cseq", "CSeq"),
        ("www-authenticate", "WWW-Authenticate"),
        ("mime-version", "MIME-Version"),
        ("x-asterisk-hangupcause", "X-Asterisk-Hangupcause"),
        ("l", "Content-Length"),
        ("x", "Session-Expires"),
    ],
)
def test_header_names_are_normalized(name: str, expected: str) -> None:
    headers = Headers([(name, "value")])
    assert list(headers) == [(expected, "value")]
    assert headers.get(name) == headers.get(expected.upper()) == "value"
    assert name in headers


def test_lines_of_one_name_keep_their_order() -> None:
    headers = Headers([("Via", "a, b"), ("To", "t"), ("v", "c")])
    assert headers.get("Via") == "a, b"
    assert headers.get_all("Via") == ["a, b", "c"]
    assert headers.values("Via") == ["a", "b", "c"]
    assert headers.get_all("From") == headers.values("From") == []
    assert headers.get("From") is None
    assert len(headers) == 3
    assert 7 not in headers


def test_changes_create_new_headers() -> None:
    headers = Headers([("Via", "a"), ("To", "t"), ("Via", "b")])
    assert list(headers.set("via", "c")) == [("Via", "c"), ("To", "t")]
    assert list(headers.set("From", "f"))[-1] == ("From", "f")
    assert list(headers.add("t", "u"))[-1] == ("To", "u")
    assert next(iter(headers.prepend("Via", "z"))) == ("Via", "z")
    assert list(headers.remove("VIA")) == [("To", "t")]
    assert list(headers) == [("Via", "a"), ("To", "t"), ("Via", "b")]


@pytest.mark.parametrize(
    ("lines", "changed"),
    [
        (["a", "b"], ["z", "b"]),
        (["a, b", "c"], ["z, b", "c"]),
        (['"a, a" , b'], ["z, b"]),
        (["", " ,", "a"], ["", ",", "z"]),
        ([], ["z"]),
    ],
)
def test_the_first_value_is_replaced_in_its_place(lines: list[str], changed: list[str]) -> None:
    headers = Headers([("To", "t"), *(("Via", line) for line in lines)])
    after = headers.with_first("v", "z")
    assert after.get_all("Via") == changed
    assert after.values("Via")[1:] == headers.values("Via")[1:]
    assert after.get("To") == "t"
    with pytest.raises(LocalProtocolError):
        headers.with_first("Via", "z\r\nTo: u")


@pytest.mark.parametrize("lines", [[], [""], ["1 BYE", "1 BYE"]])
def test_a_header_that_must_be_there_once(lines: list[str]) -> None:
    headers = Headers([("CSeq", line) for line in lines])
    with pytest.raises(RemoteProtocolError, match="CSeq"):
        headers.only("CSeq")
    assert headers.add("t", "you").only("To") == "you"


def test_equal_headers_compare_equal() -> None:
    assert Headers([("v", " a ")]) == Headers([("Via", "a")])
    assert hash(Headers([("v", "a")])) == hash(Headers([("Via", "a")]))
    assert Headers([("Via", "a")]) != Headers([("Via", "b")])
    assert Headers() != ()


@pytest.mark.parametrize(
    "value", ["a\r\nEvil: yes", "a\nb", "a\rb", "a\x00", "\x7f", "\ud800", "\x1b[2J"]
)
def test_no_value_can_contain_a_line_break(value: str) -> None:
    for build in (
        lambda: Headers([("Subject", value)]),
        lambda: Headers().add("Subject", value),
        lambda: Headers().set("Subject", value),
        lambda: Headers().prepend("Subject", value),
        lambda: Headers([("From", str(NameAddr(Uri("sip", "a", "b"), value)))]),
        lambda: Headers([("From", str(NameAddr(Uri("sip", "a", "b")).with_tag(value)))]),
        lambda: Headers([("Via", str(Via("UDP", value)))]),
        lambda: Headers([("Authorization", str(AuthHeader("Digest", {"username": value})))]),
    ):
        with pytest.raises(LocalProtocolError):
            build()


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a\r\nb", "ä", "a\n"])
def test_a_name_must_be_a_token(name: str) -> None:
    with pytest.raises(LocalProtocolError):
        Headers([(name, "x")])


def test_secrets_are_not_in_representations() -> None:
    headers = Headers(
        [
            ("Authorization", 'Digest username="alice", response="0123"'),
            ("Proxy-Authorization", 'Digest username="alice", response="0123"'),
            ("From", "<sip:alice:hunter2@host>"),
        ]
    )
    assert "0123" not in repr(headers)
    assert "hunter2" not in repr(headers)
    assert "sip:alice:***@host" in repr(headers)
    assert "0123" not in repr(AuthHeader.parse(headers.get("Authorization") or ""))


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        ("", []),
        (" , ,", []),
        ("a", ["a"]),
        ("a,b , c", ["a", "b", "c"]),
        ('"a, b" <sip:x@y>, <sip:z;q=1,2>', ['"a, b" <sip:x@y>', "<sip:z;q=1,2>"]),
        (r'"a\", b" <sip:x>,c', [r'"a\", b" <sip:x>', "c"]),
        ('a, "b, c', ["a", '"b, c']),
        ("a, <b, c", ["a", "<b, c"]),
        ('"\\', ['"\\']),
    ],
)
def test_lists_are_split(value: str, parts: list[str]) -> None:
    assert split_list(value) == parts


@pytest.mark.parametrize(
    ("text", "parameters"),
    [
        ("", ()),
        (";;", ()),
        (";a", (("a", None),)),
        (";a=;b = c ", (("a", ""), ("b", "c"))),
        (";lr;tag=x", (("lr", None), ("tag", "x"))),
        (';a="b;c";d', (("a", "b;c"), ("d", None))),
        (r';a="\"\\"', (("a", '"\\'),)),
        (
            ';+sip.instance="<urn:uuid:0000>";reg-id=1',
            (("+sip.instance", "<urn:uuid:0000>"), ("reg-id", "1")),
        ),
    ],
)
def test_parameters_are_parsed(text: str, parameters: object) -> None:
    assert parse_parameters(text) == parameters


@pytest.mark.parametrize("text", [";=a", ';a="b', ';a=b"c"', ';a="b"c', ";a b", ';a="b" "c"'])
def test_malformed_parameters_are_refused(text: str) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_parameters(text)


BOB = Uri("sip", "bob", "host")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("<sip:bob@host>", NameAddr(BOB)),
        ("sip:bob@host", NameAddr(BOB)),
        ("sip:bob@host;tag=1", NameAddr(BOB, None, (("tag", "1"),))),
        (
            "<sip:bob@host;lr>;tag=1",
            NameAddr(Uri("sip", "bob", "host", None, (("lr", None),)), None, (("tag", "1"),)),
        ),
        ("Bob  <sip:bob@host>", NameAddr(BOB, "Bob")),
        ("Bob B. Example <sip:bob@host>", NameAddr(BOB, "Bob B. Example")),
        ('"Bob, \\"B\\" \\\\"<sip:bob@host>', NameAddr(BOB, 'Bob, "B" \\')),
        ('"<sip:evil@x>" <sip:bob@host>', NameAddr(BOB, "<sip:evil@x>")),
        ('"" <sip:bob@host>', NameAddr(BOB)),
        ("日本 <sip:bob@host> ; tag = 1", NameAddr(BOB, "日本", (("tag", "1"),))),
        ("<tel:+1201>", NameAddr(Uri("tel", "+1201", ""))),
        ("<sip:[::1]:5060>", NameAddr(Uri("sip", None, "::1", 5060))),
        ('<sip:bob@host>;x=">"', NameAddr(BOB, None, (("x", ">"),))),
    ],
)
def test_name_addr_is_parsed(text: str, address: NameAddr) -> None:
    assert NameAddr.parse(text) == address
    assert NameAddr.parse(str(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "bob",
        "<sip:bob@host",
        "sip:bob@host>",
        '"Bob <sip:bob@host>',
        "<sip:bob@host> x",
        "<sip:a@b>,<sip:c@d>",
        "sip:bob@host?Subject=x",
        "<<sip:bob@host>>",
        'Bob "B" <sip:bob@host>',
    ],
)
def test_malformed_name_addr_is_refused(text: str) -> None:
    with pytest.raises(RemoteProtocolError):
        NameAddr.parse(text)


def test_tags_are_read() -> None:
    address = NameAddr.parse("<sip:bob@host>;x;TAG=one")
    assert address.tag == "one"
    assert address.parameter("X") == ""
    assert address.with_tag("two").tag == "two"
    assert NameAddr(BOB).tag is None
    assert str(NameAddr(BOB).with_tag("abc==")) == "<sip:bob@host>;tag=abc=="
    assert str(NameAddr(BOB).with_tag("a b")) == '<sip:bob@host>;tag="a b"'


@pytest.mark.parametrize(
    ("text", "via"),
    [
        (
            "SIP/2.0/UDP 192.0.2.1:5060;rport;branch=z9hG4bK1",
            Via("UDP", "192.0.2.1", 5060, (("rport", None), ("branch", "z9hG4bK1"))),
        ),
        ("SIP/2.0/TLS host", Via("TLS", "host")),
        ("SIP/2.0/UDP [2001:db8::1]:5062", Via("UDP", "2001:db8::1", 5062)),
        ("SIP/2.0/WS df7jal23ls0d.invalid", Via("WS", "df7jal23ls0d.invalid")),
    ],
)
def test_via_is_parsed(text: str, via: Via) -> None:
    assert Via.parse(text) == via
    assert str(via) == text


def test_via_may_have_blanks_everywhere() -> None:
    # From RFC 3261 section 20.42.
    via = Via.parse("SIP / 2.0 / udp first.example.com: 4000;ttl=16 ;maddr=224.2.0.1 ;branch=x")
    assert (via.transport, via.host, via.port, via.branch) == (
        "UDP",
        "first.example.com",
        4000,
        "x",
    )


def test_via_gives_the_response_address() -> None:
    via = Via.parse("SIP/2.0/UDP 192.0.2.1;rport;branch=b")
    assert (via.rport, via.received) == ("", None)
    via = via.with_parameters(rport="5062", received="2001:db8::9")
    assert (via.rport, via.received) == ("5062", "2001:db8::9")
    assert str(via) == "SIP/2.0/UDP 192.0.2.1;rport=5062;branch=b;received=2001:db8::9"
    assert Via.parse("SIP/2.0/UDP h;received=[::1]").received == "::1"
    assert Via.parse("SIP/2.0/UDP h").rport is None
    assert Via.parse("SIP/2.0/UDP h").branch is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "SIP/2.0/UDP",
        "SIP/3/UDP host",
        "SIP/2.0/UDP host:99999",
        "SIP/2.0/UDP ho/st",
        "SIP/2.0/UDP host;branch=a b;=",
        "SIP/2.0/UDP [::1",
        "SIP/2.0/UDP host,SIP/2.0/UDP host",
        "HTTP/1.1/TCP host",
    ],
)
def test_a_malformed_via_is_refused(text: str) -> None:
    with pytest.raises(RemoteProtocolError):
        Via.parse(text)


def test_cseq_is_parsed() -> None:
    assert CSeq.parse(" 4294967295   INVITE") == CSeq(4294967295, "INVITE")
    assert str(CSeq(1, "BYE")) == "1 BYE"


@pytest.mark.parametrize(
    "text", ["", "1", "INVITE 1", "-1 BYE", "1_0 BYE", "4294967296 BYE", "1 a b"]
)
def test_a_malformed_cseq_is_refused(text: str) -> None:
    with pytest.raises(RemoteProtocolError):
        CSeq.parse(text)


def test_a_challenge_is_parsed() -> None:
    text = r'Digest realm="a, \"b\"", nonce="n", algorithm=SHA-256, qop="auth,auth-int", stale=true'
    challenge = AuthHeader.parse(text)
    assert challenge.scheme == "Digest"
    assert challenge.parameters == {
        "realm": 'a, "b"',
        "nonce": "n",
        "algorithm": "SHA-256",
        "qop": "auth,auth-int",
        "stale": "true",
    }
    assert str(challenge) == text


def test_credentials_have_qop_without_quotes() -> None:
    text = 'Digest username="a", response="0", qop=auth, nc=00000001'
    assert str(AuthHeader.parse(text)) == text


def test_other_auth_schemes_are_parsed() -> None:
    assert AuthHeader.parse("Negotiate") == AuthHeader("Negotiate", {})
    assert str(AuthHeader("Negotiate", {})) == "Negotiate"
    assert AuthHeader.parse('Basic REALM="x"').parameters == {"realm": "x"}


@pytest.mark.parametrize("text", ["", "=", 'Digest realm="x', "Digest realm", 'Digest ="x"'])
def test_malformed_auth_headers_are_refused(text: str) -> None:
    with pytest.raises(RemoteProtocolError):
        AuthHeader.parse(text)


PRINTABLE = st.text(
    st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from('"\\<>;,='), max_size=20
)
TOKENS = st.text("abcXYZ019-_.!%*+`'~", min_size=1, max_size=8)
PARAMETERS = st.lists(st.tuples(TOKENS, st.none() | PRINTABLE), max_size=4).map(tuple)


@PROPERTY
@given(st.none() | PRINTABLE.filter(bool), PARAMETERS)
def test_addresses_are_read_back(
    name: str | None, parameters: tuple[tuple[str, str | None]]
) -> None:
    address = NameAddr(BOB, name, parameters)
    assert NameAddr.parse(str(address)) == address
    assert split_list(f"{address}, {address}") == [str(address)] * 2


@PROPERTY
@given(st.ip_addresses().map(str), st.none() | st.integers(0, 65535), PARAMETERS)
def test_vias_are_read_back(
    host: str, port: int | None, parameters: tuple[tuple[str, str | None]]
) -> None:
    via = Via("UDP", host, port, parameters)
    assert Via.parse(str(via)) == via
    assert split_list(f"{via},{via}") == [str(via)] * 2


@PROPERTY
@given(st.dictionaries(TOKENS.map(str.lower), PRINTABLE, max_size=5))
def test_auth_headers_are_read_back(parameters: dict[str, str]) -> None:
    header = AuthHeader("Digest", parameters)
    assert AuthHeader.parse(str(header)) == header


@PROPERTY
@given(st.text(max_size=60) | st.text('<>";,=\\ :@sipSIP/2.0UDPa1', max_size=40))
def test_any_text_is_a_value_or_a_remote_error(text: str) -> None:
    split_list(text)
    for reader in (NameAddr.parse, Via.parse, CSeq.parse, AuthHeader.parse, parse_parameters):
        with suppress(RemoteProtocolError):
            reader(text)


# Plain values take a fast path. A blank, or a doubled one, leads to the full parser.
PLAIN = st.text('abcXYZ019.-_%;=:@/?+~[]" ,', max_size=12)


@settings(PROPERTY, max_examples=400)
@given(PLAIN, PLAIN, PLAIN)
def test_fast_paths_agree_with_the_full_parser(one: str, two: str, three: str) -> None:
    def read(kind: Callable[[str], object], text: str) -> object:
        try:
            return kind(text)
        except RemoteProtocolError:
            return None

    for text in (f"sip:{one}@{two};{three}", f"sip:{one}{two}", f"sip:a@b:{one};{two}={three}"):
        assert read(Uri.parse, text) == read(Uri.parse, f" {text}")
    for text in (f"SIP/2.0/UDP {one}", f"SIP/2.0/UDP a:{one};{two}={three}"):
        assert read(Via.parse, text) == read(Via.parse, f" {text}")
    for text in (f";{one}={two}", f";{one};{two};{three}=x"):
        assert read(parse_parameters, text) == read(parse_parameters, f" {text}")
    for text in (f'"{one}" <sip:{two}>;tag={three}', f"{one}<sip:a@{two}>{three}", f"<{one}>"):
        assert read(NameAddr.parse, text) == read(NameAddr.parse, f"\t{text}")
    assert read(CSeq.parse, f"1 {one}") == read(CSeq.parse, f"1  {one}")
    assert read(CSeq.parse, f"{one} INVITE") == read(CSeq.parse, f"{one}  INVITE")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sip:alice@example.com", Uri("sip", "alice", "example.com")),
        ("sips:600@192.0.2.1:5061", Uri("sips", "600", "192.0.2.1", 5061)),
        (
            "sip:gw.example.com;transport=tcp;lr",
            Uri("sip", None, "gw.example.com", None, (("transport", "tcp"), ("lr", None))),
        ),
    ],
)
def test_plain_uris_take_the_fast_path(text: str, expected: Uri) -> None:
    assert Uri.parse(text) == Uri.parse(f" {text}") == expected
    assert str(expected) == text
