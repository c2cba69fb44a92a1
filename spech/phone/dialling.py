"""From a dialed string to a server: the target URI, the caller's identity, the route."""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import replace
from typing import Final
from urllib.parse import quote, unquote

from spech.addresses import Address
from spech.errors import LocalProtocolError, RemoteProtocolError, ServerUnreachable
from spech.phone.account import Account, parse_address, route_of, transport_of
from spech.phone.numbering import NumberRules
from spech.sip.dialog.identity import Identity
from spech.sip.endpoint import Endpoint
from spech.sip.message.headers import NameAddr
from spech.sip.message.uri import Uri
from spech.sip.transaction.flow import Flow

#: Not escaped in the user part of a URI (RFC 3261 25.1), besides letters, digits and ``-_.~``.
_IN_USER: Final = "!*'()&=+$,;?/%"

#: Header fields that a dialed URI may ask for, besides those that begin with ``X-``.
_TAKEN_FROM_URI: Final = frozenset({"subject", "priority", "organization", "user-to-user"})


class Dialling:
    """Completes targets, chooses identities and finds servers for the requests of one phone.

    Attributes:
        identity: the account's identity, None without an account.
    """

    def __init__(self, endpoint: Endpoint, account: Account | None, rng: random.Random) -> None:
        self._endpoint = endpoint
        self._account = account
        self._rng = rng
        self.identity: Identity | None = None
        if account is not None:
            self.identity = Identity(
                NameAddr(account.uri, account.display_name),
                account.auth_user or account.uri.user or "",
                account.password,
                rng,
                route_of(account),
            )

    def complete(self, target: str) -> Uri:
        """``target`` as a SIP URI: a name, a number or a ``tel:`` URI at the account's server.

        Numbers follow the account's rules.

        Raises:
            LocalProtocolError: ``target`` is empty, is not a SIP URI, holds a password, or needs an
                account and there is none.
        """
        return target_uri(target, self._account)

    async def servers(self, uri: Uri) -> list[Flow]:
        """Where a request to ``uri`` is sent: to the first Route, or to the server that it names.

        Raises:
            ServerUnreachable: the host is unknown, or has no address that we can send to.
        """
        account, identity = self._account, self.identity
        if account is None or identity is None:
            return await self._endpoint.flows_to(uri)
        if identity.routes:
            hop = identity.routes[0].uri
            if uri.scheme == "sips":
                hop = replace(hop, scheme="sips")  # TLS on every hop (RFC 3261 26.2.2).
            return await self._endpoint.flows_to(hop, transport_of(account))
        if uri.host == account.uri.host and uri.port in (None, account.uri.port):
            # In the account's own domain, use the account's port and transport.
            uri = replace(uri, port=account.uri.port)
            return await self._endpoint.flows_to(uri, transport_of(account))
        return await self._endpoint.flows_to(uri)

    def caller(
        self, caller: str | None, local: Address, display_name: str | None = None
    ) -> Identity:
        """The identity of a call: ``caller``, or the account by default.

        Both use the account's credentials, which are sent to the account's own servers only.

        Args:
            caller: a SIP URI, with a display name if wanted (``"Bob" <sip:bob@example.org>``), or a
                user at the account's server.
            local: our address, for a phone without an account.
            display_name: the name to show, in place of the address's own.

        Raises:
            LocalProtocolError: ``caller`` is neither.
        """
        if caller is not None:
            address = caller_address(caller, self._account)
        elif self.identity is not None:
            address = self.identity.address
        else:
            address = NameAddr(Uri("sip", "spech", *local))
        if display_name is not None:
            address = replace(address, display_name=display_name)
        if self.identity is None:
            return Identity(address, address.uri.user or "", None, self._rng)
        return self.identity if address is self.identity.address else self.identity.under(address)

    async def trust_server(self) -> None:
        """Allow the account's server to ask for credentials, before any request was sent to it."""
        if self._account is not None and self.identity is not None:
            with suppress(ServerUnreachable):
                self.identity.trust_towards(
                    self._account.uri, await self.servers(self._account.uri)
                )

    @property
    def hidden_headers(self) -> tuple[tuple[str, str], ...]:
        """The headers that hide the caller from all but our own server (RFC 3323, 3325)."""
        if self._account is None:
            return (("Privacy", "id"),)
        return (("Privacy", "id"), ("P-Preferred-Identity", f"<{self._account.uri}>"))


def target_uri(target: str, account: Account | None) -> Uri:
    """See :meth:`Dialling.complete`."""
    return _complete(target, account, None if account is None else account.numbers)


def caller_address(text: str, account: Account | None) -> NameAddr:
    """The From address for the caller ``text``; see :meth:`Dialling.caller`.

    Raises:
        LocalProtocolError: ``text`` is not an address.
    """
    if not isinstance(text, str) or "<" not in text:
        return NameAddr(_complete(text, account, None))
    try:
        address = NameAddr.parse(text)
    except RemoteProtocolError as error:
        raise LocalProtocolError(f"{text!r} is not a SIP address: {error}") from None
    return NameAddr(parse_address(str(address.uri)), address.display_name)


def _complete(target: str, account: Account | None, rules: NumberRules | None) -> Uri:
    if not isinstance(target, str):
        raise TypeError(f'a number or an address must be text, such as "600", not {target!r}')
    text = target.strip()
    if text.lower().startswith(("sip:", "sips:")):
        return _without_password(parse_address(text))
    if "@" in text:
        return _without_password(parse_address(f"sip:{text}"))
    number = dialled_number(text)
    if not number:
        raise LocalProtocolError(f"{target!r} is neither a number nor a name")
    if account is None:
        raise LocalProtocolError(f"{target!r} needs an account, or write sip:user@host")
    if rules is not None:
        number = rules.rewrite(number)
    domain = account.uri
    user = quote(number, safe=_IN_USER)
    return parse_address(str(Uri(domain.scheme, user, domain.host, domain.port)))


def dialled_number(text: str) -> str:
    """The number or name in what was dialed, without what only makes it readable.

    A ``tel:`` URI loses its parameters, and a number its visual separators (RFC 3966 5.1.1).
    """
    if text[:4].lower() == "tel:":
        text = text[4:].partition(";")[0]
    if any(character.isalpha() for character in text):
        return text
    return text.translate(str.maketrans("", "", " -()./"))


def without_headers(uri: Uri) -> tuple[Uri, tuple[tuple[str, str], ...]]:
    """A dialed URI, and the header fields that it asks for (RFC 3261 19.1.5).

    Only harmless ones are taken: a URI comes from anywhere, and must not decide where a call goes,
    whom it comes from or which rights it has.

    Raises:
        LocalProtocolError: it asks for another header field, for a body, or for a method.
    """
    if uri.parameter("method") is not None:
        raise LocalProtocolError("a SIP URI to call must not name a method")
    headers = []
    for piece in filter(None, uri.headers.split("&")):
        name, _, value = (unquote(part) for part in piece.partition("="))
        if name.lower() not in _TAKEN_FROM_URI and not name.lower().startswith("x-"):
            raise LocalProtocolError(
                f"the URI asks for the header field {name[:32]!r}, which is not taken from URIs: "
                f"remove it, or use one of {', '.join(sorted(_TAKEN_FROM_URI))} and X-…"
            )
        headers.append((name, value))
    return replace(uri, headers=""), tuple(headers)


def _without_password(uri: Uri) -> Uri:
    """Return ``uri``; refuse a password, which would be sent in the clear (RFC 3261 19.1.1)."""
    if uri.password is not None:
        raise LocalProtocolError("a SIP address must not contain a password (user:password@host)")
    return uri
