"""Which worker has which call. Pure: the clock comes in as ``now``, seconds.

The front keeps no state of transactions. It knows the calls of its workers, because they tell it,
and the Call-IDs that have passed lately: retransmissions, and what comes after the end of a call,
reach the worker that had the first message.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from spech.errors import RemoteProtocolError
from spech.sip.call.replaces import Replaces
from spech.sip.message.message import Request, Response, SipMessage
from spech.sip.transaction.flow import Flow
from spech.sip.transaction.timers import TRANSACTION_TIMEOUT
from spech.sip.transport import Arrival

#: Call-IDs that are remembered, of each direction.
_REMEMBERED: Final = 50_000
#: Seconds after which a worker that says nothing of an INVITE gets no other; it takes milliseconds.
_PATIENCE: Final = 2.0
#: INVITEs of which a worker may have said nothing yet.
_MOST_UNREAD: Final = 1000
#: The status of a response of a worker, if it is one, and the Call-ID, as Spech writes them.
_OUTGOING: Final = re.compile(
    rb"(?:SIP/2\.0 (?P<status>[1-6][0-9][0-9]) )?.*?\r\nCall-ID: (?P<call_id>[^\r\n]+)\r\n",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class PlacedSession:
    """A call of a worker: the flow of its dialog, None before there is one, and whether it is up
    (answered and acknowledged)."""

    worker: int
    flow: Flow | None
    up: bool


@dataclass(frozen=True, slots=True)
class _AwaitedInvite:
    worker: int
    came: float
    call: bytes


@dataclass(frozen=True, slots=True)
class _UnreadInvite:
    """When it came; and the INVITE itself, where no copy of it comes."""

    came: float
    arrival: Arrival | None


class Placement:
    """Finds the worker of each message, and one for each new call."""

    def __init__(self) -> None:
        #: Call-IDs are remembered as short keyed digests, because a caller may send long ones.
        self._key = os.urandom(16)
        #: By Call-ID and our tag.
        self._sessions: dict[tuple[str, str], PlacedSession] = {}
        #: The workers of the INVITEs that have come, and of the requests that workers have sent.
        self._placed: dict[bytes, int] = {}
        self._sent: dict[bytes, int] = {}
        #: The workers of single INVITEs, of which there may be several with one Call-ID.
        self._invites: dict[bytes, int] = {}
        #: The INVITEs that a worker has neither refused nor made a call of.
        self._awaited: dict[bytes, _AwaitedInvite] = {}
        #: Those of each Call-ID, and how many each worker has.
        self._awaited_in: dict[bytes, set[bytes]] = {}
        self._awaited_of: Counter[int] = Counter()
        #: For each worker, those that it has not even read, the oldest first.
        self._unread: defaultdict[int, dict[bytes, _UnreadInvite]] = defaultdict(dict)
        #: The hosts of calls that are up.
        self._hosts: Counter[str] = Counter()

    # ------------------------------------------------------------------ what comes

    def owner(self, message: SipMessage) -> int | None:
        """The worker that knows the call of a message, None where none does.

        A call may come back to where it was placed, with the same Call-ID; the tag tells its ends
        apart.

        Raises:
            RemoteProtocolError: the message cannot be read.
        """
        call_id = message.call_id
        ours = message.from_ if isinstance(message, Response) else message.to
        session = self._sessions.get((call_id, ours.tag or ""))
        if session is not None:
            return session.worker
        if isinstance(message, Response):
            return self._sent.get(self._digest(call_id))
        if message.to.tag is None:
            return self._replaced(message) if message.method == "INVITE" else self._known(call_id)
        return self._known(call_id)

    def _known(self, call_id: str) -> int | None:
        key = self._digest(call_id)
        return self._placed.get(key, self._sent.get(key))

    def _digest(self, text: str) -> bytes:
        return blake2b(text.encode(), digest_size=16, key=self._key).digest()

    def _replaced(self, invite: Request) -> int | None:
        """The worker of the call that an INVITE replaces, or that has had its Call-ID before."""
        worker = self._replacing(invite)
        return self._placed.get(self._digest(invite.call_id)) if worker is None else worker

    def _replacing(self, invite: Request) -> int | None:
        """The worker of the call that an INVITE replaces (RFC 3891)."""
        for value in invite.headers.get_all("Replaces"):
            with suppress(RemoteProtocolError):  # Any worker can answer that.
                named = Replaces.parse(value)
                session = self._sessions.get((named.call_id, named.to_tag))
                if session is not None:
                    return session.worker
        return None

    def adds_none(self, invite: Request) -> bool:
        """Whether an INVITE has come before, or replaces a call, so that there is none more."""
        return self._name(invite) in self._invites or self._replacing(invite) is not None

    def _name(self, invite: Request) -> bytes:
        """What an INVITE has in common with its copies only."""
        values = (invite.headers.get(name) or "" for name in ("Call-ID", "From", "CSeq"))
        return self._digest("\n".join(values))

    def place(self, invite: Request, loads: Mapping[int, int]) -> int:
        """The worker for a new call: the one that has had its Call-ID, or the one with the fewest.

        Args:
            invite: the request.
            loads: how many calls each worker has that takes new ones, at least one.
        """
        call_id = invite.call_id
        before = self._placed.get(self._digest(call_id))
        if before is not None and before in loads:
            return before
        # Where several have the fewest, a keyed hash decides, which is the same for each copy.
        return min(loads, key=lambda one: (loads[one], hash((call_id, one))))

    def expect(
        self, invite: Request, worker: int, now: float, arrival: Arrival | None = None
    ) -> bytes:
        """A worker gets an INVITE that is not within a dialog.

        Args:
            invite: the request.
            worker: who gets it.
            now: the time.
            arrival: the same, where it came by a connection: no copy of it comes.

        Returns:
            The name by which it tells that it has handled it; empty for a copy.
        """
        call, name = self._digest(invite.call_id), self._name(invite)
        known = self._invites.get(name) == worker
        _remember(self._placed, call, worker)
        _remember(self._invites, name, worker)
        if known or not self.has_room(worker):
            return b""
        self._settle(name)
        self._awaited[name] = _AwaitedInvite(worker, now, call)
        self._awaited_in.setdefault(call, set()).add(name)
        self._awaited_of[worker] += 1
        self._unread[worker][name] = _UnreadInvite(now, arrival)
        return name

    def has_room(self, worker: int) -> bool:
        """Whether a worker may get one more INVITE."""
        return len(self._unread[worker]) < _MOST_UNREAD

    def awaited(self, now: float) -> Counter[int]:
        """For each worker, the number of INVITEs of which it has said nothing yet."""
        while self._awaited:
            oldest = next(iter(self._awaited))
            if now - self._awaited[oldest].came < TRANSACTION_TIMEOUT:
                break
            self._settle(oldest)
        return self._awaited_of

    def silent(self, now: float) -> set[int]:
        """The workers that have said nothing of an INVITE for too long: they hang."""
        return {
            worker
            for worker, unread in self._unread.items()
            if unread and now - next(iter(unread.values())).came >= _PATIENCE
        }

    def _settle(self, name: bytes) -> None:
        """An INVITE is awaited no longer."""
        found = self._awaited.pop(name, None)
        if found is None:
            return
        self._awaited_of[found.worker] -= 1
        self._unread[found.worker].pop(name, None)
        others = self._awaited_in[found.call]
        others.discard(name)
        if not others:
            del self._awaited_in[found.call]

    def _settle_call(self, call: bytes) -> None:
        """No INVITE with a Call-ID is awaited any longer."""
        for name in list(self._awaited_in.get(call, ())):
            self._settle(name)

    # ------------------------------------------------------------------ what workers tell

    def note_sent(self, worker: int, data: bytes) -> None:
        """A worker sends a message."""
        found = _OUTGOING.match(data)
        if found is None:
            return
        key = self._digest(found["call_id"].decode())
        if found["status"] is None:
            if self._sent.get(key) != worker:
                _remember(self._sent, key, worker)
        elif found["status"] >= b"300":
            self._settle_call(key)

    def note_handled(self, name: bytes, *, begun: bool) -> None:
        """A worker has read an INVITE; where no call has begun with it, none will.

        It may have been a copy of another one, or one that cannot be answered.
        """
        found = self._awaited.get(name)
        if found is None:
            return
        if begun:
            self._unread[found.worker].pop(name, None)
        else:
            self._settle(name)

    def note_call(self, call_id: str) -> None:
        """A worker counts this call among its own."""
        self._settle_call(self._digest(call_id))

    def note_session(self, call_id: str, tag: str, session: PlacedSession) -> None:
        """A worker has this call."""
        self.end_session(call_id, tag)
        self._sessions[call_id, tag] = session
        if session.up:
            self.note_call(call_id)  # One that takes the place of another is not told otherwise.
        if session.up and session.flow is not None:
            self._hosts[session.flow.remote[0]] += 1

    def end_session(self, call_id: str, tag: str) -> None:
        """A worker has this call no longer."""
        session = self._sessions.pop((call_id, tag), None)
        if session is not None and session.up and session.flow is not None:
            host = session.flow.remote[0]
            self._hosts[host] -= 1
            if not self._hosts[host]:
                del self._hosts[host]

    def forget(self, worker: int) -> list[Arrival]:
        """A worker has ended, and its calls with it.

        What comes within them goes to the next one in its place, which knows what to answer.

        Returns:
            The INVITEs that it has not read, and that do not come again.
        """
        unread = self._unread.pop(worker, {})
        for name in unread:
            self._placed.pop(self._awaited[name].call, None)
        for call_id, tag in [key for key, one in self._sessions.items() if one.worker == worker]:
            self.end_session(call_id, tag)
        for name in [name for name, one in self._awaited.items() if one.worker == worker]:
            self._settle(name)
            self._invites.pop(name, None)  # For the next one, a copy is the first.
        return [one.arrival for one in unread.values() if one.arrival is not None]

    # ------------------------------------------------------------------ what the front asks

    def talks_with(self, host: str) -> bool:
        """Whether a call with this numeric address is up."""
        return host in self._hosts

    @property
    def flows(self) -> set[Flow]:
        """The flows of all calls."""
        return {one.flow for one in self._sessions.values() if one.flow is not None}


def _remember(table: dict[bytes, int], key: bytes, worker: int) -> None:
    table.pop(key, None)
    table[key] = worker
    if len(table) > _REMEMBERED:
        del table[next(iter(table))]
