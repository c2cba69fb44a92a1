"""A prompt is found in what was heard, and what is missing of it is named."""

from __future__ import annotations

import numpy as np
import pytest

from spech import codecs
from spech.codecs import Samples
from spech.testing.prompts import assert_prompt, match_prompt

RATE = 8000


def prompt(seed: int = 1) -> Samples:
    """Three words of half a second: noise, which is like nothing else, with pauses between."""
    rng = np.random.default_rng(seed)
    word, pause = RATE // 2, np.zeros(RATE // 5, np.int16)
    words = [rng.normal(0, 3000, word).astype(np.int16) for _ in range(3)]
    return np.concatenate([part for one in words for part in (one, pause)])


def silence(seconds: float) -> Samples:
    return np.zeros(round(seconds * RATE), np.int16)


def coded(sound: Samples) -> Samples:
    codec = codecs.create("PCMU")
    return np.frombuffer(codec.decode(codec.encode(sound)), np.int16)


def test_a_prompt_is_found_through_g711_and_its_delay_is_measured() -> None:
    found = assert_prompt(
        coded(np.concatenate([silence(0.7), prompt(), silence(1)])), prompt(), RATE
    )
    assert found.delay == pytest.approx(0.7, abs=0.002)
    assert found.share == 1.0


def test_a_jump_of_the_jitter_buffer_is_followed() -> None:
    said = prompt()
    heard = np.concatenate([said[: RATE // 2], silence(0.02), said[RATE // 2 :]])
    assert match_prompt(heard, said, RATE).share == 1.0


def test_a_stall_is_a_gap_and_no_end() -> None:
    said = prompt()
    at = round(0.95 * RATE)
    found = match_prompt(np.concatenate([said[:at], silence(0.1), said[at:]]), said, RATE)
    assert found.missing_end == 0
    assert found.share > 0.9


@pytest.mark.parametrize(
    ("heard", "error"),
    [
        (silence(0), "nothing was heard"),
        (silence(3), "only silence was heard"),
        (prompt(2), "another sound: 0% of it"),
        (np.concatenate([prompt()[: -round(0.5 * RATE)], silence(1)]), r"its last 0\.3 s are miss"),
        (prompt()[round(0.4 * RATE) :], r"its first 0\.[45] s are missing"),
        (np.where(np.arange(len(prompt())) // 800 % 4 == 2, 0, prompt()), "has gaps"),
    ],
)
def test_the_error_names_the_fault(heard: Samples, error: str) -> None:
    with pytest.raises(AssertionError, match=error):
        assert_prompt(heard.astype(np.int16), prompt(), RATE)


def test_a_late_prompt_is_told_apart_from_one_that_is_cut_off() -> None:
    late = np.concatenate([silence(1.2), prompt()])
    assert_prompt(late, prompt(), RATE, within=1.3)
    for heard in (late, late[: -round(0.7 * RATE)]):
        with pytest.raises(
            AssertionError, match=r"late: it begins after 1\.2 s, wanted within 1\.0 s"
        ):
            assert_prompt(heard, prompt(), RATE, within=1.0)
