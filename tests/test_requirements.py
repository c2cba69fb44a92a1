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
#: Those for a framework that its users have anyway; their versions are not pinned.
FRAMEWORKS = ("livekit", "pipecat")


def test_each_dependency_is_pinned_and_hashed() -> None:
    lock = (ROOT / "tools/requirements.lock").read_text()
    pins: dict[str, list[str]] = {}
    for name, version, rest in re.findall(r"^([\w.-]+)==(\S+)(.*(?:\n    .*)*)", lock, re.M):
        pins.setdefault(canonicalize_name(name), []).append(version)
        assert "--hash=sha256:" in rest, name
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project, build = settings["project"], settings["build-system"]["requires"]
    extras = project["optional-dependencies"]
    optional = [text for name in RUNTIME_EXTRAS for text in extras[name]]
    for text in [*project["dependencies"], *optional, *build, "editables"]:
        requirement = Requirement(text)
        versions = pins[canonicalize_name(requirement.name)]
        assert all(requirement.specifier.contains(version) for version in versions), text


def test_what_compiles_is_pinned() -> None:
    """tools/wheel.sh names a wheel by its sources, so these versions have to be among them."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    hook = settings["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["mypyc"]
    requirements = [Requirement(text) for text in hook["dependencies"]]
    assert {requirement.name for requirement in requirements} == {
        "hatch-mypyc",
        "mypy",
        "setuptools",
    }
    for requirement in requirements:
        assert [part.operator for part in requirement.specifier] == ["=="], requirement


def test_the_extra_all_has_everything_but_frameworks() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert set(extras) - {"all", "dev", "testing", *FRAMEWORKS} == set(RUNTIME_EXTRAS)
    (everything,) = map(Requirement, extras["all"])
    assert everything.extras == set(RUNTIME_EXTRAS)


def test_each_package_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = (ROOT / "docs/dependencies.md").read_text()
    extras = project["optional-dependencies"]
    optional = [text for name in (*RUNTIME_EXTRAS, *FRAMEWORKS) for text in extras[name]]
    for package in [*project["dependencies"], *optional]:
        assert re.search(rf"^\|.*\b{Requirement(package).name}\b", text, re.M | re.I), package
