"""What several folders of tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from spech.testing.asterisk import Asterisk


@pytest.fixture
def pbx(asterisk: Asterisk) -> Asterisk:
    """An Asterisk whose command line is within reach."""
    if not asterisk.managed:
        pytest.skip("only the SIP side of this PBX is within reach")
    return asterisk


@pytest.fixture
def trace(pbx: Asterisk) -> Iterator[Callable[[], str]]:
    """What Asterisk logged since the test began, SIP messages included."""
    pbx.command("pjsip set logger on")
    start = len(pbx.log)
    yield lambda: pbx.log[start:]
    pbx.command("pjsip set logger off")
