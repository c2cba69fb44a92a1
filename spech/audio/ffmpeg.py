"""Compressed sound, decoded by FFmpeg.

Importing this module loads FFmpeg, which takes several tenths of a second. So only threads that
read files import it, and only for files that need it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet

from spech.audio.inputs import InputFile
from spech.audio.links import OggLink
from spech.audio.uncompressed import require_plausible
from spech.codecs.base import Samples
from spech.errors import MediaError

#: Demuxers of formats that contain sound. Playlists are excluded: FFmpeg would open the files and
#: URLs in them, and wait there without limit.
_FORMATS: Final = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dsf,eac3,flac,flv,g722,gsm,matroska,mov,mp3,mpeg,mpegts,"
    "ogg,tta,voc,w64,wav,wv"
)
_OPTIONS: Final = {"format_whitelist": _FORMATS, "protocol_whitelist": "file"}
#: Until PyAV 18 a file with a tag that is not UTF-8 is refused, unless it is told to replace it.
_TAGS: Final[dict[str, Any]] = (
    {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}
)

#: Packets in a row that cannot be decoded before a file counts as damaged.
_MOST_BAD_PACKETS: Final = 100


class FFmpegDecoder:
    """Decodes the first audio stream of a file.

    Packets that cannot be decoded are skipped. The sampling rate and the channels may change within
    the file, as in MP3 and Ogg files that were concatenated.

    Args:
        source: an open pipe or Ogg file, or the URL of another file.
        path: the file's name, for messages.

    Raises:
        MediaError: the file cannot be opened, or holds no sound.
    """

    def __init__(self, source: InputFile | str, path: str) -> None:
        self._path = path
        self._rate = 0
        self._resampler: AudioResampler | None = None
        self._format: tuple[str, str, int] | None = None
        self._source = source if isinstance(source, str) else OggLink(source)
        try:
            self._container = _open(self._source)
        except (OSError, ValueError, av.FFmpegError) as error:
            raise MediaError(f"cannot open {path}: {_reason(error)}") from error
        try:
            if not self._container.streams.audio:
                raise MediaError(f"{path} holds no sound")
            _check(self._container.streams.audio[0].codec_context)
            self._frames = self._decode()
            # Decode the first frame now, so that a broken file is detected at once.
            self._first = next(self._frames, None)
        except (OSError, ValueError, av.FFmpegError) as error:
            self._container.close()
            raise MediaError(f"cannot decode {path}: {_reason(error)}") from error
        except MediaError:
            self._container.close()
            raise
        self._ended = self._first is None

    def decode(self, rate: int) -> Samples | None:
        """The next piece of sound, mono at ``rate`` Hz; None at the end.

        Raises:
            MediaError: the rest of the file is damaged.
        """
        if self._ended:
            return None
        if rate != self._rate:
            self._rate = rate
            self._resampler = None
        frame, self._first = self._first, None
        try:
            if frame is None:
                frame = next(self._frames, None)
            decoded = self._resample(frame)
        except (OSError, ValueError, av.FFmpegError) as error:
            self._ended = True
            raise MediaError(_reason(error)) from error
        self._ended = frame is None
        parts = [piece.to_ndarray().reshape(-1) for piece in decoded]
        return np.concatenate((np.zeros(0, np.int16), *parts)).astype(np.int16, copy=False)

    def close(self) -> None:
        """Close the file; may be called again."""
        self._ended = True
        self._frames = iter(())
        self._container.close()

    def _decode(self) -> Iterator[AudioFrame]:
        """The frames of the file, without the packets that are damaged."""
        bad = 0
        while True:
            for packet in self._container.demux(self._container.streams.audio[:1]):
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
            if isinstance(self._source, str) or not self._source.followed:
                break
            self._source = self._source.next()
            self._container.close()
            self._container = _open(self._source)

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


def _open(source: OggLink | str) -> InputContainer:
    container: InputContainer = av.open(source, "r", options=_OPTIONS, **_TAGS)
    return container


def _decode_packet(packet: Packet[AudioStream]) -> list[AudioFrame]:
    """The frames of one packet.

    Raises:
        ValueError, av.FFmpegError: it is damaged, or its sound has an impossible format.
    """
    frames = packet.decode()
    for frame in frames:
        _check(frame)
    return frames


def _check(sound: AudioFrame | av.AudioCodecContext) -> None:
    require_plausible(sound.sample_rate, sound.layout.nb_channels)


def _reason(error: Exception) -> str:
    """The cause of an error, without the path, which the caller adds."""
    return getattr(error, "strerror", None) or str(error)
