"""What every codec offers, what the registry says about it, and what most of them share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.int16]
"""PCM of one channel: int16 in the machine's byte order."""

_LONGEST_PACKET_MS = 200


class Codec(Protocol):
    """An encoder and a decoder for one call; both may keep state, so an instance is never shared.

    Attributes:
        name: the name in Spech, such as ``PCMU`` or ``L16/16000``.
        encoding: the encoding name in ``a=rtpmap`` (RFC 8866 section 6.6).
        rate: samples per second of the PCM that goes in and comes out, in Hz; a multiple of 50.
        clock_rate: the RTP clock in Hz; differs from ``rate`` only where an RFC says so.
        channels: channels in ``a=rtpmap``; PCM here is mono.
        payload_type: the static payload type (RFC 3551 section 6), or None for a dynamic one.
        fmtp: the parameters of ``a=fmtp`` that are offered, or None.
        dtx: whether the codec describes pauses by itself, and needs no comfort noise.
        ptime_ms: the packet length in ms that we ask for (RFC 8866 section 6.4), and that we send
            where the peer asks for none.
    """

    ptime_ms: int

    @property
    def name(self) -> str: ...
    @property
    def encoding(self) -> str: ...
    @property
    def rate(self) -> int: ...
    @property
    def clock_rate(self) -> int: ...
    @property
    def channels(self) -> int: ...
    @property
    def payload_type(self) -> int | None: ...
    @property
    def fmtp(self) -> str | None: ...
    @property
    def dtx(self) -> bool: ...

    def answer(self, offered: str | None) -> str | None:
        """The parameters of ``a=fmtp`` that answer an offer with these, either None for none."""
        ...

    def configure(self, fmtp: str | None) -> None:
        """Encode as the parameters of the peer's ``a=fmtp`` ask for; invalid ones are ignored."""
        ...

    def suppress_silence(self, wanted: bool) -> None:
        """Suppress silence from the next :meth:`configure` on, as far as the peer permits.

        Called only for codecs with ``dtx``.
        """
        ...

    def packet_samples(self, ptime_ms: int) -> int:
        """How many samples (at ``rate``) a packet of about that length has."""
        ...

    def encode(self, pcm: Samples) -> bytes:
        """Encode the samples of one packet into an RTP payload; empty where nothing need be sent.

        Raises:
            ValueError: :meth:`packet_samples` never returns their number.
        """
        ...

    def decode(self, payload: bytes) -> Samples:
        """Decode one RTP payload.

        Raises:
            RemoteProtocolError: the payload is not a frame of this codec.
        """
        ...

    def conceal(self, samples: int) -> Samples:
        """Return ``samples`` samples of concealment in place of a lost packet."""
        ...

    def recover(self, following: bytes, samples: int) -> Samples:
        """As :meth:`conceal`, with the payload of the packet after the gap as a hint."""
        ...


class BaseCodec:
    """A base class with what most codecs share.

    Args:
        name: the name in Spech.
        rate: of the PCM, in Hz.
        encoding: the encoding name, if it is another one.
        clock_rate: the RTP clock in Hz, if it is another one.
        channels: channels in ``a=rtpmap``.
        payload_type: the static payload type, None for a dynamic one.
        fmtp: what is offered in ``a=fmtp``.
        frame: samples that are encoded together; a packet holds whole frames.
        longest_ms: of a packet.
        dtx: whether it describes pauses by itself.
        ptime_ms: of the packets that we ask for.
    """

    def __init__(
        self,
        name: str,
        rate: int,
        *,
        encoding: str | None = None,
        clock_rate: int | None = None,
        channels: int = 1,
        payload_type: int | None = None,
        fmtp: str | None = None,
        frame: int = 1,
        longest_ms: int = _LONGEST_PACKET_MS,
        dtx: bool = False,
        ptime_ms: int = 20,
    ) -> None:
        self.name = name
        self.rate = rate
        self.encoding = encoding or name
        self.clock_rate = clock_rate or rate
        self.channels = channels
        self.payload_type = payload_type
        self.fmtp = fmtp
        self.dtx = dtx
        self.ptime_ms = ptime_ms
        self.frame = frame
        self._most_frames = rate * longest_ms // 1000 // frame

    def answer(self, offered: str | None) -> str | None:
        """Answer with the parameters that we offer."""
        return self.fmtp

    def configure(self, fmtp: str | None) -> None:
        """Ignore the parameters: there is nothing to choose."""

    def suppress_silence(self, wanted: bool) -> None:
        """Do nothing: the codec cannot describe pauses."""

    def packet_samples(self, ptime_ms: int) -> int:
        """A number of whole frames: at least one, at most those of the longest packet."""
        frames = self.rate * ptime_ms // 1000 // self.frame
        return min(max(frames, 1), self._most_frames) * self.frame

    def require_frames(self, pcm: Samples) -> int:
        """How many frames ``pcm`` holds.

        Raises:
            ValueError: it is not a whole number of frames, or more than a packet holds.
        """
        frames, rest = divmod(len(pcm), self.frame)
        if rest or not 0 < frames <= self._most_frames:
            raise ValueError(f"{len(pcm)} samples are not a packet of {self.name}")
        return frames

    def conceal(self, samples: int) -> Samples:
        """Return silence, for a codec without concealment."""
        return np.zeros(samples, np.int16)

    def recover(self, following: bytes, samples: int) -> Samples:
        """Conceal: the packet after the gap has no information about it."""
        return self.conceal(samples)


Band = Literal["narrowband", "wideband", "fullband"]
"""The scales of the E-model."""


@dataclass(frozen=True, slots=True)
class Impairment:
    """The impairment by a codec in the E-model (ITU-T G.107, G.107.1, G.107.2).

    ``equipment`` is Ie, the impairment by coding alone; ``robustness`` is Bpl: the higher, the less
    losses impair. Both are on the scale of ``band``.
    """

    equipment: float
    robustness: float
    band: Band = "narrowband"


@dataclass(frozen=True, slots=True)
class CodecInfo:
    """An entry in the list of codecs.

    ``rate`` is that of the PCM in Hz, ``bitrate`` in bits per second of payload (an average where
    it varies); ``package`` names the system package with the codec's library, None where none is
    needed; ``impairment`` is None where it is unknown. ``library`` names the library that encodes
    and decodes, empty for a codec without one.
    """

    name: str
    rate: int
    bitrate: int
    available: bool
    package: str | None = None
    impairment: Impairment | None = None
    library: str = ""


@dataclass(frozen=True, slots=True)
class CodecMaker:
    """An entry of the registry; entry points of the group ``spech.codecs`` name these.

    ``settings`` are whole numbers that a program may choose: names of keyword arguments of
    ``make``, and their allowed values.
    """

    info: CodecInfo
    make: Callable[..., Codec]
    settings: Mapping[str, range] = field(default_factory=dict)


def band_of(rate: int) -> Band:
    """The scale on which sound of that sampling rate, in Hz, is judged."""
    return "narrowband" if rate < 16000 else "wideband" if rate < 32000 else "fullband"


def parameters(fmtp: str | None) -> dict[str, str]:
    """The ``name=value`` of an ``a=fmtp``, semicolons between them; names in lower case."""
    found = {}
    for part in (fmtp or "").split(";"):
        name, _, value = part.partition("=")
        found[name.strip().lower()] = value.strip()
    return found
