"""Sampling rate conversion, of a stream frame by frame and of a whole sound."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import soxr

from spech.codecs.base import Samples

#: Zero crossings of the filter on each side, the part of the band that it keeps, and its window.
_CROSSINGS: Final = 24
_BAND: Final = 0.925
_BETA: Final = 6.0


class Resampler:
    """Converts a stream of mono int16 PCM from ``from_rate`` to ``to_rate`` (Hz).

    The filter holds up to 30 ms back, so the first calls return less than their share. After that
    ``to_rate / from_rate`` samples come out for each that goes in. Equal rates pass unchanged.
    """

    def __init__(self, from_rate: int, to_rate: int) -> None:
        self.from_rate = from_rate
        self.to_rate = to_rate
        self._stream: soxr.ResampleStream | Polyphase | None = None
        if from_rate != to_rate:
            self._stream = _open_stream(from_rate, to_rate)

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


def _open_stream(from_rate: int, to_rate: int) -> soxr.ResampleStream | Polyphase:
    """A filter in the time domain: it returns 20 ms for 20 ms.

    In soxr this is the variable-rate engine, of version 1.1; the other one works in blocks of 60 ms
    and more. Pipecat allows soxr 1.0 only.
    """
    try:
        return soxr.ResampleStream(from_rate, to_rate, 1, dtype="int16", quality="MQ", vr=True)
    except TypeError:
        return Polyphase(from_rate, to_rate)


class Polyphase:
    """A filter that resamples by a ratio of whole numbers, with a Kaiser window.

    Args:
        from_rate: of the stream, in Hz.
        to_rate: of what comes out, in Hz.
    """

    def __init__(self, from_rate: int, to_rate: int) -> None:
        divisor = math.gcd(from_rate, to_rate)
        self._up, self._down = to_rate // divisor, from_rate // divisor
        # In samples of the stream.
        self._half = math.ceil(_CROSSINGS * max(1.0, from_rate / to_rate))
        band = _BAND * min(1.0, to_rate / from_rate)
        phases = np.arange(self._up)[:, None] / self._up
        at = np.arange(2 * self._half)[None, :] - (self._half - 1) - phases
        window = np.i0(_BETA * np.sqrt(np.clip(1 - (at / self._half) ** 2, 0, 1)))
        kernels = np.sinc(band * at) * window
        self._kernels = (kernels / kernels.sum(1, keepdims=True)).astype(np.float32)
        self._waiting = np.zeros(self._half - 1, np.float32)
        #: Where the next sample comes from, in parts of a waiting sample.
        self._next = 0

    def resample_chunk(self, pcm: Samples, last: bool = False) -> Samples:
        """Return the samples that are complete with ``pcm``, and the rest with the last chunk."""
        end = np.zeros(self._half if last else 0, np.float32)
        waiting = np.concatenate((self._waiting, pcm.astype(np.float32), end))
        width = 2 * self._half
        room = (len(waiting) - width + 1) * self._up - self._next
        positions = self._next + self._down * np.arange(max(0, -(-room // self._down)))
        starts, phases = np.divmod(positions, self._up)
        if len(positions):
            windows = np.lib.stride_tricks.sliding_window_view(waiting, width)[starts]
            values = np.einsum("ij,ij->i", windows, self._kernels[phases])
        else:
            values = np.zeros(0, np.float32)
        self._next += self._down * len(positions)
        used = min(self._next // self._up, len(waiting))
        self._next -= used * self._up
        self._waiting = waiting[used:]
        return np.asarray(np.clip(np.rint(values), -32768, 32767), np.int16)


def convert(pcm: Samples, from_rate: int, to_rate: int) -> Samples:
    """Convert a whole sound of mono int16 PCM from ``from_rate`` to ``to_rate`` (Hz)."""
    if from_rate == to_rate or not len(pcm):
        return pcm
    return np.asarray(soxr.resample(pcm, from_rate, to_rate, quality="MQ"), np.int16)
