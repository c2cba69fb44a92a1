"""What a command tells about its call while it lasts, and when it is over."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import Final

import trio
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from spech import Call
from spech.cli.output import Output
from spech.scopes import open_scope

#: Seconds between two pictures of the display.
_INTERVAL: Final = 0.1
#: The width of a meter in characters, and the level in dBFS at its left end.
_METER: Final = 32
_LEAST_LEVEL: Final = -60.0
#: The levels in dBFS from which a meter is yellow and red.
_LOUD: Final = -12.0
_TOO_LOUD: Final = -3.0


@dataclass
class CallResult:
    """The result of a call; the fields are the keys of its last line of JSON."""

    remote: str = ""
    answered: bool = False
    status: int | None = None
    reason: str = ""
    codec: str | None = None
    encrypted: str | None = None
    duration_s: float = 0.0
    ended_by: str | None = None
    rtp: dict[str, float] = field(
        default_factory=lambda: {"sent": 0, "received": 0, "lost": 0, "jitter_ms": 0.0}
    )
    quality: dict[str, float | None] = field(default_factory=dict)
    dtmf_received: str = ""
    #: The quality in one line; not a field, and so not a key of the JSON.
    summary = ""

    def copy_from(self, call: Call) -> None:
        """Copy the results of ``call``; called when it is over, or about to be."""
        self.remote = call.remote
        self.codec = call.codec
        self.encrypted = call.encrypted
        self.duration_s = round(call.duration, 3)
        self.ended_by = call.ended_by or "local"
        self.dtmf_received = call.digits_received
        counted = call.statistics
        self.rtp = {
            "sent": counted.sent,
            "received": counted.received,
            "lost": counted.lost,
            "jitter_ms": round(counted.jitter_ms, 3),
        }
        self.quality = {
            "mos": _rounded(counted.mos_mean),
            "mos_worst": _rounded(counted.mos_worst),
            "mos_listening": _rounded(counted.mos_listening),
            "loss_percent": _rounded(counted.total_loss_percent),
            "round_trip_ms": _rounded(counted.round_trip_ms),
            "one_way_ms": _rounded(counted.one_way_ms),
            "remote_loss_percent": _rounded(counted.remote_loss_percent),
            "remote_mos": _rounded(counted.remote_mos),
        }
        self.summary = str(counted)

    def print(self, output: Output) -> None:
        """Print the result of a call; for people, only of one that was answered."""
        text = ""
        if self.answered:
            who = "they hung up" if self.ended_by == "remote" else "we hung up"
            codec = f"{self.codec} encrypted" if self.encrypted else self.codec
            rtp = self.rtp
            text = (
                f"ended after {self.duration_s:.1f} s, {who}; {codec}, "
                f"packets sent {rtp['sent']}, received {rtp['received']}, lost {rtp['lost']}, "
                f"jitter {rtp['jitter_ms']:.1f} ms\n{self.summary}"
            )
        output.result(text, event="ended", **asdict(self))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


@asynccontextmanager
async def told(call: Call, outcome: CallResult, output: Output) -> AsyncIterator[None]:
    """Tell what happens in a call while the block runs, and copy its results at the end.

    On a terminal a display with levels and quality is shown.
    """
    try:
        progress = _Progress(call, output)
        progress.tell()  # Before a task has its turn, the call may have got further.
        async with open_scope() as nursery:
            nursery.start_soon(progress.follow)
            if output.is_live:
                nursery.start_soon(_show, call, output.console)
            yield
            nursery.cancel_scope.cancel()
    finally:
        outcome.copy_from(call)


class _Progress:
    """Prints states and digits of a call as they happen."""

    def __init__(self, call: Call, output: Output) -> None:
        self._call = call
        self._output = output
        self._state = ""
        self._digits = 0
        self._encrypted: str | None = None

    async def follow(self) -> None:
        """Print until cancelled."""
        while True:
            self.tell()
            await self._call.changed()

    def tell(self) -> None:
        """Print what is new."""
        call, output = self._call, self._output
        if call.state != self._state:
            self._state = state = call.state
            if state != "ended":
                codec = call.codec if state == "answered" else None
                text = f"{call.remote}: {state}{f', {codec}' if codec else ''}"
                output.tell(text, event=state, remote=call.remote, codec=codec)
        if call.encrypted != self._encrypted:
            self._encrypted = encrypted = call.encrypted
            text = f"{call.remote}: encrypted, {encrypted}"
            output.tell(text, event="encrypted", remote=call.remote, how=encrypted)
        if len(call.digits_received) > self._digits:
            pressed = call.digits_received[self._digits :]
            output.tell(f"they pressed {pressed}", event="digits", digits=pressed)
            self._digits = len(call.digits_received)


async def _show(call: Call, console: Console) -> None:
    """Show the display, which vanishes when the call is over."""
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            live.update(panel(call), refresh=True)
            await trio.sleep(_INTERVAL)


def panel(call: Call) -> Table:
    """State, meters and quality of a call."""
    ours, theirs = call.peaks
    seconds = int(call.duration)
    state = f"{call.remote}, {call.state} {seconds // 60}:{seconds % 60:02}"
    codec = " ".join(filter(None, (call.codec, call.encrypted and f"encrypted, {call.encrypted}")))
    table = Table.grid(padding=(0, 2))
    table.add_row("call", Text(state, "bold"), Text(codec))
    table.add_row("we say", meter(ours), Text(_decibels(ours)))
    table.add_row("they say", meter(theirs), Text(_decibels(theirs)))
    table.add_row("quality", Text(_quality(call)))
    return table


def meter(level: float) -> Text:
    """A level in dBFS as a bar."""
    filled = round(_METER * (max(level, _LEAST_LEVEL) - _LEAST_LEVEL) / -_LEAST_LEVEL)
    colour = "red" if level >= _TOO_LOUD else "yellow" if level >= _LOUD else "green"
    return Text.assemble(("█" * filled, colour), ("░" * (_METER - filled), "dim"))


def _decibels(level: float) -> str:
    return f"{level:.0f} dB" if level > _LEAST_LEVEL else "silent"


def _quality(call: Call) -> str:
    counted = call.statistics
    parts = [
        None if counted.mos is None else f"{counted.mos:.1f} of 4.5",
        f"loss {counted.loss_percent:.1f} %",
        f"jitter {counted.jitter_ms:.0f} ms",
        None if counted.round_trip_ms is None else f"round trip {counted.round_trip_ms:.0f} ms",
    ]
    return ", ".join(part for part in parts if part)
