"""What stands between a stream's sockets and its session when the sound is encrypted.

Nothing comes through but what the peer's key made, and nothing leaves in the clear.
"""

from __future__ import annotations

from collections.abc import Callable

from spech.addresses import Address
from spech.agreement import RTP, DtlsPeer, Security, SrtpKeys
from spech.rtp.dtls import Association, Certificate
from spech.rtp.srtp import Opener, Replayed, Sealer, Unauthentic


class _Way:
    """Keys for what goes through one socket."""

    def __init__(self, association: Association | None = None) -> None:
        self.association = association
        self.keys: SrtpKeys | None = None
        self.sealer: Sealer | None = None
        self.opener: Opener | None = None

    @property
    def busy(self) -> bool:
        """Whether a handshake goes on."""
        association = self.association
        return association is not None and association.busy

    def use(self, keys: SrtpKeys, heard: tuple[int, int] | None = None) -> bool:
        """Take keys; those that are in force already go on counting. Whether ours is another."""
        before, self.keys = self.keys, keys
        if before is None or (before.suite, before.receive) != (keys.suite, keys.receive):
            self.opener = Opener(keys.suite, keys.receive, None if before is None else heard)
        if before is None or (before.suite, before.send) != (keys.suite, keys.send):
            self.sealer = Sealer(keys.suite, keys.send)
            return True
        return False


class Protection:
    """The keys in force for one stream.

    Attributes:
        required: whether nothing may pass in the clear.
        renewed: set when our packets are sealed with another key than before. Then they have to
            come from another source too: to some peers a new key sets the rollover counter to
            zero, to others it does not (RFC 3711 section 3.3.1), and with a new source all agree.
        unauthentic: packets that the peer's key did not make, or that were changed on their way.
        replayed: packets that came before.
    """

    def __init__(self, certificate: Certificate | None = None) -> None:
        self.required = False
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
        """Take what was agreed on. What is in force already goes on as it is.

        A handshake that failed is tried again.

        Args:
            security: keys, or who the handshake is with; None for plain sound.
            shared: whether reports go through the socket of the sound. Otherwise they need a
                handshake of their own (RFC 5764 section 3).
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

    def _begin(self, peer: DtlsPeer) -> _Way:
        if self._certificate is None:
            raise ValueError("a handshake needs a certificate")
        return _Way(Association(self._certificate, peer))

    def _use(self, way: _Way, keys: SrtpKeys, heard: tuple[int, int] | None = None) -> None:
        if way.use(keys, heard) and way is self._sound:
            self.renewed, self._sealed = self._sealed, True

    @property
    def kind(self) -> str | None:
        """How the sound is encrypted: "SDES", "DTLS" once the handshake is done, or None."""
        if self._sound.keys is None:
            return None
        return "SDES" if self._sound.association is None else "DTLS"

    @property
    def ready(self) -> bool:
        """Whether sound may be sent: it is plain, or there is a key to seal it with."""
        return not self.required or self._sound.sealer is not None

    @property
    def shaking(self) -> bool:
        """Whether the sound waits for a handshake."""
        return not self.ready and self.failure is None

    @property
    def failure(self) -> str | None:
        """Why there will be no keys, in plain words."""
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
        """Take a datagram of DTLS; whether it was taken."""
        here = self._way(component)
        association = here.association
        if association is None or not association.receive(data, source, destination):
            return False
        if association.keys is not None:  # What came behind it may be read at once.
            self._use(here, association.keys)
        return True

    def take_proven(self, component: int) -> Address | None:
        """The address that a handshake on one socket was done with; told once."""
        association = self._way(component).association
        if association is None:
            return None
        proven, association.proven = association.proven, None
        return proven

    def shake(
        self, component: int, now: float, destination: Address | None
    ) -> list[tuple[bytes, Address]]:
        """What the handshake on one socket wants sent, and where."""
        association = self._way(component).association
        return [] if association is None else association.tick(now, destination)

    # Packets

    def seal(self, packet: bytes) -> bytes | None:
        """What to send for an RTP packet; None where it must not leave."""
        if self._sound.sealer is not None:
            return self._sound.sealer.seal(packet)
        return None if self.required else packet

    def seal_rtcp(self, packet: bytes) -> bytes | None:
        """What to send for an RTCP compound; None where it must not leave."""
        if self._reports.sealer is not None:
            return self._reports.sealer.seal_rtcp(packet)
        return None if self.required else packet

    def open(self, data: memoryview | bytes) -> bytes | None:
        """The RTP packet inside; None, and counted, for what is not the peer's."""
        opener = self._sound.opener
        return self._opened(None if opener is None else opener.open, data)

    def open_rtcp(self, data: memoryview | bytes) -> bytes | None:
        """The RTCP compound inside; None, and counted, for what is not the peer's."""
        opener = self._reports.opener
        return self._opened(None if opener is None else opener.open_rtcp, data)

    def _opened(
        self, opening: Callable[[bytes], bytes] | None, data: memoryview | bytes
    ) -> bytes | None:
        try:
            if opening is None:
                raise Unauthentic
            return opening(bytes(data))
        except Unauthentic:
            self.unauthentic += 1
        except Replayed:
            self.replayed += 1
        return None
