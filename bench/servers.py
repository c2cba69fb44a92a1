"""The measured servers: Spech and Asterisk, both connected to the same WebSocket peer."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from spech.testing.asterisk import Asterisk, AsteriskUnavailable, find

_ROOT: Final = Path(__file__).parents[1]
#: Seconds in which a server must end its calls.
_FAREWELL: Final = 3.0

_DIALPLAN = """
[phones]
exten = slin,1,Dial(WebSocket/echo/c(slin)n)
exten = slin16,1,Dial(WebSocket/echo/c(slin16)n)
exten = slin48,1,Dial(WebSocket/echo/c(slin48)n)

exten = answered,1,Answer()
 same = n,Wait(60)
"""

#: The account of calls with SRTP.
SEALED: Final = "sealed"
_SEALED = f"""
[{SEALED}]
type = endpoint
context = phones
disallow = all
allow = ulaw
aors = {SEALED}
media_encryption = sdes
direct_media = no
rtp_symmetric = yes

[{SEALED}]
type = aor
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

    def number(self, pcm: str) -> str:
        """The number that is connected to the WebSocket with this kind of linear PCM."""
        return pcm if self.name == "Asterisk" else self.bridged


#: Starts a server that connects its calls to the WebSocket of a URL.
Start = Callable[[str], AbstractContextManager[Server]]
#: The environment of a build of Spech.
Build = Mapping[str, str]


# ------------------------------------------------------------------------ builds and sides


def builds() -> dict[str, Build]:
    """The builds of Spech on this machine: pure, and compiled if dist/ has a wheel of this tree."""
    found: dict[str, Build] = {"Spech": {}}
    if folder := _compiled():
        found["Spech, compiled"] = {"PYTHONPATH": folder}
    return found


def bridges() -> dict[str, Start]:
    """Everything that connects calls to WebSockets: Spech's builds, and Asterisk where it is."""
    sides: dict[str, Start] = {
        name: partial(spech, build=build) for name, build in builds().items()
    }
    with contextlib.suppress(AsteriskUnavailable):
        find()
        sides["Asterisk"] = asterisk
    return sides


@functools.cache
def _compiled() -> str:
    """The folder of an unpacked wheel of ``make wheel`` with these sources; "" without one."""
    wheel = find_wheel(_ROOT / "dist")
    if wheel is None:
        return ""
    folder = tempfile.TemporaryDirectory(prefix="spech-bench-")
    _unpacked.append(folder)
    with zipfile.ZipFile(wheel) as file:
        file.extractall(folder.name)
    return folder.name


def find_wheel(folder: Path) -> Path | None:
    """The newest compiled wheel of a folder, if its sources are those of this checkout."""
    wheels = [path for path in folder.glob("spech-*.whl") if "none-any" not in path.name]
    for wheel in sorted(wheels, key=lambda path: path.stat().st_mtime)[-1:]:
        with zipfile.ZipFile(wheel) as file:
            sources = {
                _ROOT / name: file.read(name)
                for name in file.namelist()
                if name.startswith("spech/") and name.endswith(".py")
            }
        if all(path.exists() and path.read_bytes() == text for path, text in sources.items()):
            return wheel
    return None


def in_build(build: Build, module: str, *arguments: str) -> dict[str, dict[str, float]]:
    """Run a module under a build of Spech; return the cases and values that it prints as JSON."""
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(
        command, cwd=_ROOT, env=_environment(build), stdout=subprocess.PIPE, check=True
    )
    values: dict[str, dict[str, float]] = json.loads(done.stdout)
    return values


#: Unpacked wheels, which are deleted when this program ends.
_unpacked: list[tempfile.TemporaryDirectory[str]] = []


# --------------------------------------------------------------------------------- servers


@contextmanager
def echo_peer() -> Iterator[str]:
    """The WebSocket peer; yields its URL."""
    port = free_port(socket.SOCK_STREAM)
    with program([sys.executable, "-m", "bench.echo", str(port)]) as process:
        prefer(process.pid)
        wait_for(lambda: socket.create_connection(("127.0.0.1", port)).close())
        yield f"ws://127.0.0.1:{port}/"


@contextmanager
def spech(
    url: str,
    protocol: str = "raw",
    build: Build = {},  # noqa: B006
    workers: int = 0,
) -> Iterator[Server]:
    """``spech bridge``, in one process or with workers behind one address."""
    port = free_port(socket.SOCK_DGRAM)
    command = [sys.executable, "-m", "spech", "bridge", "--listen", f"127.0.0.1:{port}"]
    command += ["--websocket", url, "--protocol", protocol]
    command += ["--codec", "PCMU,G722,G729,opus"]
    command += ["--workers", str(workers)] if workers else []
    with program(command, build) as process:
        wait_for_sip(port)
        yield Server("Spech", f"127.0.0.1:{port}", process.pid, "700", "700")


@contextmanager
def spech_answering(build: Build = {}) -> Iterator[Server]:  # noqa: B006
    """Calls that are only answered."""
    port = free_port(socket.SOCK_DGRAM)
    with program([sys.executable, "-m", "bench.programs.answer", str(port)], build) as process:
        wait_for_sip(port)
        yield Server("Spech", f"127.0.0.1:{port}", process.pid, "", "answered")


@contextmanager
def asterisk(url: str) -> Iterator[Server]:
    """Asterisk with `Dial(WebSocket/…/c(slin)n)`."""
    client = f"""
[echo]
type = websocket_client
connection_type = per_call_config
uri = {url}
protocols = media
"""
    files = {
        "websocket_client.conf": client,
        "chan_websocket.conf": "",
        "pjsip.conf": _SEALED,
        # Otherwise the cost of its log would be measured as well.
        "logger.conf": "",
    }
    with Asterisk(dialplan=_DIALPLAN, modules=_MODULES, files=files) as pbx:
        pbx.command("core set verbose 0")
        yield Server("Asterisk", pbx.domain, pbx.process_id, "slin", "answered")


def prefer(thread: int) -> None:
    """Give a far end's thread more of the processors than the measured server, if that is allowed.

    Far ends are usually on other machines, where the load of the server does not make them late.
    """
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, thread, -10)


def free_port(kind: socket.SocketKind) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def program(
    command: Sequence[str],
    environment: Mapping[str, str] = {},
    stdout: int = subprocess.DEVNULL,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program while the block runs; what does not end on a signal is killed.

    What it logs is shown if it fails.
    """
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(
            command, cwd=_ROOT, env=_environment(environment), stdout=stdout, stderr=said
        ) as process,
    ):
        try:
            yield process
        finally:
            if process.poll():
                said.seek(0)
                sys.stderr.write(said.read().decode(errors="replace"))
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_FAREWELL)
            except subprocess.TimeoutExpired:
                process.kill()


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    """The environment of a program, which finds the compiled build before the sources here."""
    return {**os.environ, "PYTHONSAFEPATH": "1", **more}


def wait_for(attempt: Callable[[], object]) -> None:
    """Repeat ``attempt`` for ten seconds, until it raises no OSError."""
    give_up = time.monotonic() + 10
    while True:
        try:
            attempt()
            return
        except OSError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.05)


def wait_for_sip(port: int) -> None:
    """Wait until it answers OPTIONS with 200."""

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
            if not asking.recv(4096).startswith(b"SIP/2.0 200"):
                raise ConnectionRefusedError("it answers, but takes no calls yet")

    wait_for(ask)
