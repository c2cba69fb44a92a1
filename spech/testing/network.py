"""Private networks with a real NAT between them, in network namespaces of the kernel.

    with nat() as networks:
        networks.run("inside", place_a_call)    # a Trio program at 10.77.0.2

Hosts: ``inside`` (10.77.0.2) behind a router whose outer address is 203.0.113.1, and ``outside``
(203.0.113.2 and .3). The router translates addresses and ports as Linux does, and admits only
replies to outgoing packets. Needs root, ``ip`` and ``nft``. The networks are removed when the block
ends; those of a killed process are removed when the next process creates its own.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import trio

INSIDE = "10.77.0.2"
ROUTER = "203.0.113.1"
OUTSIDE = "203.0.113.2"
OTHER = "203.0.113.3"

_NEW_NETWORK = 0x40000000  # CLONE_NEWNET
_NAMESPACES = Path("/run/netns")
_OURS = re.compile(r"spech-([0-9]+)-(?:inside|router|outside)")

#: Where system programs are searched; not every PATH contains these folders.
SYSTEM_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"

#: ``fully-random`` gives each flow another port: the NAT is symmetric then.
_RULES = """
table ip nat {{
    chain after {{
        type nat hook postrouting priority 100
        oifname "outer" masquerade {mapping}
    }}
}}
table ip filter {{
    chain forward {{
        type filter hook forward priority 0; policy accept
        iifname "outer" ct state new drop
    }}
    chain input {{
        type filter hook input priority 0; policy accept
        iifname "outer" ct state new drop
    }}
}}
"""


class NetworkUnavailable(Exception):
    """This machine or user cannot create networks; the message says why."""


def why_not() -> str | None:
    """What is missing to create private networks; None if nothing is missing."""
    for program in ("ip", "nft"):
        if shutil.which(program, path=SYSTEM_PATH) is None:
            return f"{program} is not installed"
    return None if os.geteuid() == 0 else "only root can create networks"


def addresses() -> list[str]:
    """The IPv4 addresses of this machine; none if ``ip`` is not installed."""
    program = shutil.which("ip", path=SYSTEM_PATH)
    if program is None:
        return []
    told = subprocess.run([program, "-4", "-o", "address"], capture_output=True, check=True)
    return re.findall(r"inet ([0-9.]+)", told.stdout.decode())


class Networks:
    """The namespaces of one :func:`nat` block."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def namespace(self, name: str) -> str:
        """The kernel's name for "inside", "router" or "outside"."""
        return f"{self._prefix}-{name}"

    def within(self, name: str) -> tuple[str, ...]:
        """The command that runs another one in a namespace."""
        return "ip", "netns", "exec", self.namespace(name)

    def run(self, name: str, main: Callable[..., Awaitable[Any]], *arguments: Any) -> None:
        """Run a Trio program in a namespace, in a new thread.



        It must not use Trio's worker threads, which would stay in the namespace and be reused
        outside. To start a subprocess, see :meth:`within`.

        Raises:
            BaseException: whatever the program raised.
        """
        failures: list[BaseException] = []

        def enter() -> None:
            try:
                with (_NAMESPACES / self.namespace(name)).open("rb") as namespace:
                    library = ctypes.CDLL(None, use_errno=True)
                    if library.setns(namespace.fileno(), _NEW_NETWORK) != 0:
                        raise OSError(ctypes.get_errno(), "setns")
                trio.run(main, *arguments)
            except BaseException as error:  # Raised again in the waiting thread.
                failures.append(error)

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        if failures:
            raise failures[0]


@contextlib.contextmanager
def nat(*, symmetric: bool = False) -> Iterator[Networks]:
    """Create the networks.

    Args:
        symmetric: each destination sees the inside host at another port (RFC 5128 2.4.3).

    Raises:
        NetworkUnavailable: they cannot be created here.
    """
    missing = why_not()
    if missing is not None:
        raise NetworkUnavailable(missing)
    remove_abandoned()
    networks = Networks(f"spech-{os.getpid()}")
    inside, router, outside = (networks.namespace(name) for name in ("inside", "router", "outside"))
    with contextlib.ExitStack() as undo:
        for name in (inside, router, outside):
            _run("ip", "netns", "add", name)
            undo.callback(_run, "ip", "netns", "delete", name)
            _run("ip", "-n", name, "link", "set", "lo", "up")
        _wire(inside, f"{INSIDE}/24", router, "inner", "10.77.0.1/24")
        _wire(outside, f"{OUTSIDE}/24", router, "outer", f"{ROUTER}/24")
        _run("ip", "-n", outside, "address", "add", f"{OTHER}/24", "dev", "eth0")
        _run("ip", "-n", inside, "route", "add", "default", "via", "10.77.0.1")
        _run("ip", "netns", "exec", router, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        rules = _RULES.format(mapping="fully-random" if symmetric else "")
        _run("ip", "netns", "exec", router, "nft", "-f", "-", text=rules)
        yield networks


def remove_abandoned() -> None:
    """Remove the namespaces of killed processes. The names contain the process ID."""
    for path in _NAMESPACES.glob("spech-*"):
        named = _OURS.fullmatch(path.name)
        if named is not None and not Path("/proc", named[1]).exists():
            with contextlib.suppress(NetworkUnavailable):  # Another process may do so, too.
                _run("ip", "netns", "delete", path.name)


def _wire(host: str, address: str, router: str, name: str, address_there: str) -> None:
    """A cable between a host's eth0 and the router."""
    there = ("peer", "name", name, "netns", router)
    _run("ip", "-n", host, "link", "add", "eth0", "type", "veth", *there)
    for namespace, device, given in ((host, "eth0", address), (router, name, address_there)):
        _run("ip", "-n", namespace, "address", "add", given, "dev", device)
        _run("ip", "-n", namespace, "link", "set", device, "up")


def _run(*command: str, text: str = "") -> None:
    environment = {**os.environ, "PATH": SYSTEM_PATH}
    done = subprocess.run(
        command, input=text, capture_output=True, text=True, check=False, env=environment
    )
    if done.returncode != 0:
        raise NetworkUnavailable(f"{' '.join(command)}: {done.stderr.strip()}")
