"""Speech for tests of codecs, and helpers that encode and decode it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import soxr

from spech.codecs import Codec, Samples
from spech.testing.audio import read_wav
from spech.testing.speech import SENTENCES, speak

Carry = Callable[..., Samples]


@cache
def _speech(rate: int) -> Samples:
    pcm = speak(SENTENCES, rate)
    pcm.setflags(write=False)
    return pcm


@pytest.fixture
def speech() -> Callable[[int], Samples]:
    """Ten seconds of English at a rate; the same every time."""
    return _speech


#: From Debian's pocketsphinx-testdata, at 16 kHz: a reader of LibriVox (in the public domain), and
#: other speakers with numbers and names of playing cards.
RECORDINGS = Path("/usr/share/pocketsphinx/test/data")
#: The level of speech in tests of listening: ITU-T P.800, in dB below overload.
LEVEL = -26


@cache
def _recorded(rate: int) -> tuple[Samples, ...]:
    read = [read_wav(path)[0] for path in sorted(RECORDINGS.glob("librivox/*.wav"))]
    cards = [read_wav(path)[0] for path in sorted(RECORDINGS.glob("cards/*.wav"))]
    assert cards, f"no recorded speech in {RECORDINGS}: install pocketsphinx-testdata"
    raw = [
        np.fromfile(RECORDINGS / f"{name}.raw", "<i2").astype(np.int16)
        for name in ("numbers", "something")
    ]
    return tuple(_at_level(sound, rate) for sound in (*read, *raw, np.concatenate(cards)))


def _at_level(sound: Samples, rate: int) -> Samples:
    resampled = soxr.resample(sound.astype(np.float64), 16000, rate, quality="VHQ")
    scaled = resampled * (32768 * 10 ** (LEVEL / 20) / np.sqrt(np.mean(resampled**2)))
    pcm = np.clip(np.rint(scaled), -32768, 32767).astype(np.int16)
    pcm.setflags(write=False)
    return pcm


@pytest.fixture
def recorded() -> Callable[[int], Sequence[Samples]]:
    """Recorded speech at a rate: eight recordings of three to ten seconds."""
    return _recorded


@pytest.fixture
def carry() -> Carry:
    """Encode in packets, and decode those that are not lost."""

    def carry(
        codec: Codec,
        sound: Samples,
        ptime: int = 20,
        lost: Callable[[int], bool] | None = None,
        concealed: bool = True,
    ) -> Samples:
        size = codec.packet_samples(ptime)
        heard = []
        for number, at in enumerate(range(0, len(sound) - size + 1, size)):
            payload = codec.encode(sound[at : at + size])
            if lost is not None and lost(number):
                heard.append(codec.conceal(size) if concealed else np.zeros(size, np.int16))
            else:
                heard.append(codec.decode(payload))
        return np.concatenate(heard)

    return carry
