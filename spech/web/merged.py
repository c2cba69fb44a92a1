"""Calls that a person merged into one conversation, and split again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spech.audio.room import Room
from spech.web.messages import ConferenceState

if TYPE_CHECKING:
    from spech.web.appearance import Appearance


class Merged:
    """A conference of calls. Whoever speaks through the audio of one of them is part of it.

    It is over when one call is left. ``id`` is what pages know it by.
    """

    def __init__(self, id: str) -> None:
        self.id = id
        self.room = Room()
        self.calls: list[Appearance] = []

    def take_in(self, appearance: Appearance) -> None:
        """Add a call, out of the conference in which it was."""
        if appearance.place is not None:
            if appearance.place.conference is self:
                return
            appearance.place.conference.let_go(appearance)
        self.calls.append(appearance)
        appearance.place = Place(self)

    def let_go(self, appearance: Appearance) -> None:
        """Have a call go on alone, and the last one with it."""
        self.calls.remove(appearance)
        appearance.place = None
        appearance.sit()
        if len(self.calls) == 1:
            self.let_go(self.calls[0])


class Place:
    """A call's place in a conference, which it keeps while it is on hold."""

    def __init__(self, conference: Merged) -> None:
        self.conference = conference
        self.gain = 0.0
        self.muted = False

    @property
    def state(self) -> ConferenceState:
        """What pages see of it."""
        return ConferenceState(self.conference.id, self.gain, self.muted)
