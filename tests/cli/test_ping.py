"""``spech ping``: answers, refusals and silence, in virtual time."""

from __future__ import annotations

import socket
from typing import Any

import trio
import trio.testing

from spech import PortRange, open_phone
from spech.cli.output import Output
from spech.cli.ping import Tally, ask

PORTS = PortRange(37_480, 37_489)


class Events(Output):
    """Keeps what is printed."""

    def __init__(self) -> None:
        super().__init__(as_json=True)
        self.events: list[dict[str, Any]] = []

    def result(self, text: str, /, **fields: object) -> None:
        self.events.append({"text": text, **fields})


async def test_answers_refusals_and_silence_are_told_apart(
    autojump_clock: trio.testing.MockClock,
) -> None:
    events, tally = Events(), Tally()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        async with (
            open_phone(listen=("127.0.0.1", 0), ports=PORTS, drain=0.0) as phone,
            open_phone(listen=("127.0.0.1", 0), ports=PORTS) as peer,
        ):
            there = f"sip:127.0.0.1:{peer.address[1]}"
            nobody = f"sip:127.0.0.1:{silent.getsockname()[1]}"
            for target in (there, nobody, "sip:127.0.0.1:9", f"sip:bob@{there[4:]}"):
                await ask(phone, target, 2.0, tally, events)
    tally.print(events)
    found = [(event["event"], event.get("status")) for event in events.events]
    assert found == [
        ("answer", 200),
        ("timeout", None),
        ("failed", 503),
        ("answer", 200),
        ("summary", None),
    ]
    assert [event["number"] for event in events.events[:4]] == [1, 2, 3, 4]
    summary = events.events[-1]
    assert (summary["sent"], summary["answered"], summary["lost_percent"]) == (4, 2, 50.0)
    assert summary["min_ms"] <= summary["mean_ms"] <= summary["max_ms"]
    assert summary["text"].startswith("4 sent, 2 answered, 50 % lost; ")
