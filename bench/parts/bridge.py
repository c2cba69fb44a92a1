"""What a call through `spech bridge` costs, beside Asterisk's `Dial(WebSocket/…)`.

Telephones call both with PCMU; both carry the sound as 16-bit PCM to and from the same WebSocket
peer, which sends it back. More calls are added step by step, up to 400 or until the server does not
keep up; each step is measured.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Final

from bench import plot, servers
from bench.load import Load, Overloaded
from bench.machine import watching
from bench.parts import Part, Scale, Side, cpu_per_call
from bench.results import Figures, Values, spread
from bench.tables import sides_table

LEVELS: Final = (1, 10, 50, 100, 150, 200, 300, 400)
_WORKERS: Final = 2
#: Seconds until a server has settled.
SETTLE: Final = 1.0
#: Sound is even, and complete, up to this: ms off the grid, and the share of lost packets.
_EVEN: Final = 10.0
_LOST: Final = 0.01
#: Beyond this a server does not keep up, and further calls tell nothing.
_HOPELESS: Final = 100.0


def _steps(start: servers.Start, scale: Scale) -> Iterator[tuple[str, Values]]:
    with servers.echo_peer() as echo, start(echo) as server, Load() as load:
        for level in LEVELS:
            if level > scale.calls:
                break
            try:
                load.call(server, server.bridged, level - load.calls)
            except Overloaded:
                break
            time.sleep(SETTLE)
            with watching(server.process) as window:
                heard = load.hear(scale.seconds)
            sound = {"p99": heard.p99, "lost": heard.lost, "late": heard.late}
            yield f"{level}", {**cpu_per_call(window, level), **sound}
            if heard.p99 > _HOPELESS or heard.lost > 10 * _LOST:
                break


def _sides() -> Mapping[str, Side]:
    starts = servers.bridges()
    *_, (name, build) = servers.builds().items()
    starts[f"{name}, {_WORKERS} workers"] = partial(servers.spech, build=build, workers=_WORKERS)
    return {name: partial(_steps, start) for name, start in starts.items()}


def _carried(figures: Figures, side: str) -> list[float]:
    """In each round, the most calls of a step up to which the sound was even and complete."""
    most = []
    for cases in figures.rounds_of(side):
        carried = 0
        for case, values in sorted(cases.items(), key=lambda each: int(each[0])):
            if values["p99"] > _EVEN or values["lost"] > _LOST:
                break
            carried = int(case)
        most.append(float(carried))
    return most


def _text(figures: Figures) -> str:
    cost = sides_table(figures, "calls", "cpu", "CPU per second and call, ms", against="Asterisk")
    pacing = sides_table(
        figures, "calls", "p99", "Outgoing RTP off its 20 ms grid, 99th percentile, ms"
    )
    late = sides_table(
        figures, "calls", "late", "What the telephones sent off its grid, 99th percentile, ms"
    )
    lost = sides_table(figures, "calls", "lost", "Packets lost, %", scale=100)
    memory = sides_table(figures, "calls", "memory", "Memory, MB", digits=0)
    carried = "".join(f"- {side}: {spread(_carried(figures, side), 0)}\n" for side in figures.sides)
    return (
        f"{cost}\n![CPU per second and call](pictures/bench-bridge.svg)\n\n{pacing}\n"
        "![How even the sound is](pictures/bench-pacing.svg)\n\n"
        f"Most calls at which the 99th percentile stayed within {_EVEN:.0f} ms and less than "
        f"{_LOST:.0%} was lost:\n\n{carried}\n{late}\n{lost}\n{memory}"
    )


def _plots(figures: Figures) -> Mapping[str, str]:
    cost = plot.lines(figures, "cpu", "CPU per second and call (ms)", "calls at once", log=True)
    even = plot.lines(
        figures, "p99", "RTP off its grid, 99th percentile (ms)", "calls at once", log=True,
        limit=_EVEN,
    )  # fmt: skip
    return {"bridge": cost, "pacing": even}


PART: Final = Part("bridge", "calls over a WebSocket", 35, _sides, _text, _plots)
