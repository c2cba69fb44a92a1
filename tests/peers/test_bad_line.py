"""Speech over a bad network: baresip and our engine get the same packets at the same times.

baresip has its default jitter buffer, and its concealment is switched on. Its decoded sound before
the player is scored; its delay is measured by an echo of what it plays. Our engine runs in virtual
time over the packets as the relay forwarded them.
"""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import trio
from numpy.typing import NDArray
from pesq import pesq

from spech import codecs
from spech.media.playout import Playout
from spech.rtp import packet as rtp
from spech.rtp.session import RtpSession
from spech.testing.relay import Network, Relay, open_relay
from spech.testing.speech import speak

from .. import ports
from . import baresip

RATE = 8000
SAMPLES = 160
TICK = 0.02
PORT = ports.reserve(24)
LINE = Network(loss=0.05, jitter=0.04)
#: From the Harvard lists (IEEE 1969), two sentences in each scored part.
PARTS = (
    "The birch canoe slid on the smooth planks. Glue the sheet to the dark blue background.",
    "It's easy to tell the depth of a well. These days a chicken leg is a rare dish.",
    "Rice is often served in round bowls. The juice of lemons makes fine punch.",
    "The box was thrown beside the parked truck. The hogs were fed chopped corn and garbage.",
)
Sound = NDArray[np.int16]

pytestmark = pytest.mark.usefixtures("baresip_installed")


def respond(request: bytes, *more: str) -> bytes:
    """A 200, written by hand."""
    lines = request.decode().split("\r\n")
    told = [line for line in lines if line.startswith(("Via:", "From:", "Call-ID:", "CSeq:"))]
    told += [line.replace(";tag=line", "") + ";tag=line" for line in lines if line[:3] == "To:"]
    return "\r\n".join(("SIP/2.0 200 OK", *told, *(more or ("Content-Length: 0", "", "")))).encode()


async def answer(sip: trio.socket.SocketType, media_port: int) -> tuple[str, int]:
    """Answer the call with PCMU, and return its media address."""
    invite, caller = await sip.recvfrom(65535)
    body = (
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
        f"m=audio {media_port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
    )
    contact = "Contact: <sip:{}:{}>".format(*sip.getsockname())
    kind = f"Content-Type: application/sdp\r\nContent-Length: {len(body)}"
    await sip.sendto(respond(invite, contact, kind, "", body), caller)
    await sip.recvfrom(65535)  # the ACK
    media = next(line for line in invite.decode().split("\r\n") if line.startswith("m=audio"))
    return "127.0.0.1", int(media.split()[1])


async def into_baresip(folder: Path, said: Sound, seed: int) -> tuple[Relay, Sound, Sound, float]:
    """The network's actions, what baresip decoded and played, and when that began."""
    encode = codecs.create("PCMU").encode
    decode = codecs.create("PCMU").decode
    heard: list[Sound] = []
    echo: list[tuple[float, Sound]] = []
    with (
        trio.socket.socket(type=trio.socket.SOCK_DGRAM) as sip,
        trio.socket.socket(type=trio.socket.SOCK_DGRAM) as media,
    ):
        await sip.bind(("127.0.0.1", 0))
        await media.bind(("127.0.0.1", 0))

        async def run() -> None:
            dial = "sip:line@{}:{}".format(*sip.getsockname())
            seconds = len(said) // RATE + 3
            heard.append(await baresip.run(folder, PORT, seconds, dial=dial, echo=True))

        async def listen() -> None:
            while True:
                datagram = await media.recv(4096)
                echo.append((trio.current_time(), decode(rtp.parse(datagram).payload)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            target = await answer(sip, media.getsockname()[1])
            async with trio.open_nursery() as call:
                call.start_soon(listen)
                async with open_relay(target, LINE, seed=seed) as relay:
                    begin = trio.current_time()
                    for number, at in enumerate(range(0, len(said), SAMPLES)):
                        await trio.sleep_until(begin + number * TICK)
                        payload = encode(said[at : at + SAMPLES])
                        datagram = rtp.build(0, number == 0, number, at, 7, payload)
                        await media.sendto(datagram, relay.address)
                    await trio.sleep(0.5)
                call.cancel_scope.cancel()
            bye, caller = await sip.recvfrom(65535)
            await sip.sendto(respond(bye), caller)
    played = np.concatenate([sound for _, sound in echo])
    return relay, heard[0], played, echo[0][0] - relay.sent[0][0]


def into_ours(relay: Relay, ticks: int) -> Sound:
    codec = codecs.create("PCMU")
    session = RtpSession(rng=random.Random(1), epoch=0.0)
    session.configure(
        clock_rate=RATE, audio_send=0, audio_receive=0, event_send=None, event_receive=None
    )
    playout = Playout(session, codec, SAMPLES)
    coming = list(relay.delivered)
    heard = []
    for tick in range(ticks):
        now = relay.sent[0][0] + (tick + 0.5) * TICK
        while coming and coming[0][0] <= now:
            arrival, datagram = coming.pop(0)
            session.receive_rtp(rtp.parse(datagram), arrival)
        heard.append(playout.next(SAMPLES, now))
    return np.concatenate(heard)


def score(said: Sound, heard: Sound, at: int, length: int) -> tuple[float, float]:
    """PESQ (ITU-T P.862) of a part, and its delay in seconds."""
    part = said[at : at + length]
    around = np.pad(heard, (0, length))[at : at + length + RATE].astype(np.float64)
    size = len(part) + len(around)
    product = np.fft.rfft(around, size) * np.conj(np.fft.rfft(part.astype(np.float64), size))
    delay = int(np.argmax(np.fft.irfft(product, size)[:RATE]))
    return pesq(RATE, part, around[delay : delay + length].astype(np.int16), "nb"), delay / RATE


async def test_speech_scores_no_worse_than_in_baresip(tmp_path: Path) -> None:
    pause = np.zeros(RATE // 2, np.int16)
    parts = [np.concatenate((pause, speak(text, RATE), pause)) for text in PARTS]
    said = np.concatenate(parts)
    said = said[: len(said) // SAMPLES * SAMPLES]
    with trio.fail_after(60):
        relay, decoded, played, begin = await into_baresip(tmp_path, said, 5)
    assert 0.03 < relay.dropped / len(relay.sent) < 0.07
    ours = into_ours(relay, len(said) // SAMPLES + 10)
    scores: dict[str, list[float]] = {"ours": [], "baresip": []}
    delays: dict[str, list[float]] = {"ours": [], "baresip": []}
    at = 0
    for part in parts:
        length = min(len(part), len(said) - at)
        for name, heard, player, later in (
            ("ours", ours, ours, TICK / 2),
            ("baresip", decoded, played, begin),
        ):
            scores[name].append(score(said, heard, at, length)[0])
            delays[name].append(score(said, player, at, length)[1] + later)
        at += len(part)
    pesqs = {name: round(float(np.mean(each)), 2) for name, each in scores.items()}
    added = {name: round(1000 * float(np.median(each))) for name, each in delays.items()}
    print(f"5 % loss, 40 ms jitter: PESQ {pesqs}, added delay in ms {added}")
    assert pesqs["ours"] >= pesqs["baresip"], (scores, added)
    assert added["ours"] <= added["baresip"]
    assert added["ours"] <= 120
