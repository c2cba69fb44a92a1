"""What a call costs `spech bridge` with each dialect, beside the dialect `raw`.

Telephones call with PCMU, and a bot sends the sound back as its dialect asks for.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Final

from bench import servers
from bench.load import Load
from bench.machine import watching
from bench.parts import Part, Scale, Side, cpu_per_call
from bench.parts.bridge import SETTLE
from bench.results import Figures, Values, spread

_DIALECTS: Final = (
    "raw", "jambonz", "vonage", "asterisk", "asterisk-text", "exotel", "twilio", "telnyx", "plivo",
)  # fmt: skip
_CALLS: Final = 20


def _one(dialect: str, scale: Scale) -> Iterator[tuple[str, Values]]:
    calls = min(_CALLS, scale.calls)
    with servers.echo_peer() as echo, servers.spech(echo, dialect) as server, Load() as load:
        load.call(server, server.bridged, calls)
        time.sleep(SETTLE)
        with watching(server.process) as window:
            load.hear(scale.seconds)
        load.hang_up()
    yield f"{_CALLS} calls", cpu_per_call(window, calls)


def _sides() -> Mapping[str, Side]:
    return {dialect: partial(_one, dialect) for dialect in _DIALECTS}


def _text(figures: Figures) -> str:
    lines = ["| dialect | CPU per second and call, ms | dialect : raw |", "|---|---:|---:|"]
    for case in figures.cases:
        for side in figures.sides:
            cost = spread(figures.values(side, case, "cpu"))
            ratio = spread(figures.ratios(side, "raw", case, "cpu"))
            lines.append(f"| `{side}` | {cost} | {ratio if side != 'raw' else ''} |")
    return "\n".join([*lines, ""])


PART: Final = Part("dialects", "dialects of bots", 5, _sides, _text)
