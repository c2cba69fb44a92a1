"""What ``spech`` exports is what it says, and each name explains itself."""

from __future__ import annotations

import spech


def test_all_is_complete_and_documented() -> None:
    public = {name for name in vars(spech) if not name.startswith("_")}
    modules = {name for name in public if type(getattr(spech, name)).__name__ == "module"}
    assert set(spech.__all__) == public - modules
    for name in spech.__all__:
        assert getattr(spech, name).__doc__, name
