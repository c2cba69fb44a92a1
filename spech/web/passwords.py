"""Passwords of the web phone: kept as Argon2id hashes (RFC 9106)."""

from __future__ import annotations

import secrets
from typing import Final

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

#: One hash takes about 50 ms of one core and this memory, in KiB.
_MEMORY: Final = 19 * 1024
_ITERATIONS: Final = 2
_SALT_BYTES: Final = 16
_HASH_BYTES: Final = 32
#: Nobody knows a password for this hash. An unknown name takes the time of a known one.
_NOBODYS: Final = f"$argon2id$v=19$m={_MEMORY},t={_ITERATIONS},p=1${'A' * 22}${'A' * 43}"


def hash_password(password: str) -> str:
    """The hash of a password, a text that holds its own parameters and salt. Takes 50 ms."""
    derivation = Argon2id(
        salt=secrets.token_bytes(_SALT_BYTES),
        length=_HASH_BYTES,
        iterations=_ITERATIONS,
        lanes=1,
        memory_cost=_MEMORY,
    )
    return derivation.derive_phc_encoded(_bytes(password))


def password_matches(password: str, hashed: str | None) -> bool:
    """Whether a hash is that of the password. Takes 50 ms, also for None, which matches none."""
    try:
        Argon2id.verify_phc_encoded(_bytes(password), _NOBODYS if hashed is None else hashed)
    except InvalidKey:
        return False
    return hashed is not None


def _bytes(password: str) -> bytes:
    return password.encode("utf-8", "surrogatepass")
