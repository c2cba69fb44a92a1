"""TwiML: what is read, what is left out, what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from spech.bridge.twilio.twiml import (
    DialVerb,
    DocumentUrl,
    HangupVerb,
    PauseVerb,
    PlayVerb,
    PressVerb,
    RedirectVerb,
    RejectVerb,
    StreamVerb,
    TwimlDocument,
    TwimlVerb,
    parse_twiml,
)
from spech.bridge.url import WebSocketUrl
from spech.errors import RemoteProtocolError

BASE = "https://app.example.org/voice/start?tenant=1"
BOT = WebSocketUrl("bots.example.org", 443, "/call", tls=True)
STREAM = '<Stream url="wss://bots.example.org/call"/>'


def read(verbs: str) -> TwimlDocument:
    return parse_twiml(f"<?xml version='1.0'?>\n<Response>{verbs}</Response>".encode(), BASE)


def dial(*parties: str, **others: Any) -> DialVerb:
    values: dict[str, Any] = {
        "caller": None,
        "ringing_seconds": 30,
        "longest_seconds": 14400,
        "answer_on_bridge": False,
        "action": None,
    }
    return DialVerb(parties, **values | others)


@pytest.mark.parametrize(
    ("text", "verb"),
    [
        (
            '<Connect><Stream url="wss://bots.example.org/call">'
            '<Parameter name="language" value="de"/><Parameter name="a&amp;b" value=""/>'
            "</Stream></Connect>",
            StreamVerb(BOT, {"language": "de", "a&b": ""}, None),
        ),
        (
            f'<Connect action="after">{STREAM}</Connect>',
            StreamVerb(BOT, {}, DocumentUrl("https://app.example.org/voice/after")),
        ),
        ("<Dial> +49 30 123456 </Dial>", dial("+49 30 123456")),
        (
            '<Dial callerId="700" timeout="5" timeLimit="99999" answerOnBridge="true"'
            ' action="" method="get"><Number>601</Number><Sip>sip:b@example.org</Sip></Dial>',
            dial(
                "601",
                "sip:b@example.org",
                caller="700",
                ringing_seconds=5,
                answer_on_bridge=True,
                action=DocumentUrl(BASE, "GET"),
            ),
        ),
        ("<Play>/hello.wav</Play>", PlayVerb("https://app.example.org/hello.wav", 1)),
        ('<Play loop="0">b.wav</Play>', PlayVerb("https://app.example.org/voice/b.wav", None)),
        ('<Play digits="1w#"/>', PressVerb("1w#")),
        ("<Pause/>", PauseVerb(1)),
        ('<Pause length="7"/>', PauseVerb(7)),
        (
            "<Redirect>../next?a=1&amp;b=2</Redirect>",
            RedirectVerb(DocumentUrl("https://app.example.org/next?a=1&b=2")),
        ),
        ("<Reject/>", RejectVerb(busy=False)),
        ('<Reject reason="busy"/>', RejectVerb(busy=True)),
        ("<Hangup/>", HangupVerb()),
    ],
)
def test_a_verb_is_read(text: str, verb: TwimlVerb) -> None:
    assert read(text) == TwimlDocument((verb,))


@pytest.mark.parametrize(
    ("text", "about"),
    [
        ("<Say>Hello</Say>", "Say"),
        ("<hangup/>", "hangup"),
        ("<Connect/>", "Connect"),
        ("<Connect><ConversationRelay/></Connect>", "Connect"),
        ('<Connect><Stream url="https://bots.example.org/"/></Connect>', "Connect"),
        ('<Connect><Stream url="tcp://bots.example.org:1"/></Connect>', "Connect"),
        (
            '<Connect><Stream track="outbound_track" url="wss://b.example.org/"/></Connect>',
            "Connect",
        ),
        ("<Dial/>", "Dial"),
        ("<Dial><Sip>601</Sip></Dial>", "Dial"),
        (f"<Dial>{'<Number>1</Number>' * 11}</Dial>", "Dial"),
        ("<Play>file:///etc/passwd</Play>", "Play"),
        ('<Play digits="1x"/>', "Play"),
        ("<Redirect>http://[::1</Redirect>", "Redirect"),
        (f"<Redirect>{'a' * 5000}</Redirect>", "Redirect"),
    ],
)
def test_what_cannot_be_done_is_left_out_with_a_warning(text: str, about: str) -> None:
    document = read(f"{text}<Hangup/>")
    assert document.verbs == (HangupVerb(),)
    (warning,) = document.warnings
    assert f"<{about}> is left out: " in warning


def test_attributes_and_nouns_without_effect_are_told() -> None:
    document = read(
        '<Dial timeout="soon" record="true"><Client>a</Client><Number>601</Number></Dial>'
    )
    assert document.verbs == (dial("601"),)
    assert {warning.split(":")[0] for warning in document.warnings} == {
        "the attribute 'record' of <Dial> has no effect",
        "the attribute 'timeout' of <Dial> is not a number",
        "<Client> in <Dial> is left out",
    }


def test_warnings_are_limited() -> None:
    assert len(read("<Say/>" * 500).warnings) == 10


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"OK",
        b"<Response>",
        b"<html></html>",
        b'<!DOCTYPE r [<!ENTITY a "b">]><Response><Dial>&a;</Dial></Response>',
        b'<!DOCTYPE r SYSTEM "file:///etc/passwd"><Response/>',
        b"<Response>" + b"<Say/>" * 2001 + b"</Response>",
        b"<Response>" + b"<a>" * 30 + b"</a>" * 30 + b"</Response>",
    ],
)
def test_what_is_not_twiml_is_refused(body: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_twiml(body, BASE)


def test_without_a_document_url_others_must_be_absolute() -> None:
    document = parse_twiml(b"<Response><Redirect>next</Redirect><Hangup/></Response>")
    assert document.verbs == (HangupVerb(),)
