"""linphone at the other end, without a sound card: it sends a tone and records what it receives."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import partial
from pathlib import Path

import numpy as np
import trio
from numpy.typing import NDArray

from spech.testing.audio import read_wav, sine, write_wav

#: Frequency of the tone that it sends, in Hz, and its level in dBFS.
TONE_FREQUENCY = 500.0
TONE_LEVEL = -18.0

_CONFIG = """
[sip]
sip_port={port}
sip_tcp_port=0
contact="linphone" <sip:linphone@127.0.0.1>
media_encryption={encryption}
[rtp]
audio_rtp_port={rtp}
[sound]
echocancellation=0
[video]
enabled=0
"""


def available() -> bool:
    """Whether linphone's console program is installed."""
    return shutil.which("linphonec") is not None


async def run(
    directory: Path,
    port: int,
    seconds: float,
    *,
    dial: str | None = None,
    encryption: str = "none",
) -> NDArray[np.int16]:
    """Run linphone for some seconds; it calls ``dial``, or answers incoming calls.

    Args:
        directory: where its files go; one of its own for each run.
        port: of SIP; RTP takes the next but one.
        seconds: how long it runs; then it hangs up and exits.
        dial: the SIP URI to call.
        encryption: in its terms: "none", "srtp" or "dtls".

    Returns:
        What it received, at 8000 Hz.
    """
    (directory / ".local/share/linphone").mkdir(parents=True)
    write_wav(directory / "tone.wav", sine(TONE_FREQUENCY, 8000, 60, level=TONE_LEVEL), 8000)
    config = _CONFIG.format(port=port, rtp=port + 2, encryption=encryption)
    (directory / "config").write_text(config)
    commands = ["soundcard use files", f"play {directory}/tone.wav"]
    commands += [f"record {directory}/heard.wav", "autoanswer enable"]
    commands += [f"call {dial}"] if dial is not None else []
    async with trio.open_nursery() as nursery:
        process = await nursery.start(
            partial(
                trio.run_process,
                ["linphonec", "-c", directory / "config"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "HOME": str(directory)},
                check=False,
            )
        )
        for command in commands:
            await process.stdin.send_all(command.encode() + b"\n")
        await trio.sleep(seconds)
        await process.stdin.send_all(b"terminate\nquit\n")
        with trio.move_on_after(10):
            await process.wait()
        nursery.cancel_scope.cancel()
    return read_wav(directory / "heard.wav")[0]
