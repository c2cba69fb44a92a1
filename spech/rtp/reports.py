"""The RTCP reports of both ends (RFC 3550) and the extended reports (RFC 3611)."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Final, NamedTuple

from spech.rtp import rtcp
from spech.rtp.schedule import Schedule
from spech.rtp.stats import Reception
from spech.rtp.xr import (
    RECEIVER_ROUND_TRIP,
    VOIP_METRICS,
    Delay,
    Delays,
    ExtendedReport,
    ReceiverReference,
    VoipMetrics,
    XrBlock,
)

_REMEMBERED: Final = 8


class Sent(NamedTuple):
    """Our SSRC, the present RTP timestamp, and the packets and octets sent so far."""

    ssrc: int
    timestamp: int
    packets: int
    octets: int


class Reports:
    """Writes our reports and reads those of the peer.

    Args:
        rng: chooses the canonical name, and spreads the reports.
        epoch: what to add to ``now`` to get seconds since 1970, for NTP timestamps.

    Attributes:
        schedule: when to report.
        wanted: the kinds of extended report that the peer asked for, as ``a=rtcp-xr`` names them.
        measure: returns the VoIP metrics of the peer's sound, None where there are none.
        round_trip: seconds to the peer and back, None until known.
        remote_report: the peer's last report on our packets.
        remote_metrics: the peer's VoIP metrics of our sound.
    """

    def __init__(self, *, rng: random.Random, epoch: float) -> None:
        self.schedule = Schedule(rng)
        self.wanted: frozenset[str] = frozenset()
        self.measure: Callable[[], VoipMetrics | None] = lambda: None
        self.round_trip: float | None = None
        self.remote_report: rtcp.ReportBlock | None = None
        self.remote_metrics: VoipMetrics | None = None
        self._epoch = epoch
        self._cname = f"{rng.getrandbits(96):024x}@spech"  # short-term and per call: RFC 7022
        # The middle of the NTP times that we sent in SRs and XRs, and that may come back.
        self._reports: deque[int] = deque(maxlen=_REMEMBERED)
        self._references: deque[int] = deque(maxlen=_REMEMBERED)
        self._reference: tuple[int, int, float] | None = None

    def compound(self, sent: Sent, remote: int | None, reception: Reception, now: float) -> bytes:
        """SR or RR, SDES, and XR where the peer wants it; ``remote`` is the peer's SSRC."""
        sender = None
        extended: list[XrBlock] = []
        ntp = rtcp.ntp_time(now + self._epoch)
        if self.schedule.we_sent:
            self._reports.append(rtcp.middle(ntp))
            sender = rtcp.SenderInfo(ntp, sent.timestamp, sent.packets, sent.octets)
        elif RECEIVER_ROUND_TRIP in self.wanted:
            self._references.append(rtcp.middle(ntp))
            extended.append(ReceiverReference(ntp))
        if self._reference is not None:
            ssrc, last, arrival = self._reference
            self._reference = None
            extended.append(Delays((Delay(ssrc, last, int((now - arrival) * 65536)),)))
        blocks: tuple[rtcp.ReportBlock, ...] = ()
        if remote is not None and self.schedule.peer_present and reception.sequence.highest >= 0:
            blocks = (reception.report(remote, now),)
            metrics = self.measure() if VOIP_METRICS in self.wanted else None
            if metrics is not None:
                extended.append(replace(metrics, ssrc=remote))
        packets: list[rtcp.RtcpPacket] = [
            rtcp.Report(sent.ssrc, sender, blocks),
            rtcp.SourceDescription(sent.ssrc, self._cname),
        ]
        if extended:
            packets.append(ExtendedReport(sent.ssrc, tuple(extended)))
        return b"".join(map(rtcp.build, packets))

    def receive_rtcp(
        self,
        packet: rtcp.RtcpPacket,
        ours: int,
        remote: int | None,
        reception: Reception,
        arrival: float,
    ) -> None:
        """Take an RTCP packet of the peer; ``ours`` and ``remote`` are the SSRCs of both ends."""
        if isinstance(packet, rtcp.Goodbye):
            if packet.ssrc == remote:
                self.schedule.leave()
        elif isinstance(packet, rtcp.Report):
            if packet.sender is not None and packet.ssrc == remote:
                reception.sender_report(rtcp.middle(packet.sender.ntp), arrival)
            for block in packet.blocks:
                if block.ssrc == ours:
                    self.remote_report = block
                    if block.last_report in self._reports:
                        self._measure_trip(block.last_report, block.delay, arrival)
        elif isinstance(packet, ExtendedReport):
            self._receive_extended(packet, ours, arrival)

    def forget_peer(self) -> None:
        """Forget the peer's reports: it was silent for so long that they no longer hold."""
        self.round_trip = self.remote_report = self.remote_metrics = None

    def _receive_extended(self, packet: ExtendedReport, ours: int, arrival: float) -> None:
        for block in packet.blocks:
            if isinstance(block, ReceiverReference):
                self._reference = (packet.ssrc, rtcp.middle(block.ntp), arrival)
            elif isinstance(block, Delays):
                for one in block.delays:
                    if one.ssrc == ours and one.last in self._references:
                        self._measure_trip(one.last, one.delay, arrival)
            elif block.ssrc == ours:
                self.remote_metrics = block

    def _measure_trip(self, last: int, delay: int, arrival: float) -> None:
        here = rtcp.middle(rtcp.ntp_time(arrival + self._epoch))
        self.round_trip = rtcp.round_trip(here, last, delay)
