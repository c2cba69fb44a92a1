"""Silence suppression: descriptions of the noise are sent in pauses, in place of sound."""

from __future__ import annotations

from spech.audio.activity import VoiceActivity
from spech.codecs.base import Samples
from spech.codecs.comfort import NoiseAnalyzer

# Often enough for any NAT to keep its binding, and for a peer that missed the last one.
_REFRESH_TICKS = 100
_LEAST_TICKS = 10
_CHANGE = 3.0  # in dB, beyond which a new description is sent early


class Pauses:
    """Detects pauses in the sound of a microphone, and describes the noise in them (RFC 3389).

    Args:
        rate: samples per second of the sound.
        clock_rate: the RTP clock in Hz.
    """

    def __init__(self, rate: int, clock_rate: int) -> None:
        self._activity = VoiceActivity()
        self._analyzer = NoiseAnalyzer(rate, clock_rate)
        self._silent = False
        self._since = 0
        self._described = 0.0

    def judge(self, spoken: Samples) -> bytes | None:
        """Take a tick of sound; return None where it should be sent as sound.

        Otherwise return the payload to send in its place; an empty one is not sent.
        """
        speech = self._activity.hear(spoken)
        if self._activity.noisy:
            self._analyzer.learn(spoken)
        if speech:
            self._silent = False
            return None
        self._since += 1
        level = self._analyzer.level
        changed = abs(level - self._described) > _CHANGE and self._since >= _LEAST_TICKS
        if self._silent and not changed and self._since < _REFRESH_TICKS:
            return b""
        self._silent = True
        self._since = 0
        self._described = level
        return self._analyzer.payload()
