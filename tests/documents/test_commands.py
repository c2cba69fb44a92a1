"""The ``console`` blocks of docs/commands.md run, and print what they say.

A line that begins with ``$`` is a command for Bash. The lines after it are what it prints; ``…``
stands for any text, or for any number of lines where it is alone. All blocks run in one folder, one
after the other, against the exchange that the document names, at another port.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from spech.cli import main
from spech.cli.profiles import config_file, default_account, find_profile
from spech.testing.audio import sine, write_wav

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs/commands.md").read_text()
BLOCKS = [block[1] for block in re.finditer(r"^```console\n(.*?)^```$", DOCUMENT, re.M | re.S)]
ADDRESS = "127.0.0.1:5060"
PATIENCE = 60


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without a configuration file, where ``spech`` is the one of this environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


@pytest.fixture
def address(folder: Path) -> Iterator[str]:
    """Where the exchange of the document runs."""
    (words,) = re.findall(rf"^spech exchange --listen {ADDRESS} (.*)$", DOCUMENT, re.M)
    command = ["spech", "exchange", "--listen", "127.0.0.1:0", *words.split(), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["address"]
        process.terminate()


def output_of(command: str) -> str:
    """What a command prints to standard output; in this process where it needs no shell."""
    words = shlex.split(command)
    if words[0] == "spech" and not {"|", ">", "2>"} & set(words):
        result = CliRunner().invoke(main, words[1:])
        assert result.exit_code == 0, f"{command}: {result.stderr}"
        return result.stdout
    ended = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ended.returncode == 0, f"{command}: {ended.stderr}"
    return ended.stdout


def pattern_of(expected: str) -> str:
    """The regular expression that matches what a command should print."""
    return "".join(
        r"(?:.*\n)*?" if line == "…\n" else re.escape(line).replace("…", ".*?")
        for line in expected.splitlines(keepends=True)
    )


def test_commands_print_what_the_document_says(
    address: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_wav(folder / "hello.wav", sine(440, 8000, 0.5), 8000)
    assert len(BLOCKS) >= 5
    for block in BLOCKS:
        for step in re.split(r"^\$ ", block, flags=re.M)[1:]:
            command, _, expected = step.partition("\n")
            if exported := re.fullmatch(r"export (\w+)=(\S+)", command):
                monkeypatch.setenv(exported[1], exported[2])
                continue
            said = output_of(command.replace(ADDRESS, address)).replace(address, ADDRESS)
            assert re.fullmatch(pattern_of(expected), said), f"{command} prints\n{said}"
    for name in ("both.wav", "echo.wav"):
        assert (folder / name).stat().st_size > 4000


def test_the_example_of_the_configuration_file_is_valid() -> None:
    config_file().parent.mkdir()
    (example,) = re.findall(r"^```toml\n(.*?)^```$", DOCUMENT, re.M | re.S)
    config_file().write_text(example.replace("secret-tool lookup", "echo"))
    (config_file().parent / "provider.password").write_text("wonderland\n")
    assert default_account() == "work"
    work, provider = find_profile("work"), find_profile("provider")
    assert work.account.password == "sip alice@pbx.example.org"
    assert work.options["codec_names"] == ["opus;bitrate=24000", "G722", "PCMA"]
    assert (provider.account.password, provider.account.transport) == ("wonderland", "tls")
