"""DTLS-SRTP: media keys from a handshake on the media path (RFC 5763, RFC 5764).

Bytes go in, bytes come out: OpenSSL works in memory. It keeps its own retransmission timer
(RFC 6347 section 4.2.4) and is asked at every tick whether a retransmission is due.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import SSL, crypto

from spech.addresses import Address
from spech.agreement import DtlsPeer, SrtpKeys

#: Seconds within which the handshake has to complete.
HANDSHAKE_TIMEOUT: Final = 20.0
#: Seconds between two attempts, where a handshake fails.
_AGAIN: Final = 1.0
#: Concurrent handshakes with different addresses; only one of them can show the right certificate.
_MOST_PEERS: Final = 4
#: Handshakes that may begin in one tick. Each costs 0.2 ms.
_MOST_HELLOS: Final = 4
#: The longest datagram that we send, in bytes: any path takes it.
_MTU: Final = 1200

_DTLS_1_2: Final = 0xFEFD
_LABEL: Final = b"EXTRACTOR-dtls_srtp"  # RFC 5764 section 4.2
_RECORD_HEAD: Final = 13
#: The content type of handshake records, and the type of a ClientHello (RFC 6347 4.3.2).
_HANDSHAKE: Final = 22
_CLIENT_HELLO: Final = b"\x01"
#: The random bytes of a ClientHello. A retransmission repeats them, a new attempt has others.
_RANDOM: Final = slice(27, 59)
#: The fragment offset of a handshake message (RFC 6347 section 4.2.2).
_FRAGMENT_OFFSET: Final = slice(19, 22)
#: The first message of a server: ServerHello or HelloVerifyRequest.
_FIRST_ANSWERS: Final = (b"\x02", b"\x03")
#: After this many answers without the right certificate no further host is followed.
_MOST_REFUSED: Final = 8

#: Protection profiles, preferred first: suite, bytes of master key and salt (RFC 5764, RFC 7714).
_PROFILES: Final = {
    b"SRTP_AEAD_AES_256_GCM": ("AEAD_AES_256_GCM", 32, 12),
    b"SRTP_AEAD_AES_128_GCM": ("AEAD_AES_128_GCM", 16, 12),
    b"SRTP_AES128_CM_SHA1_80": ("AES_CM_128_HMAC_SHA1_80", 16, 14),
    b"SRTP_AES128_CM_SHA1_32": ("AES_CM_128_HMAC_SHA1_32", 16, 14),
}
#: Hashes as fingerprints name them (RFC 8122 section 5), and as OpenSSL does.
_HASHES: Final = {"sha-256": "sha256", "sha-384": "sha384", "sha-512": "sha512"}


class Certificate:
    """A self-signed certificate; the signalling carries its fingerprint.

    Each object makes a new one, which takes a fraction of a millisecond.
    """

    def __init__(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "spech")])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            # Peers ignore the dates, and a wrong clock must not prevent a call.
            .not_valid_before(datetime(2000, 1, 1, tzinfo=UTC))
            .not_valid_after(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))  # RFC 5280 4.1.2.5
            .sign(key, hashes.SHA256())
        )
        #: The value of ``a=fingerprint`` (RFC 8122 section 5).
        self.fingerprint = "sha-256 " + certificate.fingerprint(hashes.SHA256()).hex(":").upper()
        context = SSL.Context(SSL.DTLS_METHOD)
        context.set_min_proto_version(_DTLS_1_2)
        context.set_options(SSL.OP_NO_QUERY_MTU | SSL.OP_NO_TICKET | SSL.OP_NO_RENEGOTIATION)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.use_certificate(certificate)
        context.use_privatekey(key)
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, _verify)
        context.set_tlsext_use_srtp(b":".join(_PROFILES))
        self.context: Final = context


class Handshake:
    """One attempt at a handshake, with one address.

    Args:
        random: the random bytes of the peer's ClientHello, where the peer begins.

    Attributes:
        keys: the media keys, once the handshake is complete.
        failure: "broken" where the peer ended the handshake or violated the protocol, "certificate"
            where its certificate is not the announced one.
    """

    def __init__(self, certificate: Certificate, peer: DtlsPeer, random: bytes = b"") -> None:
        self.keys: SrtpKeys | None = None
        self.failure: str | None = None
        self.random = random
        self._peer = peer
        self._known = False
        self._begun: float | None = None
        self._connection = SSL.Connection(certificate.context, None)
        self._connection.set_app_data(self)
        self._connection.set_ciphertext_mtu(_MTU)
        if peer.client:
            self._connection.set_connect_state()
        else:
            self._connection.set_accept_state()

    def begin(self) -> None:
        """Send the first flight."""
        self._proceed()

    def receive_datagram(self, datagram: bytes) -> None:
        """Take one datagram of the peer. Anything that is not DTLS is ignored."""
        self._connection.bio_write(datagram)
        self._proceed()

    def retransmit(self, now: float) -> None:
        """Retransmit an unanswered flight when due; give up after :data:`HANDSHAKE_TIMEOUT`."""
        if self._begun is None:
            self._begun = now
        if now - self._begun > HANDSHAKE_TIMEOUT:
            self.failure = "broken"
        elif self._connection.DTLSv1_get_timeout() == 0:
            try:
                self._connection.DTLSv1_handle_timeout()
            except SSL.Error:
                self.failure = "broken"

    def to_send(self) -> Iterator[bytes]:
        """The datagrams that have to be sent."""
        try:
            waiting = self._connection.bio_read(1 << 16)
        except SSL.WantReadError:
            return
        # OpenSSL's memory buffer does not keep datagram boundaries. Records may share a datagram.
        start = end = 0
        while end < len(waiting):
            size = _RECORD_HEAD + int.from_bytes(waiting[end + 11 : end + 13], "big")
            if end > start and end + size - start > _MTU:
                yield waiting[start:end]
                start = end
            end += size
        yield waiting[start:]

    def _proceed(self) -> None:
        try:
            if self.keys is None:
                self._connection.do_handshake()
                self._finish()
            # A peer that missed our last flight repeats its own; this answers it.
            self._connection.recv(_MTU)
        except (SSL.WantReadError, SSL.ZeroReturnError):
            pass
        except SSL.Error:
            self.failure = self.failure or "broken"

    def knows(self, certificate: crypto.X509) -> bool:
        """Whether ``certificate`` is the announced one.

        Only its digest is compared: OpenSSL accepts certificates that a stricter parser refuses,
        and any source may present one.
        """
        for kind, digest in self._peer.fingerprints:
            shown = certificate.digest(_HASHES[kind]).decode().replace(":", "").lower()
            if shown == digest:
                self._known = True
                return True
        self.failure = "certificate"
        return False

    def _finish(self) -> None:
        profile = self._connection.get_selected_srtp_profile()
        if not self._known or profile not in _PROFILES:
            self.failure = "broken"
            return
        suite, key, salt = _PROFILES[profile]
        made = self._connection.export_keying_material(_LABEL, 2 * (key + salt))
        # RFC 5764 section 4.2: both keys, then both salts, the client's first.
        client = made[:key] + made[2 * key : 2 * key + salt]
        server = made[key : 2 * key] + made[2 * key + salt :]
        ours, theirs = (client, server) if self._peer.client else (server, client)
        self.keys = SrtpKeys(suite, ours, theirs)


def _verify(
    connection: SSL.Connection, certificate: crypto.X509, error: int, depth: int, valid: int
) -> bool:
    """Only the peer's own certificate counts; no authority has to sign it."""
    handshake: Handshake = connection.get_app_data()
    return depth > 0 or handshake.knows(certificate)


class Association:
    """Obtains keys on one socket, despite lost datagrams, forged ones and strangers.

    Each address that begins a handshake with us gets its own, so that a stranger cannot break the
    peer's; the first one to show the announced certificate wins. Where we begin, the answer may
    come from another address than the one we sent to (several networks, containers); the
    certificate decides there as well. A handshake that fails is started again. Some peers start a
    new one at each re-INVITE, though nothing has changed: the keys in force serve until it
    completes.

    Attributes:
        keys: the media keys, once a handshake is complete.
        proven: the address from which the peer has completed the handshake.
        failure: why there will be no keys, as a message for people.
    """

    def __init__(self, certificate: Certificate, peer: DtlsPeer) -> None:
        self.keys: SrtpKeys | None = None
        self.proven: Address | None = None
        self.failure: str | None = None
        self._certificate = certificate
        self._peer = peer
        #: By the address that we send to. Where we begin, there is one.
        self._handshakes: dict[Address, Handshake] = {}
        self._refused: set[Address] = set()
        self._out: list[tuple[bytes, Address]] = []
        self._begun: float | None = None
        self._next = 0.0
        self._hellos = 0

    @property
    def busy(self) -> bool:
        """Whether :meth:`tick` has something to do."""
        if self._out or self._hellos:
            return True
        if self.keys is None:
            return self.failure is None
        return any(handshake.keys is None for handshake in self._handshakes.values())

    def receive_datagram(
        self, datagram: bytes, source: Address, destination: Address | None
    ) -> bool:
        """Take a datagram; return whether it was used. ``destination`` is where we send RTP."""
        if self._peer.client:
            address = self._answerer(datagram, source, destination)
        else:
            address = source
            self._note_hello(datagram, source, destination)
        if address is None or address not in self._handshakes:
            return False
        handshake = self._handshakes[address]
        done = handshake.keys is not None
        handshake.receive_datagram(datagram)
        self._look(address, destination)
        if handshake.keys is not None and not done:
            self.proven = source
        return True

    def tick(self, now: float, destination: Address | None) -> list[tuple[bytes, Address]]:
        """The datagrams to send now, and where to. Called every 20 ms while :attr:`busy`."""
        if self._begun is None:
            self._begun = now
        self._hellos = 0
        if self._peer.client and not self._answered_elsewhere(destination):
            self._follow(destination)
        for address, handshake in tuple(self._handshakes.items()):
            if handshake.keys is None:
                handshake.retransmit(now)
                self._look(address, destination)
        if self.keys is None and self.failure is None:
            if now - self._begun > HANDSHAKE_TIMEOUT:
                self.failure = "the other side did not complete the handshake for encryption"
            elif self._peer.client and not self._handshakes and destination and now >= self._next:
                self._next = now + _AGAIN
                self._handshakes[destination] = handshake = Handshake(self._certificate, self._peer)
                handshake.begin()
                self._look(destination, destination)
        out, self._out = self._out, []
        return out

    # Where we begin

    def _answerer(
        self, datagram: bytes, source: Address, destination: Address | None
    ) -> Address | None:
        """The address whose handshake a datagram belongs to, None for a stranger."""
        if destination is None or source in self._handshakes:
            return source
        if source[0] == destination[0]:  # The same host may answer from another port.
            return next(iter(self._handshakes), None)
        first = datagram[0] == _HANDSHAKE and datagram[13:14] in _FIRST_ANSWERS
        if (
            not first
            or self.keys is not None
            or self._answered_elsewhere(destination)
            or source in self._refused
            or len(self._refused) >= _MOST_REFUSED
        ):
            return None
        return self._follow(source)

    def _answered_elsewhere(self, destination: Address | None) -> bool:
        """Whether our handshake continues with another host than the one we send RTP to."""
        address = next(iter(self._handshakes), None)
        return address is not None and destination is not None and address[0] != destination[0]

    def _follow(self, destination: Address | None) -> Address | None:
        """Continue our handshake with another address."""
        if destination is not None and self._handshakes:
            self._handshakes = {destination: next(iter(self._handshakes.values()))}
        return destination

    # Where the peer begins

    def _note_hello(self, datagram: bytes, source: Address, destination: Address | None) -> None:
        """Begin a handshake where a datagram is the ClientHello of a new attempt.

        It may arrive in fragments (RFC 6347 section 4.2.3), in any order. Only the first fragment
        has the random bytes that identify the attempt.
        """
        if datagram[0] != _HANDSHAKE or datagram[13:14] != _CLIENT_HELLO:
            return
        known = self._handshakes.get(source)
        random = datagram[_RANDOM] if datagram[_FRAGMENT_OFFSET] == b"\0\0\0" else b""
        if known is not None and known.keys is None and not known.random:
            known.random = random
        if known is not None and (not random or known.random == random):
            return
        if self.keys is not None and (destination is None or source[0] != destination[0]):
            return
        if self._hellos >= _MOST_HELLOS or self.failure is not None:
            return
        self._hellos += 1
        self._handshakes.pop(source, None)
        self._make_room(destination)
        self._handshakes[source] = Handshake(self._certificate, self._peer, random)

    def _make_room(self, destination: Address | None) -> None:
        """Drop the oldest handshake, so that a flood of strangers cannot keep the peer out."""
        if len(self._handshakes) >= _MOST_PEERS:
            strangers = (address for address in self._handshakes if address != destination)
            del self._handshakes[next(strangers)]

    # Both

    def _look(self, address: Address, destination: Address | None) -> None:
        """Handle the outcome of a step."""
        handshake = self._handshakes[address]
        self._out += [(datagram, address) for datagram in handshake.to_send()]
        if handshake.keys is not None:
            self.keys = handshake.keys
            self._handshakes = {address: handshake}  # The peer may need its last flight again.
        elif handshake.failure is not None:
            del self._handshakes[address]
            if address != destination:
                self._refused.add(address)
            elif handshake.failure == "certificate" and self.keys is None:
                self.failure = "the other side showed another certificate than it announced"
