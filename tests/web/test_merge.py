"""Calls merged into a conference by a page, and split again; what each far end hears."""

from __future__ import annotations

import json

import trio
from trio_websocket import WebSocketConnection

from spech.testing.audio import sine
from spech.web.audio_frames import HEADER

from .conftest import Installation, Page, answered, connect, shown, until_heard


async def speak(connection: WebSocketConnection, hertz: float) -> None:
    tone = sine(hertz, 8000, 0.02)
    number = 0
    while True:
        await connection.send_message(HEADER.pack(number, number * 160) + tone.tobytes())
        number += 1
        await connection.get_message()


async def test_calls_are_merged_and_split(installation: Installation, page: Page) -> None:
    first = await answered(page, "7700")
    second = await answered(page, "71200")
    assert page.state["calls"][0]["conference"] is None
    grant = await page.ask("audio_ticket", call=second)
    async with connect(installation.audio_url) as connection, trio.open_nursery() as nursery:
        await connection.send_message(json.dumps({"ticket": grant["ticket"], "rate": 8000}))
        await connection.get_message()
        nursery.start_soon(speak, connection, 2500.0)
        merged = (await page.ask("merge", calls=[first, second]))["conference"]
        await page.until(lambda state: not shown(state, first)["on_hold"])
        expected = {"id": merged, "gain": 0.0, "muted": False}
        assert [call["conference"] for call in page.state["calls"]] == [expected] * 2
        await until_heard(installation, "7700", 1200, 2500)
        await until_heard(installation, "71200", 700, 2500)

        third = await answered(page, "71900")
        await page.until(lambda state: shown(state, first)["on_hold"])
        assert shown(page.state, second)["on_hold"]
        await until_heard(installation, "7700")
        await until_heard(installation, "71200")
        assert (await page.ask("merge", calls=[third, first]))["conference"] == merged
        await until_heard(installation, "7700", 1200, 1900, 2500)
        await until_heard(installation, "71900", 700, 1200, 2500)

        await page.ask("mute", call=first, muted=True)
        await page.until(lambda state: all(call["muted"] for call in state["calls"]))
        await until_heard(installation, "71900", 700, 1200)
        await page.ask("mute", call=third, muted=False)
        await page.ask("member", call=first, gain=-6, muted=True)
        await page.until(
            lambda state: (
                shown(state, first)["conference"] == {"id": merged, "gain": -6.0, "muted": True}
            )
        )
        await until_heard(installation, "71900", 1200, 2500)

        await page.ask("split", call=second)
        await page.until(lambda state: shown(state, second)["conference"] is None)
        assert [call["on_hold"] for call in page.state["calls"]] == [True, False, True]
        await until_heard(installation, "71200", 2500)
        await until_heard(installation, "71900")
        await page.ask("hold", call=third, held=False)
        await page.until(lambda state: not shown(state, first)["on_hold"])
        assert shown(page.state, second)["on_hold"]
        await until_heard(installation, "7700", 1900)
        await page.ask("hang_up", call=third)
        await page.until(lambda state: shown(state, third)["state"] == "ended")
        assert shown(page.state, first)["conference"] is None
        nursery.cancel_scope.cancel()


async def test_impossible_merges_are_refused(installation: Installation, page: Page) -> None:
    call = await answered(page, "7700")
    ringing = (await page.ask("dial", target="602"))["call"]
    for calls, code in (
        ([call, ringing], "not_answered"),
        ([call, call], "no_such_call"),
        ([call, "c99"], "no_such_call"),
        ([call], "bad_request"),
    ):
        assert (await page.refused("merge", calls=calls))["code"] == code
    assert (await page.refused("split", call=call))["code"] == "no_conference"
    refused = await page.refused("member", call=call, gain=0, muted=False)
    assert refused["code"] == "no_conference"
    refused = await page.refused("member", call=call, gain=99, muted=False)
    assert refused["code"] == "bad_request"
