"""Lists as JSON lines, of a data folder that no server uses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from spech.cli import main
from spech.web.store import Settings, Store, StoredAccount
from spech.web.vault import KEY_VARIABLE, Vault


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with one account."""
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    account = StoredAccount(
        id="a1",
        server="pbx.invalid",
        port=None,
        transport="udp",
        user="alice",
        password="open-sesame",
        codecs=("PCMU",),
    )
    Store(Vault(tmp_path / "data")).save(Settings((account,)))
    return tmp_path / "data"


def rows(folder: Path, *words: str, status: int = 0) -> list[dict[str, Any]]:
    result = CliRunner().invoke(main, [*words, "--data", str(folder), "--json"])
    assert result.exit_code == status, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_people_are_added_listed_and_removed(folder: Path) -> None:
    (added,) = rows(folder, "user", "add", "bob")
    assert added["name"] == "bob"
    assert rows(folder, "user", "list") == [{"name": "bob"}]
    (renewed,) = rows(folder, "user", "reset", "bob")
    assert len(renewed["password"]) == len(added["password"]) == 19
    assert renewed["password"] != added["password"]
    removed = CliRunner().invoke(main, ["user", "remove", "bob", "--yes", "--data", str(folder)])
    assert (removed.exit_code, removed.output) == (0, "")
    assert rows(folder, "user", "list") == []


def test_a_person_who_is_not_there_is_an_error(folder: Path) -> None:
    result = CliRunner().invoke(main, ["user", "reset", "carol", "--data", str(folder)])
    assert result.exit_code == 1
    assert result.output == "error: There is no person with the name carol.\n"


def test_accounts_are_listed_without_their_passwords(folder: Path) -> None:
    (row,) = rows(folder, "vault", "list")
    assert row == {
        "address": "sip:alice@pbx.invalid",
        "transport": "udp",
        "state": None,
        "reason": "",
        "person": "admin",
    }


def test_steps_of_a_check_up_are_told(folder: Path) -> None:
    (step,) = rows(folder, "doctor", status=1)
    assert (step["account"], step["name"]) == ("sip:alice@pbx.invalid", "name")
    assert step["passed"] is False
    assert "pbx.invalid" in step["text"]
    assert step["advice"]
