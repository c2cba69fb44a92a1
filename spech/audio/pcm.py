"""A queue for PCM that a program writes faster or slower than it is played."""

from __future__ import annotations

from collections import deque
from typing import Final

import numpy as np

from spech.audio.gain import Gain
from spech.codecs.base import Samples
from spech.codecs.resample import Resampler

#: Reads that wait for the rest of a frame before it is padded with silence.
_PATIENCE: Final = 3
#: Silence after the sound that flushes it from the resampler's filter, in seconds.
_FILTER: Final = 0.04


class PcmQueue:
    """A queue of mono int16 PCM that is written in chunks of any length and read tick by tick.

    It is a :class:`~spech.audio.source.Source`. While it is empty and not :meth:`ended <end>`,
    silence is read.

    Args:
        rate: of what is written, in Hz.
        gain: decibels by which it is played louder.

    Attributes:
        rate: of what is written, in Hz.
        written: samples that were written, at ``rate``.
        consumed: samples that were read or dropped, at ``rate``.
        played: samples that were read, at ``rate``.
        ended: whether nothing more will be written.
    """

    def __init__(self, rate: int, gain: float = 0.0) -> None:
        self.rate = rate
        self.written = self.consumed = self.played = 0
        self.ended = False
        self._gain = Gain(gain)
        self._chunks: deque[Samples] = deque()
        self._odd = b""
        self._quiet = 0
        self._resampler: Resampler | None = None
        self._converted: Samples = np.zeros(0, np.int16)
        self._tail = 0

    @property
    def waiting(self) -> int:
        """Queued samples at ``rate``."""
        return self.written - self.consumed

    @property
    def drained(self) -> bool:
        """Whether the queue and the resampler's filter are empty."""
        return not self.waiting and not self._tail and not len(self._converted)

    def write(self, pcm: bytes | bytearray | memoryview | Samples, most: int | None = None) -> int:
        """Append samples: an array of int16, or bytes of int16 little-endian of any length.

        Half a sample at the end is kept for the next call.

        Args:
            pcm: the samples.
            most: how many of them may be appended; the others are dropped.

        Returns:
            The number of samples that were dropped.

        Raises:
            ValueError: an array is not one of int16 samples with one dimension.
        """
        if isinstance(pcm, np.ndarray):
            if pcm.dtype != np.int16 or pcm.ndim != 1:
                raise ValueError("PCM is a one-dimensional array of int16")
            samples = pcm.copy()
        else:
            data = self._odd + bytes(pcm)
            whole = len(data) & ~1
            self._odd = data[whole:]
            samples = np.frombuffer(data[:whole], "<i2").astype(np.int16, copy=False)
        kept = samples if most is None else samples[:most]
        if len(kept):
            self._chunks.append(kept)
            self.written += len(kept)
            self._quiet = 0
        return len(samples) - len(kept)

    def end(self) -> None:
        """Mark the end: nothing more will be written."""
        self.ended = True

    def clear(self) -> None:
        """Drop what is queued."""
        self._chunks.clear()
        self._odd = b""
        self._converted = self._converted[:0]
        self._tail = 0
        self.consumed = self.written

    def read(self, samples: int, rate: int) -> Samples:
        """Return the next ``samples`` samples at ``rate`` Hz; fewer only at the end."""
        taken = self._take(samples) if rate == self.rate else self._convert(samples, rate)
        if len(taken) < samples and not self.ended:
            taken = np.concatenate((taken, np.zeros(samples - len(taken), np.int16)))
        return self._gain.process(taken) if len(taken) else taken

    def close(self) -> None:
        """Mark the end, and drop what is queued."""
        self.end()
        self.clear()

    def _take(self, samples: int) -> Samples:
        """The next samples at our own rate; none while the rest of a frame may still arrive."""
        if not self.ended and self.waiting < samples:
            self._quiet += 1
            if self._quiet <= _PATIENCE:
                return np.zeros(0, np.int16)
        parts: list[Samples] = []
        wanted = samples
        while wanted and self._chunks:
            chunk = self._chunks.popleft()
            if len(chunk) > wanted:
                self._chunks.appendleft(chunk[wanted:])
                chunk = chunk[:wanted]
            parts.append(chunk)
            wanted -= len(chunk)
        self.consumed += samples - wanted
        self.played += samples - wanted
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(parts) if parts else np.zeros(0, np.int16)

    def _convert(self, samples: int, rate: int) -> Samples:
        """The next samples at another rate. The filter delays them by 30 ms."""
        if self._resampler is None or self._resampler.to_rate != rate:
            self._resampler = Resampler(self.rate, rate)
            self._converted = self._converted[:0]
        # At rates with a remainder, such as 11025 Hz, some reads return one sample more.
        while len(self._converted) < samples:
            taken = self._take(-(-samples * self.rate // rate))
            if len(taken):
                self._tail = round(_FILTER * self.rate)
            elif self._tail:
                taken = np.zeros(min(self._tail, self.rate // 50), np.int16)
                self._tail -= len(taken)
            else:
                break
            self._converted = np.concatenate((self._converted, self._resampler.process(taken)))
        ready, self._converted = self._converted[:samples], self._converted[samples:]
        return ready
