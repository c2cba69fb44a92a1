"""Sampling rate conversion, of a stream frame by frame and of a whole sound."""

from __future__ import annotations

import numpy as np
import soxr

from spech.codecs.base import Samples


class Resampler:
    """Converts a stream of mono int16 PCM from ``from_rate`` to ``to_rate`` (Hz).

    The filter holds about 30 ms back, so the first calls return less than their share. After that
    ``to_rate / from_rate`` samples come out for each that goes in. Equal rates pass unchanged.
    """

    def __init__(self, from_rate: int, to_rate: int) -> None:
        self.from_rate = from_rate
        self.to_rate = to_rate
        self._stream: soxr.ResampleStream | None = None
        if from_rate != to_rate:
            # The variable-rate engine filters in the time domain: it holds 30 ms back and then
            # returns 20 ms for 20 ms. The default engine works in blocks of 60 ms and more.
            self._stream = soxr.ResampleStream(
                from_rate, to_rate, 1, dtype="int16", quality="MQ", vr=True
            )

    def process(self, pcm: Samples) -> Samples:
        """Take the next samples of the stream, and return those that are ready."""
        if self._stream is None:
            return pcm
        ready: Samples = np.asarray(self._stream.resample_chunk(pcm), np.int16)
        return ready

    def finish(self) -> Samples:
        """End the stream, and return what the filter has held back."""
        if self._stream is None:
            return np.zeros(0, np.int16)
        rest = self._stream.resample_chunk(np.zeros(0, np.int16), last=True)
        return np.asarray(rest, np.int16)


def convert(pcm: Samples, from_rate: int, to_rate: int) -> Samples:
    """Convert a whole sound of mono int16 PCM from ``from_rate`` to ``to_rate`` (Hz)."""
    if from_rate == to_rate or not len(pcm):
        return pcm
    return np.asarray(soxr.resample(pcm, from_rate, to_rate, quality="MQ"), np.int16)
