"""coturn: another implementation's STUN server."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

PORT = 3478
_START_SECONDS = 20.0


def available() -> bool:
    """Whether coturn is installed."""
    return shutil.which("turnserver") is not None


@contextmanager
def running(directory: Path, host: str, within: Sequence[str] = ()) -> Iterator[None]:
    """Serve STUN at ``host`` while the block runs.

    Args:
        directory: where its files go.
        host: its address; the port is 3478.
        within: a command that runs it, such as ``ip netns exec NAME``.

    Raises:
        RuntimeError: it did not start; the message is its own output.
    """
    # The kernel kills it if this process dies without leaving the block.
    command = [*within, "setpriv", "--pdeathsig", "KILL"]
    command += ["turnserver", "-n", "--stun-only", "-L", host, "-p", str(PORT)]
    command += ["--no-tls", "--no-dtls", "--no-cli", "--log-file", "stdout"]
    command += ["--pidfile", str(directory / "pid"), "--userdb", str(directory / "users")]
    listening = [*within, "ss", "-Hlun", "sport", "=", f":{PORT}"]
    with (
        (directory / "log").open("w+b") as log,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log) as process,
    ):
        try:
            give_up = time.monotonic() + _START_SECONDS
            while not subprocess.run(listening, capture_output=True, check=True).stdout:
                if process.poll() is not None or time.monotonic() > give_up:
                    raise RuntimeError((directory / "log").read_text(errors="replace"))
                time.sleep(0.05)
            yield
        finally:
            process.kill()
