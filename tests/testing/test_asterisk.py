"""The test PBX starts, executes commands, and leaves nothing behind."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from spech.testing.asterisk import Asterisk, AsteriskUnavailable, find
from spech.testing.plugin import unavailable


@pytest.fixture
def own() -> Asterisk:
    """Not yet started."""
    try:
        find()
    except AsteriskUnavailable as error:
        unavailable("asterisk", str(error))
    return Asterisk(dialplan="exten = 700,1,Answer()\n same = n,Hangup()\n")


def test_asterisk_starts_and_stops_with_its_block(own: Asterisk) -> None:
    with own:
        assert own.channels() == 0
        assert "Ready" in own.log
        assert "'700'" in own.command("dialplan show phones")
        own.command("dialplan set global colour green")
        assert own.variable("colour") == "green"
        assert own.variable("color") == ""
        process_id, port = own.process_id, own.port
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            with (
                socket.socket(socket.AF_INET, kind) as taken,
                pytest.raises(OSError, match="in use"),
            ):
                taken.bind((own.host, port))
    assert not Path(f"/proc/{process_id}").exists()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind((own.host, port))
    with pytest.raises(OSError, match=r"."):
        own.command("core show version")


def test_two_asterisks_run_at_once(own: Asterisk) -> None:
    with own, Asterisk() as other:
        assert own.port != other.port
        assert own.channels() == other.channels() == 0


def test_a_failed_start_reports_the_cause(own: Asterisk) -> None:
    broken = Asterisk(files={"modules.conf": "require = res_does_not_exist.so\n"})
    with pytest.raises(AsteriskUnavailable, match="res_does_not_exist"), broken:
        pass
