"""Calls from a page, through the real library, to an exchange on loopback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

import spech
from spech.sip.message.message import Request
from spech.sip.transaction.transaction import ClientTransaction

from ..inside import sessions_of
from .conftest import (
    PATIENCE,
    Exchange,
    Installation,
    Page,
    answered,
    open_page,
    run_server,
    shown,
)


def ended(call: dict[str, Any]) -> tuple[str, int | None, str]:
    return call["ended"]["by"], call["ended"]["status"], call["ended"]["text"]


async def test_a_call_is_answered_and_hung_up(installation: Installation, page: Page) -> None:
    call = (await page.ask("dial", target=" 600 "))["call"]
    seen = await page.call_in_state("answered")
    assert (seen["id"], seen["direction"], seen["remote"]) == (call, "outgoing", "600")
    assert (seen["status"], seen["codec"], seen["muted"]) == (200, "PCMU", False)
    assert seen["answered_s"] >= 0.0
    assert seen["ended"] is None
    await page.ask("hang_up", call=call)
    assert ended(await page.call_in_state("ended")) == ("local", 200, "You hung up.")
    await page.ask("hang_up", call=call)
    await page.ask("dismiss", call=call)
    await page.until(lambda state: state["calls"] == [])
    await installation.exchange.quiet()


async def test_meters_are_sent_during_a_call(page: Page) -> None:
    call = (await page.ask("dial", target="600"))["call"]
    meters = (await page.metered(3))[-1][call]
    assert set(meters) == {
        "microphone",
        "speaker",
        "microphone_peak",
        "speaker_peak",
        "dropped",
        "lost",
        "jitter_ms",
    }
    assert -100.0 <= meters["microphone"] <= 0.0


async def test_quality_is_sent_once_a_second(page: Page) -> None:
    call = (await page.ask("dial", target="600"))["call"]
    seen = (await page.judged(lambda calls: calls.get(call, {}).get("mos")))[call]
    assert 4.0 < seen["mos_worst"] <= seen["mos"] <= seen["mos_listening"] <= 4.41
    assert (seen["codec"], seen["loss_percent"], seen["trouble"]) == ("PCMU", 0.0, None)
    assert seen["page"]["round_trip_ms"] is None
    meters, times = len(page.meters), len(page.quality)
    await page.judged(lambda _: len(page.quality) > times)
    assert 5 <= len(page.meters) - meters <= 20
    samples = (await page.ask("quality_history", call=call))["samples"]
    assert [sample["at"] for sample in samples] == list(range(1, len(samples) + 1))
    assert samples[-1]["mos"] > 4.0


async def test_a_busy_number_is_reported(page: Page) -> None:
    await page.ask("dial", target="601")
    call = await page.call_in_state("ended")
    assert ended(call) == ("remote", 486, "The line is busy.")
    assert call["answered_s"] is None


async def test_a_ringing_call_can_be_cancelled(installation: Installation, page: Page) -> None:
    call = (await page.ask("dial", target="602"))["call"]
    assert (await page.call_in_state("ringing"))["status"] == 180
    await page.ask("hang_up", call=call)
    by, _, text = ended(await page.call_in_state("ended"))
    assert (by, text) == ("local", "You ended the call before it was answered.")
    await installation.exchange.quiet()
    assert installation.exchange.heard == ["gave up"]


async def test_a_call_can_be_ended_at_the_moment_of_dialling(
    installation: Installation, page: Page
) -> None:
    await page.send("dial", target="602")
    await page.send("hang_up", call="c1")
    await page.call_in_state("ended")
    await installation.exchange.quiet()


async def test_digits_arrive_and_the_far_end_hangs_up(
    installation: Installation, page: Page
) -> None:
    call = (await page.ask("dial", target="604"))["call"]
    await page.call_in_state("answered")
    await page.ask("dtmf", call=call, digits="12*0#")
    assert ended(await page.call_in_state("ended")) == ("remote", 200, "The other side hung up.")
    assert installation.exchange.digits == ["12*0"]


async def test_a_call_is_muted_and_unmuted(page: Page) -> None:
    call = (await page.ask("dial", target="600"))["call"]
    await page.ask("mute", call=call, muted=True)
    await page.until(lambda state: state["calls"][0]["muted"])
    await page.call_in_state("answered")
    assert page.state["calls"][0]["muted"]
    await page.ask("mute", call=call, muted=False)
    await page.until(lambda state: not state["calls"][0]["muted"])


async def test_an_incoming_call_is_answered(installation: Installation, page: Page) -> None:
    exchange = installation.exchange
    assert exchange.contact is not None
    async with exchange.phone.call(exchange.contact, caller="sip:bob@127.0.0.1") as outgoing:
        seen = await page.call_in_state("ringing")
        assert (seen["direction"], seen["remote"]) == ("incoming", "bob")
        await page.ask("answer", call=seen["id"])
        await outgoing.answered(PATIENCE)
        assert (await page.call_in_state("answered"))["codec"] == "PCMU"
    assert ended(await page.call_in_state("ended")) == ("remote", 200, "The other side hung up.")


async def test_an_incoming_call_is_declined(installation: Installation, page: Page) -> None:
    exchange = installation.exchange
    assert exchange.contact is not None
    async with exchange.phone.call(exchange.contact) as outgoing:
        seen = await page.call_in_state("ringing")
        await page.ask("decline", call=seen["id"])
        await outgoing.ended()
        assert (outgoing.status, outgoing.ended_by) == (603, "remote")
    assert ended(await page.call_in_state("ended")) == ("local", 603, "You declined the call.")


async def test_an_incoming_call_is_cancelled_by_the_caller(
    installation: Installation, page: Page
) -> None:
    exchange = installation.exchange
    assert exchange.contact is not None
    async with exchange.phone.call(exchange.contact):
        seen = await page.call_in_state("ringing")
    call = await page.call_in_state("ended")
    assert ended(call)[0] == "remote"
    assert "before you answered" in ended(call)[2]
    assert (await page.refused("answer", call=seen["id"]))["code"] == "no_such_call"


async def test_a_call_answered_elsewhere_is_reported(
    installation: Installation, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange = installation.exchange
    assert exchange.contact is not None
    cancel = ClientTransaction.cancel

    def cancel_with_reason(transaction: ClientTransaction) -> Request:
        request = cancel(transaction)
        return request.replace(headers=request.headers.add("Reason", "SIP;cause=200"))

    monkeypatch.setattr(ClientTransaction, "cancel", cancel_with_reason)
    async with exchange.phone.call(exchange.contact):
        await page.call_in_state("ringing")
    call = await page.call_in_state("ended")
    assert call["ended"]["elsewhere"]
    assert ended(call)[2] == "The call was answered on another phone."


async def test_the_next_call_removes_the_ended_one_from_the_list(page: Page) -> None:
    await page.ask("dial", target="601")
    await page.call_in_state("ended")
    await page.ask("dial", target="602")
    await page.until(lambda state: [call["id"] for call in state["calls"]] == ["c2"])


async def test_the_number_of_calls_is_limited(page: Page) -> None:
    for _ in range(8):
        await page.ask("dial", target="602")
    assert (await page.refused("dial", target="602"))["code"] == "call_limit"


async def test_impossible_commands_are_reported(page: Page) -> None:
    async def code(command: str, **fields: Any) -> str:
        code: str = (await page.refused(command, **fields))["code"]
        return code

    assert await code("dial", target="") == "bad_target"
    assert await code("dial", target="<600>") == "bad_target"
    assert await code("dial", target="()") == "bad_target"
    assert await code("hang_up", call="c1") == "no_such_call"
    call = (await page.ask("dial", target="602"))["call"]
    assert await code("dtmf", call=call, digits="12x") == "bad_digits"
    assert await code("dtmf", call=call, digits="12") == "not_answered"
    assert await code("dismiss", call=call) == "no_such_call"
    assert await code("decline", call=call) == "no_such_call"
    error = await page.refused("save_account", account="a1", **_SETTINGS)
    assert error["hint"] == "Hang up first."


_SETTINGS = {
    "server": "127.0.0.1",
    "port": 5060,
    "transport": "udp",
    "user": "alice",
    "password": "x",
    "codecs": ["PCMU"],
}


async def test_an_invalid_target_is_reported_in_words(page: Page) -> None:
    await page.ask("dial", target="sip:a b@c:99999")
    assert "neither a number nor a SIP address" in ended(await page.call_in_state("ended"))[2]


async def test_a_page_that_comes_back_in_time_finds_its_call(
    exchange: Exchange, data_folder: Path
) -> None:
    with trio.fail_after(PATIENCE):
        async with run_server(exchange, data_folder, grace=1.0) as installation:
            async with open_page(installation.url) as page:
                await page.ask("save_account", **installation.settings())
                await page.registered()
                call = (await page.ask("dial", target="600"))["call"]
                await page.call_in_state("answered")
            await trio.sleep(0.2)
            async with open_page(installation.url) as page:
                assert (await page.call_in_state("answered"))["id"] == call
                await trio.sleep(1.2)
                assert page.state["calls"][0]["state"] == "answered"


async def test_calls_end_when_no_page_comes_back(exchange: Exchange, data_folder: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with run_server(exchange, data_folder, grace=0.3) as installation:
            async with open_page(installation.url) as page:
                await page.ask("save_account", **installation.settings())
                await page.registered()
                await page.ask("dial", target="600")
                await page.call_in_state("answered")
            await exchange.quiet()
            async with open_page(installation.url) as page:
                by, _, text = ended(await page.call_in_state("ended"))
            assert (by, text) == ("local", "The call was ended because no page was open.")
            # There is no page to answer a call: it rings for the grace period.
            assert exchange.contact is not None
            async with exchange.phone.call(exchange.contact) as outgoing:
                await outgoing.ended()
                assert outgoing.status == 480


async def test_stopping_the_server_ends_calls_with_a_bye(
    exchange: Exchange, data_folder: Path
) -> None:
    with trio.fail_after(PATIENCE):
        async with (
            run_server(exchange, data_folder) as installation,
            open_page(installation.url) as page,
        ):
            await page.ask("save_account", **installation.settings())
            await page.registered()
            await page.ask("dial", target="600")
            await page.call_in_state("answered")
            await page.ask("dial", target="602")
            await page.until(
                lambda state: [c["state"] for c in state["calls"]] == ["answered", "ringing"]
            )
            installation.stop.cancel()
        assert sessions_of(exchange.phone) == ()
        assert exchange.contact is None


async def test_a_held_key_is_long(installation: Installation, page: Page) -> None:
    call = (await page.ask("dial", target="607"))["call"]
    await page.call_in_state("answered")
    for digit, seconds in (("5", 0.6), ("6", 0.0)):
        await page.ask("press", call=call, digit=digit)
        await trio.sleep(seconds)
        await page.ask("release", call=call, digit=digit)
    await page.call_in_state("ended")
    assert installation.exchange.digits == ["5", "6"]
    # A digit is not sent before the previous one has ended.
    assert installation.exchange.between > 0.5


async def test_encryption_is_shown(installation: Installation, page: Page) -> None:
    await page.ask("dial", target="600")
    assert (await page.call_in_state("answered"))["encrypted"] is None
    await page.ask("hang_up", call="c1")
    await page.call_in_state("ended")
    await page.ask("save_account", account="a1", **installation.settings(encryption="sdes"))
    await page.until(lambda state: state["accounts"][0]["encryption"] == "sdes")
    await page.registered()
    call = (await page.ask("dial", target="600"))["call"]
    seen = await page.until(
        lambda state: next((c for c in state["calls"] if c["id"] == call and c["encrypted"]), None)
    )
    assert seen["encrypted"] == "SDES"
    error = await page.refused("save_account", **installation.settings(encryption="rot13"))
    assert error["code"] == "bad_request"


async def test_missing_sound_is_reported(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    call = await answered(page, "600")
    assert not shown(page.state, call)["no_sound"]
    monkeypatch.setattr(spech.Call, "no_sound", property(lambda self: True))
    await page.ask("mute", call=call, muted=True)
    await page.until(lambda state: shown(state, call)["no_sound"])
    await page.ask("hang_up", call=call)
    await page.until(lambda state: shown(state, call)["state"] == "ended")
    assert not shown(page.state, call)["no_sound"]
