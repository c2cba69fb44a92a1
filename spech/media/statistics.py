"""Statistics of a call: the present figures, and their history second by second.

Nothing here runs for each packet. Once a second the counters are read, and the E-model estimates
the opinion of a listener (ITU-T G.107); see ``emodel``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple, final

from spech import codecs
from spech.codecs.base import Codec
from spech.media.emodel import mean_opinion_score, transmission_rating
from spech.media.playout import Playout
from spech.rtp.bursts import BurstSummary
from spech.rtp.jitter import LONGEST_DELAY
from spech.rtp.session import RtpSession
from spech.rtp.stream import Stream
from spech.rtp.xr import VoipMetrics

_TICK_MS: Final = 20.0
_TICKS_PER_SECOND: Final = 50
#: Seconds that recent figures cover: long enough that one lost packet does not dominate them.
_RECENT: Final = 5
#: Samples of a call that are kept. Beyond them, every two are merged into one of twice the length.
_MOST_SAMPLES: Final = 600


@final
@dataclass(frozen=True, slots=True)
class MediaStatistics:
    """What was counted and measured; counts are RTP packets unless said otherwise.

    Counts: ``late`` came after their time; ``concealed`` counts ticks of 20 ms that were bridged;
    ``dropped_invalid`` were no RTP, ``dropped_foreign`` not the peer's; in encrypted calls
    ``dropped_unauthentic`` were not made with the peer's key and ``dropped_replayed`` came before,
    reports among both; ``resynchronised`` counts jumps of the peer's timestamps or source; octets
    are payload.

    What is heard: ``loss_percent`` and ``concealed_percent`` are those of the last five seconds,
    packets that came too late included; ``total_loss_percent`` is that of the call. Bursts and
    gaps are those of RFC 3611 section 4.7.2, ``burst_ratio`` is that of ITU-T G.107.
    ``one_way_ms`` estimates the time from their mouth to our ear: half the round trip, a packet,
    and the delay of playout.

    Marks, 1 to 4.5 (ITU-T G.107): ``mos`` is for talking to each other, delay included,
    ``mos_listening`` for listening alone, ``mos_worst`` and ``mos_mean`` are those of ``mos`` over
    the call. They are None when nothing came for five seconds, as on hold.

    The peer's view of what we send: ``remote_lost`` counts, the others are of its last report;
    None until it says so. ``remote_mos`` takes a peer that sends RTCP XR.
    """

    codec: str | None
    payload_type: int | None
    sent: int
    sent_octets: int
    received: int
    received_octets: int
    lost: int
    late: int
    duplicates: int
    reordered: int
    jitter_ms: float
    buffer_ms: float
    delay_ms: float
    concealed: int
    accelerated_ms: float
    expanded_ms: float
    resynchronised: int
    dropped_invalid: int
    dropped_foreign: int
    dropped_unauthentic: int
    dropped_replayed: int
    send_errors: int
    loss_percent: float
    total_loss_percent: float
    concealed_percent: float
    burst_ratio: float
    burst_density_percent: float
    gap_density_percent: float
    burst_ms: float
    gap_ms: float
    round_trip_ms: float | None
    one_way_ms: float
    mos: float | None
    mos_listening: float | None
    mos_worst: float | None
    mos_mean: float | None
    remote_lost: int | None
    remote_loss_percent: float | None
    remote_jitter_ms: float | None
    remote_mos: float | None

    def __str__(self) -> str:
        """One line for people."""
        parts = [] if self.mos_mean is None else [f"MOS {self.mos_mean:.2f}"]
        if self.mos_worst is not None:
            parts.append(f"worst {self.mos_worst:.2f}")
        parts += [
            f"loss {self.total_loss_percent:.1f} %",
            f"concealed {self.concealed * _TICK_MS / 1000.0:.2f} s",
            f"jitter {self.jitter_ms:.1f} ms",
            f"delay {self.one_way_ms:.0f} ms",
        ]
        if self.round_trip_ms is not None:
            parts.append(f"round trip {self.round_trip_ms:.0f} ms")
        if self.remote_loss_percent is not None:
            parts.append(f"they lost {self.remote_lost}")
        return ", ".join(parts)


@final
@dataclass(frozen=True, slots=True)
class QualitySample:
    """One second of a call, or several of a long one; it ends at ``at`` seconds.

    The fields are those of :class:`MediaStatistics`, means of the time that the sample spans.
    """

    at: float
    loss_percent: float
    concealed_percent: float
    jitter_ms: float
    buffer_ms: float
    round_trip_ms: float | None
    mos: float | None
    remote_loss_percent: float | None


class Played(NamedTuple):
    """Counters of playout; ``delay_ms`` is its present delay."""

    concealed: int = 0
    undecodable: int = 0
    accelerated_ms: float = 0.0
    expanded_ms: float = 0.0
    delay_ms: float = 0.0


class _Counters(NamedTuple):
    """Counters at one moment; what happened in a time is the difference of two."""

    expected: int = 0
    missed: int = 0
    concealed: int = 0
    seconds: int = 0


class Monitor:
    """Measures one call. The engine calls :meth:`sample` once a second."""

    def __init__(self, session: RtpSession, stream: Stream) -> None:
        self._session = session
        self._stream = stream
        session.reports.measure = self._metrics
        self._codec: Codec | None = None
        self._playout: Playout | None = None
        self._played_before = Played()
        self._impairment = codecs.impairment(codecs.DEFAULT[0])
        self._payload_type: int | None = None
        self._packet_ms = _TICK_MS
        self._counters: deque[_Counters] = deque([_Counters()], maxlen=_RECENT + 1)
        self._bursts = BurstSummary()
        self._delay_ms = self._loss = self._concealed = 0.0
        self._rating: float | None = None
        self._mos: float | None = None
        self._mos_listening: float | None = None
        self._worst: float | None = None
        self._marks = 0
        self._sum_of_marks = 0.0
        self._history: list[QualitySample] = []
        self._span = 1
        self._pending: list[QualitySample] = []

    def configure(
        self, codec: Codec, playout: Playout, payload_type: int, packet_seconds: float
    ) -> None:
        """Take the codec in use and its playout, and the type and length of packets we send."""
        if playout is not self._playout:
            self._played_before = self._played
            self._playout = playout
        self._codec = codec
        self._impairment = codecs.impairment(codec.name)
        self._payload_type = payload_type
        self._packet_ms = packet_seconds * 1000.0

    @property
    def _played(self) -> Played:
        """What was played so far, by all codecs of the call."""
        before, codec, playout = self._played_before, self._codec, self._playout
        if codec is None or playout is None:
            return before
        return Played(
            concealed=before.concealed + playout.concealed,
            undecodable=before.undecodable + playout.undecodable,
            accelerated_ms=before.accelerated_ms + 1000.0 * playout.accelerated / codec.rate,
            expanded_ms=before.expanded_ms + 1000.0 * playout.expanded / codec.rate,
            delay_ms=1000.0 * playout.delay,
        )

    def sample(self) -> None:
        """Measure the second that has passed."""
        session, played = self._session, self._played
        self._delay_ms = played.delay_ms
        self._bursts = session.bursts()
        before = self._counters[0]
        last = self._counters[-1]
        now = _Counters(
            session.expected,
            session.lost + session.discarded,
            played.concealed,
            last.seconds + 1,
        )
        self._counters.append(now)
        expected = now.expected - before.expected
        missed = now.missed - before.missed
        self._loss = min(max(missed / expected, 0.0), 1.0) if expected > 0 else 0.0
        ticks = (now.seconds - before.seconds) * _TICKS_PER_SECOND
        self._concealed = min((now.concealed - before.concealed) / ticks, 1.0)
        self._judge(heard=expected > 0)  # In a pause of the talker few packets come, or none.
        self._remember(now.seconds)

    def _judge(self, *, heard: bool) -> None:
        if not heard:
            self._rating = self._mos = self._mos_listening = None
            return
        ratio = self._bursts.ratio
        listening = transmission_rating(self._impairment, loss=self._loss, burst_ratio=ratio)
        talking = transmission_rating(
            self._impairment, loss=self._loss, burst_ratio=ratio, delay=self._one_way_ms / 1000.0
        )
        self._mos_listening = mean_opinion_score(listening)
        self._rating = talking
        mark = self._mos = mean_opinion_score(talking)
        self._worst = mark if self._worst is None else min(mark, self._worst)
        self._marks += 1
        self._sum_of_marks += mark

    def _remember(self, at: int) -> None:
        remote = self._session.reports.remote_report
        self._pending.append(
            QualitySample(
                at=at,
                loss_percent=100.0 * self._loss,
                concealed_percent=100.0 * self._concealed,
                jitter_ms=self._session.jitter * 1000.0,
                buffer_ms=self._session.buffer_delay * 1000.0,
                round_trip_ms=_milliseconds(self._session.reports.round_trip),
                mos=self._mos,
                remote_loss_percent=None if remote is None else remote.fraction_lost / 2.56,
            )
        )
        if len(self._pending) < self._span:
            return
        self._history.append(_merged(self._pending))
        self._pending.clear()
        if len(self._history) >= _MOST_SAMPLES:
            halved = [_merged(self._history[i : i + 2]) for i in range(0, len(self._history), 2)]
            self._history = halved
            self._span *= 2

    @property
    def history(self) -> tuple[QualitySample, ...]:
        """The call so far, a sample for each second; coarser in calls over ten minutes."""
        return tuple(self._history)

    @property
    def encryption(self) -> str | None:
        """How the sound is encrypted: "SDES" or "DTLS", None for plain sound."""
        return self._stream.protection.kind

    @property
    def statistics(self) -> MediaStatistics:
        """The figures of the moment; loss, concealment and MOS are of the last full second."""
        session, stream, counts = self._session, self._stream, self._session.counts
        played = self._played
        bursts, remote = self._bursts, session.reports.remote_report
        metrics = session.reports.remote_metrics
        expected = session.expected
        return MediaStatistics(
            codec=None if self._codec is None else self._codec.name,
            payload_type=self._payload_type,
            sent=counts.sent,
            sent_octets=counts.octets,
            received=counts.received,
            received_octets=counts.received_octets,
            lost=session.lost,
            late=session.discarded,
            duplicates=counts.duplicates,
            reordered=counts.reordered,
            jitter_ms=session.jitter * 1000.0,
            buffer_ms=session.buffer_delay * 1000.0,
            delay_ms=played.delay_ms,
            concealed=played.concealed,
            accelerated_ms=played.accelerated_ms,
            expanded_ms=played.expanded_ms,
            resynchronised=counts.resynchronised,
            dropped_invalid=stream.invalid + played.undecodable + counts.stray,
            dropped_foreign=stream.foreign,
            dropped_unauthentic=stream.protection.unauthentic,
            dropped_replayed=stream.protection.replayed,
            send_errors=stream.send_errors,
            loss_percent=100.0 * self._loss,
            total_loss_percent=min(
                100.0 * (session.lost + session.discarded) / max(expected, 1), 100.0
            ),
            concealed_percent=100.0 * self._concealed,
            burst_ratio=bursts.ratio,
            burst_density_percent=100.0 * bursts.burst_density,
            gap_density_percent=100.0 * bursts.gap_density,
            burst_ms=bursts.burst_length * self._packet_ms,
            gap_ms=bursts.gap_length * self._packet_ms,
            round_trip_ms=_milliseconds(session.reports.round_trip),
            one_way_ms=self._one_way_ms,
            mos=self._mos,
            mos_listening=self._mos_listening,
            mos_worst=self._worst,
            mos_mean=self._sum_of_marks / self._marks if self._marks else None,
            remote_lost=None if remote is None else remote.lost,
            remote_loss_percent=None if remote is None else remote.fraction_lost / 2.56,
            remote_jitter_ms=_milliseconds(session.remote_jitter),
            remote_mos=None if metrics is None else metrics.mos_conversational,
        )

    def _metrics(self) -> VoipMetrics | None:
        """The figures for the RTCP XR of the peer; None while there are none."""
        if self._rating is None:
            return None
        session, bursts = self._session, self._bursts
        expected = max(session.expected, 1)
        packet = self._packet_ms / 1000.0
        return VoipMetrics(
            ssrc=0,
            loss=session.lost / expected,
            discard=session.discarded / expected,
            burst_density=bursts.burst_density,
            gap_density=bursts.gap_density,
            burst=bursts.burst_length * packet,
            gap=bursts.gap_length * packet,
            round_trip=session.reports.round_trip or 0.0,
            end_system_delay=packet + self._delay_ms / 1000.0,
            rating=self._rating,
            mos_listening=self._mos_listening,
            mos_conversational=self._mos,
            buffer=session.buffer_delay,
            most_buffer=LONGEST_DELAY,
        )

    @property
    def _one_way_ms(self) -> float:
        network = (self._session.reports.round_trip or 0.0) * 500.0
        return network + self._packet_ms + self._delay_ms


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000.0


def _merged(samples: list[QualitySample]) -> QualitySample:
    """Merge consecutive samples into one."""
    if len(samples) == 1:
        return samples[0]
    return QualitySample(
        at=samples[-1].at,
        loss_percent=_mean(sample.loss_percent for sample in samples) or 0.0,
        concealed_percent=_mean(sample.concealed_percent for sample in samples) or 0.0,
        jitter_ms=_mean(sample.jitter_ms for sample in samples) or 0.0,
        buffer_ms=_mean(sample.buffer_ms for sample in samples) or 0.0,
        round_trip_ms=_mean(sample.round_trip_ms for sample in samples),
        mos=_mean(sample.mos for sample in samples),
        remote_loss_percent=_mean(sample.remote_loss_percent for sample in samples),
    )


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
