"""tools/requirements.lock, which ``make demo`` installs, matches the dependencies in pyproject."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent


def test_each_dependency_is_pinned_and_hashed() -> None:
    lock = (ROOT / "tools/requirements.lock").read_text()
    pins: dict[str, list[str]] = {}
    for name, version, rest in re.findall(r"^([\w.-]+)==(\S+)(.*(?:\n    .*)*)", lock, re.M):
        pins.setdefault(canonicalize_name(name), []).append(version)
        assert "--hash=sha256:" in rest, name
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for text in [*project["dependencies"], "hatchling", "editables"]:
        requirement = Requirement(text)
        versions = pins[canonicalize_name(requirement.name)]
        assert all(requirement.specifier.contains(version) for version in versions), text
