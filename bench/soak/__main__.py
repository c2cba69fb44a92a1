"""An hour of calls during floods, deaths of peers and kills: what grows, and what is lost?

    nice python -m bench.soak [--minutes 60] [--calls 20] [--state FILE]

Two phones in this process keep about this many calls up over loopback, in cheap and expensive
codecs. At the same time

- a flood from many addresses sends SIP requests to one phone, and junk to the ports of its calls;
- a neighbor, a phone with a journal in another process, answers and places calls. It is killed
  with SIGKILL and started again: each call that was up must get a farewell from its successor;
- a peer in a third process answers calls, is stopped during these calls (SIGSTOP) and killed: each
  call must end because there is no sign of life.

A run consists of rounds. After each round the phones rest until the last transaction is deleted.
Then what the process holds is compared with what it held after the first two rounds: tasks, open
files, free ports, objects by type, memory. No duration is judged.

The result of each round is printed and appended to the state file. A run that was interrupted
continues from this file with the remaining minutes. The exit status is 1 when something grew or was
lost. Other processes end with this one, also if it is killed.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import trio

from bench.soak.calls import CODECS, REST, Soak
from bench.soak.held import HOST, PORTS, Held
from bench.soak.players import flood_and_junk, play_phone
from spech import Phone, open_phone
from spech.phone.running import run
from spech.sip import timeline

#: Seconds without a sign of life after which Alice ends a call.
GIVE_UP: Final = 15.0
#: About the seconds that starting and ending the other processes takes.
STARTING: Final = 4.0
#: Seconds of a round in a long run, including its rest.
ROUND: Final = 300.0
#: Rounds that fill what is bounded, and with which the others are compared. What a round leaves
#: differs: after one, transactions of the flood may still absorb copies, after another not.
WARM_UP: Final = 2


class Report:
    """Prints the result of each round, and keeps it in the state file."""

    def __init__(self, state: Path | None) -> None:
        self._state = state
        lines = state.read_text().splitlines() if state and state.exists() else []
        self.rounds = [json.loads(line) for line in lines]

    @property
    def seconds(self) -> float:
        """The duration of the rounds."""
        return float(sum(one["seconds"] for one in self.rounds))

    @property
    def faults(self) -> list[str]:
        """What grew or was lost in any round."""
        return [fault for one in self.rounds for fault in (*one["grown"], *one["lost"])]

    def add(self, seconds: float, soak: Soak, held: Held, grown: list[str], load: float) -> None:
        lost = [f"{count} x {what}" for what, count in soak.lost.items() if count]
        mean = sum(soak.marks) / max(len(soak.marks), 1)
        self.rounds.append(
            {
                "seconds": round(seconds),
                "counts": dict(soak.outcomes),
                "held": str(held),
                "grown": grown,
                "lost": lost,
            }
        )
        print(
            f"round {len(self.rounds)}, {self.seconds / 60:.1f} min: {held}\n  "
            + ", ".join(f"{count} {what}" for what, count in sorted(soak.outcomes.items()))
            + f"; MOS {mean:.2f}, worst {min(soak.marks, default=0):.2f}; {load:.0%} of a core"
            + "".join(f"\n  GREW: {what}" for what in grown)
            + "".join(f"\n  LOST: {what}" for what in lost),
            flush=True,
        )
        if self._state is not None:
            with self._state.open("a") as file:
                file.write(json.dumps(self.rounds[-1]) + "\n")


@asynccontextmanager
async def two_phones() -> AsyncIterator[tuple[Phone, Phone]]:
    """Alice and Bob. The flood's callers are strangers to Bob."""
    # A phone keeps the timelines of 1,000 calls; with 4, the first round has as many.
    timeline._CALLS = 4  # type: ignore[misc]
    async with (
        open_phone(
            listen=(HOST, 0), ports=PORTS, codecs=CODECS, callers=[HOST], strangers=1
        ) as bob,
        open_phone(listen=(HOST, 0), ports=PORTS, give_up_after=GIVE_UP) as alice,
    ):  # fmt: skip
        yield alice, bob


async def main(calls: int, minutes: float, report: Report) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with two_phones() as (alice, bob), trio.open_nursery() as nursery:
            soak = Soak(alice, bob, Path(folder), calls)
            nursery.start_soon(soak.serve)
            try:
                length = min(ROUND, minutes * 60 / (WARM_UP + 1))
                first: Held | None = None
                number = answered = 0
                while report.seconds < minutes * 60 - 1 or number <= WARM_UP:
                    number += 1
                    began, used = time.monotonic(), time.process_time()
                    await soak.round(max(length - REST - STARTING, 1))
                    lasted = time.monotonic() - began
                    held = Held.now()
                    answered += soak.outcomes["answered"]
                    if number <= WARM_UP:
                        first, answered = held if first is None else first.or_more(held), 0
                    assert first is not None
                    load = (time.process_time() - used) / (lasted - REST)
                    report.add(lasted, soak, held, held.growth(first, answered), load)
                    for counts in (soak.outcomes, soak.lost):
                        counts.clear()
                    soak.marks.clear()
            finally:
                await soak.close()
            nursery.cancel_scope.cancel()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--calls", type=int, default=20, help="calls at once")
    parser.add_argument(
        "--state", type=Path, help="file to continue from, written after each round"
    )
    parser.add_argument("--play", choices=("phone", "flood"), help=argparse.SUPPRESS)
    parser.add_argument("--at", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--journal", default="", help=argparse.SUPPRESS)
    parser.add_argument("--theirs", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)  # A flood makes warnings.
    if options.play == "phone":
        print("loaded", flush=True)
        if sys.stdin.readline():
            run(play_phone, options.at, options.journal, options.theirs)
    elif options.play == "flood":
        flood_and_junk(options.at)
    else:
        report = Report(options.state)
        run(main, options.calls, options.minutes, report)
        if report.seconds < options.minutes * 60 - 1:
            sys.exit("interrupted")
        if report.faults:
            sys.exit("; ".join(report.faults))
