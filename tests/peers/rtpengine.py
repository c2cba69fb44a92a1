"""rtpengine at the other end of the media: a relay that changes the encryption between two legs.

It runs in user space, on loopback. A proxy controls it (see kamailio.py).
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_START_SECONDS = 20.0
#: Number of ports for media: enough for a few calls.
MEDIA_PORTS = 64


def available() -> bool:
    """Whether rtpengine is installed."""
    return shutil.which("rtpengine") is not None


@contextmanager
def running(
    directory: Path, port: int, media_ports: int, host: str = "127.0.0.1"
) -> Iterator[None]:
    """Relay media at ``host`` while the block runs; the control protocol (ng) is at UDP ``port``.

    Args:
        directory: where its log goes.
        port: UDP port of the control protocol.
        media_ports: the first of 64 ports for media.
        host: its address.

    Raises:
        RuntimeError: it did not start; the message is its own output.
    """
    # The kernel kills it if this process dies without leaving the block.
    command = ["setpriv", "--pdeathsig", "KILL"]
    command += ["rtpengine", "--config-file=none", "--table=-1", "--foreground", "--log-stderr"]
    command += [f"--interface={host}", f"--listen-ng={host}:{port}", "--num-threads=2"]
    command += [f"--port-min={media_ports}", f"--port-max={media_ports + MEDIA_PORTS - 1}"]
    log = directory / "rtpengine.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        ) as process,
    ):
        try:
            _await_start(process, host, port, log)
            yield
        finally:
            process.kill()


def _await_start(process: subprocess.Popen[bytes], host: str, port: int, log: Path) -> None:
    """Ping it until it responds."""
    give_up = time.monotonic() + _START_SECONDS
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        control.connect((host, port))
        control.settimeout(0.1)
        while time.monotonic() < give_up and process.poll() is None:
            try:
                control.send(b"1 d7:command4:pinge")
                control.recv(1000)
            except OSError:  # Nobody listens yet.
                time.sleep(0.05)
            else:
                return
    raise RuntimeError(f"rtpengine did not start:\n{log.read_text(errors='replace')[-2000:]}")
