"""The folders of a bridge: with its recordings, which are kept for a time, and with sounds."""

from __future__ import annotations

import logging
import os
import re
import stat
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import trio

from spech.audio.recorder import Recording
from spech.errors import LocalProtocolError, MediaError, SpechError
from spech.phone.call import Call

_log: Final = logging.getLogger(__name__)

#: Names of recordings: no folders, and nothing hidden.
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\.(wav|opus|ogg)")
#: Names of sounds, the same way.
_SOUND: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
#: Seconds between two looks for files that are too old.
_SWEEP_SECONDS: Final = 600.0
_DAY_SECONDS: Final = 86400.0


class RecordingStore:
    """The folder for the recordings of a bridge.

    Args:
        folder: where the files are; only their owner can read them.
        keep_days: days after which a file is deleted, counted from its end; None to keep all.
    """

    def __init__(self, folder: Path, keep_days: float | None = None) -> None:
        self._folder = folder
        self._keep_days = keep_days

    def begin(self, call: Call, name: str, *, stereo: bool) -> Recording:
        """Record a call until it ends.

        Args:
            call: the call.
            name: of the file, with its ending.
            stereo: our side on the left and the far end on the right; mixed otherwise.

        Raises:
            LocalProtocolError: the name is none, or there is such a file.
            MediaError: the file cannot be written.
            CallEnded: the call is over.
        """
        if not _NAME.fullmatch(name):
            raise LocalProtocolError(f"{name!r} is no name for a recording: name.wav or name.opus")
        path = self._folder / name
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            raise LocalProtocolError(f"there is a recording {name} already") from None
        except OSError as error:
            raise MediaError(f"{name} cannot be written: {error.strerror}") from error
        try:
            return call.record(path, stereo=stereo)
        except SpechError:
            path.unlink(missing_ok=True)
            raise

    async def keep(self) -> None:
        """Delete what is too old, now and then, until cancelled."""
        while self._keep_days is not None:
            oldest = time.time() - self._keep_days * _DAY_SECONDS
            await trio.to_thread.run_sync(self._sweep, oldest)
            await trio.sleep(_SWEEP_SECONDS)

    def _sweep(self, oldest: float) -> None:
        """Delete the recordings that were last written before a time, in seconds since 1970."""
        try:
            for file in self._folder.iterdir():
                status = file.lstat()
                old = stat.S_ISREG(status.st_mode) and status.st_mtime < oldest
                if old and _NAME.fullmatch(file.name):
                    file.unlink()
        except OSError as error:
            _log.warning("old recordings cannot be deleted: %s", error)


def find_sound(folder: Path | None, name: str) -> Path:
    """A file of the folder with sounds to play.

    Raises:
        LocalProtocolError: there is no folder, or no such file in it.
    """
    if folder is None:
        raise LocalProtocolError("this bridge has no folder for sounds")
    path = folder / name
    if not _SOUND.fullmatch(name) or not path.is_file():
        raise LocalProtocolError(f"there is no sound {name!r}")
    return path


class CallRecorder:
    """Records one call, for its bot and for the control plane: one file at a time.

    Args:
        call: the call.
        name: part of the names of files that are given none.
        store: the folder, None where there is none.
    """

    def __init__(self, call: Call, name: str, store: RecordingStore | None) -> None:
        self._call = call
        self._name = name
        self._store = store
        self._recording: Recording | None = None

    def start(self, name: str | None = None, *, stereo: bool = False) -> str:
        """Begin a file, which is complete when the call ends. Returns its name.

        Without a name, it is that of the call after the time in UTC: ``20260131T120000-….wav``.

        Raises:
            LocalProtocolError: there is no folder, the call is being recorded, or the name cannot
                be used.
            MediaError: the file cannot be written.
            CallEnded: the call is over.
        """
        if self._store is None:
            raise LocalProtocolError("this bridge has no folder for recordings")
        if self._recording is not None and not self._recording.stopped:
            raise LocalProtocolError("the call is being recorded already")
        if name is None:
            name = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}-{self._name}.wav"
        self._recording = self._store.begin(self._call, name, stereo=stereo)
        return self._recording.path.name

    def stop(self) -> None:
        """Complete the file, if there is one."""
        if self._recording is not None:
            self._recording.stop()
