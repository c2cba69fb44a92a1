"""The trace of a call, from the library and from the shell."""

from __future__ import annotations

import json
from pathlib import Path

import trio.testing
from click.testing import CliRunner

from spech import PortRange, open_phone
from spech.cli import main
from spech.cli.trace import write_private

from .. import ports

PORT = ports.reserve(4)


async def test_a_call_has_a_ladder_and_a_capture(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    listen = ("127.0.0.1", 0)
    async with open_phone(listen=listen) as bob:
        async with (
            open_phone(listen=listen, ports=PortRange(PORT, PORT + 3)) as alice,
            alice.call(f"sip:bob@127.0.0.1:{bob.address[1]}") as call,
        ):
            await call.ended()
        assert "480 Temporarily Unavailable" in call.ladder()
    file = tmp_path / "call.pcap"
    file.write_bytes(call.capture())
    shown = CliRunner().invoke(main, ["trace", str(file)])
    assert shown.exit_code == 0
    for word in ("INVITE sip:bob@", "480 Temporarily Unavailable", "ACK"):
        assert word in shown.output
    listed = CliRunner().invoke(main, ["trace", str(file), "--json"]).stdout.splitlines()
    messages = [json.loads(line) for line in listed]
    assert [row["message"].split()[0] for row in messages[:1]] == ["INVITE"]
    assert messages[0]["destination"] == f"127.0.0.1:{bob.address[1]}"
    assert messages[0]["at"] <= messages[-1]["at"]
    assert messages[-1]["message"].startswith("ACK ")


def test_a_file_that_is_not_a_trace_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "song.wav"
    file.write_bytes(b"RIFF" * 20)
    shown = CliRunner().invoke(main, ["trace", str(file)])
    assert shown.exit_code == 1
    assert "not a trace that Spech wrote" in shown.output


def test_only_the_owner_can_read_a_trace(tmp_path: Path) -> None:
    new, old = tmp_path / "new.pcap", tmp_path / "old.pcap"
    old.touch(mode=0o644)
    for file in (new, old):
        write_private(file, b"data")
        assert file.read_bytes() == b"data"
        assert file.stat().st_mode & 0o777 == 0o600
