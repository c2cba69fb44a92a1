"""Faults that are planted in a real PBX are found with one line each, and named by the error."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import pytest

from spech import Call, Phone, PortRange, open_phone
from spech.testing.asterisk import Asterisk
from spech.testing.audio import write_wav
from spech.testing.calls import (
    assert_codec,
    assert_messages,
    assert_packets,
    hear_digits,
    hear_echo,
    hear_prompt,
    hear_speech,
    send_digits,
    stay_up,
)
from spech.testing.talk import hear_tone

PORTS = PortRange(34_760, 34_779)
RATE = 8000


@pytest.fixture
async def phone(pbx: Asterisk) -> AsyncIterator[Phone]:
    async with open_phone(pbx.account(), listen=("127.0.0.1", 0), ports=PORTS) as phone:
        yield phone


@pytest.fixture
def dialplan(pbx: Asterisk) -> Callable[..., None]:
    """Gives the extension 690 these steps."""

    def replace(*steps: str) -> None:
        pbx.command("dialplan remove extension 690@phones")
        for number, step in enumerate(steps, 1):
            quoted = step.replace(",", "\\,")
            pbx.command(f"dialplan add extension 690,{number},{quoted} into phones")

    return replace


@pytest.fixture
def prompts(pbx: Asterisk, tmp_path: Path) -> dict[str, str]:
    """The file of a prompt of 1.5 s, and what Asterisk plays: it, another one, and a part of it."""
    right, wrong = (
        np.random.default_rng(seed).normal(0, 3000, 3 * RATE // 2).astype(np.int16)
        for seed in (1, 2)
    )
    found = {"file": str(tmp_path / "right.wav")}
    for name, said in {"right": right, "wrong": wrong, "part": right[:RATE]}.items():
        write_wav(tmp_path / f"{name}.wav", said, RATE)
        played = pbx.share(f"{name}.wav", (tmp_path / f"{name}.wav").read_bytes())
        found[name] = played.removesuffix(".wav")
    return found


async def answered(call: Call) -> Call:
    await call.answered(timeout=10)
    return call


async def test_a_dialplan_without_faults_passes(
    phone: Phone, dialplan: Callable[..., None], prompts: dict[str, str]
) -> None:
    dialplan("Answer()", "Wait(0.5)", f"Playback({prompts['right']})", "SendDTMF(1234)", "Wait(20)")
    async with phone.call("690", codecs=["PCMA"]) as call:
        await answered(call)
        assert_codec(call, "PCMA")
        found = await hear_prompt(call, prompts["file"])
        assert 0.2 < found.delay < 1.5
        await hear_digits(call, "1234")
        await stay_up(call, 0.5)
        assert_packets(call)
        assert_messages(call, "INVITE", "401", "ACK", "INVITE", "200", "ACK")
        with pytest.raises(AssertionError, match="no BYE in that order"):
            assert_messages(call, "200", "BYE")


async def test_no_packets_are_told_apart_from_silence(
    phone: Phone, dialplan: Callable[..., None], prompts: dict[str, str]
) -> None:
    dialplan("Answer()", "Wait(20)")
    async with phone.call("690") as call:
        await answered(call)
        with pytest.raises(AssertionError, match="no packet came in"):
            await hear_prompt(call, prompts["file"], within=0)
        with pytest.raises(AssertionError, match="no packets have come in"):
            assert_packets(call)
    dialplan("Answer()", "Playtones(0/1000)", "Wait(20)")
    async with phone.call("690") as call:
        with pytest.raises(AssertionError, match="only silence was heard"):
            await hear_prompt(await answered(call), prompts["file"], within=0)


async def test_the_wrong_prompt_and_a_cut_one_are_named(
    phone: Phone, dialplan: Callable[..., None], prompts: dict[str, str]
) -> None:
    dialplan("Answer()", f"Playback({prompts['wrong']})", "Wait(20)")
    async with phone.call("690") as call:
        with pytest.raises(
            AssertionError, match=r"right\.wav: wanted the prompt, but it is another"
        ):
            await hear_prompt(await answered(call), prompts["file"], within=0.5)
    dialplan("Answer()", f"Playback({prompts['part']})", "Hangup()")
    async with phone.call("690") as call:
        with pytest.raises(AssertionError, match=r"its last 0\.\d s are missing; the call ended"):
            await hear_prompt(await answered(call), prompts["file"])


async def test_a_wrong_tone_is_named_though_the_call_ends(
    phone: Phone, dialplan: Callable[..., None]
) -> None:
    dialplan("Answer()", "Playtones(900)", "Wait(2)", "Hangup()")
    async with phone.call("690") as call:
        await answered(call)
        with (
            call.open_audio(RATE) as port,
            pytest.raises(AssertionError, match=r"wanted a tone of 700 Hz, .*frequency=900"),
        ):
            await hear_tone(port, 700)


async def test_digits_that_cannot_be_events_are_named(pbx: Asterisk) -> None:
    async with (
        open_phone(pbx.account("inband"), listen=("127.0.0.1", 0), ports=PORTS) as phone,
        phone.call("602") as call,
    ):
        await answered(call)
        with pytest.raises(AssertionError, match="the digits 12 by rfc4733: telephone-event was"):
            await send_digits(call, "12")
        with pytest.raises(AssertionError, match="12 as telephone events, which were not agreed"):
            await hear_digits(call, "12")
        await send_digits(call, "12#", method="auto")
        await hear_digits(call, "12", method="auto")


async def test_the_delay_of_an_echo_is_measured(
    phone: Phone, dialplan: Callable[..., None]
) -> None:
    async with phone.call("600") as call:
        delay = await hear_echo(await answered(call), within=0.6)
        assert 0.02 < delay < 0.6
        with pytest.raises(AssertionError, match=r"the echo came after 0\.\d+ s, wanted 0.001 s"):
            await hear_echo(call, within=0.001)
    dialplan("Answer()", "Wait(20)")
    async with phone.call("690") as call:
        with pytest.raises(AssertionError, match="wanted an echo, but no packet came"):
            await hear_echo(await answered(call), within=0)
        with pytest.raises(AssertionError, match=r"wanted speech, but no packet came in 0\.1 s"):
            await hear_speech(call, within=0.1)
