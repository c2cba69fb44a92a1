"""Calls through rtpengine, which decrypts one leg and encrypts the other one differently."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AsyncExitStack

import numpy as np
import pytest
import trio
from numpy.typing import NDArray

from spech import Account, Call, Phone, open_phone
from spech.sip.description.media_security import Policy
from spech.testing.audio import assert_silence, sine
from spech.testing.plugin import unavailable
from spech.testing.talk import hear_tone, listen, talk
from spech.testing.waiting import first, until

from .. import ports
from . import kamailio, rtpengine
from .conftest import PORTS, RATE

PORT = ports.reserve()
CONTROL_PORT = ports.reserve()
MEDIA_PORTS = ports.reserve(rtpengine.MEDIA_PORTS)
#: The tones of the caller and the callee.
CALLER = sine(700, RATE, 1)
CALLED = sine(1200, RATE, 1)
PATIENCE = 60
POLICIES: dict[str, Policy] = {"plain": "off", "sdes": "sdes", "dtls": "dtls"}
ENCRYPTED = {"plain": None, "sdes": "SDES", "dtls": "DTLS"}


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    for name, module in (("Kamailio", kamailio), ("rtpengine", rtpengine)):
        if not module.available():
            unavailable("peers", f"{name} is not installed; `make test-peers` installs it")
    directory = tmp_path_factory.mktemp("rtpengine")
    with (
        rtpengine.running(directory, CONTROL_PORT, MEDIA_PORTS),
        kamailio.running(directory, PORT, relay=CONTROL_PORT),
    ):
        yield


async def open_as(stack: AsyncExitStack, user: str) -> Phone:
    """A phone whose user name selects the encryption of its leg."""
    account = Account(
        f"sip:{user}@127.0.0.1:{PORT}",
        encryption=POLICIES[user],
    )
    phone = await stack.enter_async_context(
        open_phone(account, listen=("127.0.0.1", 0), ports=PORTS, ice=False)
    )
    await phone.registered(timeout=5)
    return phone


@pytest.mark.usefixtures("proxy")
@pytest.mark.parametrize(
    ("caller", "called"),
    [("sdes", "dtls"), ("dtls", "sdes"), ("plain", "sdes"), ("sdes", "plain"), ("dtls", "plain")],
)
async def test_sound_digits_and_hold_work_between_two_encryptions(caller: str, called: str) -> None:
    with trio.fail_after(PATIENCE):
        async with AsyncExitStack() as stack:
            bob = await open_as(stack, called)
            alice = await open_as(stack, caller)
            call = await stack.enter_async_context(alice.call(called))
            incoming = await first(bob.incoming_calls())
            there = await stack.enter_async_context(incoming.answer())
            await call.answered(timeout=10)
            await converse(call, there)
            assert (call.encrypted, there.encrypted) == (ENCRYPTED[caller], ENCRYPTED[called])
            call.hang_up()
            await there.ended()
            assert there.ended_by == "remote"


async def converse(call: Call, there: Call) -> None:
    """Sound and digits in both directions, hold by either side."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(speak, call, CALLER)
        nursery.start_soon(speak, there, CALLED)
        await hear(call, 1200)
        await hear(there, 700)
        for sender, receiver, digits in ((call, there, "42"), (there, call, "71")):
            sender.send_dtmf(digits)
            assert await receiver.collect_digits(2, timeout=5) == digits
        await hold(call, there, 700)
        await hear(call, 1200)
        await hear(there, 700)
        await hold(there, call, 1200)
        await hear(call, 1200)
        await hear(there, 700)
        nursery.cancel_scope.cancel()


async def hold(holder: Call, held: Call, frequency: float) -> None:
    """Hold and resume: the holder receives nothing, and may still send."""
    holder.hold()
    await until(lambda: held.held)
    await trio.sleep(0.5)
    with holder.open_audio(RATE) as port:
        assert_silence(await listen(port, 0.5))
    await hear(held, frequency)
    holder.resume()
    await until(lambda: not held.held)


async def speak(call: Call, pcm: NDArray[np.int16]) -> None:
    with call.open_audio(RATE) as port:
        await talk(port, pcm, PATIENCE)


async def hear(call: Call, frequency: float) -> None:
    with call.open_audio(RATE) as port:
        await hear_tone(port, frequency)
