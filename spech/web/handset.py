"""The handset: what a person does in calls that are up, whichever page it comes from."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime

import trio

from spech.errors import CallEnded, LocalProtocolError
from spech.web.appearance import Appearance
from spech.web.calls import CallList
from spech.web.conference import Membership, MergedCalls
from spech.web.messages.call_settings import DIALLABLE
from spech.web.messages.command import Refused
from spech.web.recordings import Format, RecordingFolder
from spech.web.transfer import PageTransfer

_DIGITS = re.compile(r"[0-9*#A-Da-d]{1,64}")


def read_target(text: str) -> str:
    """A number or an address as a person typed it.

    Raises:
        Refused: ``bad_target``.
    """
    target = text.strip()
    if not DIALLABLE.fullmatch(target):
        raise Refused("bad_target", "This is not a number.", "Enter a number or a SIP address.")
    return target


class Handset:
    """Keys, hold, conferences, transfers and recordings of ``calls``.

    ``notify`` is called at each change that a page shows. Commands raise `Refused` with
    the codes of docs/protocol.md.
    """

    def __init__(
        self, calls: CallList, recordings: RecordingFolder, notify: Callable[[], None]
    ) -> None:
        self._calls = calls
        self._recordings = recordings
        self._notify = notify
        self._conferences = 0

    def dtmf(self, call: str, digits: str) -> None:
        """Send digits (RFC 4733) into an answered call."""
        if not _DIGITS.fullmatch(digits):
            raise Refused("bad_digits", "These keys cannot be sent.", "Use 0-9, *, # and A-D.")
        appearance = self._calls.find_answered(call)
        assert appearance.call is not None
        try:
            appearance.call.send_dtmf(digits)
        except LocalProtocolError as error:
            raise Refused(
                "bad_digits", "The other side does not accept keys in this call.", str(error)
            ) from error
        except CallEnded as error:
            raise Refused("no_such_call", "This call is over.") from error

    def press(self, call: str, digit: str) -> None:
        """Hold a key down in an answered call, until it is released."""
        self._calls.find_answered(call).keys.press(digit)

    def release(self, call: str, digit: str) -> None:
        """Release a key. Does nothing when it is not down."""
        self._calls.find_live(call).keys.release(digit)

    def mute(self, call: str, muted: bool) -> None:
        """Send silence in place of the microphone, or the microphone again."""
        for appearance in self._calls.together(self._calls.find_live(call)):
            appearance.muted = muted
        self._notify()

    def hold(self, call: str, held: bool) -> None:
        """Put the far end on hold, or resume the call and put all others on hold.

        In a conference this applies to all of its calls.
        """
        appearance = self._calls.find_answered(call)
        if not held:
            self.hold_others(appearance)
        for each in self._calls.together(appearance):
            _hold(each, held)

    def merge(self, calls: Sequence[str]) -> str:
        """Join answered calls into one conference, and return its id.

        If one of them is in a conference already, the others join that one.
        """
        members = [self._calls.find_answered(call) for call in dict.fromkeys(calls)]
        if len(members) < 2:
            raise Refused("no_such_call", "This takes two calls.")
        existing = next((each for each in members if each.membership is not None), None)
        if existing is not None and existing.membership is not None:
            conference = existing.membership.conference
            members = list(dict.fromkeys((*self._calls.together(existing), *members)))
        else:
            self._conferences += 1
            conference = MergedCalls(f"r{self._conferences}")
        muted = any(each.muted for each in members)
        for each in members:
            _hold(each, False)
        for each in members:
            conference.add(each)
        for each in members:
            each.muted = muted
            each.apply_membership()
        self.hold_others(members[0])
        self._notify()
        return conference.id

    def split(self, call: str) -> None:
        """Take a call out of its conference and talk to it alone; the others are put on hold."""
        conference = self._find_membership(call).conference
        alone = self._calls.find_live(call)
        conference.remove(alone)
        self.hold_others(alone)
        self._notify()

    def set_member(self, call: str, gain: float, muted: bool) -> None:
        """How the others in a conference hear a call: ``gain`` decibels louder, or not at all."""
        membership = self._find_membership(call)
        membership.gain, membership.muted = gain, muted
        self._calls.find_live(call).apply_membership()
        self._notify()

    def transfer(self, call: str, target: str) -> None:
        """Have the far end call ``target``; how it goes is in the state."""
        self._start_transfer(self._calls.find_answered(call), PageTransfer(read_target(target)))

    def connect(self, call: str, other: str) -> None:
        """Connect the far ends of two calls with each other; how it goes is in the state."""
        appearance, partner = self._calls.find_answered(call), self._calls.find_answered(other)
        if appearance is partner:
            raise Refused("no_such_call", "This takes two calls.")
        self._start_transfer(
            appearance, PageTransfer(partner.display_name or partner.remote, partner.call)
        )
        partner.connected_by = appearance

    def _start_transfer(self, appearance: Appearance, transfer: PageTransfer) -> None:
        if appearance.transfer is not None and not appearance.transfer.over:
            raise Refused(
                "busy", "This call is being transferred already.", "Wait for the outcome."
            )
        appearance.start_transfer(transfer)
        self._notify()

    async def record(self, call: str, kind: Format, *, stereo: bool) -> str:
        """Record a call, all of it in a conference; the name of the file."""
        await trio.to_thread.run_sync(self._recordings.require_room)
        appearance = self._calls.find_live(call)
        recording = appearance.recording
        if recording is not None and not recording.stopped:
            raise Refused("busy", "This call is being recorded already.")
        if appearance.call is None:
            raise Refused("not_answered", "There is no sound yet.", "Wait for the answer.")
        try:
            recording = self._recordings.begin(
                appearance.call,
                appearance.remote,
                kind,
                stereo=stereo,
                now=datetime.now().astimezone(),
            )
        except CallEnded as error:
            raise Refused("no_such_call", "This call is over.") from error
        appearance.recording = recording
        appearance.recordings.append(recording.path.name)
        self._notify()
        return recording.path.name

    def pause_record(self, call: str, paused: bool) -> None:
        """Pause or resume the recording of a call. Does nothing where there is none."""
        recording = self._calls.find_live(call).recording
        if recording is not None:
            recording.paused = paused
            self._notify()

    async def stop_record(self, call: str) -> None:
        """Complete the recording of a call; nothing happens where there is none."""
        appearance = self._calls.find(call)
        if appearance.recording is not None:
            await trio.to_thread.run_sync(appearance.recording.stop)
            appearance.recording = None
            self._notify()

    def _find_membership(self, call: str) -> Membership:
        membership = self._calls.find_live(call).membership
        if membership is None:
            raise Refused("no_conference", "This call is not in a conference.", "Merge it first.")
        return membership

    def hold_others(self, appearance: Appearance) -> None:
        """Put all calls on hold that are not in one conference with ``appearance``."""
        talking_to = self._calls.together(appearance)
        for other in self._calls.live:
            if other not in talking_to:
                with suppress(LocalProtocolError):
                    other.hold(True)


def _hold(appearance: Appearance, held: bool) -> None:
    try:
        appearance.hold(held)
    except LocalProtocolError as error:
        raise Refused("not_answered", "The call is just being answered.", "Try again.") from error
