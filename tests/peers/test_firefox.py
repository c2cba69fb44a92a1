"""The web phone in Firefox."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from spech.testing.plugin import unavailable

from ..slow_network import CHOOSE_FORMAT
from .firefox import TONE, FirefoxPage, available, firefox
from .soundcard import sound_card
from .webphone import WebPhone, converse, look_around, sound_both_ways, visible, wait_for, web_phone


@asynccontextmanager
async def phone_in_firefox(tmp_path: Path) -> AsyncIterator[tuple[FirefoxPage, WebPhone]]:
    """The web phone in Firefox with a sound card, signed in."""
    if not available():
        unavailable("peers", "Firefox or PulseAudio is not installed; `make test-peers` does it")
    with trio.fail_after(120):
        async with (
            sound_card(tmp_path) as card,
            web_phone(tmp_path) as phone,
            firefox(tmp_path, card) as page,
        ):
            await page.open(f"{phone.url}#link={phone.token()}")
            yield page, phone


async def test_calls_in_firefox(tmp_path: Path) -> None:
    """Dial, ring, answer, hold, keypad, hang-up, and sound both ways."""
    async with phone_in_firefox(tmp_path) as (page, phone):
        await converse(page, phone, TONE)
        await look_around(page, phone)


async def test_sound_in_opus_in_firefox(tmp_path: Path) -> None:
    """The page changes to Opus in a call, and back to PCM."""
    async with phone_in_firefox(tmp_path) as (page, phone):
        await wait_for(page, visible("number"))
        await page.evaluate(f"({CHOOSE_FORMAT})()")
        incoming_calls = phone.bob.incoming_calls()
        await page.write("number", "bob")
        await page.click("call")
        async with (await anext(incoming_calls)).answer() as call:
            await wait_for(page, "spech.state.calls[0]?.state === 'answered'")
            await page.click("quality")
            for wanted in ("Opus", "PCM"):
                await page.evaluate(f"window.wanted = '{wanted.lower()}'")
                codec = "document.querySelector('[data-testid=page-codec]').textContent"
                await wait_for(page, f"{codec} === '{wanted}'")
                await sound_both_ways(page, call, TONE)


async def test_a_firefox_that_cannot_play_says_so(tmp_path: Path) -> None:
    """Its audio context waits for a device, as other browsers' contexts wait for a tap."""
    if not available():
        unavailable("peers", "Firefox or PulseAudio is not installed; `make test-peers` does it")
    none = {"PULSE_SERVER": f"unix:{tmp_path}/none", "ALSA_CONFIG_PATH": "/dev/null"}
    with trio.fail_after(120):
        async with web_phone(tmp_path) as phone, firefox(tmp_path, none) as page:
            await page.open(f"{phone.url}#link={phone.token()}")
            await wait_for(page, visible("number"))
            incoming_calls = phone.bob.incoming_calls()
            await page.write("number", "bob")
            await page.click("call")
            async with (await anext(incoming_calls)).answer():
                notices = "document.querySelector('spech-notices').innerText"
                await wait_for(page, f"{notices}.includes('no working speaker')")
