"""Negotiation of media encryption in session descriptions.

There are two ways to agree on keys. SDES writes them into the description (RFC 4568). DTLS-SRTP
writes the fingerprint of a certificate there, and a handshake on the media path makes the keys
(RFC 5763). :class:`MediaSecurity` writes and reads the attributes and decides by a policy:

==========  ==============================  =====================================================
policy      what we offer                   what we accept
==========  ==============================  =====================================================
off         plain RTP                       plain RTP; encryption when nothing else is offered
optional    plain RTP with SDES keys that   any offer, with encryption if possible
            may be ignored (RFC 8643)
required    SDES over encrypted             DTLS-SRTP; SDES only over encrypted signalling, because
            signalling, else DTLS-SRTP      anyone who can read the signalling can read the keys
sdes        SDES                            SDES, whatever carries the signalling
dtls        DTLS-SRTP                       DTLS-SRTP
==========  ==============================  =====================================================

The module is pure: keys come from the random source that the caller passes.
"""

from __future__ import annotations

import base64
import binascii
import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, Literal, NamedTuple

from spech.agreement import DtlsPeer, Security, SrtpKeys
from spech.errors import RemoteProtocolError
from spech.sip.description.sdp import Attributes, MediaDescription, SessionDescription

Policy = Literal["off", "optional", "required", "sdes", "dtls"]
POLICIES: Final[tuple[Policy, ...]] = ("off", "optional", "required", "sdes", "dtls")

#: Crypto suites (RFC 4568 6.2, RFC 7714 14.2), in order of preference, each with the length of
#: master key and salt in bytes.
SUITES: Final = {
    "AEAD_AES_256_GCM": 44,
    "AEAD_AES_128_GCM": 28,
    "AES_CM_128_HMAC_SHA1_80": 30,
    "AES_CM_128_HMAC_SHA1_32": 30,
}

#: Accepted fingerprint hashes, SHA-256 (RFC 8122 5) and stronger, with their length in hex digits.
_HASHES: Final = {"sha-256": 64, "sha-384": 96, "sha-512": 128}

#: The shortest key lifetime that is accepted, in packets: 5.8 hours of audio. A shorter one would
#: require a change of keys during the call.
_SHORTEST_LIFETIME: Final = 2**20

_PLAIN: Final = ("RTP/AVP", "RTP/AVPF")
_SECURE: Final = ("RTP/SAVP", "RTP/SAVPF", "UDP/TLS/RTP/SAVP", "UDP/TLS/RTP/SAVPF")
_DTLS_ONLY: Final = ("UDP/TLS/RTP/SAVP", "UDP/TLS/RTP/SAVPF")

_CRYPTO: Final = re.compile(r"([0-9]{1,9})[ \t]+([A-Za-z0-9_]+)[ \t]+(\S+)((?:[ \t]+\S+)*)")
_INLINE: Final = re.compile(
    r"inline:([A-Za-z0-9+/]{1,88}={0,2})(?:\|(?:2\^([0-9]{1,2})|([0-9]{1,15})))?", re.IGNORECASE
)
_FINGERPRINT: Final = re.compile(r"(\S+)[ \t]+([0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2})+)")


class _Line(NamedTuple):
    """An ``a=crypto`` line."""

    tag: str
    suite: str
    key: bytes

    def __repr__(self) -> str:
        return f"<crypto {self.tag} {self.suite}>"

    def means(self, other: _Line | None) -> bool:
        """Whether suite and key are the same; the tags may differ."""
        return other is not None and (self.suite, self.key) == (other.suite, other.key)

    def __str__(self) -> str:
        return f"{self.tag} {self.suite} inline:{base64.b64encode(self.key).decode()}"


class Choice(NamedTuple):
    """A media line that we can answer, with SDES keys, a DTLS peer, or neither (plain RTP)."""

    media: MediaDescription
    line: _Line | None = None
    dtls: DtlsPeer | None = None

    @property
    def secure(self) -> bool:
        """Whether the audio would be encrypted."""
        return self.line is not None or self.dtls is not None


class MediaSecurity:
    """Our side of the negotiation of encryption in one session.

    Args:
        policy: see the table above.
        signalling_secure: whether the signalling runs over TLS.
        rng: generates the keys; without it SDES is neither offered nor accepted.
        fingerprint: returns that of our certificate, as a value of ``a=fingerprint``; without it
            DTLS-SRTP is neither offered nor accepted.
    """

    def __init__(
        self,
        policy: Policy = "off",
        *,
        signalling_secure: bool = False,
        rng: random.Random | None = None,
        fingerprint: Callable[[], str] | None = None,
    ) -> None:
        self._policy = policy
        self._rng = rng
        self._fingerprint = fingerprint
        sdes = policy != "dtls" and (policy != "required" or signalling_secure)
        self._takes_sdes = sdes and rng is not None
        self._takes_dtls = policy != "sdes" and fingerprint is not None
        self._takes_plain = policy in ("off", "optional")
        #: Our lines of the last offer or answer, by tag.
        self._ours: dict[str, _Line] = {}
        #: What is in use, and in which profile; None before the first agreement.
        self._agreed: Security | None = None
        self._protocol: str | None = None
        self._theirs: _Line | None = None
        #: Whether our last offer was DTLS-SRTP.
        self.dtls_offered = False

    @property
    def confidential(self) -> bool:
        """Whether our descriptions contain keys that only encrypted signalling may carry."""
        return self._policy == "required" and self._takes_sdes

    # ------------------------------------------------------------------ offering

    def offer(self) -> tuple[str, Attributes]:
        """The profile of our media line and its attributes.

        In an established session they are those in use, with the same key: a new one would restart
        the encryption (RFC 4568 7.1.4).
        """
        protocol, attributes = self._offer()
        self.dtls_offered = any(name == "fingerprint" for name, _ in attributes)
        return protocol, attributes

    def _offer(self) -> tuple[str, Attributes]:
        if self._protocol is not None:
            return self._protocol, self._attributes(self._agreed)
        if self._policy == "off":
            return "RTP/AVP", ()
        if self._policy == "optional":
            return "RTP/AVP", self._offer_sdes()
        if self._takes_sdes:
            return "RTP/SAVP", self._offer_sdes()
        return "UDP/TLS/RTP/SAVP", self._offer_dtls()

    def renew(self) -> None:
        """Use a new key in the next offer, because our address changes (RFC 4568 7.1.4)."""
        if isinstance(self._agreed, SrtpKeys):
            suite = self._agreed.suite
            line = next(line for line in self._ours.values() if line.suite == suite)
            self._ours = {line.tag: line._replace(key=self._new_key(suite))}

    def receive_answer(
        self, description: SessionDescription, media: MediaDescription
    ) -> Security | None:
        """The encryption that an answer to our offer agrees on; None is plain RTP.

        Raises:
            RemoteProtocolError: 488, when its encryption is not the one offered.
        """
        line = self._accepted_line(media)
        agreed: Security | None = None
        if line is not None:
            self._theirs = line
            agreed = SrtpKeys(line.suite, self._ours[line.tag].key, line.key)
        elif self.dtls_offered:
            agreed = self._their_dtls(description, media, answer=True)
        if agreed is None and not (media.protocol in _PLAIN and self._takes_plain):
            raise RemoteProtocolError("the encryption of the answer is not the one offered", 488)
        self._protocol, self._agreed = media.protocol, agreed
        return agreed

    # ------------------------------------------------------------------ answering

    def choose(self, description: SessionDescription, lines: Sequence[MediaDescription]) -> Choice:
        """Choose one of ``lines``, the audio lines that we can decode. This changes no state.

        Raises:
            RemoteProtocolError: 488, when the policy allows none.
        """
        choices = [choice for media in lines if (choice := self._choice(description, media))]
        if not lines:
            raise RemoteProtocolError("no audio over RTP is offered", 488)
        if not choices:
            if any(media.protocol in _SECURE for media in lines):
                raise RemoteProtocolError("the encryption offered is not supported", 488)
            raise RemoteProtocolError("encryption is required, and none is offered", 488)
        # A phone that leaves the choice to us offers two lines. Encrypted is better than plain,
        # unless we were told to leave it.
        plain_first = self._policy == "off"
        return min(choices, key=lambda choice: choice.secure == plain_first)

    def answer(self, choice: Choice) -> tuple[Attributes, Security | None]:
        """The attributes of our answer to what was chosen, and what is agreed on by it."""
        if choice.line is not None:
            self._agreed = self._answer_sdes(choice.line)
        else:
            self._agreed = choice.dtls
        self._protocol = choice.media.protocol
        return self._attributes(self._agreed, answer=True), self._agreed

    def _choice(self, description: SessionDescription, media: MediaDescription) -> Choice | None:
        if media.protocol in _PLAIN and self._policy == "off":
            return Choice(media)
        line = self._usable_line(media)
        dtls = self._their_dtls(description, media)
        if dtls is not None and not (line and isinstance(self._agreed, SrtpKeys)):
            return Choice(media, dtls=dtls)
        if line is not None:
            return Choice(media, line)
        return Choice(media) if media.protocol in _PLAIN and self._takes_plain else None

    # ------------------------------------------------------------------ SDES

    def _offer_sdes(self) -> Attributes:
        if not self._takes_sdes:
            return ()
        if not self._ours:
            for number, suite in enumerate(SUITES, 1):
                self._ours[str(number)] = _Line(str(number), suite, self._new_key(suite))
        return tuple(("crypto", str(line)) for line in self._ours.values())

    def _answer_sdes(self, theirs: _Line) -> SrtpKeys:
        """Keep our key while the peer keeps its own; otherwise generate a new one."""
        ours = next((line for line in self._ours.values() if line.suite == theirs.suite), None)
        if ours is None or not theirs.means(self._theirs):
            ours = _Line(theirs.tag, theirs.suite, self._new_key(theirs.suite))
        self._theirs = theirs
        self._ours = {theirs.tag: ours._replace(tag=theirs.tag)}
        return SrtpKeys(ours.suite, ours.key, theirs.key)

    def _usable_line(self, media: MediaDescription) -> _Line | None:
        """The line in use if it is offered again, otherwise the first that is supported."""
        if not self._takes_sdes or media.protocol in _DTLS_ONLY:
            return None
        lines = _crypto_lines(media)
        again = next((line for line in lines if line.means(self._theirs)), None)
        return again or (lines[0] if lines else None)

    def _accepted_line(self, media: MediaDescription) -> _Line | None:
        """The peer's line in an answer, with the tag of ours that it accepts (RFC 4568 5.1.3).

        Raises:
            RemoteProtocolError: 488, when it accepts none of ours, or several.
        """
        if media.attribute("crypto") is None or not self._ours:
            return None
        lines = _crypto_lines(media)
        ours = self._ours.get(lines[0].tag) if len(lines) == 1 else None
        if ours is None or ours.suite != lines[0].suite or ours.key == lines[0].key:
            raise RemoteProtocolError("the answer accepts none of the keys offered", 488)
        return lines[0]

    def _new_key(self, suite: str) -> bytes:
        assert self._rng is not None
        return self._rng.randbytes(SUITES[suite])

    # ------------------------------------------------------------------ DTLS

    def _offer_dtls(self) -> Attributes:
        if self._fingerprint is None or not self._takes_dtls:
            return ()
        return (("fingerprint", self._fingerprint()), ("setup", "actpass"))

    def _their_dtls(
        self, description: SessionDescription, media: MediaDescription, *, answer: bool = False
    ) -> DtlsPeer | None:
        """The DTLS attributes of the peer, at the media or the session level."""
        if not self._takes_dtls:
            return None
        attributes = media.attributes
        if media.attribute("fingerprint") is None:
            attributes = (*attributes, *description.attributes)
        fingerprints = _fingerprints(attributes)
        setup = media.attribute("setup") or description.attribute("setup")
        # RFC 4145 4.1: the default is "active" in an offer and "passive" in an answer.
        setup = (setup or ("passive" if answer else "active")).lower()
        if not fingerprints or setup not in ("active", "passive", "actpass"):
            return None
        before = self._agreed
        if not isinstance(before, DtlsPeer) or before.fingerprints != fingerprints:
            return DtlsPeer(fingerprints, client=setup != "active")
        # The association continues, in the same roles if we may choose. Only a client has to know
        # about a new association (RFC 4145 5); a server notices the handshake.
        client = before.client if setup == "actpass" else setup != "active"
        again = client and media.attribute("connection") == "new"
        return DtlsPeer(fingerprints, client, before.number + again)

    # ------------------------------------------------------------------ both

    def _attributes(self, agreed: Security | None, *, answer: bool = False) -> Attributes:
        match agreed:
            case SrtpKeys(suite):
                line = next(line for line in self._ours.values() if line.suite == suite)
                return (("crypto", str(line)),)
            case DtlsPeer(_, client):
                assert self._fingerprint is not None
                role = "active" if client else "passive"
                return (
                    ("fingerprint", self._fingerprint()),
                    ("setup", role if answer else "actpass"),
                )
        return ()


def audio_lines(description: SessionDescription) -> list[MediaDescription]:
    """The media lines for audio over RTP, without the rejected ones."""
    return [
        media
        for media in description.media
        if media.kind == "audio" and media.port and media.protocol in _PLAIN + _SECURE
    ]


def _crypto_lines(media: MediaDescription) -> list[_Line]:
    """The supported crypto lines, in order. Lines that share a tag are ignored."""
    values = [value or "" for name, value in media.attributes if name == "crypto"]
    tags = Counter(value.replace("\t", " ").partition(" ")[0] for value in values)
    lines = [line for value in values if (line := _read_crypto(value))]
    return [line for line in lines if tags[line.tag] == 1]


def _read_crypto(value: str) -> _Line | None:
    """Parse a crypto line; None when it is not supported.

    Not supported are unknown suites, several keys, keys with an MKI, short key lifetimes, and
    session parameters (RFC 4568 6.3.7: a line with an unknown one must not be accepted), except
    WSH, which is a hint, and those that begin with ``-``, which are optional.
    """
    found = _CRYPTO.fullmatch(value)
    if found is None:
        return None
    tag, suite, parameters, session = found.groups()
    inline = _INLINE.fullmatch(parameters)
    if suite not in SUITES or inline is None:
        return None
    if any(not word.startswith(("WSH=", "-")) for word in session.split()):
        return None
    lifetime = 2 ** int(inline[2]) if inline[2] else int(inline[3] or _SHORTEST_LIFETIME)
    try:
        # RFC 4568 9.2 asks for the padding; rtpengine omits it.
        key = base64.b64decode(inline[1] + "=" * (-len(inline[1]) % 4), validate=True)
    except binascii.Error:
        return None
    if len(key) != SUITES[suite] or lifetime < _SHORTEST_LIFETIME:
        return None
    return _Line(tag, suite, key)


def _fingerprints(attributes: Attributes) -> tuple[tuple[str, str], ...]:
    """The fingerprints whose hash is accepted."""
    found = []
    for name, value in attributes:
        if name == "fingerprint" and (match := _FINGERPRINT.fullmatch(value or "")):
            kind, digest = match[1].lower(), match[2].replace(":", "").lower()
            if len(digest) == _HASHES.get(kind, 0):
                found.append((kind, digest))
    return tuple(found)
