"""What it costs to set a call up and to end it, and how long the caller waits for the answer.

One call after the other over UDP, each ended at once. "answered" is a call that is only answered,
"with WebSocket" one that is connected to a WebSocket, whose handshake is part of it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Final

from bench import servers
from bench.load import Load
from bench.machine import watching
from bench.parts import Part, Scale, Side
from bench.results import Figures, Values
from bench.tables import sides_table

_CALLS: Final = 60
#: Some work follows the last BYE.
_REST: Final = 1.0


def _one_by_one(server: servers.Server, number: str, calls: int) -> Values:
    with Load() as load:
        waits = []
        with watching(server.process) as window:
            for _ in range(calls):
                waits += load.call(server, number)
                load.hang_up()
            time.sleep(_REST)
    return {
        "cpu": window.cpu / calls * 1000,
        "answer": statistics.median(waits) * 1000,
        **window.values(),
    }


def _each(name: str, bridge: servers.Start, scale: Scale) -> Iterator[tuple[str, Values]]:
    calls = min(_CALLS, scale.calls)
    with servers.echo_peer() as echo, bridge(echo) as server:
        answering = servers.builds().get(name)
        if answering is None:
            yield "answered", _one_by_one(server, server.answered, calls)
        else:
            with servers.spech_answering(answering) as other:
                yield "answered", _one_by_one(other, other.answered, calls)
        yield "with WebSocket", _one_by_one(server, server.bridged, calls)


def _sides() -> Mapping[str, Side]:
    return {name: partial(_each, name, start) for name, start in servers.bridges().items()}


def _text(figures: Figures) -> str:
    cost = sides_table(figures, "call", "cpu", "CPU of the server, ms", against="Asterisk")
    wait = sides_table(
        figures, "call", "answer", "From the INVITE to its 200, ms", against="Asterisk"
    )
    return f"{cost}\n{wait}"


PART: Final = Part("setup", "setting calls up", 7, _sides, _text)
