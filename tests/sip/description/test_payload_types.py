"""Formats and their payload types, as peers in the field describe them."""

from __future__ import annotations

import random

import pytest

from spech.agreement import ReceiveFormat
from spech.errors import RemoteProtocolError
from spech.sip.description import sdp
from spech.sip.description.media_security import MediaSecurity
from spech.sip.description.offer_answer import Negotiator, judge_offer
from spech.sip.description.payload_types import AudioFormat

PCMU = AudioFormat("PCMU", "PCMU", 8000, 0)
PCMA = AudioFormat("PCMA", "PCMA", 8000, 8)
G722 = AudioFormat("G722", "G722", 8000, 9)
OPUS = AudioFormat("opus", "opus", 48000, channels=2)
WIDE = AudioFormat("L16/16000", "L16", 16000)


def ours(*formats: AudioFormat, comfort_noise: bool = False) -> Negotiator:
    return Negotiator(formats, "192.0.2.1", 4000, 1, comfort_noise=comfort_noise)


def theirs(*lines: str, session: str = "c=IN IP4 192.0.2.2") -> bytes:
    head = ["v=0", "o=- 1 1 IN IP4 192.0.2.2", "s=-", session, "t=0 0"]
    return "\r\n".join([*head, *lines, ""]).encode()


def meaning_of(number: int, body: bytes) -> sdp.Meaning | None:
    return sdp.parse(body).media[0].rtpmaps().get(number)


# The name of a codec with one clock rate suffices.


@pytest.mark.parametrize("written", ["opus/48000", "opus/48000/1", "OPUS/48000/2", "opus/16000"])
def test_opus_is_recognized_by_name(written: str) -> None:
    answer, agreed = ours(OPUS, PCMA).receive_offer(
        theirs("m=audio 5000 RTP/AVP 111", f"a=rtpmap:111 {written}")
    )
    assert (agreed.codec, agreed.payload_type_send) == ("opus", 111)
    assert meaning_of(111, answer) == ("opus", 48000, 2)


@pytest.mark.parametrize("written", ["G722/16000", "g722/16000/1", "G722/8000/1"])
def test_g722_is_recognized_by_name(written: str) -> None:
    body = theirs("m=audio 5000 RTP/AVP 9", f"a=rtpmap:9 {written}")
    assert ours(PCMU, G722).receive_offer(body)[1].codec == "G722"


def test_a_codec_in_an_answer_is_recognized_by_name() -> None:
    negotiator = ours(OPUS, PCMA)
    number = next(iter(sdp.parse(negotiator.offer()).media[0].rtpmaps()))
    body = theirs(f"m=audio 5000 RTP/AVP {number}", f"a=rtpmap:{number} opus/48000")
    assert negotiator.receive_answer(body).codec == "opus"


def test_codecs_with_several_clocks_need_a_clock_rate() -> None:
    with pytest.raises(RemoteProtocolError):
        ours(WIDE).receive_offer(theirs("m=audio 5000 RTP/AVP 97", "a=rtpmap:97 L16/8000"))


# Every format of an answer may be received.


def test_every_format_of_an_answer_may_be_received() -> None:
    negotiator = ours(PCMU, PCMA, OPUS)
    offered = sdp.parse(negotiator.offer()).media[0].rtpmaps()
    (dynamic,) = (number for number, meaning in offered.items() if meaning[0] == "opus")
    agreed = negotiator.receive_answer(
        theirs(
            "m=audio 5000 RTP/AVP 8 118 0 101",
            "a=rtpmap:118 opus/48000/2",
            "a=fmtp:118 useinbandfec=1",
            "a=rtpmap:101 telephone-event/8000",
        )
    )
    assert agreed.codec == "PCMA"
    # We send their payload type; they send the one of our offer.
    assert agreed.receive_formats == (
        ReceiveFormat(8, "PCMA"),
        ReceiveFormat(dynamic, "opus", "useinbandfec=1"),
        ReceiveFormat(0, "PCMU"),
    )


def test_our_answer_has_one_format_which_may_be_received() -> None:
    _, agreed = ours(PCMU, PCMA).receive_offer(theirs("m=audio 5000 RTP/AVP 8 0"))
    assert agreed.receive_formats == (ReceiveFormat(8, "PCMA"),)


def test_formats_of_an_answer_that_were_not_offered_are_ignored() -> None:
    negotiator = ours(PCMU)
    negotiator.offer()
    agreed = negotiator.receive_answer(theirs("m=audio 5000 RTP/AVP 18 8 0"))
    assert agreed.receive_formats == (ReceiveFormat(0, "PCMU"),)


# Any telephone-event is better than none.


@pytest.mark.parametrize(
    ("form", "line", "rate"),
    [
        (OPUS, "a=rtpmap:111 opus/48000/2", 8000),
        (WIDE, "a=rtpmap:111 L16/16000", 8000),
        (PCMU, "a=rtpmap:0 PCMU/8000", 16000),
    ],
)
def test_an_event_on_another_clock_is_used_if_there_is_no_other(
    form: AudioFormat, line: str, rate: int
) -> None:
    body = theirs("m=audio 5000 RTP/AVP 111 0 101", line, f"a=rtpmap:101 telephone-event/{rate}")
    answer, agreed = ours(form).receive_offer(body)
    assert (agreed.telephone_event_send, agreed.telephone_event_receive) == (101, 101)
    assert agreed.telephone_event_clock == rate
    assert agreed.receive_events == ((101, rate),)
    assert meaning_of(101, answer) == ("telephone-event", rate, 1)


def test_the_event_on_the_clock_of_the_codec_is_preferred() -> None:
    body = theirs(
        "m=audio 5000 RTP/AVP 111 126 110",
        "a=rtpmap:111 opus/48000/2",
        "a=rtpmap:126 telephone-event/8000",
        "a=rtpmap:110 telephone-event/48000",
    )
    _, agreed = ours(OPUS).receive_offer(body)
    assert (agreed.telephone_event_send, agreed.telephone_event_clock) == (110, None)
    assert agreed.receive_events == ((126, 8000), (110, 48000))


def test_every_offered_event_may_be_received() -> None:
    """Browsers accept all of them and send any; other peers omit one and send it."""
    negotiator = ours(OPUS, PCMU, WIDE)
    offered = sdp.parse(negotiator.offer()).media[0].rtpmaps()
    events = tuple((n, m[1]) for n, m in offered.items() if m[0] == "telephone-event")
    assert len(events) == 3
    agreed = negotiator.receive_answer(
        theirs("m=audio 5000 RTP/AVP 96", "a=rtpmap:96 opus/48000/2")
    )
    assert set(agreed.receive_events) == set(events)
    assert agreed.telephone_event_send is None


def test_an_answer_may_omit_rtpmap_for_an_event() -> None:
    negotiator = ours(PCMU)
    negotiator.offer()
    agreed = negotiator.receive_answer(theirs("m=audio 5000 RTP/AVP 0 101"))
    assert (agreed.telephone_event_send, agreed.telephone_event_receive) == (101, 101)


# Not every audio line needs a supported codec.


@pytest.mark.parametrize(
    "first",
    [
        ("m=audio 4000 RTP/AVP 18",),
        ("m=audio 4000 RTP/AVP 97", "a=rtpmap:97 AMR/8000"),
        ("m=audio 4000 RTP/AVP",),
    ],
)
def test_an_audio_line_without_a_supported_codec_is_skipped(first: tuple[str, ...]) -> None:
    answer, agreed = ours(PCMU).receive_offer(theirs(*first, "m=audio 5000 RTP/AVP 0"))
    assert agreed.remote == ("192.0.2.2", 5000)
    assert [media.port for media in sdp.parse(answer).media] == [0, 4000]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (theirs("m=audio 5000 RTP/AVP 18"), 488),
        (theirs("m=audio 5000 RTP/AVP 96"), 488),
        (theirs("m=video 5000 RTP/AVP 0"), 488),
        (theirs("m=audio 0 RTP/AVP 0"), 488),
        (theirs(), 488),
        (b"hello", 400),
    ],
)
def test_an_offer_without_a_supported_codec_is_recognized_at_once(body: bytes, status: int) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        judge_offer(sdp.read(body), [PCMU, OPUS], MediaSecurity("off", rng=random.Random(1)))
    assert caught.value.status == status
    judge_offer(
        sdp.read(theirs("m=audio 5000 RTP/AVP 18 0")),
        [PCMU, OPUS],
        MediaSecurity("off", rng=random.Random(1)),
    )


# Peers that use up all numbers.


ALL_DYNAMIC = range(96, 128)


def everything(*more: int) -> bytes:
    numbers = [*more, *ALL_DYNAMIC]
    lines = [
        f"a=rtpmap:{number} strange{number}/8000" for number in numbers if number not in (0, 8)
    ]
    return theirs(f"m=audio 5000 RTP/AVP 0 {' '.join(map(str, numbers))}", *lines)


@pytest.mark.parametrize("more", [(), tuple(range(35, 64)), (8,)])
def test_an_offer_of_all_dynamic_payload_types_is_answered(more: tuple[int, ...]) -> None:
    negotiator = ours(PCMU, OPUS, WIDE, comfort_noise=True)
    body = everything(*more)
    answer, agreed = negotiator.receive_offer(body)
    assert agreed.codec == "PCMU"
    assert sdp.parse(answer).media[0].formats == ("0",)
    # Formats without a free payload type are omitted from our next offer; no type is reassigned.
    offered = sdp.parse(negotiator.offer()).media[0].rtpmaps()
    assert offered[0] == ("PCMU", 8000, 1)
    taken = sdp.parse(body).media[0].rtpmaps()
    assert not offered.keys() & taken.keys() - {0}
    assert ("opus" in {name for name, _, _ in offered.values()}) == (more != tuple(range(35, 64)))


def test_an_omitted_format_returns_when_payload_types_are_free() -> None:
    negotiator = ours(PCMU, OPUS)
    negotiator.receive_offer(everything(*range(35, 64)))
    assert len(sdp.parse(negotiator.offer()).media[0].formats) == 1
    negotiator.receive_offer(theirs("m=audio 5000 RTP/AVP 0"))
    assert sdp.parse(negotiator.offer()).media[0].rtpmaps()[96] == ("opus", 48000, 2)


def test_formats_are_offered_as_long_as_payload_types_are_free() -> None:
    many = [AudioFormat(f"L16/{rate}", "L16", rate) for rate in range(8000, 8100)]
    described = sdp.parse(ours(*many, comfort_noise=True).offer()).media[0]
    assert len(set(described.formats)) == len(described.formats)
    assert described.rtpmaps()[101] == ("telephone-event", 8000, 1)


def test_an_answer_with_an_omitted_format_is_not_ours() -> None:
    negotiator = ours(PCMU, OPUS)
    negotiator.receive_offer(everything(*range(35, 64)))
    negotiator.offer()
    body = theirs("m=audio 5000 RTP/AVP 96 0", "a=rtpmap:96 opus/48000/2")
    assert negotiator.receive_answer(body).codec == "PCMU"


# An address by name.


@pytest.mark.parametrize("name", ["media.provider.example", "localhost", "rtp_7.example.org"])
def test_a_host_name_is_left_to_be_resolved(name: str) -> None:
    body = theirs("m=audio 5000 RTP/AVP 0", session=f"c=IN IP4 {name}")
    answer, agreed = ours(PCMU).receive_offer(body)
    assert agreed.remote_name == name
    assert agreed.remote == ("0.0.0.0", 5000)
    assert agreed.direction == "sendrecv"  # It is not a hold.
    assert sdp.parse(answer).media[0].direction == "sendrecv"
    found = agreed.located("192.0.2.7")
    assert (found.remote, found.remote_rtcp) == (("192.0.2.7", 5000), ("192.0.2.7", 5001))


def test_a_host_name_in_an_answer_is_left_to_be_resolved() -> None:
    negotiator = ours(PCMU)
    negotiator.offer()
    body = theirs("m=audio 5000 RTP/AVP 0", "c=IN IP4 media.provider.example", session="b=AS:64")
    assert negotiator.receive_answer(body).remote_name == "media.provider.example"


def test_a_numeric_address_needs_no_resolution() -> None:
    assert ours(PCMU).receive_offer(theirs("m=audio 5000 RTP/AVP 0"))[1].remote_name is None
