"""Hold, transfer, two calls at once and their story, from a page to an exchange on loopback."""

from __future__ import annotations

from typing import Any

import pytest

from spech.sip.timeline import from_pcap
from spech.testing.waiting import until

from .conftest import PASSWORD, Installation, Page, answered, get, shown


def holds(page: Page) -> list[bool]:
    return [call["on_hold"] for call in page.state["calls"]]


async def test_a_call_is_held_and_resumed(page: Page) -> None:
    call = await answered(page, "600")
    await page.ask("hold", call=call, held=True)
    await page.until(lambda state: state["calls"][0]["on_hold"])
    await page.ask("hold", call=call, held=False)
    await page.until(lambda state: not state["calls"][0]["on_hold"])
    meanings = [step["meaning"] for step in (await page.ask("timeline", call=call))["steps"]]
    assert meanings[meanings.index("You put them on hold.") + 1] == "They agree."


async def test_only_one_call_is_active_at_a_time(page: Page) -> None:
    first = await answered(page, "600")
    second = await answered(page, "600")
    assert holds(page) == [True, False]
    await page.ask("hold", call=first, held=False)
    await page.until(lambda state: not shown(state, first)["on_hold"])
    assert holds(page) == [False, True]
    await page.ask("hang_up", call=first)
    await page.until(lambda state: shown(state, first)["state"] == "ended")
    assert shown(page.state, second)["on_hold"]


async def test_answering_a_call_holds_the_other_one(installation: Installation, page: Page) -> None:
    await answered(page, "600")
    exchange = installation.exchange
    assert exchange.contact is not None
    async with exchange.phone.call(exchange.contact) as outgoing:
        await page.until(lambda state: len(state["calls"]) == 2)
        assert holds(page) == [False, False]
        await page.ask("answer", call="c2")
        await outgoing.answered(5)
        await page.until(lambda state: state["calls"][0]["on_hold"])


async def test_a_hold_by_the_far_end_is_shown(installation: Installation, page: Page) -> None:
    call = await answered(page, "606")
    await page.ask("dtmf", call=call, digits="1")
    await page.until(lambda state: state["calls"][0]["held"])
    installation.exchange.patience_ends.set()
    await page.until(lambda state: not state["calls"][0]["held"])


async def test_a_call_is_transferred(installation: Installation, page: Page) -> None:
    call = await answered(page, "605")
    await page.ask("transfer", call=call, target=" 600 ")
    await page.until(lambda state: state["calls"][0]["state"] == "ended")
    (seen,) = page.state["calls"]
    assert seen["transfer"] == {"target": "600", "status": 200, "text": "", "over": True}
    assert seen["ended"]["by"] == "local"
    assert seen["ended"]["text"] == "You transferred the call."
    # Now 605 and 600 of the exchange are connected with each other.
    calls = installation.exchange.phone.active_calls
    assert [call.state for call in calls].count("answered") == 2


@pytest.mark.parametrize(
    ("called", "target", "status", "text"),
    [
        ("605", "601", 486, "The line is busy."),
        ("600", "601", 603, "The other side does not accept transfers."),
        ("605", "sip:a b@c:99999", 0, "This is neither a number nor a SIP address."),
    ],
)
async def test_a_failed_transfer_keeps_the_call(
    page: Page, called: str, target: str, status: int, text: str
) -> None:
    call = await answered(page, called)
    await page.ask("transfer", call=call, target=target)
    await page.until(lambda state: (state["calls"][0]["transfer"] or {}).get("over"))
    seen = page.state["calls"][0]
    assert (seen["transfer"]["status"], seen["transfer"]["text"]) == (status, text)
    assert seen["state"] == "answered"


async def test_an_attended_transfer_connects_two_calls(
    installation: Installation, page: Page
) -> None:
    first = await answered(page, "605")
    second = await answered(page, "600")
    await page.ask("connect", call=first, other=second)
    await page.until(lambda state: all(call["state"] == "ended" for call in state["calls"]))
    texts = {call["ended"]["text"] for call in page.state["calls"]}
    assert texts == {"You transferred the call."}


async def test_a_transfer_by_the_far_end_is_followed(page: Page) -> None:
    call = await answered(page, "608")
    await page.ask("dtmf", call=call, digits="1")
    await page.until(lambda state: state["calls"][0]["referral"] == {"target": "600"})
    new = (await page.ask("follow", call=call, accepted=True))["call"]
    await page.until(lambda state: shown(state, new)["state"] == "answered")
    assert shown(page.state, new)["remote"] == "600"
    await page.until(lambda state: shown(state, call)["state"] == "ended")
    assert shown(page.state, call)["ended"]["by"] == "remote"
    assert (await page.refused("follow", call=call, accepted=True))["code"] == "no_such_call"


async def test_a_transfer_by_the_far_end_can_be_declined(
    installation: Installation, page: Page
) -> None:
    call = await answered(page, "608")
    await page.ask("dtmf", call=call, digits="1")
    await page.until(lambda state: state["calls"][0]["referral"])
    await page.ask("follow", call=call, accepted=False)
    await page.until(lambda state: state["calls"][0]["referral"] is None)
    await until(lambda: installation.exchange.heard == ["603"])
    assert [each["state"] for each in page.state["calls"]] == ["answered"]


async def test_impossible_transfers_are_refused(page: Page) -> None:
    async def code(command: str, **fields: Any) -> str:
        code: str = (await page.refused(command, **fields))["code"]
        return code

    ringing = (await page.ask("dial", target="602"))["call"]
    assert await code("transfer", call=ringing, target="600") == "not_answered"
    assert await code("hold", call=ringing, held=True) == "not_answered"
    call = await answered(page, "605")
    assert await code("transfer", call=call, target="()") == "bad_target"
    assert await code("connect", call=call, other=ringing) == "not_answered"
    assert await code("connect", call=call, other=call) == "no_such_call"
    await page.ask("transfer", call=call, target="602")
    assert await code("transfer", call=call, target="600") == "busy"


async def test_a_call_has_a_story(installation: Installation, page: Page) -> None:
    """During the call and afterwards, even when it has left the list."""
    call = await answered(page, "600")
    steps = (await page.ask("timeline", call=call))["steps"]
    assert [step["kind"] for step in steps[:2]] == ["sent", "received"]
    await page.ask("hang_up", call=call)
    await page.call_in_state("ended")
    await installation.exchange.quiet()
    await page.ask("dismiss", call=call)
    steps = (await page.ask("timeline", call=call))["steps"]
    told = [(step["kind"], step["meaning"]) for step in steps if step["kind"] != "note"]
    assert told == [
        ("sent", "You call."),
        ("received", "It rings there."),
        ("received", "They answer."),
        ("sent", "The answer is confirmed."),
        ("sent", "You hang up."),
        ("received", "They agree."),
    ]
    assert steps[0]["title"].startswith("INVITE sip:600@127.0.0.1")
    assert steps[0]["host"] == f"127.0.0.1:{installation.exchange.port}"
    assert "CSeq" in steps[0]["message"]
    assert PASSWORD not in str(steps)
    times = [step["at"] for step in steps]
    assert times == sorted(times)


async def test_a_refused_call_shows_the_reason(page: Page) -> None:
    call = (await page.ask("dial", target="601"))["call"]
    await page.call_in_state("ended")
    steps = (await page.ask("timeline", call=call))["steps"]
    assert "The line is busy." in [step["meaning"] for step in steps]


async def test_an_unanswered_call_has_a_story(installation: Installation, page: Page) -> None:
    exchange = installation.exchange
    assert exchange.contact is not None
    async with exchange.phone.call(exchange.contact):
        seen = await page.call_in_state("ringing")
    await page.call_in_state("ended")
    steps = (await page.ask("timeline", call=seen["id"]))["steps"]
    meanings = [step["meaning"] for step in steps if step["kind"] == "received"]
    assert meanings[0] == "They call you."
    assert "They cancel the call." in meanings


async def test_the_story_can_be_downloaded(installation: Installation, page: Page) -> None:
    call = await answered(page, "600")

    async def fetch(name: str) -> tuple[int, Any, bytes]:
        return await get(f"{installation.url}calls/{name}", installation.cookie)

    _, headers, capture = await fetch(f"{call}.pcap")
    assert headers["Content-Disposition"] == f'attachment; filename="spech-{call}.pcap"'
    assert from_pcap(capture)[0].data.startswith(b"INVITE sip:600@")
    _, _, ladder = await fetch(f"{call}.txt")
    assert "200 OK (INVITE)" in ladder.decode()
    assert (await fetch("c99.pcap"))[0] == 404
