"""The files in docs/deploy/: the systemd unit, and the container file as far as it can be read."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from spech.errors import VaultError
from spech.web.vault import KEY_VARIABLE, Vault

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "docs/deploy"

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd is not installed"
)


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit, with a program that exists."""
    text = (DEPLOY / "spech.service").read_text()
    program = Path(sys.executable).with_name("spech")
    file = tmp_path / "spech.service"
    file.write_text(text.replace("/opt/spech/.venv/bin/spech", str(program)))
    return file


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@needs_systemd
def test_the_unit_is_valid(unit: Path) -> None:
    result = analyze("verify", unit)
    assert (result.returncode, result.stdout + result.stderr) == (0, "")


@needs_systemd
def test_the_unit_is_hardened(unit: Path) -> None:
    """An exposure of at most 2.0 of 10, as systemd counts it."""
    result = analyze("security", "--offline=yes", "--threshold=20", "--no-pager", unit)
    assert result.returncode == 0, result.stdout


def test_the_container_installs_what_the_demo_needs() -> None:
    text = (DEPLOY / "Containerfile").read_text()
    (listed,) = re.findall(r"^demo_packages=\((.*)\)$", (ROOT / "tools/setup.sh").read_text(), re.M)
    assert set(listed.split()) <= set(text.split())
    for path in re.findall(r"/opt/spech/(?!\.venv)(\S+)", text):
        assert (ROOT / path).exists()


def test_a_backup_is_restored_with_its_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in docs/operations.md: the archive lacks the key, which is stored separately."""
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    data, archive = tmp_path / "data", tmp_path / "spech-data.tar.gz"
    Vault(data).write(b"settings")
    command = ["tar", "-C", str(data), "-czf", str(archive), "--exclude=vault.key", "."]
    subprocess.run(command, check=True)
    key = (data / "vault.key").read_text()
    restored = tmp_path / "restored"
    restored.mkdir()
    subprocess.run(["tar", "-C", restored, "-xzf", archive], check=True)
    with pytest.raises(VaultError, match="is there, but its key"):
        Vault(restored).read()
    (restored / "vault.key").write_text(key)
    assert Vault(restored).read() == b"settings"
    (restored / "vault.key").unlink()
    monkeypatch.setenv(KEY_VARIABLE, key.strip())
    assert Vault(restored).read() == b"settings"
