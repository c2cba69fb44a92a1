"""SRTP between a stream's sockets and its session.

Only packets that the peer's key has made pass, and nothing is sent in the clear.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from spech.addresses import Address
from spech.agreement import RTP, DtlsPeer, Security, SrtpKeys
from spech.rtp.packet import Replayed, Unauthentic

if TYPE_CHECKING:
    from spech.rtp.dtls import Association, Certificate
    from spech.rtp.srtp import Opener, Sealer


class _Way:
    """The keys for one socket."""

    def __init__(self, association: Association | None = None) -> None:
        self.association = association
        self.keys: SrtpKeys | None = None
        self.sealer: Sealer | None = None
        self.opener: Opener | None = None

    @property
    def busy(self) -> bool:
        """Whether a handshake is in progress."""
        association = self.association
        return association is not None and association.busy

    def use(self, keys: SrtpKeys, heard: tuple[int, int] | None = None) -> bool:
        """Take keys; keys in force keep their counters. Returns whether our key has changed."""
        from spech.rtp.srtp import Opener, Sealer  # They load libsrtp.

        before, self.keys = self.keys, keys
        if before is None or (before.suite, before.receive) != (keys.suite, keys.receive):
            self.opener = Opener(keys.suite, keys.receive, None if before is None else heard)
        if before is None or (before.suite, before.send) != (keys.suite, keys.send):
            self.sealer = Sealer(keys.suite, keys.send)
            return True
        return False


class Protection:
    """The keys in force for one stream.

    Args:
        certificate: returns ours, when a handshake begins.

    Attributes:
        required: whether packets in the clear are dropped, and none is sent.
        ready: whether RTP may be sent: it is plain, or there is a key.
        renewed: set when our packets are encrypted with another key than before. They then need
            another SSRC too: some peers reset the rollover counter with a new key, others do not
            (RFC 3711 section 3.3.1), and with a new SSRC both readings agree.
        unauthentic: packets that the peer's key did not make, or that were changed on their way.
        replayed: packets that had been received before.
    """

    def __init__(self, certificate: Callable[[], Certificate] | None = None) -> None:
        self.required = False
        self.ready = True
        self.renewed = False
        self.unauthentic = 0
        self.replayed = 0
        self._certificate = certificate
        self._agreed: Security | None = None
        self._sound = self._reports = _Way()
        self._sealed = False

    def negotiate(
        self,
        security: Security | None,
        *,
        shared: bool = True,
        heard: tuple[int, int] | None = None,
    ) -> None:
        """Take the outcome of a negotiation. Keys in force stay in force.

        A failed handshake is tried again.

        Args:
            security: keys, or the peer of the handshake; None for plain RTP.
            shared: whether RTCP uses the socket of RTP. Otherwise it needs its own handshake
                (RFC 5764 section 3).
            heard: the peer's SSRC and extended highest sequence number.
        """
        before, self._agreed = self._agreed, security
        self.required = security is not None
        match security:
            case SrtpKeys():
                if not isinstance(before, SrtpKeys):
                    self._sound = self._reports = _Way()
                self._use(self._sound, security, heard)
            case DtlsPeer():
                if security != before or self.failure is not None:
                    self._sound = self._reports = self._begin(security)
                if shared:
                    self._reports = self._sound
                elif self._reports is self._sound:
                    self._reports = self._begin(security)
            case None:
                self._sound = self._reports = _Way()
        self._note_ready()

    def _begin(self, peer: DtlsPeer) -> _Way:
        if self._certificate is None:
            raise ValueError("a handshake needs a certificate")
        from spech.rtp.dtls import Association  # It loads OpenSSL.

        return _Way(Association(self._certificate(), peer))

    def _use(self, way: _Way, keys: SrtpKeys, heard: tuple[int, int] | None = None) -> None:
        if way.use(keys, heard) and way is self._sound:
            self.renewed, self._sealed = self._sealed, True
        self._note_ready()

    def _note_ready(self) -> None:
        self.ready = not self.required or self._sound.sealer is not None

    @property
    def kind(self) -> str | None:
        """How RTP is encrypted: "SDES", "DTLS" once the handshake is complete, or None."""
        if self._sound.keys is None:
            return None
        return "SDES" if self._sound.association is None else "DTLS"

    @property
    def failure(self) -> str | None:
        """Why there will be no keys, as a message for people."""
        association = self._sound.association
        return None if association is None else association.failure

    # The handshake

    @property
    def busy(self) -> bool:
        """Whether :meth:`shake` has something to do."""
        return self._sound.busy or self._reports.busy

    def _way(self, component: int) -> _Way:
        return self._sound if component == RTP else self._reports

    def receive_handshake(
        self, component: int, data: bytes, source: Address, destination: Address | None
    ) -> bool:
        """Take a DTLS datagram; return whether it was used."""
        here = self._way(component)
        association = here.association
        if association is None or not association.receive_datagram(data, source, destination):
            return False
        if association.keys is not None:  # Packets that follow can be decrypted at once.
            self._use(here, association.keys)
        return True

    def take_proven(self, component: int) -> Address | None:
        """The address that has completed a handshake on one socket; returned once."""
        association = self._way(component).association
        if association is None:
            return None
        proven, association.proven = association.proven, None
        return proven

    def shake(
        self, component: int, now: float, destination: Address | None
    ) -> list[tuple[bytes, Address]]:
        """The datagrams of the handshake on one socket, and where to send them."""
        association = self._way(component).association
        return [] if association is None else association.tick(now, destination)

    # Packets

    def seal(self, packet: bytes) -> bytes | None:
        """The SRTP packet to send; None where none may be sent."""
        if self._sound.sealer is not None:
            return self._sound.sealer.seal(packet)
        return None if self.required else packet

    def seal_rtcp(self, packet: bytes) -> bytes | None:
        """The SRTCP compound to send; None where none may be sent."""
        if self._reports.sealer is not None:
            return self._reports.sealer.seal_rtcp(packet)
        return None if self.required else packet

    def open(self, data: bytes) -> bytes | None:
        """The RTP packet inside; None, and counted, for what is not the peer's."""
        opener = self._sound.opener
        return self._opened(None if opener is None else opener.open, data)

    def open_rtcp(self, data: bytes) -> bytes | None:
        """The RTCP compound inside; None, and counted, for what is not the peer's."""
        opener = self._reports.opener
        return self._opened(None if opener is None else opener.open_rtcp, data)

    def _opened(self, opening: Callable[[bytes], bytes] | None, data: bytes) -> bytes | None:
        try:
            if opening is None:
                raise Unauthentic
            return opening(data)
        except Unauthentic:
            self.unauthentic += 1
        except Replayed:
            self.replayed += 1
        return None
