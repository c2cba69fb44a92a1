"""Fixtures that several folders of tests share, and the groups that tests run in.

Most tests are pure: they need no other program and no real time, and any number can run at once.
The tests in the folders of ``REAL_TIME`` measure sound or wait for other programs, so they run
separately from those that keep the processors busy. tools/test.sh says what runs when.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from spech.phone.running import spare_collections
from spech.rtp import packet
from spech.testing.asterisk import Asterisk

REAL_TIME = frozenset(
    {
        "asterisk",
        "bridge",
        "browser",
        "cli",
        "documents",
        "examples",
        "exchange",
        "peers",
        "phone",
        "testing",
        "web",
    }
)

#: Whether the tests run on the compiled build (make test-compiled).
COMPILED = not packet.__file__.endswith(".py")
# There the lines are counted that Python executes.
collect_ignore = ["cost"] if COMPILED else []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks each test with its group. The tests with Asterisk take longest, so they come first."""
    here = Path(__file__).parent
    for item in items:
        folder = item.path.relative_to(here).parts[0]
        if folder in REAL_TIME:
            item.add_marker("real_time")
        if folder == "peers":
            item.add_marker("peers")
        if COMPILED and item.get_closest_marker("interpreted"):
            item.add_marker(pytest.mark.skip("not of compiled code"))
    items.sort(key=lambda item: item.path.parent.name != "asterisk")


def pytest_collection_finish() -> None:
    """Garbage collections pass over the thousands of tests: sound cannot wait so long."""
    spare_collections()


@pytest.fixture
def pbx(asterisk: Asterisk) -> Asterisk:
    """An Asterisk whose command line can be used."""
    if not asterisk.managed:
        pytest.skip("only the SIP side of this PBX can be reached")
    return asterisk


@pytest.fixture
def trace(pbx: Asterisk) -> Iterator[Callable[[], str]]:
    """Returns what Asterisk has logged since the test began, including SIP messages."""
    pbx.command("pjsip set logger on")
    start = len(pbx.log)
    yield lambda: pbx.log[start:]
    pbx.command("pjsip set logger off")
