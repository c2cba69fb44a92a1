"""What stands between a stream's sockets and its session when the sound is encrypted.

Nothing comes through but what the peer's key made, and nothing leaves in the clear.
"""

from __future__ import annotations

from spech.rtp.srtp import Opener, Replayed, Sealer, SrtpKeys, Unauthentic


class Protection:
    """The keys in force for one stream.

    Attributes:
        kind: "SDES", or None while the sound is plain.
        required: whether nothing may pass in the clear.
        unauthentic: packets that the peer's key did not make, or that were changed on their way.
        replayed: packets that came before.
    """

    def __init__(self) -> None:
        self.kind: str | None = None
        self.required = False
        self.unauthentic = 0
        self.replayed = 0
        self._keys: SrtpKeys | None = None
        self._sealer: Sealer | None = None
        self._opener: Opener | None = None

    def negotiate(self, security: SrtpKeys | None) -> bool:
        """Take what was agreed on. Keys that stay go on counting where they are.

        Returns:
            Whether our packets are sealed with another key than before. Then they have to come
            from another source too: to some peers a new key sets the rollover counter to zero, to
            others it does not (RFC 3711 section 3.3.1), and with a new source both agree.
        """
        before, self._keys = self._keys, security
        self.required = security is not None
        if security is None:
            self.kind = self._sealer = self._opener = None
            return False
        if before is None or (before.suite, before.receive) != (security.suite, security.receive):
            self._opener = Opener(security.suite, security.receive)
        renewed = before is None or (before.suite, before.send) != (security.suite, security.send)
        if renewed:
            self._sealer = Sealer(security.suite, security.send)
        self.kind = "SDES"
        return renewed and before is not None

    @property
    def ready(self) -> bool:
        """Whether sound may be sent: it is plain, or there is a key to seal it with."""
        return self._sealer is not None or not self.required

    def seal(self, packet: bytes) -> bytes | None:
        """What to send for an RTP packet; None where it must not leave."""
        if self._sealer is not None:
            return self._sealer.seal(packet)
        return None if self.required else packet

    def seal_rtcp(self, packet: bytes) -> bytes | None:
        """What to send for an RTCP compound; None where it must not leave."""
        if self._sealer is not None:
            return self._sealer.seal_rtcp(packet)
        return None if self.required else packet

    def open(self, data: memoryview | bytes) -> bytes | None:
        """The RTP packet inside; None, and counted, for what is not the peer's."""
        try:
            if self._opener is None:
                raise Unauthentic
            return self._opener.open(bytes(data))
        except Unauthentic:
            self.unauthentic += 1
        except Replayed:
            self.replayed += 1
        return None

    def open_rtcp(self, data: memoryview | bytes) -> bytes | None:
        """The RTCP compound inside; None, and counted, for what is not the peer's."""
        try:
            if self._opener is None:
                raise Unauthentic
            return self._opener.open_rtcp(bytes(data))
        except Unauthentic:
            self.unauthentic += 1
        except Replayed:
            self.replayed += 1
        return None
