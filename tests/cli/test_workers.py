"""The journals of a bridge and of its workers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from spech.cli.workers import BridgeSetup
from spech.phone.journal import Journal
from spech.sip.call.leftover import FarewellRecord


@pytest.mark.parametrize(("workers", "found"), [(1, ["0", "1", "2", "3"]), (3, ["0", "3"])])
def test_fewer_workers_than_before_take_over_all_journals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int, found: list[str]
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    nothing: Any = None
    setup = BridgeSetup(
        account=None,
        listen=("127.0.0.1", 5060),
        codecs=(),
        stun=None,
        callers=(),
        max_calls=None,
        drain=0,
        control=nothing,
        output=nothing,
        open_bridge=nothing,
    )
    flow = ("udp", ("127.0.0.1", 5060), ("127.0.0.2", 5060), "")
    for worker in range(4):
        path = setup.journal(worker, 4)
        assert path is not None
        with Journal(path, None) as journal:
            record = FarewellRecord("BYE", str(worker), "t", "sip:a@b", (flow,))
            journal.write((str(worker), "t"), record)
    first = setup.journal(0, workers)
    assert first is not None
    with Journal(first, None) as journal:
        assert sorted(call_id for call_id, _ in journal.left) == found
