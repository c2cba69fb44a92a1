"""What a person wants of calls: do not disturb, forwarding, call waiting, recording."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio

import spech
from spech.testing.audio import samples
from spech.web.messages.call_settings import CallSettings

from .conftest import (
    PATIENCE,
    Exchange,
    Installation,
    Page,
    answered,
    bindings,
    open_page,
    run_server,
    shown,
)

USUAL: dict[str, Any] = {
    "do_not_disturb": False,
    "call_waiting": True,
    "auto_answer": False,
    "forward": "",
    "forward_busy": "",
    "forward_unanswered": "",
    "unanswered_s": 20,
    "record": False,
    "record_beep": True,
}


async def change(page: Page, **changes: Any) -> None:
    await page.ask("change_call_settings", changes=changes or USUAL)
    await page.until(lambda state: state["call_settings"] == USUAL | changes)


async def refused(exchange: Exchange, user: str = "alice") -> int:
    """The status with which a call to a page is refused."""
    async with exchange.phone.call(exchange.contacts[user]) as call:
        with pytest.raises(spech.CallFailed) as failed:
            await call.answered(10)
    return failed.value.status


async def test_the_usual_rules_let_every_call_ring(page: Page) -> None:
    assert page.state["call_settings"] == USUAL
    assert CallSettings() == CallSettings(**USUAL)


async def test_do_not_disturb_refuses_calls_shows_them_and_outlives_a_restart(
    exchange: Exchange, data_folder: Path
) -> None:
    with trio.fail_after(PATIENCE):
        async with (
            run_server(exchange, data_folder) as installation,
            open_page(installation.url) as page,
        ):
            await page.ask("save_account", **installation.settings())
            await page.registered()
            await change(page, do_not_disturb=True)
            assert await refused(exchange) == 480
            await page.until(lambda state: state["history"]["missed"] == 1)
            (call,) = (await page.ask("history"))["entries"]
            assert (call["fate"], call["direction"]) == ("missed", "incoming")
            assert call["text"] == "The call was refused: do not disturb is on."
            assert page.state["calls"] == []
        async with (
            run_server(exchange, data_folder) as installation,
            open_page(installation.url) as page,
        ):
            await page.registered()
            assert page.state["call_settings"]["do_not_disturb"]
            assert await refused(exchange) == 480
            await change(page)
            async with exchange.phone.call(exchange.contacts["alice"]):
                await page.call_in_state("ringing")


@pytest.mark.parametrize(
    "rules", [{"forward": "600"}, {"do_not_disturb": True, "forward_busy": "600"}]
)
async def test_calls_are_forwarded(exchange: Exchange, page: Page, rules: dict[str, Any]) -> None:
    await change(page, **rules)
    async with exchange.phone.call(exchange.contacts["alice"]) as call:
        await call.answered(10)
    while not (calls := (await page.ask("history"))["entries"]):
        await page.until(lambda state: state["history"]["revision"])
    assert (calls[0]["fate"], calls[0]["text"]) == ("forwarded", "The call was forwarded.")
    assert page.state["history"]["missed"] == 0


async def test_without_call_waiting_a_call_of_any_account_is_busy(
    installation: Installation, page: Page
) -> None:
    await page.ask("save_account", **installation.settings(user="bob"))
    await page.until(lambda state: bindings(state) == ["registered"] * 2)
    await change(page, call_waiting=False)
    call = await answered(page, "600")
    assert await refused(installation.exchange, "bob") == 486
    await page.ask("hang_up", call=call)
    await page.until(lambda state: shown(state, call)["state"] in ("ended", None))
    async with installation.exchange.phone.call(installation.exchange.contacts["bob"]):
        await page.until(lambda state: any(each["state"] == "ringing" for each in state["calls"]))


async def test_all_calls_are_recorded_with_a_beep(
    installation: Installation, page: Page, data_folder: Path
) -> None:
    await change(page, record=True)
    call = await answered(page, "7700")
    name = (await page.until(lambda state: shown(state, call)["recording"]))["name"]
    while not beeps(installation.exchange.listened.get("7700")):  # noqa: ASYNC110, nothing tells
        await trio.sleep(0.1)
    assert (data_folder / "recordings" / name).stat().st_mode & 0o777 == 0o600
    await page.ask("hang_up", call=call)


def beeps(sound: Any) -> bool:
    """Whether there are 1000 Hz, the beep, in the sound."""
    if sound is None:
        return False
    pcm = samples(sound)
    turns = np.exp(-2j * np.pi * 1000 * np.arange(len(pcm)) / 8000)
    return bool(abs(np.mean(pcm * turns)) > 0.002)


async def test_expensive_numbers_need_a_second_press(
    installation: Installation, page: Page
) -> None:
    changed = installation.settings(password=None, country="DE", number_format="international")
    await page.ask("save_account", account="a1", **changed)
    await page.until(lambda state: state["accounts"][0]["country"] == "DE")
    await page.registered()
    error = await page.refused("dial", target="0900 1234567")
    assert error["code"] == "costly"
    assert installation.exchange.called == []
    for target, fields in (("0900 1234567", {"confirmed": True}), ("112", {})):
        call = (await page.ask("dial", target=target, **fields))["call"]
        await page.until(partial(over, call))
    assert installation.exchange.called == ["+499001234567", "112"]


def over(call: str, state: dict[str, Any]) -> bool:
    return shown(state, call)["state"] == "ended"


async def test_an_account_registers_and_calls_through_its_proxy_under_its_own_name(
    installation: Installation, page: Page
) -> None:
    exchange = installation.exchange
    proxied = {
        "server": "pbx.invalid",
        "port": None,
        "proxy": f"127.0.0.1:{exchange.port}",
        "user": "carol",
        "display_name": "Carol at work",
        "auth_user": "c-1234",
        "stun": "127.0.0.1:9",
    }
    await page.ask("save_account", **installation.settings(**proxied))
    state = await page.until(lambda state: len(state["accounts"]) == 2 and state)
    assert proxied.items() <= state["accounts"][1].items()
    await page.until(lambda state: bindings(state) == ["registered"] * 2)
    assert "carol" in exchange.contacts
    assert exchange.usernames[-1] == "c-1234"
    await page.ask("dial", target="601", account="a2")
    await page.call_in_state("ended")
    assert exchange.names[-1] == "Carol at work"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"forward": "<sip:x>"}, "bad_target"),
        ({"unanswered_s": 1}, "bad_request"),
        ({"forward": None}, "bad_request"),
        ({"forward": 5}, "bad_request"),
        ({"no_such_rule": True}, "bad_request"),
    ],
)
async def test_unusable_rules_are_refused(page: Page, changes: dict[str, Any], code: str) -> None:
    error = await page.refused("change_call_settings", changes=changes)
    assert error["code"] == code
    assert page.state["call_settings"] == USUAL
