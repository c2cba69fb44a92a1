"""A call through Asterisk in each codec that it supports."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trio
from pesq import pesq

from spech import Account, Phone, PortRange, codecs, open_phone
from spech.testing.asterisk import Asterisk
from spech.testing.audio import assert_tone, read_wav, write_wav
from spech.testing.speech import SENTENCES, intelligibility, speak
from spech.testing.talk import listen, talk

RATE = 16000

#: Codecs that Asterisk encodes and decodes itself, and those that it only passes through.
CODED = ["PCMU", "PCMA", "G722", "opus", "GSM", "speex/8000", "speex/16000", "speex/32000"]
LINEAR = ["L16/8000", "L16/16000", "L16/24000", "L16/32000", "L16/44100", "L16/48000"]
CARRIED = ["G729", "iLBC/20", "iLBC/30"]
#: Three seconds of recorded speech from Debian's pocketsphinx-testdata.
RECORDING = Path(
    "/usr/share/pocketsphinx/test/data/librivox/sense_and_sensibility_01_austen_64kb-0880.wav"
)
#: Its PESQ when we encode it, less 0.15, as in `tests/codecs/test_pesq.py`; of all others that of
#: G.711.
LEAST = {"G722": 4.04, "opus": 4.09, "GSM": 3.52, "speex/8000": 3.79}
LEAST |= dict.fromkeys(("speex/16000", "speex/32000"), 3.74)
G711 = 4.33


def need(name: str) -> None:
    info = next(info for info in codecs.describe() if info.name == name)
    if not info.available:
        pytest.skip(f"{info.package} is not installed")


@pytest.mark.parametrize("name", CODED + LINEAR + CARRIED)
async def test_speech_returns_from_the_echo_and_a_tone_is_heard(
    account: Account, ports: PortRange, name: str
) -> None:
    """The echo sends our own payloads back; Asterisk encodes the tone itself."""
    need(name)
    said = speak(SENTENCES, RATE)[: 2 * RATE]

    async def echo(phone: Phone) -> None:
        async with phone.call("600", codecs=[name]) as call:
            await call.answered(timeout=5)
            assert call.codec == name
            with call.open_audio(RATE) as port:
                heard = await talk(port, said, 2.8)
            # In 2.8 seconds; Asterisk has iLBC with 30 ms.
            assert call.statistics.received > (80 if name.startswith("iLBC") else 100)
            assert call.statistics.dropped_invalid == 0
        assert intelligibility(said, heard, RATE) > 0.85

    async def tone(phone: Phone) -> None:
        async with phone.call("601", codecs=[name]) as call:
            await call.answered(timeout=5)
            with call.open_audio(RATE) as port:
                heard = await listen(port, 1.2)
        assert_tone(heard[-RATE // 2 :], RATE, 1004, tolerance=2, purity=0.8)

    async with (
        open_phone(account, listen=("127.0.0.1", 0), ports=ports) as phone,
        trio.open_nursery() as nursery,
    ):
        await phone.registered(timeout=5)
        nursery.start_soon(echo, phone)
        if name not in CARRIED:
            nursery.start_soon(tone, phone)


async def test_speech_encoded_by_asterisk_is_decoded(
    asterisk: Asterisk, account: Account, ports: PortRange, tmp_path: Path
) -> None:
    """A sound file at 16 kHz in each codec, brought to the codec's rate by Asterisk."""
    if not asterisk.managed:
        pytest.skip("a remote PBX cannot read our files")
    said, _ = read_wav(RECORDING)
    # The wait of the jitter buffer is set right in the silence, after its first fifty packets.
    silence = np.zeros(2 * RATE, np.int16)
    write_wav(tmp_path / "speech", np.concatenate((silence, said)), RATE)
    path = asterisk.share("speech.wav16", (tmp_path / "speech").read_bytes())
    asterisk.command(f"dialplan set global speech {path.removesuffix('.wav16')}")
    sounds = {}
    at_once = trio.CapacityLimiter(5)

    async def hear(phone: Phone, name: str) -> None:
        async with at_once, phone.call("609", codecs=[name]) as call:
            await call.answered(timeout=5)
            with call.open_audio(RATE) as port:
                heard = await listen(port, (len(silence) + len(said)) / RATE + 0.5)
        assert call.statistics.dropped_invalid == 0
        # Judged after the calls, because it takes longer than the others' sound can wait.
        sounds[name] = heard[len(silence) :]

    async with (
        open_phone(account, listen=("127.0.0.1", 0), ports=ports) as phone,
        trio.open_nursery() as nursery,
    ):
        await phone.registered(timeout=5)
        for name in set(CODED + LINEAR) & set(codecs.names()):
            nursery.start_soon(hear, phone, name)
    scores = {}
    for name, heard in sounds.items():
        band = "wb" if codecs.create(name).rate > 8000 else "nb"
        scores[name] = pesq(RATE, said, heard, band)
    poor = {name: score for name, score in scores.items() if score < LEAST.get(name, G711)}
    assert not poor, f"of {scores}"


@pytest.mark.parametrize(("before", "after", "theirs"), [("PCMU", "G722", "g722")])
async def test_a_reinvite_changes_the_codec(
    asterisk: Asterisk, account: Account, ports: PortRange, before: str, after: str, theirs: str
) -> None:
    """By a re-INVITE: the tone goes on, at twice the sampling rate."""
    if not asterisk.managed:
        pytest.skip("the dialplan of a remote PBX cannot be changed")
    asterisk.command(f"dialplan set global codec {theirs}")
    async with open_phone(account, listen=("127.0.0.1", 0), ports=ports) as phone:
        await phone.registered(timeout=5)
        async with phone.call("610", codecs=[before, after]) as call:
            await call.answered(timeout=5)
            with call.open_audio(RATE) as port:
                for codec in (before, after):
                    with trio.fail_after(5):
                        while call.codec != codec:
                            await call.changed()
                    heard = await listen(port, 1.2)
                    assert call.codec == codec
                    assert_tone(heard[-RATE // 2 :], RATE, 440, tolerance=2)
            assert call.statistics.lost == 0
