"""From microphones, files and digits to the packets of each tick."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import trio

from spech.audio.mixer import mix
from spech.codecs.base import Codec, Samples
from spech.errors import CallEnded
from spech.media.events import MediaEvent
from spech.media.keypad import Keypad
from spech.media.pauses import Pauses
from spech.media.playback import PlayQueue
from spech.rtp.dtmf import EventPacket
from spech.rtp.sequence import TIMESTAMP_MASK
from spech.rtp.session import RtpSession
from spech.rtp.stream import Stream

_NO_SOUND: Samples = np.zeros(0, np.int16)
_HALF_TICK_MS = 10
_DEFAULT_RATE: Final = 8000
_SHORTEST_PACKET_MS = 10
_LONGEST_PACKET_MS = 200
# What a peer commonly holds in its jitter buffer, and discards when the call ends.
_TAIL_TICKS = 5


def _evenly_sent(codec: Codec, tick: int, ptime_ms: int) -> int:
    """The samples of a packet of ``ptime_ms``, or of the next shorter one that leaves evenly.

    Packets leave with a tick or half a tick later, so that those of 30 ms leave evenly and those of
    35 ms do not.
    """
    whole = ptime_ms - ptime_ms % _HALF_TICK_MS
    for length in (ptime_ms, *range(whole, 0, -_HALF_TICK_MS)):
        samples = codec.packet_samples(length)
        if not 2 * samples % tick:
            return samples
    return codec.packet_samples(ptime_ms)


class Speech:
    """Mixes, encodes and sends, tick by tick. Files and digits wait while sending is not allowed.

    Args:
        session: numbers the packets.
        stream: sends them.
        emit: takes the events of the keypad.

    Attributes:
        silence: one tick of silence.
        packet_samples: samples in a packet of sound.
        held: packets that leave half a tick after the one that completed them, or earlier.
        keypad: the keys that are pressed.
        plays: the sounds that a program plays.
    """

    def __init__(
        self, session: RtpSession, stream: Stream, emit: Callable[[MediaEvent], None]
    ) -> None:
        self.silence: Samples = _NO_SOUND
        self.keypad = Keypad(session, emit)
        self._session = session
        self._stream = stream
        self._codec: Codec | None = None
        self.packet_samples = 0
        self.held: list[bytes] = []
        self._tick_samples = 0
        self._pending: Samples = _NO_SOUND
        self._tail = 0
        self._pauses: Pauses | None = None
        self.plays = PlayQueue(_DEFAULT_RATE)
        self._waiting = trio.lowlevel.ParkingLot()
        self._closed = False
        self._interrupted = False

    @property
    def _unsent(self) -> bool:
        """Whether a part of a file or a digit has not been sent yet."""
        return self.plays.unsent or self.keypad.busy

    @property
    def busy(self) -> bool:
        """Whether a hang-up now would cut something off, here or in the peer's jitter buffer."""
        return self._unsent or self._tail > 0

    def configure(
        self, codec: Codec, samples: int, ptime_ms: int, *, suppress: bool = False
    ) -> None:
        """Take the outcome of a negotiation.

        Args:
            codec: encodes from now on.
            samples: in a tick, at the codec's rate.
            ptime_ms: of the packets that the peer asks for; bounded to 10 to 200 ms, and made
                shorter where packets of that length would not leave evenly.
            suppress: send comfort noise in pauses, where the peer accepts it.
        """
        self.keypad.ready = True
        if not suppress or not self._session.can_send_noise:
            self._pauses = None
        elif self._pauses is None or codec is not self._codec:
            self._pauses = Pauses(codec.rate, codec.clock_rate)
        if codec is not self._codec:
            self._codec = codec
            self._pending = _NO_SOUND
            self.silence = np.zeros(samples, np.int16)
            self._tick_samples = samples
            self.plays.rate = codec.rate
        ptime = min(max(ptime_ms, _SHORTEST_PACKET_MS), _LONGEST_PACKET_MS)
        self.packet_samples = _evenly_sent(codec, samples, ptime)

    async def played(self) -> None:
        """Wait until all queued files and digits have been sent, and the peer can have played them.

        That is 0.1 s after the last packet: most telephones discard their jitter buffer when the
        call ends, which would cut the last word off. Cancelling the wait changes nothing else.

        Raises:
            CallEnded: the call ended before everything was sent.
        """
        await trio.lowlevel.checkpoint()
        while self.busy and not self._closed:
            await self._waiting.park()
        if self._interrupted:
            raise CallEnded("the call ended before everything was sent")

    def flush(self) -> None:
        """Drop files, and the digits that have not begun."""
        self.plays.flush()
        self.keypad.clear()
        self._tail = 0
        if not self.busy:
            self._waiting.unpark_all()

    def close(self) -> None:
        """Drop everything that is queued, and accept no more."""
        if not self._closed:
            self._closed = True
            self._interrupted = self._unsent
            self.keypad.close()
            self.plays.close()
            self._waiting.unpark_all()

    def say(self, microphone: Samples, units: int) -> Samples:
        """Send one tick of ``units`` on the RTP clock, and return its sound."""
        session, codec = self._session, self._codec
        if codec is None:
            return microphone
        beneath = None
        if self.plays.background is not None:
            beneath = self.plays.background.read(self._tick_samples, codec.rate)
            if beneath is not None:
                microphone = mix((microphone, beneath), self._tick_samples)
        pressed = self.keypad.next(units, codec.rate) if self.keypad.busy else None
        events: tuple[EventPacket, ...] | None = None
        played: Samples | None = None
        if pressed is None:
            played = self.plays.read(self._tick_samples, codec.rate)
            if played is not None and microphone is not self.silence:
                played = mix((microphone, played), self._tick_samples)
        elif isinstance(pressed, tuple):
            events = pressed
        else:
            played = pressed
        if events is not None:
            self._pending = _NO_SOUND
            for event in events:
                self._stream.send(session.send_event(event))
            spoken = self.silence
        elif played is not None:
            spoken = played
            self._send(codec, spoken)
            # Until the packet that holds this was sent and played.
            self._tail = _TAIL_TICKS + (self.packet_samples - 1) // self._tick_samples
        else:
            spoken = microphone
            noise = None
            if self._pauses is not None and beneath is None:
                noise = self._pauses.judge(spoken)
            if noise is None:
                self._send(codec, spoken)
            else:
                self._pending = _NO_SOUND
                session.pause()
                if noise:
                    self._stream.send(session.send_noise(noise))
            self._tail = max(0, self._tail - 1)
        session.advance(units)
        if not self._tail and self._waiting and not self.busy:
            self._waiting.unpark_all()
        return spoken

    def send_held(self) -> None:
        """Send the packets that were held."""
        held, self.held = self.held, []
        for datagram in held:
            self._stream.send(datagram)

    def pause(self, units: int) -> Samples:
        """Advance one tick in which nothing may be sent."""
        self._session.pause()
        self._pending = _NO_SOUND
        self._tail = max(0, self._tail - 1)
        self._session.advance(units)
        if self._waiting and not self.busy:
            self._waiting.unpark_all()
        return self.silence

    def _send(self, codec: Codec, spoken: Samples) -> None:
        session, size = self._session, self.packet_samples
        if size == len(spoken) and not len(self._pending):
            self._send_packet(codec.encode(spoken), session.timestamp)
            return
        pending = np.concatenate((self._pending, spoken))
        while len(pending) >= size:
            behind = (len(pending) - len(spoken)) * codec.clock_rate // codec.rate
            payload = codec.encode(pending[:size])
            timestamp = (session.timestamp - behind) & TIMESTAMP_MASK
            pending = pending[size:]
            # One that is complete in the middle of a tick has waited for its end. One that is
            # complete with the tick waits as long, so that both leave evenly.
            hold = not len(pending) and size % len(spoken) != 0
            self._send_packet(payload, timestamp, hold=hold)
        self._pending = pending

    def _send_packet(self, payload: bytes, timestamp: int, *, hold: bool = False) -> None:
        if not payload:
            self._session.pause()  # The codec leaves the pause out (DTX).
            return
        datagram = self._session.send(payload, timestamp)
        if hold:
            self.held.append(datagram)
        else:
            self._stream.send(datagram)
