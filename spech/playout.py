"""From the packets of a session to the sound of each tick."""

from __future__ import annotations

import numpy as np

from spech.audio.mixer import overlap
from spech.codecs.base import Codec, Samples
from spech.errors import RemoteProtocolError
from spech.rtp.packet import RtpPacket
from spech.rtp.session import RtpSession

_MOST_TICKS = 25
_NO_SOUND: Samples = np.zeros(0, np.int16)


class Playout:
    """Decodes what is due, bridges what is missing, and keeps what is left of long packets.

    Args:
        session: gives the packets.
        codec: decodes them.
        samples: in a tick, at the codec's rate.
        earlier: the payload type that was agreed on before, and its codec, or None if what still
            comes of it cannot be heard because its rate is another one.

    Attributes:
        concealed: ticks that were filled, in part or wholly, with invented sound, because a packet
            was missing. Before the first one, and in a pause of the peer, none is missing.
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
        self.undecodable = 0
        self._session = session
        self._codec = codec
        self._samples = samples
        self._earlier_type, self._earlier = earlier
        self._rest = _NO_SOUND
        self._begun = False

    @property
    def waiting(self) -> bool:
        """Whether sound that was received is still to be played."""
        return self._session.waiting or len(self._rest) > 0

    def next(self, units: int, now: float) -> Samples:
        """The sound of one tick of ``units`` on the RTP clock: always ``samples`` samples."""
        packets, skipped, following = self._session.pop(units, now)
        samples = self._samples
        if len(packets) == 1 and not skipped and not len(self._rest):
            sound = self._decode(packets[0])
            if len(sound) == samples:
                return sound
            self._rest = sound
        elif packets:
            self._rest = np.concatenate((self._rest, *map(self._decode, packets)))
        rest = self._rest
        if len(rest) < samples:
            self._rest = _NO_SOUND
            if not self._begun:
                # A decoder that invents before it has heard anything is out of step afterwards
                # with the encoder, which began from nothing; of a tone, that is heard for long.
                return np.concatenate((rest, np.zeros(samples - len(rest), np.int16)))
            self.concealed += self._session.flowing
            if len(rest):
                return np.concatenate((rest, self._codec.conceal(samples - len(rest))))
            if following is not None and following.payload_type != self._earlier_type:
                return self._codec.recover(following.payload, samples)
            return self._codec.conceal(samples)
        if skipped and len(rest) >= 2 * samples:
            sound = overlap(rest[:samples], rest[samples : 2 * samples])
            self._rest = rest[2 * samples :]
        else:
            sound = rest[:samples]
            self._rest = rest[samples:]
        if len(self._rest) > _MOST_TICKS * samples:
            # Packets that hold more sound than their timestamps say must not pile up.
            self._rest = self._rest[-samples:]
        return sound

    def _decode(self, packet: RtpPacket) -> Samples:
        codec: Codec | None = self._codec
        if packet.payload_type == self._earlier_type:
            codec = self._earlier
        if codec is None:
            self.undecodable += 1
            return _NO_SOUND
        try:
            sound = codec.decode(packet.payload)
        except RemoteProtocolError:
            self.undecodable += 1
            return _NO_SOUND
        self._begun = self._begun or codec is self._codec
        return sound
