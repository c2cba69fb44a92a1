"""A telephone for web pages, programs and test suites: SIP and RTP under Trio.

Start with :func:`open_phone`. What a name promises stands in its own docstring.
"""

from spech.account import Account
from spech.audio.recorder import Recording
from spech.audio.room import Member
from spech.audio_port import AudioPort
from spech.binding import RegistrationStatus
from spech.call import Call
from spech.conference import Conference, open_conference
from spech.correspondence import Message, Subscription
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
    SpechError,
    VaultError,
)
from spech.incoming import IncomingCall
from spech.phone import Phone, open_phone
from spech.rtp.ports import PortRange
from spech.sip.dialog_info import DialogInfo, DialogState
from spech.sip.mailbox import Mailbox, MessageCount
from spech.sip.presence import Presence, PresenceTuple
from spech.sip.transport.tls import TlsSettings
from spech.statistics import MediaStatistics, QualitySample
from spech.transfer import TransferRequest

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
    "IncomingCall",
    "LocalProtocolError",
    "Mailbox",
    "MediaError",
    "MediaStatistics",
    "Member",
    "Message",
    "MessageCount",
    "PeerUnreachable",
    "Phone",
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
    "SpechError",
    "Subscription",
    "TlsSettings",
    "TransferRequest",
    "VaultError",
    "open_conference",
    "open_phone",
]
