"""What the process of the soak holds while no call is up."""

from __future__ import annotations

import ctypes
import gc
import os
import random
import sys
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final, NamedTuple, Self

import trio
from trio._core._run import GLOBAL_RUN_CONTEXT

from spech import PortRange, PortsExhausted
from spech.rtp.ports import lease

HOST: Final = "127.0.0.1"
PORTS: Final = PortRange(34_200, 34_399)
#: By how much the objects of one type, and the blocks and bytes of memory, may exceed those after
#: the first rounds, even when there were few calls.
FEW_OBJECTS: Final = 60
FEW_BLOCKS: Final = 5_000
FEW_BYTES: Final = 24_000_000


class Held(NamedTuple):
    """What the process holds while no call is up."""

    tasks: int
    ports: int
    files: Counter[str]
    objects: Counter[str]
    blocks: int
    resident: int

    @classmethod
    def now(cls) -> Self:
        # Trio forgets the deadlines of scopes that have ended when there are a thousand of them.
        GLOBAL_RUN_CONTEXT.runner.deadlines._prune()
        for _ in range(3):
            gc.collect()
        with suppress(AttributeError):  # Not glibc.
            ctypes.CDLL(None).malloc_trim(0)  # What the allocator keeps for later is not held.
        objects = Counter(
            f"{type(one).__module__}.{type(one).__qualname__}" for one in gc.get_objects()
        )
        files = Counter[str]()
        for file in Path("/proc/self/fd").iterdir():
            with suppress(OSError):  # The one of the list itself.
                files[str(file.readlink()).partition(":")[0]] += 1
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return cls(
            trio.lowlevel.current_statistics().tasks_living,
            free_ports(),
            files,
            objects,
            sys.getallocatedblocks(),
            pages * os.sysconf("SC_PAGE_SIZE"),
        )

    def __str__(self) -> str:
        return (
            f"{self.resident / 1e6:.1f} MB, {self.blocks} blocks, {self.objects.total()} objects, "
            f"{self.files.total()} files, {self.ports} free pairs of ports, {self.tasks} tasks"
        )

    def or_more(self, other: Held) -> Held:
        """The larger of each two numbers, and the smaller of the free ports."""
        return Held(
            max(self.tasks, other.tasks),
            min(self.ports, other.ports),
            self.files | other.files,
            self.objects | other.objects,
            max(self.blocks, other.blocks),
            max(self.resident, other.resident),
        )

    def growth(self, first: Held, calls: int) -> list[str]:
        """What exceeds the first rounds, after ``calls`` further calls."""
        grown = []
        if self.tasks > first.tasks:
            grown.append(f"{self.tasks - first.tasks} tasks")
        if self.ports < first.ports:
            grown.append(f"{first.ports - self.ports} leased ports")
        grown += [f"{count} files {name}" for name, count in (self.files - first.files).items()]
        # A leak in every second call, or in some requests of the flood, exceeds this.
        few = max(calls // 2, FEW_OBJECTS)
        more = self.objects - first.objects
        grown += [f"{count} {name}" for name, count in more.most_common() if count > few]
        if self.blocks - first.blocks > max(FEW_BLOCKS, 5 * calls):
            grown.append(f"{self.blocks - first.blocks} blocks of memory")
        if self.resident - first.resident > FEW_BYTES:
            grown.append(f"{(self.resident - first.resident) / 1e6:.0f} MB")
        return grown


def free_ports() -> int:
    """How many pairs of the range can be leased now."""
    with ExitStack() as leases:
        rng = random.Random(1)
        for count in range(PORTS.pairs):
            try:
                leases.enter_context(lease(HOST, PORTS, rng))
            except PortsExhausted:
                return count
    return PORTS.pairs
