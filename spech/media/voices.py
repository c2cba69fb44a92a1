"""Who speaks and listens at our end of a call: audio ports, and a room with others."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import trio

from spech.audio.level import Meter
from spech.audio.mixer import mix
from spech.audio.room import Member, Room
from spech.audio.volume import Volume
from spech.codecs.base import Samples
from spech.media.port import AudioPort


class Voices:
    """The near end, tick by tick: what the peer says goes in, what it is to hear comes out.

    Attributes:
        muted: silence stands for what the microphones say.
    """

    def __init__(self) -> None:
        self.muted = False
        self._ports: list[AudioPort] = []
        self._member: Member | None = None
        self._spoken = Meter()
        self._heard = Meter()
        self._microphone: Volume | None = None
        self._speaker: Volume | None = None

    # Who is there

    @contextlib.contextmanager
    def open(self, rate: int) -> Iterator[AudioPort]:
        """A microphone and a speaker for the time of a ``with`` block, at ``rate`` Hz.

        Raises:
            ValueError: ``rate`` gives no whole number of samples in 20 ms.
        """
        port = AudioPort(rate)
        self._ports.append(port)
        try:
            yield port
        finally:
            port.close()
            if port in self._ports:
                self._ports.remove(port)

    @property
    def member(self) -> Member | None:
        """The peer's place in a room with others, or None."""
        member = self._member
        return None if member is None or member.room is None else member

    def join(self, room: Room, gain: float) -> Member:
        """Bring the peer, and ourselves with it, into a room; out of the one before, if any."""
        self.leave()
        self._member = room.join(gain)
        return self._member

    def leave(self) -> None:
        """Go on alone, out of any room."""
        if self._member is not None:
            self._member.leave()
            self._member = None

    def close(self) -> None:
        """Everybody leaves."""
        for port in self._ports:
            port.close()
        self.leave()

    # How loud they are

    @property
    def microphone(self) -> Volume:
        """How loud the microphones are for the peer. Nothing is computed until it is asked for."""
        if self._microphone is None:
            self._microphone = Volume()
        return self._microphone

    @property
    def speaker(self) -> Volume:
        """How loud the peer is, for ports, rooms and recordings."""
        if self._speaker is None:
            self._speaker = Volume()
        return self._speaker

    @property
    def levels(self) -> tuple[float, float]:
        """dBFS of what the microphones say and of what the peer says, over the last 100 ms."""
        return self._spoken.level, self._heard.level

    @property
    def peaks(self) -> tuple[float, float]:
        """The highest samples of both in dBFS; they fall by 20 dB/s."""
        now = trio.current_time()
        return self._spoken.peak(now), self._heard.peak(now)

    # The clock

    def listen(self, heard: Samples) -> Samples:
        """The peer said this: as loud as it is wanted."""
        if self._speaker is not None:
            heard = self._speaker.process(heard)
        self._heard.note(heard)
        return heard

    def exchange(self, heard: Samples, rate: int, silence: Samples) -> Samples:
        """Hand on one tick of the peer, and return what it is to hear of us.

        Args:
            heard: what :meth:`listen` gave.
            rate: of all sound here, in Hz.
            silence: a tick of it.
        """
        member = self.member
        if member is None:
            self.play(heard, rate)
            return self._speak(rate, silence)
        ours = self._speak(rate, silence)
        to_peer, audible = member.exchange(heard, rate, ours if self._ports else None)
        self.play(audible, rate)
        return to_peer

    def play(self, heard: Samples, rate: int) -> None:
        """Hand sound to the ports."""
        for port in self._ports:
            port.put(heard, rate)

    def _speak(self, rate: int, silence: Samples) -> Samples:
        frames = [frame for port in self._ports if (frame := port.take(rate)) is not None]
        spoken = mix(frames, len(silence)) if frames and not self.muted else silence
        if self._microphone is not None:
            spoken = self._microphone.process(spoken)
        self._spoken.note(spoken)
        return spoken

    def discard(self) -> None:
        """Let a tick pass in which nobody is there to hear us: kept, it would be a delay."""
        for port in self._ports:
            port.take(port.rate)

    def flush(self) -> None:
        """Forget what the microphones said."""
        for port in self._ports:
            port.flush()
