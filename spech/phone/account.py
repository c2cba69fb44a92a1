"""An account at a SIP server: who we are, and how to get there."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

from spech.errors import LocalProtocolError, RemoteProtocolError
from spech.phone.numbering import NumberRules
from spech.sip.description.media_security import POLICIES, Policy
from spech.sip.message.headers import NameAddr
from spech.sip.message.uri import Uri
from spech.sip.transaction.flow import TRANSPORTS, TransportName
from spech.sip.transport.tls import TlsSettings


@dataclass(frozen=True)
class Account:
    """An account at a SIP server.

    Args:
        address: the address of record, ``user@host[:port]``, with or without ``sip:``; host and
            port are also the registrar and where calls are sent. ``;transport=tcp`` behind it
            chooses the transport.
        password: for digest authentication, None if the server requires none.
        auth_user: the user name for authentication, if it differs from that of the address.
        display_name: the name that people see when we call.
        transport: "udp", "tcp", "tls", "ws" or "wss"; None for what the server's domain
            recommends, UDP where it does not say.
        proxy: a SIP URI through which all requests go, ``sip:host[:port]``; the outbound proxy.
        tls: whom to trust over "tls" and "wss", and our own certificate.
        websocket_path: the path of the server's WebSocket URL, for "ws" and "wss".
        encryption: of the media: "off" (the default) offers unencrypted calls, and accepts
            encrypted ones if the offer has nothing else; "optional" encrypts if the far end
            supports it; "required" refuses unencrypted calls. Keys are exchanged in the signalling
            (SDES) if that is encrypted, and in a handshake (DTLS-SRTP) otherwise; "sdes" and
            "dtls" require one of the two.
        ice: True to offer ICE (RFC 8445), as calls to browsers need it; False not to use it; None
            to accept it, and to offer it if there is a STUN server.
        expires: the lifetime to request for each registration, in seconds.
        numbers: how numbers are dialed, None to dial them as they are given.
        register: False to place calls without registering.
        symmetric: send media to the address that the far end's packets come from, as NATs require.
            False sends to the negotiated address and accepts packets from no other host: for
            closed networks, and for tests that must detect one-way audio.

    Raises:
        LocalProtocolError: ``address`` or ``proxy`` is not a SIP address, or the transport or
            ``encryption`` is unknown.
    """

    address: str
    password: str | None = field(default=None, repr=False, kw_only=True)
    auth_user: str | None = field(default=None, kw_only=True)
    display_name: str | None = field(default=None, kw_only=True)
    transport: TransportName | None = field(default=None, kw_only=True)
    proxy: str | None = field(default=None, kw_only=True)
    tls: TlsSettings = field(default=TlsSettings(), kw_only=True)
    websocket_path: str = field(default="/ws", kw_only=True)
    encryption: Policy = field(default="off", kw_only=True)
    ice: bool | None = field(default=None, kw_only=True)
    expires: int = field(default=300, kw_only=True)
    numbers: NumberRules | None = field(default=None, kw_only=True)
    register: bool = field(default=True, kw_only=True)
    symmetric: bool = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        for name in ("address", "password", "proxy"):
            value = getattr(self, name)
            if not isinstance(value, str) and (value is not None or name == "address"):
                raise TypeError(f"{name} must be text, not {type(value).__name__}")
        if "@" in self.address and not self.address.lower().startswith(("sip:", "sips:")):
            object.__setattr__(self, "address", f"sip:{self.address}")
        if self.expires < 1:
            raise LocalProtocolError(f"expires must be at least one second, not {self.expires!r}")
        if not self.uri.user:
            raise LocalProtocolError(f"{self.address!r} has no user: write sip:user@host")
        transport = transport_of(self)
        if transport is not None and transport not in TRANSPORTS:
            raise LocalProtocolError(
                f"unknown transport {transport!r}: it is one of {', '.join(TRANSPORTS)}"
            )
        check_encryption(self.encryption)
        if self.proxy is not None:
            parse_address(self.proxy)

    @property
    def uri(self) -> Uri:
        """The address of record, parsed."""
        return parse_address(self.address).without("transport")


def transport_of(account: Account) -> str | None:
    """The transport chosen for ``account``, in lower case, or None."""
    chosen = parse_address(account.address).parameter("transport") or account.transport
    return chosen.lower() if chosen else None


def route_of(account: Account) -> NameAddr | None:
    """The pre-loaded Route through the proxy (RFC 3261 8.1.2), always with ``lr``."""
    if account.proxy is None:
        return None
    uri = parse_address(account.proxy)
    return NameAddr(uri if uri.parameter("lr") is not None else uri.with_parameters(lr=None))


def instance_of(account: Account) -> str:
    """The instance ID of this machine's phone, the same after each start (RFC 5626 4.1)."""
    return uuid.uuid5(uuid.NAMESPACE_URL, f"{account.address} on {uuid.getnode():x}").urn


def check_encryption(encryption: str) -> None:
    """Check a policy of encryption.

    Raises:
        LocalProtocolError: there is no such policy.
    """
    if encryption not in POLICIES:
        raise LocalProtocolError(
            f"unknown encryption {encryption!r}: it is one of {', '.join(POLICIES)}"
        )


def parse_address(text: str) -> Uri:
    """Parse a SIP URI that a person or a program wrote.

    Raises:
        LocalProtocolError: ``text`` is not a SIP URI.
    """
    try:
        uri = Uri.parse(text)
    except RemoteProtocolError as error:
        raise LocalProtocolError(f"{text!r} is not a SIP address: {error}") from None
    if uri.scheme not in ("sip", "sips"):
        raise LocalProtocolError(f"{text!r} is not a SIP address")
    return uri
