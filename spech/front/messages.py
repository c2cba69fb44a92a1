"""What the front and its workers tell each other."""

from __future__ import annotations

import msgspec

from spech.addresses import Address
from spech.bridge.records import CallRecord
from spech.sip.transaction.flow import FlowRecord

ApiHeaders = list[tuple[str, str]]
"""Names and values of the header fields of HTTP."""


class _ChannelMessage(msgspec.Struct, frozen=True, array_like=True, tag=True):
    pass


# ------------------------------ from the front


class RegistrationNews(_ChannelMessage, frozen=True):
    """How the front is registered.

    Attributes:
        flows: the ways to the registrar.
        bound: the one by which it reaches us, None while not registered.
        seen: the address at which it sees us there, None if that is ours.
        service_route: the route of requests outside dialogs (RFC 3608).
    """

    flows: list[FlowRecord]
    bound: FlowRecord | None
    seen: Address | None
    service_route: list[str]


class WorkerWelcome(_ChannelMessage, frozen=True):
    """The first message to a worker.

    Attributes:
        index: its number, from 0.
        count: how many workers there are.
        doors: where the front listens; see :class:`~spech.sip.transport.carriers.Carriers`.
        registration: how the front is registered, None where that is not known.
        connections: those that are open; the worker before it may have used them.
        callers: the addresses of the allowed callers that have names.
    """

    index: int
    count: int
    doors: list[tuple[str, Address]]
    registration: RegistrationNews | None
    connections: list[FlowRecord]
    callers: list[str]


class CallersNews(_ChannelMessage, frozen=True):
    """The addresses of the allowed callers that have names, as the front has found them."""

    addresses: list[str]


class MessageArrived(_ChannelMessage, frozen=True):
    """A SIP message has come.

    Attributes:
        data, flow: the message, and by which way.
        invite: names a new INVITE in :class:`InviteHandled`; empty for anything else.
    """

    data: bytes
    flow: FlowRecord
    invite: bytes = b""


class FlowBroken(_ChannelMessage, frozen=True):
    """A connection ended or could not be made."""

    flow: FlowRecord
    reason: str


class DatagramRefused(_ChannelMessage, frozen=True):
    """There is no open port at ``remote``."""

    data: bytes
    remote: Address


class SendingFailed(_ChannelMessage, frozen=True):
    """A message of the worker's could not be sent."""

    data: bytes
    flow: FlowRecord


class ApiRequest(_ChannelMessage, frozen=True):
    """A request of HTTP to the control plane."""

    number: int
    method: str
    path: str
    query: bytes
    headers: ApiHeaders
    body: bytes


class DrainWorker(_ChannelMessage, frozen=True):
    """Accept no more calls."""


class StopWorker(_ChannelMessage, frozen=True):
    """End all calls, and then the process."""


class Ping(_ChannelMessage, frozen=True):
    """Say that the process runs."""


ToWorker = (
    WorkerWelcome
    | RegistrationNews
    | CallersNews
    | MessageArrived
    | FlowBroken
    | DatagramRefused
    | SendingFailed
    | ApiRequest
    | DrainWorker
    | StopWorker
    | Ping
)

# ------------------------------ from a worker


class WorkerReady(_ChannelMessage, frozen=True):
    """Calls can come."""


class Pong(_ChannelMessage, frozen=True):
    """The answer to a :class:`Ping`."""


class InviteHandled(_ChannelMessage, frozen=True):
    """An INVITE has been read, and whether a call has begun with it."""

    invite: bytes
    begun: bool


class MessageSent(_ChannelMessage, frozen=True):
    """A SIP message to send."""

    data: bytes
    flow: FlowRecord


class FlowOffered(_ChannelMessage, frozen=True):
    """See :meth:`spech.sip.transport.Transport.share`."""

    flow: FlowRecord
    port: int | None


class FlowDoubted(_ChannelMessage, frozen=True):
    """A request to the registrar's address got no answer."""

    flow: FlowRecord


class SessionNews(_ChannelMessage, frozen=True):
    """The state of a call: the flow of its dialog, whether it is up, and whether it is over."""

    call_id: str
    tag: str
    flow: FlowRecord | None
    up: bool
    over: bool


class CallReported(_ChannelMessage, frozen=True):
    """The record of a call at a change of its state."""

    record: CallRecord


class BargeInMeasured(_ChannelMessage, frozen=True):
    """How long a caller who interrupted a bot has waited for silence."""

    seconds: float


class ApiAnswer(_ChannelMessage, frozen=True):
    """The answer to an :class:`ApiRequest`."""

    number: int
    status: int
    headers: ApiHeaders
    body: bytes


ToFront = (
    WorkerReady
    | Pong
    | InviteHandled
    | MessageSent
    | FlowOffered
    | FlowDoubted
    | SessionNews
    | CallReported
    | BargeInMeasured
    | ApiAnswer
)
