"""The vault: one file of settings, sealed with AES-256-GCM.

    devices.vault = magic (8 bytes) | nonce (12 bytes) | ciphertext and tag (16 bytes at the end)

The magic names the format and its version and is the associated data of the seal, so a file of
another version cannot be passed off as this one. Each write takes a fresh nonce. The key comes
from ``SPECH_VAULT_KEY_HEX`` or else from ``vault.key`` beside the vault, made once, mode 0600.

A vault that cannot be opened is never overwritten: every write opens the old file first.
"""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from spech.errors import VaultError

KEY_VARIABLE = "SPECH_VAULT_KEY_HEX"
MAGIC = b"SPECHV\x00\x01"
NONCE_BYTES = 12
TAG_BYTES = 16
KEY_BYTES = 32
#: The settings are a few hundred bytes; anything beyond this was not written by us.
MAX_BYTES = 1 << 20

_KEY_HEX = re.compile(r"[0-9A-Fa-f]{64}")


class Vault:
    """The sealed file ``devices.vault`` in a folder.

    The methods block on the disk for a moment; call them from a thread where that matters.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "devices.vault"
        self.key_path = folder / "vault.key"

    def __repr__(self) -> str:
        return f"Vault({str(self.path)!r})"

    def check(self) -> None:
        """Check that the vault can be opened, and that a vault can be written where there is none.

        Raises:
            VaultError: as from :meth:`read`; or the key in the environment is not a key, or the
                folder cannot be made or written.
        """
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise VaultError(
                f"The data folder {self.folder} cannot be made: {error.strerror}. "
                "Choose another folder with --data."
            ) from error
        if not os.access(self.folder, os.R_OK | os.W_OK | os.X_OK):
            raise VaultError(
                f"The data folder {self.folder} cannot be written. Change its owner or its mode, "
                "or choose another folder with --data."
            )
        if self.read() is None and KEY_VARIABLE in os.environ:
            self._key(create=False)

    def read(self) -> bytes | None:
        """What is kept in the vault, or None when there is no vault yet.

        Raises:
            VaultError: the file is damaged or foreign, or the key does not fit. The message
                names the file and says what to do.
        """
        try:
            with self.path.open("rb") as file:
                sealed = file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise VaultError(f"{self.path} cannot be read: {error.strerror}.") from error
        if not sealed.startswith(MAGIC):
            raise VaultError(
                f"{self.path} is not a vault of this version of Spech. "
                "Nothing was changed. Move the file away to start with empty settings."
            )
        if not len(MAGIC) + NONCE_BYTES + TAG_BYTES <= len(sealed) <= MAX_BYTES:
            raise VaultError(f"{self.path} is damaged: its length is wrong. {_RESTORE}")
        key = self._key(create=False)
        nonce = sealed[len(MAGIC) : len(MAGIC) + NONCE_BYTES]
        try:
            return AESGCM(key).decrypt(nonce, sealed[len(MAGIC) + NONCE_BYTES :], MAGIC)
        except InvalidTag:
            raise VaultError(
                f"{self.path} is damaged, or it was sealed with another key. {_RESTORE}"
            ) from None

    def write(self, content: bytes) -> None:
        """Seal ``content`` and put it in the place of what was there, all or nothing.

        Raises:
            VaultError: the present vault cannot be opened (it stays as it is), or the disk
                refused.
        """
        self.read()
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            nonce = secrets.token_bytes(NONCE_BYTES)
            sealed = MAGIC + nonce + AESGCM(self._key(create=True)).encrypt(nonce, content, MAGIC)
            if len(sealed) > MAX_BYTES:
                raise VaultError(f"The settings are too large for {self.path}.")
            _replace(self.path, sealed)
        except OSError as error:
            raise VaultError(f"{self.path} cannot be written: {error.strerror}.") from error

    def _key(self, *, create: bool) -> bytes:
        text = os.environ.get(KEY_VARIABLE)
        if text is not None:
            return _parse_key(text, KEY_VARIABLE)
        if create:
            try:
                return self._make_key()
            except FileExistsError:
                pass
        try:
            text = self.key_path.read_text("ascii", errors="replace")
        except FileNotFoundError:
            raise VaultError(
                f"{self.path} is there, but its key {self.key_path} is not. {_RESTORE}"
            ) from None
        except OSError as error:
            raise VaultError(f"{self.key_path} cannot be read: {error.strerror}.") from error
        return _parse_key(text, str(self.key_path))

    def _make_key(self) -> bytes:
        key = secrets.token_bytes(KEY_BYTES)
        # O_EXCL: of two processes that start at once, one makes the key and the other reads it.
        descriptor = os.open(self.key_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(key.hex().encode("ascii") + b"\n")
            file.flush()
            os.fsync(file.fileno())
        _sync_folder(self.folder)
        return key


_RESTORE = (
    "Nothing was changed. Restore the file and its key from a backup, "
    "or move the file away to start with empty settings."
)


def _parse_key(text: str, origin: str) -> bytes:
    if not _KEY_HEX.fullmatch(text.strip()):
        raise VaultError(
            f"{origin} must hold 64 hexadecimal digits (32 bytes). "
            "Make a key with: openssl rand -hex 32"
        )
    return bytes.fromhex(text.strip())


def _replace(path: Path, content: bytes) -> None:
    """Write beside ``path``, sync, rename over it: a crash leaves the old file or the new one."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
