"""Hearing for machines: sound in order as it arrives, without the delay that makes it smooth.

Speech recognition needs no sound at even intervals. So packets do not wait for slow ones, and in
ticks in which none arrives there is nothing to hear, instead of concealment. Only what has been
missing for 60 ms is concealed, and where the peer pauses there is silence. What comes in bursts is
heard in bursts, so nothing has to be stretched.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final

from spech.codecs.base import Samples
from spech.media.playout import Playout

#: Ticks to wait for a packet.
_PATIENCE: Final = 3
#: Ticks of sound that are heard in one tick at most.
_MOST_SOUNDS: Final = 10
#: Ticks of sound that wait for what takes one a tick.
_MOST_WAITING: Final = 5


class Ear:
    """Takes the sound of a playout as it arrives.

    Attributes:
        heard: ticks of sound for what takes one in each tick, such as recordings.
    """

    def __init__(self) -> None:
        self.heard: deque[Samples] = deque(maxlen=_MOST_WAITING)
        self._waited = 0

    def listen(self, playout: Playout, units: int, now: float) -> Iterator[Samples]:
        """What there is to hear in a tick of ``units`` on the RTP clock: none, one or more ticks.

        Args:
            playout: of a session that holds no packet back.
            units: in a tick.
            now: in seconds.
        """
        if self._waited == _PATIENCE and not playout.ready:
            yield playout.next(units, now, evenly=False)
        heard = 0
        while playout.ready and heard < _MOST_SOUNDS:
            heard += 1
            yield playout.next(units, now, evenly=False)
        self._waited = 0 if heard else min(self._waited + 1, _PATIENCE)
