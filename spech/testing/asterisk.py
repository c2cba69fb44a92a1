"""A private Asterisk: its own configuration, loopback only, removed afterwards.

    with Asterisk() as pbx:
        ...call sip:600@{pbx.host}:{pbx.port}...
        assert pbx.channels() == 0

It is searched on PATH first, then in the folder that `make test` fills (Debian 12 has no
Asterisk). A program in that folder runs by chroot as root, otherwise in a user namespace.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from spech.phone.account import Account
from spech.testing.certificates import self_signed
from spech.testing.network import SYSTEM_PATH, addresses
from spech.testing.waiting import wait

from . import dialplan as configuration

#: SIP ports are taken from here upwards, four for each PBX that runs at once.
FIRST_PORT = 35060
#: RTP ports of every test PBX; Asterisk itself finds free ones among them.
RTP_PORTS = (20000, 29999)

_START_SECONDS = 30.0
_STOP_SECONDS = 5.0


class AsteriskUnavailable(Exception):
    """There is no Asterisk on this machine, or it did not start; the message says why."""


def cache() -> Path:
    """The folder in which ``tools/setup.sh`` installs programs for tests."""
    if folder := os.environ.get("SPECH_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spech"


def find() -> tuple[str, Path | None]:
    """The program and the root folder it runs in, None for the machine's own.

    Raises:
        AsteriskUnavailable: there is none.
    """
    if program := shutil.which("asterisk"):
        return program, None
    root = cache() / "asterisk"
    if (root / "usr/sbin/asterisk").exists():
        return "/usr/sbin/asterisk", root
    raise AsteriskUnavailable(f"no asterisk on PATH nor in {root}; `make test` installs one")


class Asterisk:
    """One Asterisk process, running inside a ``with`` block.

    Args:
        dialplan: more lines for ``extensions.conf``, in the context ``phones`` to begin with.
        accounts: user names besides ``alice`` and ``bob``, with the same password.
        modules: names of modules to load besides the usual ones.
        files: further configuration files, or text to append to the generated ones.
        replace: configuration files in place of the generated ones. Calls of the accounts arrive in
            the context ``phones``.

    Attributes:
        host: the address it listens on, for SIP and RTP.
        port: its SIP port for UDP and TCP, valid inside the block. TLS is on the port above, and
            WebSocket two above, at the path ``/ws``.
        certificate_file: the CA file to trust its certificate with.
        domain: ``host:port``, as in a SIP URI.
    """

    def __init__(
        self,
        *,
        dialplan: str = "",
        accounts: Sequence[str] = (),
        modules: Sequence[str] = (),
        files: Mapping[str, str] | None = None,
        replace: Mapping[str, str] | None = None,
    ) -> None:
        self.host = "127.0.0.1"
        self.port = 0
        self._dialplan = dialplan
        self._accounts = accounts
        self._modules = modules
        self._files = dict(files or {})
        self._replace = dict(replace or {})
        self._password = configuration.PASSWORD
        self._console: Sequence[str] = ()
        self._exit = contextlib.ExitStack()
        self._process: subprocess.Popen[bytes] | None = None
        self._directory = Path()
        self.certificate_file = Path()

    @classmethod
    def elsewhere(
        cls,
        host: str,
        port: int,
        *,
        password: str = configuration.PASSWORD,
        console: Sequence[str] = (),
    ) -> Asterisk:
        """A PBX that is already running, on this machine or another one.

            Asterisk.elsewhere("192.0.2.7", 5060, console=["ssh", "pbx", "asterisk", "-rx"])

        Args:
            host: its address.
            port: of SIP, over UDP and TCP.
            password: of its accounts.
            console: a command that runs the command of Asterisk's console in its last argument, for
                :meth:`command` and what is built on it. Without it only SIP is available.
        """
        pbx = cls()
        pbx.host, pbx.port = host, port
        pbx._password, pbx._console = password, tuple(console)
        return pbx

    def account(self, user: str = "alice") -> Account:
        """An account of this PBX: ``alice``, ``bob``, or one of ``accounts``."""
        return Account(f"sip:{user}@{self.domain}", password=self._password)

    @property
    def managed(self) -> bool:
        """Whether it was started here, so that its folder and its log are available."""
        return self._process is not None

    @property
    def has_console(self) -> bool:
        """Whether :meth:`command` works, and with it variables and the count of channels."""
        return self.managed or bool(self._console)

    @property
    def folder(self) -> Path:
        """Its folder for configuration, spool and logs: ``folder / "voicemail"``."""
        return self._directory

    @property
    def domain(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def process_id(self) -> int:
        """The process ID, for measuring its cost. It stays the same through chroot."""
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> Asterisk:
        """Start it, and return when it accepts calls.

        Raises:
            AsteriskUnavailable: it is not installed, or it did not start.
        """
        program, root = find()
        with contextlib.ExitStack() as undo:
            self._directory = undo.enter_context(_run_directory(root))
            self.port = undo.enter_context(_reserved_port(self.host))
            inside = self._directory if root is None else _inside(self._directory, root)
            made = configuration.files(
                directory=str(inside),
                host=self.host,
                port=self.port,
                rtp=RTP_PORTS,
                dialplan=self._dialplan,
                accounts=self._accounts,
                modules=self._modules,
                extra=self._files,
                addresses=addresses(),
            )
            made |= self._replace
            certificate, key = self_signed(self.host)
            self.certificate_file = self._directory / configuration.CERTIFICATE
            self.certificate_file.write_bytes(certificate)
            (self._directory / configuration.KEY).write_bytes(key)
            for name, text in made.items():
                (self._directory / name).write_text(text)
            command = [program, "-f", "-C", f"{inside}/asterisk.conf"]
            if root is not None:
                _name_this_machine(root)
                command = [*_chroot(root), *command]
            self._process = undo.enter_context(_process(command, self._directory / "console"))
            self._await_start()
            self._exit = undo.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._exit, contextlib.suppress(OSError):
            self.command("core stop now")

    def command(self, text: str) -> str:
        """Run a command of its console and return what it prints. Takes about a millisecond.

        Uses Asterisk's control socket, as ``asterisk -rx`` does, or the ``console`` of a PBX that
        runs elsewhere.

        Raises:
            OSError: it is not running, or has no console.
        """
        if self._console:
            return _run_console([*self._console, text])
        if not self.managed:
            raise OSError("this PBX runs elsewhere, and no console was given")
        # Use a descriptor of the folder, because a socket's path is limited to 107 bytes.
        folder = os.open(self._directory, os.O_PATH | os.O_DIRECTORY)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as control:
                control.settimeout(_START_SECONDS)
                control.connect(f"/proc/self/fd/{folder}/asterisk.ctl")
                control.sendall(b"cli quit after " + text.encode() + b"\0")
                said = bytearray()
                while part := control.recv(65536):
                    said += part
        finally:
            os.close(folder)
        # The first line is a greeting, and markers of the log level are mixed with the text.
        lines = re.sub(rb"[\0-\x08]", b"", bytes(said)).decode(errors="replace")
        return lines.partition("\n")[2].replace("\r", "")

    def share(self, name: str, content: bytes | Path) -> str:
        """Copy a file or a folder to where it can read it, and return the path as it sees it.

        Args:
            name: its name there, in the folder of the configuration.
            content: of the file, or the folder to copy.
        """
        assert self.managed, "a PBX that runs elsewhere does not see our files"
        if isinstance(content, Path):
            shutil.copytree(content, self._directory / name, dirs_exist_ok=True)
        else:
            (self._directory / name).write_bytes(content)
        _, root = find()
        inside = self._directory if root is None else _inside(self._directory, root)
        return str(inside / name)

    def channels(self) -> int:
        """How many channels are up, by ``core show channels count``."""
        found = re.search(r"(\d+) active channel", self.command("core show channels count"))
        assert found is not None
        return int(found[1])

    def await_channels(self, count: int) -> None:
        """Wait until this many channels are up; a channel lasts a little longer than its call.

        Raises:
            TimeoutError: it was another number for ten seconds; the message lists the channels.
        """
        try:
            wait(lambda: self.channels() == count)
        except TimeoutError:
            raise TimeoutError(self.command("core show channels")) from None

    def variable(self, name: str) -> str:
        """The value of a global variable of the dialplan, "" if it is not set."""
        said = self.command("dialplan show globals")
        found = re.search(rf"^\s*{re.escape(name)}=(.*)$", said, re.MULTILINE)
        return found[1] if found else ""

    def originate(self, account: str, application: str) -> None:
        """Have Asterisk call a registered account and run ``application`` when it is answered."""
        self.command(f"channel originate PJSIP/{account} application {application}")

    @property
    def log(self) -> str:
        """Its log so far, which includes SIP messages after ``pjsip set logger on``.

        A thread of Asterisk writes it, shortly after the event.
        """
        return (self._directory / "log").read_text(errors="replace")

    def _await_start(self) -> None:
        assert self._process is not None
        give_up = time.monotonic() + _START_SECONDS
        while time.monotonic() < give_up and self._process.poll() is None:
            with contextlib.suppress(OSError):
                if "fully booted" in self.command("core waitfullybooted"):
                    return
            time.sleep(0.02)
        console = (self._directory / "console").read_text(errors="replace")
        raise AsteriskUnavailable(f"Asterisk did not come up:\n{console[-2000:]}")


def _run_console(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, timeout=_START_SECONDS, check=False)
    if done.returncode:
        raise OSError(f"{command[0]} failed: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout.decode(errors="replace").replace("\r", "")


@contextlib.contextmanager
def _run_directory(root: Path | None) -> Iterator[Path]:
    parent = None
    if root is not None:
        parent = root / "run/spech"
    with tempfile.TemporaryDirectory(prefix="asterisk-", dir=parent) as name:
        yield Path(name)


def _inside(path: Path, root: Path) -> Path:
    return Path("/") / path.relative_to(root)


@contextlib.contextmanager
def _reserved_port(host: str) -> Iterator[int]:
    """A port that is free for UDP and TCP, with the two above it free for TCP.

    UDP on the port above it stays bound while the port is in use, which reserves the port among
    processes. The reservation ends with the process.
    """
    for port in range(FIRST_PORT, FIRST_PORT + 800, 4):
        with contextlib.ExitStack() as sockets:
            try:
                mark = sockets.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                mark.bind((host, port + 1))
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                    probe.bind((host, port))
                for above in range(3):
                    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
                        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                        probe.bind((host, port + above))
            except OSError:
                continue
            yield port
            return
    raise AsteriskUnavailable(f"no free SIP port from {FIRST_PORT} upwards")


def _name_this_machine(root: Path) -> None:
    """Make this machine's host name resolve; otherwise Asterisk's lookup stalls for seconds."""
    hosts = root / "etc/hosts"
    line = f"127.0.0.1 localhost {socket.gethostname()}\n"
    if hosts.exists() and line in hosts.read_text():
        return
    with contextlib.suppress(PermissionError):  # Without it Asterisk may stall.
        new = hosts.with_name(f"hosts.{os.getpid()}")
        new.write_text(line)
        new.replace(hosts)


def _chroot(root: Path) -> list[str]:
    if os.geteuid() == 0:
        return ["chroot", str(root)]
    return ["unshare", "--map-root-user", "chroot", str(root)]


@contextlib.contextmanager
def _process(command: list[str], console: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program in a new process group until the block or this process ends."""
    # The kernel kills it if this process dies without leaving the block.
    watched = ["setpriv", "--pdeathsig", "KILL", *command]
    environment = {**os.environ, "PATH": SYSTEM_PATH}
    with (
        console.open("wb") as output,
        subprocess.Popen(
            watched,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=environment,
        ) as process,
    ):
        try:
            yield process
        finally:
            try:
                process.wait(_STOP_SECONDS if process.returncode is None else 0)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
