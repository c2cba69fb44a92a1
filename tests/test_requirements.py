"""tools/requirements.lock, which ``make demo`` installs, matches the dependencies in pyproject."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent

#: The extras that users install; the others are for test suites and for work on Spech.
RUNTIME_EXTRAS = ("bridge", "files", "web")


def test_each_dependency_is_pinned_and_hashed() -> None:
    lock = (ROOT / "tools/requirements.lock").read_text()
    pins: dict[str, list[str]] = {}
    for name, version, rest in re.findall(r"^([\w.-]+)==(\S+)(.*(?:\n    .*)*)", lock, re.M):
        pins.setdefault(canonicalize_name(name), []).append(version)
        assert "--hash=sha256:" in rest, name
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    optional = [text for name in RUNTIME_EXTRAS for text in extras[name]]
    for text in [*project["dependencies"], *optional, "hatchling", "editables"]:
        requirement = Requirement(text)
        versions = pins[canonicalize_name(requirement.name)]
        assert all(requirement.specifier.contains(version) for version in versions), text


def test_the_extra_all_has_everything() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert set(extras) - {"all", "dev", "fuzz", "testing"} == set(RUNTIME_EXTRAS)
    (everything,) = map(Requirement, extras["all"])
    assert everything.extras == set(RUNTIME_EXTRAS)


def test_each_package_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = (ROOT / "docs/dependencies.md").read_text()
    extras = project["optional-dependencies"]
    optional = [text for name in RUNTIME_EXTRAS for text in extras[name]]
    for package in [*project["dependencies"], *optional]:
        assert re.search(rf"^\|.*\b{Requirement(package).name}\b", text, re.M | re.I), package
