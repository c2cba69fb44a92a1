"""Speech, and the codecs that carry it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest

from spech.codecs import Codec, Samples
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


@pytest.fixture
def carry() -> Carry:
    """Encode in packets, and decode what is not lost."""

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
