"""Session descriptions as real phones and exchanges write them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spech.errors import LocalProtocolError, RemoteProtocolError
from spech.sip.description import sdp
from spech.sip.description.sdp import MediaDescription, Origin, SessionDescription

PROPERTY = settings(deadline=None, derandomize=True, database=None)

OFFER = (
    b"v=0\r\n"
    b"o=alice 2890844526 2890844527 IN IP4 192.0.2.1\r\n"
    b"s=A call\r\n"
    b"c=IN IP4 192.0.2.1\r\n"
    b"b=AS:64\r\n"
    b"t=0 0\r\n"
    b"a=tool:phone 1.0\r\n"
    b"m=audio 49170 RTP/AVP 0 8 96 101\r\n"
    b"b=TIAS:64000\r\n"
    b"a=rtpmap:0 PCMU/8000\r\n"
    b"a=rtpmap:96 opus/48000/2\r\n"
    b"a=fmtp:96 useinbandfec=1; stereo=0\r\n"
    b"a=rtpmap:101 telephone-event/8000\r\n"
    b"a=fmtp:101 0-16\r\n"
    b"a=ptime:20\r\n"
    b"a=rtcp:53020 IN IP4 192.0.2.7\r\n"
    b"a=sendonly\r\n"
    b"m=video 0 RTP/AVP 31\r\n"
)


def audio(*lines: str, session: str = "") -> MediaDescription:
    """The one media description of a minimal session with these lines below its ``m=``."""
    text = f"v=0\no=- 1 1 IN IP4 192.0.2.1\ns=-\nc=IN IP4 192.0.2.1\nt=0 0\n{session}"
    text += "m=audio 4000 RTP/AVP 0 96\n" + "\n".join(lines)
    return sdp.parse(text.encode()).media[0]


def test_an_offer_is_read() -> None:
    description = sdp.parse(OFFER)
    assert description.origin == Origin("alice", "2890844526", "2890844527", "192.0.2.1")
    assert description.name == "A call"
    assert description.connection == "192.0.2.1"
    assert description.direction == "sendrecv"
    assert description.attributes == (("tool", "phone 1.0"),)
    media, video = description.media
    assert (media.kind, media.port, media.protocol) == ("audio", 49170, "RTP/AVP")
    assert media.formats == ("0", "8", "96", "101")
    assert media.connection is None
    assert media.rtpmaps() == {
        0: ("PCMU", 8000, 1),
        8: ("PCMA", 8000, 1),
        96: ("opus", 48000, 2),
        101: ("telephone-event", 8000, 1),
    }
    assert media.fmtps() == {96: "useinbandfec=1; stereo=0", 101: "0-16"}
    assert (media.ptime, media.rtcp_port, media.direction) == (20, 53020, "sendonly")
    assert media.attribute("sendonly") == ""
    assert media.attribute("absent") is None
    assert (video.kind, video.port, video.rtpmaps(), video.direction) == (
        "video",
        0,
        {},
        "sendrecv",
    )


@pytest.mark.parametrize(
    "data",
    [
        OFFER.replace(b"\r\n", b"\n"),
        OFFER.rstrip(b"\r\n"),
        OFFER.replace(b"\r\n", b"\n").rstrip(b"\n"),
        OFFER + b"\r\n\r\n",
        OFFER + b"\x00",
        b"\r\n" + OFFER,
        OFFER.replace(b"v=0", b"v= 0"),
        OFFER.replace(b"s=A call", b"s=A call  "),
        OFFER.replace(b"b=AS:64", b"unknown line"),
        OFFER.replace(b"b=AS:64", b"=x\r\n\r\nxy=z"),
        OFFER.replace(b"49170 RTP", b"49170/1  RTP"),
        OFFER.replace(b"c=IN IP4 192.0.2.1", b"c=in ip4 192.0.2.1/127"),
    ],
)
def test_equivalent_spellings_are_read_equally(data: bytes) -> None:
    assert sdp.parse(data) == sdp.parse(OFFER)


def test_a_description_is_written_as_read() -> None:
    description = SessionDescription(
        origin=Origin("-", "1", "2", "192.0.2.1"),
        connection="192.0.2.1",
        media=(
            MediaDescription(
                "audio",
                4000,
                "RTP/AVP",
                ("0", "101"),
                attributes=(("rtpmap", "0 PCMU/8000"), ("ptime", "20"), ("sendrecv", None)),
            ),
            MediaDescription("video", 0, "RTP/AVP", ("31",), connection="::1"),
        ),
    )
    assert bytes(description) == (
        b"v=0\r\no=- 1 2 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
        b"m=audio 4000 RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\na=ptime:20\r\na=sendrecv\r\n"
        b"m=video 0 RTP/AVP 31\r\nc=IN IP6 ::1\r\n"
    )
    assert sdp.parse(bytes(description)) == description


def test_ipv6_addresses_are_read_and_written() -> None:
    description = sdp.parse(
        b"v=0\no=- 1 1 IN IP6 2001:db8::1\ns=-\nc=IN IP6 2001:db8::1\nm=audio 4000 RTP/AVP 0"
    )
    assert description.connection == description.origin.address == "2001:db8::1"
    assert b"c=IN IP6 2001:db8::1\r\n" in bytes(description)


def test_a_media_level_connection_takes_precedence() -> None:
    assert audio("c=IN IP4 198.51.100.7").connection == "198.51.100.7"
    assert audio("c=IN IP4 media.example.com").connection == "media.example.com"


def test_the_direction_falls_back_to_the_session() -> None:
    assert audio().direction == "sendrecv"
    assert audio("a=recvonly").direction == "recvonly"
    assert audio(session="a=inactive\n").direction == "inactive"
    assert audio("a=sendonly", session="a=inactive\n").direction == "sendonly"


def test_the_session_direction_applies_to_constructed_media() -> None:
    media = MediaDescription("audio", 4000, "RTP/AVP", ("0",))
    held = SessionDescription(
        Origin("-", "1", "1", "h"), "h", (media,), attributes=(("sendonly", None),)
    )
    assert held.media[0].direction == "sendonly"
    assert replace(held, attributes=()).media[0].direction == "sendrecv"
    assert sdp.parse(bytes(held)) == held


@pytest.mark.parametrize(
    ("line", "ptime"),
    [
        ("a=ptime:20", 20),
        ("a=ptime: 30 ", 30),
        ("a=ptime:20.0", 20),
        ("a=ptime:0", None),
        ("a=ptime:-20", None),
        ("a=ptime", None),
        ("a=ptime:twenty", None),
        ("a=ptime:" + "9" * 5000, None),
        ("a=maxptime:40", None),
    ],
)
def test_ptime_is_read(line: str, ptime: int | None) -> None:
    assert audio(line).ptime == ptime
    longest = line.replace("maxptime", "ptime").replace("ptime", "maxptime")
    assert audio(longest).maxptime == (40 if "40" in line else ptime)


@pytest.mark.parametrize(
    ("line", "port"),
    [
        ("a=rtcp:4005", 4005),
        ("a=rtcp:0", None),
        ("a=rtcp:65536", None),
        ("a=rtcp:x", None),
        ("a=rtcp", None),
        ("a=rtcp-mux", None),
    ],
)
def test_the_rtcp_port_is_read(line: str, port: int | None) -> None:
    assert audio(line).rtcp_port == port


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a=rtpmap:96 opus/48000/2", ("opus", 48000, 2)),
        ("a=rtpmap:96   L16/16000", ("L16", 16000, 1)),
        ("a=rtpmap:96 opus", None),
        ("a=rtpmap:96 opus/fast", None),
        ("a=rtpmap:opus/48000 96", None),
        ("a=rtpmap:9696 opus/48000", None),
        ("a=rtpmap", None),
    ],
)
def test_rtpmap_is_read(line: str, expected: tuple[str, int, int] | None) -> None:
    assert audio(line).rtpmaps().get(96) == expected


def test_rtpmap_overrides_the_static_table() -> None:
    assert audio("a=rtpmap:0 G726-32/8000").rtpmaps()[0] == ("G726-32", 8000, 1)


def test_the_first_of_several_rtpmaps_is_used() -> None:
    media = audio("a=rtpmap:96 opus/48000/2", "a=rtpmap:96 L16/8000", "a=fmtp:96 a", "a=fmtp:96 b")
    assert media.rtpmaps()[96] == ("opus", 48000, 2)
    assert media.fmtps() == {96: "a"}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\r\n",
        b"hello",
        b"v=1\r\n",
        b"o=- 1 1 IN IP4 h\r\nv=0\r\n",
        b"v=0\r\n",
        b"v=0\r\no=- 1 1 IN\r\n",
        OFFER.replace(b"c=IN IP4 192.0.2.1", b"c=192.0.2.1"),
        OFFER.replace(b"c=IN IP4 192.0.2.1", b"c=IN IP4"),
        OFFER.replace(b"c=IN IP4 192.0.2.1", b"c=ATM X h"),
        OFFER.replace(b"c=IN IP4 192.0.2.1", b"c=IN IP4 <script>"),
        OFFER.replace(b"49170", b"70000"),
        OFFER.replace(b"49170", b"-1"),
        OFFER.replace(b"49170", b"port"),
        OFFER.replace(b"m=audio 49170 RTP/AVP 0 8 96 101", b"m=audio 49170"),
        OFFER.replace(b"A call", b"A\rcall"),
        OFFER.replace(b"A call", b"A\x00call"),
    ],
)
def test_malformed_input_is_refused(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        sdp.parse(data)
    assert caught.value.status == 400


def test_a_name_that_is_not_utf8_is_read_as_latin1() -> None:
    assert sdp.parse(OFFER.replace(b"A call", b"J\xfcrgen")).name == "Jürgen"


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "a\r\nm=audio 1 RTP/AVP 0"},
        {"connection": "h\n"},
        {"origin": Origin("a\nb", "1", "1", "h")},
        {"attributes": (("tool", "a\rb"),)},
        {"attributes": (("a\nb", None),)},
        {"media": (MediaDescription("audio", 1, "RTP/AVP\r\n", ("0",)),)},
        {"media": (MediaDescription("audio", 1, "RTP/AVP", ("0\na=b",)),)},
    ],
)
def test_no_part_can_contain_a_line_break(changes: dict[str, object]) -> None:
    description = replace(sdp.parse(OFFER), **changes)  # type: ignore[arg-type]
    with pytest.raises(LocalProtocolError):
        bytes(description)


WORDS = st.text("abcXYZ019-+._", min_size=1, max_size=8)
TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.just(" "), max_size=20)
TRIMMED = TEXTS.map(lambda text: text.strip(" \t"))
HOSTS = st.ip_addresses().map(str)
ATTRIBUTES = st.lists(st.tuples(WORDS, st.none() | TRIMMED), max_size=4).map(tuple)
DESCRIPTIONS = st.builds(
    SessionDescription,
    origin=st.builds(Origin, WORDS, WORDS, WORDS, HOSTS),
    connection=st.none() | HOSTS,
    media=st.lists(
        st.builds(
            MediaDescription,
            kind=st.sampled_from(["audio", "video", "image"]),
            port=st.integers(0, 65535),
            protocol=st.sampled_from(["RTP/AVP", "RTP/SAVP", "udptl"]),
            formats=st.lists(WORDS, min_size=1, max_size=4).map(tuple),
            connection=st.none() | HOSTS,
            attributes=ATTRIBUTES,
        ),
        max_size=3,
    ).map(tuple),
    name=TRIMMED.map(lambda name: name or "-"),
    attributes=ATTRIBUTES,
)


@PROPERTY
@given(DESCRIPTIONS)
def test_written_values_are_read_back(description: SessionDescription) -> None:
    assert sdp.parse(bytes(description)) == description


def survive(data: bytes) -> None:
    with suppress(RemoteProtocolError):
        description = sdp.parse(data)
        for media in description.media:
            media.rtpmaps()
            media.fmtps()
            _ = media.ptime, media.rtcp_port, media.direction
        assert sdp.parse(bytes(description)) == description


@PROPERTY
@given(st.binary(max_size=100) | st.binary(max_size=100).map(b"v=0\no=- 1 1 IN IP4 h\n".__add__))
def test_any_bytes_raise_remote_errors_only(data: bytes) -> None:
    survive(data)


@settings(PROPERTY, max_examples=300)
@given(st.lists(st.tuples(st.integers(0, len(OFFER)), st.integers(0, 5), st.binary(max_size=4))))
def test_damaged_descriptions_raise_remote_errors_only(
    wounds: list[tuple[int, int, bytes]],
) -> None:
    data = bytearray(OFFER)
    for position, length, replacement in wounds:
        data[position : position + length] = replacement
    survive(bytes(data))
