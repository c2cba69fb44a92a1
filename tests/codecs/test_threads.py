"""Sound is computed in one thread: no operation is large enough to use the threads of BLAS.

Those threads spin after each operation, which uses a whole core at 50 packets a second.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

#: Runs an operation and counts how long any other thread ran meanwhile.
_PROGRAM = """
import os, sys, time
from pathlib import Path

import numpy as np

from spech import codecs
from spech.audio.dtmf import DigitDetector
from spech.audio.stretch import lengthen, shorten
from spech.codecs.comfort import NoiseAnalyzer, NoiseGenerator
from spech.codecs.conceal import Concealer

rng = np.random.default_rng(1)


def noise(samples):
    return rng.integers(-8000, 8000, samples).astype(np.int16)


def comfort(rate, clock_rate):
    generator, analyzer = NoiseGenerator(rate, clock_rate), NoiseAnalyzer(rate, clock_rate)
    for _ in range(20):
        generator.describe(rng.bytes(1400))
        analyzer.learn(generator.generate(rate // 50))
        analyzer.payload()


def conceal(rate):
    concealer = Concealer(rate)
    for _ in range(10):
        concealer.heard(noise(rate // 50))
    for _ in range(10):
        concealer.extend(rate // 50)
        concealer.heard(noise(rate // 50))


def stretch(rate):
    sound = noise(rate // 10)
    for _ in range(20):
        shorten(sound, rate // 50, rate // 50, rate, 0.5)
        lengthen(sound, rate // 20, rate // 50, rate, 0.5)


def digits(rate):
    detector = DigitDetector(rate)
    for _ in range(20):
        detector.feed(noise(rate // 50))


def code(name):
    codec = codecs.create(name)
    for _ in range(20):
        codec.decode(codec.encode(noise(codec.packet_samples(codec.ptime_ms))))


def others(file, field):
    tasks = [task for task in Path("/proc/self/task").iterdir() if int(task.name) != os.getpid()]
    return [(task / file).read_text().rpartition(")")[2].split()[field] for task in tasks]


def ran():
    # Threads spin for a while after their work. All times on a processor are known when they sleep.
    while set(others("stat", 0)) - {"S"}:
        time.sleep(0.01)
    return sum(map(int, others("schedstat", 0)))


before = ran()
for _ in range(4):
    eval(sys.argv[1])
print(ran() - before)
"""


@pytest.mark.parametrize(
    "operation",
    [
        *(f"comfort({rate}, {clock})" for rate, clock in [(8000, 8000), (16000, 8000)]),
        *(f"comfort({rate}, {rate})" for rate in (16000, 48000)),
        *(f"{what}({rate})" for rate in (8000, 48000) for what in ("conceal", "stretch", "digits")),
        *(f"code('{name}')" for name in ("PCMU", "L16/44100", "iLBC/20", "iLBC/30")),
    ],
)
def test_sound_operations_use_a_single_thread(operation: str) -> None:
    environment = {
        name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")
    }
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, operation],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    # A thread that computes spins for 25 ms or more afterwards; one that wakes once takes 20 us.
    assert int(done.stdout) < 1_000_000
