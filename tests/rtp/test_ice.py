"""Two ICE agents on a network with NATs, losses and virtual time."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest

from spech.addresses import Address
from spech.agreement import RTCP, RTP, Candidate, IceAgreement, IceSide, local_candidates, priority
from spech.errors import RemoteProtocolError
from spech.rtp import stun
from spech.rtp.ice import CONSENT_EXPIRES, ICE_KEEPALIVE, ICE_TIMEOUT, IceAgent, IceState
from spech.rtp.pairs import PAIRS, PairInput, PairState
from spech.rtp.stun import Attribute, Kind

TICK = 0.02
STUN_SERVER = ("192.0.2.53", 3478)


class Nat:
    """A router that translates: one binding for all destinations, or one for each.

    Args:
        outside: its public host.
        symmetric: a new port for each destination.
        filtering: "none", "host" or "port": which packets are let in.
    """

    def __init__(self, outside: str, *, symmetric: bool = False, filtering: str = "port") -> None:
        self.outside = outside
        self._symmetric = symmetric
        self._filtering = filtering
        self._ports = itertools.count(61000)
        self._bindings: dict[tuple[Address, Address | None], int] = {}
        self._allowed: set[tuple[int, str, int]] = set()

    def leave(self, source: Address, destination: Address) -> Address:
        """The source as seen from outside."""
        key = (source, destination if self._symmetric else None)
        port = self._bindings.setdefault(key, next(self._ports))
        self._allowed.add((port, *destination))
        return self.outside, port

    def enter(self, port: int, source: Address) -> Address | None:
        """The inside receiver, or None."""
        for allowed_port, host, allowed in self._allowed:
            if allowed_port == port and (
                self._filtering == "none"
                or (host == source[0] and self._filtering == "host")
                or (host, allowed) == source
            ):
                return next(key[0] for key, bound in self._bindings.items() if bound == port)
        return None

    def forget(self) -> None:
        """Lose every binding, as a router that restarts."""
        self._bindings.clear()
        self._allowed.clear()


class Network:
    """Carries datagrams between hosts; those of one ``realm`` reach each other directly."""

    def __init__(self, seed: int = 0, *, loss: float = 0.0) -> None:
        self.now = 100.0
        self.rng = random.Random(seed)
        self.loss = loss
        #: The sent datagrams: time, source, destination, data.
        self.log: list[tuple[float, Address, Address, bytes]] = []
        self.hosts: list[Host] = []
        self._flying: list[tuple[float, int, Host, bytes, Address, Address]] = []
        self._serial = itertools.count()

    def send(self, host: Host, source: Address, destination: Address, data: bytes) -> None:
        self.log.append((self.now, source, destination, data))
        if self.rng.random() < self.loss:
            return
        nat = host.nat
        target = self._at(destination, nat)
        if target is None and nat is not None:
            source = nat.leave(source, destination)
            target = self._at(destination, None)
        if target is None:
            for router in {one.nat for one in self.hosts if one.nat is not None}:
                inside = router.enter(destination[1], source)
                if router.outside == destination[0] and inside is not None:
                    target, destination = self._at(inside, router), inside
        if target is not None:
            arrival = self.now + self.rng.uniform(0.005, 0.06)
            item = (arrival, next(self._serial), target, data, source, destination)
            heapq.heappush(self._flying, item)

    def _at(self, address: Address, nat: Nat | None) -> Host | None:
        fitting = (one for one in self.hosts if one.nat is nat and address in one.bases)
        return next(fitting, None)

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Let time pass in ticks of 20 ms."""
        end = self.now + seconds
        while self.now < end and not until():
            self.now += TICK
            while self._flying and self._flying[0][0] <= self.now:
                _, _, host, data, source, destination = heapq.heappop(self._flying)
                host.receive(data, destination, source)
            for host in self.hosts:
                host.tick()
        return until()

    def reflexive(self, host: Host) -> list[Address | None]:
        """The addresses of the host's sockets as a STUN server would report them."""
        if host.nat is None:
            return list(host.bases)
        return [host.nat.leave(base, STUN_SERVER) for base in host.bases]


class Host:
    """An agent with its sockets, behind a NAT or not."""

    def __init__(
        self, network: Network, name: str, nat: Nat | None = None, *, mux: bool = False
    ) -> None:
        self.network = network
        self.nat = nat
        self.bases = [(name, 5000)] if mux else [(name, 5000), (name, 5001)]
        self.agent: IceAgent | None = None
        network.hosts.append(self)

    def side(self, *, reflexive: bool = True, lite: bool = False) -> IceSide:
        seen = self.network.reflexive(self) if reflexive else [None for _ in self.bases]
        name = self.bases[0][0].replace(".", "")
        return IceSide(name, name * 4, local_candidates(self.bases, seen), lite)

    @property
    def ice(self) -> IceAgent:
        assert self.agent is not None
        return self.agent

    def start(self, agreement: IceAgreement) -> None:
        components = [RTP, RTCP][: len(self.bases)]
        rng = random.Random(self.network.rng.getrandbits(64))
        self.agent = IceAgent(agreement, components, self.network.now, rng=rng)

    def receive(self, data: bytes, destination: Address, source: Address) -> None:
        if self.agent is not None:
            component = self.bases.index(destination) + 1
            with suppress(RemoteProtocolError):
                self.agent.receive_stun(data, component, source, self.network.now)

    def tick(self) -> None:
        if self.agent is not None:
            self.agent.handle_timer(self.network.now)
            for component, data, destination in self.agent.to_send():
                self.network.send(self, self.bases[component - 1], destination, data)


def connect(
    left: Host,
    right: Host,
    *,
    late: float = 0.0,
    sides: tuple[IceSide, IceSide] | None = None,
    controlling: tuple[bool, bool] = (True, False),
) -> bool:
    """Left offers; right answers, and its answer takes ``late`` seconds. True if both connect."""
    ours, theirs = sides or (left.side(), right.side())
    right.start(IceAgreement(theirs, ours, controlling[1]))
    left.network.run(late)
    left.start(IceAgreement(ours, theirs, controlling[0]))
    return left.network.run(20, lambda: connected(left, right))


def connected(*hosts: Host) -> bool:
    return all(host.ice.state is IceState.CONNECTED for host in hosts)


def arrives(network: Network, sender: Host, receiver: Host, component: int = RTP) -> bool:
    """Whether sound reaches the other side and is accepted there."""
    destination = sender.ice.destination(component)
    assert destination is not None
    heard: list[bool] = []
    receive = receiver.receive

    def listen(data: bytes, at: Address, source: Address) -> None:
        if data == b"sound":
            heard.append(receiver.ice.trusts(receiver.bases.index(at) + 1, source))
        else:
            receive(data, at, source)

    receiver.receive = listen  # type: ignore[method-assign]
    network.loss, before = 0.0, network.loss
    network.send(sender, sender.bases[component - 1], destination, b"sound")
    network.run(0.2)
    network.loss = before
    receiver.receive = receive  # type: ignore[method-assign]
    return heard == [True]


def sent_by(host: Host) -> list[Kind]:
    """The STUN messages of a host."""
    return [
        stun.parse(data).kind
        for _, source, _, data in host.network.log
        if source in host.bases and stun.is_stun(data)
    ]


def make(
    seed: int,
    left: Nat | None = None,
    right: Nat | None = None,
    *,
    loss: float = 0.0,
    mux: bool = False,
) -> tuple[Network, Host, Host]:
    network = Network(seed, loss=loss)
    public = "198.51.100.1" if left is None else "10.0.0.1"
    other = "198.51.100.2" if right is None else "192.168.1.1"
    return network, Host(network, public, left, mux=mux), Host(network, other, right, mux=mux)


def cone(filtering: str = "port") -> Nat:
    return Nat("203.0.113.1", filtering=filtering)


def symmetric() -> Nat:
    return Nat("203.0.113.9", symmetric=True)


NETWORKS: dict[str, Callable[[], tuple[Nat | None, Nat | None]]] = {
    "nobody": lambda: (None, None),
    "the caller": lambda: (cone(), None),
    "the callee": lambda: (None, cone()),
    "the caller, symmetric": lambda: (symmetric(), None),
    "the callee, symmetric": lambda: (None, symmetric()),
    "both": lambda: (cone(), Nat("203.0.113.2")),
    "both, one symmetric before a filter by host": lambda: (
        symmetric(),
        Nat("203.0.113.2", filtering="host"),
    ),
    "both, open cones": lambda: (cone("none"), Nat("203.0.113.2", filtering="none")),
}


@pytest.mark.parametrize("mux", [False, True], ids=["two ports", "mux"])
@pytest.mark.parametrize("behind", list(NETWORKS))
def test_a_path_is_found_behind_nats(behind: str, mux: bool) -> None:
    left, right = NETWORKS[behind]()
    network, caller, callee = make(1, left, right, mux=mux)
    assert connect(caller, callee, late=0.2)
    assert network.now < 105
    for component in range(1, len(caller.bases) + 1):
        assert arrives(network, caller, callee, component)
        assert arrives(network, callee, caller, component)


@pytest.mark.parametrize("behind", list(NETWORKS))
@pytest.mark.parametrize("seed", range(12))
def test_a_path_is_found_despite_losses(behind: str, seed: int) -> None:
    left, right = NETWORKS[behind]()
    network, caller, callee = make(seed, left, right, loss=0.2)
    late = network.rng.uniform(0.0, 1.0)
    assert connect(caller, callee, late=late)
    assert arrives(network, caller, callee)
    assert arrives(network, callee, caller)
    assert caller.ice.controlling
    assert not callee.ice.controlling


def test_ice_fails_between_two_symmetric_nats() -> None:
    network, caller, callee = make(1, symmetric(), Nat("203.0.113.2", symmetric=True))
    assert not connect(caller, callee)
    assert caller.ice.state is callee.ice.state is IceState.FAILED
    assert caller.ice.destination(RTP) is None
    assert network.now - 100.0 >= ICE_TIMEOUT


def test_the_direct_path_is_used_behind_one_nat() -> None:
    network = Network(1)
    nat = cone()
    caller, callee = Host(network, "10.0.0.1", nat), Host(network, "10.0.0.2", nat)
    assert connect(caller, callee)
    assert caller.ice.destination(RTP) == ("10.0.0.2", 5000)
    assert callee.ice.destination(RTCP) == ("10.0.0.1", 5001)


def test_a_peer_may_be_found_by_its_checks_only() -> None:
    network, caller, callee = make(1, symmetric(), None)
    ours = replace(caller.side(reflexive=False), candidates=caller.side().candidates[:2])
    assert connect(caller, callee, sides=(ours, callee.side()))
    destination = callee.ice.destination(RTP)
    assert destination is not None
    assert destination[0] == "203.0.113.9"
    assert arrives(network, callee, caller)


@pytest.mark.parametrize("roles", [(True, True), (False, False)])
@pytest.mark.parametrize("seed", range(8))
def test_a_role_conflict_is_resolved(roles: tuple[bool, bool], seed: int) -> None:
    network, caller, callee = make(seed, cone(), None, loss=0.1)
    assert connect(caller, callee, controlling=roles)
    assert caller.ice.controlling is not callee.ice.controlling
    assert arrives(network, caller, callee)


@pytest.mark.parametrize("late", [0.0, 0.7])
@pytest.mark.parametrize("lossy", [0.0, 0.2])
def test_a_lite_side_answers_checks_and_sends_none(late: float, lossy: float) -> None:
    network, caller, callee = make(3, cone(), None, loss=lossy)
    sides = (caller.side(), callee.side(reflexive=False, lite=True))
    assert connect(caller, callee, late=late, sides=sides)
    assert arrives(network, caller, callee)
    assert arrives(network, callee, caller)
    assert set(sent_by(callee)) == {Kind.SUCCESS}
    network.log.clear()
    network.run(ICE_KEEPALIVE * 2.5)
    assert sent_by(callee).count(Kind.INDICATION) == 4  # Two for each component.
    assert connected(caller, callee)


def test_checks_are_paced() -> None:
    network, caller, callee = make(1)
    many = tuple(
        Candidate(
            f"f{number}", RTP, priority("host", RTP) - number, ("198.51.100.9", number), "host"
        )
        for number in range(1, 200)
    )
    theirs = callee.side()
    caller.start(IceAgreement(caller.side(), replace(theirs, candidates=many), True))
    network.run(10)
    sent = [(at, destination) for at, _, destination, _ in network.log]
    first = {destination: at for at, destination in reversed(sent)}
    assert len(first) == 100  # RFC 8445 6.1.2.5
    times = sorted(first.values())
    assert min(later - earlier for earlier, later in itertools.pairwise(times)) >= 0.05 - 1e-6
    # Retransmissions are not faster either.
    assert len(sent) < 10 / 0.05 * 1.5


def test_loss_of_consent_stops_sending() -> None:
    network, caller, callee = make(1, cone(), None)
    assert connect(caller, callee)
    network.run(300)
    assert connected(caller, callee)
    network.log.clear()
    network.run(60)
    assert 20 <= sent_by(caller).count(Kind.REQUEST) <= 32  # Twelve for each component, or so.
    network.hosts.remove(callee)
    since = network.now
    assert network.run(60, lambda: caller.ice.state is IceState.LOST)
    assert CONSENT_EXPIRES - 6 < network.now - since < CONSENT_EXPIRES + 8
    assert caller.ice.destination(RTP) is None


def test_a_role_conflict_during_a_call_is_resolved() -> None:
    network, caller, callee = make(1, cone(), None)
    assert connect(caller, callee)
    callee.ice.controlling = True  # As after an offer without an ICE restart.
    network.run(CONSENT_EXPIRES * 2)
    assert connected(caller, callee)
    assert caller.ice.controlling is not callee.ice.controlling
    assert arrives(network, caller, callee)


def test_a_call_survives_without_a_path_for_rtcp() -> None:
    network, caller, callee = make(1)
    theirs = callee.side()
    blocked = tuple(
        replace(one, address=("198.51.100.77", one.address[1])) if one.component == RTCP else one
        for one in theirs.candidates
    )
    callee.bases = callee.bases[:1]
    ours, offered = caller.side(), replace(theirs, candidates=blocked)
    callee.start(IceAgreement(theirs, ours, False))
    caller.start(IceAgreement(ours, offered, True))
    assert network.run(ICE_TIMEOUT + 2, lambda: caller.ice.state is IceState.CONNECTED)
    assert caller.ice.destination(RTP) == callee.bases[0]
    assert caller.ice.destination(RTCP) is None


def test_sound_from_unchecked_addresses_is_not_accepted() -> None:
    _, caller, callee = make(1)
    assert connect(caller, callee)
    assert caller.ice.trusts(RTP, callee.bases[0])
    assert not caller.ice.trusts(RTP, callee.bases[1])
    assert not caller.ice.trusts(RTCP, callee.bases[0])
    assert not caller.ice.trusts(RTP, ("198.51.100.66", 5000))


STRANGER = ("198.51.100.66", 6666)
RANK = (Attribute.PRIORITY, priority("prflx", RTP).to_bytes(4, "big"))


def request(username: bytes, password: bytes | None, *more: tuple[int, bytes]) -> bytes:
    attributes = [(Attribute.USERNAME, username), RANK, *more]
    return stun.build(Kind.REQUEST, bytes(12), attributes, password)


def lonely(*, lite: bool = False) -> tuple[IceAgent, Host]:
    _, caller, callee = make(1)
    caller.start(IceAgreement(caller.side(lite=lite), callee.side(), not lite))
    caller.ice.to_send()
    return caller.ice, caller


@pytest.mark.parametrize("lite", [False, True])
def test_checks_without_the_password_are_ignored(lite: bool) -> None:
    agent, host = lonely(lite=lite)
    side = host.side()
    name, password = f"{side.fragment}:x".encode(), side.password.encode()
    rejected = [
        request(name, None),
        request(name, b"guessed"),
        request(b"", password),
        request(b"other:x", password),
        request(name[:-3], password),
        request(name, password)[:-8],
        stun.build(Kind.REQUEST, bytes(12), [(Attribute.USERNAME, name)], password),
        b"\x00\x01",
        b"",
    ]
    for data in rejected:
        with pytest.raises(RemoteProtocolError):
            agent.receive_stun(data, RTP, STRANGER, 100.1)
    agent.receive_stun(stun.build(Kind.INDICATION, bytes(12)), RTP, STRANGER, 100.1)
    agent.receive_stun(stun.build(Kind.SUCCESS, bytes(12), [], password), RTP, STRANGER, 100.1)
    assert agent.to_send() == []
    assert not agent.trusts(RTP, STRANGER)
    agent.receive_stun(request(name, password), RTP, STRANGER, 100.1)
    (answer,) = agent.to_send()
    message = stun.parse(answer.data)
    assert (message.kind, message.mapped_address) == (Kind.SUCCESS, STRANGER)
    assert len(answer.data) <= len(request(name, password))


def test_a_check_with_an_unknown_required_attribute_gets_420() -> None:
    agent, host = lonely()
    side = host.side()
    data = request(f"{side.fragment}:x".encode(), side.password.encode(), (0x7F01, b""))
    agent.receive_stun(data, RTP, STRANGER, 100.1)
    message = stun.parse(agent.to_send()[0].data)
    assert message.error == (420, "Unknown Attribute")
    assert message.get(Attribute.UNKNOWN_ATTRIBUTES) == b"\x7f\x01"


def test_hostile_bytes_do_not_change_the_agents() -> None:
    network, caller, callee = make(5, cone(), None)
    assert connect(caller, callee)
    genuine = [data for _, _, _, data in network.log]
    rng = random.Random(5)
    for _ in range(5000):
        damaged = bytearray(rng.choice(genuine))
        for _ in range(rng.randrange(1, 5)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        cut = damaged[: rng.randrange(1, len(damaged) + 1)]
        with suppress(RemoteProtocolError):
            caller.ice.receive_stun(bytes(cut), RTP, STRANGER, network.now)
    for _, _, destination in caller.ice.to_send():
        assert destination == STRANGER  # Never to an address named in the message.
    assert connected(caller, callee)
    assert not caller.ice.trusts(RTP, STRANGER)
    assert arrives(network, caller, callee)


def test_a_check_replayed_from_elsewhere_is_not_trusted() -> None:
    network, caller, callee = make(1)
    assert connect(caller, callee)
    checks = [
        data
        for _, source, _, data in network.log
        if source == callee.bases[0] and stun.parse(data).kind is Kind.REQUEST
    ]
    for data in checks:
        caller.ice.receive_stun(data, RTP, STRANGER, network.now)
    network.run(20)
    assert not caller.ice.trusts(RTP, STRANGER)
    assert caller.ice.destination(RTP) == callee.bases[0]


def test_a_restart_keeps_the_old_pair_until_a_new_one_is_selected() -> None:
    network, caller, callee = make(1, cone(), None)
    ours, theirs = caller.side(), callee.side()
    assert connect(caller, callee, sides=(ours, theirs))
    assert caller.ice.continues(IceAgreement(ours, theirs, False))
    before = caller.ice.destination(RTP)
    network.run(3)
    assert caller.nat is not None
    caller.nat.forget()  # Our NAT has restarted: another binding from now on.
    again = replace(caller.side(), fragment="new", password="new" * 8)
    answered = replace(callee.side(), fragment="other", password="other" * 8)
    agreement = IceAgreement(again, answered, True)
    assert not caller.ice.continues(agreement)
    turned = IceAgreement(answered, again, False)
    for host, one in ((callee, turned), (caller, agreement)):
        old = host.ice
        host.agent = IceAgent(one, (RTP, RTCP), network.now, rng=network.rng, before=old)
    assert caller.ice.destination(RTP) == before
    assert caller.ice.trusts(RTP, callee.bases[0])
    assert network.run(5, lambda: connected(caller, callee))
    assert arrives(network, caller, callee)
    assert arrives(network, callee, caller)


def test_every_state_of_the_pair_table_is_reachable() -> None:
    reached = {PairState.FROZEN}
    for _ in PairState:
        reached |= {PAIRS[state][what] for state in reached for what in PAIRS[state]}
    assert reached == set(PairState)
    assert set(PAIRS) == set(PairState)
    assert {what for row in PAIRS.values() for what in row} == set(PairInput)


@pytest.mark.parametrize("candidates", ["none", "unusable"])
@pytest.mark.parametrize("hidden", [True, False], ids=["they-offer", "they-answer"])
@pytest.mark.parametrize("nat", [None, "port"])
def test_a_peer_whose_candidates_cannot_be_used_is_found_by_its_checks(
    candidates: str, hidden: bool, nat: str | None
) -> None:
    """As browsers without microphone permission (``.local`` names only), and those that trickle."""
    network, left, right = make(7, cone(nat) if nat else None, mux=True)
    ours, theirs = left.side(), right.side()
    unusable = (Candidate("1", RTP, 5, ("0.0.0.0", 9), "host"),) if candidates == "unusable" else ()
    shown = replace(ours, candidates=unusable)
    right.start(IceAgreement(theirs, shown, not hidden))
    network.run(0.5)
    left.start(IceAgreement(ours, theirs, hidden))
    assert network.run(5, lambda: connected(left, right))
    assert arrives(network, left, right)
    assert arrives(network, right, left)


def test_ice_fails_if_a_peer_sends_neither_candidates_nor_checks() -> None:
    network, left, right = make(8)
    right.start(IceAgreement(right.side(), replace(left.side(), candidates=()), False))
    network.run(ICE_TIMEOUT + 1)
    assert right.ice.state is IceState.FAILED
