"""The floors of docs/architecture.md are enforced, by a check that covers every file."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
#: An alias in CamelCase, private or not, or a public constant.
_ALIAS_OR_CONSTANT = re.compile("_?[A-Z][A-Za-z]*[a-z]|[A-Z][A-Z0-9_]+")

#: Forbidden imports: the importing module and the imported one.
UPWARD = {
    "spech.rtp.xr": "spech.rtp.stream",
    "spech.sip.services": "spech.sip.agent",
    "spech.web.keys": "spech.web.control",
    "spech.websocket.frames": "spech.web.app",
    "spech.media.port": "spech.media.engine",
    "spech.sip.message.grammar": "spech.sip.message.uri",
    "spech.audio.gain": "spech.audio.room",
    "spech.testing.wire": "spech.testing.plugin",
}
#: Forbidden imports for types only, which would make a cycle.
BETWEEN_TYPES = {"spech.phone.account": "spech.phone.phone"}
#: Names that several files may define, and why.
SHARED = {
    "MAKERS": "the registry reads it from the module of each codec",
    "LIBRARY": "the C library that the module of a codec wraps",
}


def check(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter with the contracts of the ``pyproject.toml`` in ``folder``."""
    program = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [program, "--no-cache"], cwd=folder, capture_output=True, text=True, check=False
    )


def test_no_file_imports_from_a_floor_above_its_own() -> None:
    result = check(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


def test_an_import_from_above_is_found(tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "spech", tmp_path / "spech")
    for importer, imported in UPWARD.items():
        _plant(tmp_path, importer, f"import {imported}")
    for importer, imported in BETWEEN_TYPES.items():
        text = f"from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import {imported}"
        _plant(tmp_path, importer, text)
    result = check(tmp_path)
    assert result.returncode == 1
    for importer, imported in (UPWARD | BETWEEN_TYPES).items():
        assert f"{importer} -> {imported} (" in result.stdout


def _plant(root: Path, module: str, text: str) -> None:
    with (root / module.replace(".", "/")).with_suffix(".py").open("a") as file:
        file.write(f"\n{text}\n")


def test_every_file_has_its_floor() -> None:
    """Each package with several files has a contract that must list all of them."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    covered = {
        container
        for contract in settings["contracts"]
        if contract["type"] == "layers" and contract.get("exhaustive")
        for container in contract["containers"]
    }
    for package in (ROOT / "spech").rglob("__init__.py"):
        files = [path for path in package.parent.glob("*.py") if path != package]
        if len(files) > 1:
            assert ".".join(package.parent.relative_to(ROOT).parts) in covered


def test_a_name_means_one_thing() -> None:
    """So that a search for a class, a type alias or a public constant finds it and nothing else."""
    places: dict[str, list[str]] = {}
    for path in sorted((ROOT / "spech").rglob("*.py")):
        for name in _names(ast.parse(path.read_text())):
            places.setdefault(name, []).append(str(path.relative_to(ROOT)))
    twice = {name: where for name, where in places.items() if len(where) > 1}
    assert {name: where for name, where in twice.items() if name not in SHARED} == {}
    assert twice.keys() >= SHARED.keys()


def _names(module: ast.Module) -> Iterator[str]:
    """The classes of a module, its type aliases and its public constants."""
    for node in ast.walk(module):
        if isinstance(node, ast.ClassDef):
            yield node.name
    for statement in module.body:
        targets: list[ast.expr] = []
        if isinstance(statement, ast.Assign):
            targets = statement.targets
        elif isinstance(statement, ast.AnnAssign):
            targets = [statement.target]
        for target in targets:
            if isinstance(target, ast.Name) and _ALIAS_OR_CONSTANT.fullmatch(target.id):
                yield target.id
