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
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Final

import trio

from spech import codecs
from spech.call import Call, EventChannel, run_call
from spech.correspondence import Correspondence, Message, Subscription
from spech.errors import (
    CallEnded,
    LocalProtocolError,
    RegistrationFailed,
    RemoteProtocolError,
    ServerUnreachable,
)
from spech.media import Media
from spech.rtp.clock import MediaClock
from spech.rtp.ports import PortRange, lease
from spech.scopes import open_scope
from spech.sip import events
from spech.sip.agent import Screen
from spech.sip.endpoint import Endpoint, open_endpoint
from spech.sip.flow import TRANSPORTS, Address, Flow
from spech.sip.headers import NameAddr
from spech.sip.identity import Identity
from spech.sip.mailbox import Mailbox
from spech.sip.offer_answer import AudioFormat, Negotiator
from spech.sip.registration import Registration
from spech.sip.registration import State as Binding
from spech.sip.resolver import Resolver
from spech.sip.session import Session
from spech.sip.transfer import Referral
from spech.sip.transport.tls import TlsSettings
from spech.sip.uri import Uri
from spech.transfer import TransferRequest

_log: Final = logging.getLogger("spech.phone")
#: Incoming calls that wait for ``incoming_calls()``; one more hears that we are busy.
_WAITING_ROOM: Final = 32
#: Seconds between attempts to find the registrar's address.
_LOOK_UP_AGAIN: Final = 15.0
#: Seconds to wait before a broken flow to the registrar is made anew, doubled with each one in a
#: row, and when a flow has lived long enough for the row to end (RFC 5626 4.5).
_FIRST_PAUSE: Final = 30.0
_LONGEST_PAUSE: Final = 1800.0
_GOOD_FLOW: Final = 120.0
_REMEMBERED_FAULTS: Final = 100

DEFAULT_PORTS: Final = PortRange(10_000, 19_999)


@dataclass(frozen=True)
class Account:
    """An account at a SIP server.

    Args:
        address: the address of record, ``sip:user@host[:port]``; host and port are also the
            registrar and where calls are sent. ``;transport=tcp`` behind it chooses the transport.
        password: for digest authentication, None where none is asked for.
        auth_user: the user name for authentication, where it differs from that of the address.
        display_name: the name that people see when we call.
        transport: "udp", "tcp", "tls", "ws" or "wss"; None for what the server's domain
            recommends, UDP where it does not say.
        proxy: a SIP URI through which all requests go, ``sip:host[:port]``; the outbound proxy.
        tls: whom to trust over "tls" and "wss", and our own certificate.
        websocket_path: where the server takes WebSockets, for "ws" and "wss".
        expires: seconds for which each registration is asked for.
        register: False to place calls without registering.

    Raises:
        LocalProtocolError: ``address`` or ``proxy`` is not a SIP address, or the transport is
            unknown.
    """

    address: str
    password: str | None = field(default=None, repr=False, kw_only=True)
    auth_user: str | None = field(default=None, kw_only=True)
    display_name: str | None = field(default=None, kw_only=True)
    transport: str | None = field(default=None, kw_only=True)
    proxy: str | None = field(default=None, kw_only=True)
    tls: TlsSettings = field(default=TlsSettings(), kw_only=True)
    websocket_path: str = field(default="/ws", kw_only=True)
    expires: int = field(default=300, kw_only=True)
    register: bool = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        if not self.uri.user:
            raise LocalProtocolError(f"{self.address!r} has no user: write sip:user@host")
        if self.carrier is not None and self.carrier not in TRANSPORTS:
            raise LocalProtocolError(
                f"unknown transport {self.carrier!r}: it is one of {', '.join(TRANSPORTS)}"
            )
        if self.proxy is not None:
            _parse(self.proxy)

    @property
    def uri(self) -> Uri:
        """The address of record, parsed."""
        return _parse(self.address).without("transport")

    @property
    def carrier(self) -> str | None:
        """The transport that was chosen, in lower case, or None."""
        chosen = _parse(self.address).parameter("transport") or self.transport
        return chosen.lower() if chosen else None

    @property
    def route(self) -> NameAddr | None:
        """The pre-loaded route through the proxy (RFC 3261 8.1.2), always a loose one."""
        if self.proxy is None:
            return None
        uri = _parse(self.proxy)
        return NameAddr(uri if uri.parameter("lr") is not None else uri.with_parameters(lr=None))


@dataclass(frozen=True, slots=True)
class RegistrationStatus:
    """How the account's registration stands.

    ``state`` is "off", "registering", "registered" or "failed"; ``status`` and ``reason`` are the
    registrar's last word, 408 where it said none; ``expires_at`` is on trio's clock.
    """

    state: str
    status: int | None = None
    reason: str = ""
    expires_at: float | None = None


class IncomingCall:
    """Somebody calls and hears it ring. Answer it, reject it, or wait until they give up."""

    def __init__(self, phone: Phone, session: Session, channel: EventChannel) -> None:
        self._phone = phone
        self._session = session
        self._channel = channel
        #: Set when the call is over.
        self.finished = trio.Event()

    @property
    def _caller(self) -> NameAddr:
        assert self._session.invited_by is not None
        return self._session.invited_by.from_

    @property
    def caller_number(self) -> str:
        """The user part of the caller's address, or its host."""
        return self._caller.uri.user or self._caller.uri.host

    @property
    def display_name(self) -> str | None:
        """The caller's name, where one came."""
        return self._caller.display_name or None

    @property
    def called(self) -> str:
        """The number or name that was called: the user part of the Request-URI."""
        assert self._session.invited_by is not None
        return self._session.invited_by.uri.user or ""

    @property
    def call_id(self) -> str:
        """The Call-ID."""
        return self._session.call_id

    @property
    def over(self) -> bool:
        """Whether the caller gave up, or it was rejected."""
        return self._session.ended is not None

    def reject(self, status: int = 486) -> None:
        """Decline with a SIP status: 486 busy, 480 not available, 603 declined."""
        endpoint = self._phone.endpoint
        endpoint.agent.hang_up(self._session, endpoint.now(), status=status)
        endpoint.flush()

    async def ended(self) -> None:
        """Wait until it is over: given up, rejected, or answered and ended since."""
        await self.finished.wait()

    @asynccontextmanager
    async def answer(self, codecs: Sequence[str] | None = None) -> AsyncIterator[Call]:
        """Answer; leaving the block hangs up.

        Args:
            codecs: names in order of preference; the phone's own unless told otherwise.

        Raises:
            CallEnded: the caller gave up before.
            RemoteProtocolError: no codec in common; the caller has been told 488.
            PortsExhausted: no RTP port is free; the caller has been told 480.
        """
        phone = self._phone
        endpoint = phone.endpoint
        if self.over:
            raise CallEnded("The caller gave up.")
        assert self._session.dialog is not None
        host = self._session.dialog.flow.local[0]
        try:
            with lease(host, phone.ports, phone.rng) as pair:
                media = Media(pair, rng=phone.rng)
                formats = _formats(codecs or phone.codecs)
                call = Call(
                    endpoint,
                    self._session,
                    media,
                    self.caller_number,
                    negotiator=lambda number: Negotiator(formats, host, pair.port, number),
                    complete=phone.complete,
                )
                async with phone.run(call, media, self._channel):
                    try:
                        endpoint.agent.answer(self._session, call.negotiator, endpoint.now())
                    finally:
                        endpoint.flush()
                    call.catch_up(self._channel)
                    yield call
        finally:
            self.reject(480)  # Does nothing once it was answered.


class _Arrivals(AsyncIterator[IncomingCall]):
    """Waiting calls, without those who gave up. No generator: it may be left at any time."""

    def __init__(self, arrivals: trio.MemoryReceiveChannel[IncomingCall]) -> None:
        self._arrivals = arrivals

    async def __anext__(self) -> IncomingCall:
        while (incoming := await self._arrivals.receive()).over:
            pass
        return incoming


class Phone:
    """An open phone. Made by :func:`open_phone`."""

    def __init__(
        self,
        endpoint: Endpoint,
        account: Account | None,
        ports: PortRange,
        codecs: Sequence[str],
        rng: random.Random,
    ) -> None:
        self.endpoint = endpoint
        self.account = account
        self.ports = ports
        self.codecs = tuple(codecs)
        self.rng = rng
        self.clock = MediaClock()
        #: How the registration stands.
        self.registration = RegistrationStatus("off")
        self._registered_changed = trio.Event()
        self._unreachable: ServerUnreachable | None = None
        self._identity: Identity | None = None
        if account is not None:
            self._identity = Identity(
                NameAddr(account.uri, account.display_name),
                account.auth_user or account.uri.user or "",
                account.password,
                rng,
                account.route,
            )
        self._channels: dict[Session, trio.MemorySendChannel[events.SessionEvent]] = {}
        self._incoming: dict[Session, IncomingCall] = {}
        self._calls: list[Call] = []
        self._arrivals_in, self._arrivals = trio.open_memory_channel[IncomingCall](_WAITING_ROOM)
        self._answers = False
        self._correspondence = Correspondence(endpoint)
        #: The flow that the registrar reaches us by, and why connections ended lately.
        self._bound: Flow | None = None
        self._lost = trio.Event()
        self._faults: dict[Flow, str] = {}
        endpoint.on_event = self._receive_event
        endpoint.on_broken = self._receive_broken

    @property
    def address(self) -> Address:
        """Where it listens for SIP, as (host, port)."""
        return self.endpoint.address

    @property
    def active_calls(self) -> tuple[Call, ...]:
        """The calls whose blocks are open."""
        return tuple(self._calls)

    # ------------------------------------------------------------------ registration

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
        if self.account is None or not self.account.register:
            raise LocalProtocolError("this phone does not register")
        with trio.move_on_after(float("inf") if timeout is None else timeout):
            while self.registration.state == "registering":
                await self.registration_changed()
        if self.registration.state == "registered":
            return
        if self._unreachable is not None:
            raise self._unreachable
        if self.registration.state == "registering":
            uri = self.account.uri
            raise ServerUnreachable(f"{uri.host} did not answer within {timeout:g} s.")
        raise RegistrationFailed(self.registration.status or 408, self.registration.reason)

    async def registration_changed(self) -> None:
        """Wait for the next change of :attr:`registration`."""
        await self._registered_changed.wait()

    def _set_registration(self, status: RegistrationStatus) -> None:
        self.registration = status
        self._registered_changed.set()
        self._registered_changed = trio.Event()

    async def register(self) -> None:
        """Find the registrar and bind the account; the user agent keeps it bound.

        A binding whose connection breaks is made anew, after the pause of RFC 5626 4.5.
        """
        assert self.account is not None
        assert self._identity is not None
        self._set_registration(RegistrationStatus("registering"))
        uri = self.account.uri
        registrar = Uri(uri.scheme, None, uri.host, uri.port)
        flows = await self._find_registrar(registrar)
        registration = self.endpoint.agent.register(
            self._identity,
            registrar,
            flows,
            self.endpoint.now(),
            expires=self.account.expires,
            instance=_instance(self.account),
        )
        self.endpoint.flush()
        failures = 0
        while True:
            since = trio.current_time()
            await self._lost.wait()
            failures = failures + 1 if trio.current_time() - since < _GOOD_FLOW else 0
            pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**failures)
            await trio.sleep(self.rng.uniform(0.5, 1.0) * pause)
            flows = await self._find_registrar(registrar)
            self._lost = trio.Event()
            registration.register(flows, self.endpoint.now())
            self.endpoint.flush()

    async def _find_registrar(self, registrar: Uri) -> list[Flow]:
        while True:
            try:
                return await self._flows_to(registrar)
            except ServerUnreachable as error:
                self._unreachable = error
                self._set_registration(RegistrationStatus("failed", None, str(error)))
                await trio.sleep(_LOOK_UP_AGAIN)

    def _receive_broken(self, flow: Flow, reason: str) -> None:
        """A connection broke; where we are bound through it, nobody can reach us."""
        self._faults[flow] = reason
        while len(self._faults) > _REMEMBERED_FAULTS:
            del self._faults[next(iter(self._faults))]
        if flow == self._bound and self.registration.state == "registered":
            self._set_registration(RegistrationStatus("registering", None, f"Connection {reason}."))
            self._lost.set()

    def _receive_registration(self, registration: Registration) -> None:
        self._unreachable = None
        if self._bound is not None:
            self.endpoint.release(self._bound)
            self._bound = None
        if registration.state is Binding.REGISTERED:
            self._bound = registration.flow
            self.endpoint.keep(self._bound)
        if registration.state is Binding.FAILED and not registration.answered:
            host = registration.registrar.host
            fault = self._faults.pop(registration.flow, None)
            self._unreachable = ServerUnreachable(
                f"{host} cannot be reached: {fault}." if fault else f"{host} does not answer."
            )
        state = "off" if registration.state is Binding.REMOVED else registration.state.value
        self._set_registration(
            RegistrationStatus(
                state, registration.status, registration.reason, registration.expires_at
            )
        )

    # ------------------------------------------------------------------ calls

    @asynccontextmanager
    async def call(
        self,
        target: str,
        *,
        codecs: Sequence[str] | None = None,
        caller: str | None = None,
    ) -> AsyncIterator[Call]:
        """Call ``target``; leaving the block hangs up.

        The block begins at once, while it rings: ``await call.answered()`` is the next step.

        Args:
            target: a number or name at the account's server (``600``), or a SIP URI.
            codecs: names in order of preference; the phone's own unless told otherwise.
            caller: a SIP URI to call from, in place of the account's.

        Raises:
            ServerUnreachable: the host of ``target`` is unknown.
            LocalProtocolError: ``target`` is no number and no SIP URI.
            PortsExhausted: no RTP port is free.
            CodecUnavailable: a name in ``codecs`` is unknown or lacks its library.
        """
        async with self._place(self.complete(target), target, codecs, caller) as call:
            yield call

    def _follow(
        self, referral: Referral, codecs: Sequence[str] | None
    ) -> AbstractAsyncContextManager[Call]:
        target = referral.target
        return self._place(target, target.user or target.host, codecs, None, referral)

    @asynccontextmanager
    async def _place(
        self,
        uri: Uri,
        remote: str,
        codecs: Sequence[str] | None,
        caller: str | None,
        referral: Referral | None = None,
    ) -> AsyncIterator[Call]:
        formats = _formats(codecs or self.codecs)
        endpoint = self.endpoint
        flows = await self._flows_to(uri)
        host = flows[0].local[0]
        with lease(host, self.ports, self.rng) as pair:

            def negotiator(number: int) -> Negotiator:
                return Negotiator(formats, host, pair.port, number)

            media = Media(pair, rng=self.rng)
            session = endpoint.agent.invite(
                self._from(caller, uri, flows[0].local),
                uri,
                flows,
                negotiator,
                endpoint.now(),
                referral=referral,
            )
            channel = self._listen(session)
            call = Call(
                endpoint, session, media, remote, negotiator=negotiator, complete=self.complete
            )
            endpoint.flush()
            async with self.run(call, media, channel):
                yield call

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
        return _Arrivals(self._arrivals)

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
        flows = await self._flows_to(uri)
        await self._correspondence.send(self._from(None, uri, flows[0].local), uri, flows, text)

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
        flows = await self._flows_to(uri)
        identity = self._from(None, uri, flows[0].local)
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
        """``target`` as a SIP URI; what is only a number is one at the account's server.

        Raises:
            LocalProtocolError: it is neither.
        """
        text = target.strip()
        if text.lower().startswith(("sip:", "sips:")):
            return _parse(text)
        if "@" in text:
            return _parse(f"sip:{text}")
        # What people put between digits to read them better (RFC 3966 5.1.1).
        number = text.translate(str.maketrans("", "", " -()./"))
        if not number:
            raise LocalProtocolError("there is no number to call")
        if self.account is None:
            raise LocalProtocolError(f"{target!r} needs an account, or write sip:user@host")
        domain = self.account.uri
        return _parse(str(Uri(domain.scheme, number, domain.host, domain.port)))

    async def _flows_to(self, uri: Uri) -> list[Flow]:
        """Where a request to ``uri`` is sent: to the proxy, or to the server that it names."""
        account = self.account
        if account is None:
            return await self.endpoint.flows_to(uri)
        if account.route is not None:
            return await self.endpoint.flows_to(account.route.uri, account.carrier)
        if uri.host == account.uri.host and uri.port in (None, account.uri.port):
            # Within the account's own domain: its server, port and transport included.
            uri = replace(uri, port=account.uri.port)
            return await self.endpoint.flows_to(uri, account.carrier)
        return await self.endpoint.flows_to(uri)

    def _from(self, caller: str | None, target: Uri, local: Address) -> Identity:
        """Who calls ``target``. The password serves at the account's own servers only."""
        if caller is None and self._identity is not None and self.account is not None:
            ours = self.account.route is not None or target.host == self.account.uri.host
            return self._identity if ours else self._identity.without_password()
        address = NameAddr.parse(f"<{caller}>") if caller else None
        if address is None:
            address = NameAddr(Uri("sip", "spech", *local))
        return Identity(address, address.uri.user or "", None, self.rng)

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
                self._receive_registration(registration)
            case events.Malformed():
                pass  # The endpoint has said so.
            case (
                events.MessageReceived()
                | events.MailboxChanged()
                | events.SubscriptionChanged()
                | events.Notified()
            ):
                self._correspondence.receive(event)
            case events.TransferRequested(session, referral):
                request = TransferRequest(referral, self._follow, self.endpoint.flush)
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
        caller = new.invited_by.from_.uri
        call.adopt(new, caller.user or caller.host)


@asynccontextmanager
async def open_phone(
    account: Account | None = None,
    *,
    listen: Address = ("0.0.0.0", 0),
    ports: PortRange = DEFAULT_PORTS,
    codecs: Sequence[str] = ("PCMU", "PCMA"),
    drain: float = 5.0,
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
        codecs: names in order of preference (``spech.codecs.names()`` lists them).
        drain: seconds that leaving waits for the other ends to confirm our farewells.
        screen: see :class:`~spech.sip.agent.UserAgent`; how a server serves and authenticates.
        rng: randomness, seeded in tests.
        resolver: finds servers; the machine's own name servers unless told otherwise.

    Raises:
        ServerUnreachable: ``listen`` cannot be bound.
        CodecUnavailable: a codec is unknown or lacks its library.
        LocalProtocolError: the account's TLS files cannot be used.
    """
    rng = rng or random.SystemRandom()
    _formats(codecs)
    async with open_endpoint(
        listen,
        drain=drain,
        screen=screen,
        rng=rng,
        tls=account.tls if account else None,
        websocket_path=account.websocket_path if account else "/ws",
        resolver=resolver,
    ) as endpoint:
        phone = Phone(endpoint, account, ports, codecs, rng)
        async with open_scope() as nursery:
            nursery.start_soon(phone.clock.run)
            if account is not None and account.register:
                nursery.start_soon(phone.register)
                phone._set_registration(RegistrationStatus("registering"))
            yield phone
            nursery.cancel_scope.cancel()


def _instance(account: Account) -> str:
    """A name for this machine's phone at this account, the same after each start (RFC 5626 4.1)."""
    machine = f"{uuid.getnode():x}"
    return uuid.uuid5(uuid.NAMESPACE_URL, f"{account.address} on {machine}").urn


def _parse(text: str) -> Uri:
    try:
        uri = Uri.parse(text)
    except RemoteProtocolError as error:
        raise LocalProtocolError(f"{text!r} is not a SIP address: {error}") from None
    if uri.scheme not in ("sip", "sips"):
        raise LocalProtocolError(f"{text!r} is not a SIP address")
    return uri


def _formats(names: Sequence[str]) -> list[AudioFormat]:
    formats = []
    for name in names:
        codec = codecs.create(name)
        formats.append(
            AudioFormat(
                codec.name,
                codec.encoding,
                codec.clock_rate,
                codec.payload_type,
                codec.fmtp,
                codec.channels,
                codec.answer,
            )
        )
    return formats
