"""The near end of a call: audio ports, and a room with other calls."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import trio

from spech.audio.level import Meter
from spech.audio.mixer import mix
from spech.audio.room import Member, Room, RoomLine
from spech.audio.volume import Volume
from spech.codecs.base import Samples
from spech.errors import CallEnded
from spech.media.playback import PlayQueue
from spech.media.port import AudioPort, PortBuffers


class Voices:
    """Mixes the near end, tick by tick: the peer's sound goes in, the sound for the peer comes out.

    Args:
        plays: the queue that ports play into.

    Attributes:
        muted: while true, silence replaces the sound of the microphones.
    """

    def __init__(self, plays: PlayQueue) -> None:
        self._plays = plays
        self.muted = False
        self._closed = False
        self._ports: list[PortBuffers] = []
        self._line: RoomLine | None = None
        self._spoken = Meter()
        self._heard = Meter()
        self._microphone: Volume | None = None
        self._speaker: Volume | None = None

    # Ports and rooms

    def open(self, rate: int) -> AbstractContextManager[AudioPort]:
        """A microphone and a speaker for the time of a ``with`` block, at ``rate`` Hz.

        Raises:
            CallEnded: the call is over.
            ValueError: 20 ms at ``rate`` are not a whole number of samples.
        """
        self._require_open()
        return self._opened(PortBuffers(rate))

    @contextmanager
    def _opened(self, port: PortBuffers) -> Iterator[AudioPort]:
        self._ports.append(port)
        try:
            yield AudioPort(port, self._plays)
        finally:
            port.close()
            if port in self._ports:
                self._ports.remove(port)

    @property
    def member(self) -> Member | None:
        """The peer as a member of a room, or None."""
        line = self._line
        return None if line is None or line.room is None else line.member

    def join(self, room: Room, gain: float = 0.0) -> Member:
        """Bring the peer, and our ports with it, into a room; it leaves the one before.

        Raises:
            CallEnded: the call is over.
        """
        self._require_open()
        self.leave()
        self._line = RoomLine(room, gain)
        return self._line.member

    def leave(self) -> None:
        """Leave the room, if the peer is in one."""
        if self._line is not None:
            self._line.leave()
            self._line = None

    def close(self) -> None:
        """Close all ports, leave the room, and open no more."""
        self._closed = True
        for port in self._ports:
            port.close()
        self.leave()

    def _require_open(self) -> None:
        if self._closed:
            raise CallEnded("the call has ended")

    # Gain and level

    @property
    def microphone(self) -> Volume:
        """The gain of the microphones towards the peer. It costs nothing until it is first used."""
        if self._microphone is None:
            self._microphone = Volume()
        return self._microphone

    @property
    def speaker(self) -> Volume:
        """The gain of the peer's sound towards ports, rooms and recordings."""
        if self._speaker is None:
            self._speaker = Volume()
        return self._speaker

    @property
    def levels(self) -> tuple[float, float]:
        """RMS levels of the microphones and of the peer over the last 100 ms, in dBFS."""
        return self._spoken.level, self._heard.level

    @property
    def peaks(self) -> tuple[float, float]:
        """Peak levels of both in dBFS; they decay by 20 dB/s."""
        now = trio.current_time()
        return self._spoken.peak(now), self._heard.peak(now)

    # The clock

    def process_heard(self, heard: Samples) -> Samples:
        """Apply the speaker's gain to a tick of the peer's sound, and measure its level."""
        if self._speaker is not None:
            heard = self._speaker.process(heard)
        self._heard.measure(heard)
        return heard

    def exchange(self, heard: Samples, rate: int, silence: Samples) -> Samples:
        """Deliver one tick of the peer's sound, and return the tick that is for the peer.

        Args:
            heard: what :meth:`process_heard` returned.
            rate: sampling rate of all three sounds, in Hz.
            silence: a tick of silence.
        """
        line = self._line
        if line is None or line.room is None:
            self.play(heard, rate)
            return self.speak(rate, silence)
        ours = self.speak(rate, silence)
        to_peer, audible = line.exchange(heard, rate, ours if self._ports else None)
        self.play(audible, rate)
        return to_peer

    def play(self, heard: Samples, rate: int) -> None:
        """Deliver a tick of sound to the ports."""
        for port in self._ports:
            port.put(heard, rate)

    def speak(self, rate: int, silence: Samples) -> Samples:
        """Take one tick of the microphones, for the peer."""
        frames: list[Samples] = []
        for port in self._ports:
            frame = port.take(rate)
            if frame is not None:
                frames.append(frame)
        spoken = mix(frames, len(silence)) if frames and not self.muted else silence
        if self._microphone is not None:
            spoken = self._microphone.process(spoken)
        self._spoken.measure(spoken)
        return spoken

    def discard(self) -> None:
        """Drop one tick of the microphones: nobody can hear it, and it must not become delay."""
        for port in self._ports:
            port.take(port.rate)

    def flush(self) -> None:
        """Drop what the microphones have queued."""
        for port in self._ports:
            port.flush()
