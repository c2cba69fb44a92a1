"""Recordings read back by FFmpeg: their channels, and what survives a crash."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import textwrap
import threading
import wave
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from spech.audio import recorder
from spech.audio.level import dbfs
from spech.audio.recorder import Recording, Recordings
from spech.audio.tones import tone
from spech.codecs import Samples
from spech.errors import MediaError


def read(path: Path) -> tuple[NDArray[np.int16], int]:
    """The samples of a file by channel, and its rate."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        rate, channels = stream.rate, stream.channels
        resampler = av.AudioResampler("s16", "stereo" if channels == 2 else "mono", rate)
        parts = []
        for frame in container.decode(audio=0):
            parts += [each.to_ndarray() for each in resampler.resample(frame)]
        parts += [each.to_ndarray() for each in resampler.resample(None)]
    return np.concatenate(parts, axis=1).reshape(-1, channels).T, rate


def pitch(sound: Samples, rate: int) -> float:
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    return float(np.argmax(spectrum) * rate / len(sound))


def record(recordings: Recordings, rate: int, seconds: float) -> None:
    ours, theirs = (tone((hertz,), seconds, rate, level=-15) for hertz in (500, 1300))
    size = rate // 50
    for start in range(0, len(ours), size):
        recordings.write(ours[start : start + size], theirs[start : start + size], rate)


@pytest.mark.parametrize("name", ["a.wav", "b.opus", "c.ogg"])
@pytest.mark.parametrize("rate", [8000, 11025, 16000, 44100, 48000])
def test_our_sound_is_left_and_the_far_end_is_right(tmp_path: Path, name: str, rate: int) -> None:
    recordings = Recordings()
    recording = recordings.start(tmp_path / name, rate, stereo=True)
    record(recordings, rate, 2)
    recordings.close()
    assert recording.error is None
    (left, right), found = read(tmp_path / name)
    assert len(left) == pytest.approx(2 * found, rel=0.06)
    for side, hertz, other in ((left, 500, 1300), (right, 1300, 500)):
        middle = side[found // 2 : -found // 2]
        assert pitch(middle, found) == pytest.approx(hertz, abs=3)
        assert dbfs(middle) == pytest.approx(-15, abs=1)
        power = np.abs(np.fft.rfft(middle * np.hanning(len(middle)))) ** 2
        bins = np.fft.rfftfreq(len(middle), 1 / found)
        leak = power[abs(bins - other) < 10].sum() / power[abs(bins - hertz) < 10].sum()
        assert 10 * np.log10(leak + 1e-12) < -30


@pytest.mark.parametrize("name", ["a.wav", "b.opus"])
def test_a_mono_recording_is_the_sum_of_both_sides(tmp_path: Path, name: str) -> None:
    recordings = Recordings()
    recordings.start(tmp_path / name, 8000, stereo=False)
    record(recordings, 8000, 2)
    recordings.close()
    (sound,), rate = read(tmp_path / name)
    power = np.abs(np.fft.rfft(sound[rate // 2 : -rate // 2])) ** 2
    hertz = np.argsort(power)[-2:] * rate / len(sound[rate // 2 : -rate // 2])
    assert sorted(hertz) == pytest.approx([500, 1300], abs=3)


def test_the_rate_of_the_call_may_change(tmp_path: Path) -> None:
    recordings = Recordings()
    recordings.start(tmp_path / "a.wav", 8000, stereo=True)
    record(recordings, 8000, 1)
    record(recordings, 48000, 1)
    recordings.close()
    (left, right), rate = read(tmp_path / "a.wav")
    assert len(left) == pytest.approx(2 * rate, rel=0.05)
    assert pitch(left[-rate // 2 :], rate) == pytest.approx(500, abs=3)
    assert pitch(right[-rate // 2 :], rate) == pytest.approx(1300, abs=3)


def test_a_pause_leaves_no_gap(tmp_path: Path) -> None:
    with Recording(tmp_path / "a.wav", 8000) as recording:
        for number in range(100):
            recording.paused = 30 <= number < 70
            recording.write(np.full(160, number + 1, np.int16))
    (sound,), _ = read(tmp_path / "a.wav")
    assert sound[::160].tolist() == [*range(1, 31), *range(71, 101)]


CHILD = """
import sys
import time
import numpy as np
from pathlib import Path
from spech.audio.recorder import Recording
from spech.audio.tones import tone

recording = Recording(sys.argv[1], 8000, channels=2)
sound = np.repeat(tone((500,), 5, 8000, level=-15), 2)
for start in range(0, len(sound), 320):
    recording.write(sound[start : start + 320])
while not recording._frames.empty():
    time.sleep(0.01)
print("written", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("name", ["a.wav", "b.opus"])
def test_a_killed_process_loses_at_most_a_second(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CHILD), path], stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"written\n"
        child.kill()
        assert child.wait() == -signal.SIGKILL
    (left, right), rate = read(path)
    assert 4 * rate <= len(left) <= 5 * rate + rate // 50
    assert np.abs(left - right.astype(np.int32)).max() < 1000
    assert pitch(left[rate // 2 :], rate) == pytest.approx(500, abs=3)


FULL = """
import resource
import sys
import numpy as np
import spech.audio.ogg  # The first recording would still be loading FFmpeg when it is stopped.
from spech.audio.recorder import Recording

resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
recording = Recording(sys.argv[1], 8000)
noise = np.random.default_rng(1).normal(0, 3000, 80_000).astype(np.int16)
for start in range(0, len(noise), 160):
    recording.write(noise[start : start + 160])
recording.stop()
recording.write(noise)
print(recording.stopped, recording.error)
"""


@pytest.mark.parametrize("name", ["a.wav", "b.opus"])
def test_a_full_disk_ends_the_recording_and_nothing_else(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(FULL), str(path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == f"True recording to {path} ended: File too large\n"
    assert "File too large" in ended.stderr
    assert "Exception ignored" not in ended.stderr
    assert 10_000 < path.stat().st_size <= 20_000
    (sound,), rate = read(path)
    assert len(sound) > rate / 2


def test_an_impossible_recording_raises_at_once(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.touch()
    (tmp_path / "full.wav").symlink_to("/dev/full")
    (tmp_path / "full.opus").symlink_to("/dev/full")
    for name in ("a.mp3", "noname", "missing/a.wav", "missing/a.opus", "closed/a.wav"):
        with pytest.raises(MediaError, match="cannot record"):
            Recording(tmp_path / name, 8000)
    for name in ("full.wav", "full.opus"):
        with pytest.raises(MediaError, match="No space left"):
            Recording(tmp_path / name, 8000)


def test_frames_beyond_the_size_limit_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    with Recording(tmp_path / "a.wav", 8000) as recording:
        recording._writer._bytes = 0xFFFFFFFF - 64  # type: ignore[union-attr]
        recording.write(np.zeros(160, np.int16))
    assert recording.dropped == 1


def test_a_stalled_disk_delays_completion_only_briefly(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr(recorder, "_PATIENCE", 0.05)
    monkeypatch.setattr(recorder, "_WAITING", 10)
    goes_on = threading.Event()
    recording = Recording(tmp_path / "a.wav", 8000)
    writer = recording._writer
    assert writer is not None
    write = writer.write

    def wait(samples: Samples) -> bool:
        goes_on.wait()
        return write(samples)

    monkeypatch.setattr(writer, "write", wait)
    for _ in range(20):
        recording.write(np.zeros(160, np.int16))
    recording.stop()
    assert "the disk does not answer" in caplog.text
    assert recording.dropped >= 9
    # Queued sound is written as soon as the disk continues.
    goes_on.set()
    recording._thread.join()
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert file.getnframes() == (20 - recording.dropped) * 160


@pytest.mark.parametrize("name", ["call.wav", "call.opus"])
def test_only_the_owner_can_read_a_new_recording(tmp_path: Path, name: str) -> None:
    with Recording(tmp_path / name, 8000):
        pass
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
