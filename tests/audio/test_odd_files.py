"""Unusual sound files: concatenated, damaged, without a header, and hostile."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import av
import numpy as np
import pytest

from spech.audio.level import dbfs
from spech.audio.player import Player
from spech.audio.tones import tone
from spech.codecs import Samples, create
from spech.errors import MediaError

from .test_files import read_all, write

_PCM_GUID = bytes.fromhex("000000001000800000aa00389b71")


def frequency(sound: Samples, rate: int) -> float:
    return float(np.argmax(np.abs(np.fft.rfft(sound)))) * rate / len(sound)


def encoded(path: Path, rate: int, codec: str, *, stereo: bool) -> bytes:
    write(path, tone((1000,), 3, rate), rate, codec, stereo=stereo)
    return path.read_bytes()


@pytest.mark.parametrize(
    ("ending", "codec", "second"),
    [
        ("mp3", "libmp3lame", (44100, False)),  # Tags between the files are not packets.
        ("mp3", "libmp3lame", (32000, False)),
        ("mp3", "libmp3lame", (44100, True)),
        ("aac", "aac", (44100, False)),
        ("aac", "aac", (48000, True)),
        ("ogg", "libopus", (48000, False)),
        ("ogg", "libopus", (48000, True)),
        ("ogg", "flac", (48000, True)),
    ],
)
def test_concatenated_files_play_to_the_end(
    tmp_path: Path, ending: str, codec: str, second: tuple[int, bool]
) -> None:
    path = tmp_path / f"a.{ending}"
    first_rate = 48000 if codec == "libopus" else 44100
    content = encoded(path, first_rate, codec, stereo=False)
    rate, stereo = second
    path.write_bytes(content + encoded(tmp_path / f"b.{ending}", rate, codec, stereo=stereo))
    player = Player(path)
    sound = read_all(player, 8000)
    player.close()
    assert len(sound) == pytest.approx(6 * 8000, abs=1500)
    for part in (sound[4000:20000], sound[28000:44000]):
        assert frequency(part, 8000) == pytest.approx(1000, abs=2)
        assert dbfs(part) == pytest.approx(-12, abs=1)


@pytest.mark.parametrize("damage", [b"", b"no page", b"OggS"])
def test_a_damaged_page_does_not_end_an_ogg_file(tmp_path: Path, damage: bytes) -> None:
    one, other = (
        encoded(tmp_path / f"{name}.ogg", 48000, "libopus", stereo=stereo)
        for name, stereo in (("a", False), ("b", True))
    )
    place = one.index(b"OggS", len(one) // 2) + 5
    path = tmp_path / "c.ogg"
    path.write_bytes(other + one[:place] + damage + one[place + 100 :])
    player = Player(path)
    sound = read_all(player, 8000)
    player.close()
    assert 3.9 * 8000 < len(sound) < 6.2 * 8000
    assert frequency(sound[1000:23000], 8000) == pytest.approx(1000, abs=2)


@pytest.mark.parametrize("size", [0, 3, 15])
def test_a_wav_file_that_ends_within_its_format_is_refused(tmp_path: Path, size: int) -> None:
    header = b"RIFF\0\0\0\0WAVEfmt " + struct.pack("<I", 16) + bytes(size)
    (tmp_path / "a.wav").write_bytes(header)
    with pytest.raises(MediaError):
        Player(tmp_path / "a.wav")
    reading, writing = os.pipe()
    os.write(writing, header)
    os.close(writing)
    with pytest.raises(MediaError):
        Player(f"/proc/self/fd/{reading}")
    os.close(reading)


@pytest.mark.parametrize("count", [1, 20])
def test_damaged_packets_are_skipped(tmp_path: Path, count: int) -> None:
    path = tmp_path / "a.aac"
    content = bytearray(encoded(path, 44100, "aac", stereo=False))
    with av.open(str(path)) as container:
        places = [packet.pos for packet in container.demux(audio=0) if packet.size]
    for place in places[50 : 50 + count]:
        assert place is not None
        content[place + 7 : place + 40] = b"\xff" * 33
    path.write_bytes(content)
    player = Player(path)
    sound = read_all(player, 8000)
    player.close()
    assert 24000 - count * 300 <= len(sound) <= 25000
    assert frequency(sound[-8000:-1000], 8000) == pytest.approx(1000, abs=2)


def test_a_file_of_damaged_packets_only_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.aac"
    content = bytearray(encoded(path, 44100, "aac", stereo=False))
    with av.open(str(path)) as container:
        places = [packet.pos for packet in container.demux(audio=0) if packet.size]
    for place in places[3:]:
        assert place is not None
        content[place + 7 : place + 40] = b"\xff" * 33
    path.write_bytes(content)
    player = Player(path)
    assert len(read_all(player, 8000)) < 8000
    player.close()


@pytest.mark.parametrize(
    ("bits", "valid"), [(32, 24), (32, 20), (16, 8), (24, 20), (16, 16), (32, 32)]
)
def test_a_wav_sample_may_be_longer_than_its_valid_bits(
    tmp_path: Path, bits: int, valid: int
) -> None:
    sound = tone((1000,), 2, 8000)
    wide = (sound.astype(np.int64) << (bits - 16) >> (bits - valid) << (bits - valid)).tolist()
    data = b"".join(sample.to_bytes(bits // 8, "little", signed=True) for sample in wide)
    block = bits // 8
    form = struct.pack("<HHIIHHHHI", 0xFFFE, 1, 8000, 8000 * block, block, bits, 22, valid, 4)
    form += struct.pack("<H", 1) + _PCM_GUID
    chunks = b"LIST" + struct.pack("<I", 6) + b"INFO\0\0"
    chunks += b"fmt " + struct.pack("<I", len(form)) + form
    chunks += b"data" + struct.pack("<I", len(data)) + data
    path = tmp_path / "a.wav"
    path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks)
    player = Player(path)
    heard = read_all(player, 8000)
    player.close()
    assert len(heard) == 16000
    assert np.abs(heard.astype(int) - sound).max() <= 2 ** max(16 - valid, 0)


@pytest.mark.parametrize(
    ("ending", "codec"),
    [
        (".ul", "PCMU"),
        (".ulaw", "PCMU"),
        (".al", "PCMA"),
        (".alaw", "PCMA"),
        (".sln", ""),
        (".sln16", ""),
        (".sln48", ""),
    ],
)
def test_the_suffix_tells_the_rate_of_headerless_files(
    tmp_path: Path, ending: str, codec: str
) -> None:
    rate = int(ending.removeprefix(".sln") or 8) * 1000 if not codec else 8000
    sound = tone((1000,), 2, rate)
    path = tmp_path / f"a{ending}"
    path.write_bytes(create(codec).encode(sound) if codec else sound.tobytes())
    player = Player(path)
    heard = read_all(player, 8000)
    player.close()
    assert len(heard) == pytest.approx(16000, abs=80)
    assert frequency(heard, 8000) == pytest.approx(1000, abs=2)
    assert dbfs(heard) == pytest.approx(-12, abs=0.5)


def test_a_header_takes_precedence_over_a_raw_suffix(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.wav"
    write(path, tone((1000,), 1, 16000), 16000, stereo=False)
    path.rename(tmp_path / "a.ul")
    player = Player(tmp_path / "a.ul")
    assert frequency(read_all(player, 8000), 8000) == pytest.approx(1000, abs=2)
    player.close()


def au(rate: int, channels: int, data: bytes) -> bytes:
    return struct.pack(">4sIIIII", b".snd", 24, len(data), 3, rate, channels) + data


@pytest.mark.parametrize(("rate", "channels"), [(1, 1), (999, 2), (0x7FFFFFFF, 1), (8000, 1000)])
def test_a_small_file_cannot_decode_to_an_hour(tmp_path: Path, rate: int, channels: int) -> None:
    path = tmp_path / "a.au"
    path.write_bytes(au(rate, channels, bytes(60_000)))
    with pytest.raises(MediaError):
        Player(path)


def test_a_valid_au_file_is_played(tmp_path: Path) -> None:
    path = tmp_path / "a.au"
    path.write_bytes(au(8000, 2, tone((1000,), 1, 8000).astype(">i2").repeat(2).tobytes()))
    player = Player(path)
    assert frequency(read_all(player, 8000), 8000) == pytest.approx(1000, abs=2)
    player.close()
