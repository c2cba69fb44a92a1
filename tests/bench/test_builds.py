"""Which wheel of dist/ is measured as the compiled build."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

import spech
from bench.servers import find_wheel

SOURCE = Path(spech.__file__).read_text()
PLATFORM = "spech-0.1.0-cp311-cp311-linux_x86_64.whl"


@pytest.mark.parametrize(
    ("name", "source", "found"),
    [
        (PLATFORM, SOURCE, True),
        (PLATFORM, SOURCE + "# changed since\n", False),
        ("spech-0.1.0-py3-none-any.whl", SOURCE, False),
    ],
)
def test_a_wheel_counts_if_it_is_compiled_from_these_sources(
    tmp_path: Path, name: str, source: str, found: bool
) -> None:
    wheel = tmp_path / name
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("spech/__init__.py", source)
    assert find_wheel(tmp_path) == (wheel if found else None)


def test_a_folder_without_wheels_has_none(tmp_path: Path) -> None:
    assert find_wheel(tmp_path) is None
