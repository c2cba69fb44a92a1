"""A queue for PCM that a program writes faster or slower than it is played."""

from __future__ import annotations

from collections import deque
from typing import Final

import numpy as np

from spech.audio.gain import Gain
from spech.audio.stretch import shorten
from spech.codecs.base import Samples
from spech.codecs.resample import Resampler

#: Reads that wait for the rest of a frame before it is padded with silence.
_PATIENCE: Final = 3
#: Silence after the sound that flushes it from the resampler's filter, in seconds.
_FILTER: Final = 0.04

# Sound that arrives evenly, in as much time as it lasts, is live: see PcmQueue.
#: Reads in which that is judged: 2 s.
_WINDOW: Final = 100
#: Reads without anything written within a window of live sound.
_LONGEST_GAP: Final = 5
#: How far the length of what was written may differ from the time in which it came.
_TOLERANCE: Final = 0.1
#: Reads for which live sound may wait.
_BACKLOG: Final = 2
#: Seconds by which one window of live sound is shortened.
_MOST_SHORTENED: Final = 0.4
#: Seconds for which live sound may be late; what is later is dropped.
_LATEST: Final = 5.0
_LIKENESS: Final = 0.8


class PcmQueue:
    """A queue of mono int16 PCM that is written in chunks of any length and read tick by tick.

    It is a :class:`~spech.audio.source.Source`. While it is empty and not :meth:`ended <end>`,
    silence is read.

    Speech that comes in bursts waits as long as it takes. Live sound, such as an echo, would stay
    late for good after the network stalled once. So where sound arrives evenly, in as much time as
    it lasts, and more than two ticks of it always wait, it is shortened until they do not. What has
    become later than 5 s, because the call was on hold, is dropped.

    Args:
        rate: of what is written, in Hz.
        gain: decibels by which it is played louder.
        live: whether live sound is recognized and shortened.

    Attributes:
        rate: of what is written, in Hz.
        written: samples that were written, at ``rate``.
        consumed: samples that were read or dropped, at ``rate``.
        played: samples that were read, at ``rate``.
        skipped: samples of live sound that were dropped because they were late, at ``rate``.
        ended: whether nothing more will be written.
        tail: samples of silence that still have to follow, to bring sound out of the resampler.
    """

    def __init__(self, rate: int, gain: float = 0.0, *, live: bool = False) -> None:
        self.rate = rate
        self.written = self.consumed = self.played = self.skipped = 0
        self.ended = False
        self.tail = 0
        self._gain = Gain(gain) if gain else None
        self._chunks: deque[Samples] = deque()
        self._odd = b""
        self._quiet = 0
        self._resampler: Resampler | None = None
        self._converted: Samples = np.zeros(0, np.int16)
        self._live = live
        self._last = self._converted
        self._reads = self._gap = self._longest_gap = 0
        self._least = 0
        self._written_before = 0
        self._surplus = 0

    @property
    def waiting(self) -> int:
        """Queued samples at ``rate``."""
        return self.written - self.consumed

    @property
    def drained(self) -> bool:
        """Whether the queue and the resampler's filter are empty."""
        return not self.waiting and not self.tail and not len(self._converted)

    def write(self, pcm: bytes | bytearray | memoryview | Samples) -> None:
        """Append samples: an array of int16, or bytes of int16 little-endian of any length.

        Half a sample at the end is kept for the next call.

        Raises:
            ValueError: an array is not one of int16 samples with one dimension.
            TypeError: ``pcm`` is neither bytes nor an array.
        """
        samples: Samples
        if type(pcm) is bytes and not self._odd and not (size := len(pcm)) & 1:
            samples = np.frombuffer(pcm, "<i2")
            size >>= 1
        else:
            samples = self._samples(pcm)
            size = len(samples)
        if size:
            if self.written == self.consumed:
                self._least = 0
            self._chunks.append(samples)
            self.written += size
            self._quiet = self._gap = 0

    def _samples(self, pcm: bytes | bytearray | memoryview | Samples) -> Samples:
        """The whole samples in ``pcm``, behind half a one of before."""
        if isinstance(pcm, np.ndarray):
            if pcm.dtype != np.int16 or pcm.ndim != 1:
                raise ValueError("PCM is a one-dimensional array of int16")
            return pcm.copy()
        if not isinstance(pcm, (bytes, bytearray, memoryview)):
            raise TypeError(f"PCM is bytes or an array of int16, not {type(pcm).__name__}")
        data = self._odd + bytes(pcm)
        whole = len(data) & ~1
        self._odd = data[whole:]
        return np.frombuffer(data[:whole], "<i2")

    def drop_last(self, count: int) -> None:
        """Drop the last ``count`` samples of those that wait."""
        self.written -= count
        while count:
            chunk = self._chunks.pop()
            if len(chunk) > count:
                self._chunks.append(chunk[:-count])
            count = max(count - len(chunk), 0)

    def end(self) -> None:
        """Mark the end: nothing more will be written."""
        self.ended = True

    def clear(self) -> None:
        """Drop what is queued."""
        self._chunks.clear()
        self._odd = b""
        self._converted = self._converted[:0]
        self.tail = self._surplus = 0
        self.consumed = self.written

    def read(self, samples: int, rate: int) -> Samples:
        """Return the next ``samples`` samples at ``rate`` Hz; fewer only at the end."""
        taken = self._take(samples) if rate == self.rate else self._convert(samples, rate)
        if len(taken) < samples and not self.ended:
            taken = np.concatenate((taken, np.zeros(samples - len(taken), np.int16)))
        return taken if self._gain is None or not len(taken) else self._gain.process(taken)

    def close(self) -> None:
        """Mark the end, and drop what is queued."""
        self.end()
        self.clear()

    def _take(self, samples: int) -> Samples:
        """The next samples at our own rate; none while the rest of a frame may still arrive."""
        waiting = self.written - self.consumed
        if not self.ended and waiting < samples:
            self._quiet += 1
            if self._quiet <= _PATIENCE:
                return np.zeros(0, np.int16)
        if self._live:
            self._reads += 1
            self._gap += 1
            if self._gap > self._longest_gap:
                self._longest_gap = self._gap
            if waiting < self._least:
                self._least = waiting
            if self._reads == _WINDOW:
                self._judge(samples)
            if self._surplus:
                self._shorten(samples)
        chunks = self._chunks
        if chunks and len(chunks[0]) == samples:
            self._last = chunks.popleft()
        else:
            self._last = self._gather(samples)
            samples = len(self._last)
        self.consumed += samples
        self.played += samples
        return self._last

    def _gather(self, samples: int) -> Samples:
        """The next samples out of chunks of any length; fewer where there are no more."""
        parts: list[Samples] = []
        while samples and self._chunks:
            chunk = self._chunks.popleft()
            if len(chunk) > samples:
                self._chunks.appendleft(chunk[samples:])
                chunk = chunk[:samples]
            parts.append(chunk)
            samples -= len(chunk)
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(parts) if parts else np.zeros(0, np.int16)

    def _judge(self, samples: int) -> None:
        """Decide, at the end of a window, by how much to shorten the next one."""
        lasted = _WINDOW * samples
        came = self.written - self._written_before
        excess = self._least - _BACKLOG * samples
        even = self._longest_gap <= _LONGEST_GAP and abs(came - lasted) <= _TOLERANCE * lasted
        if even and excess > _LATEST * self.rate:
            self.skipped += len(self._gather(excess))
            self.consumed += excess
            excess = 0
        self._surplus = min(max(excess, 0), round(_MOST_SHORTENED * self.rate)) if even else 0
        self._reads = self._gap = self._longest_gap = 0
        self._written_before = self.written
        self._least = self.waiting

    def _shorten(self, samples: int) -> None:
        """Leave out a part of the next two frames, where that is inaudible."""
        part = self._gather(2 * samples)
        sound = np.concatenate((self._last, part))
        changed = shorten(sound, len(self._last), self._surplus, self.rate, _LIKENESS)
        if changed is not None:
            left_out = len(part) - len(changed)
            self._surplus -= left_out
            self.consumed += left_out
            self.played += left_out
            part = changed.astype(np.int16, copy=False)
        if len(part):
            self._chunks.appendleft(part)

    def _convert(self, samples: int, rate: int) -> Samples:
        """The next samples at another rate. The filter delays them by 30 ms."""
        if self._resampler is None or self._resampler.to_rate != rate:
            self._resampler = Resampler(self.rate, rate)
            self._converted = self._converted[:0]
        # At rates with a remainder, such as 11025 Hz, some reads return one sample more.
        while len(self._converted) < samples:
            taken = self._take(-(-samples * self.rate // rate))
            if len(taken):
                self.tail = round(_FILTER * self.rate)
            elif self.tail:
                taken = np.zeros(min(self.tail, self.rate // 50), np.int16)
                self.tail -= len(taken)
            else:
                break
            self._converted = np.concatenate((self._converted, self._resampler.process(taken)))
        ready, self._converted = self._converted[:samples], self._converted[samples:]
        return ready
