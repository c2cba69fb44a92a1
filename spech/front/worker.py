"""The side of a worker: its SIP goes through the front, as if the front's sockets were its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from typing import Final

import trio

from spech.bridge.records import CallRecord
from spech.errors import LocalProtocolError
from spech.front.channel import Channel
from spech.front.messages import (
    ApiAnswer,
    ApiRequest,
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
    ToWorker,
    WorkerReady,
    WorkerWelcome,
)
from spech.phone.callers import Callers
from spech.rtp.ports import PortRange
from spech.sip.call.session import Session
from spech.sip.call.states import SessionState
from spech.sip.dialog.identity import Identity
from spech.sip.endpoint import Endpoint
from spech.sip.message.headers import NameAddr
from spech.sip.transaction.flow import Flow, Outgoing, Target
from spech.sip.transport import Pump
from spech.sip.transport.carriers import Carriers
from spech.sip.transport.hosts import LocalHosts, family

FrontOrder = ApiRequest | DrainWorker | StopWorker
"""What the front asks of the program."""

#: Orders that wait.
_MOST_ORDERS: Final = 10_000


class FarRegistration:
    """The front's registration, as the user agent of a worker knows it."""

    def __init__(self, identity: Identity, doubted: Callable[[Flow], None]) -> None:
        self.identity = identity
        self.flows: list[Flow] = []
        self._doubted = doubted

    @property
    def pending(self) -> bool:
        """Never: the front waits for the answers."""
        return False

    def doubt(self, flow: Flow, now: float) -> None:
        """Tell the front that the registrar may be dead."""
        if flow in self.flows:
            self._doubted(flow)

    def flow_failed(self, flow: Flow, now: float) -> None:
        """Nothing to do: the front sees its own flows fail."""

    def remove(self, now: float) -> None:
        """Nothing to do: the front removes the registration."""


class WorkerLine:
    """The line to the front: the :class:`~spech.sip.transport.Transport` of a worker, and its
    :class:`~spech.phone.opening.SharedAddress`. Made by :func:`open_line`.

    Args:
        channel: the worker's end.
        welcome: what the front has said first.
        others: what it has said since.
        on_lost: called when the front has gone. Then nobody can be told anything any more.

    Attributes:
        welcome: the same.
        carriers: this line, and where the front listens.
        orders: what the front asks of the program.
    """

    def __init__(
        self,
        channel: Channel[ToWorker],
        welcome: WorkerWelcome,
        others: Sequence[ToWorker],
        on_lost: Callable[[], None],
    ) -> None:
        self.welcome = welcome
        self._connections = {Flow(*record) for record in welcome.connections}
        self.carriers = Carriers([self], welcome.doors)
        self._channel = channel
        self._unread = others
        self._on_lost = on_lost
        self._orders_in, self.orders = trio.open_memory_channel[FrontOrder](_MOST_ORDERS)
        self._ports = {(name, family(address[0])): address[1] for name, address in welcome.doors}
        self._hosts = {
            family(host): LocalHosts(host) for name, (host, _) in welcome.doors if name == "udp"
        }
        self._endpoint: Endpoint | None = None
        self._callers: Callers | None = None
        self._registration: FarRegistration | None = None
        self._bound: Flow | None = None
        #: What the front was told last about each call, by Call-ID and our tag.
        self._told: dict[tuple[str, str], tuple[Flow | None, bool]] = {}
        #: How many calls have begun.
        self._begun = 0

    def part_of(self, ports: PortRange) -> PortRange:
        """The worker's own part of a range of RTP ports.

        Raises:
            LocalProtocolError: there are fewer pairs than workers.
        """
        pairs = ports.pairs // self.welcome.count
        if not pairs:
            raise LocalProtocolError("there are more workers than pairs of RTP ports")
        first = ports.first_even + 2 * pairs * self.welcome.index
        return PortRange(first, first + 2 * pairs - 1)

    # ------------------------------------------------------------------ what the front is told

    def ready(self) -> None:
        """Calls can come."""
        self._channel.send(WorkerReady())

    def report(self, record: CallRecord) -> None:
        """Report a change of a call."""
        self._channel.send(CallReported(record))

    def note_barge_in(self, seconds: float) -> None:
        """Report how long an interruption took."""
        self._channel.send(BargeInMeasured(seconds))

    def answer(self, answer: ApiAnswer) -> None:
        """Answer a request to the control plane."""
        self._channel.send(answer)

    def _note(self, session: Session) -> None:
        key = session.call_id, session.local_tag
        over = session.state is SessionState.ENDED
        flow = None if session.dialog is None else session.dialog.flow
        now = flow, session.is_up
        if over:
            self._told.pop(key, None)
        elif self._told.get(key) == now:
            return
        else:
            self._begun += key not in self._told
            self._told[key] = now
        self._channel.send(SessionNews(*key, flow.record if flow else None, now[1], over))

    # ------------------------------------------------------------------ SharedAddress

    def attach(self, endpoint: Endpoint, identity: Identity | None, callers: Callers) -> None:
        """See :class:`~spech.phone.opening.SharedAddress`."""
        self._endpoint = endpoint
        self._callers = callers
        callers.told = True
        callers.learn(self.welcome.callers)
        agent = endpoint.agent
        before = agent.on_session_changed

        def note(session: Session) -> None:
            if before is not None:
                before(session)
            self._note(session)

        agent.on_session_changed = note
        if identity is not None:
            self._registration = FarRegistration(
                identity, lambda flow: self._channel.send(FlowDoubted(flow.record))
            )
            agent.share_registration(self._registration)
        if self.welcome.registration is not None:
            self._learn(self.welcome.registration)

    def _learn(self, news: RegistrationNews) -> None:
        endpoint, registration = self._endpoint, self._registration
        if endpoint is None or registration is None:
            return  # There is no account.
        registration.flows = [Flow(*record) for record in news.flows]
        registration.identity.trust(registration.flows)
        registration.identity.service_route = tuple(map(NameAddr.parse, news.service_route))
        if self._bound is not None:
            endpoint.release(self._bound)
        self._bound = Flow(*news.bound) if news.bound else None
        if self._bound is not None:
            endpoint.keep(self._bound)
            if news.seen is not None:
                endpoint.agent.learn_address(self._bound, news.seen)

    def _receive_failure(self, data: bytes, flow: Flow) -> None:
        """Do what a process of its own does when :meth:`send` fails."""
        assert self._endpoint is not None
        with self._endpoint.command() as (agent, now):
            agent.send_failed(Outgoing(data, flow, agent.layer.sender(data)), now)

    # ------------------------------------------------------------------ Transport

    def reaches(self, target: Target) -> bool:
        """The address families that the front listens on; it has all transports."""
        return family(target.address[0]) in self._hosts

    def flow_to(self, target: Target) -> Flow:
        """The front's flow to ``target``."""
        kind = family(target.address[0])
        transport = target.transport
        port = self._ports.get((transport, kind), self._ports["udp", kind])
        local = self._hosts[kind].towards(target.address[0]), port
        return Flow(transport, local, target.address, _certified(target))

    def send(self, outgoing: Outgoing) -> bool:
        """Have the front send it; what fails there is reported later."""
        self._channel.send(MessageSent(outgoing.data, outgoing.flow.record))
        return True

    @property
    def pending(self) -> bool:
        """Whether a message has not reached the front."""
        return self._channel.pending

    @property
    def open_flows(self) -> Set[Flow]:
        """Those that were open when this process started, and have not broken since."""
        return self._connections

    def moved(self, flow: Flow) -> bool:
        """See :class:`~spech.sip.transport.Transport`."""
        return self._hosts[family(flow.remote[0])].changed(flow.remote[0], flow.local[0])

    def share(self, flow: Flow, port: int | None) -> None:
        """See :class:`~spech.sip.transport.Transport`."""
        self._channel.send(FlowOffered(flow.record, port))

    def keep_alive(self, flow: Flow) -> None:
        """Nothing to do: the front keeps flows alive."""

    async def run(self, pump: Pump) -> None:
        """Carry messages until cancelled."""

        def receive(message: ToWorker) -> None:
            match message:
                case MessageArrived(data, record, invite):
                    begun = self._begun
                    pump.receive_arrivals([(data, Flow(*record))])
                    if invite:
                        self._channel.send(InviteHandled(invite, self._begun != begun))
                case FlowBroken(record, reason):
                    self._connections.discard(Flow(*record))
                    pump.broken(Flow(*record), reason)
                case DatagramRefused(data, remote):
                    pump.refused(data, remote)
                case SendingFailed(data, record):
                    self._receive_failure(data, Flow(*record))
                case RegistrationNews():
                    self._learn(message)
                case Ping():
                    self._channel.send(Pong())
                case CallersNews(addresses):
                    assert self._callers is not None
                    self._callers.learn(addresses)
                case ApiRequest() | DrainWorker() | StopWorker():
                    self._orders_in.send_nowait(message)

        for message in self._unread:
            receive(message)
        await self._channel.run(receive)
        self._on_lost()


def _certified(target: Target) -> str:
    """The name that a flow's certificate must hold, as the transports of the front write it."""
    return "" if target.transport in ("udp", "tcp") else target.host


async def open_line(channel: Channel[ToWorker], on_lost: Callable[[], None]) -> WorkerLine:
    """Wait for the front's welcome.

    Raises:
        LocalProtocolError: the front has gone.
    """
    while (messages := await channel.receive_some()) is not None:
        match messages:
            case [WorkerWelcome() as welcome, *others]:
                return WorkerLine(channel, welcome, others, on_lost)
    raise LocalProtocolError("the front has gone")
