"""URIs: what is read is written again, and a URI cannot contain a line break."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spech.errors import LocalProtocolError, RemoteProtocolError
from spech.sip.message.uri import Uri

PROPERTY = settings(deadline=None, derandomize=True, database=None)

ROUND_TRIPS = [
    ("sip:alice@example.com", Uri("sip", "alice", "example.com")),
    ("sips:alice@example.com:5061", Uri("sips", "alice", "example.com", 5061)),
    ("sip:example.com", Uri("sip", None, "example.com")),
    ("sip:192.0.2.1:5060", Uri("sip", None, "192.0.2.1", 5060)),
    ("sip:[2001:db8::1]", Uri("sip", None, "2001:db8::1")),
    ("sip:600@[2001:db8::1]:5062", Uri("sip", "600", "2001:db8::1", 5062)),
    ("sip:[::ffff:192.0.2.1]:5060", Uri("sip", None, "::ffff:192.0.2.1", 5060)),
    ("sip:host;lr", Uri("sip", None, "host", None, (("lr", None),))),
    (
        "sip:bob@host;transport=tcp;ob",
        Uri("sip", "bob", "host", None, (("transport", "tcp"), ("ob", None))),
    ),
    ("sip:bob@host;x=", Uri("sip", "bob", "host", None, (("x", ""),))),
    ("sip:bob@host?Subject=a%20b", Uri("sip", "bob", "host", headers="Subject=a%20b")),
    (
        "sip:bob@host?Replaces=a@192.0.2.1%3Bto-tag=1",
        Uri("sip", "bob", "host", headers="Replaces=a@192.0.2.1%3Bto-tag=1"),
    ),
    ("sip:alice:secret@host", Uri("sip", "alice", "host", password="secret")),
    ("sip:alice:@host", Uri("sip", "alice", "host", password="")),
    ("sip:+1-201;phone-context=x?y/z@host", Uri("sip", "+1-201;phone-context=x?y/z", "host")),
    ("sip:%61lice%40home@host", Uri("sip", "%61lice%40home", "host")),
    ("sip:*98#@host", Uri("sip", "*98#", "host")),
    ("sip:jürgen@host", Uri("sip", "jürgen", "host")),
    ("sip:x@under_score.example", Uri("sip", "x", "under_score.example")),
    ("tel:+12015550123", Uri("tel", "+12015550123", "")),
    (
        "tel:863-1234;phone-context=+1-914-555",
        Uri("tel", "863-1234", "", None, (("phone-context", "+1-914-555"),)),
    ),
    ("urn:service:sos", Uri("urn", "service:sos", "")),
    ("http://example.com/a?b", Uri("http", "//example.com/a?b", "")),
]


@pytest.mark.parametrize(("text", "uri"), ROUND_TRIPS)
def test_uris_are_read_and_written(text: str, uri: Uri) -> None:
    assert Uri.parse(text) == uri
    assert str(uri) == text


def test_the_scheme_is_lower_case_and_blanks_are_stripped() -> None:
    assert Uri.parse(" SIP:Alice@Example.COM ") == Uri("sip", "Alice", "Example.COM")


def test_empty_parameters_are_dropped() -> None:
    assert Uri.parse("sip:a@host;;lr;").parameters == (("lr", None),)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "alice",
        "sip:",
        "sip:@host",
        "sip:alice@",
        "sip:alice@ho st",
        "sip:a b@host",
        "sip:alice@host:",
        "sip:alice@host:port",
        "sip:alice@host:65536",
        "sip:alice@host:-1",
        "sip:alice@host:٥٠٦٠",
        "sip:alice@host:" + "9" * 5000,
        "sip:alice@[2001:db8::1",
        "sip:alice@[2001:db8::1]x",
        "sip:alice@[2001:db8::1]:",
        "sip:alice@[host]",
        "sip:alice@[1:2:3]",
        "sip:alice@2001:db8::1",
        "sip:alice@-host",
        "sip:alice@host-",
        "sip:alice@hóst",
        "sip:alice@bob@host",
        "sip:host;x=a@b@c",
        "sip:host;=x",
        'sip:host;x="y"',
        "sip:host;x=<y>",
        "sip:a\r\nVia: x@host",
        "sip:a\x00@host",
        "sip:\ud800@host",
        "tel:",
        "tel:1\n2",
        "9p:x",
        ":x",
        "a b:c",
        "urn:x y",
    ],
)
def test_malformed_input_is_refused(text: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        Uri.parse(text)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "parts",
    [
        {"user": "a\r\nEvil: yes"},
        {"user": "a@b"},
        {"user": "a>b"},
        {"user": ""},
        {"host": "x\r\n"},
        {"host": ""},
        {"host": "[::1]"},
        {"port": 70000},
        {"password": "p\n"},
        {"user": None, "password": "p"},
        {"parameters": (("a;b", None),)},
        {"parameters": (("a", "b;c"),)},
        {"parameters": (("a", "b\r\nc"),)},
        {"headers": "a\nb"},
        {"user": None, "parameters": (("a", "b@c"),)},
        {"user": None, "headers": "a=b@c"},
        {"scheme": "tel"},
        {"scheme": "s p", "host": ""},
    ],
)
def test_unreadable_uris_cannot_be_constructed(parts: dict[str, object]) -> None:
    values: dict[str, object] = {"scheme": "sip", "user": "alice", "host": "host"} | parts
    with pytest.raises(LocalProtocolError):
        Uri(**values)  # type: ignore[arg-type]


def test_an_address_of_record_has_no_parameters_headers_or_password() -> None:
    uri = Uri.parse("sip:alice:secret@[::1]:5062;lr?Subject=x")
    assert uri.address == "sip:alice@[::1]:5062"
    assert Uri.parse("sip:host;lr").address == "sip:host"
    assert Uri.parse("tel:+1;phone-context=x").address == "tel:+1"


def test_the_password_is_not_in_representations() -> None:
    assert "secret" not in repr(Uri.parse("sip:alice:secret@host"))


def test_parameters_are_read_and_changed() -> None:
    uri = Uri.parse("sip:host;LR;Transport=TCP")
    assert uri.parameter("lr") == ""
    assert uri.parameter("transport") == "TCP"
    assert uri.parameter("maddr") is None
    assert str(uri.with_parameters(transport="udp", ob=None)) == "sip:host;LR;transport=udp;ob"
    assert str(uri.without("lr", "transport")) == "sip:host"
    assert uri.without("absent") is uri
    with pytest.raises(LocalProtocolError):
        uri.with_parameters(x="a\r\nb")


# The examples of RFC 3261 section 19.1.4, and a few of its rules without examples.
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;security=on"),
        (
            "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
            "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
        ),
        (
            "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
            "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
        ),
        ("sip:a@[2001:db8::1]", "sip:a@[2001:0DB8:0::1]"),
        ("tel:+1201", "tel:+1201"),
    ],
)
def test_equivalent_uris_are_recognized(one: str, other: str) -> None:
    assert Uri.parse(one).equivalent(Uri.parse(other))
    assert Uri.parse(other).equivalent(Uri.parse(one))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
        ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
        ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
        ("sip:carol@chicago.com", "sips:carol@chicago.com"),
        ("sip:carol@chicago.com", "sip:chicago.com"),
        ("sip:carol:x@chicago.com", "sip:carol@chicago.com"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;maddr=192.0.2.1"),
        ("sip:carol@[::1]", "sip:carol@[::2]"),
    ],
)
def test_different_uris_are_recognized(one: str, other: str) -> None:
    assert not Uri.parse(one).equivalent(Uri.parse(other))
    assert not Uri.parse(other).equivalent(Uri.parse(one))


WORDS = st.text("abcXYZ019-_.!~*'()&=+$,;?/%#é", min_size=1, max_size=12)
NAMES = st.text("abcXYZ019-_.", min_size=1, max_size=8)
VALUES = st.none() | st.text("abcXYZ019-_.:/[]%&+$", max_size=12)
HOSTS = st.one_of(
    st.from_regex(r"[a-z0-9]([a-z0-9.\-]{0,20}[a-z0-9])?", fullmatch=True),
    st.ip_addresses().map(str),
)
URIS = st.builds(
    Uri,
    scheme=st.sampled_from(["sip", "sips"]),
    user=WORDS,
    host=HOSTS,
    port=st.none() | st.integers(0, 65535),
    parameters=st.lists(st.tuples(NAMES, VALUES), max_size=4).map(tuple),
    headers=st.text("abc=&%20@", max_size=12),
    password=st.none() | st.text("abc&=+$,%:;", max_size=8),
)


@PROPERTY
@given(URIS)
def test_written_values_are_read_back(uri: Uri) -> None:
    assert Uri.parse(str(uri)) == uri
    assert Uri.parse(str(uri)).equivalent(uri)


@PROPERTY
@given(st.text(max_size=60) | st.text("sip:tel[]@;?=%12.\r\n ", max_size=40).map("sip:".__add__))
def test_any_text_is_a_uri_or_a_remote_error(text: str) -> None:
    try:
        uri = Uri.parse(text)
    except RemoteProtocolError:
        return
    assert Uri.parse(str(uri)) == uri
    assert "\r" not in str(uri)
    assert "\n" not in str(uri)
