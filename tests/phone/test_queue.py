"""Callers who wait in line, in virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from spech import Call, CallEnded, CallQueue, IncomingCall, Phone, PortRange, open_phone
from spech.testing.audio import sine, write_wav
from spech.testing.talk import hear_tone

LOOPBACK = ("127.0.0.1", 0)
PORTS = PortRange(34_240, 34_269)


class Office:
    """A phone that puts its callers into a queue, and the phone of the callers."""

    def __init__(self, desk: Phone, outside: Phone, queue: CallQueue) -> None:
        self.queue = queue
        self.ends: list[bool | str] = []
        self.patience: float | None = None
        self._desk, self._outside = desk, outside

    async def receive(self, incoming: IncomingCall) -> None:
        async with incoming.answer() as call:
            try:
                self.ends.append(await self.queue.join(call, patience=self.patience))
            except CallEnded as error:
                self.ends.append(str(error))

    @asynccontextmanager
    async def caller(self) -> AsyncIterator[Call]:
        async with self._outside.call(f"sip:desk@127.0.0.1:{self._desk.address[1]}") as call:
            await call.answered()
            await trio.sleep(0.2)
            yield call


@pytest.fixture
def music(tmp_path: Path) -> Path:
    write_wav(tmp_path / "music.wav", sine(700, 8000, 1), 8000)
    return tmp_path / "music.wav"


@pytest.fixture
async def office(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, music: Path
) -> AsyncIterator[Office]:
    async with (
        open_phone(listen=LOOPBACK, ports=PORTS) as desk,
        open_phone(listen=LOOPBACK, ports=PORTS) as outside,
    ):
        found = Office(desk, outside, CallQueue(music, limit=2))
        nursery.start_soon(desk.serve, found.receive)
        await trio.testing.wait_all_tasks_blocked()
        yield found
        nursery.cancel_scope.cancel()


async def hears(call: Call, frequency: float) -> None:
    with call.open_audio(8000) as port:
        await hear_tone(port, frequency)


async def test_callers_wait_with_music_and_are_taken_in_order(office: Office) -> None:
    async with office.caller() as one, office.caller():
        await hears(one, 700)
        async with office.queue.take() as first:
            assert len(office.queue) == 1
            assert office.queue.position(first) is None
            first.play(sine(1200, 8000, 20), rate=8000)
            await hears(one, 1200)
        async with office.queue.take() as second:
            assert second is not first
        await trio.sleep(0.1)
        assert office.ends == [True, True]


async def test_a_caller_whose_desk_fails_is_first_again(office: Office) -> None:
    async with office.caller() as one, office.caller():
        with pytest.raises(KeyError):
            async with office.queue.take() as taken:
                raise KeyError("no desk answers")
        assert office.queue.position(taken) == 0
        await hears(one, 700)
        with trio.move_on_after(1):
            async with office.queue.take() as again:
                assert again is taken
                await trio.sleep_forever()
        assert office.queue.position(taken) == 0
        assert office.ends == []


async def test_a_caller_waits_in_silence_where_the_music_is_gone(
    office: Office, music: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with office.caller() as one:
        with pytest.raises(KeyError, match="no desk"):
            async with office.queue.take() as taken:
                await trio.Path(music).unlink()
                raise KeyError("no desk answers")
        assert office.queue.position(taken) == 0
        async with office.caller():
            assert len(office.queue) == 2
            assert caplog.text.count("a caller waits in silence: ") == 2
            one.hang_up()
            await trio.sleep(0.5)
            assert (len(office.queue), len(office.ends)) == (1, 1)
            async with office.queue.take() as second:
                assert second.state == "answered"
        await trio.sleep(0.1)
        assert office.ends == ["The caller hung up while waiting.", True]


async def test_a_call_that_is_over_does_not_wait(office: Office) -> None:
    async with office.caller() as one, office.queue.take() as taken:
        one.hang_up()
        await taken.ended()
        with pytest.raises(CallEnded):
            await office.queue.join(taken)
        assert len(office.queue) == 0


async def test_a_caller_who_hangs_up_leaves_the_line(office: Office) -> None:
    async with office.caller() as one, office.caller():
        one.hang_up()
        await trio.sleep(0.5)
        assert len(office.queue) == 1
        assert office.ends == ["The caller hung up while waiting."]
        async with office.queue.take() as taken:
            assert taken.state == "answered"


async def test_a_caller_without_patience_leaves_the_line(office: Office) -> None:
    office.patience = 30
    async with office.caller() as one:
        await trio.sleep(29)
        assert (len(office.queue), office.ends) == (1, [])
        await trio.sleep(2)
        assert (len(office.queue), office.ends) == (0, [False])
        assert one.state == "ended"  # The program has left the block of the call.


async def test_a_conversation_outlasts_the_patience(office: Office) -> None:
    office.patience = 30
    async with office.caller() as one:
        async with office.queue.take():
            await trio.sleep(100)
            assert (one.state, office.ends) == ("answered", [])
        await trio.sleep(0.1)
        assert office.ends == [True]


async def test_a_caller_whose_desk_fails_after_the_patience_does_not_wait_again(
    office: Office,
) -> None:
    office.patience = 30
    async with office.caller():
        with pytest.raises(KeyError):
            async with office.queue.take():
                await trio.sleep(40)
                raise KeyError("no desk answers")
        await trio.sleep(0.1)
        assert (len(office.queue), office.ends) == (0, [False])


async def test_a_full_line_takes_nobody(office: Office) -> None:
    async with office.caller(), office.caller(), office.caller():
        assert office.ends == [False]
        assert len(office.queue) == 2
