"""Random calls between two or three user agents on a bad network.

One seed determines a run: the network's faults, what people do, and when. In the end both ends must
agree, and nothing may be left. ``SPECH_SIMULATIONS`` is the number of runs, ``SPECH_SIMULATION``
a single seed to replay.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable

import pytest

from spech.errors import LocalProtocolError
from spech.sip import events
from spech.sip.call.leg import Leg
from spech.sip.call.replaces import Replaces
from spech.sip.call.session import Session
from spech.sip.call.states import SessionState
from spech.sip.dialog.identity import Identity
from spech.sip.message.headers import NameAddr
from spech.sip.message.uri import Uri
from spech.sip.registration import Registration, RegistrationState
from spech.sip.transaction.flow import Flow
from spech.sip.transaction.timers import TRANSACTION_TIMEOUT
from spech.testing.wire import FakeWire, Peer

from .conftest import media
from .registrar import Registrar

RUNS = int(os.environ.get("SPECH_SIMULATIONS", "1000"))
CHOSEN = os.environ.get("SPECH_SIMULATION")
#: Runs in one test, so that processors share the work.
BATCH = 50
#: Seconds in which people act, and in which the stack then recovers: a session timer.
BUSY, SETTLING, LEAVING = 40.0, 2000.0, 200.0
#: The most copies of a message: timers G and E, doubled by a duplicating network.
MOST_COPIES = 40

MIRROR = {
    "sendrecv": "sendrecv",
    "sendonly": "recvonly",
    "recvonly": "sendonly",
    "inactive": "inactive",
}


@pytest.mark.parametrize("first", range(0, RUNS, BATCH) if CHOSEN is None else [int(CHOSEN)])
def test_both_ends_agree_and_nothing_leaks(first: int) -> None:
    last = min(first + BATCH, RUNS) if CHOSEN is None else first + 1
    for seed in range(first, last):
        simulation = Simulation(seed)
        try:
            simulation.run()
        except Exception as error:
            error.add_note(f"Replay with SPECH_SIMULATION={seed}:\n{simulation.story()}")
            raise


class Simulation:
    """One run."""

    def __init__(self, seed: int) -> None:
        self.rng = rng = random.Random(seed)
        self.loss = rng.choice([0.0, 0.05, 0.2, 0.4])
        self.blacked_out = False
        self.wire = FakeWire(
            rng.getrandbits(32),
            loss=self.loss,
            duplication=rng.choice([0.0, 0.1, 0.5]),
            delay=(0.005, rng.choice([0.01, 0.2, 1.5])),
        )
        self.peers = [self.wire.peer(f"10.0.0.{n}") for n in range(1, rng.choice([2, 3]) + 1)]
        self.sessions: list[tuple[Peer, Session]] = []
        self.directions: dict[Session, str] = {}
        self.ended: Counter[Session] = Counter()
        self.answered: set[Leg] = set()
        self.closed: set[Peer] = set()
        self.moves = 0
        self.registrar = Registrar() if rng.random() < 0.25 else None
        self.registrations: dict[Peer, Registration] = {}
        self.actions: list[str] = []
        for peer in self.peers:
            peer.on_event = self._observer(peer)
        if self.registrar is not None:
            self.home = self.wire.peer("10.0.0.9", screen=self.registrar)
            if seed % 16:
                # It never answers the phones' probes, which are most of such a run's work.
                self.wire.drop = lambda packet: packet.data.startswith(b"OPTIONS")
            for peer in self.peers:
                self._register(peer)

    # ------------------------------------------------------------------ what people do

    def run(self) -> None:
        end = self.wire.now + BUSY
        while self.wire.now < end:
            self.wire.run(self.rng.expovariate(1.0))
            self._act()
        self.wire.loss = 0.0
        self.settled = self.wire.now + SETTLING
        if self.loss <= 0.2 and not self.blacked_out and not self.moves:
            # Every request arrived, so no session timer was needed.
            self.wire.run(TRANSACTION_TIMEOUT + 10.0)
            self._agreed()
        self.wire.run(SETTLING)
        self._agreed()
        self._bound()
        for peer in self.peers:
            self._close(peer)
        self.wire.run(LEAVING)
        self._left()

    def _act(self) -> None:
        open_ones = [peer for peer in self.peers if peer not in self.closed]
        if not open_ones:
            return
        peer = self.rng.choice(open_ones)
        known = [session for session in peer.agent.sessions if session.ended is None]
        if not known or (len(known) < 4 and self.rng.random() < 0.25):
            self._call(peer)
            return
        session = self.rng.choice(known)
        match session.state:
            case SessionState.INCOMING:
                choices = [self._ring, self._answer, self._answer, self._hang_up]
            case SessionState.CONFIRMED:
                choices = [self._hold, self._resume, self._refresh, self._transfer, self._hang_up]
            case _:
                choices = [self._wait, self._wait, self._hang_up]
        weather = [self._blackout, self._close, self._move, self._rebind]
        weather = weather if self.rng.random() < 0.06 else []
        act = self.rng.choice(weather) if weather else None
        if act is not None:
            act(peer)
        else:
            self._do(self.rng.choice(choices), peer, session)

    def _do(self, what: Callable[[Peer, Session], None], peer: Peer, session: Session) -> None:
        self._note(f"{peer.address[0]} {what.__name__[1:]} {session.call_id[:6]}")
        what(peer, session)
        peer.flush()

    def _call(self, peer: Peer) -> None:
        other = self.rng.choice([one for one in self.peers if one is not peer])
        agent = peer.agent
        identity = Identity(NameAddr(Uri.parse(f"sip:{peer.address[0]}")), "user", None, agent.rng)
        session = agent.invite(
            identity,
            Uri.parse(f"sip:user@{other.address[0]}"),
            [peer.flow_to(other)],
            media(peer.address[0]),
            self.wire.now,
        )
        self._meet(peer, session)
        self._note(f"{peer.address[0]} calls {other.address[0]} {session.call_id[:6]}")
        peer.flush()

    def _wait(self, peer: Peer, session: Session) -> None:
        pass

    def _ring(self, peer: Peer, session: Session) -> None:
        session.ring(self.wire.now)

    def _answer(self, peer: Peer, session: Session) -> None:
        session.answer(media(peer.address[0]), self.wire.now)

    def _hang_up(self, peer: Peer, session: Session) -> None:
        session.hang_up(self.wire.now, status=self.rng.choice([None, 486, 603]))

    def _hold(self, peer: Peer, session: Session) -> None:
        session.hold(self.wire.now)

    def _resume(self, peer: Peer, session: Session) -> None:
        session.resume(self.wire.now)

    def _refresh(self, peer: Peer, session: Session) -> None:
        session.handle_timer("refresh", self.wire.now)

    def _transfer(self, peer: Peer, session: Session) -> None:
        """To any peer, or to the far end of another call of ours, which the new one replaces."""
        target = Uri.parse(f"sip:user@{self.rng.choice(self.peers).address[0]}")
        others = [one for one in peer.agent.sessions if one is not session and one.is_up]
        if others and self.rng.random() < 0.5:
            other = others[0]
            assert other.dialog is not None
            target = Replaces.of(other).within(other.dialog.target)
        try:
            session.transfer(target, self.wire.now)
        except LocalProtocolError:
            self._note("  is being transferred already")

    def _blackout(self, peer: Peer) -> None:
        """The network loses everything for a while."""
        seconds = self.rng.choice([2, 20, 70])
        self._note(f"no network for {seconds} s")
        self.blacked_out = True
        self.wire.loss = 1.0
        self.wire.run(seconds)
        self.wire.loss = self.loss

    def _rebind(self, peer: Peer) -> None:
        """A NAT gives ``peer`` another address without its knowledge."""
        self.moves += 1
        host = f"10.0.{self.moves}.{self.peers.index(peer) + 1}"
        self._note(f"{peer.address[0]} is seen as {host}")
        self.wire.move(peer, host)

    def _move(self, peer: Peer) -> None:
        """``peer`` moves to another network and notices it."""
        self._rebind(peer)
        for session in peer.agent.sessions:
            session.move(peer.address[0], (peer.address[0], 4000), self.wire.now)
        if peer in self.registrations:
            self.registrations[peer].register([peer.flow_to(self.home)], self.wire.now)
        peer.flush()

    def _register(self, peer: Peer) -> None:
        number = self.peers.index(peer) + 1
        name = NameAddr(Uri.parse(f"sip:user{number}@10.0.0.9"))
        identity = Identity(name, f"user{number}", None, peer.agent.rng)
        flows = [peer.flow_to(self.home)]
        registrar = Uri.parse("sip:10.0.0.9")
        self.registrations[peer] = peer.agent.register(
            identity, registrar, flows, self.wire.now, expires=600
        )

    def _close(self, peer: Peer) -> None:
        self._note(f"{peer.address[0]} closes")
        self.closed.add(peer)
        peer.agent.close(self.wire.now)
        peer.flush()

    # ------------------------------------------------------------------ what they see

    def _meet(self, peer: Peer, session: Session) -> None:
        session.takes_transfers = True
        self.sessions.append((peer, session))

    def _observer(self, peer: Peer) -> Callable[[events.Event], None]:
        def observe(event: events.Event) -> None:
            match event:
                case events.InviteReceived(session):
                    self._meet(peer, session)
                case events.Answered(session, agreed):
                    self.answered.add(session)
                    assert agreed is not None
                    self.directions[session] = agreed.direction
                case events.MediaChanged(session, agreed):
                    self.directions[session] = agreed.direction
                case events.TransferRequested(session, _):
                    self._follow(peer, session, event)
                case events.SessionEnded(session, by, status, reason):
                    self.ended[session] += 1
                    self._note(
                        f"{peer.address[0]} ended {session.call_id[:6]} {by} {status} {reason}"
                    )
                case events.Malformed(_, cause):
                    raise AssertionError(f"our own message is malformed: {cause}")

        return observe

    def _follow(self, peer: Peer, session: Leg, event: events.TransferRequested) -> None:
        target = event.referral.target
        unwilling = peer in self.closed or self.rng.random() < 0.2
        if unwilling or target.host == peer.address[0]:
            event.referral.decline(603, self.wire.now)
            return
        flow = Flow("udp", peer.address, (target.host, 5060))
        new = peer.agent.invite(
            session.identity,
            target,
            [flow],
            media(peer.address[0]),
            self.wire.now,
            referral=event.referral,
        )
        self._meet(peer, new)

    # ------------------------------------------------------------------ what must hold

    def _agreed(self) -> None:
        """Calls are up at both ends, in mirrored directions, and none is pending."""
        ends = {}
        for peer in self.peers:
            for session in peer.agent.sessions:
                if session.state in (SessionState.RINGING, SessionState.INCOMING):
                    assert self.wire.now < self.settled  # Nothing waits forever.
                    continue
                assert session.state is SessionState.CONFIRMED, (peer.address, session)
                assert session.dialog is not None
                key = (session.call_id, session.dialog.local.tag, session.dialog.remote.tag)
                ends[key] = session
        for (call_id, local, remote), session in ends.items():
            assert (call_id, remote, local) in ends, f"{session} has no other end"
            other = ends[call_id, remote, local]
            mine, theirs = self.directions[session], self.directions[other]
            assert MIRROR[mine] == theirs, (call_id, mine, theirs)

    def _bound(self) -> None:
        """The registrar knows the current address of each of them."""
        for peer, registration in self.registrations.items():
            if peer not in self.closed:
                assert registration.state is RegistrationState.REGISTERED
                assert self.registrar is not None
                contacts = [
                    request.contact
                    for _, request in self.registrar.seen
                    if request.call_id == registration.call_id
                ]
                assert contacts[-1] is not None
                assert contacts[-1].uri.host == peer.address[0], (contacts[-1], peer.address)

    def _left(self) -> None:
        for peer in self.peers:
            agent = peer.agent
            assert agent.sessions == ()
            assert len(agent.layer) == 0
            assert agent.idle
            assert agent.get_timer() is None
            assert not agent.dropped["rule broken"]
        for _, session in self.sessions:
            assert self.ended[session] == 1, session
        quiet = self.wire.now - 60
        assert not any(packet.time > quiet for packet in self.wire.log)
        for data, copies in Counter(packet.data for packet in self.wire.log).items():
            assert copies < MOST_COPIES, (copies, data[:200])
        self._farewells()

    def _farewells(self) -> None:
        """Every answered call had a BYE, every other one a refusal or a CANCEL."""
        said: dict[str, set[str]] = {}
        arrived: dict[str, set[str]] = {}
        for data in {packet.data for packet in self.wire.log}:
            call_id, kind = _read(data)
            said.setdefault(call_id, set()).add(kind)
        for data in {packet.data for packet in self.wire.log if not packet.lost}:
            call_id, kind = _read(data)
            arrived.setdefault(call_id, set()).add(kind)
        for _, session in self.sessions:
            call_id = session.call_id
            if session in self.answered:
                assert "BYE" in said[call_id], session
            elif session.outgoing and "progress INVITE" in arrived.get(call_id, ()):
                if self.moves:
                    continue  # Messages in flight to a former address did not arrive.
                told = {"CANCEL", "BYE"} & said[call_id]
                assert told or "refusal INVITE" in arrived[call_id], session

    # ------------------------------------------------------------------ what is told of it

    def _note(self, text: str) -> None:
        self.actions.append(f"{self.wire.now - 1000:8.3f} {text}")

    def story(self) -> str:
        """Actions and messages in the order of time."""
        lines = list(self.actions)
        for packet in self.wire.log:
            lost = " lost" if packet.lost else ""
            ends = f"{packet.source[0]} -> {packet.destination[0]}"
            call = packet.message.call_id[:6]
            number = packet.message.cseq.number
            lines.append(f"{packet.time - 1000:8.3f}   {ends} {packet.kind} {call} {number}{lost}")
        return "\n".join(sorted(lines)[-400:])


def _read(data: bytes) -> tuple[str, str]:
    """Call-ID of a message of ours, and which kind of farewell it is, if any."""
    first, *lines = data.partition(b"\r\n\r\n")[0].decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    method = headers["CSeq"].split()[1]
    if not first.startswith("SIP/2.0 "):
        return headers["Call-ID"], method
    status = int(first.split()[1])
    word = "progress" if status < 200 else "refusal" if status >= 300 else "yes"
    return headers["Call-ID"], f"{word} {method}"
