"""Assertions about calls. Each says in its error what happened instead.

await call.answered(timeout=10)
assert_codec(call, "PCMA")
await hear_prompt(call, "welcome.wav")
await hear_digits(call, "1234")
await stay_up(call, 5)
assert_messages(call, "INVITE", "180", "200", "ACK")
"""

from __future__ import annotations

from os import PathLike
from typing import Final

import trio

from spech.errors import CallEnded
from spech.phone.call import Call
from spech.testing.audio import read_wav
from spech.testing.prompts import PromptMatch, assert_prompt

#: Seconds in which a prompt begins, and by which its last packet may be late.
_BEGINNING: Final = 2.0
_LATE: Final = 0.5


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


async def hear_digits(call: Call, digits: str, *, timeout: float = 10.0) -> None:
    """Assert that these are the next digits of the far end.

    Args:
        digits: all of them.
        timeout: seconds for all of them together.
    """
    heard = ""
    ended = ""
    try:
        with trio.move_on_after(timeout):
            while len(heard) < len(digits):
                heard += await call.collect_digits(1, terminator=None)
    except CallEnded:
        ended = f", and the call ended: {call.status} {call.reason}"
    assert heard == digits, f"wanted the digits {digits}, but {heard or 'none'} came{ended}"


async def hear_prompt(
    call: Call, path: str | PathLike[str], *, share: float = 0.9, within: float = _BEGINNING
) -> PromptMatch:
    """Assert that the far end plays a prompt, and return how it was heard.

    Args:
        path: a WAV file, mono and 16 bits, with the whole prompt.
        share: the least part of it that must be recognised.
        within: seconds in which it begins.
    """
    prompt, rate = read_wav(path)
    before = call.statistics.received
    seconds = within + len(prompt) / rate + _LATE
    heard = await call.listen(seconds, silence=None, terminator=None, rate=rate)
    came = call.statistics.received - before
    assert came, f"wanted the prompt {path}, but no packet came in {len(heard) / rate:.1f} s"
    try:
        return assert_prompt(heard, prompt, rate, share=share)
    except AssertionError as error:
        ended = f"; the call ended: {call.status} {call.reason}" if call.state == "ended" else ""
        fault = str(error).partition("\n")[0]  # Without what pytest adds.
        raise AssertionError(f"{path}: {fault}{ended}") from None


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
