"""Conferences that a person made of several calls."""

from __future__ import annotations

from typing import Protocol

from spech.audio.room import Room
from spech.web.messages.calls import ConferenceState


class Participant(Protocol):
    """The interface that a conference needs of a call."""

    membership: Membership | None

    def apply_membership(self) -> None:
        """Join the room of the conference, or leave it, as ``membership`` says."""


class MergedCalls:
    """Calls that hear each other, and the microphone of the audio connection of any of them.

    A conference ends when one call is left. ``id`` identifies it in the protocol.
    """

    def __init__(self, id: str) -> None:
        self.id = id
        self.room = Room()
        self._calls: list[Participant] = []

    def add(self, call: Participant) -> None:
        """Add a call, which leaves the conference that it was in."""
        if call.membership is not None:
            if call.membership.conference is self:
                return
            call.membership.conference.remove(call)
        self._calls.append(call)
        call.membership = Membership(self)

    def remove(self, call: Participant) -> None:
        """Remove a call, and the last one that would be left alone."""
        self._calls.remove(call)
        call.membership = None
        call.apply_membership()
        if len(self._calls) == 1:
            self.remove(self._calls[0])


class Membership:
    """A call's membership of a conference, which it keeps while it is on hold.

    ``gain`` in dB and ``muted`` say how the others hear the call.
    """

    def __init__(self, conference: MergedCalls) -> None:
        self.conference = conference
        self.gain = 0.0
        self.muted = False

    @property
    def state(self) -> ConferenceState:
        """The call's ``conference`` in the state feed."""
        return ConferenceState(self.conference.id, self.gain, self.muted)
