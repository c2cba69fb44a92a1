"""Offer and answer for one audio stream (RFC 3264)."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from spech.errors import RemoteProtocolError
from spech.sip.description import sdp
from spech.sip.description.ice import IceNegotiation
from spech.sip.description.offer_answer import Negotiator
from spech.sip.description.payload_types import AudioFormat

PCMU = AudioFormat("PCMU", "PCMU", 8000, 0)
PCMA = AudioFormat("PCMA", "PCMA", 8000, 8)
WIDE = AudioFormat("L16/16000", "L16", 16000)


def ours(*formats: AudioFormat) -> Negotiator:
    return Negotiator(formats or (PCMU, PCMA), "192.0.2.1", 4000, 1)


def offer(*lines: str, media: str = "m=audio 5000 RTP/AVP 0 8 101") -> bytes:
    head = ["v=0", "o=- 1 1 IN IP4 192.0.2.2", "s=-", "c=IN IP4 192.0.2.2", "t=0 0", media]
    return "\r\n".join([*head, *lines, ""]).encode()


EVENTS = "a=rtpmap:101 telephone-event/8000"


def test_an_offer_lists_all_formats_and_an_event_for_each_clock() -> None:
    described = sdp.parse(ours(PCMU, WIDE).offer()).media[0]
    maps = described.rtpmaps()
    assert described.formats == ("0", "96", "101", "97")
    assert maps[96] == ("L16", 16000, 1)
    assert maps[101] == ("telephone-event", 8000, 1)
    assert maps[97] == ("telephone-event", 16000, 1)


def test_the_first_offered_codec_that_we_support_is_used() -> None:
    answer, agreed = ours(PCMA, PCMU).receive_offer(offer(EVENTS))
    assert agreed.codec == "PCMU"
    assert (agreed.payload_type_send, agreed.payload_type_receive) == (0, 0)
    assert (agreed.telephone_event_send, agreed.telephone_event_receive) == (101, 101)
    assert agreed.remote == ("192.0.2.2", 5000)
    assert agreed.remote_rtcp == ("192.0.2.2", 5001)
    assert sdp.parse(answer).media[0].formats == ("0", "101")


def test_dynamic_payload_types_of_the_offer_are_used() -> None:
    lines = ("a=rtpmap:118 L16/16000", "a=rtpmap:119 telephone-event/16000")
    body = offer(*lines, media="m=audio 5000 RTP/AVP 118 119")
    _, agreed = ours(WIDE).receive_offer(body)
    assert (agreed.payload_type_send, agreed.telephone_event_send) == (118, 119)


def test_an_answer_with_other_payload_types_is_asymmetric() -> None:
    negotiator = ours(WIDE)
    negotiator.offer()
    agreed = negotiator.receive_answer(
        offer("a=rtpmap:110 L16/16000", media="m=audio 5000 RTP/AVP 110")
    )
    assert (agreed.payload_type_send, agreed.payload_type_receive) == (110, 96)
    assert agreed.telephone_event_send is None


def test_an_answer_may_omit_rtpmap_for_our_payload_types() -> None:
    negotiator = ours(WIDE)
    negotiator.offer()
    assert negotiator.receive_answer(offer(media="m=audio 5000 RTP/AVP 96")).codec == "L16/16000"


def test_every_media_line_is_answered_in_order() -> None:
    body = offer("m=video 6000 RTP/AVP 96", "a=rtpmap:96 H264/90000")
    answer, _ = ours().receive_offer(body)
    assert [(media.kind, media.port) for media in sdp.parse(answer).media] == [
        ("audio", 4000),
        ("video", 0),
    ]


@pytest.mark.parametrize(
    ("theirs", "we_are"),
    [("sendonly", "recvonly"), ("recvonly", "sendonly"), ("inactive", "inactive")],
)
def test_the_direction_of_the_peer_is_mirrored(theirs: str, we_are: str) -> None:
    answer, agreed = ours().receive_offer(offer(f"a={theirs}"))
    assert agreed.direction == we_are
    assert sdp.parse(answer).media[0].direction == we_are


def test_a_hold_with_0_0_0_0_is_understood() -> None:
    body = offer().replace(b"c=IN IP4 192.0.2.2", b"c=IN IP4 0.0.0.0")
    assert ours().receive_offer(body)[1].direction == "recvonly"


def test_an_offer_during_our_hold_keeps_the_hold() -> None:
    negotiator = ours()
    negotiator.direction = "sendonly"
    assert negotiator.receive_offer(offer())[1].direction == "sendonly"
    assert negotiator.receive_offer(offer("a=recvonly"))[1].direction == "sendonly"
    assert negotiator.receive_offer(offer("a=sendonly"))[1].direction == "inactive"


def test_the_version_grows_only_with_a_change() -> None:
    negotiator = ours()
    first, again = negotiator.offer(), negotiator.offer()
    assert first == again
    negotiator.direction = "sendonly"
    held = sdp.parse(negotiator.offer()).origin
    assert int(held.version) == int(sdp.parse(first).origin.version) + 1


@pytest.mark.parametrize(
    "body",
    [
        offer(media="m=audio 5000 RTP/AVP 18"),
        offer(media="m=audio 0 RTP/AVP 0"),
        offer(media="m=video 5000 RTP/AVP 96"),
        offer(media="m=audio 5000 RTP/SAVP 0"),
        offer().replace(b"c=IN IP4 192.0.2.2\r\n", b""),
    ],
)
def test_an_offer_without_common_media_is_refused_with_488(body: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        ours().receive_offer(body)
    assert caught.value.status == 488
    with pytest.raises(RemoteProtocolError):
        ours().receive_answer(body)


def test_ptime_and_rtcp_of_the_peer_are_used() -> None:
    _, agreed = ours().receive_offer(offer("a=ptime:30", "a=rtcp:7001"))
    assert agreed.ptime_ms == 30
    assert agreed.remote_rtcp == ("192.0.2.2", 7001)


@pytest.mark.parametrize(
    ("lines", "ptime"),
    [
        ((), 40),
        (("a=maxptime:30",), 30),
        (("a=ptime:60", "a=maxptime:50"), 50),
        (("a=ptime:10", "a=maxptime:50"), 10),
        (("a=maxptime:0",), 40),
        (("a=ptime:9999",), 200),
    ],
)
def test_packets_are_limited_to_maxptime(lines: tuple[str, ...], ptime: int) -> None:
    """RFC 8866 6.4. Without a requested length, ours applies."""
    long = replace(PCMU, ptime_ms=40)
    answer, agreed = ours(long).receive_offer(offer(*lines))
    assert agreed.ptime_ms == ptime
    assert sdp.parse(answer).media[0].ptime == 40
    negotiator = ours(long)
    assert sdp.parse(negotiator.offer()).media[0].ptime == 40
    assert negotiator.receive_answer(offer(*lines)).ptime_ms == ptime


@pytest.mark.parametrize(
    ("lines", "numbers", "ptime"),
    [
        ((), "0 96", 10),
        ((), "96 0", 10),
        (("a=ptime:20",), "0 96", 10),
        (("a=ptime:20",), "96 0", 20),
        (("a=ptime:20", "a=maxptime:15"), "96 0", 15),
        (("a=ptime:5",), "0 96", 5),
    ],
)
def test_short_packets_are_not_lengthened_for_another_format(
    lines: tuple[str, ...], numbers: str, ptime: int
) -> None:
    """RFC 8866 6.4: one a=ptime for all formats, and it is about the first."""
    music = AudioFormat("L16/48000", "L16", 48_000, ptime_ms=10)
    body = offer("a=rtpmap:96 L16/48000", *lines, media=f"m=audio 5000 RTP/AVP {numbers}")
    answer, agreed = ours(music).receive_offer(body)
    assert agreed.ptime_ms == ptime
    assert sdp.parse(answer).media[0].ptime == 10
    negotiator = ours(music)
    assert sdp.parse(negotiator.offer()).media[0].ptime == 10
    assert negotiator.receive_answer(body).ptime_ms == ptime


def test_the_preferred_codec_sets_ptime() -> None:
    long = replace(PCMU, ptime_ms=40)
    assert sdp.parse(ours(PCMA, long).offer()).media[0].ptime == 20
    answer, _ = ours(PCMA, long).receive_offer(offer())
    assert sdp.parse(answer).media[0].ptime == 40


MUX = "a=rtcp-mux"


def test_offered_rtcp_mux_is_accepted() -> None:
    negotiator = ours()
    answer, agreed = negotiator.receive_offer(offer(MUX, "a=rtcp:5009"))
    assert sdp.parse(answer).media[0].muxed
    assert agreed.remote_rtcp == agreed.remote == ("192.0.2.2", 5000)
    assert sdp.parse(negotiator.offer()).media[0].muxed  # A later offer of ours keeps it.
    answer, agreed = negotiator.receive_offer(offer())
    assert not sdp.parse(answer).media[0].muxed
    assert agreed.remote_rtcp == ("192.0.2.2", 5001)


def test_our_rtcp_mux_offer_can_be_ignored_or_accepted() -> None:
    ice = IceNegotiation((), offers=True, lite=False, rng=random.Random(1))
    negotiator = Negotiator((PCMU,), "192.0.2.1", 4000, 1, ice=ice)
    assert sdp.parse(negotiator.offer()).media[0].muxed
    assert negotiator.receive_answer(offer()).remote_rtcp == ("192.0.2.2", 5001)
    assert negotiator.receive_answer(offer("a=rtcp:5009")).remote_rtcp == ("192.0.2.2", 5009)
    assert negotiator.receive_answer(offer(MUX)).remote_rtcp == ("192.0.2.2", 5000)


def test_rtcp_mux_in_an_answer_without_an_offer_is_ignored() -> None:
    assert not sdp.parse(ours().offer()).media[0].muxed
    assert ours().receive_answer(offer(MUX)).remote_rtcp == ("192.0.2.2", 5001)


@pytest.mark.parametrize(("number", "events"), [(72, 101), (100, 95)])
def test_payload_types_that_look_like_rtcp_prevent_rtcp_mux(number: int, events: int) -> None:
    lines = (f"a=rtpmap:{number} PCMU/8000", f"a=rtpmap:{events} telephone-event/8000", MUX)
    answer, agreed = ours().receive_offer(
        offer(*lines, media=f"m=audio 5000 RTP/AVP {number} {events}")
    )
    assert not sdp.parse(answer).media[0].muxed
    assert agreed.remote_rtcp == ("192.0.2.2", 5001)


def test_extended_reports_are_offered_and_requested_ones_are_sent() -> None:
    one, two = ours(), ours()
    offered = one.offer()
    assert b"a=rtcp-xr:rcvr-rtt=all voip-metrics\r\n" in offered
    answer, agreed = two.receive_offer(offered)
    assert agreed.extended_reports == {"rcvr-rtt", "voip-metrics"}
    assert one.receive_answer(answer).extended_reports == agreed.extended_reports


@pytest.mark.parametrize(
    ("line", "kinds"),
    [
        ("a=rtcp-xr:voip-metrics stat-summary=loss,dup", {"voip-metrics"}),
        ("a=rtcp-xr:rcvr-rtt=sender:10000", {"rcvr-rtt"}),
        ("a=rtcp-xr", set()),
        ("a=rtcp-xr:pkt-loss-rle", set()),
        ("a=ptime:20", set()),
    ],
)
def test_only_extended_reports_that_were_offered_are_answered(line: str, kinds: set[str]) -> None:
    answer, agreed = ours().receive_offer(offer(line))
    assert agreed.extended_reports == kinds
    assert [kind for kind in ("rcvr-rtt", "voip-metrics") if kind.encode() in answer] == sorted(
        kinds
    )
    assert (b"rtcp-xr" in answer) == bool(kinds)


def test_extended_reports_may_be_requested_at_session_level() -> None:
    body = offer().replace(b"t=0 0\r\n", b"t=0 0\r\na=rtcp-xr:voip-metrics\r\n")
    assert ours().receive_offer(body)[1].extended_reports == {"voip-metrics"}


QUIET = AudioFormat("PCMU", "PCMU", 8000, 0, comfort_noise=True)
QUIET_WIDE = AudioFormat("L16/16000", "L16", 16000, comfort_noise=True)
OWN_PAUSES = AudioFormat("opus", "opus", 48000, channels=2)
NOISE = "a=rtpmap:13 CN/8000"


def quiet(*formats: AudioFormat) -> Negotiator:
    return Negotiator(formats, "192.0.2.1", 4000, 1, comfort_noise=True)


def test_comfort_noise_is_offered_on_each_clock_that_needs_it() -> None:
    """RFC 3389 section 4: 13 at 8 kHz, a dynamic number elsewhere."""
    described = sdp.parse(quiet(QUIET, QUIET_WIDE, OWN_PAUSES).offer()).media[0]
    noises = {
        number: rate for number, (name, rate, _) in described.rtpmaps().items() if name == "CN"
    }
    assert sorted(noises.values()) == [8000, 16000]
    assert noises[13] == 8000
    assert {str(number) for number in noises} <= set(described.formats)
    assert len(set(described.formats)) == len(described.formats)
    assert "CN" not in ours(QUIET, QUIET_WIDE).offer().decode()


def test_comfort_noise_is_negotiated_with_its_codec() -> None:
    negotiator = quiet(QUIET, QUIET_WIDE)
    negotiator.offer()
    taken = negotiator.receive_answer(offer(NOISE, media="m=audio 5000 RTP/AVP 0 13"))
    assert (taken.comfort_noise_send, taken.comfort_noise_receive) == (13, 13)
    short = negotiator.receive_answer(offer(media="m=audio 5000 RTP/AVP 0 13"))
    assert (short.comfort_noise_send, short.comfort_noise_receive) == (13, 13)
    refused = negotiator.receive_answer(offer(media="m=audio 5000 RTP/AVP 0"))
    assert (refused.comfort_noise_send, refused.comfort_noise_receive) == (None, None)
    lines = ("a=rtpmap:96 L16/16000", "a=rtpmap:110 CN/16000")
    wide = negotiator.receive_answer(offer(*lines, media="m=audio 5000 RTP/AVP 96 110"))
    assert wide.comfort_noise_send == 110
    assert wide.comfort_noise_receive in range(97, 128)


def test_offered_comfort_noise_is_accepted() -> None:
    """Also if we do not send any: noise is filled in where the peer omits pauses."""
    answer, agreed = ours(QUIET).receive_offer(offer(NOISE, media="m=audio 5000 RTP/AVP 0 13"))
    assert (agreed.comfort_noise_send, agreed.comfort_noise_receive) == (13, 13)
    assert sdp.parse(answer).media[0].rtpmaps()[13] == ("CN", 8000, 1)
    answer, agreed = ours(PCMU).receive_offer(offer(NOISE, media="m=audio 5000 RTP/AVP 0 13"))
    assert agreed.comfort_noise_send is None
    assert "13" not in sdp.parse(answer).media[0].formats


def test_our_next_offer_keeps_the_comfort_noise_payload_type() -> None:
    negotiator = quiet(QUIET_WIDE)
    lines = ("a=rtpmap:110 L16/16000", "a=rtpmap:97 CN/16000")
    negotiator.receive_offer(offer(*lines, media="m=audio 5000 RTP/AVP 110 97"))
    maps = sdp.parse(negotiator.offer()).media[0].rtpmaps()
    assert maps[97] == ("CN", 16000, 1)
    assert maps[110] == ("L16", 16000, 1)
