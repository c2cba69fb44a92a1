"""What a bot does on a call: digits, marks, interruptions, transfers, recordings, and its end."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection

from spech import CallFailed, Phone
from spech.bridge.recordings import RecordingStore
from spech.bridge.routes import compile_pattern
from spech.testing.audio import assert_tone, read_wav, sine
from spech.testing.talk import listen
from spech.testing.waiting import until

from .bots import bridged, websocket_server

Script = Callable[["Bot"], Awaitable[None]]
SPEECH = sine(1000, 8000, 5, level=-12).tobytes()


class Bot:
    """The end of a bot that speaks the protocol "raw"."""

    def __init__(self, connection: WebSocketConnection) -> None:
        self.connection = connection
        self.call: dict[str, Any] = {}

    async def say(self, pcm: bytes) -> None:
        await self.connection.send_message(pcm)

    async def ask(self, command: str, **members: Any) -> None:
        await self.connection.send_message(json.dumps({"command": command, **members}))

    async def event(self, name: str) -> dict[str, Any]:
        """Wait for the next event of that name; sound and other events are dropped."""
        while True:
            message = await self.connection.get_message()
            if isinstance(message, str) and json.loads(message)["event"] == name:
                return dict(json.loads(message))


def scripted(script: Script, done: list[str]) -> Callable[[WebSocketConnection], Awaitable[None]]:
    """A bot that follows a script; ``done`` tells how it went."""

    async def run(connection: WebSocketConnection) -> None:
        bot = Bot(connection)
        bot.call = json.loads(await connection.get_message())
        try:
            await script(bot)
        except ConnectionClosed:
            done.append("closed")
            raise
        except AssertionError as error:
            done.append(str(error))
            raise
        done.append("well")
        await trio.sleep_forever()

    return run


async def test_digits_go_both_ways() -> None:
    done: list[str] = []

    async def script(bot: Bot) -> None:
        for digit in "12#":
            assert (await bot.event("dtmf"))["digit"] == digit
        await bot.ask("dtmf", digits="*9")
        for digits in ("x", "1" * 500):
            await bot.ask("dtmf", digits=digits)
            assert (await bot.event("error"))["command"] == "dtmf"

    async with (
        websocket_server(scripted(script, done)) as url,
        bridged(url) as bridge,
        bridge.phone.call(bridge.address) as call,
    ):
        await call.answered(timeout=5)
        call.send_dtmf("12#")
        assert await call.collect_digits(2, timeout=5) == "*9"
        await until(lambda: done)
    assert done == ["well"]


async def test_a_bot_is_interrupted_and_knows_how_much_was_played() -> None:
    told: list[dict[str, Any]] = []
    done: list[str] = []

    async def script(bot: Bot) -> None:
        await bot.say(SPEECH)
        await bot.ask("mark", name="end")
        await bot.event("dtmf")
        await bot.ask("clear")
        # What follows a `clear` is not dropped by it.
        await bot.say(sine(600, 8000, 1, level=-12).tobytes())
        await bot.ask("mark", name="next")
        told.extend([await bot.event("cleared"), await bot.event("mark"), await bot.event("mark")])

    async with (
        websocket_server(scripted(script, done)) as url,
        bridged(url) as bridge,
        bridge.phone.call(bridge.address) as call,
    ):
        await call.answered(timeout=5)
        with call.open_audio() as port:
            before = await listen(port, 1)
            call.send_dtmf("1")
            after = await listen(port, 2.5)
    assert_tone(before[-4000:], 8000, 1000, level=-12)
    loud = np.flatnonzero(np.abs(after) > 500)
    assert_tone(after[loud[-1] - 6000 : loud[-1] - 400], 8000, 600, level=-12)
    cleared, end, after_it = told
    assert 700 < cleared["played_ms"] < 2500
    assert end == {"event": "mark", "name": "end", "played": False}
    assert after_it == {"event": "mark", "name": "next", "played": True}


async def test_a_bot_hangs_up_and_says_why() -> None:
    done: list[str] = []

    async def script(bot: Bot) -> None:
        await bot.ask("hangup", status=486, reason='all lines are "busy"')
        end = await bot.event("end")
        assert (end["cause"], end["status"]) == ("bot", 486)

    async with (
        websocket_server(scripted(script, done)) as url,
        bridged(url) as bridge,
        bridge.phone.call(bridge.address) as call,
    ):
        await call.answered(timeout=5)
        with trio.fail_after(5):
            await call.ended()
        assert (call.ended_by, call.reason) == ("remote", 'all lines are "busy"')
        assert (await bridge.line()).endswith('all lines are "busy"')
    assert done == ["well"]


async def test_the_end_is_told_before_the_websocket_closes() -> None:
    done: list[str] = []

    async def script(bot: Bot) -> None:
        end = await bot.event("end")
        assert (end["cause"], end["status"]) == ("hangup", 200)

    async with websocket_server(scripted(script, done)) as url, bridged(url) as bridge:
        async with bridge.phone.call(bridge.address) as call:
            await call.answered(timeout=5)
        await bridge.line()
    assert done == ["well"]


@pytest.mark.parametrize("accepts", [True, False])
async def test_a_bot_transfers_the_caller(accepts: bool) -> None:
    done: list[str] = []
    other = ""

    async def script(bot: Bot) -> None:
        await bot.ask("transfer", target=other)
        told = await bot.event("transferred")
        assert (told["status"] == 200) is accepts
        if accepts:
            assert (await bot.event("end"))["cause"] == "transfer"

    async def answer(phone: Phone) -> None:
        async for incoming in phone.incoming_calls():
            if not accepts:
                incoming.reject(486)
                continue
            async with incoming.answer() as call:
                await call.ended()

    async with (
        websocket_server(scripted(script, done)) as url,
        bridged(url) as bridge,
        bridged(url) as third,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(answer, third.phone)
        other = f"sip:carol@127.0.0.1:{third.phone.address[1]}"
        async with bridge.phone.call(bridge.address) as call:
            transfers = call.transfers()
            await call.answered(timeout=5)
            with trio.fail_after(10):
                request = await anext(transfers)
                async with request.follow() as followed:
                    if accepts:
                        await followed.answered(timeout=5)
                        await call.ended()
                    else:
                        await followed.ended()
                await until(lambda: done)
            assert call.state == ("ended" if accepts else "answered")
        nursery.cancel_scope.cancel()
    assert done == ["well"]


@pytest.mark.parametrize("answers", [True, False])
async def test_a_bot_transfers_the_caller_once_the_target_has_answered(answers: bool) -> None:
    done: list[str] = []
    met: list[str] = []
    other = ""

    async def script(bot: Bot) -> None:
        await bot.ask("transfer", target=other, attended=True)
        told = await bot.event("transferred")
        assert told["status"] == (200 if answers else 486)
        if answers:
            assert (await bot.event("end"))["cause"] == "transfer"

    async def answer(phone: Phone) -> None:
        async for incoming in phone.incoming_calls():
            if not answers:
                incoming.reject(486)
                continue
            async with incoming.answer() as call:
                await until(lambda: done)
                met.append(call.state)
                await call.ended()

    async with (
        websocket_server(scripted(script, done)) as url,
        bridged(url) as bridge,
        bridged(url) as third,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(answer, third.phone)
        other = f"sip:carol@127.0.0.1:{third.phone.address[1]}"
        async with bridge.phone.call(bridge.address) as call:
            transfers = call.transfers()
            await call.answered(timeout=5)
            with trio.fail_after(10):
                if answers:
                    request = await anext(transfers)
                    async with request.follow() as followed:
                        await followed.answered(timeout=5)
                        await call.ended()
                        await until(lambda: met)
                await until(lambda: done)
            assert call.state == ("ended" if answers else "answered")
        nursery.cancel_scope.cancel()
    assert done == ["well"]
    assert met == (["answered"] if answers else [])


async def test_a_bot_transfers_to_no_target_that_may_not_be_called() -> None:
    done: list[str] = []

    async def script(bot: Bot) -> None:
        for attended in (False, True):
            await bot.ask("transfer", target="+4990012345", attended=attended)
            told = await bot.event("transferred")
            assert (told["status"], "may not be called" in told["reason"]) == (403, True)

    async with (
        websocket_server(scripted(script, done)) as url,
        bridged(url, callable_targets=[compile_pattern("60[0-9]")]) as bridge,
        bridge.phone.call(bridge.address) as call,
    ):
        await call.answered(timeout=5)
        await until(lambda: done)
        assert call.state == "answered"
        assert "REFER" not in call.ladder()
    assert done == ["well"]


async def test_a_bot_holds_the_caller_and_records_the_call(tmp_path: Path) -> None:
    done: list[str] = []

    async def script(bot: Bot) -> None:
        for name in ("../out.wav", ".hidden.wav", "a/b.wav", "call.exe"):
            await bot.ask("record", name=name)
            assert (await bot.event("error"))["command"] == "record"
        await bot.ask("record", name="call.wav")
        await bot.say(SPEECH[:16000])
        await bot.ask("mark", name="said")
        await bot.event("mark")
        await bot.ask("stop_recording")
        await bot.ask("record", name="call.wav")
        assert "already" in (await bot.event("error"))["reason"]
        await bot.ask("hold")

    async with (
        websocket_server(scripted(script, done)) as url,
        bridged(url, recordings=RecordingStore(tmp_path)) as bridge,
        bridge.phone.call(bridge.address) as call,
    ):
        await call.answered(timeout=5)
        with trio.fail_after(10):
            while not call.held:
                await call.changed()
    assert done == ["well"]
    recorded, rate = read_wav(tmp_path / "call.wav")
    loud = np.flatnonzero(np.abs(recorded) > 500)
    assert_tone(recorded[loud[0] + 800 : loud[0] + 7000], rate, 1000)


async def test_what_the_invite_says_is_told_to_the_bot() -> None:
    told: list[dict[str, Any]] = []
    done: list[str] = []

    async def script(bot: Bot) -> None:
        told.append(bot.call)

    async with (
        websocket_server(scripted(script, done)) as url,
        bridged(url, parameters={"language": "de"}) as bridge,
        bridge.phone.call(
            f"{bridge.address}?X-Customer=7&Organization=ours&Subject=an%20order&X-Long={'x' * 900}"
        ) as call,
    ):
        await call.answered(timeout=5)
        await until(lambda: done)
    (introduction,) = told
    assert introduction["headers"] == {
        "X-Customer": "7",
        "Subject": "an order",
        "X-Long": "x" * 900,
    }
    assert introduction["parameters"] == {"language": "de"}


@pytest.mark.parametrize("protocol", ["raw", "asterisk"])
async def test_a_bot_answers_a_call_that_rings(protocol: str) -> None:
    told: list[Any] = []

    async def decide(connection: WebSocketConnection) -> None:
        told.append(json.loads(await connection.get_message()))
        await trio.sleep(0.3)
        for command in ("hold", "answer") if protocol == "raw" else ("ANSWER",):
            await connection.send_message(json.dumps({"command": command}))
        while True:
            message = await connection.get_message()
            if isinstance(message, str):
                told.append(json.loads(message))
            else:
                await connection.send_message(SPEECH[:1600])

    async with (
        websocket_server(decide) as url,
        bridged(url, protocol=protocol, bot_answers=True) as bridge,
        bridge.phone.call(bridge.address) as call,
    ):
        with trio.fail_after(5):
            while call.state == "trying":
                await call.changed()
        assert call.state == "ringing"
        await call.answered(timeout=5)
        with call.open_audio() as port:
            heard = await listen(port, 1)
    assert_tone(heard[-4000:], 8000, 1000, level=-12)
    if protocol == "raw":
        assert told[0]["codec"] is None
        assert told[1]["event"] == "error"
        assert told[2] == {"event": "answered", "codec": "PCMU"}


@pytest.mark.parametrize(
    ("command", "status"),
    [({"command": "reject", "status": 404}, 404), ({"command": "hangup"}, 603), (None, 603)],
)
async def test_a_bot_rejects_a_call_that_rings(command: dict[str, Any] | None, status: int) -> None:
    async def decide(connection: WebSocketConnection) -> None:
        await connection.get_message()
        if command is not None:
            await connection.send_message(json.dumps(command))
            await trio.sleep_forever()

    async with (
        websocket_server(decide) as url,
        bridged(url, bot_answers=True) as bridge,
        bridge.phone.call(bridge.address) as call,
    ):
        with pytest.raises(CallFailed) as failed:
            await call.answered(timeout=5)
        assert failed.value.status == status
        assert (await bridge.line()).endswith(f"rejected by the bot with {status}")


async def test_a_caller_gives_up_while_a_bot_decides() -> None:
    done: list[str] = []

    async def script(bot: Bot) -> None:
        assert (await bot.event("end"))["cause"] == "hangup"

    async with (
        websocket_server(scripted(script, done)) as url,
        bridged(url, bot_answers=True) as bridge,
    ):
        async with bridge.phone.call(bridge.address) as call:
            with trio.fail_after(5):
                while call.state == "trying":
                    await call.changed()
        assert (await bridge.line()).endswith("they gave up")
    assert done == ["well"]


async def test_a_bot_speaks_before_it_answers() -> None:
    told: list[str] = []

    async def announce(connection: WebSocketConnection) -> None:
        await connection.get_message()
        await connection.send_message(json.dumps({"command": "early_media"}))
        while isinstance(await connection.get_message(), str):
            pass
        await connection.send_message(SPEECH[:16000])
        await connection.send_message(json.dumps({"command": "mark", "name": "said"}))
        while True:
            message = await connection.get_message()
            if isinstance(message, str):
                told.append(json.loads(message)["event"])
                if told[-1] == "mark":
                    await connection.send_message(json.dumps({"command": "answer"}))

    async with (
        websocket_server(announce) as url,
        bridged(url, bot_answers=True) as bridge,
        bridge.phone.call(bridge.address) as call,
    ):
        with trio.fail_after(5):
            while call.state != "early":
                await call.changed()
        with call.open_audio() as port:
            heard = await listen(port, 0.9)
        assert_tone(heard[-4000:], 8000, 1000, level=-12)
        await call.answered(timeout=5)
        await until(lambda: told == ["mark", "answered"])
