"""One RTP session with one peer: numbers what is sent, orders what comes, reports on both.

Pure: datagrams and times go in, datagrams come out. It carries payload bytes and does not know
what is in them. The SSRC and the sequence of what is sent stay the same for the whole call,
whatever a re-INVITE changes (RFC 3550 sections 5.1 and 8), unless the peer has the same SSRC.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from spech.errors import RemoteProtocolError
from spech.rtp import packet as rtp
from spech.rtp import rtcp
from spech.rtp.bursts import BurstSummary
from spech.rtp.dtmf import DigitReceiver, EventPacket, EventSource
from spech.rtp.jitter import JitterBuffer, PacketVerdict
from spech.rtp.losses import Losses
from spech.rtp.packet import RtpPacket
from spech.rtp.reports import Reports, Sent
from spech.rtp.sequence import (
    SEQUENCE_MASK,
    TIMESTAMP_MASK,
    SequenceStatus,
    sequence_difference,
)
from spech.rtp.stats import Reception

_COMFORT_NOISE = 13  # RFC 3551 section 6
_COMFORT_NOISE_CLOCK = 8000

RTP_KEEPALIVE = 15.0
"""Seconds of silence on our side after which a packet without sound is sent (RFC 6263)."""


@dataclass(slots=True)
class SessionCounts:
    """Counters of a session. All count packets, except the octets, which are payload bytes."""

    sent: int = 0
    octets: int = 0
    received: int = 0
    received_octets: int = 0
    late: int = 0
    duplicates: int = 0
    reordered: int = 0
    stray: int = 0
    overflowed: int = 0
    resynchronised: int = 0
    collisions: int = 0


class _Content(enum.Enum):
    """The content of a payload type."""

    #: Sound, or a description of noise in place of it.
    AUDIO = enum.auto()
    EVENT = enum.auto()


class _Other(NamedTuple):
    """A packet of another source than the peer's; ``received`` is how many of the peer's came."""

    packet: RtpPacket
    arrival: float
    received: int


class RtpSession:
    """The two directions of a call's sound, and the reports about them.

    Args:
        rng: chooses the SSRC and the random starts, and spreads the reports.
        epoch: what to add to ``now`` to get seconds since 1970, for NTP timestamps.

    Attributes:
        ssrc: our source; it changes after a collision, and with our key.
        timestamp: of what is sent in this tick, on the RTP clock.
        counts: packets and octets, both ways.
        clock_rate: the RTP clock of what is received, in Hz.
        noise_receive: the payload type of descriptions of noise (RFC 3389); -1 where none come.
        reports: the RTCP reports of both ends.
        buffer: the jitter buffer; another one when the clock rate changes.
    """

    def __init__(self, *, rng: random.Random, epoch: float) -> None:
        self.ssrc = rng.getrandbits(32)
        self.timestamp = rng.getrandbits(32)
        self.counts = SessionCounts()
        self.reports = Reports(rng=rng, epoch=epoch)
        self._rng = rng
        self._given_up: int | None = None
        # In the lower half, so that a peer that misses the first packets counts rollovers as we do
        # (RFC 3711 section 3.3.1).
        self._sequence = rng.getrandbits(15)
        self._talkspurt = True
        self.clock_rate = self._send_clock = 8000
        #: Clocks by payload type, where the peer may use several.
        self._clocks: dict[int, int] = {}
        self._audio_send = self._audio_receive = self._audio_before = -1
        self._event_send = self._noise_send = self.noise_receive = -1
        self._contents: dict[int, _Content] = {}
        self.buffer = JitterBuffer(self.clock_rate)
        self._digits = DigitReceiver()
        self._events = EventSource(None, self._digits)
        self._remote_ssrc: int | None = None
        #: Whether the source has sent sound, and not only events.
        self._sounded = False
        self._other: _Other | None = None
        self._reception = Reception(self.clock_rate)
        self._losses = Losses()
        self._sent_before = 0
        self._quiet_since = float("-inf")

    def configure(
        self,
        *,
        clock_rate: int,
        audio_send: int,
        audio_receive: int,
        event_send: int | None,
        event_receive: int | None,
        noise_send: int | None = None,
        noise_receive: int | None = None,
        more_audio: Mapping[int, int] | None = None,
        more_events: Collection[int] = (),
    ) -> None:
        """Set the RTP clock (Hz) and the payload types of both directions.

        ``more_audio`` and ``more_events`` are further types that the peer may use, of sound with
        their clocks. With the first packet on another clock the jitter buffer restarts. The type
        that was received so far stays accepted while the clock stays the same, because packets are
        on their way when the codec changes (RFC 3264 section 8.3.2).
        """
        self._audio_send = audio_send
        if audio_receive != self._audio_receive:
            self._audio_before = self._audio_receive
        self._audio_receive = audio_receive
        self._event_send = -1 if event_send is None else event_send
        self._noise_send = -1 if noise_send is None else noise_send
        if noise_receive is None:
            # The meaning of the static number is known to everyone; some send it unasked.
            noise_receive = _COMFORT_NOISE if clock_rate == _COMFORT_NOISE_CLOCK else -1
        self.noise_receive = noise_receive
        if clock_rate != self._send_clock:
            self._send_clock = clock_rate
            self._audio_before = -1
            self._use_clock(clock_rate)
        clocks = {kind: rate for kind, rate in (more_audio or {}).items() if kind != audio_receive}
        several = any(rate != clock_rate for rate in clocks.values())
        self._clocks = {**clocks, audio_receive: clock_rate} if several else {}
        # Peers should send the number that we wrote for events (RFC 3264 section 5.1); some send
        # the one that they wrote.
        event_types = (self._event_send, -1 if event_receive is None else event_receive)
        contents = dict.fromkeys((self._audio_before, noise_receive), _Content.AUDIO)
        contents |= dict.fromkeys((*event_types, *more_events), _Content.EVENT)
        contents |= dict.fromkeys((audio_receive, *clocks), _Content.AUDIO)
        contents.pop(-1, None)
        self._contents = contents

    def _use_clock(self, clock_rate: int) -> None:
        """Expect sound on another RTP clock (Hz) from now on."""
        if clock_rate != self.clock_rate:
            self.clock_rate = clock_rate
            self.counts.overflowed += self.buffer.discarded
            self.buffer = JitterBuffer(clock_rate, immediate=self.buffer.immediate)
            self._forget_source()

    def _follow_clock(self, packet: RtpPacket) -> None:
        """Use the clock of a packet's type, unless newer packets have come already."""
        newest = self._reception.sequence.highest
        if newest < 0 or sequence_difference(packet.sequence, newest & SEQUENCE_MASK) > 0:
            self._use_clock(self._clocks.get(packet.payload_type, self.clock_rate))

    @property
    def can_send_events(self) -> bool:
        """Whether the peer agreed to telephone events."""
        return self._event_send >= 0

    @property
    def can_send_noise(self) -> bool:
        """Whether the peer agreed to comfort noise."""
        return self._noise_send >= 0

    @property
    def lost(self) -> int:
        """Packets of the peer that have not arrived."""
        return self._losses.earlier_lost + self._reception.sequence.lost

    @property
    def discarded(self) -> int:
        """Packets that came, and could not be played: too late, or too many at once."""
        return self.counts.late + self.counts.overflowed + self.buffer.discarded

    @property
    def expected(self) -> int:
        """Packets that the peer has sent, judging by their numbers."""
        return self._losses.earlier_expected + self._reception.sequence.expected

    def bursts(self) -> BurstSummary:
        """How the losses so far are spread. To be asked once a second: it looks at what is new."""
        return self._losses.bursts(self._reception.sequence)

    @property
    def jitter(self) -> float:
        """Interarrival jitter of the peer's packets, in seconds."""
        return self._reception.jitter / self.clock_rate

    @property
    def remote_jitter(self) -> float | None:
        """Interarrival jitter of our packets at the peer, in seconds; None until it says so."""
        report = self.reports.remote_report
        return None if report is None else report.jitter / self._send_clock

    @property
    def buffer_delay(self) -> float:
        """The delay that the jitter buffer aims at, in seconds."""
        return self.buffer.target

    @property
    def heard(self) -> tuple[int, int] | None:
        """The peer's SSRC and extended highest sequence number; None before its first packet."""
        if self._remote_ssrc is None or self._reception.sequence.highest < 0:
            return None
        return self._remote_ssrc, self._reception.sequence.highest

    @property
    def waiting(self) -> bool:
        """Whether packets of sound wait in the jitter buffer."""
        return len(self.buffer) > 0

    # Receiving

    def check(self, packet: RtpPacket) -> None:
        """Check a packet before anything in it is believed.

        Raises:
            RemoteProtocolError: its payload type was not negotiated.
        """
        if packet.payload_type not in self._contents:
            raise RemoteProtocolError(f"RTP payload type {packet.payload_type} was not negotiated")

    def receive_rtp(self, packet: RtpPacket, arrival: float) -> str | None:
        """Take a packet of the peer; return a digit if it is the first of its event.

        Each packet counts for the loss of its source, whatever it holds (RFC 3550 A.1).

        Raises:
            RemoteProtocolError: its payload type was not negotiated, or it is a malformed
                telephone event.
        """
        counts = self.counts
        content = self._contents.get(packet.payload_type)
        sequence = packet.sequence
        if packet.ssrc != self._remote_ssrc:
            if content is _Content.EVENT and self._remote_ssrc is not None:
                return self._receive_separate_event(packet)
            return self._receive_other(packet, arrival)
        if content is _Content.EVENT and self._reception.sequence.is_far(sequence):
            return self._receive_separate_event(packet)
        if self._clocks and content is _Content.AUDIO:
            self._follow_clock(packet)
        status = self._reception.sequence.update(sequence)
        if status is not SequenceStatus.NEW:
            if status is SequenceStatus.DUPLICATE:
                counts.duplicates += 1
                return None
            if status is SequenceStatus.STRAY:
                counts.stray += 1
                return None
            if status is SequenceStatus.REORDERED:
                counts.reordered += 1
            else:
                self.buffer.reset()
        counts.received += 1
        counts.received_octets += len(packet.payload)
        if content is not _Content.AUDIO or not packet.payload:
            self.buffer.pass_over(sequence)
            if content is _Content.EVENT:
                late = status is SequenceStatus.REORDERED
                return self._digits.receive_telephone_event(
                    packet.timestamp, packet.payload, marker=packet.marker, late=late
                )
            self.check(packet)
            return None  # An empty packet kept a NAT's binding alive (RFC 6263).
        self._sounded = True
        self._reception.arrived(packet.timestamp, arrival)
        verdict = self.buffer.push(packet, arrival)
        if verdict is not PacketVerdict.ACCEPTED:
            if verdict is PacketVerdict.LATE:
                counts.late += 1
                self._reception.sequence.discard(sequence)
            elif verdict is PacketVerdict.OVERFLOWED:
                counts.overflowed += 1
            else:
                counts.resynchronised += 1
        return None

    def skip(self, units: int) -> None:
        """Skip ``units`` without sending, after the machine slept."""
        self.advance(units)
        self.pause()

    def _receive_separate_event(self, packet: RtpPacket) -> str | None:
        """A telephone event that some gateways send beside the sound.

        It has another SSRC than the sound, or sequence numbers of its own. It does not take the
        place of the sound's source.
        """
        if packet.ssrc != self._events.ssrc:
            same = packet.ssrc == self._remote_ssrc
            self._events = EventSource(packet.ssrc, self._digits if same else DigitReceiver())
        self.counts.received += 1
        return self._events.receive_rtp(packet)

    def _receive_other(self, packet: RtpPacket, arrival: float) -> str | None:
        """A packet of another source: the first one, or one that takes its place.

        Two packets with none of the other source between them take its place. Of two streams that
        come at once the one that was there is heard, and the other is only counted. Sound takes the
        place of a source that has only sent events at once.
        """
        self.check(packet)
        before, self._other = self._other, None
        if self._remote_ssrc is None or not self._sounded:
            self._change_source(packet.ssrc)
            return self.receive_rtp(packet, arrival)
        if (
            before is None
            or before.packet.ssrc != packet.ssrc
            or before.received != self.counts.received
        ):
            self.counts.stray += before is not None
            self._other = _Other(packet, arrival, self.counts.received)
            return None
        self._change_source(packet.ssrc)
        digit = self.receive_rtp(before.packet, before.arrival)
        return self.receive_rtp(packet, arrival) or digit

    def _change_source(self, ssrc: int) -> None:
        """Follow a peer that has a new SSRC, with its own sequence numbers and timestamps."""
        if ssrc == self.ssrc:
            self._collide()
        events = self._events
        if self._sounded:
            self.counts.resynchronised += 1
        elif self._remote_ssrc is not None:  # It has sent events, and may go on.
            self._events = EventSource(self._remote_ssrc, self._digits)
            self._events.sequence = self._reception.sequence
            self._digits = DigitReceiver()
        self._remote_ssrc = ssrc
        self._forget_source()
        if ssrc == events.ssrc:  # Its digits came before its sound.
            self._digits = events.digits
            self._reception.sequence = events.sequence

    def _forget_source(self) -> None:
        self._losses.close(self._reception.sequence)
        self._reception = Reception(self.clock_rate)
        self._sounded = False
        self.buffer.reset()
        self._digits.reset()

    # Sending

    def send(self, payload: bytes, timestamp: int) -> bytes:
        """Number one packet of sound; the marker is set where a talkspurt begins."""
        datagram = rtp.build(
            self._audio_send, self._talkspurt, self._sequence, timestamp, self.ssrc, payload
        )
        self._talkspurt = False
        self._count(payload)
        return datagram

    def send_event(self, event: EventPacket) -> bytes:
        """Number one packet of a telephone event, in the same sequence as the sound."""
        datagram = rtp.build(
            self._event_send,
            event.marker,
            self._sequence,
            event.timestamp,
            self.ssrc,
            event.payload,
        )
        self._talkspurt = True
        self._count(event.payload)
        return datagram

    def send_noise(self, payload: bytes) -> bytes:
        """Number one description of noise; sound that follows begins a talkspurt."""
        datagram = rtp.build(
            self._noise_send, False, self._sequence, self.timestamp, self.ssrc, payload
        )
        self._talkspurt = True
        self._count(payload)
        return datagram

    def advance(self, units: int) -> None:
        """Advance the sending clock."""
        self.timestamp = (self.timestamp + units) & TIMESTAMP_MASK

    def pause(self) -> None:
        """Note that no sound is sent for now. The next packet begins a talkspurt."""
        self._talkspurt = True

    def change_source(self) -> None:
        """Send under another SSRC from now on."""
        self.ssrc = self._rng.getrandbits(32)
        self.pause()

    def keepalive(self, now: float) -> bytes | None:
        """A packet without sound where nothing was sent for 15 s, or None. Called repeatedly.

        It keeps the bindings of NATs, and lets a peer that latches learn our address, whatever
        direction was negotiated (RFC 6263 sections 3 and 4). It has the payload type of the sound,
        because strict far ends log each packet of another type.
        """
        if self.counts.sent != self._sent_before:
            self._sent_before = self.counts.sent
            self._quiet_since = now
        if now - self._quiet_since < RTP_KEEPALIVE:
            return None
        datagram = rtp.build(
            self._audio_send, False, self._sequence, self.timestamp, self.ssrc, b""
        )
        self._count(b"")
        self._sent_before = self.counts.sent
        self._quiet_since = now
        return datagram

    def _count(self, payload: bytes) -> None:
        self._sequence = (self._sequence + 1) & SEQUENCE_MASK
        self.counts.sent += 1
        self.counts.octets += len(payload)

    # Reports

    def report_due(self, now: float) -> bool:
        """Whether it is time for :meth:`report`. Called a few times a second."""
        schedule = self.reports.schedule
        present = schedule.peer_present
        schedule.count(self.counts.sent, self.counts.received, now)
        due = schedule.due(now)
        if present and not schedule.peer_present:
            self.reports.forget_peer()
        return due or self._given_up is not None

    def report(self, now: float) -> bytes:
        """An RTCP compound, and the start of the next interval."""
        datagram = self._compound(now)
        if self._given_up is not None:
            datagram += rtcp.build(rtcp.Goodbye(self._given_up))
            self._given_up = None
        self.reports.schedule.reported(len(datagram), now)
        return datagram

    def farewell(self, now: float) -> bytes | None:
        """The last RTCP compound, with BYE; None if nothing was ever sent (section 6.3.7)."""
        if not self.counts.sent and not self.reports.schedule.began:
            return None
        return self._compound(now) + rtcp.build(rtcp.Goodbye(self.ssrc))

    def receive_rtcp(self, data: bytes, arrival: float) -> None:
        """Take an RTCP datagram of the peer.

        Raises:
            RemoteProtocolError: it is not RTCP.
        """
        packets = rtcp.parse(data)
        self.reports.schedule.count_received(len(data), arrival)
        for packet in packets:
            if packet.ssrc == self.ssrc:
                self._collide()  # another source uses our SSRC, or our own packets come back
            else:
                self.reports.receive_rtcp(
                    packet, self.ssrc, self._remote_ssrc, self._reception, arrival
                )

    def _compound(self, now: float) -> bytes:
        self.reports.schedule.count(self.counts.sent, self.counts.received, now)
        sent = Sent(self.ssrc, self.timestamp, self.counts.sent, self.counts.octets)
        return self.reports.compound(sent, self._remote_ssrc, self._reception, now)

    def _collide(self) -> None:
        """The peer uses our SSRC: send BYE for it and take another one (section 8.2).

        This happens once. If the new SSRC comes back as well, the far end is an echo: another one
        would not help, and the packets are played.
        """
        self.counts.collisions += 1
        if self.counts.collisions > 1:
            return
        self._given_up = self.ssrc
        self.change_source()
