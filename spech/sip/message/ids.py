"""The random identifiers in SIP messages: branches, tags, Call-IDs."""

from __future__ import annotations

import hashlib
import random
from typing import Final

#: The prefix of every branch of RFC 3261 (section 8.1.1.7).
MAGIC_COOKIE: Final = "z9hG4bK"


class Identifiers:
    """Generates identifiers from one random source.

    Pass ``random.SystemRandom()`` in production (tags must be hard to guess, RFC 3261 19.3) and a
    seeded ``random.Random`` when a run must be repeatable.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._secret = rng.randbytes(32)

    def _word(self, bits: int) -> str:
        return f"{self._rng.getrandbits(bits):0{bits // 4}x}"

    def branch(self) -> str:
        """The identifier of a transaction, for the Via header."""
        return MAGIC_COOKIE + self._word(80)

    def tag(self) -> str:
        """The identifier of one side of a dialog, for From or To."""
        return self._word(64)

    def tag_for(self, *parts: str) -> str:
        """A tag that depends only on ``parts``, and that no other host can compute."""
        text = "\n".join(parts).encode(errors="surrogateescape")
        return hashlib.blake2b(text, digest_size=8, key=self._secret).hexdigest()

    def call_id(self) -> str:
        """A Call-ID without a host name, so that it does not reveal our address."""
        return self._word(128)

    def sequence(self) -> int:
        """The first CSeq number of a dialog, well below 2**31 (RFC 3261 8.1.1.5)."""
        return self._rng.randrange(1, 10_000)
