"""Format parameters in offers and answers, the same for every codec."""

from __future__ import annotations

from spech.sip.description import sdp
from spech.sip.description.offer_answer import Negotiator
from spech.sip.description.payload_types import AudioFormat

OPUS = AudioFormat("opus", "opus", 48000, None, "useinbandfec=1", 2)
#: Answers with the offered text in capitals, to distinguish the two.
LOUD = AudioFormat("loud", "LOUD", 8000, None, "offered", 1, lambda fmtp: fmtp and fmtp.upper())


def negotiator(form: AudioFormat, port: int = 4000) -> Negotiator:
    return Negotiator([form], "10.0.0.1", port, 1)


def fmtps(body: bytes) -> list[str]:
    """The parameters, except those of telephone-events."""
    found = sdp.parse(body).media[0].fmtps().values()
    return [fmtp for fmtp in found if fmtp != "0-15"]


def test_fmtp_of_each_side_reaches_the_other() -> None:
    alice, bob = negotiator(OPUS), negotiator(OPUS, 5000)
    offer = alice.offer()
    assert fmtps(offer) == ["useinbandfec=1"]
    offer = offer.replace(b"useinbandfec=1", b"maxplaybackrate=16000; stereo=0")
    answer, theirs = bob.receive_offer(offer)
    assert theirs.fmtp == "maxplaybackrate=16000; stereo=0"
    assert fmtps(answer) == ["useinbandfec=1"]
    assert alice.receive_answer(answer).fmtp == "useinbandfec=1"


def test_a_codec_answers_the_offered_fmtp() -> None:
    answer, _ = negotiator(LOUD).receive_offer(negotiator(LOUD).offer())
    assert fmtps(answer) == ["OFFERED"]


def test_an_fmtp_answer_may_be_empty() -> None:
    offer = negotiator(LOUD).offer().replace(b"a=fmtp:96 offered\r\n", b"")
    answer, agreed = negotiator(LOUD).receive_offer(offer)
    assert agreed.fmtp is None
    assert fmtps(answer) == []
