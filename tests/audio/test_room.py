"""Who hears whom in a room, and level, delay and purity of the sound."""

from __future__ import annotations

import numpy as np
import pytest

from spech.audio.gain import Gain, Limiter
from spech.audio.room import Member, Room, RoomLine
from spech.audio.tones import tone
from spech.codecs import Samples

TICKS = 150


class Talker:
    """Sends one tone constantly, and keeps what it receives."""

    def __init__(self, room: Room, hertz: float, rate: int = 8000, level: float = -20) -> None:
        self.hertz, self.rate = hertz, rate
        self.line = RoomLine(room)
        self.member = self.line.member
        self.sound = tone((hertz,), 2 * TICKS / 50, rate, level=level)
        self.heard: list[Samples] = []
        self.ticks = 0

    def tick(self) -> None:
        size = self.rate // 50
        said = self.sound[self.ticks * size : (self.ticks + 1) * size]
        self.heard.append(self.line.exchange(said, self.rate)[0])
        self.ticks += 1

    def level_of(self, hertz: float) -> float:
        """The level of one tone in the last second of received sound, in dBFS."""
        sound = np.concatenate(self.heard)[-self.rate :].astype(float)
        window = np.hanning(len(sound))
        turns = np.exp(-2j * np.pi * hertz * np.arange(len(sound)) / self.rate)
        amplitude = abs(np.sum(sound * window * turns)) / window.sum()
        return float(20 * np.log10(amplitude * np.sqrt(2) / 32768 + 1e-9))


@pytest.mark.parametrize(
    "rates", [(8000,) * 4, (8000, 16000, 8000, 48000), (16000, 48000, 22050, 44100)]
)
def test_each_member_hears_all_others_but_not_itself(rates: tuple[int, ...]) -> None:
    room = Room()
    hertz = (500.0, 900.0, 1400.0, 2300.0)
    talkers = [Talker(room, each, rate) for each, rate in zip(hertz, rates, strict=True)]
    for _ in range(TICKS):
        for talker in talkers:
            talker.tick()
    for talker in talkers:
        for other in talkers:
            level = talker.level_of(other.hertz)
            if other is talker:
                assert level < -80
            else:
                assert level == pytest.approx(-20, abs=0.3)


def test_a_voice_is_delayed_by_at_most_one_tick() -> None:
    room = Room()
    first, second = RoomLine(room), RoomLine(room)
    silence, click = np.zeros(160, np.int16), np.full(160, 5000, np.int16)
    for said, reply in ((silence, silence), (silence, silence), (click, click * 2)):
        first.exchange(said, 8000)
        heard, _ = second.exchange(reply, 8000)
    assert np.array_equal(heard, click)
    heard, _ = first.exchange(silence, 8000)
    assert np.array_equal(heard, click * 2)


def test_reordered_ticks_lose_no_sound_after_the_first_time() -> None:
    room = Room()
    speaker, listener = RoomLine(room), RoomLine(room)
    silence = np.zeros(160, np.int16)
    heard = []
    for number in range(1, 100):
        turns = ["say", "hear"] if number % 3 else ["hear", "say"]
        for turn in turns:
            if turn == "say":
                speaker.exchange(np.full(160, number, np.int16), 8000)
            else:
                heard.append(int(listener.exchange(silence, 8000)[0][0]))
    settled = heard[6:]
    assert settled == list(range(settled[0], settled[0] + len(settled)))
    assert settled[-1] >= 98


def test_a_stalled_listener_continues_with_current_sound() -> None:
    room = Room()
    speaker, listener = RoomLine(room), RoomLine(room)
    silence = np.zeros(160, np.int16)
    speaker.exchange(silence, 8000)
    listener.exchange(silence, 8000)
    for number in range(1, 51):
        speaker.exchange(np.full(160, number, np.int16), 8000)
    assert listener.exchange(silence, 8000)[0][0] == 50


def test_each_member_has_its_own_gain_mute_and_level() -> None:
    room = Room()
    talkers = [Talker(room, hertz) for hertz in (500, 900, 1400)]
    talkers[0].member.gain = -10
    talkers[1].member.muted = True
    for _ in range(TICKS):
        for talker in talkers:
            talker.tick()
    assert talkers[2].level_of(500) == pytest.approx(-30, abs=0.3)
    assert talkers[2].level_of(900) < -80
    assert talkers[1].level_of(1400) == pytest.approx(-20, abs=0.3)
    assert talkers[0].member.level == pytest.approx(-30, abs=0.3)
    assert talkers[1].member.level == -96


def test_members_can_join_and_leave_at_any_time() -> None:
    room = Room()
    talkers = [Talker(room, hertz) for hertz in (500, 900)]
    for count in range(3 * TICKS):
        if count == TICKS // 2:
            talkers.append(Talker(room, 1400))
        if count == TICKS:
            talkers[1].member.leave()
            talkers[1].member.leave()
        for talker in talkers:
            if talker.ticks < 2 * TICKS:
                talker.tick()
        if count == 2 * TICKS - 1:
            break
    assert [each.room is room for each in (talkers[0].member, talkers[1].member)] == [True, False]
    assert talkers[0].level_of(900) < -80
    assert talkers[0].level_of(1400) == pytest.approx(-20, abs=0.3)
    assert talkers[1].level_of(500) < -80
    for member in room.members:
        member.leave()
    assert room.members == ()


def test_a_member_is_still_heard_after_its_rate_changes() -> None:
    room = Room()
    talker, listener = Talker(room, 500), Talker(room, 900)
    for count in range(2 * TICKS):
        if count == TICKS:
            talker.rate, talker.sound = 16000, tone((500,), 2 * TICKS / 50, 16000, level=-20)
        talker.tick()
        listener.tick()
    assert listener.level_of(500) == pytest.approx(-20, abs=0.3)


def test_the_near_end_of_a_line_hears_all_and_is_heard_by_all() -> None:
    room = Room()
    line, other = RoomLine(room), RoomLine(room)
    ours, theirs, far = (np.full(160, value, np.int16) for value in (100, 20, 3))
    for _ in range(3):
        to_far, to_near = line.exchange(theirs, 8000, ours)
        heard, _ = other.exchange(far, 8000)
    assert heard[0] == 120
    assert to_far[0] == 103
    assert to_near[0] == 23


def test_ten_loud_voices_are_attenuated_and_not_clipped() -> None:
    room = Room()
    hertz = [300 + 170 * number for number in range(10)]
    talkers = [Talker(room, each, level=-9) for each in hertz]
    for _ in range(TICKS):
        for talker in talkers:
            talker.tick()
    levels = [talkers[0].level_of(each) for each in hertz[1:]]
    assert max(levels) - min(levels) < 0.5
    sound = np.concatenate(talkers[0].heard)[-8000:].astype(float)
    power = np.abs(np.fft.rfft(sound * np.hanning(len(sound)))) ** 2
    bins = np.fft.rfftfreq(len(sound), 1 / 8000)
    wanted = np.min(np.abs(bins[:, None] - np.array(hertz[1:])), axis=1) < 12
    assert 10 * np.log10(power[wanted].sum() / power[~wanted].sum()) > 35
    assert np.abs(sound).max() < 32767


def clicks(sound: Samples, hertz: float, rate: int) -> float:
    """The largest change of slope, relative to that of a sine of the same amplitude."""
    bend = np.abs(np.diff(sound.astype(float), 2)).max()
    smooth = np.abs(sound).max() * (2 * np.pi * hertz / rate) ** 2
    return float(bend / smooth)


def test_a_gain_change_causes_no_click() -> None:
    volume = Gain()
    sound = tone((400,), 1, 8000, level=-20)
    parts = []
    for number in range(50):
        volume.decibels = -20.0 if number % 10 >= 5 else 6.0
        volume.muted = number % 7 == 0
        parts.append(volume.process(sound[number * 160 : (number + 1) * 160]))
    assert clicks(np.concatenate(parts), 400, 8000) < 1.3
    hard = np.concatenate((sound[:4000], sound[4000:4003] * 0, sound[4003:]))
    assert clicks(hard, 400, 8000) > 3


def test_zero_gain_returns_the_input_unchanged() -> None:
    sound = tone((400,), 0.02, 8000)
    assert Gain().process(sound) is sound
    assert np.array_equal(Limiter().process(sound.astype(np.int32)), sound)


def test_the_limiter_recovers() -> None:
    limiter = Limiter()
    loud = np.full(160, 60000, np.int32)
    quiet = np.full(160, 1000, np.int32)
    assert limiter.process(loud)[-1] < 32000
    assert limiter.process(quiet)[-1] < 600
    for _ in range(50):
        last = limiter.process(quiet)
    assert last[-1] == 1000


def test_a_member_that_left_neither_hears_nor_is_heard() -> None:
    room = Room()
    line, other = RoomLine(room), RoomLine(room)
    sound = np.full(160, 7, np.int16)
    other.exchange(sound, 8000)
    line.leave()
    assert not line.exchange(sound, 8000)[0].any()
    assert isinstance(line.member, Member)
    assert room.members == (other.member,)
