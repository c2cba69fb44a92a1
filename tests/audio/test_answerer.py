"""People and answering machines are told apart by their greetings, as espeak-ng says them."""

from __future__ import annotations

import numpy as np
import pytest

from spech.audio.answerer import AnswererDetector, Greeting
from spech.codecs.base import Samples
from spech.codecs.g711 import pcmu
from spech.testing.speech import SpeechUnavailable, speak

RATE = 8000
TICK = RATE // 50

HUMAN = {
    "en": ["Hello?", "Anna Miller.", "Hello, this is Anna.", "Yes, hello?"],
    "de": ["Ja?", "Hallo, Anna Müller.", "Müller, guten Tag."],
    "es": ["¿Dígame?", "Hola, buenos días."],
}
MACHINE = {
    "en": [
        "You have reached the mailbox of Anna Miller. Please leave a message after the tone.",
        "Hi, this is Anna. I can't take your call right now, but leave me a message.",
        "The person you are calling is not available.",
    ],
    "de": ["Guten Tag. Sie sind mit dem Anschluss von Anna Müller verbunden. Bitte sprechen Sie."],
    "es": ["Ha llamado al buzón de voz de Ana. Deje un mensaje después de la señal."],
}
GREETINGS = [
    (answerer, voice, text)
    for answerer, voices in (("human", HUMAN), ("machine", MACHINE))
    for voice, texts in voices.items()
    for text in texts
]


def noise(seconds: float, level: float = 20.0) -> Samples:
    """The noise of a room, about -64 dBFS."""
    return np.random.default_rng(1).normal(0, level, round(seconds * RATE)).astype(np.int16)


def judge(sound: Samples) -> tuple[Greeting, float] | None:
    """The greeting in a sound, and after how many seconds it was judged."""
    detector = AnswererDetector()
    for number in range(len(sound) // TICK):
        greeting = detector.feed(sound[number * TICK : (number + 1) * TICK])
        if greeting is not None:
            return greeting, (number + 1) / 50
    return None


@pytest.mark.parametrize(("answerer", "voice", "text"), GREETINGS)
def test_greetings_of_people_and_machines(answerer: str, voice: str, text: str) -> None:
    try:
        said = speak(text, RATE, voice=voice, peak=0.3)
    except SpeechUnavailable as error:
        pytest.skip(str(error))
    sound = noise(0.6 + len(said) / RATE + 2)
    sound[TICK * 30 : TICK * 30 + len(said)] += said
    codec = pcmu()
    found = judge(codec.decode(codec.encode(sound)))
    assert found is not None
    greeting, after = found
    assert greeting.answerer == answerer
    spoken = len(said) / RATE
    if answerer == "human":
        assert greeting.seconds == pytest.approx(spoken, abs=0.4)
        assert after < 0.6 + spoken + 1.0
    else:
        assert after < 0.6 + 2.5


def test_silence_and_clicks_stay_unknown() -> None:
    silent = judge(noise(5))
    assert silent == (Greeting("unknown", 0.0, 0), 4.0)
    clicks = noise(5)
    clicks[RATE :: RATE // 2] = 20000
    assert judge(clicks) == silent


def test_pauses_divide_words() -> None:
    sound = noise(6)
    for word in range(7):
        start = RATE + word * RATE // 4
        sound[start : start + RATE * 3 // 20] += noise(0.15, 3000)
    found = judge(sound)
    assert found is not None
    assert (found[0].answerer, found[0].words) == ("machine", 6)
    assert found[1] == pytest.approx(1 + 5 * 0.25 + 0.1, abs=0.03)
