"""Uncompressed sound: WAV, G.711 and linear PCM, with nothing but NumPy and soxr."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spech.audio.inputs import Encoding, InputFile
from spech.codecs.base import Samples
from spech.codecs.g711 import ALAW_SAMPLES, ULAW_SAMPLES
from spech.codecs.resample import Resampler
from spech.errors import MediaError

#: Bytes that are read at once. A pipe returns what is there.
_BLOCK: Final = 8192
#: Accepted sampling rates and channels. Outside them, a few bytes could decode to an hour.
_RATES: Final = range(1000, 768_001)
_MOST_CHANNELS: Final = 64


def _upper_bytes(data: bytes, size: int) -> Samples:
    """The upper 16 bits of integers of ``size`` bytes."""
    return np.frombuffer(data, np.uint8).reshape(-1, size)[:, -2:].copy().view("<i2").reshape(-1)


def _from_float(data: bytes, kind: str) -> Samples:
    """Numbers from -1 to 1; what is outside is clipped, and what is no number is silence."""
    with np.errstate(invalid="ignore"):  # A signalling NaN is still a NaN.
        numbers = np.nan_to_num(np.frombuffer(data, kind).astype(np.float64), nan=0.0)
    scaled = np.rint(np.clip(numbers, -1, 1) * 32768)
    return np.clip(scaled, -32768, 32767).astype(np.int16)


#: Bytes of a sample, and how they become int16.
_SAMPLES: Final[dict[str, tuple[int, Callable[[bytes], Samples]]]] = {
    "alaw": (1, lambda data: ALAW_SAMPLES[np.frombuffer(data, np.uint8)]),
    "mulaw": (1, lambda data: ULAW_SAMPLES[np.frombuffer(data, np.uint8)]),
    "u8": (1, lambda data: (np.frombuffer(data, np.uint8).astype(np.int16) - 128) << 8),
    "s16": (2, lambda data: np.frombuffer(data, "<i2")),
    "s24": (3, lambda data: _upper_bytes(data, 3)),
    "s32": (4, lambda data: _upper_bytes(data, 4)),
    "f32": (4, lambda data: _from_float(data, "<f4")),
    "f64": (8, lambda data: _from_float(data, "<f8")),
}


def require_plausible(rate: int, channels: int) -> None:
    """Check a sampling rate and a number of channels.

    Raises:
        ValueError: they are outside what is accepted.
    """
    if rate not in _RATES or not 0 < channels <= _MOST_CHANNELS:
        raise ValueError(f"sound with {channels} channels at {rate} Hz")


class UncompressedDecoder:
    """Reads samples to the end of an open file and closes it.

    Args:
        file: stands at the first sample.
        encoding: of the samples.
        path: the file's name, for messages.

    Raises:
        MediaError: the rate or the number of channels is not accepted.
    """

    def __init__(self, file: InputFile, encoding: Encoding, path: str) -> None:
        try:
            require_plausible(encoding.rate, encoding.channels)
        except ValueError as error:
            raise MediaError(f"cannot decode {path}: {error}") from error
        self._file = file
        self._encoding = encoding
        size, self._convert = _SAMPLES[encoding.sample]
        self._frame_size = size * encoding.channels
        self._rest = b""
        self._ended = False
        self._resampler = Resampler(encoding.rate, encoding.rate)

    def decode(self, rate: int) -> Samples | None:
        """The next piece of sound, mono at ``rate`` Hz; None at the end.

        Raises:
            MediaError: the file cannot be read.
        """
        if self._ended:
            return None
        if rate != self._resampler.to_rate:
            self._resampler = Resampler(self._encoding.rate, rate)
        try:
            data = self._file.read(_BLOCK)
        except OSError as error:
            self._ended = True
            raise MediaError(error.strerror or str(error)) from error
        if not data:
            self._ended = True
            return self._resampler.finish()
        data = self._rest + data
        whole = len(data) - len(data) % self._frame_size
        self._rest = data[whole:]
        return self._resampler.process(self._mix(self._convert(data[:whole])))

    def close(self) -> None:
        """Close the file; may be called again."""
        self._ended = True
        self._file.close()

    def _mix(self, samples: Samples) -> Samples:
        """The mean of all channels."""
        if self._encoding.channels == 1:
            return samples.astype(np.int16, copy=False)
        mean: NDArray[np.float64] = samples.reshape(-1, self._encoding.channels).mean(axis=1)
        return np.rint(mean).astype(np.int16)
