"""The source distribution and the wheel, in an environment that has nothing but pip's index."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path
from typing import NamedTuple

import pytest
from markdown_it import MarkdownIt

from spech.testing.audio import sine, write_wav

from ..documents.blocks import ROOT, blocks

PATIENCE = 300
PASSWORD = "wonderland"
PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input"]


class Package(NamedTuple):
    source: Path
    wheel: Path


def run(*command: str | Path, cwd: Path, path: Path | None = None) -> None:
    environment = {**os.environ, "PYTHONPATH": str(path)} if path else None
    subprocess.run(command, cwd=cwd, env=environment, check=True, timeout=PATIENCE)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """Both distributions, the wheel built from the source distribution alone."""
    folder = tmp_path_factory.mktemp("package")
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]
    backend = folder / "backend"
    run(*PIP, "install", "--target", backend, *settings["requires"], cwd=folder)
    call = f"import sys, {settings['build-backend']} as b; getattr(b, sys.argv[1])(sys.argv[2])"
    build = [sys.executable, "-c", call]
    run(*build, "build_sdist", folder, cwd=ROOT, path=backend)
    (source,) = folder.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        archive.extractall(folder, filter="data")
    run(*build, "build_wheel", folder, cwd=folder / source.name[: -len(".tar.gz")], path=backend)
    (wheel,) = folder.glob("*.whl")
    return Package(source, wheel)


@pytest.fixture(scope="module")
def environment(package: Package, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment in which only the wheel was installed."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    programs = folder / "bin"
    run(*PIP, "--python", programs / "python", "install", package.wheel, cwd=folder)
    return programs


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode())


def test_the_wheel_has_the_library_and_the_page_alone(package: Package) -> None:
    with zipfile.ZipFile(package.wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
    with tarfile.open(package.source) as archive:
        names = [member.name for member in archive.getmembers() if member.isfile()]
    shipped = {name.partition("/")[2] for name in names}
    assert {"docs/sip.md", "tests/conftest.py", "CHANGELOG.md"} <= shipped
    library = {name for name in shipped if name.startswith("spech/")}
    page = {f"spech/web/{name}" for name in shipped if name.startswith("frontend/")}
    assert {"spech/py.typed", "spech/web/frontend/index.html"} <= library | page
    assert inside == library | page


def test_an_index_can_show_the_description(package: Package) -> None:
    told = metadata(package.wheel)
    assert told["Description-Content-Type"] == "text/markdown"
    description = str(told.get_payload())
    readme = (ROOT / "README.md").read_text()
    fenced = re.compile(r"^```.*?^```$", re.M | re.S)
    assert fenced.findall(description) == fenced.findall(readme)
    assert "docs/sip.md: the RFCs" in description.replace("`", "")
    shown = MarkdownIt().render(description)
    links = re.findall(r'(?:href|src)="([^"]*)"', shown)
    assert links
    assert all(re.match("https?://", link) for link in links), links
    assert "](" not in re.sub(r"<code.*?</code>", "", shown, flags=re.S)


def test_the_first_example_calls_the_exchange(environment: Path, tmp_path: Path) -> None:
    write_wav(tmp_path / "said.wav", sine(440, 8000, 1), 8000)
    first = next(block for block in blocks() if block.name.startswith("README.md"))
    options = ["--listen", "127.0.0.1:0", "--user", "alice", "--password", PASSWORD, "--json"]
    exchange = [str(environment / "spech"), "exchange", *options]
    with subprocess.Popen(exchange, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        try:
            assert process.stdout is not None
            address = json.loads(process.stdout.readline())["address"]
            code = first.code
            for ours, theirs in (
                ("pbx.example.org", address),
                ("…", PASSWORD),
                ("hello.wav", "said.wav"),
            ):
                assert code.count(ours) == 1
                code = code.replace(ours, theirs)
            command = [str(environment / "python"), "-W", "error", "-c", code]
            ended = subprocess.run(
                command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE
            )
        finally:
            process.terminate()
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "they pressed" in ended.stdout
    assert (tmp_path / "both.wav").stat().st_size > 8000
