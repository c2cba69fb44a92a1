"""ICE (RFC 8445): finds a path to the peer by connectivity checks, and keeps it alive.

Pure: datagrams and times go in, datagrams come out. Each component has one socket, so that a pair
is an address of the peer, checked from that socket: server-reflexive addresses of ours matter to
the peer only (section 6.1.2.4). A ``lite`` agent answers checks and sends none.

A pair is used once a check has succeeded and both sides have proved to know the passwords; the
controlling side nominates the best pair (regular nomination, section 8.1.1). From then on consent
is requested continuously (RFC 7675), which also keeps the bindings of NATs.
"""

from __future__ import annotations

import enum
import ipaddress
import random
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

from spech.addresses import Address
from spech.agreement import RTP, Candidate, IceAgreement, priority
from spech.errors import RemoteProtocolError
from spech.rtp import stun
from spech.rtp.pairs import Pair, PairInput, PairState, usable
from spech.rtp.stun import Attribute, Kind, StunMessage

PACE = 0.05
"""Seconds between two new checks: Ta (section 14.2)."""

ICE_TIMEOUT = 15.0
"""Seconds after which a component without a valid pair is given up.

RFC 8863 asks for 39.5 s, which is longer than people listen to silence. A check has been sent nine
times by then.
"""

CONSENT = 5.0
"""Seconds between two consent checks (RFC 7675 5.1)."""

CONSENT_EXPIRES = 30.0
"""Seconds without an answer after which consent expires (RFC 7675 5.1)."""

ICE_KEEPALIVE = 15.0
"""Seconds between the Binding indications of a lite agent (section 11)."""

_RETRANSMISSION = 0.5
_LONGEST_PAUSE = 2.0  # With unlimited doubling too few checks would be sent over a bad network.
_MOST_TRIES = 9
_NOMINATION = 0.3
_MOST_PAIRS = 100


class IceState(enum.Enum):
    """The progress of an agent."""

    CHECKING = "a path to the far end is being checked"
    CONNECTED = "a path to the far end is in use"
    FAILED = "the far end answered no connectivity check"
    LOST = "the far end has not answered for half a minute"


_OVER = (IceState.FAILED, IceState.LOST)


class IceDatagram(NamedTuple):
    """A datagram to be sent from the socket of a component."""

    component: int
    data: bytes
    destination: Address


@dataclass(slots=True, eq=False)
class _Check:
    """A Binding request that has not been answered.

    One for ``consent`` is sent once. One that a triggered check has ``replaced`` is not repeated
    either, but its answer still counts (section 7.3.1.4).
    """

    pair: Pair
    datagram: bytes
    controlling: bool
    nominates: bool
    consent: bool
    timeout: float
    ends: float
    tries: int = 1
    replaced: bool = False


class IceAgent:
    """Finds and keeps a path for each component of one call.

    Args:
        agreement: both sides, from offer and answer.
        components: the components in use; only RTP where RTCP shares its port.
        rng: chooses transactions and the tie-breaker, and spreads the consent checks.
        before: the agent that a restart replaces; its pairs are used until there is a new one.

    Attributes:
        state: the progress.
        controlling: whether we nominate; a conflict may change it.
        authenticated: whether a message came whose sender knows a password of this agreement.
    """

    def __init__(
        self,
        agreement: IceAgreement,
        components: Collection[int],
        now: float,
        *,
        rng: random.Random,
        before: IceAgent | None = None,
    ) -> None:
        self.state = IceState.CHECKING
        self.controlling = agreement.controlling
        self.authenticated = False
        self._before = before
        if before is not None and before.state is not IceState.CONNECTED:
            self._before = before._before
        self._local, self._remote = agreement.local, agreement.remote
        self._lite = agreement.local.lite
        self._components = tuple(components)
        self._rng = rng
        self._tie_breaker = rng.getrandbits(64).to_bytes(8, "big")
        self._password = self._local.password.encode()
        self._remote_password = self._remote.password.encode()
        self._username = f"{self._remote.fragment}:{self._local.fragment}".encode()
        self._expected = f"{self._local.fragment}:".encode()
        self._started = now
        self._next_check = now
        self._wake = now
        self._outgoing: list[IceDatagram] = []
        self._checks: dict[bytes, _Check] = {}
        self._triggered: deque[Pair] = deque()
        self._pairs: dict[tuple[int, Address], Pair] = {}
        self._selected: dict[int, Pair] = {}
        version = ipaddress.ip_address(self._local.candidates[0].address[0]).version
        for candidate in sorted(self._remote.candidates, key=lambda one: -one.priority):
            if candidate.component in self._components and usable(candidate.address, version):
                self._add(candidate)
        if not self._lite:
            self._thaw_first()

    def continues(self, agreement: IceAgreement) -> bool:
        """Whether ``agreement`` is the one of this agent, and not a restart."""
        sides = (self._local, agreement.local), (self._remote, agreement.remote)
        return all(
            (one.fragment, one.password) == (other.fragment, other.password) for one, other in sides
        )

    # Results

    def destination(self, component: int) -> Address | None:
        """Where to send: the nominated pair's address, or until then the best valid pair's."""
        if self.state in _OVER:
            return None
        pair = self._selected.get(component)
        if pair is None:
            works = [one for one in self._of(component) if one.state is PairState.SUCCEEDED]
            if not works:
                return self._before.destination(component) if self._before else None
            pair = max(works, key=self._priority)
        return pair.remote.address

    def trusts(self, component: int, source: Address) -> bool:
        """Whether ``source`` belongs to a pair whose check has succeeded."""
        pair = self._pairs.get((component, source))
        if pair is not None and pair.state is PairState.SUCCEEDED:
            return True
        return self._before is not None and self._before.trusts(component, source)

    def to_send(self) -> list[IceDatagram]:
        """Return the datagrams that have to be sent, and forget them."""
        outgoing, self._outgoing = self._outgoing, []
        return outgoing

    # Time

    def handle_timer(self, now: float) -> None:
        """Do what is due. Called at least every 20 ms."""
        if now < self._wake or self.state in _OVER:
            return
        for transaction, check in tuple(self._checks.items()):
            if now >= check.ends:
                self._repeat(transaction, check, now)
        if now >= self._next_check:
            self._check_next(now)
        if self.controlling:
            self._nominate(now)
        self._keep_alive(now)
        if self.state is IceState.CHECKING and now - self._started >= ICE_TIMEOUT:
            # A call works without RTCP.
            found = RTP in self._selected
            self._become(IceState.CONNECTED if found else IceState.FAILED)
        if self.state is IceState.CONNECTED:
            self._wake = self._next_wake()

    def _become(self, state: IceState) -> None:
        self.state = state
        self._before = None

    def _next_wake(self) -> float:
        """The next deadline, once the agent is connected."""
        times = [check.ends for check in self._checks.values()]
        times += [pair.asked for pair in self._selected.values()]
        if self._triggered or any(pair.nominating for pair in self._pairs.values()):
            times.append(self._next_check)
        return min(times)

    def _check_next(self, now: float) -> None:
        """Send one ordinary or triggered check (section 6.1.4.2)."""
        pair: Pair | None = None
        if self._triggered:
            pair = self._triggered.popleft()
        elif self.state is IceState.CHECKING and not self._lite:
            pair = self._best(PairState.WAITING) or self._best(PairState.FROZEN)
        if pair is not None:
            self._check(pair, now)
            self._next_check = now + PACE

    def _best(self, state: PairState) -> Pair | None:
        fitting = [pair for pair in self._pairs.values() if pair.state is state]
        return max(fitting, key=self._priority, default=None)

    def _check(self, pair: Pair, now: float, *, consent: bool = False) -> None:
        transaction = stun.transaction(self._rng)
        role = Attribute.ICE_CONTROLLING if self.controlling else Attribute.ICE_CONTROLLED
        rank = priority("prflx", pair.component)
        nominates = self.controlling and pair.nominating
        attributes = [
            (Attribute.USERNAME, self._username),
            (Attribute.PRIORITY, rank.to_bytes(4, "big")),
            (role, self._tie_breaker),
        ]
        if nominates:
            attributes.append((Attribute.USE_CANDIDATE, b""))
        datagram = stun.build(Kind.REQUEST, transaction, attributes, self._remote_password)
        under_way = sum(
            one.state in (PairState.WAITING, PairState.IN_PROGRESS) for one in self._pairs.values()
        )
        timeout = max(_RETRANSMISSION, PACE * under_way)  # section 14.3
        if consent:
            timeout = CONSENT_EXPIRES
        self._checks[transaction] = _Check(
            pair, datagram, self.controlling, nominates, consent, timeout, now + timeout
        )
        pair.feed(PairInput.SENT)
        self._send(pair.component, datagram, pair.remote.address)

    def _repeat(self, transaction: bytes, check: _Check, now: float) -> None:
        """Retransmit a check, or give it up (RFC 8489 6.2.1)."""
        if check.consent or check.replaced:
            del self._checks[transaction]
            return
        if check.tries >= _MOST_TRIES:
            del self._checks[transaction]
            self._fail(check.pair)
            return
        check.tries += 1
        check.timeout = max(check.timeout, min(2 * check.timeout, _LONGEST_PAUSE))
        check.ends = now + check.timeout
        self._send(check.pair.component, check.datagram, check.pair.remote.address)

    def _nominate(self, now: float) -> None:
        """Nominate a pair for each component, once no better one is likely to follow soon."""
        for component in self._components:
            pairs = self._of(component)
            if component in self._selected or any(pair.nominating for pair in pairs):
                continue
            works = [pair for pair in pairs if pair.state is PairState.SUCCEEDED]
            if not works:
                continue
            best = max(works, key=self._priority)
            better = any(
                pair.state not in (PairState.SUCCEEDED, PairState.FAILED)
                and self._priority(pair) > self._priority(best)
                for pair in pairs
            )
            if not better or now - min(pair.worked_at for pair in works) >= _NOMINATION:
                best.nominating = True
                self._triggered.append(best)

    def _keep_alive(self, now: float) -> None:
        for pair in tuple(self._selected.values()):
            if now < pair.asked:
                continue
            if self._lite:
                indication = stun.build(Kind.INDICATION, stun.transaction(self._rng))
                self._send(pair.component, indication, pair.remote.address)
                pair.asked = now + self._interval()
            elif now - pair.consented < CONSENT_EXPIRES:
                self._check(pair, now, consent=True)
                pair.asked = now + self._interval()
            elif pair.component == RTP:
                self._become(IceState.LOST)
            else:
                pair.feed(PairInput.REFUSED)
                del self._selected[pair.component]

    def _interval(self) -> float:
        return ICE_KEEPALIVE if self._lite else CONSENT * self._rng.uniform(0.8, 1.2)

    # Receiving

    def receive_stun(self, data: bytes, component: int, source: Address, now: float) -> None:
        """Take a STUN message that arrived at the socket of a component.

        Raises:
            RemoteProtocolError: it is malformed or not authentic. Such messages are not answered,
                so that we cannot be used to flood a third party.
        """
        message = stun.parse(data)
        self._wake = now
        if message.kind is Kind.REQUEST:
            self._receive_request(message, component, source, now)
        elif message.kind is not Kind.INDICATION:  # Indications only keep the binding of a NAT.
            self._receive_response(message, component, source, now)

    def _receive_request(
        self, message: StunMessage, component: int, source: Address, now: float
    ) -> None:
        """Answer a check, and trigger one of our own (section 7.3)."""
        username = message.get(Attribute.USERNAME) or b""
        rank = message.get(Attribute.PRIORITY) or b""
        if (
            component not in self._components
            or not message.fingerprinted
            or not username.startswith(self._expected)
            or not message.is_authentic(self._password)
            or len(rank) != 4
        ):
            raise RemoteProtocolError("a STUN request without the right credentials")
        self.authenticated = True
        if message.unknown:
            listed = b"".join(kind.to_bytes(2, "big") for kind in message.unknown)
            unknown = (Attribute.UNKNOWN_ATTRIBUTES, listed)
            refusal = [stun.error(420, "Unknown Attribute"), unknown]
            self._answer(Kind.ERROR, message, refusal, component, source)
            return
        if self._in_conflict(message):
            refusal = [stun.error(487, "Role Conflict")]
            self._answer(Kind.ERROR, message, refusal, component, source)
            return
        seen = stun.mapped(source, message.transaction)
        self._answer(Kind.SUCCESS, message, [seen], component, source)
        pair = self._pairs.get((component, source))
        if pair is None:
            if len(self._pairs) >= _MOST_PAIRS:
                return
            number = int.from_bytes(rank, "big")
            found = f"prflx{len(self._pairs)}"
            pair = self._add(Candidate(found, component, number, source, "prflx"))
        nominated = not self.controlling and message.get(Attribute.USE_CANDIDATE) is not None
        pair.nominating |= nominated
        if self._lite:
            # The request is authenticated, which is enough for a lite agent.
            pair.feed(PairInput.TRIGGERED)
            pair.feed(PairInput.ANSWERED)
        elif pair.state is not PairState.SUCCEEDED:
            self._trigger(pair)
        if pair.nominating and pair.state is PairState.SUCCEEDED and not self.controlling:
            self._select(pair, now)

    def _in_conflict(self, message: StunMessage) -> bool:
        """Whether both claim one role and the peer has to switch; otherwise we do (7.3.1.1)."""
        both = Attribute.ICE_CONTROLLING if self.controlling else Attribute.ICE_CONTROLLED
        theirs = message.get(both)
        if theirs is None:
            return False
        if self._lite:
            return True  # A lite agent is never controlling.
        if (self._tie_breaker >= theirs) is self.controlling:
            return True
        self._switch_role()
        return False

    def _receive_response(
        self, message: StunMessage, component: int, source: Address, now: float
    ) -> None:
        check = self._checks.get(message.transaction)
        if check is None:
            return  # Late or duplicate.
        if not message.is_authentic(self._remote_password):
            raise RemoteProtocolError("a STUN response without the right credentials")
        self.authenticated = True
        del self._checks[message.transaction]
        pair = check.pair
        conflict = message.error is not None and message.error[0] == 487
        if conflict and check.controlling is self.controlling:
            self._switch_role()
        if check.consent:
            if message.kind is Kind.SUCCESS and source == pair.remote.address:
                pair.consented = now
        elif (component, source) != (pair.component, pair.remote.address):
            self._fail(pair)  # The path is not symmetric (section 7.2.5.2.1).
        elif message.kind is Kind.SUCCESS and message.mapped_address is not None:
            self._succeeded(check, now)
        elif conflict:
            self._trigger(pair)
        else:
            self._fail(pair)

    def _succeeded(self, check: _Check, now: float) -> None:
        pair = check.pair
        if pair.state is not PairState.SUCCEEDED:
            pair.worked_at = now
        pair.feed(PairInput.ANSWERED)
        for other in self._pairs.values():  # section 7.2.5.3.3
            if other.remote.foundation == pair.remote.foundation:
                other.feed(PairInput.THAW)
        if check.nominates if self.controlling else pair.nominating:
            self._select(pair, now)

    # Pairs

    def _of(self, component: int) -> list[Pair]:
        return [pair for pair in self._pairs.values() if pair.component == component]

    def _add(self, candidate: Candidate) -> Pair:
        key = (candidate.component, candidate.address)
        pair = self._pairs.get(key)
        if pair is None:
            pair = Pair(candidate)
            if len(self._pairs) < _MOST_PAIRS:
                self._pairs[key] = pair
        return pair

    def _thaw_first(self) -> None:
        """Unfreeze one pair of the lowest component of each foundation (6.1.2.6)."""
        first: dict[str, Pair] = {}
        for pair in self._pairs.values():
            known = first.get(pair.remote.foundation)
            if known is None or pair.component < known.component:
                first[pair.remote.foundation] = pair
        for pair in first.values():
            pair.feed(PairInput.THAW)

    def _priority(self, pair: Pair) -> int:
        return pair.priority(self.controlling)

    def _trigger(self, pair: Pair) -> None:
        """Check a pair next, and replace a check in progress (section 7.3.1.4)."""
        for check in self._checks.values():
            check.replaced |= check.pair is pair
        pair.feed(PairInput.TRIGGERED)
        if pair not in self._triggered:
            self._triggered.append(pair)

    def _fail(self, pair: Pair) -> None:
        pair.feed(PairInput.REFUSED)
        if pair.state is PairState.FAILED:
            pair.nominating = False

    def _switch_role(self) -> None:
        self.controlling = not self.controlling
        for pair in self._pairs.values():
            pair.nominating = False

    def _select(self, pair: Pair, now: float) -> None:
        """Use a nominated pair, unless a better one is nominated already (section 8.1.1)."""
        pair.nominating = False
        before = self._selected.get(pair.component)
        if before is pair:
            return
        if before is not None and self._priority(before) > self._priority(pair):
            return
        pair.consented = now
        pair.asked = now + self._interval()
        self._selected[pair.component] = pair
        # Pairs of lower priority are dropped (section 8.1.2).
        least = self._priority(pair)
        self._pairs = {
            key: one
            for key, one in self._pairs.items()
            if one.component != pair.component
            or one.state is PairState.SUCCEEDED
            or self._priority(one) >= least
        }
        kept = set(self._pairs.values())
        self._checks = {key: one for key, one in self._checks.items() if one.pair in kept}
        self._triggered = deque(one for one in self._triggered if one in kept)
        if self.state is IceState.CHECKING and len(self._selected) == len(self._components):
            self._become(IceState.CONNECTED)

    # Datagrams

    def _answer(
        self,
        kind: Kind,
        request: StunMessage,
        attributes: list[tuple[int, bytes]],
        component: int,
        source: Address,
    ) -> None:
        datagram = stun.build(kind, request.transaction, attributes, self._password)
        self._send(component, datagram, source)

    def _send(self, component: int, datagram: bytes, destination: Address) -> None:
        self._outgoing.append(IceDatagram(component, datagram, destination))
