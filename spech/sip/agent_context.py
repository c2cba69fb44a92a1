"""What a :class:`~spech.sip.agent.UserAgent` gives its sessions, registrations and subscriptions.

They know it as :class:`~spech.sip.dialog.context.Context`.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from spech.addresses import Address
from spech.sip.call.events import Answered, Confirmed
from spech.sip.call.leg import Leg
from spech.sip.dialog.capabilities import ALLOW
from spech.sip.dialog.dialog import Dialog, HostNamed
from spech.sip.dialog.event import Event
from spech.sip.dialog.identity import Identity
from spech.sip.message.ids import Identifiers
from spech.sip.message.uri import Uri
from spech.sip.timeline import Note
from spech.sip.transaction.flow import Flow, Outgoing, host_port
from spech.sip.transaction.layer import TransactionLayer
from spech.sip.transaction.timers import TimerSet

USER_AGENT: Final = "Spech"


class KeptRegistration(Protocol):
    """A binding of our address of record, as the user agent knows it."""

    identity: Identity

    @property
    def flows(self) -> Sequence[Flow]:
        """The ways to the registrar."""

    @property
    def pending(self) -> bool:
        """Whether an answer of the registrar is still expected."""

    def doubt(self, flow: Flow, now: float) -> None:
        """A request over ``flow`` got no answer."""

    def flow_failed(self, flow: Flow, now: float) -> None:
        """The connection of ``flow`` broke."""

    def remove(self, now: float) -> None:
        """Take the binding away."""


class AgentContext:
    """Identifiers, timers, queues, our addresses, and the hosts that we trust.

    Args:
        rng: randomness for identifiers and back-off; seeded in tests.
        max_memory: bytes that requests in progress may take.
    """

    def __init__(self, rng: random.Random, max_memory: int) -> None:
        self.rng = rng
        self.ids = Identifiers(rng)
        self.timers = TimerSet()
        self._outbox: list[Outgoing | Note] = []
        self.layer = TransactionLayer(self.timers, self._outbox.append, limit=max_memory)
        self.takes_messages = False
        self._events: deque[Event] = deque()
        self._registrations: list[KeptRegistration] = []
        #: Hosts that we have calls with that are up, and the number of these calls.
        self._talking: Counter[str] = Counter()
        self._talking_with: dict[Leg, str] = {}
        #: Whether the numeric address of a host is that of a peer whose calls a flood must not keep
        #: out: a trunk, a registered user. Registrars and hosts that we talk with are known anyway.
        self.is_known_peer: Callable[[str], bool] = lambda host: False
        #: Where the registrars see us, when a NAT is between.
        self._seen_at: dict[Flow, Address] = {}

    def via(self, flow: Flow) -> str:
        """A fresh Via value for a request over ``flow`` (RFC 3261 8.1.1.7, RFC 3581)."""
        transport = flow.transport.upper()
        # RFC 5923: on this connection we may be asked as well. A WebSocket goes one way (RFC 7118).
        alias = ";alias" if transport in ("TCP", "TLS") else ""
        return (
            f"SIP/2.0/{transport} {host_port(flow.local)};rport;branch={self.ids.branch()}{alias}"
        )

    def contact(self, flow: Flow, uri: Uri) -> str:
        """Our Contact value on ``flow``, for the address of record ``uri``."""
        # RFC 7118 5.2.4: a WebSocket is "ws" in a URI, encrypted or not.
        carrier = "ws" if flow.transport == "wss" else flow.transport
        # RFC 3261 8.1.1.8 and 12.1.1: a sips account has a sips Contact, which implies TLS.
        scheme = "sips" if uri.scheme == "sips" and flow.transport in ("tls", "wss") else "sip"
        implied = carrier == "udp" or (scheme == "sips" and carrier == "tls")
        parameter = "" if implied else f";transport={carrier}"
        at = f"{uri.user}@" if uri.user else ""
        address = self._seen_at.get(flow, flow.local)
        return f"<{scheme}:{at}{host_port(address)}{parameter}>"

    def learn_address(self, flow: Flow, seen: Address) -> bool:
        """Note at which address the peer of ``flow`` sees us. True when that is news."""
        known = self._seen_at.get(flow, flow.local)
        self._seen_at[flow] = seen
        return seen != known

    def locate(self, dialog: Dialog) -> None:
        """See to it that DNS says where the dialog's requests go, if it has to."""
        if dialog.unlocated:
            self.emit(HostNamed(dialog))

    def standard_headers(self) -> list[tuple[str, str]]:
        """What every message that starts something carries."""
        return [("Allow", ALLOW), ("User-Agent", USER_AGENT)]

    def emit(self, event: Event) -> None:
        """Queue an event for the program."""
        self._events.append(event)
        # The source of an incoming call may be forged until the call is confirmed.
        if (
            (isinstance(event, Answered) and event.session.outgoing) or isinstance(event, Confirmed)
        ) and event.session not in self._talking_with:
            assert event.session.dialog is not None
            host = event.session.dialog.flow.remote[0]
            self._talking_with[event.session] = host
            self._talking[host] += 1

    def send(self, outgoing: Outgoing) -> None:
        """Queue bytes to be sent."""
        self._outbox.append(outgoing)

    def note(self, call_id: str, text: str) -> None:
        """Queue a remark for the timeline."""
        self._outbox.append(Note(call_id, text))

    def is_known(self, host: str) -> bool:
        """Whether we trust ``host``, or have a call with it that is up."""
        return host in self._talking or self.is_trusted_host(host)

    def registered_at(self, host: str) -> bool:
        """Whether ``host`` is one of the servers that a registration of ours goes to."""
        return self._registration_at(host) is not None

    def is_trusted_host(self, host: str) -> bool:
        """Whether ``host`` is a registrar of ours or a peer that is configured."""
        return self._registration_at(host) is not None or self.is_known_peer(host)

    def _is_forgeable(self, flow: Flow) -> bool:
        """Whether the source may be forged, and is no peer that gets our sound at once."""
        return not flow.reliable and not self.is_trusted_host(flow.remote[0])

    def share_registration(self, registration: KeptRegistration) -> None:
        """Rely on a registration that another process keeps."""
        self._registrations.append(registration)

    def seen_at(self, flow: Flow) -> Address | None:
        """At which address the peer of ``flow`` sees us, None where that is not known."""
        return self._seen_at.get(flow)

    def _registration_at(self, host: str) -> KeptRegistration | None:
        for registration in self._registrations:
            if any(host == flow.remote[0] for flow in registration.flows):
                return registration
        return None

    def _stop_talking(self, session: Leg) -> None:
        """A call has ended; its host is no longer known because of it."""
        host = self._talking_with.pop(session, None)
        if host is not None:
            self._talking[host] -= 1
            if not self._talking[host]:
                del self._talking[host]
