"""L16: uncompressed 16-bit PCM in network byte order (RFC 3551 section 4.5.11)."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from spech.codecs.base import BaseCodec, CodecInfo, CodecMaker, Impairment, Samples, band_of
from spech.codecs.conceal import Concealer

_RATES = (8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000)
_TICKS_PER_SECOND = 50
#: Bytes of RTP payload in a packet of Ethernet: 1500 without the headers of IPv6, UDP and RTP and
#: the 16 bytes that encryption adds.
_LARGEST_PAYLOAD = 1500 - 40 - 8 - 12 - 16
_TAPS = 63


class LinearCodec(BaseCodec):
    """Mono L16. 44100 Hz has the static payload type 11, all other rates are dynamic.

    Above 32 kHz, 20 ms do not fit into one packet of Ethernet. We ask for 10 ms then.
    """

    def __init__(self, rate: int) -> None:
        fits = 2 * rate // _TICKS_PER_SECOND <= _LARGEST_PAYLOAD
        super().__init__(
            f"L16/{rate}",
            rate,
            encoding="L16",
            payload_type=11 if rate == 44100 else None,
            ptime_ms=20 if fits else 10,
        )
        self._concealer = Concealer(rate)

    def encode(self, pcm: Samples) -> bytes:
        """Two bytes a sample, the high byte first."""
        return pcm.astype(">i2").tobytes()

    def decode(self, payload: bytes) -> Samples:
        """Two bytes a sample; an odd last byte is dropped."""
        pcm = np.frombuffer(payload, ">i2", count=len(payload) // 2).astype(np.int16)
        return self._concealer.heard(pcm)

    def conceal(self, samples: int) -> Samples:
        """Repeat the last pitch period and fade."""
        return self._concealer.extend(samples)


class HalvedLinearCodec(BaseCodec):
    """L16 at a rate that has no whole number of samples in 20 ms: 11025 Hz.

    Its PCM is of twice the rate, halved on the way out and doubled on the way in. The filters
    delay by a millisecond and a half each.
    """

    def __init__(self, rate: int) -> None:
        super().__init__(f"L16/{rate}", 2 * rate, encoding="L16", clock_rate=rate)
        self._concealer = Concealer(self.rate)
        self._said = np.zeros(_TAPS - 1)
        self._heard = np.zeros(_TAPS - 1)
        self._odd = 0

    def encode(self, pcm: Samples) -> bytes:
        """Every other sample of what remains below half the rate; of an odd number, in turns."""
        filtered, self._said = _half_band(self._said, pcm.astype(np.float64))
        kept = filtered[self._odd :: 2]
        self._odd = (self._odd + len(pcm)) % 2
        return _clipped(kept).astype(">i2").tobytes()

    def decode(self, payload: bytes) -> Samples:
        """Two samples for each that came; an odd last byte is dropped."""
        count = len(payload) // 2
        spread = np.zeros(2 * count)
        spread[::2] = np.frombuffer(payload, ">i2", count=count)
        filtered, self._heard = _half_band(self._heard, 2.0 * spread)
        pcm = _clipped(filtered)
        return self._concealer.heard(pcm)

    def conceal(self, samples: int) -> Samples:
        """Repeat the last pitch period and fade."""
        return self._concealer.extend(samples)


def _half_band(
    history: NDArray[np.float64], new: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Let pass what is below a quarter of the rate; also returns the history for the next time."""
    joined = np.concatenate((history, new))
    if not len(new):
        return new, history
    return np.convolve(joined, _FILTER, "valid"), joined[-(_TAPS - 1) :]


def _clipped(values: NDArray[np.float64]) -> Samples:
    return np.clip(np.rint(values), -32768, 32767).astype(np.int16)


def _design() -> NDArray[np.float64]:
    offset = np.arange(_TAPS) - (_TAPS - 1) / 2
    taps = np.sinc(offset / 2) * np.kaiser(_TAPS, 7.0)
    scaled: NDArray[np.float64] = taps / taps.sum()
    return scaled


_FILTER = _design()


def _impairment(rate: int) -> Impairment:
    """PCM is what the scales are made of: Ie is 0. Bpl is that of G.711, concealed alike."""
    return Impairment(0.0, 25.1, band_of(rate))


def _maker(rate: int) -> CodecMaker:
    whole = rate % _TICKS_PER_SECOND == 0
    kind = LinearCodec if whole else HalvedLinearCodec
    pcm_rate = rate if whole else 2 * rate
    info = CodecInfo(f"L16/{rate}", pcm_rate, rate * 16, True, None, _impairment(rate))
    return CodecMaker(info, partial(kind, rate))


MAKERS: tuple[CodecMaker, ...] = tuple(_maker(rate) for rate in _RATES)
