"""The JSON of the control channel as types: commands in, state and meters out.

docs/protocol.md is the contract; a command that does not fit these types is a ``bad_request``.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec

from spech.errors import SpechError
from spech.media.statistics import QualitySample
from spech.sip.description.media_security import Policy

Id = Annotated[str, msgspec.Meta(max_length=128)] | int
CallId = Annotated[str, msgspec.Meta(max_length=32)]
AccountId = Annotated[str, msgspec.Meta(min_length=1, max_length=32)]
Short = Annotated[str, msgspec.Meta(max_length=1024)]
Digit = Annotated[str, msgspec.Meta(pattern="^[0-9*#A-D]$")]
By = Literal["local", "remote"]
RegistrationPhase = Literal["registering", "registered", "failed"]
Progress = Literal["trying", "ringing", "early", "answered"]


class Refused(SpechError):
    """A command cannot be done: ``code`` for programs, ``message`` and ``hint`` for people."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint


class Envelope(msgspec.Struct, frozen=True):
    """As much of a command as is needed to answer it when the rest is unusable."""

    id: Id


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


class StoredRecording(msgspec.Struct, frozen=True):
    """A file of ``bytes`` bytes, last written ``at`` seconds since 1970."""

    name: str
    bytes: int
    at: float


class Nothing(msgspec.Struct, frozen=True):
    """The ``ok`` of a command that has no result."""


class CallOutcome(msgspec.Struct, frozen=True):
    call: str


class FollowOutcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """``call`` is the new call, missing where the request was declined."""

    call: str | msgspec.UnsetType = msgspec.UNSET


class ConferenceOutcome(msgspec.Struct, frozen=True):
    conference: str


class RecordingOutcome(msgspec.Struct, frozen=True):
    recording: str


class RecordingsOutcome(msgspec.Struct, frozen=True):
    recordings: tuple[StoredRecording, ...]


class PeopleOutcome(msgspec.Struct, frozen=True):
    """The names of everyone but the administrator."""

    people: tuple[str, ...]


class PasswordOutcome(msgspec.Struct, frozen=True):
    """A person's new password, which is told once."""

    password: str


class QualityOutcome(msgspec.Struct, frozen=True):
    samples: tuple[QualitySample, ...]


class TimelineOutcome(msgspec.Struct, frozen=True):
    steps: tuple[TimelineStep, ...]


class AccountOutcome(msgspec.Struct, frozen=True):
    account: str


class TicketOutcome(msgspec.Struct, frozen=True):
    ticket: str
    port: int


Outcome = (
    Nothing
    | CallOutcome
    | FollowOutcome
    | ConferenceOutcome
    | RecordingOutcome
    | RecordingsOutcome
    | PeopleOutcome
    | PasswordOutcome
    | QualityOutcome
    | TimelineOutcome
    | AccountOutcome
    | TicketOutcome
)


class _Command(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="command"
):
    #: What ``ok`` of the answer holds.
    outcome: ClassVar[type[msgspec.Struct]] = Nothing

    id: Id


class Dial(_Command, frozen=True, tag="dial"):
    outcome = CallOutcome

    target: Short
    account: AccountId | None = None


class Answer(_Command, frozen=True, tag="answer"):
    call: CallId


class Decline(_Command, frozen=True, tag="decline"):
    call: CallId


class HangUp(_Command, frozen=True, tag="hang_up"):
    call: CallId


class Dismiss(_Command, frozen=True, tag="dismiss"):
    call: CallId


class Dtmf(_Command, frozen=True, tag="dtmf"):
    call: CallId
    digits: Short


class Press(_Command, frozen=True, tag="press"):
    call: CallId
    digit: Digit


class Release(_Command, frozen=True, tag="release"):
    call: CallId
    digit: Digit


class Mute(_Command, frozen=True, tag="mute"):
    call: CallId
    muted: bool


class Hold(_Command, frozen=True, tag="hold"):
    call: CallId
    held: bool


class Merge(_Command, frozen=True, tag="merge"):
    outcome = ConferenceOutcome

    calls: Annotated[tuple[CallId, ...], msgspec.Meta(min_length=2, max_length=64)]


class Split(_Command, frozen=True, tag="split"):
    call: CallId


class AdjustMember(_Command, frozen=True, tag="member"):
    call: CallId
    gain: Annotated[float, msgspec.Meta(ge=-40, le=20)]
    muted: bool


class Record(_Command, frozen=True, tag="record"):
    outcome = RecordingOutcome

    call: CallId
    format: Literal["wav", "opus"] = "wav"
    stereo: bool = False


class PauseRecord(_Command, frozen=True, tag="pause_record"):
    call: CallId
    paused: bool


class StopRecord(_Command, frozen=True, tag="stop_record"):
    call: CallId


class ListRecordings(_Command, frozen=True, tag="recordings"):
    outcome = RecordingsOutcome


class DeleteRecording(_Command, frozen=True, tag="delete_recording"):
    name: Short


class ShowPeople(_Command, frozen=True, tag="people"):
    outcome = PeopleOutcome


class InvitePerson(_Command, frozen=True, tag="add_person"):
    outcome = PasswordOutcome
    name: Short


class ResetPassword(_Command, frozen=True, tag="reset_person"):
    outcome = PasswordOutcome
    name: Short


class DismissPerson(_Command, frozen=True, tag="remove_person"):
    name: Short


class BlindTransfer(_Command, frozen=True, tag="transfer"):
    call: CallId
    target: Short


class Connect(_Command, frozen=True, tag="connect"):
    call: CallId
    other: CallId


class QualityHistory(_Command, frozen=True, tag="quality_history"):
    outcome = QualityOutcome

    call: CallId


class Follow(_Command, frozen=True, tag="follow"):
    outcome = FollowOutcome

    call: CallId
    accepted: bool


class GetTimeline(_Command, frozen=True, tag="timeline"):
    outcome = TimelineOutcome

    call: CallId


class SaveAccount(_Command, frozen=True, tag="save_account"):
    outcome = AccountOutcome

    server: Short
    port: int | None
    transport: Short
    user: Short
    password: str | None
    codecs: Annotated[tuple[Short, ...], msgspec.Meta(max_length=64)]
    encryption: Policy = "off"
    account: AccountId | None = None
    name: Short = ""

    def __repr__(self) -> str:
        return f"SaveAccount({self.user!r} at {self.server!r}, password=…)"


class ForgetAccount(_Command, frozen=True, tag="forget_account"):
    account: AccountId


class AudioTicket(_Command, frozen=True, tag="audio_ticket"):
    outcome = TicketOutcome

    call: CallId


Command = (
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
    | ListRecordings
    | DeleteRecording
    | ShowPeople
    | InvitePerson
    | ResetPassword
    | DismissPerson
    | BlindTransfer
    | Connect
    | Follow
    | GetTimeline
    | QualityHistory
    | SaveAccount
    | ForgetAccount
    | AudioTicket
)


class Fault(msgspec.Struct, frozen=True):
    """The ``error`` of an answer."""

    code: str
    message: str
    hint: str


class Done(msgspec.Struct, frozen=True):
    """The answer to a command that was carried out."""

    id: int | str
    ok: Outcome


class Failed(msgspec.Struct, frozen=True):
    """The answer to a command that was not. ``id`` is null when the command had no usable one."""

    id: int | str | None
    error: Fault


class AccountRegistration(msgspec.Struct, frozen=True):
    state: RegistrationPhase
    status: int | None
    reason: str


class AccountState(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    server: str
    port: int | None
    transport: str
    user: str
    codecs: tuple[str, ...]
    encryption: Policy
    registration: AccountRegistration


class VaultState(msgspec.Struct, frozen=True):
    state: Literal["empty", "open", "damaged"]
    message: str


class CodecState(msgspec.Struct, frozen=True):
    name: str
    rate: int
    bitrate: int
    available: bool
    package: str
    suggested: bool


class KnownNumber(msgspec.Struct, frozen=True):
    """A number that pages suggest, and what answers there."""

    number: str
    title: str


class AudioState(msgspec.Struct, frozen=True):
    port: int
    rate: int


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


class PersonState(msgspec.Struct, frozen=True):
    """Who has signed in."""

    name: str
    administrator: bool


class PageState(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the page shows, except meters."""

    version: str
    person: PersonState
    accounts: tuple[AccountState, ...]
    vault: VaultState
    codecs: tuple[CodecState, ...]
    audio: AudioState
    grace_s: float
    numbers: tuple[KnownNumber, ...]
    calls: tuple[CallState, ...]


class StateMessage(msgspec.Struct, frozen=True, tag_field="type", tag="state"):
    state: PageState


class Meters(msgspec.Struct, frozen=True):
    """One call's meters: RMS levels and peaks in dBFS, frames and packets since it began."""

    microphone: float
    speaker: float
    microphone_peak: float
    speaker_peak: float
    dropped: int
    lost: int
    jitter_ms: float


class MetersMessage(msgspec.Struct, frozen=True, tag_field="type", tag="meters"):
    calls: dict[str, Meters]


class PageLeg(msgspec.Struct, frozen=True):
    """The way between page and server: shares of frames lost over the last five seconds.

    ``round_trip_ms`` is what the system measures on the connection, None where it does not.
    """

    microphone_loss_percent: float
    speaker_loss_percent: float
    round_trip_ms: float | None


class Quality(msgspec.Struct, frozen=True, kw_only=True):
    """How a call sounds, once a second; the fields are those of ``MediaStatistics``.

    ``trouble`` names the way that is bad now: "line" between server and far end, "page", "both".
    """

    codec: str | None
    loss_percent: float
    total_loss_percent: float
    concealed_percent: float
    jitter_ms: float
    buffer_ms: float
    round_trip_ms: float | None
    one_way_ms: float
    mos: float | None
    mos_listening: float | None
    mos_worst: float | None
    mos_mean: float | None
    remote_loss_percent: float | None
    remote_jitter_ms: float | None
    remote_mos: float | None
    page: PageLeg
    trouble: Literal["line", "page", "both"] | None


class QualityMessage(msgspec.Struct, frozen=True, tag_field="type", tag="quality"):
    calls: dict[str, Quality]
