"""Every error that Spech raises on purpose, in one tree.

SpechError
├── ProtocolError
│   ├── LocalProtocolError    the program asked for what the state does not allow
│   └── RemoteProtocolError   the peer broke a rule; carries the SIP status that answers it
├── CallFailed                a call was not answered: status and reason
├── CallEnded                 the call is over, what was asked of it cannot be done
├── RequestFailed             a message or a subscription was refused: status and reason
├── RegistrationFailed        the registrar refused: status and reason
├── ServerUnreachable         a host is unknown, or nobody answered there
├── MediaError                a sound file cannot be read or written
├── PeerUnreachable           no way for the sound leads to the far end
├── CodecUnavailable          unknown codec, or its shared library is missing
├── PortsExhausted            no free pair of RTP ports in the range
└── VaultError                the vault is damaged, foreign, or its key does not fit
"""

from __future__ import annotations


class SpechError(Exception):
    """The root of the tree."""


class ProtocolError(SpechError):
    """A rule of a protocol was broken."""


class LocalProtocolError(ProtocolError):
    """The caller asked for something that the present state does not allow."""


class RemoteProtocolError(ProtocolError):
    """The peer sent something that breaks the protocol.

    ``status`` is the SIP status code with which a request of that kind is answered.
    """

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class CallFailed(SpechError):
    """A call was not answered. ``status`` is the final SIP status, ``reason`` its phrase."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{status} {reason}")
        self.status = status
        self.reason = reason


class CallEnded(SpechError):
    """The call has ended, so what was asked of it cannot be done."""


class RequestFailed(SpechError):
    """A text message or a subscription was refused. ``status`` is the SIP status, 408 for silence.

    Where a subscription was ended by who told us, ``status`` is None and ``reason`` their word.
    """

    def __init__(self, status: int | None, reason: str) -> None:
        super().__init__(reason if status is None else f"{status} {reason}")
        self.status = status
        self.reason = reason


class RegistrationFailed(SpechError):
    """The registrar answered with a refusal. ``status`` is its SIP status code."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{status} {reason}")
        self.status = status
        self.reason = reason


class ServerUnreachable(SpechError):
    """The server's host name is unknown, or nothing there answers.

    ``unknown_host`` tells the two apart.
    """

    def __init__(self, message: str, *, unknown_host: bool = False) -> None:
        super().__init__(message)
        self.unknown_host = unknown_host


class MediaError(SpechError):
    """A sound file cannot be read or written."""


class PeerUnreachable(SpechError):
    """ICE found no way for a call's sound to the far end, or the far end fell silent on it."""


class CodecUnavailable(SpechError):
    """The codec is unknown, or the library that it needs is not installed."""


class PortsExhausted(SpechError):
    """No pair of UDP ports is free in the configured range."""


class VaultError(SpechError):
    """The vault is damaged, was made by something else, or its key does not fit."""
