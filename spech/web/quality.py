"""The quality of a call as pages show it: the line to the far end, and the page's connection."""

from __future__ import annotations

import socket
import sys
from collections import deque
from typing import Final, Literal, NamedTuple

import trio

from spech.media.statistics import MediaStatistics
from spech.web.messages.quality import PageLeg, Quality
from spech.websocket.tls import SecureStream

_RECENT: Final = 5
_FRAMES_PER_SECOND: Final = 50
#: What a listener notices: lost frames in percent, and the MOS below which ITU-T G.107 Annex B
#: says that some users are dissatisfied.
_NOTICED_LOSS: Final = 2.0
_SATISFIED: Final = 3.6
#: The offset of ``tcpi_rtt``, in microseconds, in Linux's ``struct tcp_info``.
_TCP_RTT: Final = slice(68, 72)


class _Frames(NamedTuple):
    microphone: int
    speaker: int


class PageMonitor:
    """The frames between a page and a call; :meth:`sample` is to be called once a second."""

    def __init__(self) -> None:
        self._frames: deque[_Frames] = deque([_Frames(0, 0)], maxlen=_RECENT + 1)

    def sample(
        self,
        microphone: int,
        speaker: int,
        *,
        stream: trio.SocketStream | SecureStream | None,
        microphone_late: float | None,
    ) -> PageLeg:
        """Note how many frames were lost so far either way.

        Args:
            microphone, speaker: frames lost.
            stream: what carries them now; without it, the round trip is not known.
            microphone_late: how late the microphone's frames are, in seconds.
        """
        before, now = self._frames[0], _Frames(microphone, speaker)
        frames = len(self._frames) * _FRAMES_PER_SECOND
        self._frames.append(now)
        return PageLeg(
            microphone_loss_percent=_percent(now.microphone - before.microphone, frames),
            speaker_loss_percent=_percent(now.speaker - before.speaker, frames),
            round_trip_ms=None if stream is None else _round_trip_ms(stream),
            microphone_late_ms=None if microphone_late is None else round(1000 * microphone_late),
        )


def quality(statistics: MediaStatistics, page: PageLeg) -> Quality:
    """Both ways in one value, rounded for people."""
    line = (
        statistics.loss_percent > _NOTICED_LOSS
        or (statistics.remote_loss_percent or 0.0) > _NOTICED_LOSS
        or (statistics.mos is not None and statistics.mos < _SATISFIED)
    )
    frames = max(page.microphone_loss_percent, page.speaker_loss_percent) > _NOTICED_LOSS
    trouble: Literal["line", "page", "both"] | None = None
    if line or frames:
        trouble = "both" if line and frames else "line" if line else "page"
    return Quality(
        codec=statistics.codec,
        loss_percent=round(statistics.loss_percent, 1),
        total_loss_percent=round(statistics.total_loss_percent, 2),
        concealed_percent=round(statistics.concealed_percent, 1),
        jitter_ms=round(statistics.jitter_ms, 1),
        buffer_ms=round(statistics.buffer_ms, 1),
        round_trip_ms=_rounded(statistics.round_trip_ms, 1),
        one_way_ms=round(statistics.one_way_ms, 1),
        mos=_rounded(statistics.mos, 2),
        mos_listening=_rounded(statistics.mos_listening, 2),
        mos_worst=_rounded(statistics.mos_worst, 2),
        mos_mean=_rounded(statistics.mos_mean, 2),
        remote_loss_percent=_rounded(statistics.remote_loss_percent, 1),
        remote_jitter_ms=_rounded(statistics.remote_jitter_ms, 1),
        remote_mos=_rounded(statistics.remote_mos, 1),
        page=page,
        trouble=trouble,
    )


def _percent(lost: int, frames: int) -> float:
    return round(min(100.0 * lost / frames, 100.0), 1)


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _round_trip_ms(stream: trio.SocketStream | SecureStream) -> float | None:
    if not hasattr(socket, "TCP_INFO"):
        return None
    try:
        info = stream.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_RTT.stop)
    except OSError:  # it was closed a moment ago
        return None
    assert isinstance(info, bytes)
    return round(int.from_bytes(info[_TCP_RTT], sys.byteorder) / 1000.0, 1)
