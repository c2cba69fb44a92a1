"""`spech doctor` against a real PBX, and the steps that it prints."""

from __future__ import annotations

import dataclasses
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from spech import Account, TlsSettings
from spech.phone.checkup import Step, open_checkup
from spech.testing.asterisk import Asterisk
from spech.testing.dialplan import PASSWORD
from spech.web.store import Settings, Store, StoredAccount
from spech.web.vault import KEY_VARIABLE, Vault

ALL = ["name", "connection", "registration", "options", "echo"]


async def check(account: Account, echo: str | None = None) -> list[Step]:
    async with open_checkup(account, echo=echo) as steps:
        return [step async for step in steps]


def named(steps: list[Step]) -> list[str]:
    """The names of steps, of which only the last one may have failed."""
    assert all(step.passed for step in steps[:-1])
    return [step.name for step in steps]


def run(*arguments: str, password: str = PASSWORD) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "SPECH_SIP_PASSWORD": password}
    environment.pop(KEY_VARIABLE, None)
    return subprocess.run(
        [sys.executable, "-m", "spech", "doctor", *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )


@pytest.mark.parametrize(("transport", "above"), [("udp", 0), ("tcp", 0), ("tls", 1), ("ws", 2)])
async def test_all_steps_pass(account: Account, pbx: Asterisk, transport: Any, above: int) -> None:
    carried = dataclasses.replace(
        account,
        address=f"sip:alice@{pbx.host}:{pbx.port + above}",
        transport=transport,
        tls=TlsSettings(ca_file=pbx.certificate_file),
    )
    steps = await check(carried, "600")
    assert steps[-1].passed, steps
    expected = [*ALL[:2], "certificate", *ALL[2:]] if transport == "tls" else ALL
    assert named(steps) == expected
    if transport == "tls":
        assert f"CN={pbx.host}" in steps[2].text
        assert "valid until 20" in steps[2].text
    assert "sip:alice@" not in pbx.command("pjsip show aor alice")


@pytest.mark.parametrize(
    ("tls", "text", "advice"),
    [
        (TlsSettings(), "not trusted: self-signed certificate", "authority"),
        (TlsSettings(fingerprint="ab" * 32), "is not the pinned one", "new certificate"),
        (TlsSettings(ca_file="/nonexistent"), "TLS files cannot be used", "TLS settings"),
    ],
)
async def test_a_certificate_that_is_not_trusted(
    pbx: Asterisk, tls: TlsSettings, text: str, advice: str
) -> None:
    address = f"sip:alice@{pbx.host}:{pbx.port + 1}"
    steps = await check(Account(address, password=PASSWORD, transport="tls", tls=tls))
    assert named(steps) == ["name", "connection", "certificate"]
    assert text in steps[-1].text
    assert advice in steps[-1].advice


async def test_a_port_that_does_not_speak_tls(pbx: Asterisk) -> None:
    address = f"sip:alice@{pbx.host}:{pbx.port}"
    steps = await check(Account(address, password=PASSWORD, transport="tls"))
    assert named(steps) == ["name", "connection", "certificate"]
    assert "5061" in steps[-1].advice


@pytest.mark.parametrize("number", ["601", "603", "699"])
async def test_a_number_without_an_echo(account: Account, number: str) -> None:
    """601 sends a tone of its own, 603 is busy, 699 does not exist."""
    steps = await check(account, number)
    assert named(steps) == ALL
    assert not steps[-1].passed
    assert steps[-1].advice


def test_the_command_prints_each_step(asterisk: Asterisk) -> None:
    result = run("--account", f"sip:alice@{asterisk.domain}", "--echo", "600")
    assert result.returncode == 0, result.stdout + result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == f"sip:alice@{asterisk.domain}"
    assert [line.split()[:2] for line in lines[1:]] == [[name, "ok"] for name in ALL]


def test_a_wrong_password(asterisk: Asterisk) -> None:
    result = run("--account", f"sip:alice@{asterisk.domain}", password="guessed-wrong")
    assert result.returncode == 1
    assert "registration failed  The server does not accept the user or the pass" in result.stdout
    assert "capitals matter" in result.stdout
    assert "guessed-wrong" not in result.stdout + result.stderr


def test_a_dead_port() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    result = run("--account", f"sip:alice@127.0.0.1:{port}")
    assert result.returncode == 1
    assert "connection   failed" in result.stdout
    assert "firewalls" in result.stdout
    result = run("--account", f"sip:alice@127.0.0.1:{port};transport=tcp")
    assert result.returncode == 1
    assert f"tcp:127.0.0.1:{port} refuses the connection" in result.stdout


def test_the_saved_accounts(asterisk: Asterisk, tmp_path: Path) -> None:
    accounts = [
        StoredAccount(
            id=id,
            server=asterisk.host,
            port=asterisk.port,
            transport="udp",
            user=user,
            password=password,
            codecs=("PCMA",),
        )
        for id, user, password in (("a1", "alice", "guessed-wrong"), ("a2", "bob", PASSWORD))
    ]
    Store(Vault(tmp_path / "data")).save(Settings(tuple(accounts)))
    result = run("--data", str(tmp_path / "data"), "--echo", "600")
    assert result.returncode == 1
    assert result.stdout.count("sip:") == 2
    assert "returned the tone (codec: PCMA)" in result.stdout
    assert "guessed-wrong" not in result.stdout + result.stderr
