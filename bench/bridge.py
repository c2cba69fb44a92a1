"""The cost of a call: `spech bridge` compared with Asterisk's `Dial(WebSocket/…)`, in one run.

    python bench/bridge.py [--calls 50] [--seconds 15] [--rounds 2]

SIPp calls both with PCMU, both carry it as 16-bit PCM to and from the same WebSocket peer, which
sends it back. It measures the server's process CPU time, the CPU time of
setting calls up and tearing them down, and how evenly RTP is sent. Only ratios of one run are
comparable.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import select
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import servers
from servers import Server

from spech import codecs
from spech.audio.tones import tone
from tests.peers import sipp

#: Calls begun per second while a load is built up, and seconds until it has settled.
_RAMP = 25
_SETTLE = 2.0
_SO_TIMESTAMPNS = 35
_CLOCK_RATE = 8000


def media_cost(server: Server, calls: int, seconds: float) -> float:
    """Milliseconds of CPU per second and call while ``calls`` calls are up."""
    up = calls / _RAMP + _SETTLE
    scenario = sipp.caller(seconds=up + seconds + 3)
    with _sipp(scenario, server.address, server.bridged, calls, calls, _RAMP) as caller:
        time.sleep(up)
        before, began = server.cpu(), time.monotonic()
        time.sleep(seconds)
        used, passed = server.cpu() - before, time.monotonic() - began
        _finish(caller)
    return used / passed / calls * 1000


def call_cost(server: Server, number: str, calls: int) -> float:
    """Milliseconds of CPU for setting a call up and tearing it down at once, without media."""
    scenario = sipp.caller(seconds=0, tone=False)
    before = server.cpu()
    with _sipp(scenario, server.address, number, calls, 50, 40) as caller:
        _finish(caller)
    # On a busy machine work follows the BYE.
    time.sleep(1)
    return (server.cpu() - before) / calls * 1000


def pacing(server: Server, calls: int, seconds: float) -> tuple[float, float]:
    """How far RTP is from its 20 ms grid with ``calls`` calls up: p99 and worst, in ms."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
        sink.bind(("127.0.0.1", 0))
        sink.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        sink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        up = calls / _RAMP + _SETTLE
        scenario = sipp.caller(seconds=up + seconds + 3, tone=False)
        # All calls send RTP here, distinguished by SSRC; it is sent back to its source.
        scenario = scenario.replace("[media_port]", str(sink.getsockname()[1]))
        with _sipp(scenario, server.address, server.bridged, calls, calls, _RAMP) as caller:
            _reflect(sink, up)
            lateness = _reflect(sink, seconds)
            _finish(caller)
    deviations = []
    for stream in lateness.values():
        middle = statistics.median(stream)
        deviations += [abs(offset - middle) * 1000 for offset in stream]
    if len(lateness) < calls:
        raise SystemExit(f"{server.name}: only {len(lateness)} of {calls} calls sent sound")
    deviations.sort()
    return deviations[int(len(deviations) * 0.99)], deviations[-1]


def _reflect(sink: socket.socket, seconds: float) -> dict[int, list[float]]:
    """Send RTP back for a while; by SSRC, the delay of each packet by its own timestamp (s)."""
    lateness: dict[int, list[float]] = defaultdict(list)
    clocks: dict[int, int] = {}
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        if not select.select([sink], [], [], left)[0]:
            break
        data, ancillary, _, source = sink.recvmsg(2048, socket.CMSG_SPACE(16))
        _, _, _, timestamp, ssrc = struct.unpack_from("!BBHII", data)
        whole, nanoseconds = struct.unpack("@ll", ancillary[0][2])
        # The timestamp has 32 bits; the clock does not wrap.
        before = clocks.get(ssrc, timestamp)
        clock = before + ((timestamp - before + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)
        clocks[ssrc] = clock
        lateness[ssrc].append(whole % 100_000 + nanoseconds * 1e-9 - clock / _CLOCK_RATE)
        with contextlib.suppress(OSError):
            sink.sendto(data, source)
    return lateness


@contextmanager
def _sipp(
    scenario: str, target: str, number: str, calls: int, at_once: int, rate: int
) -> Iterator[subprocess.Popen[bytes]]:
    with tempfile.TemporaryDirectory(prefix="spech-bench-") as directory:
        Path(directory, "scenario.xml").write_text(scenario)
        Path(directory, "tone.ul").write_bytes(
            codecs.create("PCMU").encode(tone((850,), 1.0, 8000))
        )
        command = ["sipp", target, "-sf", "scenario.xml", "-nostdin", "-i", "127.0.0.1"]
        command += ["-mi", "127.0.0.1", "-p", "0", "-s", number, "-m", str(calls)]
        command += ["-l", str(at_once), "-r", str(rate), "-timeout", "90", "-timeout_error"]
        # The first RTP port, below the range that kernels assign from.
        command += ["-mp", "30000"]
        with subprocess.Popen(
            command, cwd=directory, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        ) as process:
            try:
                yield process
            finally:
                process.kill()


def _finish(caller: subprocess.Popen[bytes]) -> None:
    _, said = caller.communicate(timeout=150)
    if caller.returncode != 0:
        raise SystemExit(f"SIPp: calls failed\n{said.decode(errors='replace')[-2000:]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=50, help="calls at once (50)")
    parser.add_argument("--seconds", type=float, default=15.0, help="length of a measurement (15)")
    parser.add_argument("--rounds", type=int, default=2, help="measurements of each (2)")
    parser.add_argument("--set-ups", type=int, default=400, help="calls set up and torn down (400)")
    parser.add_argument("--only", choices=("spech", "asterisk"), help="one side alone")
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    results: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with servers.echo_peer() as echo:
        for _ in range(options.rounds):
            sides = {"spech": servers.spech, "asterisk": servers.asterisk}
            for side, start in sides.items():
                if options.only in (None, side):
                    with start(echo) as server:
                        _measure(server, options, results)
            if options.only in (None, "spech"):
                with servers.spech_answering() as server:
                    cost = call_cost(server, server.answered, options.set_ups)
                    results["call, answered only (ms)"]["Spech"].append(cost)
    for what, sides_measured in results.items():
        print(f"\n{what}")
        for side, values in sides_measured.items():
            shown = ", ".join(f"{value:.2f}" for value in values)
            print(f"  {side:10} {statistics.median(values):7.2f}   ({shown})")
        if len(sides_measured) == 2:
            ours, theirs = (statistics.median(sides_measured[s]) for s in ("Spech", "Asterisk"))
            print(f"  {'ratio':10} {ours / theirs:7.2f}")


def _measure(
    server: Server,
    options: argparse.Namespace,
    results: dict[str, dict[str, list[float]]],
) -> None:
    side = "Asterisk" if server.name == "Asterisk" else "Spech"
    calls, seconds = options.calls, options.seconds
    print(f"measuring {server.name}", file=sys.stderr)
    cost = media_cost(server, calls, seconds)
    results["CPU per second and call, PCMU <-> PCM WebSocket (ms)"][side].append(cost)
    if side == "Spech":
        # Asterisk sends nothing before it receives something, and the sink does not know where to.
        p99, worst = pacing(server, calls, seconds)
        results["RTP off its 20 ms grid, 99th percentile (ms)"][side].append(p99)
        results["RTP off its 20 ms grid, worst (ms)"][side].append(worst)
    cost = call_cost(server, server.bridged, options.set_ups)
    results["call set up and torn down, with WebSocket (ms)"][side].append(cost)
    if side == "Asterisk":
        cost = call_cost(server, server.answered, options.set_ups)
        results["call, answered only (ms)"][side].append(cost)


if __name__ == "__main__":
    main()
