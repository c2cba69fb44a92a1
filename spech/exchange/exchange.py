"""The exchange: serves each call in a task of its own, for the users of its registrar."""

from __future__ import annotations

import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

import trio

from spech import (
    AudioPort,
    Call,
    CallEnded,
    CallFailed,
    IncomingCall,
    LocalProtocolError,
    Message,
    Phone,
    PortRange,
    SpechError,
    codecs,
    open_phone,
)
from spech.exchange.extensions import EXTENSIONS, Extension
from spech.exchange.registrar import Registrar
from spech.scopes import open_scope
from spech.sip.transaction.flow import host_port

_log: Final = logging.getLogger(__name__)
#: Messages that are relayed at once; each waits until its recipient has answered.
_RELAYS: Final = 8
#: Seconds that a user's phone rings before the exchange gives up.
_PATIENCE: Final = 60.0
#: Does not overlap the default range of a phone, which may run on the same machine.
_PORTS: Final = PortRange(30_000, 30_999)


class Exchange:
    """A running exchange. Made by :func:`open_exchange`."""

    def __init__(self, phone: Phone, registrar: Registrar) -> None:
        self.phone = phone
        self.registrar = registrar

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
                await self.phone.send_message(contact, message.text, caller=message.sender)
            except SpechError as error:
                _log.info("message to %s: %s", message.recipient, error)

    async def _connect(self, incoming: IncomingCall) -> None:
        _log.info("%s calls %s", incoming.caller_number, incoming.called)
        extension = EXTENSIONS.get(incoming.called)
        if extension is None:
            await self._put_through(incoming)
            return
        async with incoming.answer() as call:
            await _attend(call, self._address_of(extension.number), extension.serve)
        if extension.calls_back is not None:
            await trio.sleep(extension.calls_back)
            await self._call_back(extension, incoming.caller_number)

    async def _call_back(self, extension: Extension, user: str) -> None:
        contact = self._find(user)
        if contact is not None:
            async with self.phone.call(contact, caller=self._address_of(extension.number)) as call:
                await call.answered(timeout=_PATIENCE)
                await _attend(call, self._address_of(extension.number), extension.serve)

    async def _put_through(self, incoming: IncomingCall) -> None:
        """Connect the caller with another user."""
        contact = self._find(incoming.called)
        if contact is None:
            # A known user without a contact gets 480 (RFC 3261 21.4.18).
            incoming.reject(480 if self.registrar.knows(incoming.called) else 404)
            return
        caller = self._address_of(incoming.caller_number)
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
            called = self._address_of(incoming.called)
            async with incoming.answer() as near:
                await _attend(
                    near,
                    called,
                    lambda near: _attend(far, caller, lambda far: _join(near, far)),
                )

    def _find(self, user: str) -> str | None:
        contacts = self.registrar.contacts(user, trio.current_time())
        return str(contacts[0]) if contacts else None

    def _address_of(self, user: str) -> str:
        return f"sip:{user}@{host_port(self.address)}"


async def _attend(call: Call, partner: str, serve: Callable[[Call], Awaitable[None]]) -> None:
    """Serve ``call``, whose other party is ``partner``; after a transfer, serve the new call.

    The new call comes back to this exchange if its target is one of our own numbers, or if it
    replaces a call here.
    """

    async def follow() -> None:
        async for request in call.transfers():
            # Only a few: a long offer would not be sent over UDP, and the registrar knows us by
            # our UDP port.
            offered = tuple(dict.fromkeys([*filter(None, [call.codec]), *codecs.DEFAULT]))
            try:
                async with request.follow(offered, caller=partner) as new:
                    await new.answered(timeout=_PATIENCE)
                    serving.cancel()
                    await _attend(new, partner, serve)
            except SpechError as error:
                _log.info("transfer to %s: %s", request.target, error)

    async with open_scope() as nursery:
        with trio.CancelScope() as serving:
            nursery.start_soon(follow)
            await serve(call)
        if not serving.cancel_called and call.state != "ended":
            nursery.cancel_scope.cancel()  # The partner has hung up.


async def _join(one: Call, other: Call) -> None:
    """Carry sound and digits both ways until either call ends."""

    async def carry_sound(source: AudioPort, target: AudioPort) -> None:
        async for frame in source:
            target.send(frame)
        pipes.cancel_scope.cancel()

    async def carry_digits(source: Call, target: Call) -> None:
        while True:
            digit = await source.collect_digits(1, terminator=None)
            with suppress(LocalProtocolError):  # Not every phone supports telephone-events.
                target.send_dtmf(digit)

    try:
        async with open_scope() as pipes:
            with one.open_audio(8000) as near, other.open_audio(8000) as far:
                pipes.start_soon(carry_digits, one, other)
                pipes.start_soon(carry_digits, other, one)
                pipes.start_soon(carry_sound, near, far)
                await carry_sound(far, near)
    except* CallEnded:
        pass  # Every call ends like this.


@asynccontextmanager
async def open_exchange(
    listen: tuple[str, int],
    accounts: Mapping[str, str],
    *,
    ports: PortRange = _PORTS,
    codec_names: Sequence[str] | None = None,
    drain: float = 5.0,
    rng: random.Random | None = None,
) -> AsyncIterator[Exchange]:
    """Run an exchange; leaving the block ends its calls.

    Args:
        listen: address and UDP port for SIP; port 0 takes any free one.
        accounts: password by user name.
        ports: UDP ports for RTP and RTCP, two for each call.
        codec_names: in order of preference; by default all codecs.
        drain: seconds to wait on exit for responses to our farewells.
        rng: randomness, seeded in tests.

    Raises:
        ServerUnreachable: ``listen`` cannot be bound.
    """
    rng = rng or random.SystemRandom()
    registrar = Registrar(accounts, rng)
    async with open_phone(
        listen=listen,
        ports=ports,
        codecs=codec_names or codecs.names(),
        drain=drain,
        screen=registrar.screen,
        rng=rng,
    ) as phone:
        exchange = Exchange(phone, registrar)
        async with open_scope() as nursery:
            nursery.start_soon(exchange.serve)
            yield exchange
            nursery.cancel_scope.cancel()
