"""How a call's sound is encrypted, as far as session descriptions say so.

Two ways of agreeing on keys: SDES writes them into the description (RFC 4568), DTLS-SRTP writes
the fingerprint of a certificate there, and a handshake on the media path makes the keys
(RFC 5763). :class:`MediaSecurity` builds and reads the attributes and decides by a policy:

==========  ==============================  =====================================================
policy      what we offer                   what we take
==========  ==============================  =====================================================
off         plain sound                     plain sound; encrypted where nothing else is offered
optional    plain, with keys for who takes  what is offered, encrypted if possible
            them: SDES (RFC 8643)
required    SDES over encrypted             DTLS-SRTP; SDES over encrypted signalling only, since
            signalling, else DTLS-SRTP      whoever reads the signalling reads its keys
sdes        SDES                            SDES, whatever carries the signalling
dtls        DTLS-SRTP                       DTLS-SRTP
==========  ==============================  =====================================================

Pure: keys come out of the random source that is handed in.
"""

from __future__ import annotations

import base64
import binascii
import random
import re
from collections import Counter
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from spech.agreement import DtlsPeer, Security, SrtpKeys
from spech.errors import RemoteProtocolError
from spech.sip.description.sdp import Attributes, MediaDescription, SessionDescription

Policy = Literal["off", "optional", "required", "sdes", "dtls"]
POLICIES: Final[tuple[Policy, ...]] = ("off", "optional", "required", "sdes", "dtls")

#: Crypto suites (RFC 4568 6.2, RFC 7714 14.2), preferred first: bytes of master key and salt.
SUITES: Final = {
    "AEAD_AES_256_GCM": 44,
    "AEAD_AES_128_GCM": 28,
    "AES_CM_128_HMAC_SHA1_80": 30,
    "AES_CM_128_HMAC_SHA1_32": 30,
}

#: Hashes that a fingerprint may be made with: SHA-256 (RFC 8122 5) and stronger, as hex digits.
_HASHES: Final = {"sha-256": 64, "sha-384": 96, "sha-512": 128}

#: Keys that live shorter than this many packets, 5.8 hours of sound, are not taken: we would have
#: to change them in mid-call.
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
        """Whether it is the same key for the same suite, by whatever tag."""
        return other is not None and (self.suite, self.key) == (other.suite, other.key)

    def __str__(self) -> str:
        return f"{self.tag} {self.suite} inline:{base64.b64encode(self.key).decode()}"


class Choice(NamedTuple):
    """A media line that we can answer, and how: with keys, with a handshake, or plain."""

    media: MediaDescription
    line: _Line | None = None
    dtls: DtlsPeer | None = None

    @property
    def secure(self) -> bool:
        """Whether the sound would be encrypted."""
        return self.line is not None or self.dtls is not None


class MediaSecurity:
    """Our side of the agreement on encryption, in one session.

    Args:
        policy: see above.
        signalling_secure: whether the descriptions travel over TLS.
        rng: makes the keys; without it SDES is neither offered nor taken.
        fingerprint: of our certificate as ``a=fingerprint`` has it; without it, no DTLS-SRTP.
    """

    def __init__(
        self,
        policy: Policy = "off",
        *,
        signalling_secure: bool = False,
        rng: random.Random | None = None,
        fingerprint: str | None = None,
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
        #: What is in force, in which profile; nothing before the first agreement.
        self._agreed: Security | None = None
        self._protocol: str | None = None
        self._theirs: _Line | None = None
        #: Whether our last offer was one of DTLS-SRTP.
        self.dtls_offered = False

    @property
    def confidential(self) -> bool:
        """Whether our descriptions hold keys that only encrypted signalling may carry."""
        return self._policy == "required" and self._takes_sdes

    # ------------------------------------------------------------------ offering

    def offer(self) -> tuple[str, Attributes]:
        """The profile of our media line and the attributes that go with it.

        In a running session they are those in force, with the same key: another one would restart
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
        """Have another key of ours in the next offer: our address changes (RFC 4568 7.1.4)."""
        if isinstance(self._agreed, SrtpKeys):
            suite = self._agreed.suite
            line = next(line for line in self._ours.values() if line.suite == suite)
            self._ours = {line.tag: line._replace(key=self._new_key(suite))}

    def receive_answer(
        self, description: SessionDescription, media: MediaDescription
    ) -> Security | None:
        """What their answer to our offer means; None is plain sound.

        Raises:
            RemoteProtocolError: 488, it is not encrypted as was offered.
        """
        line = self._accepted_line(media)
        agreed: Security | None = None
        if line is not None:
            self._theirs = line
            agreed = SrtpKeys(line.suite, self._ours[line.tag].key, line.key)
        elif self.dtls_offered:
            agreed = self._their_dtls(description, media, answer=True)
        if agreed is None and not (media.protocol in _PLAIN and self._takes_plain):
            raise RemoteProtocolError("the answer is not encrypted as was offered", 488)
        self._protocol, self._agreed = media.protocol, agreed
        return agreed

    # ------------------------------------------------------------------ answering

    def choose(self, description: SessionDescription, lines: Sequence[MediaDescription]) -> Choice:
        """Which of ``lines``, the audio lines that we could decode, to answer.

        This changes nothing.

        Raises:
            RemoteProtocolError: 488, there is none that the policy allows.
        """
        choices = [choice for media in lines if (choice := self._choice(description, media))]
        if not lines:
            raise RemoteProtocolError("no audio over RTP is offered", 488)
        if not choices:
            if any(media.protocol in _SECURE for media in lines):
                raise RemoteProtocolError("the encryption offered is not one that we take", 488)
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
        """Keep our key while theirs stays the same; where theirs is new, make another."""
        ours = next((line for line in self._ours.values() if line.suite == theirs.suite), None)
        if ours is None or not theirs.means(self._theirs):
            ours = _Line(theirs.tag, theirs.suite, self._new_key(theirs.suite))
        self._theirs = theirs
        self._ours = {theirs.tag: ours._replace(tag=theirs.tag)}
        return SrtpKeys(ours.suite, ours.key, theirs.key)

    def _usable_line(self, media: MediaDescription) -> _Line | None:
        """The line in force if it is offered again, or else the first that we understand."""
        if not self._takes_sdes or media.protocol in _DTLS_ONLY:
            return None
        lines = _crypto_lines(media)
        again = next((line for line in lines if line.means(self._theirs)), None)
        return again or (lines[0] if lines else None)

    def _accepted_line(self, media: MediaDescription) -> _Line | None:
        """Which of our lines their answer accepts, with their key (RFC 4568 5.1.3).

        Raises:
            RemoteProtocolError: 488, it is not one of ours, or there are several.
        """
        if media.attribute("crypto") is None or not self._ours:
            return None
        lines = _crypto_lines(media)
        ours = self._ours.get(lines[0].tag) if len(lines) == 1 else None
        if ours is None or ours.suite != lines[0].suite or ours.key == lines[0].key:
            raise RemoteProtocolError("the answer accepts no key that was offered", 488)
        return lines[0]

    def _new_key(self, suite: str) -> bytes:
        assert self._rng is not None
        return self._rng.randbytes(SUITES[suite])

    # ------------------------------------------------------------------ DTLS

    def _offer_dtls(self) -> Attributes:
        if self._fingerprint is None or not self._takes_dtls:
            return ()
        return (("fingerprint", self._fingerprint), ("setup", "actpass"))

    def _their_dtls(
        self, description: SessionDescription, media: MediaDescription, *, answer: bool = False
    ) -> DtlsPeer | None:
        """What they say about the handshake, on their line or for the whole session."""
        if not self._takes_dtls:
            return None
        attributes = media.attributes
        if media.attribute("fingerprint") is None:
            attributes = (*attributes, *description.attributes)
        fingerprints = _fingerprints(attributes)
        setup = media.attribute("setup") or description.attribute("setup")
        # RFC 4145 4.1: who says nothing offers "active", and answers "passive".
        setup = (setup or ("passive" if answer else "active")).lower()
        if not fingerprints or setup not in ("active", "passive", "actpass"):
            return None
        before = self._agreed
        if not isinstance(before, DtlsPeer) or before.fingerprints != fingerprints:
            return DtlsPeer(fingerprints, client=setup != "active")
        # The association that there is goes on, in the same roles if we have the choice. Where it
        # is to be another one (RFC 4145 5) and we begin it, we have to be told; else we notice.
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
                    ("fingerprint", self._fingerprint),
                    ("setup", role if answer else "actpass"),
                )
        return ()


def audio_lines(description: SessionDescription) -> list[MediaDescription]:
    """The media lines that mean audio over RTP, without those that are rejected."""
    return [
        media
        for media in description.media
        if media.kind == "audio" and media.port and media.protocol in (*_PLAIN, *_SECURE)
    ]


def _crypto_lines(media: MediaDescription) -> list[_Line]:
    """The crypto lines that we understand, in their order; a tag that comes twice means none."""
    values = [value or "" for name, value in media.attributes if name == "crypto"]
    tags = Counter(value.replace("\t", " ").partition(" ")[0] for value in values)
    lines = [line for value in values if (line := _read_crypto(value))]
    return [line for line in lines if tags[line.tag] == 1]


def _read_crypto(value: str) -> _Line | None:
    """A crypto line; None for one that asks for what we do not do.

    That is an unknown suite, several keys or one with an MKI, keys that live too short, and
    session parameters (RFC 4568 6.3.7: whoever does not know one must not accept the line). WSH is
    a hint, and those that begin with ``-`` may be left aside.
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
    """The fingerprints made with a hash that can be relied on."""
    found = []
    for name, value in attributes:
        if name == "fingerprint" and (match := _FINGERPRINT.fullmatch(value or "")):
            kind, digest = match[1].lower(), match[2].replace(":", "").lower()
            if len(digest) == _HASHES.get(kind, 0):
                found.append((kind, digest))
    return tuple(found)
