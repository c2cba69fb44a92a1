"""The extensions of the exchange. Each is an async function that serves one call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import trio

from spech import AudioPort, Call, LocalProtocolError
from spech.audio import tones
from spech.codecs import Samples

#: Seconds without a further key after which an entry is complete.
_ENTRY_PAUSE = 2.0
#: Seconds until the end of a file has left the far end's jitter buffer.
_TAIL = 0.3


async def echo(call: Call) -> None:
    """Send received sound back."""
    with call.open_audio() as port:
        async for frame in port:
            port.send(frame)


async def sound_tone(call: Call) -> None:
    """Play 440 Hz until the far end hangs up."""
    with call.open_audio() as port:
        second = tones.tone((440,), 1, port.rate)
        while call.state != "ended":
            await _say(port, second)


async def repeat_digits(call: Call) -> None:
    """Prompt for digits with a short tone, then send them back as tones and as telephone-events.

    An entry ends with ``#`` or with a pause of two seconds.
    """
    while True:
        await _sound(call, lambda rate: tones.tone((880,), 0.2, rate))
        entry = await call.collect_digits(1, terminator=None)
        while not entry.endswith("#"):
            digit = await call.collect_digits(1, timeout=_ENTRY_PAUSE, terminator=None)
            if not digit:
                break
            entry += digit
        for digit in entry:
            await _sound(call, lambda rate, digit=digit: _digit(digit, rate))  # type: ignore[misc]
        with suppress(LocalProtocolError):  # Not every phone supports telephone-events.
            call.send_dtmf(entry)
            await call.played()


async def announce(call: Call, sound: Path) -> None:
    """Play a file, and hang up."""
    await call.play(sound).played()
    await trio.sleep(_TAIL)


@dataclass(frozen=True, slots=True)
class Extension:
    """A number that the exchange answers itself.

    ``calls_back``: seconds after the call's end until the caller is called back, None for never.
    """

    number: str
    title: str
    serve: Callable[[Call], Awaitable[None]]
    calls_back: float | None = None


#: By number.
EXTENSIONS = {
    extension.number: extension
    for extension in (
        Extension("600", "echo: hear yourself", echo),
        Extension("601", "a tone", sound_tone),
        Extension("602", "plays back the digits that you press", repeat_digits),
        Extension("604", "calls you back 5 seconds after you hang up", echo, calls_back=5.0),
    )
}

#: The same by what they do, for exchanges with other numbers.
SERVICES = {
    "echo": EXTENSIONS["600"],
    "tone": EXTENSIONS["601"],
    "digits": EXTENSIONS["602"],
    "callback": EXTENSIONS["604"],
}


def announcement(number: str, sound: Path) -> Extension:
    """An extension that plays a file."""
    return Extension(number, f"plays {sound.name}", partial(announce, sound=sound))


def _digit(digit: str, rate: int) -> Samples:
    pause = np.zeros(rate // 20, dtype=np.int16)
    return np.concatenate([tones.digit(digit, 0.12, rate), pause])


async def _sound(call: Call, make: Callable[[int], Samples]) -> None:
    """Open the call's audio and play one sound."""
    with call.open_audio() as port:
        await _say(port, make(port.rate))


async def _say(port: AudioPort, sound: Samples) -> None:
    """Send ``sound`` at the pace of the call: a frame for each received one."""
    for start in range(0, len(sound), port.frame_samples):
        port.send(sound[start : start + port.frame_samples].tobytes())
        await port.receive()
