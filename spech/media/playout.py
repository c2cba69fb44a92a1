"""From the packets of a session to the sound of each tick."""

from __future__ import annotations

import math

import numpy as np

from spech.audio.stretch import lengthen, shorten
from spech.codecs.base import Codec, Samples
from spech.codecs.comfort import NoiseGenerator
from spech.errors import RemoteProtocolError
from spech.rtp.packet import RtpPacket
from spech.rtp.session import RtpSession

_MOST_TICKS = 25
_NO_SOUND: Samples = np.zeros(0, np.int16)
#: A packet that comes out a quarter of a tick more than one tick too late can come a tick sooner.
_HYSTERESIS = 0.25
#: How much alike both sides of a splice have to be: nothing is in the first ticks, which leaves
#: silence; then less with each tick that passes, and with each tick that the delay is wrong by.
#: A delay that is too long costs no packet, so for that silence is waited for longer.
_STRICTEST = 1.3
_EASIER_EARLY = 0.01
_EASIER_LATE = 0.005
_EASIER_A_TICK_OFF = 0.15
_EASIEST = 0.5
#: Ticks of patience that a splice costs, so that they do not follow upon each other.
_SPLICE_TICKS = 4
#: What is left of a splice is small, and looked at once in so many ticks.
_LEISURE = 8


class Playout:
    """Decodes what is due, bridges what is missing, and stretches sound to the right delay.

    Args:
        session: gives the packets.
        codec: decodes them.
        samples: in a tick, at the codec's rate.
        earlier: the payload type that was agreed on before, and its codec, or None if what still
            comes of it cannot be heard because its rate is another one.

    Attributes:
        concealed: ticks that were filled, in part or wholly, with invented sound, because a packet
            was missing. Before the first one, and in a pause of the peer, none is missing; which of
            them it was is known, and counted, when the next packet is there.
        bridged: whether the last tick was such a one, or the beginning of a pause.
        accelerated: samples that were left out to shorten the delay.
        expanded: samples that were added to lengthen it.
        undecodable: packets that the codec refused.
    """

    def __init__(
        self,
        session: RtpSession,
        codec: Codec,
        samples: int,
        earlier: tuple[int, Codec | None] = (-1, None),
    ) -> None:
        self.concealed = 0
        self.bridged = False
        self.accelerated = 0
        self.expanded = 0
        self.undecodable = 0
        self._session = session
        self._codec = codec
        self._samples = samples
        self._earlier_type, self._earlier = earlier
        self._rest = _NO_SOUND
        self._last = _NO_SOUND
        self._packet_samples = samples
        self._noise: NoiseGenerator | None = None
        self._silent = False
        self._unsettled = 0
        self._begun = False
        self._patience = 0

    @property
    def waiting(self) -> bool:
        """Whether sound that was received is still to be played."""
        return self._session.waiting or len(self._rest) > 0

    @property
    def delay(self) -> float:
        """Seconds between the earliest that sound could have come and when it is played."""
        return self._session.buffer.delay + len(self._rest) / self._codec.rate

    def next(self, units: int, now: float) -> Samples:
        """The sound of one tick of ``units`` on the RTP clock: always ``samples`` samples."""
        samples = self._samples
        rest = self._rest
        buffer = self._session.buffer
        self.bridged = False
        if not len(rest):
            packet = buffer.take(now)
            if packet is not None:
                rest = self._decode(packet)
                if len(rest) == samples and 0 <= 4 * buffer.spare < 5 * units:
                    self._last = rest
                    return rest
        bridged = False
        while (lacking := samples - len(rest)) > 0:
            packet = buffer.take(now)
            if packet is not None:
                sound = self._decode(packet)
            else:
                sound = self._bridge(units, lacking)
                bridged = True
            rest = np.concatenate((rest, sound))
        if bridged:
            self.bridged = self._begun and not self._silent and buffer.flowing
            self._unsettled += self.bridged
        elif self._begun:
            rest = self._stretch(rest, now)
        self._rest = rest[samples:]
        if len(self._rest) > _MOST_TICKS * samples:
            # Packets that hold more sound than their timestamps say must not pile up.
            self._rest = self._rest[-samples:]
        self._last = rest[:samples]
        return self._last

    def _bridge(self, units: int, lacking: int) -> Samples:
        """Invent what is missing: up to the next packet, or a tick where none is there."""
        buffer = self._session.buffer
        if self._silent and self._noise is not None:
            buffer.bridged(lacking * units // self._samples)
            return self._noise.generate(lacking)
        if not self._begun:
            buffer.bridged(units)
            # A decoder that invents before it has heard anything is out of step afterwards
            # with the encoder, which began from nothing; of a tone, that is heard for long.
            return np.zeros(lacking, np.int16)
        samples = self._samples
        missing, following = buffer.missing()
        lost = missing * samples // units
        if following is None or lost > max(samples, self._packet_samples):
            buffer.bridged(units)
            return self._codec.conceal(samples)
        buffer.bridged(missing)
        if lost and following.payload_type != self._earlier_type:
            return self._codec.recover(following.payload, lost)
        return self._codec.conceal(lost or lacking)

    def _stretch(self, rest: Samples, now: float) -> Samples:
        """Bring the delay nearer to what it should be, where that cannot be heard."""
        samples, rate = self._samples, self._codec.rate
        buffer = self._session.buffer
        # Packets begin at multiples of this from each other, on the grid of the ticks. What is
        # decoded beyond it makes the delay longer, and no packet less likely to be late.
        grain = math.gcd(samples, self._packet_samples)
        spare = buffer.spare * rate // self._codec.clock_rate
        steps = (spare - int(_HYSTERESIS * grain)) // grain
        left = len(rest) - samples
        if spare >= 0 and steps <= 0:
            if not left % grain:
                self._patience = 0
                return rest
            if self._patience % _LEISURE:
                self._patience += 1
                return rest
        likeness = _STRICTEST - self._patience * (_EASIER_EARLY if spare < 0 else _EASIER_LATE)
        likeness = max(likeness - _EASIER_A_TICK_OFF * abs(spare) / samples, _EASIEST)
        self._patience += 1
        if steps > 0 and left < samples:
            packet = buffer.take(now + samples / rate)  # of the next tick
            if packet is not None:
                rest = np.concatenate((rest, self._decode(packet)))
                left = len(rest) - samples
        sound = np.concatenate((self._last, rest))
        at = len(self._last)
        if spare < 0:
            changed = lengthen(sound, at, grain - left % grain, rate, likeness)
        else:
            most = min(left % grain + max(steps, 0) * grain, left)
            changed = shorten(sound, at, most, rate, likeness)
        if changed is None:
            return rest
        added = len(changed) - len(rest)
        self.expanded += max(0, added)
        self.accelerated += max(0, -added)
        moved = ((left + added) // grain - left // grain) * grain
        buffer.shift(moved * self._codec.clock_rate // rate)
        self._patience = max(0, self._patience - _SPLICE_TICKS)
        return changed

    def _decode(self, packet: RtpPacket) -> Samples:
        """The sound of a packet; if it is none, what might have been there."""
        if self._unsettled:
            if not self._session.buffer.resumed:
                self.concealed += self._unsettled
            self._unsettled = 0
        if self._session.is_noise(packet):
            return self._rustle(packet.payload)
        self._silent = False
        current = packet.payload_type != self._earlier_type
        codec = self._codec if current else self._earlier
        try:
            sound = self._without_sound(False) if codec is None else codec.decode(packet.payload)
        except RemoteProtocolError:
            sound = self._without_sound(current)
        else:
            self._begun = self._begun or current
        samples = len(sound)
        if samples:
            self._packet_samples = samples
        self._session.buffer.played(samples * self._codec.clock_rate // self._codec.rate)
        return sound

    def _rustle(self, payload: bytes) -> Samples:
        """The peer is silent from now on (RFC 3389): noise goes on until it speaks again."""
        codec = self._codec
        if self._noise is None:
            self._noise = NoiseGenerator(codec.rate, codec.clock_rate)
        self._noise.receive(payload)
        self._silent = True
        self._session.buffer.played(self._samples * codec.clock_rate // codec.rate)
        return self._noise.generate(self._samples)

    def _without_sound(self, current: bool) -> Samples:
        """As long as the packet before, in place of one that nobody can decode."""
        self.undecodable += 1
        if current and self._begun:
            return self._codec.conceal(self._packet_samples)
        return np.zeros(self._packet_samples, np.int16)
