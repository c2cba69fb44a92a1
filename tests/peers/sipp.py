"""SIPp at the other end: a caller that plays a tone, a callee that echoes, many of them at once.

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, caller(seconds=2), tmp_path, 33900, f"127.0.0.1:{port}")
        ...answer the call...

SIPp checks the other side's messages against its scenario; an unexpected one fails the run.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import trio

from spech.testing.audio import sine

#: Frequency of the tone that the caller plays, in Hz, and its level in dBFS.
TONE_FREQUENCY = 850.0
TONE_LEVEL = -18.0

_SECONDS = 30


class SippFailed(Exception):
    """A call did not follow its scenario; the message is SIPp's own output."""


def available() -> bool:
    """Whether SIPp is installed."""
    return shutil.which("sipp") is not None


_FROM_CALLER = """Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: <sip:guest@[local_ip]:[local_port]>;tag=[pid]c[call_number]
To: <sip:[service]@[remote_ip]:[remote_port]>{tag}
Call-ID: [call_id]
CSeq: {number} {method}
Max-Forwards: 70
Contact: <sip:guest@[local_ip]:[local_port]>"""

_SDP = """v=0
o=guest 1 1 IN IP4 [local_ip]
s=-
c=IN IP4 [media_ip]
t=0 0
m=audio {port} RTP/AVP 0 101
a=rtpmap:0 PCMU/8000
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-15
a=ptime:20
"""


def caller(*, seconds: float, tone: bool = True, remote_ends: bool = False) -> str:
    """A scenario: call, play :data:`TONE_FREQUENCY` for ``seconds``, hang up.

    With ``remote_ends`` it waits for the other side's BYE instead of sending its own.
    """
    port = "[rtpstream_audio_port]" if tone else "[media_port]"
    play = '<nop><action><exec rtp_stream="tone.ul,-1,0,PCMU/8000"/></action></nop>' if tone else ""
    if remote_ends:
        end = _receive("BYE") + _send(
            "SIP/2.0 200 OK\n[last_Via:]\n[last_From:]\n[last_To:]\n[last_Call-ID:]\n[last_CSeq:]"
        )
    else:
        end = (
            f'<pause milliseconds="{int(seconds * 1000)}"/>'
            + _send(_request("BYE", 2), retransmit=True)
            + '<recv response="200"/>'
        )
    return _scenario(
        _send(_request("INVITE", 1), _SDP.format(port=port), retransmit=True)
        + '<recv response="100" optional="true"/>'
        + '<recv response="180" optional="true"/>'
        + '<recv response="183" optional="true"/>'
        + '<recv response="200" rrs="true" rtd="true"/>'
        + _send(_request("ACK", 1))
        + play
        + end
    )


def callee(*, status: int = 200, ring_seconds: float = 0.1) -> str:
    """A scenario: ring, answer with ``status``; after a 200, echo until the caller's BYE."""
    head = "[last_Via:]\n[last_From:]\n[last_To:];tag=[pid]s[call_number]\n[last_Call-ID:]\n"
    head += "[last_CSeq:]\nContact: <sip:[local_ip]:[local_port]>"
    body = (
        '<recv request="INVITE"/>'
        + _send(f"SIP/2.0 180 Ringing\n{head}")
        + f'<pause milliseconds="{int(ring_seconds * 1000)}"/>'
    )
    if status != 200:
        return _scenario(
            body
            + _send(f"SIP/2.0 {status} Refused\n{head}", retransmit=True)
            + '<recv request="ACK"/>'
        )
    return _scenario(
        body
        + _send(f"SIP/2.0 200 OK\n{head}", _SDP.format(port="[media_port]"), retransmit=True)
        + '<recv request="ACK"/>'
        + '<recv request="BYE"/>'
        + _send(
            "SIP/2.0 200 OK\n[last_Via:]\n[last_From:]\n[last_To:]\n[last_Call-ID:]\n[last_CSeq:]"
        )
    )


async def run(
    scenario: str,
    directory: Path,
    port: int,
    target: str | None = None,
    *,
    service: str = "spech",
    calls: int = 1,
    rate: int = 10,
) -> None:
    """Run a scenario to its end. Cancellation kills SIPp.

    Args:
        directory: where its files go; one of its own for each run.
        port: of SIP; RTP goes to ``port + 2``. Both on 127.0.0.1.
        target: ``host:port`` to call, or None to wait for calls.
        service: user part of the called address.
        calls: how many calls in total; as many may be up at once.
        rate: new calls per second.

    Raises:
        SippFailed: at least one call did not follow the scenario.
    """
    (directory / "scenario.xml").write_text(scenario)
    (directory / "tone.ul").write_bytes(_mu_law_tone())
    command = ["sipp", "-sf", "scenario.xml", "-nostdin", "-i", "127.0.0.1", "-mi", "127.0.0.1"]
    command += ["-p", str(port), "-mp", str(port + 2), "-s", service, "-m", str(calls)]
    command += ["-l", str(calls), "-r", str(rate), "-timeout", str(_SECONDS), "-timeout_error"]
    command += [target] if target else ["-rtp_echo"]
    result = await trio.run_process(
        command,
        stdin=subprocess.DEVNULL,
        capture_stdout=True,
        capture_stderr=True,
        check=False,
        cwd=directory,
    )
    if result.returncode != 0:
        raise SippFailed(result.stderr.decode(errors="replace"))


def _scenario(steps: str) -> str:
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<scenario name="spech">{steps}</scenario>\n'


def _request(method: str, number: int) -> str:
    target = "sip:[service]@[remote_ip]:[remote_port]" if method == "INVITE" else "[next_url]"
    tag = "" if method == "INVITE" else "[peer_tag_param]"
    head = _FROM_CALLER.format(tag=tag, number=number, method=method)
    return f"{method} {target} SIP/2.0\n{head}"


def _receive(method: str) -> str:
    return f'<recv request="{method}"/>'


def _send(head: str, body: str = "", *, retransmit: bool = False) -> str:
    if body:
        head += "\nContent-Type: application/sdp"
    again = ' retrans="500"' if retransmit else ""
    return f"<send{again}><![CDATA[\n{head}\nContent-Length: [len]\n\n{body}]]></send>"


def _mu_law_tone() -> bytes:
    """A second of the tone, by G.711's own formula rather than by Spech's tables."""
    pcm = sine(TONE_FREQUENCY, 8000, 1, level=TONE_LEVEL).astype(np.int32)
    magnitude = np.minimum(np.abs(pcm) + 132, 32767)
    exponent = np.floor(np.log2(magnitude)).astype(np.int32) - 7
    mantissa = (magnitude >> (exponent + 3)) & 0x0F
    sign = np.where(pcm < 0, 0x80, 0)
    code: bytes = (~(sign | (exponent << 4) | mantissa) & 0xFF).astype(np.uint8).tobytes()
    return code
