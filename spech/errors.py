"""Every error that Spech raises on purpose, in one tree.

SpechError
├── ProtocolError
│   ├── LocalProtocolError    the program asked for what the present state does not allow
│   └── RemoteProtocolError   the peer broke a rule; carries the SIP status that answers it
├── SipFailure                a request failed: status and reason
│   ├── CallFailed            a call was not answered
│   ├── RequestFailed         a message or a subscription was refused
│   └── RegistrationFailed    the registrar refused
├── CallEnded                 the call is over, the command cannot be carried out
├── ServerUnreachable         a host is unknown, or did not answer
├── MediaError                a sound file cannot be read or written
├── PeerUnreachable           no network path for the sound leads to the far end
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
    """The program requested something that the present state does not allow."""


class RemoteProtocolError(ProtocolError):
    """The peer sent something that breaks the protocol.

    ``status`` is the SIP status code with which a request of that kind is answered.
    """

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class SipFailure(SpechError):
    """A SIP request failed.

    Attributes:
        status: the final SIP status; 408 when there was no response, None if a subscription ended
            without one.
        reason: its reason phrase.
    """

    def __init__(self, status: int | None, reason: str) -> None:
        super().__init__(reason if status is None else f"{status} {reason}")
        self.status = status
        self.reason = reason


class CallFailed(SipFailure):
    """A call was not answered, or a transfer did not succeed.

    Attributes:
        cause: what the telephone network says (ITU-T Q.850): 17 is busy; None without it.
        retry_after: seconds after which to try again, None where the far end does not say.
    """

    status: int

    def __init__(
        self, status: int, reason: str, *, cause: int | None = None, retry_after: int | None = None
    ) -> None:
        super().__init__(status, reason)
        self.cause = cause
        self.retry_after = retry_after


class RequestFailed(SipFailure):
    """A text message or a subscription was refused, or got no response.

    Attributes:
        answered: whether the status comes from a server. Without a response it is 408, or 503 where
            the network says that nobody is there.
    """

    def __init__(self, status: int | None, reason: str, *, answered: bool = True) -> None:
        super().__init__(status, reason)
        self.answered = answered


class RegistrationFailed(SipFailure):
    """The registrar refused; 401, 403 and 407 mean a wrong user or password."""

    status: int

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(status, reason)


class CallEnded(SpechError):
    """The call has ended, so the command cannot be carried out."""


class ServerUnreachable(SpechError):
    """The server's host name is unknown (``unknown_host``), or there is no response."""

    def __init__(self, message: str, *, unknown_host: bool = False) -> None:
        super().__init__(message)
        self.unknown_host = unknown_host


class MediaError(SpechError):
    """A sound file cannot be read or written."""


class PeerUnreachable(SpechError):
    """ICE found no path for a call's sound to the far end, or the path stopped working."""


class CodecUnavailable(SpechError):
    """The codec is unknown, or the library that it needs is not installed."""


class PortsExhausted(SpechError):
    """No pair of UDP ports is free in the configured range."""


class VaultError(SpechError):
    """The vault is damaged, was made by something else, or its key does not fit."""
