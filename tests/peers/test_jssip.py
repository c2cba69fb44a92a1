"""Calls with a web page: JsSIP in Chromium through Kamailio's WebSocket, DTLS-SRTP and ICE."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio

from spech import Account, Call, Phone, open_phone
from spech.testing.audio import assert_silence, sine
from spech.testing.plugin import unavailable
from spech.testing.talk import hear_tone, listen, talk
from spech.testing.waiting import until

from .. import ports
from . import jssip, kamailio

PORT = ports.reserve()
RATE = 8000
SAID = sine(1200, RATE, 1)
PATIENCE = 120


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    reason = jssip.why_not()
    if reason is None and not kamailio.available():
        reason = "Kamailio is not installed; `make test-peers` installs it"
    if reason is not None:
        unavailable("peers", reason)
    with kamailio.running(tmp_path_factory.mktemp("kamailio"), PORT):
        yield


@pytest.fixture
async def page(proxy: None, tmp_path: Path) -> AsyncIterator[jssip.Page]:
    with trio.fail_after(PATIENCE):
        async with jssip.running(tmp_path, jssip.SHOWS_ADDRESSES) as page:
            await page.register(PORT, "page")
            yield page


async def open_bob(stack: AsyncExitStack, codec: str, *, ice: bool | None = None) -> Phone:
    account = Account(f"sip:bob@127.0.0.1:{PORT}", encryption="dtls")
    phone = await stack.enter_async_context(
        open_phone(account, listen=("127.0.0.1", 0), codecs=[codec], ice=ice)
    )
    await phone.registered(timeout=10)
    return phone


async def converse(call: Call, page: jssip.Page) -> None:
    """Sound, digits and hold in both directions; then the page hangs up."""
    with call.open_audio(RATE) as port:
        async with trio.open_nursery() as nursery:

            async def speak() -> None:
                while True:
                    port.send(SAID.tobytes())
                    await trio.sleep(1)

            nursery.start_soon(speak)
            await page.hear(1200)
            await hear_tone(port, jssip.TONE_FREQUENCY)
            assert call.encrypted == "DTLS"

            await page.evaluate("state.session.sendDTMF('42', { transportType: 'RFC2833' })")
            assert await call.collect_digits(2, timeout=10) == "42"
            call.send_dtmf("7", method="info")
            await page.until("state.digits === '7'")
            with call.press("5"):  # Chromium plays telephone events as tones.
                await page.hear(770, 1336)

            call.hold()
            await page.until("state.session.isOnHold().remote")
            await page.hear_nothing()
            call.flush()
            await trio.sleep(0.5)
            assert_silence(await listen(port, 0.5))
            call.resume()
            await page.hear(1200)
            await hear_tone(port, jssip.TONE_FREQUENCY)

            await page.evaluate("state.session.hold()")
            await until(lambda: call.held)
            await page.hear_nothing()
            await page.evaluate("state.session.unhold()")
            await until(lambda: not call.held)
            await page.hear(1200)
            await hear_tone(port, jssip.TONE_FREQUENCY)
            nursery.cancel_scope.cancel()
    await page.evaluate("state.session.terminate()")
    await call.ended()
    assert call.ended_by == "remote"


@pytest.mark.parametrize("codec", ["opus", "PCMU"])
async def test_a_call_from_a_page(page: jssip.Page, codec: str) -> None:
    async with AsyncExitStack() as stack:
        bob = await open_bob(stack, codec)
        await page.evaluate("dial('sip:bob@127.0.0.1')")
        incoming = await anext(bob.incoming_calls())
        async with incoming.answer() as call:
            assert call.codec == codec
            await converse(call, page)


@pytest.mark.parametrize("codec", ["opus", "PCMU"])
async def test_a_call_to_a_page(page: jssip.Page, codec: str) -> None:
    async with AsyncExitStack() as stack:
        bob = await open_bob(stack, codec, ice=True)
        async with bob.call("page") as call:
            await call.answered(timeout=20)
            assert call.codec == codec
            await converse(call, page)


async def test_a_call_from_a_page_that_hides_its_addresses(proxy: None, tmp_path: Path) -> None:
    """Its offer has ``c=0.0.0.0``, port 9 and a ``.local`` candidate: it is not a hold."""
    with trio.fail_after(PATIENCE):
        async with AsyncExitStack() as stack:
            page = await stack.enter_async_context(jssip.running(tmp_path))
            await page.register(PORT, "page")
            bob = await open_bob(stack, "opus")
            await page.evaluate("dial('sip:bob@127.0.0.1')")
            incoming = await anext(bob.incoming_calls())
            async with incoming.answer() as call:
                offer = next(entry.data for entry in call.timeline if b"m=audio" in entry.data)
                assert b"m=audio 9 " in offer
                assert b"c=IN IP4 0.0.0.0" in offer
                assert b".local " in offer
                with call.open_audio(RATE) as port:
                    await hear_tone(port, jssip.TONE_FREQUENCY, say=SAID)
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(talk, port, SAID, PATIENCE)
                        await page.hear(1200)
                        nursery.cancel_scope.cancel()
                assert not call.held
                assert call.encrypted == "DTLS"
