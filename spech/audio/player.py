"""A sound file as PCM, decoded as it is needed.

Everything here may wait for a disk or a pipe. The media clock therefore reads files through
:class:`~spech.audio.readahead.ReadAhead`, which runs a :class:`Player` in a thread.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.packet import Packet

from spech.audio.gain import Gain
from spech.audio.inputs import RAW_FORMATS, open_input
from spech.codecs.base import Samples
from spech.errors import MediaError

_log: Final = logging.getLogger(__name__)

#: Demuxers of formats that contain sound. Playlists are excluded: FFmpeg would open the files and
#: URLs in them, and wait there without limit.
_FORMATS: Final = (
    "aac,ac3,aiff,alaw,amr,ape,asf,au,avi,caf,dsf,eac3,flac,flv,g722,gsm,matroska,mov,mp3,mpeg,"
    "mpegts,mulaw,ogg,sln,tta,voc,w64,wav,wv"
)
_OPTIONS: Final = {
    "format_whitelist": f"{_FORMATS},{','.join(RAW_FORMATS)}",
    "protocol_whitelist": "file",
}

#: Packets in a row that cannot be decoded before a file counts as damaged.
_MOST_BAD_PACKETS: Final = 100
#: Accepted sampling rates and channels. Outside them, a few bytes could decode to an hour.
_RATES: Final = range(1000, 768_001)
_MOST_CHANNELS: Final = 64


class Player:
    """Reads any sound file, mixed down to mono: WAV, MP3, Ogg, FLAC, M4A and other usual formats.

    Packets that cannot be decoded are skipped. The sampling rate and the channels may change within
    the file, as in MP3 files that were concatenated.

    Args:
        path: the file, or a pipe. Reading a pipe waits for its writer.
        gain: decibels by which it is louder than it was recorded.
        repeat: start again at the end, without a gap.
        interrupted: polled while waiting for a pipe; when it returns True, the pipe ends.

    Raises:
        MediaError: the file cannot be opened, or holds no sound.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        gain: float = 0.0,
        repeat: bool = False,
        interrupted: Callable[[], bool] = lambda: False,
    ) -> None:
        self._path = str(path)
        self._interrupted = interrupted
        self._gain = Gain(gain)
        self._repeat = repeat
        self._rate = 0
        self._resampler: AudioResampler | None = None
        self._format: tuple[str, str, int] | None = None
        self._ready: Samples = np.zeros(0, np.int16)
        self._open()

    def _open(self) -> None:
        self._closing = contextlib.ExitStack()
        try:
            source, form, options = open_input(self._path, self._interrupted)
            if not isinstance(source, str):
                self._closing.callback(source.close)
            self._container = av.open(
                source, "r", format=form, options=_OPTIONS | options, metadata_errors="replace"
            )
        except (OSError, ValueError, av.FFmpegError) as error:
            self._closing.close()
            raise MediaError(f"cannot open {self._path}: {_reason(error)}") from error
        self._closing.callback(self._container.close)
        try:
            if not self._container.streams.audio:
                raise MediaError(f"{self._path} holds no sound")
            _require_plausible(self._container.streams.audio[0].codec_context)
            self._frames = self._decode()
            # Decode the first frame now, so that a broken file is detected at once.
            self._first = next(self._frames, None)
        except (OSError, ValueError, av.FFmpegError) as error:
            self._closing.close()
            raise MediaError(f"cannot decode {self._path}: {_reason(error)}") from error
        except MediaError:
            self._closing.close()
            raise
        self._sounded = False
        self._ended = self._first is None

    def read(self, samples: int, rate: int) -> Samples:
        """Return the next ``samples`` samples at ``rate`` Hz; fewer only at the end of the file.

        ``rate`` may change between two calls. A file that is damaged in the middle ends there; that
        is logged.
        """
        if rate != self._rate:
            self._rate = rate
            self._resampler = None
        while len(self._ready) < samples:
            if not self._ended:
                self._convert_next()
            elif not self._start_again():
                break
        taken = self._ready[:samples]
        self._ready = self._ready[samples:]
        return self._gain.process(taken) if len(taken) else taken

    def close(self) -> None:
        """Close the file; may be called again."""
        self._ended = True
        self._repeat = False
        self._frames = iter(())
        self._closing.close()

    def _start_again(self) -> bool:
        """Go to the beginning; False if that is not wanted, or would never yield sound."""
        if not self._repeat or not self._sounded:
            return False
        self._closing.close()
        try:
            self._open()
        except MediaError as error:
            _log.warning("cannot repeat %s: %s", self._path, error)
            return False
        return True

    def _decode(self) -> Iterator[AudioFrame]:
        """The frames of the file, without the packets that are damaged."""
        bad = 0
        for packet in self._container.demux(audio=0):
            try:
                frames = _decode_packet(packet)
            except (ValueError, av.FFmpegError):
                bad += 1
                if bad > _MOST_BAD_PACKETS:
                    raise
                continue
            if frames:
                bad = 0
            yield from frames

    def _convert_next(self) -> None:
        frame, self._first = self._first, None
        try:
            if frame is None:
                frame = next(self._frames, None)
            decoded = self._resample(frame)
        except (OSError, ValueError, av.FFmpegError) as error:
            _log.warning("%s is damaged and ends early: %s", self._path, _reason(error))
            self._ended = True
            return
        self._ended = frame is None
        parts = [piece.to_ndarray().reshape(-1) for piece in decoded]
        self._sounded = self._sounded or any(len(part) for part in parts)
        self._ready = np.concatenate((self._ready, *parts)).astype(np.int16, copy=False)

    def _resample(self, frame: AudioFrame | None) -> list[AudioFrame]:
        """Convert one frame to mono at the wanted rate; None flushes what the resampler holds."""
        decoded: list[AudioFrame] = []
        form = None if frame is None else (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._resampler is not None and form != self._format:
            decoded = self._resampler.resample(None)
            self._resampler = None
        if frame is None:
            return decoded
        if self._resampler is None:
            self._resampler = AudioResampler(format="s16", layout="mono", rate=self._rate)
            self._format = form
        return decoded + self._resampler.resample(frame)


def _decode_packet(packet: Packet[AudioStream]) -> list[AudioFrame]:
    """The frames of one packet.

    Raises:
        ValueError, av.FFmpegError: it is damaged, or its sound has an impossible format.
    """
    frames = packet.decode()
    for frame in frames:
        _require_plausible(frame)
    return frames


def _require_plausible(sound: AudioFrame | av.AudioCodecContext) -> None:
    if sound.sample_rate not in _RATES or not 0 < sound.layout.nb_channels <= _MOST_CHANNELS:
        raise ValueError(
            f"sound with {sound.layout.nb_channels} channels at {sound.sample_rate} Hz"
        )


def _reason(error: Exception) -> str:
    """The cause of an error, without the path, which the caller adds."""
    return getattr(error, "strerror", None) or str(error)
