"""What both ends agreed on for the encryption of a call's sound: plain values.

They stand below signalling and media, because both speak of them and neither knows the other.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class SrtpKeys:
    """The keys of both directions, each a master key followed by its salt.

    ``suite`` is a crypto suite as session descriptions name it (RFC 4568 6.2, RFC 7714 14.2).
    """

    suite: str
    send: bytes = field(repr=False)
    receive: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class DtlsPeer:
    """Whose certificate a handshake must show, and who begins it.

    ``fingerprints`` are pairs of a hash (``sha-256``) and its digest in hexadecimal digits;
    ``client`` is whether we begin. ``number`` counts how often we are to begin anew.
    """

    fingerprints: tuple[tuple[str, str], ...]
    client: bool
    number: int = 0


Security = SrtpKeys | DtlsPeer
