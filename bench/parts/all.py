"""All parts, in the order in which they run."""

from __future__ import annotations

from typing import Final

from bench.parts import (
    Part,
    bots,
    bridge,
    codecs,
    conference,
    delay,
    dialects,
    formats,
    hour,
    library,
    page,
    parsing,
    setup,
)

PARTS: Final[dict[str, Part]] = {
    each.PART.name: each.PART
    for each in (
        bridge,
        formats,
        setup,
        delay,
        dialects,
        bots,
        library,
        page,
        parsing,
        codecs,
        conference,
        hour,
    )
}
