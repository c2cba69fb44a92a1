"""The calls of one phone: places, answers and runs them, and passes them the stack's events."""

from __future__ import annotations

import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Final

import trio

from spech.errors import CallEnded, RemoteProtocolError
from spech.incidents import Incidents
from spech.media.engine import Media
from spech.observers import call_observers
from spech.phone.account import Account, check_encryption
from spech.phone.call import Call
from spech.phone.dialling import Dialling
from spech.phone.driver import CallDriver
from spech.phone.formats import audio_formats
from spech.phone.life import LOOK_SECONDS, Patience
from spech.phone.reach import Reach
from spech.rtp.clock import MediaClock
from spech.rtp.ports import PortPair, PortRange, lease
from spech.sip import events
from spech.sip.call.leg import Leg
from spech.sip.call.session import Session
from spech.sip.call.transfer import Referral
from spech.sip.description.media_security import MediaSecurity, Policy
from spech.sip.description.offer_answer import Negotiator, judge_offer
from spech.sip.description.payload_types import AudioFormat
from spech.sip.endpoint import Endpoint
from spech.sip.message.headers import Headers
from spech.sip.message.uri import Uri
from spech.sip.transaction.flow import Flow

if TYPE_CHECKING:
    from spech.rtp.dtls import Certificate

_log: Final = logging.getLogger(__name__)


class EventQueue:
    """What the stack reports about one call, kept until :meth:`follow`.

    It has no limit because the peer's transactions pace it.
    """

    def __init__(self) -> None:
        self._waiting: list[events.SessionEvent] = []
        self._take = self._waiting.append
        #: Set when the call is over.
        self.over = trio.Event()

    def put(self, event: events.SessionEvent) -> None:
        """Hand ``event`` over, or keep it."""
        self._take(event)
        if isinstance(event, events.SessionEnded):
            self.over.set()

    def follow(self, take: Callable[[events.SessionEvent], None]) -> None:
        """Hand over to ``take`` what waits, and from now on each event as it comes."""
        while self._waiting:
            take(self._waiting.pop(0))
        self._take = take


class Calls:
    """Makes, runs and finds the calls of one phone.

    Args:
        endpoint: carries the signalling.
        account: sets the encryption policy, if there is an account.
        dialling: completes dialed strings and chooses the identity of outgoing calls.
        flows_to: finds the servers for a URI, best first.
        reach: finds the public addresses of the media.
        ports: UDP ports for RTP and RTCP.
        codecs: names in order of preference.
        silence_suppression: see :func:`spech.open_phone`.
        patience: how long a far end may be silent.
        rng: randomness.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        account: Account | None,
        dialling: Dialling,
        flows_to: Callable[[Uri], Awaitable[list[Flow]]],
        reach: Reach,
        *,
        ports: PortRange,
        codecs: Sequence[str],
        silence_suppression: bool,
        patience: Patience,
        rng: random.Random,
    ) -> None:
        self.endpoint: Final = endpoint
        self.clock: Final = MediaClock()
        self.codecs: Final = tuple(codecs)
        self.ports: Final = ports
        self.account: Final = account
        self._dialling = dialling
        self._flows_to = flows_to
        self._reach = reach
        self._silence_suppression = silence_suppression
        self._patience = patience
        self._rng = rng
        self._incidents = Incidents(_log)
        self._queues: dict[Leg, EventQueue] = {}
        self._running: dict[CallDriver, Call] = {}
        if account is not None and account.encryption != "off":
            _ = self._certificate  # Made now, so that no running call waits for OpenSSL to load.

    @property
    def active(self) -> tuple[Call, ...]:
        """The calls whose blocks are open."""
        return tuple(self._running.values())

    @property
    def drivers(self) -> tuple[CallDriver, ...]:
        """The drivers of the active calls."""
        return tuple(self._running)

    @property
    def busy(self) -> bool:
        """Whether there is a call, ringing ones included."""
        return bool(self._running or self._queues)

    @cached_property
    def _certificate(self) -> Certificate:
        """Our certificate for DTLS-SRTP handshakes."""
        from spech.rtp.dtls import Certificate  # It loads OpenSSL, which plain calls do not need.

        return Certificate()

    # ------------------------------------------------------------------ making them

    @asynccontextmanager
    async def place(
        self,
        uri: Uri,
        remote: str,
        codecs: Sequence[str] | None,
        caller: str | None,
        referral: Referral | None = None,
        display_name: str | None = None,
        headers: tuple[tuple[str, str], ...] = (),
        anonymous: bool = False,
        encryption: Policy | None = None,
    ) -> AsyncIterator[Call]:
        """Call ``uri`` for the time of a block. See :meth:`spech.Phone.call`.

        Args:
            referral: the far end's request that this call follows.
            headers: header fields for the INVITE besides the usual ones.

        Raises:
            LocalProtocolError: one of the header fields cannot be sent.
        """
        Headers(headers)
        formats = audio_formats(codecs or self.codecs)
        flows = await self._flows_to(uri)
        with self.lease(flows[0].local[0]) as pair:
            media, negotiator = await self._equip(pair, formats, flows, encryption)
            identity = self._dialling.caller(caller, flows[0].local, display_name)
            if self._dialling.identity is not None:
                # The account's credentials are used for other callers as well.
                self._dialling.identity.trust_towards(uri, flows)
            with self.endpoint.command() as (agent, now):
                session = agent.invite(
                    identity.anonymous() if anonymous else identity,
                    uri,
                    flows,
                    negotiator,
                    now,
                    referral=referral,
                    headers=headers + self._dialling.hidden_headers if anonymous else headers,
                )
                queue = self.open_queue(session)
            driver = self._driver(session, media, remote, negotiator)
            async with self._run(driver, queue) as call:
                yield call

    def complete(self, target: str) -> Uri:
        """See :meth:`Dialling.complete`."""
        return self._dialling.complete(target)

    def place_referred(
        self, referral: Referral, codecs: Sequence[str] | None, caller: str | None
    ) -> AbstractAsyncContextManager[Call]:
        """Call the target of a transfer that the far end asks for."""
        target = referral.target
        if target.scheme == "tel":
            target = self._dialling.complete(str(target))
        return self.place(target, target.user or target.host, codecs, caller, referral)

    @asynccontextmanager
    async def answer(
        self,
        session: Session,
        queue: EventQueue,
        remote: str,
        codecs: Sequence[str] | None,
        encryption: Policy | None,
        respond: Callable[[Callable[[int], Negotiator], float], None],
    ) -> AsyncIterator[Call]:
        """Answer an incoming call for the time of a block. See ``IncomingCall.answer``.

        Args:
            respond: sends the response with our session description, at a given time.
        """
        assert session.dialog is not None
        flow = session.dialog.flow
        with self.lease(flow.local[0]) as pair:
            formats = audio_formats(codecs or self.codecs)
            media, negotiator = await self._equip(pair, formats, [flow], encryption)
            media.allowance = session.allowance
            if session.ended is not None:
                raise CallEnded("The caller gave up.")
            driver = self._driver(session, media, remote, negotiator)
            async with self._run(driver, queue) as call:
                with self.endpoint.command() as (_, now):
                    respond(negotiator, now)
                yield call

    def judge(self, session: Session) -> None:
        """Check that the offer of an incoming call has a codec and an encryption of this phone.

        Raises:
            RemoteProtocolError: the offer cannot be read (400), or has none (488).
        """
        assert session.invited_by is not None
        assert session.dialog is not None
        if session.invited_by.body:
            security = self._security([session.dialog.flow], None)
            judge_offer(session.offered, audio_formats(self.codecs), security)

    def lease(self, host: str) -> AbstractContextManager[PortPair]:
        """Ports for one call's sound at an address of this machine.

        Raises:
            PortsExhausted: none is free.
        """
        return lease(host, self.ports, self._rng)

    async def _equip(
        self,
        pair: PortPair,
        formats: Sequence[AudioFormat],
        flows: Sequence[Flow],
        encryption: Policy | None,
    ) -> tuple[Media, Callable[[int], Negotiator]]:
        """Create the media engine on the sockets of ``pair``, and the factory of negotiators.

        ``flows`` are those that the call's signalling may use.

        Raises:
            LocalProtocolError: ``encryption`` is unknown.
        """
        if encryption is not None:
            check_encryption(encryption)
        negotiator = await self._reach.negotiators(
            self.endpoint,
            pair,
            formats,
            lambda: self._security(flows, encryption),
            comfort_noise=self._silence_suppression,
        )
        media = Media(
            pair,
            rng=self._rng,
            silence_suppression=self._silence_suppression,
            certificate=lambda: self._certificate,
            symmetric=self.account is None or self.account.symmetric,
            incidents=self._incidents,
        )
        return media, negotiator

    def _security(self, flows: Sequence[Flow], encryption: Policy | None) -> MediaSecurity:
        """Our side of the negotiation of encryption, if signalling uses one of ``flows``."""
        return MediaSecurity(
            encryption or (self.account.encryption if self.account else "off"),
            signalling_secure=all(flow.secure for flow in flows),
            rng=self._rng,
            fingerprint=lambda: self._certificate.fingerprint,
        )

    def _driver(
        self, session: Session, media: Media, remote: str, negotiator: Callable[[int], Negotiator]
    ) -> CallDriver:
        return CallDriver(
            self.endpoint,
            session,
            media,
            remote,
            negotiator=negotiator,
            flows_to=self._flows_to,
            patience=self._patience,
        )

    @asynccontextmanager
    async def _run(self, driver: CallDriver, queue: EventQueue) -> AsyncIterator[Call]:
        """Run a call, and list it among the active ones meanwhile."""
        call = self._running[driver] = Call(
            driver, complete=self._dialling.complete, place_referred=self.place_referred
        )
        for observe in call_observers:
            observe(call)
        try:
            async with driver.run(queue.follow, self.clock):
                yield call
        finally:
            del self._running[driver]

    async def watch(self) -> None:
        """Check the far ends of all calls each second, until cancelled."""
        while True:
            await trio.sleep(LOOK_SECONDS)
            for driver in self.drivers:
                driver.look()

    # ------------------------------------------------------------------ what the stack reports

    def open_queue(self, session: Session) -> EventQueue:
        """Queue what the stack reports about ``session`` from now on."""
        queue = self._queues[session] = EventQueue()
        return queue

    def receive_event(self, event: events.SessionEvent) -> None:
        """Handle an event of one of the calls."""
        if isinstance(event, events.TransferRequested):
            driver = self._driver_of(event.session)
            if driver is not None:
                driver.offer_referral(event.referral)
            return
        queue = self._queues.get(event.session)
        if queue is not None:
            queue.put(event)
            if queue.over.is_set():
                del self._queues[event.session]

    def replace(self, old: Session, new: Session) -> None:
        """Continue the call of ``old`` as ``new``, without ringing again (RFC 3891 3)."""
        now = self.endpoint.now()
        driver = self._driver_of(old)
        if driver is None:
            new.hang_up(now, status=481)
            return
        try:
            new.answer(driver.negotiator, now)
        except RemoteProtocolError:
            return  # The stack has refused the new call; the old one continues.
        self._queues[new] = self._queues.pop(old)
        driver.adopt(new, new.caller.number)

    def _driver_of(self, session: Leg) -> CallDriver | None:
        return next((driver for driver in self._running if driver.session is session), None)
