"""Presence of others: the event package presence, in PIDF documents (RFC 3856, RFC 3863)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from xml.etree.ElementTree import Element

from spech.errors import RemoteProtocolError
from spech.sip.message.display import displayable
from spech.sip.message.markup import parse_markup, text_of

_NAMESPACE: Final = "{urn:ietf:params:xml:ns:pidf}"
_LONGEST_NOTE: Final = 200


@dataclass(frozen=True, slots=True)
class PresenceTuple:
    """One way to reach a person. ``reachable`` is None where the document does not say."""

    identifier: str
    reachable: bool | None
    contact: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Presence:
    """The presence of a person; ``entity`` is a ``pres:`` or ``sip:`` URI."""

    entity: str
    tuples: tuple[PresenceTuple, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def reachable(self) -> bool:
        """Whether the person can be reached in any of the ways."""
        return any(one.reachable for one in self.tuples)

    @classmethod
    def parse(cls, body: bytes) -> Presence:
        """Reads ``application/pidf+xml``.

        Raises:
            RemoteProtocolError: 400, when it is something else.
        """
        root = parse_markup(body)
        entity = root.get("entity")
        if root.tag != f"{_NAMESPACE}presence" or not entity:
            raise RemoteProtocolError("not a presence document")
        tuples = tuple(_tuple(element) for element in root.findall(f"{_NAMESPACE}tuple"))
        return cls(entity, tuples, _notes(root))


def _tuple(element: Element) -> PresenceTuple:
    basic = text_of(element.find(f"{_NAMESPACE}status/{_NAMESPACE}basic"))
    return PresenceTuple(
        identifier=element.get("id") or "",
        reachable={"open": True, "closed": False}.get((basic or "").lower()),
        contact=text_of(element.find(f"{_NAMESPACE}contact")),
        notes=_notes(element),
    )


def _notes(element: Element) -> tuple[str, ...]:
    found = [text_of(note) or "" for note in element.findall(f"{_NAMESPACE}note")]
    return tuple(shown for note in found if (shown := displayable(note, _LONGEST_NOTE)))
