"""A telephone for web pages, programs and test suites: SIP and RTP under Trio.

Start with :func:`open_phone`. The docstring of each name documents it.

Names are loaded when they are first used (PEP 562), so that ``import spech``, and a test run that
only finds the pytest plugin, cost next to nothing.
"""

import importlib
import typing

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

if typing.TYPE_CHECKING:
    from spech.audio.recorder import Recording
    from spech.audio.room import Member, Room
    from spech.media.playback import Mark, Playback
    from spech.media.port import AudioPort
    from spech.media.statistics import MediaStatistics, QualitySample
    from spech.phone.account import Account
    from spech.phone.binding import RegistrationStatus
    from spech.phone.call import Call, TransferRequest
    from spech.phone.conference import Conference, open_conference
    from spech.phone.connecting import attend, connect
    from spech.phone.correspondence import Message, OptionsAnswer, Subscription
    from spech.phone.fields import Diversion
    from spech.phone.heard import (
        AnswererHeard,
        DigitHeard,
        SpeechBegan,
        SpeechEnded,
        ToneHeard,
    )
    from spech.phone.incoming import IncomingCall
    from spech.phone.numbering import NumberRules
    from spech.phone.opening import open_phone
    from spech.phone.phone import Phone
    from spech.phone.queue import CallQueue
    from spech.phone.rules import CallRules
    from spech.phone.running import run
    from spech.rtp.ports import PortRange
    from spech.sip.transport.tls import TlsSettings
    from spech.sip.watching.dialog_info import DialogInfo, DialogState
    from spech.sip.watching.mailbox import Mailbox, MessageCount
    from spech.sip.watching.presence import Presence, PresenceTuple

__all__ = [
    "Account",
    "AnswererHeard",
    "AudioPort",
    "Call",
    "CallEnded",
    "CallFailed",
    "CallQueue",
    "CallRules",
    "CodecUnavailable",
    "Conference",
    "DialogInfo",
    "DialogState",
    "DigitHeard",
    "Diversion",
    "IncomingCall",
    "LocalProtocolError",
    "Mailbox",
    "Mark",
    "MediaError",
    "MediaStatistics",
    "Member",
    "Message",
    "MessageCount",
    "NumberRules",
    "OptionsAnswer",
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
    "Room",
    "ServerUnreachable",
    "SipFailure",
    "SpechError",
    "SpeechBegan",
    "SpeechEnded",
    "Subscription",
    "TlsSettings",
    "ToneHeard",
    "TransferRequest",
    "VaultError",
    "attend",
    "connect",
    "open_conference",
    "open_phone",
    "run",
]

#: Where the names are defined that are loaded when they are first used.
_HOMES: typing.Final = {
    "Account": "spech.phone.account",
    "AnswererHeard": "spech.phone.heard",
    "AudioPort": "spech.media.port",
    "Call": "spech.phone.call",
    "CallQueue": "spech.phone.queue",
    "CallRules": "spech.phone.rules",
    "Conference": "spech.phone.conference",
    "DialogInfo": "spech.sip.watching.dialog_info",
    "DialogState": "spech.sip.watching.dialog_info",
    "DigitHeard": "spech.phone.heard",
    "Diversion": "spech.phone.fields",
    "IncomingCall": "spech.phone.incoming",
    "Mailbox": "spech.sip.watching.mailbox",
    "Mark": "spech.media.playback",
    "MediaStatistics": "spech.media.statistics",
    "Member": "spech.audio.room",
    "Message": "spech.phone.correspondence",
    "MessageCount": "spech.sip.watching.mailbox",
    "NumberRules": "spech.phone.numbering",
    "OptionsAnswer": "spech.phone.correspondence",
    "Phone": "spech.phone.phone",
    "Playback": "spech.media.playback",
    "PortRange": "spech.rtp.ports",
    "Presence": "spech.sip.watching.presence",
    "PresenceTuple": "spech.sip.watching.presence",
    "QualitySample": "spech.media.statistics",
    "Recording": "spech.audio.recorder",
    "RegistrationStatus": "spech.phone.binding",
    "Room": "spech.audio.room",
    "SpeechBegan": "spech.phone.heard",
    "SpeechEnded": "spech.phone.heard",
    "Subscription": "spech.phone.correspondence",
    "TlsSettings": "spech.sip.transport.tls",
    "ToneHeard": "spech.phone.heard",
    "TransferRequest": "spech.phone.call",
    "attend": "spech.phone.connecting",
    "connect": "spech.phone.connecting",
    "open_conference": "spech.phone.conference",
    "open_phone": "spech.phone.opening",
    "run": "spech.phone.running",
}


if not typing.TYPE_CHECKING:  # A type checker then still reports names that do not exist.

    def __getattr__(name):
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
