"""``spech serve`` refuses settings that cannot work, before it starts."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from spech.cli import main


@pytest.mark.parametrize(
    ("arguments", "key", "said"),
    [
        ((), "00", "SPECH_VAULT_KEY_HEX must hold 64 hexadecimal digits"),
        (("--data", "{}/file/data"), None, "Choose another folder with --data"),
        (("--data", "{}/broken"), None, "devices.vault is not a vault of this version of Spech"),
        (("--host", "192.0.2.1"), None, "Choose an address of this machine with --host"),
        (("--host", "nowhere.invalid"), None, "Choose an address of this machine with --host"),
        (("--sip-host", "192.0.2.1"), None, "Choose an address of this machine with --sip-host"),
    ],
)
def test_the_web_phone_checks_its_settings_before_it_starts(
    arguments: tuple[str, ...],
    key: str | None,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "devices.vault").write_bytes(b"something else")
    if key is not None:
        monkeypatch.setenv("SPECH_VAULT_KEY_HEX", key)

    def start(program: object) -> None:
        pytest.fail("it has started")

    monkeypatch.setattr(sys.modules["spech.cli.serve"], "run_server", start)
    words = ("--port", "0", "--audio-port", "0", "--data", str(tmp_path / "data"), *arguments)
    result = CliRunner().invoke(main, ["serve", *(word.format(tmp_path) for word in words)])
    assert result.exit_code == 1
    assert said in result.output
