"""The front: it owns the SIP address and the registration, and its workers carry the calls.

Outside, front and workers are one user agent. A worker sees each message with the flow that it came
by, so it knows the real source of it, and answers as a single process would. The front adds nothing
to messages, neither Via nor Record-Route, and keeps no state of transactions: what it forwards it
forwards by Call-ID, as RFC 3261 16.11 has it, and what is nobody's call it answers itself.
"""

from __future__ import annotations

import logging
import random
from collections.abc import AsyncIterator, Callable, Iterator, Sequence, Set
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Final

import trio

from spech.addresses import Address
from spech.bridge.records import CallListener, CallRecord
from spech.errors import RemoteProtocolError
from spech.front.board import CallBoard
from spech.front.channel import Channel
from spech.front.messages import (
    ApiAnswer,
    BargeInMeasured,
    CallersNews,
    CallReported,
    DatagramRefused,
    DrainWorker,
    FlowBroken,
    FlowDoubted,
    FlowOffered,
    InviteHandled,
    MessageArrived,
    MessageSent,
    Ping,
    Pong,
    RegistrationNews,
    SendingFailed,
    SessionNews,
    StopWorker,
    ToFront,
    WorkerReady,
    WorkerWelcome,
)
from spech.front.placement import PlacedSession, Placement
from spech.front.seat import Seat
from spech.phone.account import Account
from spech.phone.binding import AccountBinding
from spech.phone.callers import AllowedCallers, Callers
from spech.phone.dialling import Dialling
from spech.scopes import open_scope
from spech.shares import Standing
from spech.sip.endpoint import Endpoint, open_endpoint
from spech.sip.events import Event, RefreshDue, RegistrationChanged
from spech.sip.message.message import Request, Response, response_to
from spech.sip.message.parser import parse
from spech.sip.registration import Registration, RegistrationState
from spech.sip.transaction.arrival import answer_tag
from spech.sip.transaction.flow import Flow, Outgoing
from spech.sip.transport import Arrival

_log: Final = logging.getLogger(__name__)

#: Seconds after which a front that drains looks again how many calls there are.
_LOOK_AGAIN: Final = 1.0
#: Seconds between two questions whether a worker runs, and how many it leaves without an answer
#: until it is ended. One would not do: the front itself may have been stopped.
_PING_SECONDS: Final = 5.0
_MOST_PINGS: Final = 2


class Front:
    """Passes messages on to workers and back. Made by :func:`open_front`.

    Attributes:
        seats: the places of the workers.
        board: the records of all calls.
        report: called with the record of each call at each change of its state.
        on_barge_in: called with each measured interruption, in seconds.
    """

    def __init__(self, callers: Callers, count: int, max_calls: int | None) -> None:
        self.seats = [Seat(index) for index in range(count)]
        self.board = CallBoard()
        self.report: CallListener = lambda record: None
        self.on_barge_in: Callable[[float], None] = lambda seconds: None
        #: Whether calls are refused, because the front is to end; and whether it ends now.
        self.draining = False
        self.stopping = False
        self._callers = callers
        self._max_calls = max_calls
        self._placement = Placement()
        self._endpoint: Endpoint
        self._binding: AccountBinding | None = None
        self._registration: RegistrationNews | None = None
        self._changed = trio.Event()

    def attach(self, endpoint: Endpoint, binding: AccountBinding | None) -> None:
        """Begin to pass on what comes to ``endpoint``."""
        self._endpoint = endpoint
        self._binding = binding
        self._callers.attach(endpoint.agent)
        self._callers.count = self._present
        self._callers.on_found = self._tell_callers
        endpoint.forwarder = self
        endpoint.on_event = self._receive_event
        if binding is not None:
            endpoint.on_broken = binding.receive_broken

    @property
    def address(self) -> Address:
        """Where it listens for SIP over UDP and TCP, as (host, port)."""
        return self._endpoint.address

    @property
    def ready(self) -> bool:
        """Whether calls are taken."""
        registered = self._binding is None or self._binding.status.state == "registered"
        return registered and not self.draining and any(seat.ready for seat in self.seats)

    async def registered(self, timeout: float) -> None:
        """Wait until the account is registered. See :meth:`spech.Phone.registered`."""
        if self._binding is not None:
            await self._binding.made(timeout)

    async def changed(self) -> None:
        """Wait until a worker is ready or has ended, or a call has got further."""
        await self._changed.wait()

    def _change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    # ------------------------------------------------------------------ how many calls

    @property
    def full(self) -> bool:
        """Whether there are too many calls for another one."""
        return self._max_calls is not None and self._present() >= self._max_calls

    @property
    def loads(self) -> dict[int, int]:
        """How many calls each worker has that takes new ones, those included that it is to get.

        Workers that hang are left out, unless all of them do, and those that do not keep up.
        """
        now = self._endpoint.now()
        calls, awaited = self.board.counts, self._placement.awaited(now)
        ready = [
            seat
            for seat in self.seats
            if seat.ready and not seat.behind and self._placement.has_room(seat.index)
        ]
        silent = self._placement.silent(now)
        return {
            seat.index: calls[seat.index] + awaited[seat.index] + seat.orders
            for seat in [one for one in ready if one.index not in silent] or ready
        }

    def _present(self) -> int:
        awaited = self._placement.awaited(self._endpoint.now())
        return self.board.counts.total() + awaited.total() + sum(seat.orders for seat in self.seats)

    # ------------------------------------------------------------------ the endpoint's Forwarder

    def takes(self, data: bytes, flow: Flow, now: float) -> bool:
        """Pass a message to the worker of its call; a new call gets one, if it may ring.

        Anything else is for the front's own user agent: it answers OPTIONS, refuses strangers, and
        drops what is not SIP.
        """
        invite = b""
        try:
            message = parse(data)
            owner = self._placement.owner(message)
            if owner is not None and self._overruns(self.seats[owner]):
                return True
            if isinstance(message, Request) and message.method == "INVITE" and not message.to.tag:
                owner = self._place(message, owner, flow, now)
                if owner is not None:
                    arrival = (data, flow) if flow.reliable else None
                    invite = self._placement.expect(message, owner, now, arrival)
        except RemoteProtocolError:
            return False
        if owner is None:
            return False
        return self.seats[owner].send(MessageArrived(data, flow.record, invite))

    def _overruns(self, seat: Seat) -> bool:
        """Whether a message for a worker is dropped, because it does not keep up.

        A datagram is sent again, as one that a full socket of a single process loses. What has come
        over a connection is not: its transaction ends at its time limit.
        """
        if not seat.behind:
            return False
        if not seat.overrun:
            seat.overrun = True
            _log.warning(
                "worker %d does not keep up; what comes for it is dropped (logged once)", seat.index
            )
        self._endpoint.agent.dropped["worker behind"] += 1
        return True

    def _place(self, invite: Request, owner: int | None, flow: Flow, now: float) -> int | None:
        """The worker for an INVITE outside a dialog.

        Raises:
            RemoteProtocolError: nobody can answer it.
        """
        _ = invite.via
        if owner is not None and self.seats[owner].ready and self._placement.adds_none(invite):
            return owner
        # Strangers first, who cost the least so.
        if isinstance(self._callers.screen(invite, flow, now), Response):
            return None
        loads = self.loads
        return self._placement.place(invite, loads) if loads else None

    def screen(self, request: Request, flow: Flow, now: float) -> Response | Standing | None:
        """What the front's user agent answers to a request that is outside a dialog."""
        verdict = self._callers.screen(request, flow, now)
        if isinstance(verdict, Response):
            return verdict
        # Without a worker, a call is for another machine.
        lost = not any(seat.ready for seat in self.seats)
        if request.method == "INVITE" or (request.method == "OPTIONS" and lost):
            agent = self._endpoint.agent
            tag = answer_tag(agent.ids, request)
            return response_to(request, 503, to_tag=tag, headers=[agent.retry_after()])
        return verdict

    def broken(self, flow: Flow, reason: str) -> None:
        """Tell the workers."""
        for seat in self.seats:
            seat.send(FlowBroken(flow.record, reason))

    def refused(self, quoted: bytes, remote: Address) -> None:
        """Tell the workers."""
        for seat in self.seats:
            if not self._overruns(seat):
                seat.send(DatagramRefused(quoted, remote))

    def is_known(self, host: str) -> bool:
        """Whether a call with ``host`` is up."""
        return self._placement.talks_with(host)

    @property
    def flows_in_use(self) -> Set[Flow]:
        """The flows of all calls."""
        return self._placement.flows

    def _receive_event(self, event: Event) -> None:
        binding = self._binding
        if binding is None:
            return
        if isinstance(event, RegistrationChanged):
            binding.receive_registration(event.registration)
            self._registration = self._news(event.registration)
            for seat in self.seats:
                seat.send(self._registration)
        elif isinstance(event, RefreshDue):
            binding.receive_due()

    def _news(self, registration: Registration) -> RegistrationNews:
        bound = registration.state is RegistrationState.REGISTERED
        return RegistrationNews(
            [flow.record for flow in registration.flows],
            registration.flow.record if bound else None,
            self._endpoint.agent.seen_at(registration.flow),
            [str(route) for route in registration.identity.service_route],
        )

    def _tell_callers(self) -> None:
        """Tell the workers: each of them admits whom the front admits."""
        for seat in self.seats:
            seat.send(CallersNews(self._callers.addresses))

    # ------------------------------------------------------------------ workers

    @contextmanager
    def occupied(self, seat: Seat, kill: Callable[[], None]) -> Iterator[None]:
        """For a block, a seat has a process, which ``kill`` ends."""
        seat.kill = kill
        try:
            yield
        finally:
            seat.kill = None
            self._change()

    async def attend(self, seat: Seat, channel: Channel[ToFront]) -> None:
        """Serve the process of a seat until it has ended."""
        seat.channel = channel
        carriers = self._endpoint.carriers
        doors = list(carriers.doors)
        connections = [flow.record for one in carriers.transports for flow in one.open_flows]
        seat.send(
            WorkerWelcome(
                seat.index,
                len(self.seats),
                doors,
                self._registration,
                connections,
                self._callers.addresses,
            )
        )
        if self.draining:
            seat.send(DrainWorker())
        if self.stopping:
            seat.send(StopWorker())
        try:
            async with open_scope() as nursery:
                nursery.start_soon(self._watch, seat, channel)
                await channel.run(partial(self._receive, seat))
                nursery.cancel_scope.cancel()
        except RemoteProtocolError as error:
            _log.error("worker %d is not understood: %s", seat.index, error)
        except Exception:
            # Nor must this end the front; the process ends, and is started again.
            _log.exception("the channel of worker %d has failed", seat.index)
        finally:
            seat.clear()
            unread = self._placement.forget(seat.index)
            for record in self.board.lose(seat.index):
                self._note(seat, record)
            self._refuse(unread)
            self._change()

    def _refuse(self, invites: Sequence[Arrival]) -> None:
        """Answer 503. No other worker gets these INVITEs: one of them may have ended the first."""
        try:
            with self._endpoint.command() as (agent, now):
                for data, flow in invites:
                    agent.receive_message(data, flow, now)
        except Exception:
            _log.exception("cannot refuse a call")

    async def _watch(self, seat: Seat, channel: Channel[ToFront]) -> None:
        """End a process that hangs. The next one ends the calls that it leaves."""
        unanswered = 0
        while unanswered < _MOST_PINGS:
            seat.answers = self.stopping or not seat.ready
            if not seat.answers:
                seat.send(Ping())
            await trio.sleep(_PING_SECONDS)
            unanswered = 0 if seat.answers or self.stopping else unanswered + 1
        _log.error("worker %d hangs, and is ended", seat.index)
        if seat.kill is not None:
            seat.kill()
        channel.close()

    def _receive(self, seat: Seat, message: ToFront) -> None:
        try:
            self._handle(seat, message)
        except Exception:
            # A mistake of ours must not end the front, which carries the calls of all workers.
            _log.exception("cannot handle a message of worker %d", seat.index)

    def _handle(self, seat: Seat, message: ToFront) -> None:
        match message:
            case MessageSent(data, record):
                self._placement.note_sent(seat.index, data)
                if not self._endpoint.send(Outgoing(data, Flow(*record))):
                    seat.send(SendingFailed(data, record))
            case SessionNews(call_id, tag, over=True):
                self._placement.end_session(call_id, tag)
            case SessionNews(call_id, tag, record, up):
                session = PlacedSession(seat.index, Flow(*record) if record else None, up)
                self._placement.note_session(call_id, tag, session)
            case CallReported(call):
                self._note(seat, call)
            case ApiAnswer():
                seat.receive_answer(message)
            case BargeInMeasured(seconds):
                self.on_barge_in(seconds)
            case FlowOffered(record, port):
                self._endpoint.share(Flow(*record), port)
            case FlowDoubted(record):
                with self._endpoint.command() as (agent, now):
                    agent.doubt(Flow(*record), now)
            case InviteHandled(invite, begun):
                self._placement.note_handled(invite, begun=begun)
            case Pong():
                seat.answers = True
            case WorkerReady():
                seat.ready = seat.used = True
                self._change()

    def _note(self, seat: Seat, record: CallRecord) -> None:
        self._placement.note_call(record.call_id)
        self.board.note(seat.index, record)
        self.report(record)
        self._change()

    async def started(self) -> None:
        """Wait until all workers are ready."""
        while not all(seat.ready for seat in self.seats):
            await self.changed()

    async def drain(self) -> None:
        """Refuse calls with 503 from now on, and wait until the present ones have ended."""
        self.draining = self._callers.closed = True
        for seat in self.seats:
            seat.send(DrainWorker())
        while self._present():
            # An INVITE that no call comes of is not told.
            with trio.move_on_after(_LOOK_AGAIN):
                await self.changed()

    async def stop(self) -> None:
        """Have all workers end their calls and themselves, and wait for that.

        One that is starting obeys when it is ready: it may have farewells to say of the process
        before it.
        """
        self.draining = self.stopping = self._callers.closed = True
        for seat in self.seats:
            seat.send(StopWorker())
        while any(seat.kill for seat in self.seats):
            await self.changed()


@asynccontextmanager
async def open_front(
    account: Account | None,
    *,
    workers: int,
    listen: Address,
    callers: AllowedCallers,
    max_calls: int | None = None,
    rng: random.Random | None = None,
) -> AsyncIterator[Front]:
    """Open a front. Leaving the block removes the registration; its workers have ended by then.

    Args:
        account: the account to register, None for none.
        workers: how many there are to be.
        listen, callers: see :func:`spech.open_phone`.
        max_calls: how many calls there may be at once, over all workers; further ones get 503.
        rng: randomness, seeded in tests.

    Raises:
        ServerUnreachable: ``listen`` cannot be bound.
        LocalProtocolError: as of :func:`spech.open_phone`.
    """
    rng = rng or random.SystemRandom()
    gate = Callers(callers, max_calls=max_calls)
    front = Front(gate, workers, max_calls)
    async with open_endpoint(
        listen,
        screen=front.screen,
        rng=rng,
        tls=account.tls if account else None,
        websocket_path=account.websocket_path if account else "/ws",
    ) as endpoint:
        dialling = Dialling(endpoint, account, rng)
        binding, server = None, None
        if account is not None and dialling.identity is not None:
            if account.register:
                binding = AccountBinding(
                    endpoint, account, dialling.identity, dialling.servers, rng
                )
            else:
                server = account.uri
        front.attach(endpoint, binding)
        async with open_scope() as nursery:
            nursery.start_soon(gate.run, dialling.servers, server)
            if binding is not None:
                nursery.start_soon(_register, front, binding)
            yield front
            nursery.cancel_scope.cancel()


async def _register(front: Front, binding: AccountBinding) -> None:
    """Stay registered until cancelled, but not before calls can be taken."""
    await front.started()
    await binding.run()
