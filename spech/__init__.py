"""A telephone for web pages, programs and test suites: SIP and RTP under Trio.

Start with :func:`open_phone`. The docstring of each name documents it.
"""

from spech.audio.recorder import Recording
from spech.audio.room import Member
from spech.errors import (
    CallEnded,
    CallFailed,
    CodecUnavailable,
    LocalProtocolError,
    MediaError,
    PeerUnreachable,
    PortsExhausted,
    ProtocolError,
    RegistrationFailed,
    RemoteProtocolError,
    RequestFailed,
    ServerUnreachable,
    SipFailure,
    SpechError,
    VaultError,
)
from spech.media.playback import Mark, Playback
from spech.media.port import AudioPort
from spech.media.statistics import MediaStatistics, QualitySample
from spech.phone.account import Account
from spech.phone.binding import RegistrationStatus
from spech.phone.call import Call, TransferRequest
from spech.phone.conference import Conference, open_conference
from spech.phone.correspondence import Message, Subscription
from spech.phone.heard import DigitHeard, SpeechBegan, SpeechEnded
from spech.phone.incoming import IncomingCall
from spech.phone.phone import Phone, open_phone
from spech.phone.running import run
from spech.rtp.ports import PortRange
from spech.sip.transport.tls import TlsSettings
from spech.sip.watching.dialog_info import DialogInfo, DialogState
from spech.sip.watching.mailbox import Mailbox, MessageCount
from spech.sip.watching.presence import Presence, PresenceTuple

__all__ = [
    "Account",
    "AudioPort",
    "Call",
    "CallEnded",
    "CallFailed",
    "CodecUnavailable",
    "Conference",
    "DialogInfo",
    "DialogState",
    "DigitHeard",
    "IncomingCall",
    "LocalProtocolError",
    "Mailbox",
    "Mark",
    "MediaError",
    "MediaStatistics",
    "Member",
    "Message",
    "MessageCount",
    "PeerUnreachable",
    "Phone",
    "Playback",
    "PortRange",
    "PortsExhausted",
    "Presence",
    "PresenceTuple",
    "ProtocolError",
    "QualitySample",
    "Recording",
    "RegistrationFailed",
    "RegistrationStatus",
    "RemoteProtocolError",
    "RequestFailed",
    "ServerUnreachable",
    "SipFailure",
    "SpechError",
    "SpeechBegan",
    "SpeechEnded",
    "Subscription",
    "TlsSettings",
    "TransferRequest",
    "VaultError",
    "open_conference",
    "open_phone",
    "run",
]
