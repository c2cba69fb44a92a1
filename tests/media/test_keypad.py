"""Queued keys: their lengths, their gaps and their methods."""

from __future__ import annotations

import random

import numpy as np
import pytest

from spech.errors import LocalProtocolError
from spech.media.events import InfoDigit, MediaEvent
from spech.media.keypad import Key, Keypad, Method, read_keys
from spech.rtp.session import RtpSession
from spech.testing.audio import digits, level

RATE = 8000
UNITS = 160


class Line:
    """A keypad on a session, and the content of each tick."""

    def __init__(self, *, events: bool = False, signals: bool = False) -> None:
        self.session = RtpSession(rng=random.Random(1), epoch=0.0)
        self.agree(events)
        self.keypad = Keypad(self.session, self._take)
        self.keypad.ready = self.keypad.has_dialog = True
        self.keypad.accepts_info = signals
        self.signalled: list[tuple[str, int]] = []
        self.ticks = 0

    def _take(self, event: MediaEvent) -> None:
        assert isinstance(event, InfoDigit)
        self.signalled.append((event.digit, event.duration_ms))

    def agree(self, events: bool) -> None:
        event = 101 if events else None
        self.session.configure(
            clock_rate=8000, audio_send=0, audio_receive=0, event_send=event, event_receive=event
        )

    def dial(self, text: str, method: Method = "auto", duration: int = 100, gap: int = 60) -> None:
        self.keypad.queue(read_keys(text, method, duration, gap))

    def tick(self) -> str:
        """One tick in a letter: e(vent), E(nd), s(ilence), t(one), or - for nothing."""
        done = self.keypad.next(UNITS, RATE)
        self.session.advance(UNITS)
        if isinstance(done, tuple):
            return "".join("E" if packet.payload[1] & 0x80 else "e" for packet in done) or "s"
        if done is None:
            return "-"
        return "t" if done.any() else "s"

    def run(self) -> str:
        course = ""
        while self.keypad.busy:
            course += self.tick()
        return course


@pytest.mark.parametrize(
    ("duration", "gap", "course"),
    [(100, 60, "eeeeEEEs"), (60, 0, "eeEEE"), (1, 41, "EEE"), (40, 100, "eEEEsss")],
)
def test_a_telephone_event_has_its_length_three_end_packets_and_a_gap(
    duration: int, gap: int, course: str
) -> None:
    line = Line(events=True)
    line.dial("55", duration=duration, gap=gap)
    assert line.run() == course * 2


def test_tones_have_their_length_and_their_gap() -> None:
    line = Line()
    line.dial("12", "inband", 80, 40)
    assert line.run() == "ttttsstttts" + "s"


def test_a_digit_in_info_reports_its_length_and_keeps_the_sound() -> None:
    line = Line(signals=True)
    line.dial("4#", duration=160, gap=40)
    assert line.run() == "-" * 20
    assert line.signalled == [("4", 160), ("#", 160)]


@pytest.mark.parametrize(("character", "ticks"), [(",", 100), ("p", 100), ("w", 25)])
def test_pauses_separate_digits(character: str, ticks: int) -> None:
    line = Line(events=True)
    line.dial(f"1{character}2", duration=40, gap=40)
    assert line.run() == "eEEE" + "-" * ticks + "eEEE"


@pytest.mark.parametrize(
    ("events", "signals", "course"),
    [(True, True, "eEEE"), (False, True, "----"), (False, False, "ttss")],
)
def test_the_far_ends_support_selects_the_method(events: bool, signals: bool, course: str) -> None:
    line = Line(events=events, signals=signals)
    line.dial("7", duration=40, gap=40)
    assert line.run() == course


def test_the_method_is_chosen_when_the_digit_starts() -> None:
    line = Line(events=True)
    line.dial("12", duration=60, gap=40)
    assert [line.tick() for _ in range(5)] == ["e", "e", "E", "E", "E"]
    line.agree(False)
    assert line.run() == "tttss"


def test_events_stop_when_they_are_no_longer_negotiated() -> None:
    line = Line(events=True)
    line.dial("1", duration=80, gap=40)
    line.tick()
    line.agree(False)
    assert line.run() == "sssss"


def test_an_unsupported_method_is_an_error() -> None:
    line = Line()
    line.keypad.has_dialog = False
    for method in ("rfc4733", "info"):
        with pytest.raises(LocalProtocolError):
            line.keypad.queue(read_keys("1", method, 100, 60))
    assert not line.keypad.busy


@pytest.mark.parametrize("method", ["rfc4733", "info", "inband"])
def test_a_key_is_pressed_as_long_as_it_is_held(method: Method) -> None:
    line = Line(events=True)
    key = Key("9", method, 5, 3, held=True)
    line.keypad.queue([key])
    pressed = "".join(line.tick() for _ in range(500))
    assert set(pressed) == {{"rfc4733": "e", "info": "-", "inband": "t"}[method]} - {""}
    key.held = False
    rest = line.run()
    assert rest == {"rfc4733": "EEEs", "info": "----", "inband": "tsss"}[method]
    assert line.signalled == ([("9", 10020)] if method == "info" else [])


def test_an_early_released_key_has_the_minimum_length() -> None:
    line = Line(events=True)
    key = Key("9", "auto", 5, 3, held=True)
    line.keypad.queue([key])
    key.held = False
    assert line.run() == "eeeeEEEs"


def test_clearing_ends_the_current_digit_properly() -> None:
    line = Line(events=True)
    line.dial("1", duration=200)
    line.keypad.queue([Key("2", "auto", 5, 3, held=True)])
    line.tick()
    line.keypad.clear()
    assert line.run() == "EEEs"
    line.keypad.queue([Key("2", "auto", 5, 3, held=True)])
    line.tick()
    line.keypad.clear()
    assert line.run() == "EEEs"


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000])
def test_tones_have_the_levels_of_a_telephone(rate: int) -> None:
    line = Line()
    line.dial("147*2580369#ABCD", "inband", 80, 60)
    parts = []
    while line.keypad.busy:
        part = line.keypad.next(UNITS, rate)
        assert isinstance(part, np.ndarray)
        parts.append(part)
    sound = np.concatenate(parts)
    assert digits(sound, rate) == "147*2580369#ABCD"
    # -9 and -7 dBm0 are -4.88 dBm0 together; a square wave of full scale has 6.15 dBm0.
    assert level(sound[: rate * 8 // 100]) == pytest.approx(-4.88 - 6.15, abs=0.2)
    # No step at the border of two ticks: the tone continues in phase.
    assert np.abs(np.diff(sound[: rate * 8 // 100].astype(int))).max() < 20000
