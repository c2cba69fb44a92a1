"""How calls sound: meters ten times a second, and the quality once."""

from __future__ import annotations

from typing import Literal

import msgspec

from spech.media.statistics import QualitySample
from spech.web.messages.command import CallId, PageCommand


class QualityOutcome(msgspec.Struct, frozen=True):
    samples: tuple[QualitySample, ...]


class QualityHistory(PageCommand, frozen=True, tag="quality_history"):
    outcome = QualityOutcome

    call: CallId


class Meters(msgspec.Struct, frozen=True):
    """One call's meters: RMS levels and peaks in dBFS, frames and packets since it began."""

    microphone: float
    speaker: float
    microphone_peak: float
    speaker_peak: float
    dropped: int
    lost: int
    jitter_ms: float


class MetersMessage(msgspec.Struct, frozen=True, tag_field="type", tag="meters"):
    calls: dict[str, Meters]


class PageLeg(msgspec.Struct, frozen=True):
    """The way between page and server: shares of frames lost over the last five seconds.

    ``round_trip_ms`` is what the system measures on the connection, None where it does not.
    ``microphone_late_ms`` is how long the newest frame has waited in the network, None where none
    came in the last second.
    """

    microphone_loss_percent: float
    speaker_loss_percent: float
    round_trip_ms: float | None
    microphone_late_ms: int | None


class Quality(msgspec.Struct, frozen=True, kw_only=True):
    """How a call sounds, once a second; the fields are those of ``MediaStatistics``.

    ``trouble`` names the way that is bad now: "line" between server and far end, "page", "both".
    """

    codec: str | None
    loss_percent: float
    total_loss_percent: float
    concealed_percent: float
    jitter_ms: float
    buffer_ms: float
    round_trip_ms: float | None
    one_way_ms: float
    mos: float | None
    mos_listening: float | None
    mos_worst: float | None
    mos_mean: float | None
    remote_loss_percent: float | None
    remote_jitter_ms: float | None
    remote_mos: float | None
    page: PageLeg
    trouble: Literal["line", "page", "both"] | None


class QualityMessage(msgspec.Struct, frozen=True, tag_field="type", tag="quality"):
    calls: dict[str, Quality]
