"""Bodies of notifications: message summaries, dialog information, presence, and hostile XML."""

from __future__ import annotations

import pytest

from spech.errors import RemoteProtocolError
from spech.sip.message.headers import Headers
from spech.sip.message.markup import parse_markup
from spech.sip.message.message import Request
from spech.sip.message.uri import Uri
from spech.sip.watching.content import ACCEPT, read
from spech.sip.watching.dialog_info import DialogInfo, DialogState
from spech.sip.watching.mailbox import Mailbox, MessageCount
from spech.sip.watching.presence import Presence, PresenceTuple


def notify(kind: str, body: bytes) -> Request:
    return Request("NOTIFY", Uri("sip", None, "h"), Headers([("Content-Type", kind)]), body)


def test_a_message_summary_is_read() -> None:
    """The example of RFC 3842 5.2."""
    body = (
        b"Messages-Waiting: yes\r\nMessage-Account: sip:alice@vmail.example.com\r\n"
        b"Voice-Message: 4/8 (1/2)\r\nVideo-Message: 0/0\r\nFax-Message: 1/0\r\n\r\n"
        b"To: <alice@atlanta.example.com>\r\nVoice-Message: 9/9\r\n"
    )
    assert Mailbox.parse(body) == Mailbox(
        True,
        "sip:alice@vmail.example.com",
        (MessageCount("voice-message", 4, 8, 1, 2), MessageCount("fax-message", 1, 0)),
    )


@pytest.mark.parametrize(
    ("body", "waiting"), [(b"Messages-Waiting: no\r\n", False), (b"messages-waiting:YES", True)]
)
def test_a_short_message_summary_is_read(body: bytes, waiting: bool) -> None:
    mailbox = Mailbox.parse(body)
    assert mailbox.waiting is waiting
    assert mailbox.voice == MessageCount("voice-message", 0, 0)


def test_dialog_information_is_read() -> None:
    """After the examples of RFC 4235 6."""
    body = b"""<?xml version="1.0"?>
    <dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" version="1" state="full"
                 entity="sip:alice@example.com">
      <dialog id="as7d900as8" call-id="a84b4c76e66710" local-tag="1928301774"
              remote-tag="456887766" direction="initiator">
        <state event="remote-busy" code="486">terminated</state>
      </dialog>
      <dialog id="zxcnm3" direction="recipient">
        <state>early</state>
        <remote><identity display="Bob"> sip:bob@example.com </identity>
        <target uri="sip:bob@pc.example.com"/></remote>
      </dialog>
    </dialog-info>"""
    info = DialogInfo.parse(body)
    assert (info.entity, info.version, info.full) == ("sip:alice@example.com", 1, True)
    assert info.dialogs[1] == DialogState(
        "zxcnm3", "early", "recipient", "sip:bob@example.com", "Bob"
    )
    assert info.dialogs[0].call_id == "a84b4c76e66710"
    whole = info.after(None)
    assert whole is not None
    assert [dialog.identifier for dialog in whole.dialogs] == ["zxcnm3"]
    assert whole.ringing
    assert not whole.busy


def test_a_presence_document_is_read() -> None:
    """After RFC 3863 4.2."""
    body = """<?xml version="1.0" encoding="UTF-8"?>
    <impp:presence xmlns:impp="urn:ietf:params:xml:ns:pidf" entity="pres:someone@example.com">
      <impp:tuple id="bs35r9">
        <impp:status><impp:basic>open</impp:basic></impp:status>
        <impp:contact priority="0.8">im:someone@mobilecarrier.net</impp:contact>
        <impp:note xml:lang="en">Don't Disturb Please!</impp:note>
      </impp:tuple>
      <impp:tuple id="eg92n8">
        <impp:status><impp:basic>closed</impp:basic></impp:status>
      </impp:tuple>
      <impp:tuple id="x"><impp:status/></impp:tuple>
      <impp:note>Ich bin in Köln</impp:note>
    </impp:presence>""".encode()
    presence = Presence.parse(body)
    assert presence == Presence(
        "pres:someone@example.com",
        (
            PresenceTuple(
                "bs35r9", True, "im:someone@mobilecarrier.net", ("Don't Disturb Please!",)
            ),
            PresenceTuple("eg92n8", False),
            PresenceTuple("x", None),
        ),
        ("Ich bin in Köln",),
    )
    assert presence.reachable


BILLION_LAUGHS = (
    b'<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;">]><x>&c;</x>'
)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not xml",
        b"<a><b></a>",
        b"\xff\xfe\x00",
        b"<a/><b/>",
        b'<?xml version="1.0" encoding="klingon"?><a/>',
        BILLION_LAUGHS,
        b'<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]><x>&f;</x>',
        b'<!DOCTYPE x SYSTEM "http://127.0.0.1:9/x.dtd"><x/>',
        b"<a>" * 30 + b"</a>" * 30,
        b"<a>" + b"<b/>" * 3000 + b"</a>",
        b"<x>&undefined;</x>",
    ],
)
def test_hostile_and_broken_xml_is_refused(body: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as refused:
        parse_markup(body)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("package", "body"),
    [
        ("message-summary", b"Voice-Message: 1/0"),
        ("dialog", b"<dialog-info/>"),
        ("dialog", b'<dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" entity="sip:a@b"/>'),
        (
            "dialog",
            b'<dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" version="1" '
            b'entity="sip:a@b"><dialog/></dialog-info>',
        ),
        ("presence", b'<presence xmlns="urn:ietf:params:xml:ns:pidf"/>'),
        ("presence", b'<other xmlns="urn:ietf:params:xml:ns:pidf" entity="a"/>'),
    ],
)
def test_invalid_documents_are_refused(package: str, body: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as refused:
        read(package, notify(ACCEPT[package], body))
    assert refused.value.status == 400
    with pytest.raises(RemoteProtocolError) as refused:
        read(package, notify("text/html", body))
    assert refused.value.status == 415


PIDF = b'<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="sip:bob@example.com"/>'
PIDF_PART = b"--x\r\nContent-Type: application/pidf+xml\r\n\r\n" + PIDF
SUMMARY = b"Messages-Waiting: yes\r\n"
SUMMARY_PART = b"--x\r\nContent-Type: application/simple-message-summary\r\n\r\n" + SUMMARY
PICTURE = b"--x\r\nContent-Type: image/png\r\n\r\n\x89PNG"
REQUIRED = (
    b"--x\r\nContent-Type: image/png\r\nContent-Disposition: render;handling=required\r\n\r\n"
)


@pytest.mark.parametrize(
    ("package", "parts"),
    [
        ("presence", [PIDF_PART]),
        ("presence", [PICTURE, PIDF_PART]),
        ("presence", [PIDF_PART, PICTURE]),
        ("message-summary", [SUMMARY_PART]),
    ],
)
@pytest.mark.parametrize("kind", ["multipart/related", "multipart/mixed", "multipart/alternative"])
def test_the_part_of_the_accepted_type_is_used(package: str, parts: list[bytes], kind: str) -> None:
    body = b"\r\n".join([*parts, b"--x--\r\n"])
    found = read(package, notify(f'{kind};boundary="x";type="application/rlmi+xml"', body))
    assert isinstance(found, Presence | Mailbox)


@pytest.mark.parametrize("parts", [[PICTURE], [PIDF_PART, REQUIRED], [SUMMARY_PART], []])
def test_unusable_or_unknown_required_parts_are_refused(parts: list[bytes]) -> None:
    body = b"\r\n".join([*parts, b"--x--\r\n"])
    with pytest.raises(RemoteProtocolError) as refused:
        read("presence", notify("multipart/mixed;boundary=x", body))
    assert refused.value.status == 415
