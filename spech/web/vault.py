"""The vault: one file of settings, sealed with AES-256-GCM.

    devices.vault = magic (8 bytes) | nonce (12 bytes) | ciphertext and tag (16 bytes at the end)

The magic names the format and its version and is the associated data of the seal, so a file of
another version cannot be passed off as this one. Each write takes a fresh nonce. The key comes
from ``SPECH_VAULT_KEY_HEX`` or else from ``vault.key`` beside the vault, made once, mode 0600.

A vault that cannot be opened is never overwritten: every write opens the old file first.

A new key is first written to ``vault.key.new``, and takes the place of ``vault.key`` when the vault
that it opens is in place. If the process ends in between, the next read finishes the change.

A backup is a tar archive of the vault and its key.
"""

from __future__ import annotations

import io
import os
import re
import secrets
import tarfile
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from spech.errors import VaultError
from spech.web.private_files import create_private, replace_private, sync_folder

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
        self._new_key_path = folder / "vault.key.new"

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
        _check_form(sealed, self.path)
        self._finish_change(sealed)
        return _unseal(sealed, self._key(create=False), self.path)

    def write(self, content: bytes) -> None:
        """Seal ``content`` and put it in the place of what was there, all or nothing.

        Raises:
            VaultError: the present vault cannot be opened (it stays as it is), or the disk
                refused.
        """
        self.read()
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace_private(self.path, self._seal(content, self._key(create=True)))
        except OSError as error:
            raise VaultError(f"{self.path} cannot be written: {error.strerror}.") from error

    def change_key(self) -> None:
        """Seal the vault with a new key, which is stored in ``vault.key``.

        Only the holder of the folder's lock may do so.

        Raises:
            VaultError: there is no vault, it cannot be opened (it stays as it is), or the disk
                refused.
        """
        content = self.require()
        key = secrets.token_bytes(KEY_BYTES)
        self._install(self._seal(content, key), key)

    def backup(self) -> bytes:
        """A tar archive of the vault and its key. Whoever has it can read the passwords.

        Raises:
            VaultError: there is no vault, or it cannot be opened.
        """
        content = self.require()
        key = self._key(create=False)
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for name, data in (
                (self.path.name, self._seal(content, key)),
                (self.key_path.name, _key_line(key)),
            ):
                member = tarfile.TarInfo(name)
                member.mode, member.size = 0o600, len(data)
                tar.addfile(member, io.BytesIO(data))
        return archive.getvalue()

    def restore(self, archive: bytes) -> None:
        """Replace the vault and its key with those of a backup; the key goes to ``vault.key``.

        Only the holder of the folder's lock may do so. A vault that cannot be opened is replaced,
        too.

        Raises:
            VaultError: the archive is not a backup, or the disk refused. Nothing was changed.
        """
        try:
            with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
                sealed = _member(tar, self.path.name)
                text = _member(tar, self.key_path.name).decode("ascii", "replace")
        except (tarfile.TarError, KeyError, EOFError) as error:
            raise VaultError("The file is not a backup of a vault.") from error
        key = _parse_key(text, "The key in the backup")
        _check_form(sealed, Path(self.path.name))
        _unseal(sealed, key, Path(self.path.name))
        self._install(sealed, key)

    def require(self) -> bytes:
        """What is in the vault; the folder is not created if it is missing.

        Raises:
            VaultError: as from :meth:`read`; or there is no vault.
        """
        content = self.read()
        if content is None:
            raise VaultError(f"There is no vault in {self.folder}.")
        return content

    def _seal(self, content: bytes, key: bytes) -> bytes:
        nonce = secrets.token_bytes(NONCE_BYTES)
        sealed = MAGIC + nonce + AESGCM(key).encrypt(nonce, content, MAGIC)
        if len(sealed) > MAX_BYTES:
            raise VaultError(f"The settings are too large for {self.path}.")
        return sealed

    def _install(self, sealed: bytes, key: bytes) -> None:
        """Put a vault and its new key in place. Whenever it is interrupted, the vault has a key."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace_private(self._new_key_path, _key_line(key))
            replace_private(self.path, sealed)
            self._finish_change(sealed)
            sync_folder(self.folder)
        except OSError as error:
            raise VaultError(f"{self.folder} cannot be written: {error.strerror}.") from error

    def _finish_change(self, sealed: bytes) -> None:
        """Finish a change of the key that was interrupted after the vault was replaced."""
        try:
            key = _parse_key(self._new_key_path.read_text("ascii"), str(self._new_key_path))
            _unseal(sealed, key, self.path)
            self._new_key_path.replace(self.key_path)
        except (OSError, UnicodeDecodeError, VaultError):
            pass  # There is none, or the vault was not replaced.

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
        # Of two processes that start at once, one makes the key and the other reads it.
        with os.fdopen(create_private(self.key_path), "wb") as file:
            file.write(_key_line(key))
            file.flush()
            os.fsync(file.fileno())
        sync_folder(self.folder)
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


def _key_line(key: bytes) -> bytes:
    return key.hex().encode("ascii") + b"\n"


def _check_form(sealed: bytes, path: Path) -> None:
    """Check what can be checked without the key; ``path`` names the vault in errors."""
    if not sealed.startswith(MAGIC):
        raise VaultError(
            f"{path} is not a vault of this version of Spech. "
            "Nothing was changed. Move the file away to start with empty settings."
        )
    if not len(MAGIC) + NONCE_BYTES + TAG_BYTES <= len(sealed) <= MAX_BYTES:
        raise VaultError(f"{path} is damaged: its length is wrong. {_RESTORE}")


def _unseal(sealed: bytes, key: bytes, path: Path) -> bytes:
    """What is in a vault.

    Raises:
        VaultError: it is damaged, or the key does not fit.
    """
    nonce = sealed[len(MAGIC) : len(MAGIC) + NONCE_BYTES]
    try:
        return AESGCM(key).decrypt(nonce, sealed[len(MAGIC) + NONCE_BYTES :], MAGIC)
    except InvalidTag:
        raise VaultError(
            f"{path} is damaged, or it was sealed with another key. {_RESTORE}"
        ) from None


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    """A file of the archive.

    Raises:
        KeyError: there is no such file.
    """
    file = tar.extractfile(name)
    if file is None:
        raise KeyError(name)
    with file:
        return file.read(MAX_BYTES + 1)
