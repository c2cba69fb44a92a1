"""Parse untrusted XML: no document type, no entities, limited size."""

from __future__ import annotations

from typing import Final
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from spech.errors import RemoteProtocolError

_DEEPEST: Final = 20
_MOST_ELEMENTS: Final = 2_000


def parse_markup(body: bytes, *, most: int = _MOST_ELEMENTS) -> Element:
    """The root element; names are ``{namespace}name``.

    A document type declaration is refused, and with it every entity, so that none can refer to a
    file or a host, or expand without limit.

    Args:
        body: the document.
        most: how many elements it may have.

    Raises:
        RemoteProtocolError: 400, when the body is not XML, has a document type, or has too many
            elements.
    """
    builder = TreeBuilder()
    parser = expat.ParserCreate(namespace_separator="}")
    depth = elements = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth, elements
        depth += 1
        elements += 1
        if depth > _DEEPEST or elements > most:
            raise RemoteProtocolError("XML with too many elements")
        builder.start(_qualified(name), {_qualified(key): attributes[key] for key in attributes})

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(_qualified(name))

    def refuse(*arguments: object) -> None:
        raise RemoteProtocolError("XML with a document type")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(body, True)
    except (expat.ExpatError, LookupError, ValueError) as error:
        raise RemoteProtocolError(f"malformed XML: {error}") from None
    return builder.close()


def text_of(element: Element | None) -> str | None:
    """The text of an element without surrounding white space, None when there is none."""
    if element is None or element.text is None:
        return None
    return element.text.strip() or None


def _qualified(name: str) -> str:
    return "{" + name if "}" in name else name
