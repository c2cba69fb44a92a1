"""Which user of this machine has opened a connection over loopback.

Without a password everybody who reaches the loopback interface would be let in, and that is every
user of the machine. Linux tells whose socket is at the other end.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import trio

_TABLES = {socket.AF_INET: Path("/proc/net/tcp"), socket.AF_INET6: Path("/proc/net/tcp6")}
_USER = 7
_ROOT = 0


def same_user(stream: trio.SocketStream) -> bool:
    """Whether the other end of a loopback connection belongs to our own user, or to root.

    True as well where the system does not tell (it is not Linux), and False for a peer that is
    gone or that is on another machine.
    """
    family = socket.AddressFamily(stream.socket.family)
    table = _TABLES.get(family)
    if table is None or not table.exists():
        return True
    try:
        ours = _entry(family, stream.socket.getsockname())
        theirs = _entry(family, stream.socket.getpeername())
    except OSError:
        return False
    users = set()
    for path in _TABLES.values():
        # A socket for both families has an IPv4 connection in the table of IPv6.
        for wanted_local, wanted_remote in ((theirs, ours), (_mapped(theirs), _mapped(ours))):
            users |= _users(path, wanted_local, wanted_remote)
    return users != set() and users <= {_ROOT, os.geteuid()}


def _users(path: Path, local: str, remote: str) -> set[int]:
    try:
        lines = path.read_text("ascii").splitlines()
    except OSError:
        return set()
    wanted = f" {local} {remote} "
    return {int(line.split()[_USER]) for line in lines if wanted in line}


def _entry(family: socket.AddressFamily, address: tuple[str, int]) -> str:
    """An address as the kernel's table has it: 32-bit words of the machine, in hexadecimal."""
    packed = socket.inet_pton(family, address[0])
    words = [packed[at : at + 4] for at in range(0, len(packed), 4)]
    text = "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words)
    return f"{text}:{address[1]:04X}"


def _mapped(entry: str) -> str:
    """The entry of an IPv4 address in the table of IPv6, and the other way round."""
    prefix = _entry(socket.AF_INET6, ("::ffff:0.0.0.0", 0))[:24]
    if len(entry) == len("00000000:0000"):
        return prefix + entry
    return entry.removeprefix(prefix)
