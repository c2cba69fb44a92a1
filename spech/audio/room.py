"""A room in which everyone hears everyone else.

The room has no tick and no sampling rate of its own. Each member contributes 20 ms at its own tick
and takes what the others have contributed since its last tick, so a voice is delayed by at most one
tick. Sound is resampled only between members whose rates differ. The ticks of two clocks may change
their order occasionally, so a listener takes a speaker's sound in order, and may leave one frame
queued.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from spech.audio.gain import Gain, Limiter
from spech.audio.level import Meter
from spech.codecs.base import Samples
from spech.codecs.resample import Resampler

_FRAMES_PER_SECOND = 50
_KEPT = 4
_WAITING = 2
_NO_SOUND: Samples = np.zeros(0, np.int16)


class Room:
    """Each member of a room hears the sum of the others."""

    def __init__(self) -> None:
        self._lines: list[RoomLine] = []

    @property
    def members(self) -> tuple[Member, ...]:
        """The members, in the order of arrival."""
        return tuple(line.member for line in self._lines)


class Member:
    """A member of a room: a call, or a program's microphone and speaker."""

    def __init__(self, line: RoomLine, volume: Gain, meter: Meter) -> None:
        self._line = line
        self._volume = volume
        self._meter = meter

    @property
    def room(self) -> Room | None:
        """The room, until the member has left."""
        return self._line.room

    @property
    def gain(self) -> float:
        """By how many decibels the others hear the member louder (or softer, below 0)."""
        return self._volume.decibels

    @gain.setter
    def gain(self, decibels: float) -> None:
        self._volume.decibels = decibels

    @property
    def muted(self) -> bool:
        """While true, the others do not hear the member, which still hears them."""
        return self._volume.muted

    @muted.setter
    def muted(self, muted: bool) -> None:
        self._volume.muted = muted

    @property
    def level(self) -> float:
        """The level of the member for the others: RMS over the last 100 ms, in dBFS."""
        return self._meter.level

    def leave(self) -> None:
        """Leave the room. May be called again."""
        self._line.leave()


class RoomLine:
    """Carries the sound of one member to a room and back, in ticks of 20 ms.

    A line may have two ends: the far end, which is the member, and the near end of the same call.
    The near end hears the room and is heard by it without being a member of its own.

    Args:
        room: the room to join, until :meth:`leave`.
        gain: decibels by which the others hear the member louder.
        audible: False for a line that only listens, and is not among :attr:`Room.members`.

    Attributes:
        room: None once the line has left.
        member: the public member.
    """

    def __init__(self, room: Room, gain: float = 0.0, *, audible: bool = True) -> None:
        self.room: Room | None = room
        self._volume = Gain(gain)
        self._meter = Meter()
        self.member = Member(self, self._volume, self._meter)
        self._rate = 0
        self._feeds: dict[int, _Feed] = {}
        self._joint, self._to_far, self._to_near = Limiter(), Limiter(), Limiter()
        if audible:
            room._lines.append(self)

    def exchange(
        self, far: Samples, rate: int, near: Samples | None = None
    ) -> tuple[Samples, Samples]:
        """Contribute one tick, and take the sum of the others.

        Args:
            far: 20 ms of the member's sound.
            rate: of all sound here, in Hz; it may change from one tick to the next.
            near: 20 ms from the near end of the line; None without one.

        Returns:
            The sound for the far end, and the sound for the near end.
        """
        if rate != self._rate:
            self._forget()
            self._rate = rate
        far = self._volume.process(far)
        self._meter.measure(far)
        said = far if near is None else self._joint.process(np.add(near, far, dtype=np.int32))
        for feed in self._feeds.values():
            feed.put(said)
        others = self._others()
        if near is None:
            silence = np.zeros(len(far), np.int16)
            return (silence if others is None else self._to_far.process(others)), silence
        if others is None:
            return near, far
        return self._to_far.process(others + near), self._to_near.process(others + far)

    def leave(self) -> None:
        """Leave the room. May be called again."""
        if self.room is not None:
            self._forget()
            if self in self.room._lines:
                self.room._lines.remove(self)
            self.room = None

    def _others(self) -> NDArray[np.int32] | None:
        """The sum of one tick of all others, None if there is no sound of them."""
        total: NDArray[np.int32] | None = None
        if self.room is None:
            return None
        for speaker in self.room._lines:
            if speaker is self:
                continue
            frame = speaker._feed(self._rate).read(self)
            if frame is None:
                continue
            if total is None:
                total = frame.astype(np.int32)
            else:
                total += frame
        return total

    def _feed(self, rate: int) -> _Feed:
        feed = self._feeds.get(rate)
        if feed is None:
            feed = self._feeds[rate] = _Feed(self._rate or rate, rate)
        return feed

    def _forget(self) -> None:
        """Drop the feeds of our sound, and stop listening to those of others."""
        self._feeds.clear()
        for speaker in () if self.room is None else self.room._lines:
            feed = speaker._feeds.get(self._rate)
            if feed is not None and not feed.forget(self):
                del speaker._feeds[self._rate]


class _Feed:
    """One speaker's sound at one rate, for all who listen at that rate."""

    def __init__(self, from_rate: int, rate: int) -> None:
        self._samples = rate // _FRAMES_PER_SECOND
        self._resampler = None if from_rate == rate else Resampler(from_rate, rate)
        self._rest = _NO_SOUND
        self._frames: deque[Samples] = deque(maxlen=_KEPT)
        self._count = 0
        self._positions: dict[RoomLine, int] = {}

    def put(self, sound: Samples) -> None:
        if self._resampler is None:
            self._frames.append(sound)
            self._count += 1
            return
        rest = np.concatenate((self._rest, self._resampler.process(sound)))
        while len(rest) >= self._samples:
            self._frames.append(rest[: self._samples])
            self._count += 1
            rest = rest[self._samples :]
        self._rest = rest

    def read(self, listener: RoomLine) -> Samples | None:
        """The next frame for ``listener``, None if there is none yet."""
        position = self._positions.setdefault(listener, self._count)
        waiting = self._count - position
        if waiting == 0:
            return None
        if waiting > _WAITING:
            waiting = 1
        self._positions[listener] = self._count - waiting + 1
        return self._frames[-waiting]

    def forget(self, listener: RoomLine) -> bool:
        """Remove a listener; return whether others still listen."""
        self._positions.pop(listener, None)
        return bool(self._positions)
