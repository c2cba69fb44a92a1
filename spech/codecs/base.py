"""What every codec offers, and what the registry says about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.int16]
"""PCM of one channel: int16 in the machine's byte order."""


class Codec(Protocol):
    """An encoder and a decoder for one call; both may keep state, so an instance is never shared.

    Attributes:
        name: the name in Spech, such as ``PCMU`` or ``L16/16000``.
        encoding: the encoding name in ``a=rtpmap`` (RFC 8866 section 6.6).
        rate: samples per second of the PCM that goes in and comes out, in Hz.
        clock_rate: the RTP clock in Hz; differs from ``rate`` only where an RFC says so.
        channels: channels on the wire; PCM here is mono.
        payload_type: the static payload type (RFC 3551 section 6), or None for a dynamic one.
        fmtp: the parameters of ``a=fmtp``, or None.
    """

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

    def encode(self, pcm: Samples) -> bytes:
        """Encode one packet's samples (at ``rate``) into an RTP payload."""
        ...

    def decode(self, payload: bytes) -> Samples:
        """Decode one RTP payload.

        Raises:
            RemoteProtocolError: the payload is no frame of this codec.
        """
        ...

    def conceal(self, samples: int) -> Samples:
        """Invent ``samples`` samples in place of a packet that did not come."""
        ...


@dataclass(frozen=True, slots=True)
class CodecInfo:
    """One line of the list of codecs.

    ``rate`` is in Hz, ``bitrate`` in bits per second of payload; ``package`` names the system
    package that brings the codec's library, None where none is needed.
    """

    name: str
    rate: int
    bitrate: int
    available: bool
    package: str | None = None
