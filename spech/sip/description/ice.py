"""ICE in offers and answers (RFC 8839): our side of one session, in plain values."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import Final

from spech.addresses import Address, numeric
from spech.agreement import RTCP, RTP, Candidate, IceAgreement, IceSide
from spech.sip.description import sdp
from spech.sip.message.grammar import maybe_number

_MOST_CANDIDATES: Final = 100

_CREDENTIAL: Final = re.compile(r"[A-Za-z0-9+/]+")
_CANDIDATE: Final = re.compile(
    r"(?P<foundation>[A-Za-z0-9+/]{1,32})[ ]+(?P<component>[0-9]{1,3})[ ]+(?P<transport>\S+)[ ]+"
    r"(?P<priority>[0-9]{1,10})[ ]+(?P<host>\S+)[ ]+(?P<port>[0-9]{1,5})[ ]+typ[ ]+(?P<kind>\S+)"
    r"(?:[ ]+raddr[ ]+(?P<related>\S+)[ ]+rport[ ]+(?P<related_port>[0-9]{1,5}))?"
)

_Lines = list[tuple[str, str | None]]


class IceNegotiation:
    """Writes the ICE attributes of our offers and answers, and reads those of the peer.

    Args:
        candidates: our candidates.
        offers: whether our offers use ICE before the peer has used it.
        lite: answer as a lite agent (RFC 8445 2.5), unless the peer is one.
        rng: generates the credentials.
    """

    def __init__(
        self, candidates: Sequence[Candidate], *, offers: bool, lite: bool, rng: random.Random
    ) -> None:
        #: Whether our offers use ICE: as configured at first, then as agreed.
        self.offered = offers
        self._candidates = tuple(candidates)
        self._lite_answers = lite
        self._lite = False
        self._rng = rng
        self._credentials = self._new_credentials()
        self._known: tuple[str, str] | None = None

    def move(self, candidates: Sequence[Candidate]) -> None:
        """Use new candidates: ICE restarts with the next offer (RFC 8839 4.4.1.1.1)."""
        self._candidates = tuple(candidates)
        self._credentials = self._new_credentials()
        self._known = None

    @property
    def session_lines(self) -> tuple[tuple[str, str | None], ...]:
        """The attributes at the session level (RFC 8839 5.3)."""
        return (("ice-lite", None),) if self.offered and self._lite else ()

    def offer(self) -> _Lines:
        """The attributes of the audio stream in an offer."""
        return self._lines((RTP, RTCP)) if self.offered else []

    def receive_answer(
        self,
        description: sdp.SessionDescription,
        media: sdp.MediaDescription,
        defaults: Sequence[Address],
    ) -> IceAgreement | None:
        """The agreement that an answer to our offer makes; None when it does not use ICE.

        ``defaults`` are the default destinations (by c=, m= and a=rtcp): that of RTP, and that of
        RTCP unless it shares the port.
        """
        theirs = _side(description, media, defaults) if self.offered else None
        if theirs is None or not _matches(theirs, defaults):
            return None
        self._known = (theirs.fragment, theirs.password)
        # A lite agent is never controlling (RFC 8445 6.1.1); of two full agents, the offerer is.
        return IceAgreement(self._side(), theirs, not self._lite)

    def receive_offer(
        self,
        description: sdp.SessionDescription,
        media: sdp.MediaDescription,
        defaults: Sequence[Address],
    ) -> tuple[_Lines, IceAgreement | None]:
        """The attributes of the audio stream in our answer, and the agreement."""
        theirs = _side(description, media, defaults)
        self.offered = theirs is not None and bool(self._candidates)
        if theirs is None or not self._candidates:
            return [], None
        if not _matches(theirs, defaults):
            # A middlebox has rewritten their address and would not let checks through
            # (RFC 8839 4.2.5).
            self.offered = False
            return [("ice-mismatch", None)], None
        credentials = (theirs.fragment, theirs.password)
        if self._known is not None and credentials != self._known:
            self._credentials = self._new_credentials()  # The peer restarts ICE.
        self._known = credentials
        self._lite = self._lite_answers and not theirs.lite
        lines = self._lines((RTP, RTCP)[: len(defaults)])
        return lines, IceAgreement(self._side(), theirs, theirs.lite)

    def _side(self) -> IceSide:
        return IceSide(*self._credentials, self._candidates, self._lite)

    def _lines(self, components: Sequence[int]) -> _Lines:
        fragment, password = self._credentials
        lines: _Lines = [
            ("ice-ufrag", fragment),
            ("ice-pwd", password),
            ("ice-options", "ice2"),
        ]
        lines += [
            ("candidate", _candidate_line(candidate))
            for candidate in self._candidates
            if candidate.component in components
        ]
        return lines

    def _new_credentials(self) -> tuple[str, str]:
        # RFC 8445 5.3 asks for 24 and 128 bits; hexadecimal digits are among the characters.
        return f"{self._rng.getrandbits(32):08x}", f"{self._rng.getrandbits(128):032x}"


def has_credentials(description: sdp.SessionDescription, media: sdp.MediaDescription) -> bool:
    """Whether the peer's description has usable ICE credentials."""
    return _credentials(description, media) is not None


def _credentials(
    description: sdp.SessionDescription, media: sdp.MediaDescription
) -> tuple[str, str] | None:
    def credential(name: str, least: int) -> str | None:
        value = media.attribute(name) or description.attribute(name) or ""
        return value if least <= len(value) <= 256 and _CREDENTIAL.fullmatch(value) else None

    fragment = credential("ice-ufrag", 4)
    password = None if fragment is None else credential("ice-pwd", 22)
    return None if fragment is None or password is None else (fragment, password)


def _side(
    description: sdp.SessionDescription,
    media: sdp.MediaDescription,
    defaults: Sequence[Address],
) -> IceSide | None:
    """The peer's side of ICE by its description; None when ICE cannot be used.

    The description may have no usable candidate: a browser hides its addresses behind ``.local``
    names, and a trickling agent (RFC 8838) has none yet. Their checks then show peer-reflexive
    candidates. When the default destination is an address nevertheless, a middlebox has removed
    the candidates, and ICE cannot be used.
    """
    credentials = _credentials(description, media)
    if credentials is None or media.attribute("ice-mismatch") is not None:
        return None
    values = [value for name, value in media.attributes if name == "candidate" and value]
    candidates = [_candidate(value) for value in values[:_MOST_CANDIDATES]]
    found = tuple(candidate for candidate in candidates if candidate is not None)
    lite = description.attribute("ice-lite") is not None
    if not found and (lite or any(_is_destination(host) for host, _ in defaults)):
        return None  # A lite agent sends no checks that could show its address.
    return IceSide(*credentials, found, lite)


def _is_destination(host: str) -> bool:
    """Whether ``host`` can be sent to: 0.0.0.0, :: and names cannot."""
    address = numeric(host)
    return address is not None and not address.is_unspecified


def _candidate(text: str) -> Candidate | None:
    """A candidate; None when it is malformed, not UDP, or has a host name (RFC 8839 5.1)."""
    match = _CANDIDATE.match(text)
    if match is None or match["transport"].upper() != "UDP":
        return None
    component = maybe_number(match["component"], 256)
    priority = maybe_number(match["priority"], 2**31 - 1)
    host, port = numeric(match["host"]), maybe_number(match["port"], 65535)
    if not component or not priority or host is None or not port:
        return None
    related: Address | None = None
    if match["related"] is not None:
        related = match["related"], maybe_number(match["related_port"], 65535) or 0
    address = str(host), port
    return Candidate(match["foundation"], component, priority, address, match["kind"], related)


def _candidate_line(candidate: Candidate) -> str:
    host, port = candidate.address
    text = (
        f"{candidate.foundation} {candidate.component} UDP {candidate.priority} {host} {port}"
        f" typ {candidate.kind}"
    )
    if candidate.related is not None:
        text += " raddr {} rport {}".format(*candidate.related)
    return text


def _matches(side: IceSide, defaults: Sequence[Address]) -> bool:
    """Whether the default destinations are among the candidates (RFC 8839 4.2.5).

    0.0.0.0 and :: are not checked: they mean hold (RFC 2543) or candidates that will follow.
    """
    for component, (host, port) in enumerate(defaults, RTP):
        if not _is_destination(host):
            continue
        named = [one.address for one in side.candidates if one.component == component]
        if (component == RTP or named) and (str(numeric(host)), port) not in named:
            return False
    return True
