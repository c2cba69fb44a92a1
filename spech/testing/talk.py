"""Speaking and listening on a call's audio port, for tests."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from spech.errors import CallEnded
from spech.media.playback import Pcm
from spech.testing.audio import Tone, assert_tone

#: Length in seconds of each stretch that is searched for a tone, and how many are searched.
_WINDOW = 0.5
_WINDOWS = 12


class Port(Protocol):
    """The part of :class:`spech.AudioPort` that is used here."""

    @property
    def rate(self) -> int: ...
    @property
    def frame_samples(self) -> int: ...
    def send(self, pcm: bytes) -> None: ...
    async def receive(self) -> bytes: ...


async def talk(port: Port, pcm: Pcm, seconds: float) -> NDArray[np.int16]:
    """Send ``pcm`` repeatedly for ``seconds``, and return what was received meanwhile.

    Sends one frame for each received one, and nothing if ``pcm`` is empty.
    """
    said = bytes(pcm) if isinstance(pcm, (bytes, bytearray)) else pcm.tobytes()
    size = port.frame_samples * 2
    heard = bytearray()
    position = 0
    while len(heard) < int(seconds * port.rate) * 2:
        if said:
            frame = said[position : position + size]
            frame += said[: size - len(frame)]
            position = (position + size) % len(said)
            port.send(frame)
        heard += await port.receive()
    return np.frombuffer(bytes(heard), dtype="<i2")


async def listen(port: Port, seconds: float) -> NDArray[np.int16]:
    """Return what is received in ``seconds``, while nothing is sent."""
    return await talk(port, b"", seconds)


async def hear_tone(
    port: Port, frequency: float, *, say: Pcm = b"", level: float | None = None
) -> Tone:
    """Assert that a clean tone of ``frequency`` Hz is received soon, and return it.

    Half a second of it is enough, within six seconds: sound needs time to arrive, and a busy
    machine may lose a frame.

    Args:
        say: what to send repeatedly meanwhile.
        level: the expected level in dBFS; None for any.
    """
    failure = AssertionError(
        f"wanted a tone of {frequency} Hz, but the call ended before any sound"
    )
    for _ in range(_WINDOWS):
        try:
            heard = await talk(port, say, _WINDOW)
        except CallEnded:
            raise failure from None
        try:
            return assert_tone(heard, port.rate, frequency, tolerance=2, level=level)
        except AssertionError as error:
            failure = error
    raise failure
