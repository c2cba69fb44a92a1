"""The vault: its contents are read back, and foreign files are refused and not changed."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spech.errors import VaultError
from spech.web.vault import KEY_VARIABLE, MAGIC, Vault

CONTENT = b'{"account": "some settings"}'


@pytest.fixture(autouse=True)
def no_key_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault(tmp_path / "data")


@pytest.fixture(scope="module")
def sealed_once(tmp_path_factory: pytest.TempPathFactory) -> Vault:
    vault = Vault(tmp_path_factory.mktemp("sealed"))
    vault.write(CONTENT)
    return vault


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_vault_is_empty(vault: Vault) -> None:
    assert vault.read() is None
    assert not vault.folder.exists()


def test_stored_content_is_read_back(vault: Vault) -> None:
    vault.write(CONTENT)
    assert vault.read() == CONTENT
    assert Vault(vault.folder).read() == CONTENT
    vault.write(b"")
    assert vault.read() == b""


def test_only_the_owner_can_read_the_files(vault: Vault) -> None:
    vault.write(CONTENT)
    assert mode(vault.folder) == 0o700
    assert mode(vault.path) == 0o600
    assert mode(vault.key_path) == 0o600
    assert {path.name for path in vault.folder.iterdir()} == {"devices.vault", "vault.key"}


def test_the_file_is_encrypted_differently_at_each_write(vault: Vault) -> None:
    vault.write(CONTENT)
    first = vault.path.read_bytes()
    vault.write(CONTENT)
    second = vault.path.read_bytes()
    assert first.startswith(MAGIC)
    assert b"settings" not in first
    assert first != second


def test_the_key_from_the_environment_is_used(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "0123456789abcdefABCDEF" + "7" * 42)
    vault.write(CONTENT)
    assert vault.read() == CONTENT
    assert not vault.key_path.exists()


@pytest.mark.parametrize("text", ["", "12", "g" * 64, "0" * 63, "0" * 65, "0" * 64 + "\x00"])
def test_an_invalid_key_is_reported(
    vault: Vault, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(os, "environ", {KEY_VARIABLE: text})
    with pytest.raises(VaultError, match=f"{KEY_VARIABLE} must hold 64 hexadecimal digits"):
        vault.write(CONTENT)
    assert not vault.path.exists()


def refused_and_left_alone(vault: Vault, match: str) -> None:
    before = vault.path.read_bytes()
    with pytest.raises(VaultError, match=match) as told:
        vault.read()
    assert str(vault.folder) in str(told.value)
    with pytest.raises(VaultError, match=match):
        vault.write(b"new settings")
    assert vault.path.read_bytes() == before


def test_an_empty_file_is_refused(vault: Vault) -> None:
    vault.write(CONTENT)
    vault.path.write_bytes(b"")
    refused_and_left_alone(vault, r"devices\.vault is not a vault")


def test_a_foreign_file_is_refused(vault: Vault) -> None:
    vault.folder.mkdir()
    vault.path.write_bytes(b"PK\x03\x04 something else entirely, quite a bit longer than a vault")
    refused_and_left_alone(vault, r"devices\.vault is not a vault")
    assert not vault.key_path.exists()


def test_a_vault_of_another_version_is_refused(vault: Vault) -> None:
    vault.write(CONTENT)
    vault.path.write_bytes(MAGIC[:-1] + b"\x02" + vault.path.read_bytes()[len(MAGIC) :])
    refused_and_left_alone(vault, "not a vault of this version")


def test_another_key_is_refused(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    vault.write(CONTENT)
    monkeypatch.setenv(KEY_VARIABLE, "00" * 32)
    refused_and_left_alone(vault, "sealed with another key")


def test_a_lost_key_is_reported_and_not_replaced(vault: Vault) -> None:
    vault.write(CONTENT)
    vault.key_path.unlink()
    refused_and_left_alone(vault, r"its key .*vault\.key is not")
    assert not vault.key_path.exists()


def test_a_damaged_key_is_reported_and_not_changed(vault: Vault) -> None:
    vault.write(CONTENT)
    vault.key_path.write_bytes(b"\xff\xfe not a key")
    refused_and_left_alone(vault, r"vault\.key must hold 64 hexadecimal digits")
    assert vault.key_path.read_bytes() == b"\xff\xfe not a key"


def test_a_folder_instead_of_the_file_is_reported(vault: Vault) -> None:
    vault.path.mkdir(parents=True)
    with pytest.raises(VaultError, match="cannot be read"):
        vault.read()


def test_a_disk_error_keeps_the_old_vault(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    vault.write(CONTENT)

    def refuse(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(VaultError, match="No space left on device"):
        vault.write(b"new settings")
    assert vault.read() == CONTENT
    assert {path.name for path in vault.folder.iterdir()} == {"devices.vault", "vault.key"}


@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_flipped_bit_is_detected(
    sealed_once: Vault, tmp_path: Path, data: st.DataObject
) -> None:
    sealed = bytearray(sealed_once.path.read_bytes())
    position = data.draw(st.integers(0, len(sealed) * 8 - 1))
    sealed[position // 8] ^= 1 << position % 8
    copy = Vault(tmp_path)
    copy.key_path.write_bytes(sealed_once.key_path.read_bytes())
    copy.path.write_bytes(sealed)
    refused_and_left_alone(copy, r"devices\.vault is (damaged|not a vault)")


@given(kept=st.integers(0, 10_000), added=st.binary(max_size=40))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_other_length_is_detected(
    sealed_once: Vault, tmp_path: Path, kept: int, added: bytes
) -> None:
    whole = sealed_once.path.read_bytes()
    sealed = whole[: kept % len(whole)] + added
    if sealed == whole:
        sealed += b"\x00"
    copy = Vault(tmp_path)
    copy.key_path.write_bytes(sealed_once.key_path.read_bytes())
    copy.path.write_bytes(sealed)
    refused_and_left_alone(copy, r"devices\.vault is (damaged|not a vault)")


def test_a_new_key_opens_the_vault_and_the_old_one_does_not(vault: Vault) -> None:
    vault.write(CONTENT)
    old = vault.key_path.read_bytes()
    vault.change_key()
    assert vault.key_path.read_bytes() != old
    assert vault.read() == CONTENT
    assert {path.name for path in vault.folder.iterdir()} == {"devices.vault", "vault.key"}
    assert mode(vault.key_path) == mode(vault.path) == 0o600
    vault.key_path.write_bytes(old)
    with pytest.raises(VaultError, match="another key"):
        vault.read()


@pytest.mark.parametrize("name", ["vault.key.new", "devices.vault", "vault.key"])
def test_a_change_of_the_key_that_is_interrupted_loses_nothing(
    vault: Vault, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process ends before the file ``name`` is put in place."""
    vault.write(CONTENT)
    replace = Path.replace

    def fail(self: Path, target: Path) -> Path:
        if Path(target).name == name:
            raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fail)
        with pytest.raises(KeyboardInterrupt):
            vault.change_key()
    assert Vault(vault.folder).read() == CONTENT
    vault.change_key()
    assert vault.read() == CONTENT
    assert {path.name for path in vault.folder.iterdir()} == {"devices.vault", "vault.key"}


def test_the_key_of_the_environment_is_replaced_by_one_in_the_folder(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "ab" * 32)
    vault.write(CONTENT)
    vault.change_key()
    monkeypatch.delenv(KEY_VARIABLE)
    assert vault.read() == CONTENT


def test_a_backup_is_restored_with_its_key(vault: Vault, tmp_path: Path) -> None:
    vault.write(CONTENT)
    backup = vault.backup()
    vault.change_key()
    vault.write(b"later")
    other = Vault(tmp_path / "other")
    for each in (vault, other):
        each.restore(backup)
        assert each.read() == CONTENT
        assert mode(each.key_path) == mode(each.path) == 0o600
    with tarfile.open(fileobj=io.BytesIO(backup)) as tar:
        assert sorted(tar.getnames()) == ["devices.vault", "vault.key"]


def test_without_a_vault_there_is_nothing_to_change_or_to_back_up(vault: Vault) -> None:
    for act in (vault.change_key, vault.backup):
        with pytest.raises(VaultError, match="There is no vault"):
            act()
    assert not vault.folder.exists()


def archive(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return content.getvalue()


def test_what_is_no_backup_changes_nothing(vault: Vault, sealed_once: Vault) -> None:
    vault.write(CONTENT)
    sealed = sealed_once.path.read_bytes()
    key = sealed_once.key_path.read_bytes()
    for content in (
        b"",
        b"junk" * 1000,
        archive({}),
        archive({"devices.vault": sealed}),
        archive({"devices.vault": sealed, "vault.key": b"ab" * 32}),
        archive({"devices.vault": sealed, "vault.key": b"no key"}),
        archive({"devices.vault": b"foreign", "vault.key": key}),
        archive({"devices.vault": sealed, "vault.key": key})[:700],
    ):
        with pytest.raises(VaultError):
            vault.restore(content)
    assert vault.read() == CONTENT


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act for other users")
def test_files_that_root_writes_belong_to_the_owner_of_the_folder(vault: Vault) -> None:
    vault.write(CONTENT)
    os.chown(vault.folder, 65534, 65534)
    vault.change_key()
    for path in (vault.path, vault.key_path):
        assert path.stat().st_uid == 65534
