"""The journal of dialogs: its contents, and what the next phone does with it."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import stat
import subprocess
import sys
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing

from spech import Account, Call, IncomingCall, LocalProtocolError, Phone, PortRange, open_phone
from spech.phone.journal import JOURNAL_LIFETIME, Journal, adopt
from spech.sip.call.leftover import DialogRecord, FarewellRecord
from spech.sip.message.uri import Uri
from spech.sip.resolver import Resolver
from spech.sip.transaction.flow import Target

LOOPBACK = ("127.0.0.1", 0)
PORTS = PortRange(37_440, 37_499)
PASSWORD = "hush-hush"


def record(call_id: str, filler: str = "") -> FarewellRecord:
    flow = ("udp", ("127.0.0.1", 5060), ("127.0.0.2", 5060), "")
    dialog = DialogRecord("<sip:a@b>", "<sip:c@d>", "sip:c@d", ("<sip:proxy>",), 7)
    return FarewellRecord(
        "BYE", call_id, "t" + filler, "sip:alice@example.org", (flow,), dialogs=(dialog,)
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "calls"


def modified(path: Path) -> float:
    return path.stat().st_mtime


def size(path: Path) -> int:
    return path.stat().st_size


def left(path: Path, account: str | None = None) -> list[str]:
    """The Call-IDs that the next process finds."""
    with Journal(path, account) as journal:
        return [call_id for call_id, _ in journal.left]


def left_in_copy(path: Path) -> list[str]:
    """What it would find if this one was killed now."""
    copy = path.with_name("copy")
    shutil.copyfile(path, copy)
    return left(copy)


def test_the_next_process_finds_the_calls_that_are_up(path: Path) -> None:
    with Journal(path, None) as journal:
        for name in "abc":
            journal.write((name, "t"), record(name))
        journal.write(("b", "t"), None)
        journal.write(("a", "t"), record("a", "2"))
    with Journal(path, None) as journal:
        assert journal.left == {("c", "t"): record("c"), ("a", "t"): record("a", "2")}
        journal.write(("c", "t"), None)
    assert left(path) == ["a"]


def test_a_file_without_calls_is_empty(path: Path) -> None:
    with Journal(path, None) as journal:
        journal.write(("a", "t"), record("a"))
        assert path.stat().st_size
        journal.write(("a", "t"), None)
    assert path.stat().st_size == 0


def test_a_file_of_another_kind_is_refused_and_unchanged(path: Path, tmp_path: Path) -> None:
    path.write_text("[phone]\nname = precious\n")
    with pytest.raises(LocalProtocolError, match="is not a journal"):
        Journal(path, None)
    assert path.read_text() == "[phone]\nname = precious\n"
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for odd in (pipe, Path("/dev/zero"), Path("/dev/full")):
        with pytest.raises(LocalProtocolError, match="is not a regular file"):
            Journal(odd, None)


def line(text: str) -> bytes:
    return b"%08x %b\n" % (zlib.crc32(text.encode()), text.encode())


@pytest.mark.parametrize(
    "damage",
    [
        lambda values: "[" * 100_000,
        lambda values: json.dumps([None, "a", "t", [*values[:-1], float("inf")]]),
        lambda values: json.dumps([None, "a", "t", [*values[:1], "a\r\nX: y", *values[2:]]]),
        lambda values: json.dumps([None, "a", "t", [*values[:5], "\ud800", *values[6:]]]),
        lambda values: json.dumps([None, "a", "t", values]).replace("5060]", "99999]"),
    ],
    ids=["deep", "infinite", "two lines", "surrogate", "port"],
)
async def test_a_forged_record_does_not_keep_a_phone_from_starting(
    path: Path, damage: Callable[[list[object]], str], autojump_clock: trio.testing.MockClock
) -> None:
    await trio.Path(path).write_bytes(line(damage(list(record("a")))))
    async with open_phone(listen=LOOPBACK, ports=PORTS, journal=path, drain=0):
        await trio.sleep(5)
    assert left(path) == []


def test_only_the_owner_can_read_a_journal(path: Path) -> None:
    path.touch(0o644)
    with Journal(path, None):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_second_process_is_refused(path: Path) -> None:
    with Journal(path, None), pytest.raises(LocalProtocolError, match="another process uses it"):
        Journal(path, None)


def test_an_unusable_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LocalProtocolError, match="No such file"):
        Journal(tmp_path / "nowhere" / "calls", None)


@pytest.mark.parametrize(
    "tail", [b"x", b"\0" * 300, b"00000000 [1,2]\n", b"\n\n", b"\xff\xfe\n", b"[" * 100_000]
)
def test_a_damaged_tail_is_skipped(path: Path, tail: bytes) -> None:
    with Journal(path, None) as journal:
        journal.write(("a", "t"), record("a"))
    with path.open("ab") as file:
        file.write(tail)
    assert left(path) == ["a"]
    assert left(path) == ["a"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("farewell", "HELLO"),
        ("call_id", 1),
        ("local_tag", None),
        ("flows", []),
        ("flows", 7),
        ("flows", [["udp", ["host", 1], ["name", 5060], ""]]),
        ("flows", [["ftp", ["127.0.0.1", 1], ["127.0.0.2", 5060], ""]]),
        ("flows", [["udp", ["127.0.0.1", 1], ["127.0.0.2", "x"], ""]]),
        ("invite", ["a"]),
        ("dialogs", [1]),
        ("dialogs", 1),
        ("dialogs", [{"local": "x"}]),
    ],
)
def test_a_record_with_a_wrong_field_is_skipped(path: Path, field: str, value: object) -> None:
    with Journal(path, None) as journal:
        journal.write(("a", "t"), record("a"))
        journal.write(("b", "t"), record("b"))
    first, second = path.read_bytes().splitlines(keepends=True)
    values = json.loads(first[9:])
    values[3][FarewellRecord._fields.index(field)] = value
    text = json.dumps(values).encode()
    path.write_bytes(b"%08x %b\n" % (zlib.crc32(text), text) + second)
    assert left(path) == ["b"]


def test_a_file_truncated_anywhere_can_be_read(path: Path) -> None:
    with Journal(path, None) as journal:
        for name in "abc":
            journal.write((name, "t"), record(name))
    whole = path.read_bytes()
    ends = [index + 1 for index, byte in enumerate(whole) if byte == 0x0A]
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        assert len(left(path)) == sum(end <= length for end in ends)


def test_calls_of_another_account_are_skipped_and_forgotten(path: Path) -> None:
    with Journal(path, "sip:alice@example.org") as journal:
        journal.write(("a", "t"), record("a"))
    assert left(path, "sip:bob@example.org") == []
    assert left(path, "sip:alice@example.org") == []


def test_calls_of_a_long_dead_process_are_ignored(path: Path) -> None:
    with Journal(path, None) as journal:
        journal.write(("a", "t"), record("a"))
    at = path.stat().st_mtime - JOURNAL_LIFETIME + 60
    os.utime(path, (at, at))
    assert left(path) == ["a"]
    os.utime(path, (at - 120, at - 120))
    assert left(path) == []


def test_ended_calls_do_not_grow_the_file(path: Path) -> None:
    with Journal(path, None) as journal:
        journal.write(("first", "t"), record("first"))
        for number in range(20_000):
            journal.write((f"c{number}", "t"), record(f"c{number}"))
            journal.write((f"c{number}", "t"), None)
        assert path.stat().st_size < 1 << 21
    assert left(path) == ["first"]


def test_an_interrupted_rewrite_keeps_the_same_calls(path: Path) -> None:
    """Killed between writing the live calls and truncating the file."""
    with Journal(path, None) as journal:
        for number in range(50):
            journal.write((f"c{number}", "t"), record(f"c{number}", "x" * number))
        for number in range(0, 50, 2):
            journal.write((f"c{number}", "t"), None)
    old = path.read_bytes()
    with Journal(path, None):
        new = path.read_bytes()
    assert len(new) < len(old)
    path.write_bytes(new + old[len(new) :])
    assert left(path) == [f"c{number}" for number in range(1, 50, 2)]


def test_the_calls_of_other_journals_move_to_one(path: Path) -> None:
    others = [path.with_name(f"calls-{number}") for number in (2, 3, 4, 5)]
    stale, used, broken, fresh = others
    for one, name in ((path, "own"), (stale, "stale"), (used, "used"), (fresh, "fresh")):
        with Journal(one, None) as journal:
            journal.write((name, "t"), record(name))
    os.utime(stale, (0, 0))
    broken.write_text("Not a journal")
    with Journal(used, None):
        adopt(path, others, None)
    assert left(path) == ["own", "fresh"]
    assert [left(one) for one in (stale, used, fresh)] == [[], ["used"], []]
    assert broken.read_text() == "Not a journal"


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """A disk that takes eight bytes of each write more, until the patch is undone."""
    write = os.pwrite
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", lambda file, text, at: write(file, text[:8], at))
        yield patch


def test_what_a_full_disk_refused_is_written_when_there_is_room(
    path: Path, full_disk: pytest.MonkeyPatch
) -> None:
    with Journal(path, None) as journal:
        journal.write(("a", "t"), record("a"))
        journal.write(("b", "t"), record("b"))
        full_disk.undo()
        assert left_in_copy(path) == []
        journal.write(("c", "t"), record("c"))
        assert left_in_copy(path) == ["a", "b", "c"]


def test_what_waits_for_a_full_disk_does_not_grow_with_ended_calls(
    path: Path, full_disk: pytest.MonkeyPatch
) -> None:
    with Journal(path, None) as journal:
        journal.write(("first", "t"), record("first"))
        for number in range(5_000):
            journal.write((f"c{number}", "t"), record(f"c{number}"))
            journal.write((f"c{number}", "t"), None)
        full_disk.undo()
        journal.write(("last", "t"), record("last"))
        assert path.stat().st_size < 1 << 21
    assert left(path) == ["first", "last"]


def test_calls_stay_in_the_other_journal_if_the_disk_is_full(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = path.with_name("calls-2")
    with Journal(other, None) as journal:
        journal.write(("a", "t"), record("a"))
    write = os.pwrite

    def refuse(file: int, text: bytes, at: int) -> int:
        full = os.path.samestat(os.fstat(file), path.stat())
        return write(file, text[:8] if full else text, at)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", refuse)
        adopt(path, [other], None)
    assert (left(path), left(other)) == ([], ["a"])
    adopt(path, [other], None)
    assert (left(path), left(other)) == (["a"], [])


class SlowNames(Resolver):
    async def resolve(self, uri: Uri, transport: str | None = None) -> list[Target]:
        await trio.sleep(60)
        return []


async def test_a_phone_that_is_closed_soon_sends_the_farewells_first(
    path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    account = Account("sip:alice@slow.test", password=PASSWORD, register=False)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(LOOPBACK)
        peer.settimeout(5)
        flow = ("udp", ("127.0.0.1", 5060), peer.getsockname(), "")
        with Journal(path, account.address) as journal:
            journal.write(("a", "t"), record("a")._replace(flows=(flow,)))
        async with open_phone(
            account,
            listen=LOOPBACK,
            ports=PORTS,
            journal=path,
            resolver=SlowNames(random.Random(1)),
            drain=0.1,
        ):
            await trio.sleep(0.1)
        assert peer.recv(2000).startswith(b"BYE ")


KILLED = """
import os, signal, sys
from spech.phone.journal import Journal
from spech.sip.call.leftover import FarewellRecord

with Journal(sys.argv[1], None) as journal:
    for name in sys.argv[2:]:
        one = FarewellRecord("BYE", name, "t", "sip:a@b", ((*UDP, ""),))
        journal.write((name, "t"), one)
    os.kill(os.getpid(), signal.SIGKILL)
""".replace("UDP", repr(("udp", ("127.0.0.1", 5060), ("127.0.0.2", 5060))))


@pytest.mark.parametrize("names", ["a", "abc"])
def test_a_process_that_is_killed_at_once_has_lost_no_record(path: Path, names: str) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path), *names], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert left(path) == list(names)


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sync in the event loop, because virtual time does not wait for threads."""

    async def run_at_once(sync: Callable[[], None]) -> None:
        sync()

    monkeypatch.setattr(trio.to_thread, "run_sync", run_at_once)


async def test_a_call_that_ended_is_written_off_within_a_second(
    path: Path, autojump_clock: trio.testing.MockClock, no_threads: None
) -> None:
    with Journal(path, None) as journal:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(journal.run)
            for name in "ab":
                journal.write((name, "t"), record(name))
            await trio.sleep(1)
            journal.write(("a", "t"), None)
            await trio.sleep(1)
            assert left_in_copy(path) == ["b"]
            nursery.cancel_scope.cancel()


async def test_records_are_synced_within_a_second(
    path: Path,
    autojump_clock: trio.testing.MockClock,
    monkeypatch: pytest.MonkeyPatch,
    no_threads: None,
) -> None:
    synced: list[float] = []
    now = trio.current_time
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(now()))
    with Journal(path, None) as journal:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(journal.run)
            await trio.sleep(10)
            synced.clear()
            journal.write(("a", "t"), record("a"))
            at = now()
            await trio.sleep(1)
            assert len(synced) == 1
            assert synced[0] - at < 1
            # A live process updates the file's time, however long its call lasts.
            path_time = at - 5000
            os.utime(path, (path_time, path_time))
            await trio.sleep(61)
            assert modified(path) > path_time + 1000
            nursery.cancel_scope.cancel()


# ---------------------------------------------------------------------- a process that is killed

PROGRAM = """
import sys
import trio
from spech import Account, PortRange, open_phone

async def main(role, journal, peer):
    async with open_phone(
        listen=("127.0.0.1", 0), ports=PortRange(37_460, 37_479), journal=journal
    ) as phone:
        if role == "call":
            async with phone.call(peer) as call:
                while True:
                    print(call.state, flush=True)
                    await call.changed()
        else:
            incoming = phone.incoming_calls()
            print(*phone.address, flush=True)
            arrived = await anext(incoming)
            if role == "ring":
                print("ringing", flush=True)
                await trio.sleep_forever()
            async with arrived.answer() as call:
                print(call.state, flush=True)
                await call.ended()

trio.run(main, *sys.argv[1:])
"""


class Process:
    """A program with a phone, in a separate process."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._text = ""

    async def says(self, word: str) -> None:
        """Wait until a line begins with ``word``."""
        await self.line(word)

    async def line(self, word: str = "") -> str:
        assert self._process.stdout is not None
        with trio.fail_after(10):
            while True:
                *lines, _ = self._text.split("\n")
                for line in lines:
                    if line.startswith(word):
                        return line
                data = await self._process.stdout.receive_some()
                assert data, "the program has ended"
                self._text += data.decode()

    async def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        await self._process.wait()


@asynccontextmanager
async def program(role: str, journal: Path, peer: str = "") -> AsyncIterator[Process]:
    async with trio.open_nursery() as nursery:
        run = partial(
            trio.run_process,
            [sys.executable, "-c", PROGRAM, role, str(journal), peer],
            stdout=subprocess.PIPE,
            check=False,
        )
        process: trio.Process = await nursery.start(run)
        yield Process(process)
        process.kill()


@asynccontextmanager
async def restarted(journal: Path, account: Account | None = None) -> AsyncIterator[Phone]:
    """The phone after the killed one; its farewells are sent within five seconds."""
    with trio.fail_after(5):
        async with open_phone(account, listen=LOOPBACK, ports=PORTS, journal=journal) as phone:
            yield phone


@pytest.mark.parametrize("answer", [False, True], ids=["ringing", "up"])
async def test_the_far_end_of_a_killed_caller_is_disconnected(path: Path, answer: bool) -> None:
    async with open_phone(listen=LOOPBACK, ports=PORTS) as bob:
        arrivals = bob.incoming_calls()
        async with program("call", path, f"sip:bob@127.0.0.1:{bob.address[1]}") as alice:
            incoming: IncomingCall = await anext(arrivals)
            if not answer:
                await alice.says("ringing")
                await alice.kill()
                async with restarted(path):
                    await incoming.ended()
                return
            async with incoming.answer() as call:
                await alice.says("answered")
                await alice.kill()
                async with restarted(path):
                    await call.ended()
                assert call.ended_by == "remote"
    assert size(path) == 0


@pytest.mark.parametrize("role", ["ring", "answer"])
async def test_the_caller_of_a_killed_phone_is_disconnected(path: Path, role: str) -> None:
    async with (
        open_phone(listen=LOOPBACK, ports=PORTS) as alice,
        program(role, path) as bob,
    ):
        host, port = (await bob.line()).split()
        call: Call
        async with alice.call(f"sip:bob@{host}:{port}") as call:
            wanted = "ringing" if role == "ring" else "answered"
            with trio.fail_after(5):
                while call.state != wanted:
                    await call.changed()
            await bob.says(wanted)
            await bob.kill()
            async with restarted(path):
                await call.ended()
            assert (call.ended_by, call.status) == ("remote", 480 if role == "ring" else 200)


async def test_a_closed_phone_leaves_an_empty_journal(path: Path) -> None:
    async with open_phone(listen=LOOPBACK, ports=PORTS) as bob:
        arrivals = bob.incoming_calls()
        async with (
            open_phone(listen=LOOPBACK, ports=PORTS, journal=path) as alice,
            alice.call(f"sip:bob@127.0.0.1:{bob.address[1]}") as call,
        ):
            incoming = await anext(arrivals)
            async with incoming.answer():
                await call.answered(5)
                assert size(path)
    assert size(path) == 0
