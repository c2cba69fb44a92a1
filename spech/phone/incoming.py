"""Calls that come in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from spech.errors import CallEnded
from spech.phone.call import Call, EventChannel
from spech.phone.formats import audio_formats
from spech.rtp.ports import lease
from spech.sip.call.session import Session
from spech.sip.description.media_security import Policy
from spech.sip.dialog.caller import Caller, caller_of, number_of
from spech.sip.timeline import Entry

if TYPE_CHECKING:
    from spech.phone.phone import Phone


class IncomingCall:
    """Somebody calls and hears it ring. Answer it, reject it, or wait until they give up."""

    def __init__(self, phone: Phone, session: Session, channel: EventChannel) -> None:
        self._phone = phone
        self._session = session
        self._channel = channel
        #: Set when the call is over.
        self.finished = trio.Event()

    @property
    def _caller(self) -> Caller:
        assert self._session.invited_by is not None
        return caller_of(self._session.invited_by)

    @property
    def caller_number(self) -> str:
        """The user part of the caller's address, or its host; "anonymous" for who hides it.

        Where a server vouches for the caller (RFC 3325), its word counts; see :attr:`asserted`.
        """
        return self._caller.number

    @property
    def display_name(self) -> str | None:
        """The caller's name, where one came."""
        return self._caller.display_name

    @property
    def asserted(self) -> bool:
        """Whether the server that we are registered with vouches for the caller (RFC 3325 5)."""
        assert self._session.dialog is not None
        source = self._session.dialog.set_up[0].remote[0]
        return self._caller.asserted and self._phone.endpoint.agent.registered_at(source)

    @property
    def called(self) -> str:
        """The number or name that was called: the user part of the Request-URI."""
        assert self._session.invited_by is not None
        uri = self._session.invited_by.uri
        return number_of(uri) if uri.user else ""

    @property
    def call_id(self) -> str:
        """The Call-ID."""
        return self._session.call_id

    @property
    def timeline(self) -> tuple[Entry, ...]:
        """What happened so far, in order; times are those of ``trio.current_time()``."""
        return self._phone.endpoint.agent.timeline.entries(self.call_id)

    @property
    def over(self) -> bool:
        """Whether the caller gave up, or it was rejected."""
        return self._session.ended is not None

    def reject(self, status: int = 486) -> None:
        """Decline with a SIP status: 486 busy, 480 not available, 603 declined."""
        with self._phone.endpoint.command() as (agent, now):
            agent.hang_up(self._session, now, status=status)

    async def ended(self) -> None:
        """Wait until it is over: given up, rejected, or answered and ended since."""
        await self.finished.wait()

    @asynccontextmanager
    async def answer(
        self, codecs: Sequence[str] | None = None, *, encryption: Policy | None = None
    ) -> AsyncIterator[Call]:
        """Answer; leaving the block hangs up.

        Args:
            codecs: names in order of preference; the phone's own unless told otherwise.
            encryption: see :class:`~spech.Account`; the account's unless told otherwise.

        Raises:
            CallEnded: the caller gave up before.
            RemoteProtocolError: no codec or no encryption in common; the caller has been told 488.
            PortsExhausted: no RTP port is free; the caller has been told 480.
        """
        phone = self._phone
        endpoint = phone.endpoint
        if self.over:
            raise CallEnded("The caller gave up.")
        assert self._session.dialog is not None
        flow = self._session.dialog.flow
        host = flow.local[0]
        try:
            with lease(host, phone.ports, phone.rng) as pair:
                formats = audio_formats(codecs or phone.codecs)
                media, negotiator = await phone.equip(pair, formats, [flow], encryption)
                if self.over:
                    raise CallEnded("The caller gave up.")
                call = Call(
                    endpoint,
                    self._session,
                    media,
                    self.caller_number,
                    negotiator=negotiator,
                    complete=phone.complete,
                    flows_to=phone.flows_to,
                )
                async with phone.run(call, media, self._channel):
                    with endpoint.command() as (agent, now):
                        agent.answer(self._session, call.negotiator, now)
                    call.catch_up(self._channel)
                    yield call
        finally:
            self.reject(480)  # Does nothing once it was answered.


class Arrivals(AsyncIterator[IncomingCall]):
    """Waiting calls, without those who gave up. No generator: it may be left at any time."""

    def __init__(self, arrivals: trio.MemoryReceiveChannel[IncomingCall]) -> None:
        self._arrivals = arrivals

    async def __anext__(self) -> IncomingCall:
        while (incoming := await self._arrivals.receive()).over:
            pass
        return incoming
