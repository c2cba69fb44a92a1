"""The lenient reading of session descriptions, and the limits on them."""

from __future__ import annotations

import random

import pytest

from spech.errors import RemoteProtocolError
from spech.sip.description import sdp
from spech.sip.description.media_security import MediaSecurity
from spech.sip.description.offer_answer import Negotiator
from spech.sip.description.payload_types import AudioFormat
from spech.sip.message.body import MAX_BODY

PCMU = AudioFormat("PCMU", "PCMU", 8000, 0)
OPUS = AudioFormat("opus", "opus", 48000, channels=2)

OFFER = (
    b"v=0\r\no=- 1 1 IN IP4 192.0.2.2\r\ns=-\r\nc=IN IP4 192.0.2.2\r\nt=0 0\r\n"
    b"m=audio 5000 RTP/AVP 0\r\na=sendrecv\r\n"
)


def ours() -> Negotiator:
    return Negotiator((PCMU, OPUS), "192.0.2.1", 4000, 1)


@pytest.mark.parametrize(
    "body",
    [
        OFFER,
        OFFER.replace(b"v=0\r\n", b""),
        OFFER.replace(b"v=0\r\n", b"x\r\nv=1\r\n"),
        OFFER.replace(b"o=- 1 1 IN IP4 192.0.2.2\r\n", b""),
        OFFER.replace(b"o=- 1 1 IN IP4 192.0.2.2", b"o=phone"),
        OFFER.replace(b"c=IN IP4 192.0.2.2", b"c=192.0.2.2"),
        OFFER.replace(b"c=IN IP4 192.0.2.2", b"c=IN 192.0.2.2"),
        OFFER.replace(b"t=0 0\r\n", b"t=0 0\r\na=x\x00y\r\n"),
        OFFER.replace(b"\r\n", b"\r"),
        OFFER.replace(b"t=0 0\r\n", b"t=0 0\r\na=key-mgmt:mikey " + b"A" * 9000 + b"\r\n"),
        OFFER + b"m=video port RTP/AVP 31\r\n",
        OFFER + b"m=application\r\n",
        OFFER + b"m=video 6000 RTP/AVP 31\r\nc=IN IP4\r\n",
        OFFER.replace(b"AVP 0", b"AVP 0 " + b" ".join(b"%d" % n for n in range(1, 128))),
    ],
)
def test_errors_in_unneeded_lines_are_ignored(body: bytes) -> None:
    answer, agreed = ours().receive_offer(body)
    assert agreed.codec == "PCMU"
    assert agreed.remote == ("192.0.2.2", 5000)
    # Each media line has its answer, and ours is written strictly.
    described = sdp.parse(answer)
    assert len(described.media) == body.count(b"m=")
    assert described.media[0].port == 4000
    assert all(media.port == 0 for media in described.media[1:])


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"hello", 400),
        (b"v=0\r\no=- 1 1 IN\r\n", 400),
        (OFFER.replace(b"5000", b"70000"), 488),
        (OFFER.replace(b"5000", b"port"), 488),
        (OFFER.replace(b"c=IN IP4 192.0.2.2\r\n", b""), 488),
        (OFFER.replace(b"c=IN IP4 192.0.2.2", b"c=IN IP4 <script>"), 488),
        (OFFER.replace(b"AVP 0", b"AVP x"), 488),
        (OFFER + b"m=video 0 RTP/AVP 31\r\n" * 16, 488),
        (OFFER + b"a=x\r\n" * (MAX_BODY // 5), 413),
    ],
)
def test_errors_in_needed_parts_are_refused(body: bytes, status: int) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        ours().receive_offer(body)
    assert caught.value.status == status
    negotiator = ours()
    negotiator.offer()
    with pytest.raises(RemoteProtocolError):
        negotiator.receive_answer(body)


def test_formats_beyond_the_limit_are_ignored() -> None:
    numbers = b" ".join(b"%d" % (number % 128) for number in range(16_250))
    (media,) = sdp.read(OFFER.replace(b"AVP 0", b"AVP " + numbers[:30_000])).media
    assert len(media.formats) == sdp.MAX_FORMATS


@pytest.mark.interpreted
def test_attributes_are_read_once_for_each_description(monkeypatch: pytest.MonkeyPatch) -> None:
    """Independent of the number of formats, because rtpmaps() reads all attributes."""
    counted: list[sdp.MediaDescription] = []
    explain = sdp.MediaDescription.rtpmaps

    def counting(media: sdp.MediaDescription) -> dict[int, sdp.Meaning]:
        counted.append(media)
        return explain(media)

    monkeypatch.setattr(sdp.MediaDescription, "rtpmaps", counting)
    numbers = range(60, 0, -1)
    lines = b"".join(b"a=rtpmap:%d x%d/8000\r\n" % (number, number) for number in numbers)
    body = OFFER.replace(b"AVP 0", b"AVP " + b" ".join(b"%d" % n for n in numbers) + b" 0") + lines
    ours().receive_offer(body)
    assert len(counted) <= 2
    counted.clear()
    negotiator = ours()
    negotiator.offer()
    negotiator.receive_answer(body)
    assert len(counted) == 1


def test_many_crypto_lines_are_read_once_each() -> None:
    line = b"a=crypto:%d AES_CM_128_HMAC_SHA1_80 inline:" + b"A" * 40 + b"\r\n"
    lines = b"".join(line % number for number in range(380))
    security = MediaSecurity("sdes", rng=random.Random(1))
    negotiator = Negotiator((PCMU,), "192.0.2.1", 4000, 1, security=security)
    body = OFFER.replace(b"RTP/AVP", b"RTP/SAVP") + lines
    assert negotiator.receive_offer(body)[1].security is not None
