"""A telephone: an account at a provider, calls out, calls in.

    async with open_phone(Account("sip:alice@example.org", password="…")) as phone:
        await phone.registered(timeout=5)
        async with phone.call("600") as call:
            await call.answered(timeout=30)
            call.play("hello.wav")
            await call.played()

Everything is a scope: leaving a call's block hangs up, leaving the phone's block ends every call
and removes the registration, and cancellation does the same.
"""

from __future__ import annotations

import logging
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cached_property
from typing import Final

import trio

from spech.addresses import Address
from spech.errors import LocalProtocolError, RemoteProtocolError
from spech.media.engine import Media
from spech.phone.account import Account
from spech.phone.binding import Binding, RegistrationStatus
from spech.phone.call import Call, EventChannel, run_call
from spech.phone.correspondence import Correspondence, Message, Subscription
from spech.phone.dialling import Dialling
from spech.phone.formats import audio_formats
from spech.phone.incoming import Arrivals, IncomingCall
from spech.phone.reach import Reach
from spech.phone.roaming import roam
from spech.phone.transfer import TransferRequest
from spech.rtp.clock import MediaClock
from spech.rtp.dtls import Certificate
from spech.rtp.ports import PortPair, PortRange, lease
from spech.scopes import open_scope
from spech.sip import events
from spech.sip.agent import Screen
from spech.sip.call.session import Session
from spech.sip.call.transfer import Referral
from spech.sip.description.media_security import MediaSecurity, Policy
from spech.sip.description.offer_answer import Negotiator
from spech.sip.description.payload_types import AudioFormat
from spech.sip.dialog.caller import caller_of
from spech.sip.endpoint import Endpoint, open_endpoint
from spech.sip.message.uri import Uri
from spech.sip.resolver import Resolver
from spech.sip.transaction.flow import Flow
from spech.sip.watching.mailbox import Mailbox

_log: Final = logging.getLogger(__name__)
#: Incoming calls that wait for ``incoming_calls()``; one more hears that we are busy.
_WAITING_ROOM: Final = 32

DEFAULT_PORTS: Final = PortRange(10_000, 19_999)


class Phone:
    """An open phone. Made by :func:`open_phone`."""

    def __init__(
        self,
        endpoint: Endpoint,
        account: Account | None,
        ports: PortRange,
        codecs: Sequence[str],
        rng: random.Random,
        call_waiting: bool,
        reach: Reach,
        silence_suppression: bool,
    ) -> None:
        self.endpoint = endpoint
        self.account = account
        self.ports = ports
        self.codecs = tuple(codecs)
        self.rng = rng
        self._reach = reach
        self._silence_suppression = silence_suppression
        self.clock = MediaClock()
        self._dialling = Dialling(endpoint, account, rng)
        self._binding: Binding | None = None
        identity = self._dialling.identity
        if account is not None and identity is not None and account.register:
            self._binding = Binding(endpoint, account, identity, self._dialling.servers, rng)
            endpoint.on_broken = self._binding.receive_broken
        self._channels: dict[Session, trio.MemorySendChannel[events.SessionEvent]] = {}
        self._incoming: dict[Session, IncomingCall] = {}
        self._calls: list[Call] = []
        self._arrivals_in, self._arrivals = trio.open_memory_channel[IncomingCall](_WAITING_ROOM)
        self._answers = False
        self._call_waiting = call_waiting
        self._correspondence = Correspondence(endpoint)
        endpoint.on_event = self._receive_event

    @property
    def address(self) -> Address:
        """Where it listens for SIP, as (host, port)."""
        return self.endpoint.address

    @property
    def active_calls(self) -> tuple[Call, ...]:
        """The calls whose blocks are open."""
        return tuple(self._calls)

    @cached_property
    def _certificate(self) -> Certificate:
        """What our end of a DTLS-SRTP handshake shows."""
        return Certificate()

    # ------------------------------------------------------------------ registration

    @property
    def registration(self) -> RegistrationStatus:
        """How the registration stands."""
        return self._binding.status if self._binding else RegistrationStatus("off")

    async def registered(self, timeout: float | None = None) -> None:
        """Wait until the account is registered.

        Args:
            timeout: seconds to wait at the most.

        Raises:
            RegistrationFailed: the registrar refused; 401, 403 and 407 mean a wrong user or
                password.
            ServerUnreachable: the host is unknown, or nobody answered in time.
            LocalProtocolError: this phone does not register.
        """
        if self._binding is None:
            raise LocalProtocolError("this phone does not register")
        await self._binding.made(timeout)

    async def registration_changed(self) -> None:
        """Wait for the next change of :attr:`registration`; for ever where there is none."""
        if self._binding is None:
            await trio.sleep_forever()
        else:
            await self._binding.changed()

    async def stay_registered(self) -> None:
        """Keep the account bound until cancelled; the phone's own task."""
        if self._binding is not None:
            await self._binding.run()

    # ------------------------------------------------------------------ calls

    @asynccontextmanager
    async def call(
        self,
        target: str,
        *,
        codecs: Sequence[str] | None = None,
        caller: str | None = None,
        anonymous: bool = False,
        encryption: Policy | None = None,
    ) -> AsyncIterator[Call]:
        """Call ``target``; leaving the block hangs up.

        The block begins at once, while it rings: ``await call.answered()`` is the next step.

        Args:
            target: a number or name at the account's server (``600``), or a SIP URI.
            codecs: names in order of preference; the phone's own unless told otherwise.
            caller: a SIP URI to call from, in place of the account's.
            anonymous: ask the account's server to keep our number to itself (RFC 3323, 3325).
            encryption: see :class:`~spech.Account`; the account's unless told otherwise.

        Raises:
            ServerUnreachable: the host of ``target`` is unknown.
            LocalProtocolError: ``target`` is no number and no SIP URI.
            PortsExhausted: no RTP port is free.
            CodecUnavailable: a name in ``codecs`` is unknown or lacks its library.
        """
        uri = self.complete(target)
        hidden = self._dialling.hidden_headers if anonymous else ()
        async with self._place(
            uri, target, codecs, caller, headers=hidden, encryption=encryption
        ) as call:
            yield call

    def _follow(
        self, referral: Referral, codecs: Sequence[str] | None, caller: str | None
    ) -> AbstractAsyncContextManager[Call]:
        target = referral.target
        return self._place(target, target.user or target.host, codecs, caller, referral)

    @asynccontextmanager
    async def _place(
        self,
        uri: Uri,
        remote: str,
        codecs: Sequence[str] | None,
        caller: str | None,
        referral: Referral | None = None,
        headers: tuple[tuple[str, str], ...] = (),
        encryption: Policy | None = None,
    ) -> AsyncIterator[Call]:
        formats = audio_formats(codecs or self.codecs)
        flows = await self.flows_to(uri)
        host = flows[0].local[0]
        with lease(host, self.ports, self.rng) as pair:
            media, negotiator = await self.equip(pair, formats, flows, encryption)
            identity = self._dialling.caller(caller, uri, flows[0].local)
            with self.endpoint.command() as (agent, now):
                session = agent.invite(
                    identity.anonymous() if headers else identity,
                    uri,
                    flows,
                    negotiator,
                    now,
                    referral=referral,
                    headers=headers,
                )
                channel = self._listen(session)
            call = Call(
                self.endpoint,
                session,
                media,
                remote,
                negotiator=negotiator,
                complete=self.complete,
                flows_to=self.flows_to,
            )
            async with self.run(call, media, channel):
                yield call

    async def equip(
        self,
        pair: PortPair,
        formats: Sequence[AudioFormat],
        flows: Sequence[Flow],
        encryption: Policy | None,
    ) -> tuple[Media, Callable[[int], Negotiator]]:
        """The sound of a call on the sockets of ``pair``, and what makes its offers and answers.

        ``flows`` are those that its signalling may take.
        """
        negotiator = await self._reach.negotiators(
            self.endpoint,
            pair,
            formats,
            lambda: self._security(flows, encryption),
            comfort_noise=self._silence_suppression,
        )
        media = Media(
            pair,
            rng=self.rng,
            silence_suppression=self._silence_suppression,
            certificate=self._certificate,
        )
        return media, negotiator

    @asynccontextmanager
    async def run(self, call: Call, media: Media, channel: EventChannel) -> AsyncIterator[None]:
        """Keep ``call`` among the active ones while it runs."""
        self._calls.append(call)
        try:
            async with run_call(call, media, channel, self.clock):
                yield
        finally:
            self._calls.remove(call)

    def incoming_calls(self) -> AsyncIterator[IncomingCall]:
        """The calls that come in, each ringing already: ``async for incoming in ...``. Endless.

        Until this is called, callers hear that nobody is available (480). A call that is neither
        answered nor rejected rings until the caller gives up or the phone closes.
        """
        self._answers = True
        return Arrivals(self._arrivals)

    # ------------------------------------------------------------------ messages and states

    async def send_message(self, target: str, text: str) -> None:
        """Send a text message (RFC 3428) and wait until it has arrived.

        Cancelling stops the waiting; the message may arrive all the same.

        Args:
            target: a number or name at the account's server, or a SIP URI.
            text: at most 900 bytes in UTF-8.

        Raises:
            RequestFailed: it was refused, or (408) nobody answered within 32 s.
            ServerUnreachable: the host of ``target`` is unknown.
            LocalProtocolError: the text is too long, or ``target`` is no number and no SIP URI.
        """
        uri = self.complete(target)
        flows = await self.flows_to(uri)
        await self._correspondence.send(
            self._dialling.caller(None, uri, flows[0].local), uri, flows, text
        )

    def messages(self) -> AsyncIterator[Message]:
        """The text messages that come in: ``async for message in ...``. Endless.

        Until this is called, senders hear 480, and also while 100 messages wait.
        """
        return self._correspondence.messages()

    @asynccontextmanager
    async def subscribe(
        self, target: str, *, event: str = "message-summary", expires: int = 3600
    ) -> AsyncIterator[Subscription]:
        """Watch somebody's state (RFC 6665); leaving the block ends the subscription.

        It renews itself, and is asked for again when it was lost and that may help.

        Args:
            target: a number or name at the account's server, or a SIP URI.
            event: "message-summary" (waiting messages), "dialog" (busy lamps) or "presence".
            expires: seconds for which it is asked for each time.

        Raises:
            ServerUnreachable: the host of ``target`` is unknown.
            LocalProtocolError: ``target`` is no number and no SIP URI, or ``event`` is unknown.
        """
        uri = self.complete(target)
        flows = await self.flows_to(uri)
        identity = self._dialling.caller(None, uri, flows[0].local)
        async with self._correspondence.subscribe(identity, uri, flows, event, expires) as found:
            yield found

    @property
    def mailbox(self) -> Mailbox | None:
        """Whether messages wait, as the server told last of its own accord; None before that."""
        return self._correspondence.mailbox

    async def mailbox_changed(self) -> None:
        """Wait until the server tells about waiting messages of its own accord."""
        await self._correspondence.mailbox_changed()

    def complete(self, target: str) -> Uri:
        """See :meth:`Dialling.complete`."""
        return self._dialling.complete(target)

    async def flows_to(self, uri: Uri) -> list[Flow]:
        """Where a request to ``uri`` is sent: to the first Route, or to the server that it names.

        Of several servers the one comes first that we are registered with.

        Raises:
            ServerUnreachable: the host is unknown, or has no address that we can send to.
        """
        flows = await self._dialling.servers(uri)
        return flows if self._binding is None else self._binding.nearest(flows)

    def _security(self, flows: Sequence[Flow], encryption: Policy | None) -> MediaSecurity:
        """Our side of the agreement on encryption, where the signalling takes one of ``flows``."""
        policy = encryption or (self.account.encryption if self.account else "off")
        secure = all(flow.secure for flow in flows)
        return MediaSecurity(
            policy,
            signalling_secure=secure,
            rng=self.rng,
            fingerprint=self._certificate.fingerprint,
        )

    def _listen(self, session: Session) -> EventChannel:
        channel_in, channel = trio.open_memory_channel[events.SessionEvent](float("inf"))
        self._channels[session] = channel_in
        return channel

    # ------------------------------------------------------------------ events

    def _receive_event(self, event: events.Event) -> None:
        match event:
            case events.IncomingCall(session):
                self._receive_call(session)
            case events.RegistrationChanged(registration):
                if self._binding is not None:
                    self._binding.receive(registration)
            case events.Malformed() | events.HostNamed() | events.ConnectionOffered():
                pass  # The endpoint has seen to it.
            case (
                events.MessageReceived()
                | events.MailboxChanged()
                | events.SubscriptionChanged()
                | events.Notified()
            ):
                self._correspondence.receive(event)
            case events.TransferRequested(session, referral):
                request = TransferRequest(referral, self._follow, self.endpoint)
                call = self._call_with(session)
                if call is not None:
                    call.offer_transfer(request)
            case _:
                channel = self._channels.get(event.session)
                if channel is not None:
                    channel.send_nowait(event)
                if isinstance(event, events.CallEnded):
                    self._channels.pop(event.session, None)
                    incoming = self._incoming.pop(event.session, None)
                    if incoming is not None:
                        incoming.finished.set()

    def _receive_call(self, session: Session) -> None:
        agent = self.endpoint.agent
        now = self.endpoint.now()
        if session.replaces is not None:
            self._replace(session.replaces, session)
            return
        if not self._answers:
            agent.hang_up(session, now, status=480)
            return
        if not self._call_waiting and (self._calls or self._incoming):
            agent.hang_up(session, now, status=486)
            return
        incoming = IncomingCall(self, session, self._listen(session))
        try:
            self._arrivals_in.send_nowait(incoming)
        except trio.WouldBlock:
            agent.hang_up(session, now, status=486)
            return
        self._incoming[session] = incoming
        agent.ring(session, now)

    def _call_with(self, session: Session) -> Call | None:
        return next((call for call in self._calls if call.session is session), None)

    def _replace(self, old: Session, new: Session) -> None:
        """The call of ``old`` goes on as ``new``, without ringing again (RFC 3891 3)."""
        call = self._call_with(old)
        if call is None:
            self.endpoint.agent.hang_up(new, self.endpoint.now(), status=481)
            return
        try:
            self.endpoint.agent.answer(new, call.negotiator, self.endpoint.now())
        except RemoteProtocolError:
            return  # It has been refused; the old one goes on.
        self._channels[new] = self._channels.pop(old)
        if old in self._incoming:
            self._incoming[new] = self._incoming.pop(old)
        assert new.invited_by is not None
        call.adopt(new, caller_of(new.invited_by).number)


@asynccontextmanager
async def open_phone(
    account: Account | None = None,
    *,
    listen: Address = ("0.0.0.0", 0),
    ports: PortRange = DEFAULT_PORTS,
    codecs: Sequence[str] = ("PCMU", "PCMA"),
    call_waiting: bool = True,
    silence_suppression: bool = False,
    drain: float = 5.0,
    stun: str | None = None,
    ice: bool | None = None,
    screen: Screen | None = None,
    rng: random.Random | None = None,
    resolver: Resolver | None = None,
) -> AsyncIterator[Phone]:
    """Open a telephone. Leaving the block hangs up every call and removes the registration.

    Args:
        account: whom to register as and call from; None for calls between SIP URIs.
        listen: address and port for SIP, UDP and TCP; port 0 takes any free one, ``::`` means
            IPv6 and IPv4.
        ports: UDP ports for RTP and RTCP, two for each call.
        codecs: names in order of preference (``spech.codecs.names()`` lists them), with settings
            where wanted: ``opus;bitrate=24000;complexity=8``, ``PCMU;ptime=40``.
        call_waiting: False to answer 486 (busy) to whoever calls during a call.
        silence_suppression: send no sound while nobody speaks, but comfort noise (RFC 3389) or what
            the codec has for it, where the far end agrees. That halves the traffic, and some PBXs
            dislike it. Played files and digits are always sent. What others leave out is filled
            with comfort noise in any case.
        drain: seconds that leaving waits for the other ends to confirm our farewells.
        stun: behind a NAT, the server that tells our public addresses: ``stun:host[:port]``.
        ice: look for the best way to each far end that can do so as well (RFC 8445). None answers
            it where it is offered, and offers it where there is a STUN server; False does neither.
        screen: see :class:`~spech.sip.agent.UserAgent`; how a server serves and authenticates.
        rng: randomness, seeded in tests.
        resolver: finds servers; the machine's own name servers unless told otherwise.

    Raises:
        ServerUnreachable: ``listen`` cannot be bound.
        CodecUnavailable: a codec is unknown or lacks its library.
        LocalProtocolError: the account's TLS files cannot be used, or ``stun`` is no such URI.
    """
    rng = rng or random.SystemRandom()
    audio_formats(codecs)
    reach = Reach(stun, ice, rng)
    async with open_endpoint(
        listen,
        drain=drain,
        screen=screen,
        rng=rng,
        tls=account.tls if account else None,
        websocket_path=account.websocket_path if account else "/ws",
        resolver=resolver,
    ) as endpoint:
        phone = Phone(
            endpoint, account, ports, codecs, rng, call_waiting, reach, silence_suppression
        )
        async with open_scope() as nursery:
            nursery.start_soon(phone.clock.run)
            nursery.start_soon(phone.stay_registered)
            nursery.start_soon(roam, endpoint, lambda: phone.active_calls, ports, rng)
            yield phone
            nursery.cancel_scope.cancel()
