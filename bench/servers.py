"""The measured servers: `spech bridge` and Asterisk, both connected to the same WebSocket peer."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from spech.testing.asterisk import Asterisk

#: CPUCLOCK_SCHED, the precise clock.
_PROCESS_CLOCK = 2

_DIALPLAN = """
[phones]
exten = 700,1,Dial(WebSocket/echo/c(slin)n)

exten = 701,1,Answer()
 same = n,Wait(60)
"""

_MODULES = ("res_http_websocket", "res_websocket_client", "chan_websocket")


@dataclass(frozen=True)
class Server:
    """A server that is ready for calls.

    ``bridged`` is the number that is connected to the WebSocket, ``answered`` one that is only
    answered, both at ``address`` (``host:port``).
    """

    name: str
    address: str
    process: int
    bridged: str
    answered: str

    def cpu(self) -> float:
        """Seconds of CPU that its process has used so far, all threads, user and system.

        From the process's CPU clock (clock_getcpuclockid(3)). /proc/PID/stat counts by samples at
        the timer's ticks, and calls that begin at a timer's ticks are counted too often.
        """
        return time.clock_gettime((~self.process << 3) | _PROCESS_CLOCK)


@contextmanager
def echo_peer() -> Iterator[int]:
    """The WebSocket peer; yields its port."""
    port = _free_port(socket.SOCK_STREAM)
    with _process([sys.executable, str(Path(__file__).with_name("echo.py")), str(port)]):
        _wait_for(lambda: socket.create_connection(("127.0.0.1", port)).close())
        yield port


@contextmanager
def spech(echo_port: int) -> Iterator[Server]:
    """``spech bridge``, and a program of five lines on the library that only answers."""
    port = _free_port(socket.SOCK_DGRAM)
    command = [sys.executable, "-m", "spech", "bridge", "--listen", f"127.0.0.1:{port}"]
    command += ["--websocket", f"ws://127.0.0.1:{echo_port}/"]
    with _process(command) as process:
        _wait_for_sip(port)
        yield Server("spech bridge", f"127.0.0.1:{port}", process.pid, "700", "700")


@contextmanager
def spech_answering() -> Iterator[Server]:
    """Calls that are only answered."""
    port = _free_port(socket.SOCK_DGRAM)
    program = Path(__file__).with_name("answer.py")
    with _process([sys.executable, str(program), str(port)]) as process:
        _wait_for_sip(port)
        yield Server("Spech, answering", f"127.0.0.1:{port}", process.pid, "", "701")


@contextmanager
def asterisk(echo_port: int) -> Iterator[Server]:
    """Asterisk with `Dial(WebSocket/…/c(slin)n)`."""
    client = f"""
[echo]
type = websocket_client
connection_type = per_call_config
uri = ws://127.0.0.1:{echo_port}/
protocols = media
"""
    files = {
        "websocket_client.conf": client,
        "chan_websocket.conf": "",
        # Otherwise the cost of its log would be measured as well.
        "logger.conf": "",
    }
    with Asterisk(dialplan=_DIALPLAN, modules=_MODULES, files=files) as pbx:
        pbx.command("core set verbose 0")
        yield Server("Asterisk", pbx.domain, pbx.process_id, "700", "701")


def _free_port(kind: socket.SocketKind) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _process(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)


def _wait_for(attempt: object) -> None:
    assert callable(attempt)
    give_up = time.monotonic() + 10
    while True:
        try:
            attempt()
            return
        except OSError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.05)


def _wait_for_sip(port: int) -> None:
    """Wait until it answers OPTIONS."""

    def ask() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.settimeout(0.2)
            asking.connect(("127.0.0.1", port))
            own = asking.getsockname()[1]
            asking.send(
                f"OPTIONS sip:127.0.0.1:{port} SIP/2.0\r\n"
                f"Via: SIP/2.0/UDP 127.0.0.1:{own};branch=z9hG4bK{own}\r\n"
                f"From: <sip:bench@127.0.0.1>;tag=1\r\nTo: <sip:127.0.0.1:{port}>\r\n"
                f"Call-ID: ready{own}\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\n"
                "Content-Length: 0\r\n\r\n".encode()
            )
            asking.recv(4096)

    _wait_for(ask)
