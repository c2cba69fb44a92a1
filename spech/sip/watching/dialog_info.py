"""The calls of others: the event package dialog, for busy lamps (RFC 4235)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final
from xml.etree.ElementTree import Element

from spech.errors import RemoteProtocolError
from spech.sip.message.display import displayable
from spech.sip.message.markup import parse_markup, text_of

_NAMESPACE: Final = "{urn:ietf:params:xml:ns:dialog-info}"


@dataclass(frozen=True, slots=True)
class DialogState:
    """One dialog of the watched user.

    ``state`` is "trying", "proceeding", "early", "confirmed" or "terminated"; ``direction`` is
    "initiator" where the watched user called, "recipient" where they were called.
    """

    identifier: str
    state: str
    direction: str | None = None
    remote: str | None = None
    remote_name: str | None = None
    call_id: str | None = None
    local_tag: str | None = None
    remote_tag: str | None = None


@dataclass(frozen=True, slots=True)
class DialogInfo:
    """The dialogs of ``entity``, a SIP URI. ``full``: the whole state, not a change."""

    entity: str
    version: int
    full: bool
    dialogs: tuple[DialogState, ...] = ()

    @property
    def busy(self) -> bool:
        """Whether they are in a call."""
        return any(dialog.state == "confirmed" for dialog in self.dialogs)

    @property
    def ringing(self) -> bool:
        """Whether a call comes in for them."""
        return any(
            dialog.state in ("early", "proceeding", "trying") and dialog.direction != "initiator"
            for dialog in self.dialogs
        )

    def after(self, earlier: DialogInfo | None) -> DialogInfo | None:
        """The whole state after this document; None where an earlier one was missed (3.7)."""
        known: dict[str, DialogState] = {}
        if not self.full:
            if earlier is None or self.version != earlier.version + 1:
                return None
            known = {dialog.identifier: dialog for dialog in earlier.dialogs}
        known.update((dialog.identifier, dialog) for dialog in self.dialogs)
        alive = tuple(dialog for dialog in known.values() if dialog.state != "terminated")
        return replace(self, full=True, dialogs=alive)

    @classmethod
    def parse(cls, body: bytes) -> DialogInfo:
        """Reads ``application/dialog-info+xml``.

        Raises:
            RemoteProtocolError: 400, when it is something else.
        """
        root = parse_markup(body)
        version = (root.get("version") or "").strip()
        entity = root.get("entity")
        if root.tag != f"{_NAMESPACE}dialog-info" or not entity:
            raise RemoteProtocolError("not a dialog-info document")
        if not (version.isascii() and version.isdigit()) or len(version) > 10:
            raise RemoteProtocolError("a dialog-info document without a version")
        full = root.get("state") != "partial"
        dialogs = tuple(_dialog(element) for element in root.findall(f"{_NAMESPACE}dialog"))
        return cls(entity, int(version), full, dialogs)


def _dialog(element: Element) -> DialogState:
    identifier = element.get("id")
    state = text_of(element.find(f"{_NAMESPACE}state"))
    if not identifier or state is None:
        raise RemoteProtocolError("a dialog without identifier or state")
    identity = element.find(f"{_NAMESPACE}remote/{_NAMESPACE}identity")
    name = "" if identity is None else identity.get("display") or ""
    return DialogState(
        identifier=identifier,
        state=state.lower(),
        direction=element.get("direction"),
        remote=text_of(identity),
        remote_name=displayable(name) or None,
        call_id=element.get("call-id"),
        local_tag=element.get("local-tag"),
        remote_tag=element.get("remote-tag"),
    )
