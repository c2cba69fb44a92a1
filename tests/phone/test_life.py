"""A silent far end is reported soon, and its call ends without a sign of life."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest
import trio
import trio.testing

from spech import Call, PortRange, codecs, open_phone
from spech.agreement import Agreed, Direction
from spech.phone.life import Patience, PeerLife
from spech.sip.endpoint import Endpoint
from spech.sip.transaction.flow import Outgoing

from ..inside import endpoint_of, stream_of

PORTS = PortRange(37_500, 37_539)
LOOPBACK = ("127.0.0.1", 0)
THERE = ("127.0.0.1", 4000)


class Watched:
    """A call whose far end is scripted by the test, in virtual time."""

    def __init__(
        self,
        patience: Patience | None = None,
        *,
        direction: Direction = "sendrecv",
        codec: str = "PCMU",
        noise: int | None = None,
    ) -> None:
        self.now = 1000.0
        self.last_rtp: float | None = None
        self.last_rtcp: float | None = None
        self.is_up = True
        self.asked: list[float] = []
        self.heard_early: list[float] = []
        self.ended: tuple[float, int, str] | None = None
        #: What the far end still sends and answers.
        self.sends = self.reports = self.answers = True
        self._outcome: tuple[float, bool, Callable[[bool, float], None]] | None = None
        self.life = PeerLife(self, self, patience or Patience())  # type: ignore[arg-type]
        self.agree(direction, codec, noise)

    def agree(self, direction: Direction, codec: str = "PCMU", noise: int | None = None) -> None:
        agreed = Agreed(
            codec, 0, 0, None, None, THERE, THERE, direction, comfort_noise_receive=noise
        )
        self.dtx = codecs.create(codec).dtx  # As the media has it by now.
        self.life.configure(agreed, self.now)

    def fall_silent(self) -> None:
        self.sends = self.reports = False

    def die(self) -> None:
        self.sends = self.reports = self.answers = False

    @contextmanager
    def command(self) -> Iterator[tuple[None, float]]:
        yield None, self.now

    def ask_options(self, now: float, done: Callable[[bool, float], None]) -> None:
        self.asked.append(now)
        self._outcome = (now + (1 if self.answers else 32), self.answers, done)

    def hang_up(self, now: float, status: int, reason: str) -> None:
        self.ended = (now, status, reason)

    def hear_early_media(self, now: float) -> None:
        self.heard_early.append(now)

    def run(self, seconds: float) -> list[float]:
        """Advance time second by second; return when ``no_sound`` changed, from the start."""
        start, changes = self.now, []
        while self.now < start + seconds and self.ended is None:
            self.now += 1
            if self.sends:
                self.last_rtp = self.now
            if self.reports and self.now % 5 == 0:
                self.last_rtcp = self.now
            if self._outcome is not None and self.now >= self._outcome[0]:
                _, answered, done = self._outcome
                self._outcome = None
                done(answered, self.now)
            if self.life.look(self, self.now):  # type: ignore[arg-type]
                changes.append(self.now - start)
        return changes


def test_a_call_with_sound_reports_no_fault() -> None:
    call = Watched()
    assert call.run(1000) == []
    assert not call.life.no_sound
    assert call.asked == []


def test_missing_sound_is_reported_within_five_seconds() -> None:
    call = Watched()
    call.run(20)
    call.fall_silent()
    assert call.run(1000) == [5]
    assert call.life.no_sound
    # It answers OPTIONS, so the call continues; OPTIONS is not sent constantly.
    assert call.ended is None
    assert 60 <= len(call.asked) <= 70


def test_sound_that_never_arrives_is_reported() -> None:
    call = Watched()
    call.sends = False
    assert call.run(100) == [5]


def test_rtcp_without_sound_keeps_the_call() -> None:
    call = Watched()
    call.sends = call.answers = False
    assert call.run(1000) == [5]
    assert call.ended is None


def test_returning_sound_is_reported() -> None:
    call = Watched()
    call.fall_silent()
    call.run(30)
    call.sends = True
    assert call.run(30) == [1]
    assert not call.life.no_sound


def test_a_dead_far_end_ends_the_call_after_a_minute() -> None:
    call = Watched()
    call.run(20)
    died = call.now
    call.die()
    call.run(1000)
    assert call.ended == (died + 60, 408, "No sign of life from the far end for 60 s")


def test_both_timeouts_can_be_set() -> None:
    call = Watched(Patience(2, None))
    call.die()
    assert call.run(10_000) == [2]
    assert call.ended is None
    call = Watched(Patience(2, 10))
    call.die()
    call.run(1000)
    assert call.now == 1010
    assert call.ended is not None


@pytest.mark.parametrize("direction", ["sendonly", "inactive"])
def test_a_far_end_on_hold_may_be_silent_and_has_to_answer(direction: Direction) -> None:
    call = Watched()
    call.run(20)
    call.agree(direction)
    call.fall_silent()
    assert call.run(1000) == []
    assert call.ended is None
    call.die()
    call.run(80)
    assert call.ended is not None


def test_sound_is_expected_again_after_a_hold() -> None:
    call = Watched(direction="sendonly")
    call.sends = False
    assert call.run(100) == []
    call.agree("sendrecv")
    assert call.run(100) == [5]


@pytest.mark.parametrize(("codec", "noise"), [("PCMU", 13), ("opus", None), ("G729", None)])
def test_options_are_sent_before_a_pausing_far_end_counts_as_silent(
    codec: str, noise: int | None
) -> None:
    call = Watched(codec=codec, noise=noise)
    call.fall_silent()
    assert call.run(1000) == []
    assert call.asked
    call.die()
    (told,) = call.run(1000)
    assert told <= 22  # OPTIONS is sent every 15 s.
    assert call.ended is not None


def test_early_media_is_a_sign_of_life() -> None:
    call = Watched()
    call.is_up = False
    call.run(10)
    assert len(call.heard_early) == 10
    call.sends = False
    call.run(1000)
    assert len(call.heard_early) == 10
    assert call.asked == []
    assert call.ended is None


# ---------------------------------------------------------------------- two phones


@asynccontextmanager
async def silent_call(monkeypatch: pytest.MonkeyPatch, *, deaf: bool) -> AsyncIterator[Call]:
    """A call whose far end sends no sound; a deaf one does not respond either."""
    async with (
        open_phone(listen=LOOPBACK, ports=PORTS, no_sound_after=1, give_up_after=4) as alice,
        open_phone(listen=LOOPBACK, ports=PORTS, drain=0.1) as bob,
    ):
        arrivals = bob.incoming_calls()
        async with alice.call(f"sip:bob@127.0.0.1:{bob.address[1]}") as ours:
            incoming = await anext(arrivals)
            async with incoming.answer() as theirs:
                await ours.answered(5)
                await trio.sleep(0.5)
                send = Endpoint.send

                def mute(endpoint: Endpoint, outgoing: Outgoing) -> bool:
                    return (deaf and endpoint is endpoint_of(bob)) or send(endpoint, outgoing)

                monkeypatch.setattr(Endpoint, "send", mute)
                monkeypatch.setattr(stream_of(theirs), "send", lambda data: None)
                monkeypatch.setattr(stream_of(theirs), "send_rtcp", lambda data: None)
                yield ours


async def test_a_call_continues_while_options_are_answered(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with silent_call(monkeypatch, deaf=False) as call:
        await trio.sleep(8)
        assert call.no_sound
        assert call.state == "answered"


async def test_the_call_of_a_dead_far_end_is_ended(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with silent_call(monkeypatch, deaf=True) as call:
        with trio.fail_after(8):
            await call.ended()
        assert (call.ended_by, call.status) == ("local", 408)
        assert call.reason == "No sign of life from the far end for 4 s"
