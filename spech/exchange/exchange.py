"""The exchange: serves each call in a task of its own, for the users of its registrar."""

from __future__ import annotations

import logging
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

import trio

from spech import (
    Call,
    CallFailed,
    IncomingCall,
    Message,
    Phone,
    PortRange,
    SpechError,
    attend,
    codecs,
    connect,
    open_phone,
)
from spech.exchange.extensions import EXTENSIONS, Extension
from spech.exchange.registrar import Registrar
from spech.scopes import open_scope
from spech.sip.message.display import displayable
from spech.sip.message.headers import NameAddr
from spech.sip.message.uri import Uri
from spech.sip.transaction.flow import host_port

_log: Final = logging.getLogger(__name__)
#: Messages that are relayed at once; each waits until its recipient has answered.
_RELAYS: Final = 8
#: Seconds in which a recipient has to answer a message.
_RELAY_SECONDS: Final = 5.0
#: Seconds that a user's phone rings before the exchange gives up.
_PATIENCE: Final = 60.0
#: Does not overlap the default range of a phone, which may run on the same machine.
_PORTS: Final = PortRange(30_000, 30_999)


class Exchange:
    """A running exchange. Made by :func:`open_exchange`."""

    def __init__(
        self, phone: Phone, registrar: Registrar, extensions: Mapping[str, Extension]
    ) -> None:
        self.phone = phone
        self.registrar = registrar
        self.extensions = extensions

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens for SIP, as (host, port)."""
        return self.phone.address

    async def serve(self) -> None:
        """Accept calls and relay messages until cancelled."""
        messages = self.phone.messages()
        async with open_scope() as nursery:
            for _ in range(_RELAYS):
                nursery.start_soon(self._relay, messages)
            await self.phone.serve(self._connect)

    async def _relay(self, messages: AsyncIterator[Message]) -> None:
        """Send each message on to its recipient. The registrar has let in those who have one."""
        async for message in messages:
            contact = self._find(message.recipient)
            if contact is None:
                continue
            try:
                with trio.fail_after(_RELAY_SECONDS):
                    sender = _named(message.sender, message.display_name)
                    await self.phone.send_message(contact, message.text, caller=sender)
            except (SpechError, trio.TooSlowError) as error:
                _log.info("message to %s: %s", message.recipient, error or "no answer")

    async def _connect(self, incoming: IncomingCall) -> None:
        _log.info("%s calls %s", incoming.caller_number, incoming.called)
        extension = self.extensions.get(incoming.called)
        if extension is None:
            await self._put_through(incoming)
            return
        async with incoming.answer() as call:
            await self._attend(call, extension)
        if extension.calls_back is not None:
            await trio.sleep(extension.calls_back)
            await self._call_back(extension, incoming.caller_number)

    async def _call_back(self, extension: Extension, user: str) -> None:
        contact = self._find(user)
        if contact is not None:
            async with self.phone.call(contact, caller=self._address_of(extension.number)) as call:
                await call.answered(timeout=_PATIENCE)
                await self._attend(call, extension)

    async def _attend(self, call: Call, extension: Extension) -> None:
        # After a transfer only a few codecs are offered: a long offer would not be sent over UDP,
        # and the registrar knows us by our UDP port.
        number = self._address_of(extension.number)
        await attend(call, extension.serve, caller=number, codecs=codecs.DEFAULT)

    async def _put_through(self, incoming: IncomingCall) -> None:
        """Connect the caller with another user."""
        contact = self._find(incoming.called)
        if contact is None:
            # A known user without a contact gets 480 (RFC 3261 21.4.18).
            incoming.reject(480 if self.registrar.knows(incoming.called) else 404)
            return
        caller = _named(self._address_of(incoming.caller_number), incoming.display_name)
        async with self.phone.call(contact, caller=caller) as far:
            async with open_scope() as ringing:

                async def watch() -> None:
                    await incoming.ended()
                    ringing.cancel_scope.cancel()

                ringing.start_soon(watch)
                try:
                    await far.answered(timeout=_PATIENCE)
                except CallFailed as error:
                    incoming.reject(error.status)
                    raise
                ringing.cancel_scope.cancel()
            callers = caller, self._address_of(incoming.called)
            async with incoming.answer() as near:
                await connect(near, far, callers=callers, codecs=codecs.DEFAULT)

    def _find(self, user: str) -> str | None:
        contacts = self.registrar.contacts(user, trio.current_time())
        return str(contacts[0]) if contacts else None

    def _address_of(self, user: str) -> str:
        return f"sip:{user}@{host_port(self.address)}"


def _named(uri: str, name: str | None) -> str:
    """A caller with the name that a peer claims to have, as a phone takes it."""
    return str(NameAddr(Uri.parse(uri), displayable(name or "") or None))


@asynccontextmanager
async def open_exchange(
    listen: tuple[str, int],
    accounts: Mapping[str, str],
    *,
    extensions: Mapping[str, Extension] = EXTENSIONS,
    ports: PortRange = _PORTS,
    codec_names: Sequence[str] | None = None,
    md5_only: bool = False,
    drain: float = 5.0,
    rng: random.Random | None = None,
) -> AsyncIterator[Exchange]:
    """Run an exchange; leaving the block ends its calls.

    Args:
        listen: address and UDP port for SIP; port 0 takes any free one.
        accounts: password by user name.
        extensions: what it answers itself, by number.
        ports: UDP ports for RTP and RTCP, two for each call.
        codec_names: in order of preference; by default all codecs.
        md5_only: authenticate with MD5 alone, for old phones that fail where SHA-256 is offered.
        drain: seconds to wait on exit for responses to our farewells.
        rng: randomness, seeded in tests.

    Raises:
        ServerUnreachable: ``listen`` cannot be bound.
    """
    rng = rng or random.SystemRandom()
    registrar = Registrar(accounts, rng, md5_only=md5_only)
    async with open_phone(
        listen=listen,
        ports=ports,
        codecs=codec_names or codecs.names(),
        drain=drain,
        screen=registrar.screen,
        rng=rng,
    ) as phone:
        exchange = Exchange(phone, registrar, extensions)
        async with open_scope() as nursery:
            nursery.start_soon(exchange.serve)
            yield exchange
            nursery.cancel_scope.cancel()
