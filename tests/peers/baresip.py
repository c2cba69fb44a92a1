"""baresip at the other end: another implementation, without a sound card.

It sends a tone and records what it receives, so that another implementation tests both directions.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import trio
from numpy.typing import NDArray

from spech.testing.audio import read_wav, sine, write_wav

#: Frequency of the tone that it sends, in Hz, and its level in dBFS.
TONE_FREQUENCY = 700.0
TONE_LEVEL = -18.0

_CONFIG = """
sip_listen {host}:{port}
net_interface {host}
rtp_ports {first_rtp}-{last_rtp}
call_max_calls 4
audio_player aubridge,ear
audio_source {source}
audio_alert aubridge,alert
ausrc_srate 8000
auplay_srate 8000
ausrc_channels 1
auplay_channels 1
snd_path {directory}
module_path {modules}
module g711.so
module aubridge.so
module aufile.so
module plc.so
module sndfile.so
module srtp.so
module dtls_srtp.so
module stun.so
module ice.so
module_tmp account.so
module_app menu.so
"""


class BaresipFailed(Exception):
    """It did not run, or received nothing; the message is its own output."""


def available() -> bool:
    """Whether baresip is installed."""
    return shutil.which("baresip") is not None


async def run(
    directory: Path,
    port: int,
    seconds: int,
    *,
    dial: str | None = None,
    codec: str = "PCMU",
    ptime: int = 20,
    encryption: str | None = None,
    echo: bool = False,
    nat: str | None = None,
    host: str = "127.0.0.1",
    within: Sequence[str] = (),
) -> NDArray[np.int16]:
    """Run baresip for some seconds; it calls ``dial``, or answers incoming calls.

    Args:
        directory: where its files go; one of its own for each run.
        port: of SIP; RTP takes the next twenty.
        seconds: how long it runs; then it hangs up and exits.
        dial: the SIP URI to call.
        codec: its only codec.
        ptime: the packet length in milliseconds that it requests.
        encryption: in its terms: "srtp" (if possible), "srtp-mand" or "dtls_srtp".
        echo: send back received sound, as it plays it, instead of the tone.
        nat: its NAT traversal: "ice", or None. It does not use ICE on loopback.
        host: its address.
        within: a command that runs it, such as ``ip netns exec NAME``.

    Returns:
        What it received from the first packet on, at 8000 Hz.

    Raises:
        BaresipFailed: there was no call.
    """
    write_wav(directory / "tone.wav", sine(TONE_FREQUENCY, 8000, 30, level=TONE_LEVEL), 8000)
    (directory / "accounts").write_text(
        f"<sip:baresip@{host}>;regint=0;answermode=auto;audio_codecs={codec}/8000/1;ptime={ptime}"
        + (f";mediaenc={encryption}" if encryption else "")
        + (f";medianat={nat}\n" if nat else "\n")
    )
    (directory / "config").write_text(
        _CONFIG.format(
            host=host,
            port=port,
            first_rtp=port + 2,
            last_rtp=port + 22,
            directory=directory,
            source="aubridge,ear" if echo else f"aufile,{directory}/tone.wav",
            modules=_modules(),
        )
    )
    command = [*within, "baresip", "-f", str(directory), "-t", str(seconds)]
    if dial is not None:
        command += ["-e", f"/dial {dial}"]
    result = await trio.run_process(
        command,
        stdin=subprocess.DEVNULL,
        capture_stdout=True,
        stderr=subprocess.STDOUT,
        check=False,
    )
    heard = _heard(directory)
    if result.returncode != 0 or heard is None:
        raise BaresipFailed(result.stdout.decode(errors="replace"))
    return heard


async def register(directory: Path, account: str, password: str) -> None:
    """Run baresip with an account (``sip:user@host:port``) until cancelled."""
    (directory / "accounts").write_text(f"<{account}>;auth_pass={password};regint=60\n")
    (directory / "config").write_text(
        f"sip_listen 127.0.0.1:0\nmodule_path {_modules()}\nmodule g711.so\n"
        "module_tmp account.so\nmodule_app menu.so\n"
    )
    await trio.run_process(
        ["baresip", "-f", str(directory)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )


def _heard(directory: Path) -> NDArray[np.int16] | None:
    for path in directory.glob("dump-*-dec.wav"):
        return read_wav(path)[0]
    return None


def _modules() -> Path:
    for folder in (Path("/usr/lib/baresip/modules"), Path("/usr/local/lib/baresip/modules")):
        if folder.is_dir():
            return folder
    raise BaresipFailed("its modules were not found")
