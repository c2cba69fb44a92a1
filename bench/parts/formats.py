"""What a call through the bridge costs with other codecs, with SRTP, and with digits in the sound.

As in the part ``bridge``. PCM has the rate of the codec. Where the caller offers no
telephone-event, Spech and Asterisk look for digits in the sound.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from bench import plot, servers
from bench.load import FORMATS, Load
from bench.machine import watching
from bench.parts import Part, Scale, Side, cpu_per_call
from bench.parts.bridge import SETTLE
from bench.results import Figures, Values
from bench.tables import sides_table


@dataclass(frozen=True)
class _Kind:
    codec: str = "PCMU"
    calls: int = 20
    events: bool = True
    user: str = "guest"
    encrypted: bool = False


_KINDS: Final = {
    "digits in the sound, 50 calls": _Kind(calls=50, events=False, user="inband"),
    "PCMU, 20 calls": _Kind(),
    "PCMU with SRTP, 20 calls": _Kind(user=servers.SEALED, encrypted=True),
    "G.722, 20 calls": _Kind("G722"),
    "G.729, 20 calls": _Kind("G729"),
    "Opus, 20 calls": _Kind("opus"),
}
#: Debian's Asterisk only passes G.729 on.
_LACKS: Final = {"Asterisk": ("G729",)}


def _each(name: str, start: servers.Start, scale: Scale) -> Iterator[tuple[str, Values]]:
    with servers.echo_peer() as echo, start(echo) as server:
        for case, kind in _KINDS.items():
            if kind.codec in _LACKS.get(name, ()):
                continue
            format, calls = FORMATS[kind.codec], min(kind.calls, scale.calls)
            with Load(format, events=kind.events, user=kind.user, encrypted=kind.encrypted) as load:
                load.call(server, server.number(format.pcm), calls)
                time.sleep(SETTLE)
                with watching(server.process) as window:
                    heard = load.hear(scale.seconds)
                load.hang_up()
            if heard.lost > 0.5:
                raise RuntimeError(f"{name}, {case}: no sound comes back")
            yield case, {**cpu_per_call(window, calls), "p99": heard.p99, "lost": heard.lost}


def _sides() -> Mapping[str, Side]:
    return {name: partial(_each, name, start) for name, start in servers.bridges().items()}


def _text(figures: Figures) -> str:
    cost = sides_table(figures, "call", "cpu", "CPU per second and call, ms", against="Asterisk")
    return f"{cost}\n![CPU per second and call](pictures/bench-formats.svg)\n"


def _plots(figures: Figures) -> Mapping[str, str]:
    return {"formats": plot.rows(figures, "cpu", "CPU per second and call (ms)")}


PART: Final = Part("formats", "codecs, SRTP, digits in the sound", 30, _sides, _text, _plots)
