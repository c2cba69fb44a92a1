"""From the packets of a session to the sound of each tick."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import numpy as np

from spech.audio.stretch import lengthen, shorten
from spech.codecs.base import Codec, Samples
from spech.codecs.comfort import NoiseGenerator
from spech.errors import RemoteProtocolError
from spech.media.decoders import Decoder
from spech.rtp.packet import RtpPacket
from spech.rtp.sequence import timestamp_difference
from spech.rtp.session import RtpSession

_TICKS_PER_SECOND: Final = 50
_MOST_TICKS: Final = 25
_NO_SOUND: Samples = np.zeros(0, np.int16)
#: A packet that comes out a quarter of a tick more than one tick too late can come a tick sooner.
_HYSTERESIS: Final = 0.25
#: How similar both sides of a splice have to be. In the first ticks only silence is similar enough.
#: The demand falls with each tick that passes, and with each tick by which the delay is wrong. A
#: delay that is too long costs no packet, so it waits for silence for longer.
_STRICTEST: Final = 1.3
_EASIER_EARLY: Final = 0.01
_EASIER_LATE: Final = 0.005
_EASIER_A_TICK_OFF: Final = 0.15
_EASIEST: Final = 0.5
#: Ticks of patience that a splice costs, so that splices do not follow each other closely.
_SPLICE_TICKS: Final = 4
#: The remainder of a splice is small, and is looked at only once in so many ticks.
_LEISURE: Final = 8


class Playout:
    """Decodes packets that are due, conceals missing ones, and stretches sound to the right delay.

    Args:
        session: gives the packets.
        codec: the codec in use; it decodes every payload type that is not in ``others``.
        samples: in a tick, at the codec's rate.
        others: decoders of the other payload types that may come, at the codec's rate.

    Attributes:
        others: the same; may be replaced.
        concealed: ticks that were filled, in part or wholly, with concealment, because a packet was
            missing. No packet is missing before the first one or in a pause of the peer. Whether it
            was a pause is only known, and counted, when the next packet comes.
        bridged: whether the last tick was concealed, or began a pause.
        accelerated: samples that were left out to shorten the delay.
        expanded: samples that were added to lengthen the delay.
        undecodable: packets that the codec refused.
    """

    def __init__(
        self,
        session: RtpSession,
        codec: Codec,
        samples: int,
        others: Mapping[int, Decoder] | None = None,
    ) -> None:
        self.others: Mapping[int, Decoder] = others or {}
        self.concealed = 0
        self.bridged = False
        self.accelerated = 0
        self.expanded = 0
        self.undecodable = 0
        self._session = session
        self._codec = codec
        self._samples = samples
        self._decoder: Decoder = codec
        #: The RTP clock of what is received, in Hz: that of the codec until the peer switches.
        self._clock = codec.clock_rate
        self._rest = _NO_SOUND
        self._last = _NO_SOUND
        self._packet_samples = samples
        self._noise: NoiseGenerator | None = None
        self._silent = False
        self._unsettled = 0
        #: The RTP timestamp at which the sound that was decoded last ends.
        self._end = 0
        self._begun = False
        self._patience = 0

    @property
    def waiting(self) -> bool:
        """Whether received sound has not been played yet."""
        return self._session.waiting or len(self._rest) > 0

    @property
    def ready(self) -> bool:
        """Whether the next tick has arrived, with all that precedes it."""
        return len(self._rest) >= self._samples or self._session.buffer.ready

    @property
    def delay(self) -> float:
        """The playout delay in seconds: from the earliest possible arrival of sound to playing."""
        return self._session.buffer.delay + len(self._rest) / self._codec.rate

    def next(self, units: int, now: float, *, evenly: bool = True) -> Samples:
        """Return the sound of a tick of ``units`` on the RTP clock: always ``samples`` samples.

        ``evenly`` tells whether one is played in each tick. Only then is there a delay, and the
        sound is stretched to the right one.
        """
        samples = self._samples
        rest = self._rest
        session = self._session
        buffer = session.buffer
        self.bridged = False
        if session.clock_rate != self._clock:
            self._clock = session.clock_rate
            self._rest = rest = _NO_SOUND
        if self._clock != self._codec.clock_rate:
            units = self._clock // _TICKS_PER_SECOND
        if not len(rest):
            packet = buffer.take(now)
            if packet is not None:
                rest = self._decode(packet)
                if len(rest) == samples and (not evenly or 0 <= 4 * buffer.spare < 5 * units):
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
        elif self._begun and evenly:
            rest = self._stretch(rest, now)
        self._rest = rest[samples:]
        if len(self._rest) > _MOST_TICKS * samples:
            # Packets with more sound than their timestamps indicate must not accumulate.
            self._rest = self._rest[-samples:]
        self._last = rest[:samples]
        return self._last

    def _bridge(self, units: int, lacking: int) -> Samples:
        """Conceal what is missing: up to the next packet, or a tick where there is none."""
        buffer = self._session.buffer
        if self._silent and self._noise is not None:
            buffer.bridged(lacking * units // self._samples)
            return self._noise.generate(lacking)
        if not self._begun:
            buffer.bridged(units)
            # A decoder that conceals before it has decoded anything gets out of step with the
            # encoder, which started from its initial state. In a tone that is audible for long.
            return np.zeros(lacking, np.int16)
        samples = self._samples
        missing, following = buffer.missing()
        lost = missing * samples // units
        if following is None or lost > max(samples, self._packet_samples):
            buffer.bridged(units)
            return self._decoder.conceal(samples)
        buffer.bridged(missing)
        if lost and self.others.get(following.payload_type, self._codec) is self._decoder:
            return self._decoder.recover(following.payload, lost)
        return self._decoder.conceal(lost or lacking)

    def _stretch(self, rest: Samples, now: float) -> Samples:
        """Bring the delay closer to the target, where that is inaudible."""
        samples, rate = self._samples, self._codec.rate
        buffer = self._session.buffer
        # Packets begin at multiples of this from each other, on the grid of the ticks. Sound that
        # is decoded beyond it makes the delay longer, and no packet less likely to be late.
        grain = math.gcd(samples, self._packet_samples)
        spare = buffer.spare * rate // self._clock
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
        buffer.shift(moved * self._clock // rate)
        self._patience = max(0, self._patience - _SPLICE_TICKS)
        return changed

    def _decode(self, packet: RtpPacket) -> Samples:
        """The sound of a packet, or concealment if it cannot be decoded."""
        if self._unsettled:
            if not self._session.buffer.resumed:
                self.concealed += self._unsettled
            self._unsettled = 0
        if packet.payload_type == self._session.noise_receive:
            return self._take_noise(packet)
        self._silent = False
        decoder = self._decoder = self.others.get(packet.payload_type, self._codec)
        try:
            sound = decoder.decode(packet.payload)
        except RemoteProtocolError:
            self.undecodable += 1
            if self._begun:
                sound = decoder.conceal(self._packet_samples)
            else:
                sound = np.zeros(self._packet_samples, np.int16)
        else:
            self._begun = True
        samples = len(sound)
        if samples:
            self._packet_samples = samples
        units = samples * self._clock // self._codec.rate
        self._session.buffer.played(units)
        self._end = packet.timestamp + units
        return sound

    def _take_noise(self, packet: RtpPacket) -> Samples:
        """The peer is silent from now on (RFC 3389): noise continues until it speaks again.

        Where the next packet goes on where the sound before ended, the description takes no time,
        whatever its timestamp: the sound stays whole.
        """
        codec, buffer = self._codec, self._session.buffer
        if self._noise is None:
            self._noise = NoiseGenerator(codec.rate, self._clock)
        self._noise.describe(packet.payload)
        units = self._samples * self._clock // codec.rate
        following = buffer.following
        if (
            following is not None
            and following.payload_type != self._session.noise_receive
            and abs(timestamp_difference(following.timestamp, self._end)) < units
        ):
            buffer.played(timestamp_difference(self._end, packet.timestamp))
            return _NO_SOUND
        self._silent = True
        buffer.played(units)
        return self._noise.generate(self._samples)
