"""TwiML: a document that says what to do with a call, verb by verb.

A verb or a noun that is unknown here is left out with a warning, as Twilio does (its warning
12200); what is not TwiML at all is refused (its error 12100).

https://www.twilio.com/docs/voice/twiml
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import urljoin, urlsplit
from xml.etree.ElementTree import Element

from spech.bridge.url import VISIBLE, WebSocketUrl
from spech.errors import LocalProtocolError, RemoteProtocolError
from spech.sip.message.markup import parse_markup

HttpMethod = Literal["GET", "POST"]
"""How an application's server is asked."""

#: Characters of a name, a value, a number or a URL.
_LONGEST_TEXT: Final = 4000
#: Parties that one verb calls at once.
_MOST_PARTIES: Final = 10
#: Seconds: the longest time that an attribute can name.
_LONGEST_TIME: Final = 14_400
#: Times that a sound is played at most.
_MOST_ROUNDS: Final = 1000
#: Warnings about one document; what is wrong beyond them is left out without one.
_MOST_WARNINGS: Final = 10


@dataclass(frozen=True, slots=True)
class DocumentUrl:
    """Where a document is asked for."""

    url: str
    method: HttpMethod = "POST"


@dataclass(frozen=True, slots=True)
class StreamVerb:
    """``<Connect><Stream>``: let a bot talk, until it closes its WebSocket.

    Attributes:
        url: the bot.
        parameters: what it is told as custom parameters.
        action: where the next document is asked for; None for the next verb.
    """

    url: WebSocketUrl
    parameters: dict[str, str]
    action: DocumentUrl | None


@dataclass(frozen=True, slots=True)
class DialVerb:
    """``<Dial>``: call other parties, and connect the first that answers with the call.

    Attributes:
        parties: numbers and SIP URIs; all are called at once.
        caller: the number to call from; None for the account's.
        ringing_seconds: until one has to answer.
        longest_seconds: of the conversation.
        answer_on_bridge: let a call that rings go on ringing until a party answers.
        action: as of :class:`StreamVerb`.
    """

    parties: tuple[str, ...]
    caller: str | None
    ringing_seconds: int
    longest_seconds: int
    answer_on_bridge: bool
    action: DocumentUrl | None


@dataclass(frozen=True, slots=True)
class PlayVerb:
    """``<Play>``: play a sound.

    Attributes:
        url: of a sound file.
        rounds: how often; None for without end.
    """

    url: str
    rounds: int | None


@dataclass(frozen=True, slots=True)
class PressVerb:
    """``<Play digits>``: press keys. ``w`` is a pause of half a second."""

    digits: str


@dataclass(frozen=True, slots=True)
class PauseVerb:
    """``<Pause>``: wait."""

    seconds: int


@dataclass(frozen=True, slots=True)
class RedirectVerb:
    """``<Redirect>``: do what another document says."""

    to: DocumentUrl


@dataclass(frozen=True, slots=True)
class RejectVerb:
    """``<Reject>``: do not answer the call, because it is not wanted or (``busy``) not possible."""

    busy: bool


@dataclass(frozen=True, slots=True)
class HangupVerb:
    """``<Hangup>``: end the call."""


TwimlVerb = (
    StreamVerb
    | DialVerb
    | PlayVerb
    | PressVerb
    | PauseVerb
    | RedirectVerb
    | RejectVerb
    | HangupVerb
)
"""One step of a document."""


@dataclass(frozen=True, slots=True)
class TwimlDocument:
    """What to do, in order; after it the call ends.

    Attributes:
        verbs: the steps.
        warnings: what was left out, and why.
    """

    verbs: tuple[TwimlVerb, ...]
    warnings: tuple[str, ...] = ()


def parse_twiml(body: bytes, base: str = "") -> TwimlDocument:
    """Read a document. Entities and document types are refused.

    Args:
        body: the XML.
        base: the URL of the document, to which others in it are relative; without one, they must be
            absolute.

    Raises:
        RemoteProtocolError: it is not XML, or its root is not ``<Response>``.
    """
    root = parse_markup(body)
    if root.tag != "Response":
        raise RemoteProtocolError(f"the root of TwiML is <Response>, not <{root.tag:.40}>")
    reader = _TwimlReader(base)
    return TwimlDocument(tuple(reader.verbs(root)), tuple(reader.warnings))


def http_url(text: str, base: str = "") -> str:
    """A URL of an application's server: ``http://…`` or ``https://…``.

    Raises:
        RemoteProtocolError: it is not one.
    """
    try:
        url = urljoin(base, text.strip())
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise RemoteProtocolError(f"{text[:80]!r} is not a URL: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not VISIBLE.fullmatch(url):
        raise RemoteProtocolError(f"{text[:80]!r} is not http://… or https://…")
    return url


class _Unusable(Exception):
    """A verb or a noun that is left out."""


@dataclass
class _TwimlReader:
    """Reads elements; what it leaves out is in ``warnings``."""

    base: str
    warnings: list[str] = field(default_factory=list)

    def verbs(self, root: Element) -> Iterator[TwimlVerb]:
        for element in root:
            read = _VERBS.get(element.tag)
            try:
                if read is None:
                    raise _Unusable("it is unknown here")
                yield read(self, element)
            except (_Unusable, LocalProtocolError, RemoteProtocolError) as error:
                self._warn(f"<{element.tag:.40}> is left out: {error}")

    def _warn(self, text: str) -> None:
        if len(self.warnings) < _MOST_WARNINGS:
            self.warnings.append(text)

    # ------------------------------------------------------------------ verbs

    def connect(self, element: Element) -> StreamVerb:
        self._attributes(element, "action", "method")
        streams = [noun for noun in element if noun.tag == "Stream"]
        if len(streams) != 1 or len(element) != 1:
            raise _Unusable("it needs one <Stream>, and knows nothing else")
        stream = streams[0]
        self._attributes(stream, "url", "name", "track")
        if stream.get("track", "inbound_track") != "inbound_track":
            raise _Unusable("a bot that talks hears inbound_track")
        parameters = {}
        for parameter in self._children(stream, "Parameter"):
            self._attributes(parameter, "name", "value")
            name, value = parameter.get("name", ""), parameter.get("value", "")
            if not name or len(name) + len(value) > _LONGEST_TEXT:
                self._warn(f"<Parameter> is left out: {name[:40]!r} is empty or too long")
            else:
                parameters[name] = value
        url = WebSocketUrl.parse(stream.get("url", ""))
        if url.audiosocket:
            raise _Unusable("a bot is at ws://… or wss://…")
        return StreamVerb(url, parameters, self._action(element))

    def dial(self, element: Element) -> DialVerb:
        self._attributes(
            element, "action", "method", "timeout", "timeLimit", "callerId", "answerOnBridge"
        )
        parties = []
        if (number := _text(element)) or len(element) == 0:
            parties.append(number)
        for noun in self._children(element, "Number", "Sip"):
            self._attributes(noun)
            if noun.tag == "Sip" and not _text(noun).lower().startswith(("sip:", "sips:")):
                raise _Unusable("<Sip> needs sip:…")
            parties.append(_text(noun))
        if not 0 < len(parties) <= _MOST_PARTIES or not all(parties):
            raise _Unusable(f"it needs 1 to {_MOST_PARTIES} numbers or SIP URIs")
        return DialVerb(
            tuple(parties),
            element.get("callerId") or None,
            self._number(element, "timeout", 30, least=1, most=600),
            self._number(element, "timeLimit", _LONGEST_TIME, least=1),
            element.get("answerOnBridge") == "true",
            self._action(element),
        )

    def play(self, element: Element) -> PlayVerb | PressVerb:
        self._attributes(element, "loop", "digits")
        if "digits" in element.attrib:
            digits = element.get("digits", "")
            if not digits or len(digits) > 100 or not set(digits) <= set("0123456789*#ABCDw"):
                raise _Unusable("digits are 0-9, *, #, A-D and w")
            return PressVerb(digits)
        rounds = self._number(element, "loop", 1, least=0, most=_MOST_ROUNDS)
        return PlayVerb(http_url(_text(element), self.base), rounds or None)

    def pause(self, element: Element) -> PauseVerb:
        self._attributes(element, "length")
        return PauseVerb(self._number(element, "length", 1, least=0))

    def redirect(self, element: Element) -> RedirectVerb:
        self._attributes(element, "method")
        return RedirectVerb(DocumentUrl(http_url(_text(element), self.base), _method(element)))

    def reject(self, element: Element) -> RejectVerb:
        self._attributes(element, "reason")
        return RejectVerb(busy=element.get("reason") == "busy")

    def hang_up(self, element: Element) -> HangupVerb:
        self._attributes(element)
        return HangupVerb()

    # ------------------------------------------------------------------ what verbs share

    def _attributes(self, element: Element, *known: str) -> None:
        """Warn about attributes that have no effect."""
        for name in element.attrib.keys() - set(known):
            self._warn(f"the attribute {name[:40]!r} of <{element.tag}> has no effect")

    def _children(self, element: Element, *known: str) -> Iterator[Element]:
        """The nouns that are known; the others are left out."""
        for child in element:
            if child.tag in known:
                yield child
            else:
                self._warn(f"<{child.tag:.40}> in <{element.tag}> is left out: it is unknown here")

    def _action(self, element: Element) -> DocumentUrl | None:
        if "action" not in element.attrib:
            return None
        return DocumentUrl(http_url(element.get("action", ""), self.base), _method(element))

    def _number(
        self, element: Element, name: str, otherwise: int, *, least: int, most: int = _LONGEST_TIME
    ) -> int:
        text = element.get(name)
        if text is None:
            return otherwise
        if text.isascii() and text.isdecimal() and len(text) < 10 and int(text) >= least:
            return min(int(text), most)
        self._warn(f"the attribute {name!r} of <{element.tag}> is not a number: {text[:40]!r}")
        return otherwise


def _text(element: Element) -> str:
    """The text of an element.

    Raises:
        _Unusable: it is too long.
    """
    text = (element.text or "").strip()
    if len(text) > _LONGEST_TEXT:
        raise _Unusable("its text is too long")
    return text


def _method(element: Element) -> HttpMethod:
    return "GET" if element.get("method", "").upper() == "GET" else "POST"


_VERBS: Final[dict[str, Callable[[_TwimlReader, Element], TwimlVerb]]] = {
    "Connect": _TwimlReader.connect,
    "Dial": _TwimlReader.dial,
    "Play": _TwimlReader.play,
    "Pause": _TwimlReader.pause,
    "Redirect": _TwimlReader.redirect,
    "Reject": _TwimlReader.reject,
    "Hangup": _TwimlReader.hang_up,
}
