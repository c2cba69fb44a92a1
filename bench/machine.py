"""What a process costs, what runs beside it, and what machine this is."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

from bench import programs
from spech.testing.asterisk import AsteriskUnavailable, find

#: CPUCLOCK_SCHED, the precise clock of a process.
_PROCESS_CLOCK: Final = 2
_PROC: Final = Path("/proc")
_ROOT: Final = Path(__file__).parents[1]


def family(process: int) -> list[int]:
    """A process and those that it started."""
    children: dict[int, list[int]] = {}
    for folder in _PROC.glob("[0-9]*"):
        with suppress(OSError):
            parent = int(_stat(int(folder.name))[1])
            children.setdefault(parent, []).append(int(folder.name))
    found = [process]
    for each in found:
        found += children.get(each, ())
    return found


def cpu(process: int) -> float:
    """Seconds of CPU that a process and those that it started have used, user and system.

    From the CPU clocks of the processes (clock_getcpuclockid(3)): /proc/PID/stat counts by samples
    at the timer's ticks, and work that begins at a timer's tick is counted too often.
    """
    return sum(_each(family(process), lambda one: time.clock_gettime((~one << 3) | _PROCESS_CLOCK)))


def memory(process: int) -> float:
    """The resident memory of a process and those that it started, in MB."""
    page = os.sysconf("SC_PAGE_SIZE") / 1e6
    return page * sum(_each(family(process), lambda one: int(_read(one, "statm").split()[1])))


def open_files(process: int) -> int:
    return len(list((_PROC / str(process) / "fd").iterdir()))


@dataclass
class Window:
    """What happened while something was measured; filled in when the block is left.

    Attributes:
        seconds: how long it took.
        cpu: seconds of CPU of the measured process and those that it started.
        memory: its resident memory at the end, in MB.
        wait: seconds that its threads were ready and waited for a processor.
        steal: seconds of our processors that the machine's host gave to others.
        others: seconds of CPU of processes that this program did not start.
    """

    seconds: float = 0.0
    cpu: float = 0.0
    memory: float = 0.0
    wait: float = 0.0
    steal: float = 0.0
    others: float = 0.0

    def values(self) -> dict[str, float]:
        """What says how quiet the machine was, for a second of the measurement."""
        return {
            "wait": max(0.0, self.wait) / self.seconds,
            "steal": self.steal / self.seconds,
            "others": max(0.0, self.others) / self.seconds,
        }


@contextmanager
def watching(process: int) -> Iterator[Window]:
    """Measure a process and the machine while the block runs."""
    window = Window()
    before, begun = _now(process), time.monotonic()
    yield window
    window.seconds = time.monotonic() - begun
    after = _now(process)
    window.cpu, window.wait, window.steal, window.others = (
        end - begin for begin, end in zip(before, after, strict=True)
    )
    window.memory = memory(process)


def _now(process: int) -> tuple[float, float, float, float]:
    busy, steal = _processors()
    ours = sum(_each(family(os.getpid()), _sampled))
    return cpu(process), _waited(process), steal, busy - ours


def _processors() -> tuple[float, float]:
    """Seconds that processors which we may use were busy with programs, and stolen."""
    own = {f"cpu{number}" for number in os.sched_getaffinity(0)}
    lines = (line.split() for line in (_PROC / "stat").read_text().splitlines())
    counted = [[int(field) for field in fields] for name, *fields in lines if name in own]
    tick = os.sysconf("SC_CLK_TCK")
    return (
        sum(sum(fields[:3]) for fields in counted) / tick,
        sum(fields[7] for fields in counted) / tick,
    )


def _sampled(process: int) -> float:
    """CPU of a process and of its children that ended, in the same samples as /proc/stat."""
    return sum(int(field) for field in _stat(process)[11:15]) / os.sysconf("SC_CLK_TCK")


def _waited(process: int) -> float:
    threads = (
        thread for one in family(process) for thread in (_PROC / str(one) / "task").glob("*")
    )
    total = 0
    for thread in threads:
        with suppress(OSError):
            total += int((thread / "schedstat").read_text().split()[1])
    return total / 1e9


def _read(process: int, name: str) -> str:
    return (_PROC / str(process) / name).read_text()


def _stat(process: int) -> list[str]:
    """The fields after the command: the first is the state, the second the parent."""
    return _read(process, "stat").rpartition(")")[2].split()


def _each(processes: Iterable[int], what: Callable[[int], float]) -> Iterator[float]:
    for process in processes:
        with suppress(OSError, IndexError):  # It may have ended.
            yield what(process)


# ----------------------------------------------------------------------- what machine this is


def describe() -> dict[str, str]:
    """The machine, the interpreter and the versions of what is measured."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in (_PROC / "cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    build = " ".join(platform.python_build())
    changed = _git("diff", "HEAD", "--", "spech")
    described = {
        "machine": f"{model}, {len(os.sched_getaffinity(0))} cores, {memory:.0f} GB, "
        f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": f"{platform.python_implementation()} {platform.python_version()} "
        f"({build}, {platform.python_compiler()})",
        "packages": ", ".join(f"{name} {version(name)}" for name in ("numpy", "trio")),
        "commit": _git("log", "-1", "--format=%h", "--", "spech") + (" changed" if changed else ""),
        "sources": hashlib.sha256((_git("rev-parse", "HEAD:spech") + changed).encode()).hexdigest()[
            :12
        ],
    }
    if asterisk := _asterisk():
        described["asterisk"] = asterisk
    if others := programs.versions():
        described["others"] = others
    return described


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=_ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def _asterisk() -> str:
    try:
        program, root = find()
    except AsteriskUnavailable:
        return ""
    command = [program, "-V"] if root is None else ["chroot", str(root), program, "-V"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip().removeprefix("Asterisk ").partition("~")[0]
