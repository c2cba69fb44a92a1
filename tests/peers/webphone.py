"""The web phone as its own process, with an account at an exchange, and someone to call there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import trio
from numpy.typing import NDArray

from spech import Account, Call, Phone, open_phone
from spech.exchange import open_exchange
from spech.testing.audio import assert_tone, sine
from spech.testing.talk import hear_tone
from spech.testing.waiting import until
from spech.web.admin import MakeLink, SignInLink, ask_server
from spech.web.store import Settings, Store, StoredAccount
from spech.web.vault import Vault

#: The tone that the far end says, in Hz.
SAID = 1200.0
_RATE = 16000
_PASSWORD = "open-sesame-42"


@dataclass
class WebPhone:
    """A running `spech serve`, whose account is alice.

    Attributes:
        url: of the page.
        log: the file that it logs to.
        bob: a phone at the same exchange.
    """

    url: str
    log: Path
    bob: Phone
    _data: Path

    @property
    def port(self) -> int:
        """The TCP port of the page."""
        return int(self.url.rstrip("/").rpartition(":")[2])

    def token(self) -> str:
        """What signs in once, behind ``#link=`` in an address of the page."""
        (reply,) = list(ask_server(self._data, MakeLink()) or [])
        assert isinstance(reply, SignInLink)
        return reply.url.rpartition("#link=")[2]


@asynccontextmanager
async def web_phone(
    folder: Path, *arguments: str, environment: Mapping[str, str] = {}
) -> AsyncIterator[WebPhone]:
    """Run the web phone while the block runs, with these further arguments of `spech serve`."""
    data, log = folder / "data", folder / "spech.log"
    async with (
        open_exchange(("127.0.0.1", 0), {"alice": _PASSWORD, "bob": _PASSWORD}) as exchange,
        open_phone(
            Account(f"sip:bob@127.0.0.1:{exchange.address[1]}", password=_PASSWORD),
            listen=("127.0.0.1", 0),
        ) as bob,
        trio.open_nursery() as nursery,
    ):
        await bob.registered(timeout=10)
        account = StoredAccount(
            id="a1",
            server="127.0.0.1",
            port=exchange.address[1],
            transport="udp",
            user="alice",
            password=_PASSWORD,
            codecs=("G722", "PCMU"),
        )
        await trio.to_thread.run_sync(Store(Vault(data)).save, Settings((account,)))
        command = [sys.executable, "-m", "spech", "serve", "--data", str(data)]
        command += ["--sip-host", "127.0.0.1", "--port", "0", "--audio-port", "0", *arguments]
        with log.open("wb") as errors:
            process = await nursery.start(
                partial(
                    trio.run_process,
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    capture_stdout=False,
                    check=False,
                    env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
                )
            )
        url = await _address(process.stdout)
        yield WebPhone(url, log, bob, data)
        nursery.cancel_scope.cancel()


async def _address(output: trio.abc.ReceiveStream) -> str:
    """The page's address, which is printed when the ports accept connections."""
    printed = b""
    while not (found := re.search(rb"https?://[^\s/]+/", printed)):
        received = await output.receive_some()
        assert received, "spech serve has ended"
        printed += received
    return found[0].decode()


def visible(name: str) -> str:
    """A JavaScript expression: whether the element with that test id is shown."""
    return f"document.querySelector('[data-testid={name}]')?.checkVisibility()"


class Page(Protocol):
    """A page in a browser, of whatever kind."""

    async def evaluate(self, expression: str) -> object:
        """The value of a JavaScript expression; promises are awaited."""

    async def click(self, name: str) -> None:
        """Click an element by its test id, as a person does."""

    async def write(self, name: str, text: str) -> None:
        """Click a field by its test id, and type."""


async def wait_for(page: Page, condition: str, *, within: float = 15.0) -> None:
    """Wait until a JavaScript expression is true.

    Raises:
        AssertionError: it is not; the message shows the state of the page.
    """
    give_up = trio.current_time() + within
    while not await page.evaluate(f"Boolean({condition})"):
        if trio.current_time() > give_up:
            state = await page.evaluate("JSON.stringify(window.spech?.state)")
            text = await page.evaluate("document.body.innerText")
            raise AssertionError(f"not true in time: {condition}\n{state}\n{text}")
        await trio.sleep(0.05)


async def hear(page: Page, frequency: float) -> None:
    """Assert that the page soon plays a clean tone."""
    await wait_for(page, "spech.speakerLevel() > -40")
    for attempt in range(12):
        samples, rate = await _played(page)
        try:
            assert_tone(samples, rate, frequency, tolerance=3)
        except AssertionError:
            if attempt == 11:
                raise
        else:
            return


async def _played(page: Page) -> tuple[NDArray[np.int16], int]:
    heard = await page.evaluate(
        "spech.capture(0.5).then(({ rate, samples }) =>"
        " [rate, ...samples.map((sample) => Math.round(32767 * sample))])"
    )
    assert isinstance(heard, list)
    return np.array(heard[1:], dtype=np.int16), int(heard[0])


async def sound_both_ways(page: Page, call: Call, microphone: float) -> None:
    """Assert that the page hears bob's tone, and bob that of the page's microphone, in Hz."""
    with call.open_audio(_RATE) as port:
        port.play(sine(SAID, _RATE, 60, level=-12).tobytes())
        await hear(page, SAID)
        await hear_tone(port, microphone)


async def converse(page: Page, phone: WebPhone, microphone: float) -> None:
    """Dial, speak, hold, press keys and hang up; then ring, answer, and be hung up on."""
    incoming_calls = phone.bob.incoming_calls()
    await wait_for(page, visible("number"))
    await page.write("number", "bob")
    await page.click("call")
    async with (await anext(incoming_calls)).answer() as call:
        await wait_for(page, "spech.state.calls[0]?.state === 'answered'")
        await sound_both_ways(page, call, microphone)

        await page.click("hold")
        await until(lambda: call.held, within=10)
        await page.click("hold")
        await until(lambda: not call.held, within=10)
        await sound_both_ways(page, call, microphone)

        await page.click("keypad-toggle")
        await page.click("key-4")
        await page.click("key-hash")
        assert await call.collect_digits(2, timeout=10, terminator=None) == "4#"

        await page.click("hangup")
        await call.ended()
        assert call.ended_by == "remote"
    await wait_for(page, "!spech.state.calls.some((call) => call.state !== 'ended')")

    async with phone.bob.call("alice") as call:
        await wait_for(page, visible("answer"))
        await page.click("answer")
        await call.answered(timeout=10)
        await sound_both_ways(page, call, microphone)
    await wait_for(page, "!spech.state.calls.some((call) => call.state !== 'ended')")


async def look_around(page: Page, phone: WebPhone) -> None:
    """Find a call of before, keep a contact, exchange messages, and check the account."""
    await page.click("history-open")
    await page.write("history-search", "bob")
    await wait_for(page, f"{visible('past-call')} && !{_text('history-nothing')}")
    await page.evaluate("document.querySelector('[data-testid=past-call]').click()")
    await wait_for(page, visible("past-details"))

    await page.click("contacts-open")
    await page.click("contact-add")
    await page.write("contact-name", "Bob Bell")
    await page.write("contact-number", "bob")
    await page.click("contact-save")
    await wait_for(page, f"{_text('contacts-list')}.includes('Bob Bell')")

    messages = phone.bob.messages()
    await page.click("chats-open")
    await page.write("chat-to", "bob")
    await page.click("chat-start")
    await page.write("chat-text", "Where are you?")
    await page.click("chat-send")
    assert (await anext(messages)).text == "Where are you?"
    await phone.bob.send_message("alice", "On the way.")
    await wait_for(page, f"{_text('chat-log')}.includes('On the way.')")
    assert await page.evaluate(f"{_text('chat-heading')}") == "Bob Bell"

    await page.click("settings-open")
    await wait_for(page, visible("checkup"))
    await page.click("checkup")
    await page.click("check-go")
    await wait_for(page, f"{_text('checkup')}.includes('answered OPTIONS')")


def _text(name: str) -> str:
    """A JavaScript expression: what the element with that test id shows."""
    return f"document.querySelector('[data-testid={name}]')?.innerText"
