"""The parts of a call and of a phone that have no public name, for tests only."""

from __future__ import annotations

from collections import deque

from spech import Call, Phone, codecs
from spech.media.engine import Media
from spech.media.port import AudioPort
from spech.rtp.session import RtpSession
from spech.rtp.stream import Stream
from spech.sip.call.session import Session
from spech.sip.dialog.dialog import Dialog
from spech.sip.endpoint import Endpoint


def session_of(call: Call) -> Session:
    """Its SIP session."""
    return call._driver.session


def dialog_of(call: Call) -> Dialog:
    """The dialog of its SIP session, which must exist."""
    dialog = session_of(call).dialog
    assert dialog is not None
    return dialog


def media_of(call: Call) -> Media:
    """Its sound, coded and decoded."""
    return call._media


def stream_of(part: Call | Media) -> Stream:
    """Its stream of packets: protection, ICE, sources."""
    return (part if isinstance(part, Media) else media_of(part))._stream


def rtp_of(part: Call | Media) -> RtpSession:
    """Its RTP session."""
    return (part if isinstance(part, Media) else media_of(part))._session


def sequence_of(rtp: RtpSession) -> int:
    """The sequence number of the next packet."""
    return rtp._sequence


def begin_at(rtp: RtpSession, sequence: int) -> None:
    """Give the next packet this sequence number."""
    rtp._sequence = sequence


def microphone_of(port: AudioPort) -> bytearray:
    """The program's sound that is not yet sent."""
    return port._buffers.microphone


def unread_of(port: AudioPort) -> deque[bytes]:
    """The frames that the program has not read."""
    return port._buffers.speaker


def endpoint_of(phone: Phone) -> Endpoint:
    """Its user agent and transports."""
    return phone._endpoint


def sessions_of(phone: Phone) -> tuple[Session, ...]:
    """The SIP sessions that are not over, those without a call included."""
    return endpoint_of(phone).agent.sessions


def forget_codecs() -> None:
    """Have the entry points of codecs read again."""
    codecs._makers.cache_clear()
