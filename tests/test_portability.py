"""Spech without what only some operating systems have; docs/portability.md lists it."""

from __future__ import annotations

import ctypes.util
import os
import random
import socket
import subprocess
import sys
import wave
from pathlib import Path
from typing import Any

import pytest

from spech import LocalProtocolError, SpechError, descriptors, locks
from spech.audio.tones import tone
from spech.codecs.library import Library
from spech.phone.journal import Journal
from spech.rtp.ports import SO_TIMESTAMPNS, PortRange, lease
from spech.sip.transaction.flow import Target
from spech.sip.transport.udp import UdpTransport
from spech.web.admin import NAME, ListAccounts, ask_server, open_admin_socket
from spech.web.data_lock import data_lock

PORTS = PortRange(38_400, 38_499)

#: Windows has none of these. The standard library and Trio have chosen their own ways before.
TAKE_AWAY = """
import os, select, socket, sys, tempfile
import trio

sys.modules["fcntl"] = sys.modules["resource"] = None
del select.poll, socket.CMSG_SPACE, socket.CMSG_LEN
for name in ("O_CLOEXEC", "O_NONBLOCK", "O_PATH", "O_DIRECTORY", "fchmod", "fchown", "geteuid",
             "pread", "pwrite", "fdatasync"):
    delattr(os, name)
for name in ("recvmsg", "recvmsg_into"):
    setattr(socket.socket, name, None)
sys.platform = "elsewhere"
"""

CALL = """
from pathlib import Path
from spech import LocalProtocolError, open_phone
from spech.cli.trace import write_private

os.chdir(sys.argv[1])
LOOPBACK = ("127.0.0.1", 0)

async def answer(phone):
    async for incoming in phone.incoming_calls():
        async with incoming.answer() as call:
            call.play("said.wav")
            print("they pressed", await call.collect_digits(2, timeout=30))
            await call.ended()

async def main():
    with trio.fail_after(60):
        async with open_phone(listen=LOOPBACK) as bob, trio.open_nursery() as nursery:
            nursery.start_soon(answer, bob)
            async with open_phone(listen=LOOPBACK) as alice:
                async with alice.call(f"sip:bob@127.0.0.1:{bob.address[1]}") as call:
                    await call.answered(timeout=30)
                    call.record("heard.wav")
                    call.send_dtmf("42")
                    await call.played()
                    while call.statistics.received < 20:
                        await trio.sleep(0.05)
                write_private(Path("call.pcap"), call.capture())
            nursery.cancel_scope.cancel()
        try:
            async with open_phone(listen=LOOPBACK, journal="journal"):
                pass
        except LocalProtocolError as error:
            print(error)

trio.run(main)
"""


def test_a_call_needs_nothing_that_windows_lacks(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "said.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(tone((1000,), 1, 8000).tobytes())
    command = [sys.executable, "-c", TAKE_AWAY + CALL, str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (ended.stdout.splitlines(), ended.stderr) == (
        [
            "they pressed 42",
            "the journal journal cannot be used: this operating system has no flock(2)",
        ],
        "",
    )
    with wave.open(str(tmp_path / "heard.wav")) as file:
        assert any(file.readframes(file.getnframes()))
    assert (tmp_path / "call.pcap").read_bytes()[:4] == b"\xd4\xc3\xb2\xa1"


def test_a_journal_and_a_data_folder_need_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "fcntl", None)
    lacking = r"this operating system has no flock\(2\)"
    with pytest.raises(LocalProtocolError, match=lacking):
        Journal(tmp_path / "journal", None)
    with pytest.raises(SpechError, match=lacking), data_lock(tmp_path):
        pass


def test_connections_are_limited_where_open_files_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descriptors, "resource", None)
    descriptors.connection_budget.cache_clear()
    try:
        assert descriptors.connection_budget("sip").limit == 1000
    finally:
        descriptors.connection_budget.cache_clear()


def test_ports_are_leased_without_arrival_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of the option means something else elsewhere."""
    monkeypatch.setattr(sys, "platform", "darwin")
    with lease("127.0.0.1", PORTS, random.Random(1)) as pair:
        assert pair.rtp.getsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS) == 0


class Sparing(socket.socket):
    """A socket of a system that grants no large buffer, and records the options."""

    options: list[tuple[Any, ...]] = []  # noqa: RUF012

    def setsockopt(self, *option: Any) -> None:
        self.options.append(option)
        if option[1] == socket.SO_RCVBUF:
            raise OSError(55, "No buffer space available")
        super().setsockopt(*option)


async def test_signalling_needs_neither_an_error_queue_nor_a_large_buffer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socket, "socket", Sparing)
    monkeypatch.setattr(sys, "platform", "darwin")
    Sparing.options.clear()
    with UdpTransport(("127.0.0.1", 0)) as transport:
        flow = transport.flow_to(Target("udp", ("127.0.0.1", 9), "localhost"))
        assert flow.local == transport.address
    assert [option[1] for option in Sparing.options] == [socket.SO_RCVBUF]


def test_the_admin_socket_has_a_plain_path_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "O_PATH")
    monkeypatch.chdir(tmp_path)  # Paths are limited to 107 bytes.
    with open_admin_socket(Path()):
        assert Path(NAME).is_socket()
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    with (
        pytest.raises(SpechError, match=r"cannot hold a Unix socket: .*too long.*--data"),
        open_admin_socket(deep),
    ):
        pass
    with pytest.raises(SpechError, match="too long"):
        ask_server(deep, ListAccounts())


def test_no_server_is_asked_where_there_are_no_unix_sockets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(socket, "AF_UNIX")
    assert ask_server(tmp_path, ListAccounts()) is None


def test_a_codec_library_has_another_name_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The linker knows no such name, so the system's own search names the file."""
    found = {"elsewhere": ctypes.util.find_library("m"), "gone": None}
    monkeypatch.setattr(ctypes.util, "find_library", found.__getitem__)
    assert Library("elsewhere", 1, "libelsewhere1").available
    assert not Library("gone", 1, "libgone1").available
