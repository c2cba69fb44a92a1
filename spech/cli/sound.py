"""The sound of a call on the command line: files, tones, digits and standard streams."""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
import trio

from spech import Call, CallEnded, MediaError
from spech.audio.player import Player
from spech.audio.progress import TONES, ToneName, countries
from spech.audio.recorder import Recording
from spech.audio.writer import wav_header
from spech.cli.options import read_recording
from spech.codecs import Samples
from spech.exchange.extensions import echo
from spech.scopes import open_scope

#: ``-``: sound comes from standard input and goes to standard output.
STREAM: Final = Path("-")
_STANDARD_INPUT: Final = Path("/dev/stdin")
_STANDARD_OUTPUT: Final = 1

#: Seconds from the last sound to the BYE, which would cut off what is still in the far end's
#: jitter buffer.
_TAIL: Final = 0.3
_DIGITS: Final = re.compile(r"[0-9*#A-Da-d,pPwW]+")
#: Frames of 20 ms that wait for the reader of standard output; further ones are dropped.
_WAITING_FRAMES: Final = 100
#: Seconds for the reader to take the last frames.
_LAST_FRAMES_SECONDS: Final = 1.0


@dataclass(frozen=True)
class SoundPlan:
    """What to say in a call, and what to keep of it.

    Attributes:
        play: a sound file or a pipe.
        tone: the country and name of a tone.
        echo: send back what comes.
        dtmf: keys to press.
        record: a file for both sides, or `STREAM`.
        stereo: keep each side on a channel of its own.
        duration: seconds after which to hang up.
    """

    play: Path | None = None
    tone: tuple[str, ToneName] | None = None
    echo: bool = False
    dtmf: str | None = None
    record: Path | None = None
    stereo: bool = False
    duration: float | None = None


# ---------------------------------------------------------------------- options


def read_tone(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> tuple[str, ToneName] | None:
    """Split ``[COUNTRY/]NAME`` into country and name."""
    if value is None:
        return None
    country, _, wanted = value.rpartition("/")
    name = next((tone for tone in TONES if tone == wanted), None)
    if name is None:
        raise click.BadParameter(f"one of {', '.join(TONES)}", ctx, param)
    if country and country.lower() not in countries():
        known = ", ".join(filter(None, countries()))
        raise click.BadParameter(f"the countries are {known}", ctx, param)
    return country, name


def read_sound(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """A file that can be played, or a pipe, which can be read only once."""
    if value == STREAM:
        if sys.stdin.isatty():
            raise click.BadParameter("standard input is a terminal, not sound", ctx, param)
        value = _STANDARD_INPUT
    if value is not None and not value.is_fifo():
        try:
            Player(value).close()
        except MediaError as error:
            raise click.BadParameter(str(error), ctx, param) from error
    return value


def read_sink(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """A file for a recording, or a pipe at standard output."""
    if value != STREAM:
        return read_recording(ctx, param, value)
    if sys.stdout.isatty():
        raise click.BadParameter("standard output is a terminal, which cannot play", ctx, param)
    return value


def read_keys(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Keys of a telephone, and pauses."""
    if value is not None and not _DIGITS.fullmatch(value):
        raise click.BadParameter("the keys are 0-9 * # A-D, and the pauses are , and w", ctx, param)
    return value


def sound_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options about sound. The command gets ``sound``."""

    @functools.wraps(command)
    def collect(
        *,
        play: Path | None,
        tone: tuple[str, ToneName] | None,
        echo: bool,
        dtmf: str | None,
        record: Path | None,
        stereo: bool,
        duration: float | None,
        **others: Any,
    ) -> None:
        if stereo and record is None:
            raise click.UsageError("--stereo needs --record FILE", click.get_current_context())
        command(sound=SoundPlan(play, tone, echo, dtmf, record, stereo, duration), **others)

    for option in reversed(_OPTIONS):
        collect = option(collect)
    return collect


_OPTIONS: Final = (
    click.option(
        "--play",
        metavar="FILE",
        type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
        callback=read_sound,
        help="Sound file to play, - for standard input; then hang up, unless --duration is longer.",
    ),
    click.option(
        "--tone",
        metavar="[COUNTRY/]NAME",
        callback=read_tone,
        help="Tone to play until the end: ringback, busy, congestion, waiting; see `spech tones`.",
    ),
    click.option("--echo", is_flag=True, help="Send back what the far end says."),
    click.option(
        "--dtmf",
        metavar="DIGITS",
        callback=read_keys,
        help="Keys to press after the answer: 0-9 * # A-D; a comma pauses for 2 s, w for 0.5 s.",
    ),
    click.option(
        "--record",
        metavar="FILE",
        type=click.Path(dir_okay=False, writable=True, allow_dash=True, path_type=Path),
        callback=read_sink,
        help="File to record both sides into: .wav, or .opus. With -, the far end's sound goes to "
        "standard output as WAV, and messages to standard error.",
    ),
    click.option("--stereo", is_flag=True, help="Record us on the left and them on the right."),
    click.option(
        "--duration",
        type=click.FloatRange(min=0),
        metavar="SECONDS",
        help="Hang up this many seconds after the answer.",
    ),
)


# ---------------------------------------------------------------------- in the call


async def converse(call: Call, plan: SoundPlan) -> None:
    """Play, record, echo and send digits in an answered call, until it ends or all is done.

    Raises:
        MediaError: what is to be played cannot be read, or the recording cannot be written.
    """
    until = trio.current_time() + (plan.duration or 0.0)
    recording: Recording | None = None
    with suppress(CallEnded):  # The far end may hang up at any time.
        async with AsyncExitStack() as stack:
            if plan.record == STREAM:
                await stack.enter_async_context(_streamed(call, stereo=plan.stereo))
            elif plan.record is not None:
                recording = call.record(plan.record, stereo=plan.stereo)
            if plan.dtmf is not None:
                call.send_dtmf(plan.dtmf)
            said = None if plan.play is None else call.play(plan.play)
            if plan.tone is not None:
                country, name = plan.tone
                call.play_tone(name, country=country, seconds=plan.duration)
            async with open_scope() as nursery:
                nursery.start_soon(_cancel_at_end, call, nursery.cancel_scope)
                if plan.echo:
                    nursery.start_soon(echo, call)
                await call.played()
                if said is not None:
                    await said.played()  # Raises the error of a file or pipe.
                    await trio.sleep(_TAIL)
                elif plan.duration is None:
                    await trio.sleep_forever()
                await trio.sleep_until(until)
                nursery.cancel_scope.cancel()
    if recording is not None and recording.error is not None:
        raise recording.error


async def _cancel_at_end(call: Call, scope: trio.CancelScope) -> None:
    await call.ended()
    scope.cancel()


@asynccontextmanager
async def _streamed(call: Call, *, stereo: bool) -> AsyncIterator[None]:
    """Write the sound to standard output while the block runs. The call ends if its reader goes."""
    with call.open_audio() as port:
        rate = port.rate
    frames_in, frames = trio.open_memory_channel[bytes](_WAITING_FRAMES)

    def hear(sides: Samples) -> None:
        kept = sides if stereo else sides[1::2]
        with suppress(trio.WouldBlock):  # The reader is too slow.
            frames_in.send_nowait(kept.astype("<i2", copy=False).tobytes())

    async with open_scope() as nursery:
        nursery.start_soon(_write_frames, call, wav_header(rate, 2 if stereo else 1), frames)
        with call.tap(hear, rate):
            yield
        frames_in.close()
        nursery.cancel_scope.deadline = trio.current_time() + _LAST_FRAMES_SECONDS


async def _write_frames(
    call: Call, header: bytes, frames: trio.MemoryReceiveChannel[bytes]
) -> None:
    try:
        await _write(header)
        async for frame in frames:
            await _write(frame)
    except BrokenPipeError:  # The reader has gone.
        call.hang_up()


async def _write(data: bytes) -> None:
    """Write to standard output in a thread, which is left behind if the reader stalls."""

    def write() -> None:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(_STANDARD_OUTPUT, rest) :]
        except OSError as error:
            error.filename = "standard output"
            raise

    await trio.to_thread.run_sync(write, abandon_on_cancel=True)
