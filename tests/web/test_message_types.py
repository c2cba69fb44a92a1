"""The page's message types match those of the server."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import msgspec

from spech.web.messages.calls import FollowOutcome

ROOT = Path(__file__).parent.parent.parent


def test_the_declarations_are_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location(
        "message_types", ROOT / "tools" / "message_types.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written = (ROOT / "frontend" / "messages.d.ts").read_text()
    assert written == module.declarations(), "run tools/message_types.py"


def test_every_module_of_the_page_is_checked() -> None:
    for path in (ROOT / "frontend").rglob("*.js"):
        assert path.read_text().startswith("// @ts-check\n"), path


def test_a_declined_referral_has_no_call() -> None:
    assert msgspec.json.encode(FollowOutcome()) == b"{}"
