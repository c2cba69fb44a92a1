"""Concealment for codecs that have none of their own: the last sound continues, and fades.

After ITU-T G.711 Appendix I: the last pitch period is repeated, after 20 ms the last two and after
40 ms the last three, so that it does not buzz; their ends are overlapped by a quarter of a period.
It fades, and is silent after 60 ms. Where sound returns, the concealment continues under it for a
few milliseconds and is cross-faded. Unlike in Appendix I, no sound is delayed to smooth the
beginning: the step that is left between the last sample and its successor is spread instead.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from spech.codecs.base import Samples

_SHORTEST = 0.005
_LONGEST = 0.015
_COMPARED = 0.01
_REMEMBERED = 0.07
_MOST_FRAMES = 16
_SEARCH_RATE = 8000
#: Seconds after which more periods are repeated, when it begins to fade, and when it is silent.
_STAGE = 0.02
_FULL = 0.01
_SILENT = 0.06
#: Seconds for which the concealment continues under the real sound: at least, more for each second
#: of the gap, and at most.
_OVERLAP = 0.0025
_OVERLAP_GROWTH = 0.1
_LONGEST_OVERLAP = 0.01

_NOTHING: Samples = np.zeros(0, np.int16)


class Concealer:
    """Remembers the last frames of one stream and extends them on demand."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._heard: deque[Samples] = deque(maxlen=_MOST_FRAMES)
        self._invented: NDArray[np.float32] | None = None
        self._position = 0

    def heard(self, pcm: Samples) -> Samples:
        """Remember a decoded frame, and return it as it should be played.

        Only after a gap is it changed. The array must not be changed afterwards.
        """
        if self._invented is not None:
            pcm = self._return(pcm)
        self._heard.append(pcm)
        return pcm

    def extend(self, samples: int) -> Samples:
        """Return ``samples`` samples that continue the last frame and fade to silence."""
        if self._invented is None:
            self._invented = self._invent()
            self._position = 0
        return np.rint(self._go_on(samples)).astype(np.int16)

    def _go_on(self, samples: int) -> NDArray[np.float32]:
        invented = self._invented
        assert invented is not None
        part = invented[self._position : self._position + samples]
        self._position += samples
        return np.pad(part, (0, samples - len(part)))

    def _return(self, pcm: Samples) -> Samples:
        """Cross-fade from the concealment to the real sound."""
        gap = self._position / self._rate
        overlap = min(_OVERLAP + _OVERLAP_GROWTH * gap, _LONGEST_OVERLAP)
        if gap >= _SILENT:
            overlap = _OVERLAP
        count = min(int(overlap * self._rate), len(pcm))
        rising = np.linspace(0.0, 1.0, count, dtype=np.float32)
        joined = self._go_on(count) * (1 - rising) + pcm[:count] * rising
        self._invented = None
        return np.concatenate((np.rint(joined).astype(np.int16), pcm[count:]))

    def _invent(self) -> NDArray[np.float32]:
        """The concealment of a gap of any length."""
        silent = int(_SILENT * self._rate)
        history = np.concatenate((_NOTHING, *self._heard)).astype(np.float32)
        history = history[-int(_REMEMBERED * self._rate) :]
        period = self._period(history)
        if not period:
            return np.zeros(silent, np.float32)
        quarter = period // 4
        rising = np.linspace(0.0, 1.0, quarter, dtype=np.float32)
        most = max(1, (len(history) - quarter) // period)
        parts: list[NDArray[np.float32]] = []
        length = 0
        while length < silent:
            stage = min(1 + int(length / (_STAGE * self._rate)), 3, most)
            following = min(1 + int((length + stage * period) / (_STAGE * self._rate)), 3, most)
            part = history[-stage * period :].copy()
            # The end leads to where the next repetition begins.
            begin = len(history) - following * period
            part[-quarter:] *= 1 - rising
            part[-quarter:] += history[begin - quarter : begin] * rising
            parts.append(part)
            length += len(part)
        invented = np.concatenate(parts)[:silent]
        step = history[-1] - history[-period - 1]
        invented[:quarter] += step * (1 - rising)
        time = np.arange(silent, dtype=np.float32) / self._rate
        gain = np.clip((_SILENT - time) / (_SILENT - _FULL), 0.0, 1.0)
        return (np.clip(invented, -32768, 32767) * gain).astype(np.float32)

    def _period(self, history: NDArray[np.float32]) -> int:
        """The lag with the greatest similarity of the newest to older sound; 0 for too little."""
        step = max(1, self._rate // _SEARCH_RATE)
        compared = int(_COMPARED * self._rate)
        shortest = int(_SHORTEST * self._rate)
        longest = min(int(_LONGEST * self._rate), len(history) - compared)
        if longest < shortest:
            return 0
        lags = np.arange(shortest, longest + 1, step)
        lag = int(lags[np.argmax(_likenesses(history, compared, lags, step))])
        if step > 1:
            lags = np.arange(max(shortest, lag - step + 1), min(longest, lag + step - 1) + 1)
            lag = int(lags[np.argmax(_likenesses(history, compared, lags, 1))])
        return lag


def _likenesses(
    history: NDArray[np.float32], compared: int, lags: NDArray[np.int64], step: int
) -> NDArray[np.float32]:
    """The normalised correlation of the newest samples with those one lag earlier."""
    windows = np.lib.stride_tricks.sliding_window_view(history, compared)
    older = windows[len(history) - compared - lags, ::step]
    newest = history[-compared::step]
    found: NDArray[np.float32] = older @ newest / np.sqrt(np.einsum("ij,ij->i", older, older) + 1.0)
    return found
