"""``spech vault`` and ``spech doctor`` on a data folder that no server uses."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from spech.cli import main
from spech.web.data_lock import data_lock
from spech.web.store import Settings, Store, StoredAccount
from spech.web.vault import KEY_VARIABLE, Vault

PASSWORD = "open-sesame-42"
ACCOUNT = StoredAccount(
    id="a1",
    server="pbx.invalid",
    port=None,
    transport="udp",
    user="alice",
    password=PASSWORD,
    codecs=("PCMU",),
)


@pytest.fixture(autouse=True)
def no_key_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder with one account."""
    Store(Vault(tmp_path / "data")).save(Settings((ACCOUNT,)))
    return tmp_path / "data"


def spech(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_the_list_has_no_password(folder: Path) -> None:
    result = spech("vault", "list", "--data", folder)
    assert result.exit_code == 0
    assert result.output == "sip:alice@pbx.invalid  udp\n"


def test_a_new_key_is_made(folder: Path) -> None:
    before = (folder / "vault.key").read_bytes()
    result = spech("vault", "rekey", "--data", folder)
    assert result.exit_code == 0
    key = (folder / "vault.key").read_bytes()
    assert key != before
    assert key.decode().strip() not in result.output
    assert Store(Vault(folder)).load() == Settings((ACCOUNT,))


def test_a_key_in_the_environment_must_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "ab" * 32)
    Store(Vault(tmp_path / "data")).save(Settings((ACCOUNT,)))
    result = spech("vault", "rekey", "--data", tmp_path / "data")
    assert result.exit_code == 0
    assert f"{KEY_VARIABLE} is set and takes precedence" in result.output


def test_a_backup_is_restored(folder: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup.tar"
    with data_lock(folder):  # A server may run.
        assert spech("vault", "backup", backup, "--data", folder).exit_code == 0
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    restored = tmp_path / "restored"
    assert spech("vault", "restore", backup, "--data", restored).exit_code == 0
    assert Store(Vault(restored)).load() == Settings((ACCOUNT,))


def test_a_vault_is_overwritten_by_force_only(folder: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup.tar"
    spech("vault", "backup", backup, "--data", folder)
    Store(Vault(folder)).save(Settings())
    result = spech("vault", "restore", backup, "--data", folder)
    assert result.exit_code == 1
    assert "--force" in result.output
    assert Store(Vault(folder)).load() == Settings()
    assert spech("vault", "restore", backup, "--data", folder, "--force").exit_code == 0
    assert Store(Vault(folder)).load() == Settings((ACCOUNT,))


@pytest.mark.parametrize("command", ["rekey", "restore"])
def test_the_vault_of_a_running_server_is_not_changed(
    folder: Path, tmp_path: Path, command: str
) -> None:
    backup = tmp_path / "backup.tar"
    spech("vault", "backup", backup, "--data", folder)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    arguments: list[str | Path] = [] if command == "rekey" else [backup, "--force"]
    with data_lock(folder):
        result = spech("vault", command, *arguments, "--data", folder)
    assert result.exit_code == 1
    assert "Another Spech server" in result.output
    assert "Stop it first" in result.output
    before.pop(folder / "server.lock", None)
    assert all(path.read_bytes() == content for path, content in before.items())


@pytest.mark.parametrize("words", [("vault", "list"), ("vault", "rekey"), ("doctor",)])
def test_a_mistyped_folder_is_not_created(tmp_path: Path, words: tuple[str, ...]) -> None:
    result = spech(*words, "--data", tmp_path / "nowhere")
    assert result.exit_code == 1
    assert "There is no vault" in result.output
    assert ("not saved: --account" in result.output) == (words == ("doctor",))
    assert not (tmp_path / "nowhere").exists()


def test_a_backup_that_cannot_be_written_is_reported(folder: Path, tmp_path: Path) -> None:
    result = spech("vault", "backup", tmp_path / "nowhere" / "backup.tar", "--data", folder)
    assert result.exit_code == 1
    assert "nowhere/backup.tar: No such file or directory" in result.output


def test_an_unknown_host_is_diagnosed(folder: Path) -> None:
    """RFC 6761 reserves the name; a machine without DNS says so after 4 s."""
    result = spech("doctor", "--data", folder)
    assert result.exit_code == 1
    assert "sip:alice@pbx.invalid" in result.output
    assert "name         failed" in result.output
    assert "Check the spelling" in result.output
    assert PASSWORD not in result.output


def test_an_empty_vault_has_nothing_to_check(folder: Path) -> None:
    Store(Vault(folder)).save(Settings())
    result = spech("doctor", "--data", folder)
    assert result.exit_code == 1
    assert "No account is saved" in result.output
    assert "hint: To check an account that is not saved: --account" in result.output


def test_an_account_or_a_folder_is_checked_but_not_both(folder: Path) -> None:
    result = spech("doctor", "--account", "sip:alice@pbx.invalid", "--data", folder)
    assert result.exit_code == 2
