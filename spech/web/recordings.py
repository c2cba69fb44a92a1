"""The folder of recordings: their names, and a list of them."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from quart_trio.wrappers.response import TrioFileBody

from spech.errors import MediaError
from spech.web.messages.calls import RecordingState
from spech.web.messages.command import Refused
from spech.web.messages.recordings import StoredRecording

if TYPE_CHECKING:
    from spech import Call, Recording

Format = Literal["wav", "opus"]

#: Ending to media type.
RECORDING_TYPES = {".wav": "audio/wav", ".opus": "audio/ogg"}
_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z+_.@-]{0,120}\.(wav|opus)")
_ODD = re.compile(r"[^0-9A-Za-z+_.@]+")
_LONGEST_REMOTE = 60


class RecordingLimits(NamedTuple):
    """How much each person's recordings may take.

    Attributes:
        quota: bytes from which on no further recording begins, None for any.
        keep: seconds after which a recording is deleted, None for never.
    """

    quota: int | None = None
    keep: float | None = None


UNLIMITED: Final = RecordingLimits()


class RecordingFolder:
    """Recordings as files in one folder, which is made when the first one begins.

    The methods block on the disk for a moment.
    """

    def __init__(self, folder: Path, limits: RecordingLimits = UNLIMITED) -> None:
        self.limits = limits
        self._folder = folder
        self._running: list[Recording] = []

    def begin(
        self, call: Call, remote: str, kind: Format, *, stereo: bool, now: datetime
    ) -> Recording:
        """Record a call into a file named after the time and the far end.

        Raises:
            Refused: ``cannot_record``.
        """
        named = _ODD.sub("-", remote.removeprefix("sip:"))[:_LONGEST_REMOTE].strip("-.")
        stem = f"{now:%Y%m%d-%H%M%S}-{named or 'unknown'}"
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = self._claim(stem, kind)
            recording = call.record(path, stereo=stereo)
        except (OSError, MediaError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise Refused("cannot_record", "Recording did not begin.", reason) from error
        self._running = [each for each in self._running if not each.stopped]
        self._running.append(recording)
        return recording

    def _claim(self, stem: str, kind: Format) -> Path:
        """A new file, for our eyes only."""
        number = 1
        while True:
            path = self._folder / f"{stem}{'' if number == 1 else f'-{number}'}.{kind}"
            try:
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            except FileExistsError:
                number += 1
            else:
                return path

    def stored(self) -> tuple[StoredRecording, ...]:
        """All recordings, the newest first, including those that are running."""
        found = []
        try:
            entries = [path for path in self._folder.iterdir() if _NAME.fullmatch(path.name)]
        except OSError:
            return ()
        for path in entries:
            try:
                status = path.stat()
            except OSError:
                continue
            found.append(StoredRecording(path.name, status.st_size, status.st_mtime))
        return tuple(sorted(found, key=lambda each: each.name, reverse=True))

    def require_room(self) -> None:
        """Check that a further recording may begin.

        Raises:
            Refused: ``cannot_record``.
        """
        quota = self.limits.quota
        if quota is not None and sum(each.bytes for each in self.stored()) >= quota:
            raise Refused(
                "cannot_record",
                "The space for your recordings is used up.",
                "Delete recordings that you no longer need.",
            )

    def delete_expired(self, now: float) -> None:
        """Delete what has been kept long enough. ``now`` is in seconds since 1970."""
        keep = self.limits.keep
        if keep is None:
            return
        for each in self.stored():
            if each.at < now - keep:
                with suppress(Refused):  # It is running, or was deleted a moment ago.
                    self.delete(each.name)

    def find(self, name: str) -> Path:
        """The file of that name.

        Raises:
            Refused: ``no_such_recording``.
        """
        path = self._folder / name
        if not _NAME.fullmatch(name) or path.is_symlink() or not path.is_file():
            raise Refused("no_such_recording", "This recording no longer exists.")
        return path

    def delete(self, name: str) -> None:
        """Delete a recording that has ended.

        Raises:
            Refused: ``no_such_recording``, or ``busy`` while it is running.
        """
        path = self.find(name)
        if any(each.path == path and not each.stopped for each in self._running):
            raise Refused("busy", "This recording is still running.", "Stop it first.")
        try:
            path.unlink()
        except OSError as error:
            raise Refused(
                "no_such_recording", "It cannot be deleted.", error.strerror or ""
            ) from error


class RecordingBody(TrioFileBody):
    """A file as a response, in ranges as browsers ask for them (RFC 9110 14.1.2)."""

    async def make_conditional(
        self, begin: int, end: int | None, max_partial_size: int | None = None
    ) -> int:
        if begin < 0:
            begin = max(0, self.size + begin)
        end = self.size if end is None else min(end, self.size)
        return await super().make_conditional(begin, end, max_partial_size)


def shown(recording: Recording | None) -> RecordingState | None:
    """A call's ``recording`` in the state feed; None once it has ended without an error."""
    if recording is None or (recording.stopped and recording.error is None):
        return None
    error = "" if recording.error is None else str(recording.error)
    return RecordingState(recording.path.name, recording.paused, error)
