"""Opus (RFC 6716) by opuslib, with its SDP and RTP as RFC 7587 has them.

In calls sound is always 48 kHz here, whatever the peer encodes or wants to hear: the decoder brings
every bandwidth and stereo to 48 kHz mono, and the encoder narrows what it sends to what the peer
plays. libopus encodes from, and decodes to, the other rates of `OPUS_RATES` as well.
"""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import Any, Final

import numpy as np

from spech.codecs.base import BaseCodec, CodecInfo, CodecMaker, Impairment, Samples, parameters
from spech.codecs.library import LibraryState
from spech.errors import CodecUnavailable, RemoteProtocolError


def _load() -> Any:
    try:
        with warnings.catch_warnings():
            # It compares numbers with "is", which works, and which Python warns about.
            warnings.simplefilter("ignore", SyntaxWarning)
            for module in ("ctl", "decoder", "encoder"):
                import_module(f"opuslib.api.{module}")
            return import_module("opuslib")
    except Exception:  # Where libopus is missing it raises a bare Exception.
        return None


opuslib = _load()

_RATE = 48000
#: Rates of PCM that Opus takes and yields, in Hz (RFC 6716 section 2).
OPUS_RATES: Final = (8000, 12000, 16000, 24000, _RATE)
_FRAMES = (1, 2, 4, 6, 8, 10, 12)  # that libopus encodes together
#: 32 kbit/s: the middle of what RFC 7587 section 3.1.1 names for fullband speech.
_BITRATE = 32000
#: Of 10. Above 5 mono speech at this bitrate gains nothing that is heard, and costs much more.
_COMPLEXITY = 5
_LONGEST_MS = 120  # the most that one packet holds (RFC 6716 section 3.2.1)
_STEPS = 400  # of 2.5 ms in a second: the grain of concealment
_MOST_BYTES = 1275 * 6 + 13
#: How much loss the encoder prepares for when it adds redundancy: percent.
_EXPECTED_LOSS = 10

#: Up to that playback rate (Hz), that bandwidth.
_BANDWIDTHS = ((8000, 1101), (12000, 1102), (16000, 1103), (24000, 1104), (48000, 1105))


class OpusCodec(BaseCodec):
    """Opus, mono; with the settings of ``opus;bitrate=24000;complexity=8``.

    Args:
        bitrate: bits per second, 6000 to 510000; the peer can ask for less.
        complexity: 0 to 10; how much work the encoder takes on.
        rate: of the PCM, in Hz, one of `OPUS_RATES`.
    """

    def __init__(
        self, *, bitrate: int = _BITRATE, complexity: int = _COMPLEXITY, rate: int = _RATE
    ) -> None:
        # rtpmap says 48000 and 2, always (RFC 7587 section 7).
        super().__init__(
            "opus",
            rate,
            clock_rate=_RATE,
            channels=2,
            fmtp="useinbandfec=1",
            frame=rate // 100,
            longest_ms=_LONGEST_MS,
            dtx=True,
        )
        if opuslib is None:
            raise CodecUnavailable("opus needs the system package libopus0")
        # opuslib's own classes fail where they are deleted while the interpreter ends.
        encoder, decoder = opuslib.api.encoder, opuslib.api.decoder
        encoding = encoder.create_state(rate, 1, opuslib.APPLICATION_VOIP)
        self._encoder = LibraryState(encoding, encoder.destroy)
        self._decoder = LibraryState(decoder.create_state(rate, 1), decoder.destroy)
        self._longest = rate * _LONGEST_MS // 1000
        self._step = rate // _STEPS
        self._bitrate = bitrate
        self._suppress = self._pauses = False
        self._set("complexity", complexity)
        self._set("packet_loss_perc", _EXPECTED_LOSS)
        self.configure(None)

    def configure(self, fmtp: str | None) -> None:
        """What the peer plays and can use: RFC 7587 section 6.1; all of it may be absent.

        Silence is sent as sound unless we or the peer ask for DTX (``usedtx``).
        """
        wishes = parameters(fmtp)
        self._set("inband_fec", wishes.get("useinbandfec") == "1")
        self._pauses = self._suppress or wishes.get("usedtx") == "1"
        self._set("dtx", self._pauses)
        self._set("vbr", wishes.get("cbr") != "1")
        most = _number(wishes.get("maxaveragebitrate"), 6000, 510000, self._bitrate)
        self._set("bitrate", min(most, self._bitrate))
        played = _number(wishes.get("maxplaybackrate"), 8000, 48000, 48000)
        self._set("max_bandwidth", next(width for rate, width in _BANDWIDTHS if played <= rate))

    def suppress_silence(self, wanted: bool) -> None:
        """libopus then sends a packet every 0.4 s in a pause."""
        self._suppress = wanted

    def packet_samples(self, ptime_ms: int) -> int:
        """10 ms where less than 20 are wanted, else as many times 20 as fit."""
        frames = min(ptime_ms // 10, _FRAMES[-1])
        return max(count for count in _FRAMES if count <= max(frames, 1)) * self.frame

    def encode(self, pcm: Samples) -> bytes:
        """One packet of 10, 20, 40, 60, 80, 100 or 120 ms; nothing in a pause that is left out."""
        if self.require_frames(pcm) not in _FRAMES:
            raise ValueError(f"{len(pcm)} samples are not a packet of opus")
        encoded: bytes = opuslib.api.encoder.encode(
            self._encoder.pointer, pcm.tobytes(), len(pcm), _MOST_BYTES
        )
        # opus_encode(): what has no more than two bytes does not need to be transmitted.
        return b"" if self._pauses and len(encoded) <= 2 else encoded

    def decode(self, payload: bytes) -> Samples:
        """Whatever the packet holds, up to 120 ms."""
        if not 0 < len(payload) <= _MOST_BYTES:
            raise RemoteProtocolError(f"{len(payload)} bytes are no Opus packet")
        return self._decode(payload, self._longest, 0)

    def conceal(self, samples: int) -> Samples:
        """Conceal by libopus, which continues the last sound and fades."""
        return self._decode(None, self._whole_steps(samples), 0)[:samples]

    def recover(self, following: bytes, samples: int) -> Samples:
        """Take the redundant copy out of the next packet, or conceal if it carries none."""
        if not 0 < len(following) <= _MOST_BYTES:
            return self.conceal(samples)
        try:
            return self._decode(following, self._whole_steps(samples), 1)[:samples]
        except RemoteProtocolError:
            return self.conceal(samples)

    def _decode(self, payload: bytes | None, samples: int, redundancy: int) -> Samples:
        try:
            pcm: bytes = opuslib.api.decoder.decode(
                self._decoder.pointer,
                payload,
                0 if payload is None else len(payload),
                samples,
                redundancy,
                channels=1,
            )
        except opuslib.OpusError as error:
            raise RemoteProtocolError(f"no Opus packet: {error}") from None
        return np.frombuffer(pcm, np.int16)

    def _whole_steps(self, samples: int) -> int:
        return min(-(-samples // self._step) * self._step, self._longest)

    def _set(self, setting: str, value: int) -> None:
        request = getattr(opuslib.api.ctl, f"set_{setting}")
        opuslib.api.encoder.encoder_ctl(self._encoder.pointer, request, int(value))


def _number(text: str | None, least: int, most: int, otherwise: int) -> int:
    """A decimal number that a peer wrote, kept within bounds."""
    if text is None or not (text.isascii() and text.isdigit() and len(text) < 10):
        return otherwise
    return min(max(int(text), least), most)


#: Al-Ahmadi, Pocta and Melvin: Instrumental estimation of E-model equipment impairment factor
#: parameters for super-wideband Opus codec (ISSC 2019); 31 kbit/s, variable, without redundancy.
_IMPAIRMENT = Impairment(16.8, 10.4, "fullband")
_INFO = CodecInfo(
    "opus", _RATE, _BITRATE, opuslib is not None, "libopus0", _IMPAIRMENT, "libopus, by opuslib"
)
_SETTINGS = {"bitrate": range(6000, 510001), "complexity": range(11)}

MAKERS: tuple[CodecMaker, ...] = (CodecMaker(_INFO, OpusCodec, _SETTINGS),)
