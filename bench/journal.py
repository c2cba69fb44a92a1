"""What the journal of dialogs costs the process that keeps it, in microseconds of its own time.

    nice python bench/journal.py [--rounds 7] [--folder FOLDER]

Two user agents on a wire in memory make calls, each of which is offered, rings, is answered and
ends; the journal notes the changes of both ends. Printed are the least, the median and the mean
time of a change where the record stays the same, where it is another one, which is written, and
where the call has ended. These include what the processor's caches do not hold, since much of a
call lies between two changes. Below them are the parts of one line, each repeated many times and
therefore from the caches: the least, the median and the mean over the rounds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from spech.phone.journal import Journal
from spech.sip import events
from spech.sip.call.leftover import FarewellRecord
from spech.sip.call.session import Session
from spech.sip.description.offer_answer import Negotiator
from spech.sip.description.payload_types import AudioFormat
from spech.sip.dialog.dialog import Dialog
from spech.sip.dialog.identity import Identity
from spech.sip.message.headers import NameAddr
from spech.sip.message.uri import Uri
from spech.testing.wire import FakeWire

CALLS: Final = 100
REPETITIONS: Final = 5_000
PCMU: Final = AudioFormat("PCMU", "PCMU", 8000, 0)


class Changes:
    """Notes changes of sessions in a journal, and the process's time for it."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        #: Seconds of each change, by its kind.
        self.spent: dict[str, list[float]] = {"the same": [], "another": [], "ended": []}
        #: The dialog of the session that was noted last.
        self.dialog: Dialog | None = None
        #: What the journal holds of each session.
        self._held: dict[Session, FarewellRecord | None] = {}
        began = time.process_time()
        for _ in range(1_000):
            time.process_time()
        self._clock = (time.process_time() - began) / 1_000

    def note(self, session: Session) -> None:
        began = time.process_time()
        self.journal.note(session)
        spent = time.process_time() - began - self._clock
        record = session.farewell_record()
        held, self._held[session] = self._held.get(session), record
        kind = "the same" if record == held else "ended" if record is None else "another"
        self.spent[kind].append(spent)
        self.dialog = session.dialog or self.dialog


def call(wire: FakeWire, changes: Changes) -> None:
    """One call from its INVITE to the end of its last transaction."""
    alice, bob = wire.peer("10.0.0.1"), wire.peer("10.0.0.2")
    for peer in (alice, bob):
        peer.agent.on_session_changed = changes.note
    address = NameAddr(Uri.parse("sip:alice@example.org"), "Alice")
    caller = Identity(address, "alice", None, alice.agent.rng)
    flow = alice.flow_to(bob)
    ours = alice.agent.invite(
        caller,
        Uri.parse("sip:bob@10.0.0.2"),
        [flow],
        lambda number: Negotiator([PCMU], "10.0.0.1", 4000, number),
        wire.now,
    )
    alice.flush()
    wire.run(0.1)
    theirs = next(one for one in bob.events if isinstance(one, events.InviteReceived)).session
    theirs.ring(wire.now)
    bob.flush()
    wire.run(0.1)
    theirs.answer(lambda number: Negotiator([PCMU], "10.0.0.2", 4000, number), wire.now)
    bob.flush()
    wire.run(0.1)
    ours.hang_up(wire.now)
    alice.flush()
    wire.run(40)


def main(rounds: int, folder: str) -> None:
    changes: dict[str, list[float]] = {}
    in_caches: dict[str, list[float]] = {}
    for number in range(rounds):
        with Journal(Path(folder, f"calls{number}"), "sip:alice@example.org") as journal:
            noted = Changes(journal)
            for _ in range(CALLS):
                call(FakeWire(), noted)
        for kind, spent in noted.spent.items():
            changes.setdefault(kind, []).extend(spent)
        assert noted.dialog is not None
        for label, part in parts(noted.dialog, Path(folder, "plain")).items():
            began = time.process_time()
            for _ in range(REPETITIONS):
                part()
            spent_on_each = (time.process_time() - began) / REPETITIONS
            in_caches.setdefault(label, []).append(spent_on_each)
    for figures in (changes, in_caches):
        for label, values in figures.items():
            least, median, mean = min(values), statistics.median(values), statistics.mean(values)
            print(f"{label:>22} {least * 1e6:6.1f} {median * 1e6:6.1f} {mean * 1e6:6.1f} us")


def parts(dialog: Dialog, path: Path) -> dict[str, Callable[[], object]]:
    """The parts of a line about ``dialog``."""
    account = Uri.parse("sip:alice@example.org")
    record = FarewellRecord.of_dialog(dialog, account)
    encode = msgspec.json.Encoder().encode
    text = encode(record)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    return {
        "make the record": lambda: FarewellRecord.of_dialog(dialog, account),
        "encode it": lambda: encode(record),
        "compute the checksum": lambda: b"%08x %b\n" % (zlib.crc32(text), text),
        f"write {len(text)} bytes": lambda: os.pwrite(file, text, 0),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", help="where the files are made [default: that of the system]")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as made:
        main(options.rounds, made)
