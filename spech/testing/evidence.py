"""What the report of a failed test tells about its calls; see :mod:`spech.testing.plugin`.

While a test runs, only the last packets and the last sound of its last calls are kept, in memory.
Files are written when it has failed.
"""

from __future__ import annotations

import re
import wave
from collections import deque
from pathlib import Path
from typing import Final

import numpy as np
import trio

from spech.addresses import Address
from spech.codecs.base import Samples
from spech.phone.call import Call
from spech.sip.timeline import Entry, to_pcap
from spech.testing.audio import level

#: Calls of one test that are kept.
_CALLS: Final = 8
#: Seconds of each, and the packets that come and go in them.
_SECONDS: Final = 30
_PACKETS: Final = 100 * _SECONDS
#: Of the sound, in Hz.
_RATE: Final = 8000
_TICKS: Final = 50 * _SECONDS
#: Sound below this level is called silence, in dBFS.
_SILENCE: Final = -60.0


class CallEvidence:
    """The last packets and the last sound of one call.

    Args:
        call: one that has just begun.
    """

    def __init__(self, call: Call) -> None:
        self._call = call
        self._packets: deque[Entry] = deque(maxlen=_PACKETS)
        self._sound: deque[Samples] = deque(maxlen=_TICKS)
        call.watch_packets(self._see)
        self._tap = call.tap(self._sound.append, _RATE).__enter__()

    def forget(self) -> None:
        """Keep nothing more."""
        self._tap.stop()
        self._call.watch_packets(lambda *_: None)

    def describe(self) -> str:
        """The course of the call as text, with its ladder."""
        call = self._call
        towards = "to" if call.direction == "outgoing" else "from"
        lines = [f"{call.direction} call {towards} {call.remote}: {self._outcome()}"]
        lines.append(f"codec: {call.codec or 'none was agreed on'}")
        seen = call.statistics
        one_way = bool(seen.sent) is not bool(seen.received) and call.codec is not None
        lines.append(
            f"packets: {seen.sent} were sent, {seen.received} have come"
            + (" (one-way audio)" if one_way else "")
        )
        ours, theirs = self._sides()
        lines.append(f"sound: we sent {_loudness(ours)}, and heard {_loudness(theirs)}")
        lines.append(f"digits that came: {call.digits_received or 'none'}")
        return "\n".join([*lines, "", call.ladder()])

    def save(self, folder: Path, number: int) -> list[Path]:
        """Write the sound of both sides and all packets; return the files."""
        name = re.sub(r"[^\w.@+-]+", "-", self._call.remote).strip("-")[:40]
        sound = folder / f"{number}-{name}.wav"
        with wave.open(str(sound), "wb") as file:
            file.setparams((2, 2, _RATE, 0, "NONE", ""))
            file.writeframes(b"".join(tick.tobytes() for tick in self._sound))
        capture = folder / f"{number}-{name}.pcap"
        entries = sorted([*self._call.timeline, *self._packets], key=lambda entry: entry.at)
        capture.write_bytes(to_pcap(entries, self._call.wall))
        return [sound, capture]

    def _outcome(self) -> str:
        call = self._call
        if call.state != "ended":
            return call.state
        cause = f", cause {call.cause}" if call.cause else ""
        return f"ended by the {call.ended_by} end, {call.status} {call.reason}{cause}"

    def _sides(self) -> tuple[Samples, Samples]:
        both = np.concatenate([*self._sound, np.zeros(0, np.int16)]).reshape(-1, 2)
        return both[:, 0], both[:, 1]

    def _see(self, sent: bool, data: bytes, local: Address, remote: Address) -> None:
        source, destination = (local, remote) if sent else (remote, local)
        self._packets.append(Entry(trio.current_time(), "", source, destination, data, sent))


class Evidence:
    """The calls of one test."""

    def __init__(self) -> None:
        self._calls: deque[CallEvidence] = deque()
        self._forgotten = 0

    def observe(self, call: Call) -> None:
        """A call begins."""
        if len(self._calls) == _CALLS:
            self._calls.popleft().forget()
            self._forgotten += 1
        self._calls.append(CallEvidence(call))

    def report(self, folder: Path) -> str:
        """Save what is kept, and return the text for the report."""
        folder.mkdir(parents=True, exist_ok=True)
        parts = []
        if self._forgotten:
            parts.append(f"{self._forgotten} earlier calls are left out")
        for number, call in enumerate(self._calls, 1 + self._forgotten):
            files = ", ".join(file.name for file in call.save(folder, number))
            parts.append(f"{number}. {call.describe()}\n\nsaved: {files}")
        parts.append(f"files (sound: ours on the left, theirs on the right): {folder}")
        return "\n\n".join(parts)


def causes(error: BaseException) -> list[BaseException]:
    """The errors in a group and the groups within it, without cancellations."""
    if not isinstance(error, BaseExceptionGroup):
        return [] if isinstance(error, trio.Cancelled) else [error]
    return [cause for inner in error.exceptions for cause in causes(inner)]


def _loudness(sound: Samples) -> str:
    if not len(sound):
        return "nothing"
    found = level(sound)
    return "silence" if found < _SILENCE else f"{found:.0f} dBFS"
