"""Processor instructions of a call on the compiled build, so that an increase is noticed.

    make bench-check-compiled               compare with bench/instructions.json
    make bench-check-compiled ARGS=--update accept what was counted
    python -m bench.instructions            the same counts of the pure build

`bench.costs` cannot see the calls in compiled code, so here Valgrind's callgrind counts
instructions. Only ticks advance the clock, and randomness is seeded, as there. Another version of
Python or Trio needs other counts, so the stored ones are compared only with those of the same
versions.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import os
import platform
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final

import cffi
import trio

from bench import costs
from bench.parts.parsing import INVITE
from spech.rtp import packet
from spech.sip import events
from spech.sip.description.offer_answer import Negotiator
from spech.sip.description.payload_types import AudioFormat
from spech.sip.dialog.identity import Identity
from spech.sip.message.headers import NameAddr
from spech.sip.message.parser import parse, validate
from spech.sip.message.uri import Uri
from spech.testing.wire import FakeWire

STORED: Final = Path(__file__).with_name("instructions.json")
#: Growth as a share above which the check fails.
ROOM: Final = 0.03
_REPEATS: Final = 50
#: Where callgrind writes what it counted; set in the process that it runs.
_FOLDER: Final = "SPECH_CALLGRIND_FOLDER"


@cache
def _callgrind() -> Any:
    """Callgrind's switches, as functions of C."""
    ffi = cffi.FFI()
    ffi.cdef("void begin(void); void end(void);")
    ffi.set_source(
        "spech_callgrind",
        """
        #include <valgrind/callgrind.h>
        static void begin(void) { CALLGRIND_START_INSTRUMENTATION; CALLGRIND_ZERO_STATS; }
        static void end(void) { CALLGRIND_DUMP_STATS; CALLGRIND_STOP_INSTRUMENTATION; }
        """,
    )
    folder = os.environ[_FOLDER]
    ffi.compile(folder)
    sys.path.append(folder)
    return importlib.import_module("spech_callgrind").lib


class Instructions:
    """Counts the instructions of this process."""

    def start(self) -> None:
        _callgrind().begin()

    def stop(self) -> None:
        _callgrind().end()

    def costs(self, count: int) -> costs.Costs:
        newest = max(
            Path(os.environ[_FOLDER]).glob("counted.*"), key=lambda one: one.stat().st_mtime_ns
        )
        total = re.search(r"(?m)^(?:totals|summary): (\d+)", newest.read_text())
        assert total is not None
        return {"instructions": round(int(total[1]) / count)}


# ---------------------------------------------------------------------- what is measured


def _ticks(name: str) -> costs.Costs:
    return costs.measure(costs.SUBJECTS[name], Instructions)


def _repeated(once: Callable[[], object]) -> costs.Costs:
    once()
    counting = Instructions()
    counting.start()
    for _ in range(_REPEATS):
        once()
    counting.stop()
    return counting.costs(_REPEATS)


def _negotiator(host: str) -> Callable[[int], Negotiator]:
    formats = [AudioFormat("PCMU", "PCMU", 8000, 0), AudioFormat("PCMA", "PCMA", 8000, 8)]
    return lambda number: Negotiator(formats, host, 4000, number)


def _call() -> None:
    """A call between two user agents on a wire, set up and ended."""
    wire = FakeWire(seed=1)
    alice, bob = wire.peer("10.0.0.1"), wire.peer("10.0.0.2")
    identity = Identity(NameAddr(Uri.parse("sip:alice@10.0.0.1")), "alice", None, random.Random(1))
    flows = [alice.flow_to(bob)]
    session = alice.agent.invite(
        identity, Uri.parse("sip:bob@10.0.0.2"), flows, _negotiator("10.0.0.1"), wire.now
    )
    wire.run_until(lambda: bool(bob.events))
    event = bob.events[0]
    assert isinstance(event, events.InviteReceived)
    event.session.answer(_negotiator("10.0.0.2"), wire.now)
    wire.run(1.0)
    session.hang_up(wire.now)
    wire.run(40.0)
    assert not alice.agent.sessions
    assert not bob.agent.sessions


SUBJECTS: Final[dict[str, Callable[[], costs.Costs]]] = {
    "tick, bridged call": lambda: _ticks("tick, bridged call"),
    "tick, bridged call without telephone-event": lambda: _ticks(
        "tick, bridged call without telephone-event"
    ),
    "call set up and ended": lambda: _ticks("call set up and ended"),
    "the SIP of both ends of a call": lambda: _repeated(_call),
    "an INVITE read and judged": lambda: _repeated(lambda: validate(parse(INVITE))),
}


def _versions() -> dict[str, str]:
    return {
        "build": "pure" if packet.__file__.endswith(".py") else "compiled",
        "machine": platform.machine(),
        "Python": platform.python_version(),
        "Trio": trio.__version__,
    }


def _count(name: str) -> int:
    """The instructions of a subject, from a process of its own under callgrind."""
    with tempfile.TemporaryDirectory(prefix="spech-callgrind-") as folder:
        subprocess.run(
            [
                *("valgrind", "-q", "--tool=callgrind", "--instr-atstart=no"),
                f"--callgrind-out-file={folder}/counted",
                *(sys.executable, "-m", "bench.instructions", "--inside", name),
            ],
            env=os.environ | {_FOLDER: folder, "PYTHONHASHSEED": "0"},
            check=True,
        )
        return int(Path(folder, "result").read_text())


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--update", action="store_true", help="accept what is counted")
    parser.add_argument("--only", default="", help="subjects whose name contains this")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    options = parser.parse_args()
    logging.getLogger("spech").setLevel(logging.ERROR)
    if options.inside:
        result = int(SUBJECTS[options.inside]()["instructions"])
        Path(os.environ[_FOLDER], "result").write_text(str(result))
        return 0
    stored = json.loads(STORED.read_text()) if STORED.exists() else {}
    versions = _versions()
    comparable = stored.get("versions") == versions
    before: dict[str, int] = stored.get("instructions", {})
    counted: dict[str, int] = {}
    grown = []
    for name in SUBJECTS:
        if options.only in name:
            count = counted[name] = _count(name)
            was = before.get(name)
            print(
                f"{name:45} {count:12,}  {f'{count / was - 1:+.1%}' if was else 'new'}", flush=True
            )
            if was is None or count > was * (1 + ROOM):
                grown.append(f"{name}: {was} -> {count}")
    if options.update:
        kept = before | counted if comparable else counted
        STORED.write_text(json.dumps({"versions": versions, "instructions": kept}, indent=2) + "\n")
        print(f"stored in {STORED.name}")
        return 0
    if not comparable:
        print(f"not judged: {STORED.name} is of {stored.get('versions')}, and this is {versions}")
        return 0
    if grown:
        print(f"\nThese counts have grown by more than {ROOM:.0%} ({STORED.name}):")
        print("\n".join(f"  {line}" for line in grown))
    return 1 if grown else 0


if __name__ == "__main__":
    sys.exit(main())
