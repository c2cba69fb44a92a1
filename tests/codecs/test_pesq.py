"""PESQ of recorded speech for each codec, compared with published scores.

PESQ (ITU-T P.862) compares input and output, and is mapped to the MOS scale, 1 to 4.5, by P.862.1
for telephone bandwidth and by P.862.2 for wideband. It was designed for recorded speech; for
synthesized speech its scores are too low (2.3 for G.729).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import av
import numpy as np
import pytest
import soxr
from pesq import pesq

from spech import codecs
from spech.codecs import Samples
from spech.testing.speech import align

Recorded = Callable[[int], Sequence[Samples]]
Carry = Callable[..., Samples]

#: MOS of G.107 annex B for the Ie of G.113 appendix I: 0 for G.711 and 20 for GSM 06.10; of G.107.1
#: for the 13 of appendix IV for G.722 at 64 kbit/s. Opus: G.107.2 for the 16.8 of Al-Ahmadi,
#: Pocta and Melvin (ISSC 2019, 31 kbit/s).
G711, GSM, G722, OPUS = 4.41, 3.74, 4.33, 4.29
#: Sun and Ifeachor: Voice quality prediction models and their application in VoIP networks (IEEE
#: Transactions on Multimedia 8, 2006) had PESQ judge codecs, and give it as Ie at no loss: 22.45
#: for G.729, 20.42 for iLBC at 15.2 kbit/s, 14.96 for AMR at 12.2 kbit/s.
G729, ILBC, AMR = 3.64, 3.72, 3.95
PUBLISHED = {
    "PCMU": G711,
    "PCMA": G711,
    "G722": G722,
    "opus": OPUS,
    "G729": G729,
    "GSM": GSM,
    "iLBC/20": ILBC,
    # For 13.33 kbit/s it is only published that it is better than G.729 A.
    "iLBC/30": G729,
    # For Speex nothing is: AMR is CELP at a similar bitrate; wider bands must not be worse.
    "speex/8000": AMR,
    "speex/16000": AMR,
    "speex/32000": AMR,
}
#: PESQ depends on the speaker: by ±0.1 among our eight recordings.
TALKERS = 0.1


def opinion(said: Sequence[Samples], heard: Sequence[Samples], rate: int) -> float:
    """The mean of all recordings; wideband if the codec supports it."""
    to, mode = (8000, "nb") if rate == 8000 else (16000, "wb")
    scores = []
    for one, other in zip(said, heard, strict=True):
        pair = (soxr.resample(part, rate, to, quality="VHQ") for part in align(one, other, rate))
        scores.append(pesq(to, *(part.astype(np.float32) for part in pair), mode))
    return float(np.mean(scores))


@pytest.mark.parametrize("name", [name for name in PUBLISHED if not name.startswith("iLBC")])
def test_pesq_of_each_codec_matches_published_scores(
    name: str, recorded: Recorded, carry: Carry
) -> None:
    if name not in codecs.names():
        pytest.skip(f"the library of {name} is not installed")
    rate = codecs.create(name).rate
    said = recorded(rate)
    heard = [carry(codecs.create(name), sound) for sound in said]
    assert opinion(said, heard, rate) > PUBLISHED[name] - TALKERS


@pytest.mark.parametrize("mode", [20, 30])
def test_pesq_of_our_ilbc_matches_published_scores_in_both_decoders(
    mode: int, recorded: Recorded
) -> None:
    """In ours and in FFmpeg's, which reads files (RFC 3952 section 6 has the header)."""
    said = recorded(8000)
    ours, ffmpegs = [], []
    for sound in said:
        codec = codecs.create(f"iLBC/{mode}")
        whole = len(sound) // (8 * mode) * 8 * mode
        payloads = [codec.encode(sound[at : at + 8 * mode]) for at in range(0, whole, 8 * mode)]
        ours.append(np.concatenate([codec.decode(payload) for payload in payloads]))
        file = io.BytesIO(b"#!iLBC%d\n" % mode + b"".join(payloads))
        with av.open(file, format="ilbc") as container:
            parts = [frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)]
        ffmpegs.append(np.concatenate(parts).astype(np.int16))
    published = PUBLISHED[f"iLBC/{mode}"]
    assert opinion(said, ours, 8000) > published - TALKERS
    assert opinion(said, ffmpegs, 8000) > published - TALKERS
