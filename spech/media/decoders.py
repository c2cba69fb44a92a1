"""What playout needs of a codec, and formats that the peer may send besides the codec in use."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from spech import codecs
from spech.codecs.base import Codec, Samples
from spech.codecs.resample import Resampler


class Decoder(Protocol):
    """The decoding half of a codec; ``clock_rate`` is its RTP clock in Hz."""

    @property
    def clock_rate(self) -> int: ...
    def decode(self, payload: bytes) -> Samples: ...
    def conceal(self, samples: int) -> Samples: ...
    def recover(self, following: bytes, samples: int) -> Samples: ...


class OtherFormat:
    """A format that the peer may switch to without a further offer (RFC 3264 6.1).

    Its sound is converted to the rate of the call. The codec is created when its first packet
    comes, because most peers never switch.

    Args:
        name: of the codec, in the registry.
        rate: the sampling rate of the call in Hz.
        codec: the codec, if there is one already.
    """

    def __init__(self, name: str, rate: int, codec: Codec | None = None) -> None:
        self._name = name
        self._rate = rate
        self._codec = codec
        self._resampler: Resampler | None = None
        self._taken = self._given = 0
        self._rest: Samples = np.zeros(0, np.int16)

    @property
    def clock_rate(self) -> int:
        return codecs.clock_rate(self._name)

    def decode(self, payload: bytes) -> Samples:
        return self._convert(self._made.decode(payload))

    def conceal(self, samples: int) -> Samples:
        return self._convert(self._made.conceal(self._own(samples)))

    def recover(self, following: bytes, samples: int) -> Samples:
        return self._convert(self._made.recover(following, self._own(samples)))

    @property
    def _made(self) -> Codec:
        if self._codec is None:
            self._codec = codecs.create(self._name)
        return self._codec

    def _own(self, samples: int) -> int:
        """As many samples at the codec's rate."""
        return samples * self._made.rate // self._rate

    def _convert(self, sound: Samples) -> Samples:
        """Bring sound to the call's rate. Its first 30 ms, which the filter holds, are silence."""
        rate = self._made.rate
        if rate == self._rate:
            return sound
        if self._resampler is None:
            self._resampler = Resampler(rate, self._rate)
        ready = np.concatenate((self._rest, self._resampler.process(sound)))
        self._taken += len(sound)
        wanted = self._taken * self._rate // rate - self._given
        self._given += wanted
        if len(ready) < wanted:
            ready = np.concatenate((np.zeros(wanted - len(ready), np.int16), ready))
        self._rest = ready[wanted:]
        return ready[:wanted]
