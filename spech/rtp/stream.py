"""One pair of sockets and its RTP session: reads what came since the last tick, and sends.

No datagram raises out of here. What is not RTP, or not of the peer, is dropped, counted, and logged
once for each source; so is a datagram at which our own code fails.
"""

from __future__ import annotations

import logging
import socket
import struct
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from spech.addresses import Address
from spech.agreement import RTCP, RTP, Security
from spech.allowance import Allowance, Purpose
from spech.errors import RemoteProtocolError
from spech.incidents import Incidents
from spech.rtp import packet as rtp
from spech.rtp.ice import IceAgent, IceState
from spech.rtp.packet import RtpPacket
from spech.rtp.ports import SO_TIMESTAMPNS, PortPair
from spech.rtp.protection import Protection
from spech.rtp.session import RtpSession
from spech.rtp.source import SourceFilter
from spech.rtp.stun import is_stun

if TYPE_CHECKING:
    from spech.rtp.dtls import Certificate

_log: Final = logging.getLogger(__name__)

Watcher = Callable[[bool, bytes, Address, Address], object]
"""Sees a datagram: whether it is ours, its bytes, our address, and that of the other end."""

#: Bytes of the longest packets that we send ourselves: 0.2 s of L16 at 48 kHz, encrypted.
_LONGEST = 20480
#: Room for an arrival time. Windows has no ancillary data.
_ANCILLARY = socket.CMSG_SPACE(16) if hasattr(socket, "CMSG_SPACE") else 0
_TIMESPEC = struct.Struct("@ll")
_MOST_PER_TICK = 200
#: Seconds of sound that are sent to a peer that has proved nothing.
_UNPROVEN_SECONDS: Final = 0.5
_OLDEST = 1.0
_LAST_PORT = 65535
_MOST_EARLY = 16
_TRUNCATED = int(socket.MSG_TRUNC)


class Stream:
    """Moves datagrams between a :class:`PortPair` and an :class:`RtpSession`.

    Args:
        pair: the sockets.
        session: what the packets belong to.
        certificate: returns ours, for DTLS-SRTP.
        symmetric: send to where the peer's packets come from. Otherwise only to the address that
            was negotiated.
        incidents: counts and logs what is wrong with packets; one for all streams, so that many
            calls do not log more.

    Attributes:
        allowance: what may be sent until the peer has proved that it receives us; None where it
            need not. A packet of the peer proves it. Until then half a second is sent at the most.
        last_rtp: when the last RTP of the peer came (sound, comfort noise, digits or an empty
            packet), in seconds of the media clock; None before the first one.
        last_rtcp: the same of RTCP.
        invalid: datagrams that are not RTP or RTCP, or of a payload type that was not negotiated.
        foreign: datagrams from other sources than the peer.
        faults: datagrams at which our own code failed. Each source's first one is logged.
        send_errors: datagrams that the system did not take.
        protection: encryption, and what it dropped.
        ready: whether there is a way to the peer. Without ICE it is taken for granted.
        unreachable: why there will be none, once ICE has given up; "" until then.
        watcher: sees each datagram that is sent or comes, as it is on the wire.
    """

    def __init__(
        self,
        pair: PortPair,
        session: RtpSession,
        certificate: Callable[[], Certificate] | None = None,
        *,
        symmetric: bool = True,
        incidents: Incidents | None = None,
    ) -> None:
        self.allowance: Allowance | None = None
        self.last_rtp: float | None = None
        self.last_rtcp: float | None = None
        self.invalid = 0
        self.foreign = 0
        self.faults = 0
        self.send_errors = 0
        self.protection = Protection(certificate)
        self.ready = True
        self.unreachable = ""
        self.watcher: Watcher | None = None
        self._pair = pair
        self._session = session
        self._symmetric = symmetric
        self._incidents = Incidents(_log) if incidents is None else incidents
        self._source = SourceFilter(symmetric=symmetric)
        self._now = 0.0
        #: When the first datagram went to a peer that has proved nothing.
        self._began: float | None = None
        self._rtcp_negotiated: Address = ("", 0)
        self._rtcp_destination: Address = ("", 0)
        self._shared = False
        self._ice: IceAgent | None = None
        self._ways: dict[int, Address | None] = {}
        #: Connectivity checks that came before the answer, whose passwords they need.
        self._early: deque[tuple[bytes, int, Address]] = deque(maxlen=_MOST_EARLY)
        self._hellos: deque[tuple[bytes, Address]] = deque(maxlen=_MOST_EARLY)

    @property
    def ice(self) -> IceAgent | None:
        """The ICE agent, None where the negotiated address is used."""
        return self._ice

    def negotiate(self, remote: Address, remote_rtcp: Address, ice: IceAgent | None = None) -> None:
        """Set the peer's addresses, by an answer or a re-INVITE; ``ice`` finds them where given."""
        if ice is None:
            self.ready = True
            self._early.clear()
        elif self._ice is None:
            self.ready = False
        self._ice = ice
        self._source.negotiate(remote)
        if remote_rtcp != self._rtcp_negotiated:
            self._rtcp_negotiated = self._rtcp_destination = remote_rtcp
        self._shared = remote == remote_rtcp

    def rebind(self, pair: PortPair) -> None:
        """Continue with other sockets."""
        self._pair = pair

    def secure(self, security: Security | None) -> None:
        """Encrypt from now on; None for plain RTP.

        With keys that is at once, otherwise when the handshake is complete.
        """
        self.protection.negotiate(security, shared=self._shared, heard=self._session.heard)
        self._follow_key()
        self._take_hellos()

    def _take_hellos(self) -> None:
        """Take the DTLS datagrams that arrived before a valid pair was known."""
        waiting = tuple(self._hellos)
        self._hellos.clear()
        for data, source in waiting:
            try:
                self._take_handshake(RTP, data, source)
            except Exception:
                self._note_fault(source)

    def _take_handshake(self, component: int, data: bytes, source: Address) -> None:
        if self._ice is None:
            destination = self._destination(component)
            taken = self.protection.receive_handshake(component, data, source, destination)
        elif self._ice.trusts(component, source):
            taken = self.protection.receive_handshake(component, data, source, source)
        elif component == RTP and not self.ready:
            self._hellos.append((data, source))  # The peer's check has succeeded before ours.
            return
        else:
            taken = False
        if not taken:
            self._drop_foreign(source, "DTLS")
        proven = self.protection.take_proven(component)
        if proven is not None:
            self._prove()
            if self._ice is None and self._symmetric:
                self._follow_proven(component, proven)
        self._follow_key()

    def _follow_proven(self, component: int, source: Address) -> None:
        """Send to where the peer has shown its certificate from."""
        if component == RTCP:
            self._rtcp_destination = source
            return
        before = self._source.destination
        self._source.latch(source, self._now)
        self._follow_source(before)

    def _follow_key(self) -> None:
        if self.protection.renewed:
            self.protection.renewed = False
            self._session.change_source()

    def _shake(self, component: int, now: float) -> None:
        through = self._pair.rtp if component == RTP else self._pair.rtcp
        destination = self._destination(component)
        for datagram, address in self.protection.shake(component, now, destination):
            self._send(through, datagram, address)

    @property
    def shared(self) -> bool:
        """Whether RTCP shares the port of RTP (RFC 5761)."""
        return self._shared

    def drain(self, now: float) -> list[str]:
        """Read all RTP that waits into the session; return the digits that it began."""
        digits: list[str] = []
        self._now = now
        if self._source.learning:
            self._source.tick(now)
        pair = self._pair
        for count in range(_MOST_PER_TICK):
            if count and not pair.more(0):
                break
            read = self._read(pair.rtp, now)
            if read is None:
                break
            data, source, arrival = read
            try:
                if self._ice is not None and is_stun(data):
                    self._take_stun(self._ice, data, RTP, source, now)
                    continue
                if rtp.is_rtcp(data):
                    self._take_rtcp(data, RTP, source, arrival)
                    continue
                if self.protection.required:  # Nothing is believed before it is decrypted.
                    if rtp.is_dtls(data):
                        self._take_handshake(RTP, data, source)
                        continue
                    opened = self.protection.open(data)
                    if opened is None:
                        self._note_refused(source, data)
                        continue
                    data = opened
                packet = rtp.parse(data)
                if self._ice is not None:
                    if not self._ice.trusts(RTP, source):
                        self._drop_foreign(source)
                        continue
                elif source == self._source.latched:
                    self._source.heard = now
                elif not self._learn(packet, source, now):
                    continue
                self.last_rtp = now
                if self.allowance is not None:
                    self.allowance.proven = True
                digit = self._session.receive_rtp(packet, arrival)
                if digit is not None:
                    digits.append(digit)
            except RemoteProtocolError as error:
                self._drop_invalid(source, data, str(error))
            except Exception:  # One packet must not end a call.
                self._note_fault(source)
        if self._ice is not None:
            if not self._shared:
                self.drain_rtcp(now)  # Connectivity checks of its own come there.
            self._pursue(self._ice, now)
        if self.protection.required and self.protection.busy:
            self._shake(RTP, now)
        return digits

    def _learn(self, packet: RtpPacket, source: Address, now: float) -> bool:
        """Whether a packet of another source than the last one is the peer's.

        Raises:
            RemoteProtocolError: its payload type was not negotiated, so that it proves nothing.
        """
        self._session.check(packet)
        before = self._source.destination
        if not self._source.accepts(source, packet.ssrc, packet.sequence, now):
            self._drop_foreign(source)
            return False
        self._follow_source(before)
        return True

    def drain_rtcp(self, now: float) -> None:
        """Read all RTCP that waits into the session."""
        for _ in range(_MOST_PER_TICK):
            read = self._read(self._pair.rtcp, now)
            if read is None:
                break
            data, source, arrival = read
            try:
                if self._ice is not None and is_stun(data):
                    self._take_stun(self._ice, data, RTCP, source, now)
                elif self.protection.required and rtp.is_dtls(data):
                    self._take_handshake(RTCP, data, source)
                else:
                    self._take_rtcp(data, RTCP, source, arrival)
            except RemoteProtocolError as error:
                self._drop_invalid(source, data, str(error), "RTCP")
            except Exception:  # One packet must not end a call.
                self._note_fault(source)
        if self.protection.required and self.protection.busy and not self._shared:
            self._shake(RTCP, now)

    def discard(self) -> None:
        """Drop what waits, while nothing is negotiated.

        A few STUN messages are kept, because a peer's checks may overtake its answer, and so may
        the beginning of a handshake (RFC 5763 section 5).
        """
        for component, waiting in ((RTP, self._pair.rtp), (RTCP, self._pair.rtcp)):
            for _ in range(_MOST_PER_TICK):
                read = self._read(waiting, 0.0)
                if read is None:
                    break
                data, source, _ = read
                if is_stun(data):
                    self._early.append((data, component, source))
                elif component == RTP and rtp.is_dtls(data):
                    self._hellos.append((data, source))

    def send(self, datagram: bytes) -> None:
        """Send RTP to the peer."""
        if self.protection.required:
            sealed = self.protection.seal(datagram)
            if sealed is None:
                return
            datagram = sealed
        destination = self._source.destination if self._ice is None else self._ways.get(RTP)
        if destination is not None:
            self._send(self._pair.rtp, datagram, destination)

    def send_rtcp(self, datagram: bytes) -> None:
        """Send RTCP to the peer."""
        sealed = self.protection.seal_rtcp(datagram)
        if sealed is None:
            return
        destination = self._destination(RTP if self._shared else RTCP)
        if destination is not None:
            self._send(self._pair.rtp if self._shared else self._pair.rtcp, sealed, destination)

    def _destination(self, component: int) -> Address | None:
        """Where to send, None where that is not known."""
        if self._ice is not None:
            return self._ways.get(component)
        if component == RTP:
            return self._source.destination
        # A peer whose RTP is at port 65535 has no port above it for RTCP.
        return self._rtcp_destination if 0 < self._rtcp_destination[1] <= _LAST_PORT else None

    def _send(self, through: socket.socket, datagram: bytes, destination: Address) -> None:
        if self.allowance is not None and not self._may_send(self.allowance, len(datagram)):
            return
        try:
            through.sendto(datagram, destination)
        except (OSError, OverflowError) as error:  # OverflowError: there is no such port
            self.send_errors += 1
            self._incidents.note(destination[0], "RTP is not sent: %s", error)
        else:
            if self.watcher is not None:
                self.watcher(True, datagram, self._local(through), destination)

    def _local(self, through: socket.socket) -> Address:
        """Our address behind a socket."""
        return self._pair.address, self._pair.port + (through is self._pair.rtcp)

    def _prove(self) -> None:
        if self.allowance is not None:
            self.allowance.proven = True

    def _may_send(self, allowance: Allowance, size: int) -> bool:
        if allowance.proven:
            return True
        if self._began is None:
            self._began = self._now
        in_time = self._now - self._began < _UNPROVEN_SECONDS
        return in_time and allowance.covers(size, Purpose.SOUND)

    def _read(self, waiting: socket.socket, now: float) -> tuple[bytes, Address, float] | None:
        """The next datagram, its source, and its arrival on the clock of ``now``."""
        try:
            if _ANCILLARY:
                data, ancillary, flags, source = waiting.recvmsg(_LONGEST, _ANCILLARY)
            else:
                data, source = waiting.recvfrom(_LONGEST)
                ancillary, flags = [], 0
        except BlockingIOError:
            return None
        except OSError as error:
            self._incidents.note(self._pair.address[0], "RTP cannot be received: %s", error)
            return None
        arrival = now
        for _, kind, stamp in ancillary:
            if kind == SO_TIMESTAMPNS and len(stamp) == _TIMESPEC.size:
                seconds, nanoseconds = _TIMESPEC.unpack(stamp)
                age = time.time() - seconds - nanoseconds * 1e-9
                # A step of the wall clock must not move the sound.
                arrival = now - min(max(age, 0.0), _OLDEST)
        if flags & _TRUNCATED:
            data = b""  # Longer than any packet of sound: handled as one that is too short.
        if len(source) != 2:
            source = source[:2]
        if self.watcher is not None:
            self.watcher(False, data, self._local(waiting), source)
        return data, source, arrival

    def _take_stun(
        self, ice: IceAgent, data: bytes, component: int, source: Address, now: float
    ) -> None:
        try:
            ice.receive_stun(data, component, source, now)
        except RemoteProtocolError as error:
            self._drop_invalid(source, data, str(error), "STUN")
        except Exception:
            self._note_fault(source)
        else:
            if ice.authenticated:
                self._prove()

    def _pursue(self, ice: IceAgent, now: float) -> None:
        """Run the ICE agent: find a path to the peer, and keep it."""
        while self._early:
            self._take_stun(ice, *self._early.popleft(), now)
        ice.handle_timer(now)
        for component, datagram, destination in ice.to_send():
            through = self._pair.rtp if component == RTP else self._pair.rtcp
            self._send(through, datagram, destination)
        if ice.state in (IceState.FAILED, IceState.LOST):
            self.ready = False
            self.unreachable = ice.state.value
            return
        ways = {component: ice.destination(component) for component in (RTP, RTCP)}
        if ways != self._ways:
            if ways[RTP] is not None:
                _log.info("sound goes to %s:%d by ICE", *ways[RTP])
            self._ways = ways
        if not self.ready and ways[RTP] is not None:
            self.ready = True
            self._take_hellos()

    def _take_rtcp(self, data: bytes, component: int, source: Address, arrival: float) -> None:
        """Take RTCP from the negotiated host, or from the host that the sound comes from."""
        peer = self._source.destination
        if self._ice is not None:
            believed = self._ice.trusts(component, source)
        else:
            believed = peer is not None and source[0] in (peer[0], self._rtcp_negotiated[0])
        if not believed:
            self._drop_foreign(source, "RTCP")
            return
        if self.protection.required:
            opened = self.protection.open_rtcp(data)
            if opened is None:
                self._note_refused(source, data)
                return
            data = opened
        self._session.receive_rtcp(data, arrival)
        self.last_rtcp = arrival
        if not self._shared and self._symmetric:
            self._rtcp_destination = source

    def _follow_source(self, before: Address | None) -> None:
        """Note that the peer's sound may come from elsewhere than ``before``."""
        after = self._source.destination
        if after is not None and after != before:
            _log.info("sound comes from %s:%d", *after)
            if not self._shared:
                self._rtcp_destination = self._rtcp_negotiated

    def _drop_invalid(self, source: Address, data: bytes, reason: str, kind: str = "RTP") -> None:
        if _is_keepalive(data):
            _log.debug("ignored a keepalive from %s:%d", *source)
            return
        self.invalid += 1
        self._incidents.note(source[0], f"dropped {kind} from %s:%d: %s", *source, reason)

    def _note_fault(self, source: Address) -> None:
        self.faults += 1
        message = "dropped a packet from %s:%d: our code failed"
        self._incidents.note(source[0], message, *source, traceback=True)

    def _note_refused(self, source: Address, data: bytes) -> None:
        if _is_keepalive(data):
            _log.debug("ignored a keepalive from %s:%d", *source)
            return
        self._incidents.note(
            source[0], "dropped SRTP from %s:%d: not authentic, or replayed", *source
        )

    def _drop_foreign(self, source: Address, kind: str = "RTP") -> None:
        self.foreign += 1
        if self._source.is_candidate(source):
            return  # A peer behind a NAT begins like this.
        self._incidents.note(source[0], "dropped %s from %s:%d: it is not the peer", kind, *source)


def _is_keepalive(data: bytes) -> bool:
    """Whether a datagram only keeps a NAT's binding open: up to four zero bytes, as some send."""
    return 0 < len(data) <= 4 and not any(data)
