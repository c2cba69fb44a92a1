"""Sound files, played and recorded."""

from __future__ import annotations

import random
import socket
import wave
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from spech.audio.level import dbfs
from spech.audio.player import Player
from spech.audio.recorder import Recording
from spech.audio.tones import tone
from spech.codecs import Samples
from spech.errors import MediaError


def write(path: Path, pcm: Samples, rate: int, codec: str = "pcm_s16le", *, stereo: bool) -> None:
    layout = "stereo" if stereo else "mono"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=rate, layout=layout)
        data = np.repeat(pcm, 2) if stereo else pcm
        frame = av.AudioFrame.from_ndarray(data.reshape(1, -1), format="s16", layout=layout)
        frame.sample_rate = rate
        frame.time_base = Fraction(1, rate)
        frame.pts = 0
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)


def read_all(player: Player, rate: int) -> Samples:
    parts = []
    while len(part := player.read(rate // 50, rate)):
        parts.append(part)
    return np.concatenate(parts)


@pytest.mark.parametrize(
    ("name", "codec", "file_rate", "stereo"),
    [
        ("a.wav", "pcm_s16le", 8000, False),
        ("b.wav", "pcm_s16le", 44100, True),
        ("c.wav", "pcm_alaw", 8000, False),
        ("d.flac", "flac", 48000, False),
        ("e.flac", "flac", 44100, True),
        ("f.mp3", "libmp3lame", 44100, True),
        ("g.mp3", "libmp3lame", 8000, False),
        ("h.ogg", "libopus", 48000, True),
        ("i.ogg", "flac", 44100, True),
        ("j.opus", "libopus", 16000, False),
    ],
)
@pytest.mark.parametrize("rate", [8000, 16000])
def test_any_file_is_played_as_mono_at_the_requested_rate(
    tmp_path: Path, name: str, codec: str, file_rate: int, stereo: bool, rate: int
) -> None:
    path = tmp_path / name
    write(path, tone((1000,), 1, file_rate), file_rate, codec, stereo=stereo)
    player = Player(path)
    sound = read_all(player, rate)
    player.close()
    player.close()
    assert len(sound) == pytest.approx(rate, abs=rate // 100)
    middle = sound[rate // 4 : -rate // 4]
    spectrum = np.abs(np.fft.rfft(middle))
    assert np.argmax(spectrum) * rate / len(middle) == pytest.approx(1000, abs=3)
    assert dbfs(middle) == pytest.approx(-12, abs=0.5)


def test_the_rate_may_change_within_a_file(tmp_path: Path) -> None:
    path = tmp_path / "tone.wav"
    write(path, tone((500,), 1, 8000), 8000, stereo=False)
    player = Player(path)
    assert len(player.read(160, 8000)) == 160
    rest = read_all(player, 16000)
    player.close()
    assert len(rest) >= 12000


def test_a_truncated_file_is_played_up_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "cut.flac"
    write(path, tone((500,), 2, 8000), 8000, "flac", stereo=False)
    path.write_bytes(path.read_bytes()[:-3000])
    player = Player(path)
    assert 0 < len(read_all(player, 8000)) < 16000
    player.close()


def test_an_unplayable_file_raises_at_once(tmp_path: Path) -> None:
    text = tmp_path / "notes.wav"
    text.write_text("no sound at all")
    for path in (tmp_path / "missing.wav", text, tmp_path, "http://127.0.0.1:9/x.wav"):
        with pytest.raises(MediaError):
            Player(path)


def test_an_empty_file_has_no_sound(tmp_path: Path) -> None:
    path = tmp_path / "empty.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
    player = Player(path)
    assert len(player.read(160, 8000)) == 0
    player.close()


def test_a_recording_is_a_wav_file(tmp_path: Path) -> None:
    path = tmp_path / "call.wav"
    sound = tone((700,), 1, 16000)
    with Recording(path, 16000) as recording:
        for start in range(0, len(sound), 320):
            recording.write(sound[start : start + 320])
    recording.stop()
    recording.write(sound)
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnframes()) == (16000, 16000)
        assert file.readframes(16000) == sound.tobytes()


def test_the_header_is_valid_during_the_recording(tmp_path: Path) -> None:
    path = tmp_path / "call.wav"
    with Recording(path, 8000) as recording:
        for _ in range(101):
            recording.write(np.zeros(160, np.int16))
        while path.stat().st_size < 44 + 2 * 16000:
            recording._thread.join(0.01)
        with wave.open(str(path)) as file:
            assert file.getnframes() >= 8000
    with wave.open(str(path)) as file:
        assert file.getnframes() == 101 * 160


def test_a_recording_that_cannot_be_created_raises_at_once(tmp_path: Path) -> None:
    with pytest.raises(MediaError):
        Recording(tmp_path / "missing" / "call.wav", 8000)


def test_a_file_is_repeated_without_a_gap(tmp_path: Path) -> None:
    path = tmp_path / "tone.wav"
    write(path, tone((500,), 0.5, 8000), 8000, stereo=False)
    player = Player(path, repeat=True)
    sound = np.concatenate([player.read(160, 8000) for _ in range(200)])
    assert len(sound) == 32000
    assert np.array_equal(sound[:28000], tone((500,), 3.5, 8000))
    player.close()
    assert len(player.read(160, 8000)) == 0


def test_a_file_without_sound_is_not_repeated_forever(tmp_path: Path) -> None:
    path = tmp_path / "empty.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
    player = Player(path, repeat=True)
    assert len(player.read(160, 8000)) == 0
    player.close()


def test_a_deleted_file_is_not_repeated(tmp_path: Path) -> None:
    path = tmp_path / "tone.wav"
    write(path, tone((500,), 0.1, 8000), 8000, stereo=False)
    player = Player(path, repeat=True)
    path.unlink()
    assert sum(len(player.read(160, 8000)) for _ in range(20)) == 800
    player.close()


@pytest.mark.parametrize("gain", [-20, 6, 20])
def test_gain_changes_the_level_of_a_file(tmp_path: Path, gain: float) -> None:
    path = tmp_path / "tone.wav"
    write(path, tone((500,), 2, 8000, level=-15), 8000, stereo=False)
    sound = read_all(Player(path, gain=gain), 8000)[8000:]
    assert dbfs(sound) == pytest.approx(min(-15 + gain, -3.5), abs=0.3)
    power = np.abs(np.fft.rfft(sound * np.hanning(len(sound)))) ** 2
    tip = int(np.argmax(power))
    assert power[tip - 3 : tip + 4].sum() / power.sum() > 0.999


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (
            "list.m3u8",
            "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:{port}/a.ts\n",
        ),
        ("list.ffconcat", "ffconcat version 1.0\nfile http://127.0.0.1:{port}/a.wav\n"),
        ("list.m3u8", "#EXTM3U\n#EXTINF:9,\ntcp://127.0.0.1:{port}\n#EXT-X-ENDLIST\n"),
        ("a.sdp", "v=0\nc=IN IP4 127.0.0.1\nm=audio {port} RTP/AVP 0\n"),
    ],
)
def test_files_cannot_cause_network_access(tmp_path: Path, name: str, content: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        path = tmp_path / name
        path.write_text(content.format(port=server.getsockname()[1]))
        with pytest.raises(MediaError):
            Player(path)
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.mark.parametrize("codec", ["flac", "libmp3lame", "libopus", "pcm_s16le"])
def test_damage_only_ends_the_file(tmp_path: Path, codec: str) -> None:
    ending = {"flac": "flac", "libmp3lame": "mp3", "libopus": "ogg", "pcm_s16le": "wav"}[codec]
    path = tmp_path / f"whole.{ending}"
    write(path, tone((500,), 1, 48000), 48000, codec, stereo=True)
    whole = path.read_bytes()
    rng = random.Random(1)
    for _ in range(60):
        damaged = bytearray(whole[: rng.randrange(1, len(whole))])
        for _ in range(rng.randrange(40)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path.write_bytes(damaged)
        try:
            player = Player(path)
        except MediaError:
            continue
        ticks = 0
        while len(player.read(160, 8000)) == 160:
            ticks += 1
            assert ticks < 100_000
        player.close()
