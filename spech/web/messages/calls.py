"""What pages ask of calls, and what they are told about them."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from spech.web.messages.command import AccountId, CallId, PageCommand, Short

Digit = Annotated[str, msgspec.Meta(pattern="^[0-9*#A-D]$")]
By = Literal["local", "remote"]
Progress = Literal["trying", "ringing", "early", "answered"]


class CallOutcome(msgspec.Struct, frozen=True):
    call: str


class FollowOutcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """``call`` is the new call, missing where the request was declined."""

    call: str | msgspec.UnsetType = msgspec.UNSET


class ConferenceOutcome(msgspec.Struct, frozen=True):
    conference: str


class RecordingOutcome(msgspec.Struct, frozen=True):
    recording: str


class TimelineStep(msgspec.Struct, frozen=True):
    """One thing that happened in a call, ``at`` seconds since 1970.

    ``title`` and ``meaning`` are its start line in short and in plain words; a ``note`` is a timer
    or a state and has a ``title`` alone. ``host`` is the other end, ``message`` the text of it all,
    credentials masked.
    """

    kind: Literal["sent", "received", "note"]
    at: float
    host: str
    title: str
    meaning: str
    message: str


class TimelineOutcome(msgspec.Struct, frozen=True):
    steps: tuple[TimelineStep, ...]


class TicketOutcome(msgspec.Struct, frozen=True):
    ticket: str
    port: int


class Dial(PageCommand, frozen=True, tag="dial"):
    outcome = CallOutcome

    target: Short
    account: AccountId | None = None
    #: The person knows that the number is expensive.
    confirmed: bool = False


class Answer(PageCommand, frozen=True, tag="answer"):
    call: CallId


class Decline(PageCommand, frozen=True, tag="decline"):
    call: CallId


class HangUp(PageCommand, frozen=True, tag="hang_up"):
    call: CallId


class Dismiss(PageCommand, frozen=True, tag="dismiss"):
    call: CallId


class Dtmf(PageCommand, frozen=True, tag="dtmf"):
    call: CallId
    digits: Short


class Press(PageCommand, frozen=True, tag="press"):
    call: CallId
    digit: Digit


class Release(PageCommand, frozen=True, tag="release"):
    call: CallId
    digit: Digit


class Mute(PageCommand, frozen=True, tag="mute"):
    call: CallId
    muted: bool


class Hold(PageCommand, frozen=True, tag="hold"):
    call: CallId
    held: bool


class Merge(PageCommand, frozen=True, tag="merge"):
    outcome = ConferenceOutcome

    calls: Annotated[tuple[CallId, ...], msgspec.Meta(min_length=2, max_length=64)]


class Split(PageCommand, frozen=True, tag="split"):
    call: CallId


class AdjustMember(PageCommand, frozen=True, tag="member"):
    call: CallId
    gain: Annotated[float, msgspec.Meta(ge=-40, le=20)]
    muted: bool


class Record(PageCommand, frozen=True, tag="record"):
    outcome = RecordingOutcome

    call: CallId
    format: Literal["wav", "opus"] = "wav"
    stereo: bool = False


class PauseRecord(PageCommand, frozen=True, tag="pause_record"):
    call: CallId
    paused: bool


class StopRecord(PageCommand, frozen=True, tag="stop_record"):
    call: CallId


class BlindTransfer(PageCommand, frozen=True, tag="transfer"):
    call: CallId
    target: Short


class Connect(PageCommand, frozen=True, tag="connect"):
    call: CallId
    other: CallId


class Follow(PageCommand, frozen=True, tag="follow"):
    outcome = FollowOutcome

    call: CallId
    accepted: bool


class GetTimeline(PageCommand, frozen=True, tag="timeline"):
    outcome = TimelineOutcome

    call: CallId


class AudioTicket(PageCommand, frozen=True, tag="audio_ticket"):
    outcome = TicketOutcome

    call: CallId


CallCommand = (
    Dial
    | Answer
    | Decline
    | HangUp
    | Dismiss
    | Dtmf
    | Press
    | Release
    | Mute
    | Hold
    | Merge
    | Split
    | AdjustMember
    | Record
    | PauseRecord
    | StopRecord
    | BlindTransfer
    | Connect
    | Follow
    | GetTimeline
    | AudioTicket
)


class Ended(msgspec.Struct, frozen=True):
    """How a call ended. ``status`` is the final SIP status, None when there was none.

    ``elsewhere`` says that another phone answered it.
    """

    by: By
    status: int | None
    text: str
    elsewhere: bool = False


class TransferState(msgspec.Struct, frozen=True):
    """A transfer that was asked for: the latest that is known of the far end's new call."""

    target: str
    status: int
    text: str
    over: bool


class ConferenceState(msgspec.Struct, frozen=True):
    """A call's place in a conference: which one, and how the others hear the call."""

    id: str
    gain: float
    muted: bool


class RecordingState(msgspec.Struct, frozen=True):
    """A call's recording: its file, and why it ended early, if it did."""

    name: str
    paused: bool
    error: str


class ReferralState(msgspec.Struct, frozen=True):
    """The far end asks us to call another party (REFER)."""

    target: str


class CallState(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    account: str
    direction: Literal["incoming", "outgoing"]
    remote: str
    display_name: str | None
    contact: str | None
    state: Progress | Literal["ended"]
    status: int | None
    reason: str
    codec: str | None
    encrypted: str | None
    muted: bool
    on_hold: bool
    held: bool
    no_sound: bool
    conference: ConferenceState | None
    recording: RecordingState | None
    transfer: TransferState | None
    referral: ReferralState | None
    answered_s: float | None
    audio_attached: bool
    digits_received: str
    ended: Ended | None
