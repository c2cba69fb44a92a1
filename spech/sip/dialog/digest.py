"""Digest authentication, both sides (RFC 7616, and RFC 8760 for SIP).

The nonce counts and client nonces that prevent the replay of a captured answer are kept here. The
caller decides which message carries them, and which user they belong to.
"""

from __future__ import annotations

import hashlib
import hmac
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from spech.sip.message.headers import AuthHeader


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _sha512_256(data: bytes) -> str:
    return hashlib.new("sha512_256", data).hexdigest()


#: The algorithms by name, the strongest first. SHA-512-256 comes from OpenSSL, which may
#: have been built without it.
_HASHES: Final[dict[str, Callable[[bytes], str]]] = {
    **({"SHA-512-256": _sha512_256} if "sha512_256" in hashlib.algorithms_available else {}),
    "SHA-256": _sha256,
    "MD5": _md5,
}
_STRENGTH: Final = list(_HASHES)

#: How many nonces a client remembers, the latest ones. Servers of one realm may have one each.
_MAX_NONCES: Final = 16

_NONCE_COUNT: Final = re.compile(r"[0-9a-fA-F]{8}")


@dataclass(slots=True)
class _Exchange:
    """What a client remembers about a nonce."""

    cnonce: str
    count: int = 0


@dataclass(slots=True)
class DigestClient:
    """Answers the challenges of servers with one user's password.

    ``rng`` yields the client nonces; give it a :class:`random.SystemRandom` outside of tests.
    """

    user: str
    _password: str = field(repr=False)
    rng: random.Random = field(repr=False)
    _exchanges: dict[tuple[str, str], _Exchange] = field(
        init=False, repr=False, default_factory=dict
    )

    def answer(
        self, challenges: list[AuthHeader], method: str, uri: str, body: bytes
    ) -> AuthHeader | None:
        """Credentials for the strongest challenge that can be answered, or ``None``.

        ``uri`` is the Request-URI as it is sent. Answering the same challenge again counts the
        nonce up, so that later requests need not be challenged first (RFC 7616 section 3.4).
        """
        usable = [found for challenge in challenges if (found := _usable(challenge))]
        if not usable:
            return None
        parameters, algorithm, qop = min(usable, key=lambda item: _strength(item[1]))
        nonce = parameters["nonce"]
        exchange = self._exchange(parameters["realm"], nonce)
        exchange.count += 1
        count = f"{exchange.count:08x}"
        answered = {
            "username": self.user,
            "realm": parameters["realm"],
            "nonce": nonce,
            "uri": uri,
            "response": _response(
                algorithm,
                f"{self.user}:{parameters['realm']}:{self._password}",
                (nonce, count, exchange.cnonce, qop),
                f"{method}:{uri}",
                body,
            ),
        }
        if "algorithm" in parameters:
            answered["algorithm"] = parameters["algorithm"]
        if "opaque" in parameters:
            answered["opaque"] = parameters["opaque"]
        if qop is not None:
            answered |= {"qop": qop, "cnonce": exchange.cnonce, "nc": count}
        elif algorithm.endswith("-SESS"):
            answered["cnonce"] = exchange.cnonce
        return AuthHeader("Digest", answered)

    def can_answer(self, challenges: list[AuthHeader]) -> bool:
        """Whether there is a challenge among them whose algorithm and qop are known here."""
        return any(_usable(challenge) for challenge in challenges)

    @staticmethod
    def rejected(challenge: AuthHeader, sent: AuthHeader) -> bool:
        """Whether ``challenge`` refuses the password in ``sent``, so that trying again is useless.

        A server that sends another nonce may have refused the nonce alone: it expired, or another
        server behind the same name issued it. Not all of them say ``stale`` then.
        """
        if challenge.parameters.get("stale", "").lower() == "true":
            return False
        return challenge.parameters.get("nonce") == sent.parameters.get("nonce", "")

    def _exchange(self, realm: str, nonce: str) -> _Exchange:
        known = self._exchanges.get((realm, nonce))
        if known is not None:
            return known
        fresh = self._exchanges[realm, nonce] = _Exchange(f"{self.rng.getrandbits(64):016x}")
        if len(self._exchanges) > _MAX_NONCES:
            del self._exchanges[next(iter(self._exchanges))]
        return fresh


class DigestVerdict(Enum):
    """A server's verdict on credentials."""

    #: The credentials are correct.
    OK = "ok"
    #: The password is correct, but the nonce is too old, unknown or was used already: challenge
    #: again with ``stale=True``, and the client tries again without asking its user.
    STALE = "stale"
    #: The credentials are wrong.
    WRONG = "wrong"


class DigestServer:
    """Challenges clients and verifies their credentials for one realm.

    Nonces carry their time of issue and are signed, so a flood of requests without credentials
    leaves no state. ``lifetime`` is how long a nonce may be used, in seconds; ``rng`` yields
    the signing key, so give it a :class:`random.SystemRandom` outside of tests.

    A nonce is valid for the ``source`` (an address) to which its challenge was sent. So credentials
    also prove that their source receives what is sent to it.

    ``algorithms`` are offered and accepted, the preferred one first (RFC 8760 2.3).
    """

    def __init__(
        self,
        realm: str,
        rng: random.Random,
        lifetime: float,
        algorithms: tuple[str, ...] = ("SHA-256", "MD5"),
    ) -> None:
        self.realm = realm
        self.algorithms = algorithms
        self.lifetime = lifetime
        self._rng = rng
        self._key = rng.randbytes(32)
        #: The highest count and the time of the first use of each nonce, in order of first use.
        self._used: dict[str, tuple[int, float]] = {}

    def challenge(self, now: float, stale: bool = False, source: str = "") -> list[AuthHeader]:
        """The challenges to send, each in a header of its own, the preferred one first."""
        unsigned = f"{int(now * 1000):x}.{self._rng.getrandbits(64):016x}"
        nonce = f"{unsigned}.{self._sign(unsigned, source)}"
        challenges = []
        for algorithm in self.algorithms:
            parameters = {"realm": self.realm, "nonce": nonce}
            parameters |= {"algorithm": algorithm, "qop": "auth"}
            if stale:
                parameters["stale"] = "true"
            challenges.append(AuthHeader("Digest", parameters))
        return challenges

    def verify(
        self, auth: AuthHeader, method: str, password: str, now: float, source: str = ""
    ) -> DigestVerdict:
        """Judges the credentials of a request whose user has ``password``.

        A nonce count that does not grow is a replay and refused as stale. Credentials without
        ``qop`` (RFC 2069) have no count, so their nonce serves once.
        """
        given = auth.parameters
        algorithm = given.get("algorithm", "MD5").upper()
        qop = given.get("qop")
        count = given.get("nc", "")
        if auth.scheme.lower() != "digest" or given.get("realm") != self.realm:
            return DigestVerdict.WRONG
        if algorithm not in self.algorithms or qop not in (None, "auth"):
            return DigestVerdict.WRONG
        if qop is not None and not _NONCE_COUNT.fullmatch(count):
            return DigestVerdict.WRONG
        nonce = given.get("nonce", "")
        expected = _response(
            algorithm,
            f"{given.get('username', '')}:{self.realm}:{password}",
            (nonce, count, given.get("cnonce", ""), qop),
            f"{method}:{given.get('uri', '')}",
            b"",
        )
        if not hmac.compare_digest(expected.encode(), given.get("response", "").lower().encode()):
            return DigestVerdict.WRONG
        if not self._is_current(nonce, source, now):
            return DigestVerdict.STALE
        number = int(count, 16) if qop is not None else 1
        highest, first_used = self._used.get(nonce, (0, now))
        if number <= highest:
            return DigestVerdict.STALE
        self._used[nonce] = (number, first_used)
        self._forget(now)
        return DigestVerdict.OK

    def _sign(self, text: str, source: str) -> str:
        signed = f"{text} {source}".encode()
        return hmac.new(self._key, signed, hashlib.sha256).hexdigest()[:32]

    def _is_current(self, nonce: str, source: str, now: float) -> bool:
        unsigned, _, signature = nonce.rpartition(".")
        if not hmac.compare_digest(self._sign(unsigned, source).encode(), signature.encode()):
            return False
        issued = int(unsigned.partition(".")[0], 16) / 1000
        return now - issued <= self.lifetime

    def _forget(self, now: float) -> None:
        while self._used:
            nonce, (_, first_used) = next(iter(self._used.items()))
            if now - first_used <= self.lifetime:
                break
            del self._used[nonce]


def _usable(challenge: AuthHeader) -> tuple[dict[str, str], str, str | None] | None:
    """Parameters, algorithm in upper case and chosen qop of a challenge that we can answer."""
    parameters = dict(challenge.parameters)
    algorithm = parameters.get("algorithm", "MD5").upper()
    if challenge.scheme.lower() != "digest" or algorithm.removesuffix("-SESS") not in _HASHES:
        return None
    if "realm" not in parameters or "nonce" not in parameters:
        return None
    if "qop" not in parameters:
        return parameters, algorithm, None
    offered = [word.strip().lower() for word in parameters["qop"].split(",")]
    for qop in ("auth", "auth-int"):
        if qop in offered:
            return parameters, algorithm, qop
    return None


def _strength(algorithm: str) -> int:
    return _STRENGTH.index(algorithm.removesuffix("-SESS"))


def _response(
    algorithm: str,
    secret: str,
    once: tuple[str, str, str, str | None],
    target: str,
    body: bytes,
) -> str:
    """RFC 7616 section 3.4.1. ``once`` is nonce, nonce count, client nonce and qop."""
    digest = _HASHES[algorithm.removesuffix("-SESS")]
    nonce, count, cnonce, qop = once
    first = digest(secret.encode())
    if algorithm.endswith("-SESS"):
        first = digest(f"{first}:{nonce}:{cnonce}".encode())
    second = digest((f"{target}:{digest(body)}" if qop == "auth-int" else target).encode())
    if qop is None:
        return digest(f"{first}:{nonce}:{second}".encode())
    return digest(f"{first}:{nonce}:{count}:{cnonce}:{qop}:{second}".encode())
