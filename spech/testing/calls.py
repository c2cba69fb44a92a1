"""Assertions about calls. Each says in its error what happened instead.

await call.answered(timeout=10)
assert_codec(call, "PCMA")
await hear_prompt(call, "welcome.wav")
await send_digits(call, "2")
await hear_digits(call, "1234")
await stay_up(call, 5)
assert_messages(call, "INVITE", "180", "200", "ACK")
"""

from __future__ import annotations

from contextlib import suppress
from os import PathLike
from typing import Final

import numpy as np
import trio

from spech.errors import CallEnded, LocalProtocolError
from spech.media.keypad import Method
from spech.phone.call import Call
from spech.phone.heard import SpeechBegan
from spech.testing.audio import read_wav
from spech.testing.prompts import PromptMatch, assert_prompt, match_prompt
from spech.testing.talk import talk

#: Seconds in which a prompt begins, and by which its last packet may be late.
_BEGINNING: Final = 2.0
_LATE: Final = 0.5
#: Seconds of sound after which a prompt is looked for again.
_STEP: Final = 0.2
#: The sound that an echo is found by: its rate in Hz, its length in seconds, its level.
_RATE: Final = 8000
_BURST: Final = 0.3
_LOUD: Final = 3000


def assert_codec(call: Call, name: str) -> None:
    """Assert that the call uses the codec ``name``, such as "PCMA"."""
    assert call.codec == name, f"wanted the codec {name}, but it is {call.codec or 'not agreed on'}"


def assert_packets(call: Call) -> None:
    """Assert that RTP packets were sent and have come, whatever they contain."""
    seen = call.statistics
    ways = {"have come": seen.received, "were sent": seen.sent}
    missing = [way for way, count in ways.items() if not count]
    assert not missing, (
        f"no packets {' and none '.join(missing)} in {call.duration:.1f} s of the call: "
        f"{seen.sent} were sent, {seen.received} have come"
    )


def assert_messages(call: Call, *wanted: str) -> None:
    """Assert that messages were exchanged in this order, perhaps with others between them.

    Args:
        wanted: methods ("INVITE") and statuses ("180"), of either end.
    """
    seen = [_name(entry.data) for entry in call.timeline if entry.data]
    rest = iter(seen)
    for name in wanted:
        assert name in rest, f"wanted {', '.join(wanted)}: no {name} in that order in {seen}"


async def send_digits(call: Call, digits: str, *, method: Method = "rfc4733") -> None:
    """Send digits, and return when the last one is sent.

    Args:
        digits: as for :meth:`spech.Call.send_dtmf`.
        method: how. By default only as telephone events, so that a far end that has lost them is
            noticed, and not served in another way.
    """
    try:
        call.send_dtmf(digits, method=method)
    except LocalProtocolError as error:
        raise AssertionError(f"wanted to send the digits {digits} by {method}: {error}") from None
    await call.played()


async def hear_digits(
    call: Call, digits: str, *, timeout: float = 10.0, method: Method = "rfc4733"
) -> None:
    """Assert that these are the next digits of the far end.

    Args:
        digits: all of them.
        timeout: seconds for all of them together.
        method: "auto" or "inband" to accept tones in the sound where no telephone events were
            agreed on. By default that is an error, so that lost events are noticed.
    """
    events = method in ("auto", "inband") or not call.detects_tones
    assert events, f"wanted the digits {digits} as telephone events, which were not agreed on"
    heard = ""
    ended = ""
    try:
        with trio.move_on_after(timeout):
            while len(heard) < len(digits):
                heard += await call.collect_digits(1, terminator=None)
    except CallEnded:
        ended = f", and the call ended: {call.status} {call.reason}"
    assert heard == digits, f"wanted the digits {digits}, but {heard or 'none'} came{ended}"


async def hear_speech(call: Call, *, within: float = 5.0) -> None:
    """Assert that the far end begins to speak, or to play music, now or soon.

    Args:
        within: seconds in which it does.
    """
    before = call.statistics.received
    with trio.move_on_after(within):
        async for event in call.heard():
            if isinstance(event, SpeechBegan):
                return
    came = call.statistics.received - before
    heard = "only silence was heard" if came else "no packet came"
    ended = f"; the call ended: {call.status} {call.reason}" if call.state == "ended" else ""
    raise AssertionError(f"wanted speech, but {heard} in {within:g} s{ended}")


async def hear_prompt(
    call: Call, path: str | PathLike[str], *, share: float = 0.8, within: float = _BEGINNING
) -> PromptMatch:
    """Assert that the far end plays a prompt, and return how it was heard.

    It returns as soon as the whole prompt has been recognized.

    Args:
        path: a WAV file, mono and 16 bits, with the whole prompt.
        share: the least part of it that must be recognized.
        within: seconds in which it begins.
    """
    prompt, rate = read_wav(path)
    before = call.statistics.received
    latest = within + _LATE
    seconds = latest + len(prompt) / rate
    heard = bytearray()
    enough = len(prompt)
    with call.open_audio(rate) as port, trio.move_on_after(seconds):
        async for frame in port:
            heard += frame
            if len(heard) // 2 >= enough:
                enough += round(_STEP * rate)
                with suppress(AssertionError):
                    return assert_prompt(bytes(heard), prompt, rate, share=share, within=latest)
    lasted = len(heard) / 2 / rate
    came = call.statistics.received - before
    assert came, f"wanted the prompt {path}, but no packet came in {lasted:.1f} s"
    try:
        return assert_prompt(bytes(heard), prompt, rate, share=share, within=latest)
    except AssertionError as error:
        ended = f"; the call ended: {call.status} {call.reason}" if call.state == "ended" else ""
        fault = str(error).partition("\n")[0]  # Without what pytest adds.
        raise AssertionError(f"{path}: {fault}{ended}") from None


async def hear_echo(call: Call, *, within: float = 0.5) -> float:
    """Assert that the far end returns our sound; return the delay, there and back, in seconds.

    Args:
        within: the longest delay, in seconds; the jitter buffers of both ends are a part of it.
    """
    burst = np.random.default_rng(1).normal(0, _LOUD, round(_BURST * _RATE)).astype(np.int16)
    silence = np.zeros(round((within + _LATE) * _RATE), np.int16)
    before = call.statistics.received
    with call.open_audio(_RATE) as port:
        sound = np.concatenate((burst, silence))
        heard = await talk(port, sound, len(sound) / _RATE)
    assert call.statistics.received > before, "wanted an echo, but no packet came"
    found = match_prompt(heard, burst, _RATE)
    assert found.share > 0.5, "wanted an echo, but our sound did not come back"
    assert found.delay <= within, f"the echo came after {found.delay:.2f} s, wanted {within:g} s"
    return found.delay


async def stay_up(call: Call, seconds: float) -> None:
    """Assert that the call is not ended for some seconds."""
    with trio.move_on_after(seconds):
        await call.ended()
    assert call.state != "ended", (
        f"wanted a call of {seconds:g} s more, but the {call.ended_by} end hung up after "
        f"{call.duration:.1f} s: {call.status} {call.reason}"
        + (f", cause {call.cause}" if call.cause else "")
    )


def _name(message: bytes) -> str:
    """The method or the status of a message."""
    words = message[:40].decode(errors="replace").split(" ")
    return words[1] if words[0].startswith("SIP/") else words[0]
