"""The pytest plugin: installing Spech makes its fixtures available.

``asterisk`` is a real PBX for the whole test run (:mod:`spech.testing.dialplan` lists its
extensions). Without an Asterisk the tests that use it are skipped, with the reason; with
``SPECH_REQUIRE_ASTERISK=1`` in the environment they fail. ``SPECH_TEST_PBX=host:port`` names a
running PBX with the same accounts and extensions.

pytest imports this module in every run of every project that has Spech installed. So it imports
nothing else of Spech until a fixture is used.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, NoReturn

import pytest

if TYPE_CHECKING:
    from spech.testing.asterisk import Asterisk


def unavailable(what: str, reason: str) -> NoReturn:
    """Skip the test, or fail it if ``SPECH_REQUIRE_<what>=1`` requires it to run."""
    if os.environ.get(f"SPECH_REQUIRE_{what.upper()}", "0") not in ("", "0"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def asterisk() -> Iterator[Asterisk]:
    """A running Asterisk, one for all tests."""
    from spech.testing.asterisk import Asterisk, AsteriskUnavailable

    elsewhere = os.environ.get("SPECH_TEST_PBX")
    if elsewhere:
        host, _, port = elsewhere.rpartition(":")
        yield Asterisk.elsewhere(host, int(port))
        return
    with contextlib.ExitStack() as stack:
        try:
            pbx = stack.enter_context(Asterisk())
        except AsteriskUnavailable as error:
            unavailable("asterisk", str(error))
        yield pbx
