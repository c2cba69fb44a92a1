"""The list of recordings."""

from __future__ import annotations

import msgspec

from spech.web.messages.command import PageCommand, Short


class StoredRecording(msgspec.Struct, frozen=True):
    """A file of ``bytes`` bytes, last written ``at`` seconds since 1970."""

    name: str
    bytes: int
    at: float


class RecordingsOutcome(msgspec.Struct, frozen=True):
    recordings: tuple[StoredRecording, ...]


class ListRecordings(PageCommand, frozen=True, tag="recordings"):
    outcome = RecordingsOutcome


class DeleteRecording(PageCommand, frozen=True, tag="delete_recording"):
    name: Short


RecordingCommand = ListRecordings | DeleteRecording
