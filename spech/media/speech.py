"""From what there is to say to the packets of each tick: microphones, files and digits."""

from __future__ import annotations

import numpy as np

from spech.audio.mixer import mix
from spech.audio.player import Playlist, Source
from spech.codecs.base import Codec, Samples
from spech.media.keypad import Keypad
from spech.media.pauses import Pauses
from spech.rtp.sequence import TIMESTAMP_MASK
from spech.rtp.session import RtpSession
from spech.rtp.stream import Stream

_NO_SOUND: Samples = np.zeros(0, np.int16)
_SHORTEST_PACKET_MS = 10
_LONGEST_PACKET_MS = 200
# What a far end commonly keeps in its jitter buffer, and throws away when it hears a farewell.
_TAIL_TICKS = 5


class Speech:
    """Mixes, encodes and sends, tick by tick. Files and digits wait while nothing may be sent.

    Attributes:
        silence: one tick of it.
        keypad: the keys that are pressed.
    """

    def __init__(self, session: RtpSession, stream: Stream) -> None:
        self.silence: Samples = _NO_SOUND
        self.keypad = Keypad(session)
        self._session = session
        self._stream = stream
        self._codec: Codec | None = None
        self._packet_samples = 0
        self._pending: Samples = _NO_SOUND
        self._tail = 0
        self._pauses: Pauses | None = None
        self._plays = Playlist()

    @property
    def unsent(self) -> bool:
        """Whether something of a file or a digit was not sent yet."""
        return bool(self._plays) or self.keypad.busy

    @property
    def busy(self) -> bool:
        """Whether a farewell now would cut something off, here or at the far end."""
        return self.unsent or self._tail > 0

    def configure(
        self, codec: Codec, samples: int, ptime_ms: int, *, suppress: bool = False
    ) -> None:
        """Take the outcome of a negotiation: the codec, its samples in a tick, and packet length.

        What a peer asks for is honoured as far as a packet still makes sense. With ``suppress``
        pauses are not sent as sound where the peer takes comfort noise.
        """
        if not suppress or not self._session.can_send_noise:
            self._pauses = None
        elif self._pauses is None or codec is not self._codec:
            self._pauses = Pauses(codec.rate, codec.clock_rate)
        if codec is not self._codec:
            self._codec = codec
            self._pending = _NO_SOUND
            self.silence = np.zeros(samples, np.int16)
        ptime = min(max(ptime_ms, _SHORTEST_PACKET_MS), _LONGEST_PACKET_MS)
        self._packet_samples = codec.packet_samples(ptime)

    def play(self, source: Source) -> None:
        """Queue a file or a tone behind the others."""
        self._plays.queue(source)

    def flush(self) -> None:
        """Forget files, and the digits that have not begun."""
        self._plays.clear()
        self.keypad.clear()
        self._tail = 0

    def say(self, microphone: Samples, units: int) -> Samples:
        """Send one tick of ``units`` on the RTP clock, and return the sound of it."""
        session, codec = self._session, self._codec
        if codec is None:
            return microphone
        pressed = self.keypad.next(units, codec.rate) if self.keypad.busy else None
        if isinstance(pressed, tuple):
            self._pending = _NO_SOUND
            for event in pressed:
                self._stream.send(session.send_event(event))
            spoken = self.silence
        elif pressed is not None or self._plays:
            if pressed is not None:
                spoken = pressed
            else:
                played = self._plays.read(len(self.silence), codec.rate)
                spoken = mix((microphone, played), len(self.silence))
            self._send(codec, spoken)
            # Until the packet that this goes into was sent, and was heard.
            self._tail = _TAIL_TICKS + self._packet_samples // len(self.silence) - 1
        else:
            spoken = microphone
            noise = None if self._pauses is None else self._pauses.judge(spoken)
            if noise is None:
                self._send(codec, spoken)
            else:
                self._pending = _NO_SOUND
                session.pause()
                if noise:
                    self._stream.send(session.send_noise(noise))
            self._tail = max(0, self._tail - 1)
        session.advance(units)
        return spoken

    def pause(self, units: int) -> Samples:
        """Let one tick pass in which nothing may be sent."""
        self._session.pause()
        self._pending = _NO_SOUND
        self._tail = max(0, self._tail - 1)
        self._session.advance(units)
        return self.silence

    def _send(self, codec: Codec, spoken: Samples) -> None:
        session, size = self._session, self._packet_samples
        if size == len(spoken) and not len(self._pending):
            self._send_packet(codec.encode(spoken), session.timestamp)
            return
        pending = np.concatenate((self._pending, spoken))
        while len(pending) >= size:
            behind = (len(pending) - len(spoken)) * codec.clock_rate // codec.rate
            payload = codec.encode(pending[:size])
            timestamp = (session.timestamp - behind) & TIMESTAMP_MASK
            self._send_packet(payload, timestamp)
            pending = pending[size:]
        self._pending = pending

    def _send_packet(self, payload: bytes, timestamp: int) -> None:
        if payload:
            self._stream.send(self._session.send(payload, timestamp))
        else:
            self._session.pause()  # The codec leaves a pause out.
