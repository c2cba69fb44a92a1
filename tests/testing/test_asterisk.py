"""The test PBX starts, executes commands, and leaves nothing behind."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
import trio

from spech import open_phone
from spech.testing.asterisk import Asterisk, AsteriskUnavailable, find
from spech.testing.audio import assert_tone, read_wav, sine
from spech.testing.plugin import unavailable
from spech.testing.waiting import wait


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
        wait(lambda: "Ready" in own.log)
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


async def test_an_account_of_the_test_calls_an_extension_of_the_test(own: Asterisk) -> None:
    plan = "exten = 700,1,Answer()\n same = n,Record(${ASTSPOOLDIR}/said.wav,0,1)\n"
    with Asterisk(dialplan=plan, accounts=["carol"]) as pbx:
        async with open_phone(pbx.account("carol"), listen=("127.0.0.1", 0)) as phone:
            await phone.registered(timeout=10)
            async with phone.call("700") as call:
                await call.answered(timeout=10)
                call.play(sine(700, 8000, 3), rate=8000)
                with trio.fail_after(10):
                    await call.ended()
        (recorded,) = pbx.folder.rglob("said.wav")
        pcm, rate = read_wav(recorded)
        assert_tone(pcm[rate // 4 : rate // 2], rate, 700)


def test_files_can_be_replaced_and_folders_shared(own: Asterisk, tmp_path: Path) -> None:
    (tmp_path / "hello.txt").write_text("hello")
    plan = "[phones]\nexten = 701,1,Answer()\n"
    with Asterisk(replace={"extensions.conf": plan}) as pbx:
        shown = pbx.command("dialplan show phones")
        assert "'701'" in shown
        assert "'600'" not in shown
        seen = pbx.share("texts", tmp_path)
        assert seen.endswith("/texts")
        assert (pbx.folder / "texts/hello.txt").read_text() == "hello"


def test_a_pbx_that_runs_elsewhere_has_the_console_that_is_named(own: Asterisk) -> None:
    with own:
        program, root = find()
        enter = [] if root is None else ["chroot", str(root)]
        if enter and os.geteuid() != 0:
            enter = ["unshare", "--map-root-user", *enter]
        configuration = own.share("asterisk.conf", (own.folder / "asterisk.conf").read_bytes())
        console = [*enter, program, "-C", configuration, "-rx"]
        pbx = Asterisk.elsewhere(own.host, own.port, password="secret", console=console)
        assert pbx.account("carol").password == "secret"
        assert pbx.has_console
        assert not pbx.managed
        pbx.command("dialplan set global colour green")
        assert pbx.variable("colour") == "green"
        pbx.await_channels(0)
        failing = Asterisk.elsewhere(own.host, own.port, console=["false"])
        with pytest.raises(OSError, match="false failed"):
            failing.channels()
    with pytest.raises(OSError, match="no console was given"):
        Asterisk.elsewhere(own.host, own.port).channels()


def test_two_asterisks_run_at_once(own: Asterisk) -> None:
    with own, Asterisk() as other:
        assert own.port != other.port
        assert own.channels() == other.channels() == 0


def test_a_failed_start_reports_the_cause(own: Asterisk) -> None:
    broken = Asterisk(files={"modules.conf": "require = res_does_not_exist.so\n"})
    with pytest.raises(AsteriskUnavailable, match="res_does_not_exist"), broken:
        pass
