"""A telephone for web pages, programs and test suites: SIP and RTP under Trio.

Start with :func:`open_phone`. What a name promises stands in its own docstring.
"""

from spech.audio.recorder import Recording
from spech.audio_port import AudioPort
from spech.call import Call
from spech.errors import (
    CallEnded,
    CallFailed,
    CodecUnavailable,
    LocalProtocolError,
    MediaError,
    PortsExhausted,
    ProtocolError,
    RegistrationFailed,
    RemoteProtocolError,
    ServerUnreachable,
    SpechError,
    VaultError,
)
from spech.media import MediaStatistics
from spech.phone import Account, IncomingCall, Phone, RegistrationStatus, open_phone
from spech.rtp.ports import PortRange
from spech.sip.transport.tls import TlsSettings
from spech.transfer import TransferRequest

__all__ = [
    "Account",
    "AudioPort",
    "Call",
    "CallEnded",
    "CallFailed",
    "CodecUnavailable",
    "IncomingCall",
    "LocalProtocolError",
    "MediaError",
    "MediaStatistics",
    "Phone",
    "PortRange",
    "PortsExhausted",
    "ProtocolError",
    "Recording",
    "RegistrationFailed",
    "RegistrationStatus",
    "RemoteProtocolError",
    "ServerUnreachable",
    "SpechError",
    "TlsSettings",
    "TransferRequest",
    "VaultError",
    "open_phone",
]
