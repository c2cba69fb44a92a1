"""Plain words for common SIP statuses."""

from __future__ import annotations

import pytest

from spech.errors import (
    CallEnded,
    CallFailed,
    LocalProtocolError,
    PeerUnreachable,
    PortsExhausted,
    ServerUnreachable,
)
from spech.sip.timeline import Entry
from spech.web.calls import CallList
from spech.web.story import tell
from spech.web.texts import explain, first_of, in_words


@pytest.mark.parametrize(
    ("status", "word"),
    [
        (403, "not allowed"),
        (404, "does not exist"),
        (408, "Nobody answered"),
        (480, "Nobody answered"),
        (486, "busy"),
        (488, "codec"),
        (503, "not available"),
        (603, "declined"),
    ],
)
def test_known_statuses_have_plain_words(status: int, word: str) -> None:
    assert word in explain(status, "Whatever The Server Says")


def test_unknown_statuses_quote_the_server_on_one_line() -> None:
    assert (
        explain(499, "Odd\r\n\x1b[2J thing") == "The call could not be placed. (499 Odd [2J thing)"
    )
    assert explain(599) == "The server cannot place the call at the moment. (599)"
    assert explain(799, "x") == "The call has failed. (799 x)"
    assert len(explain(699, "x" * 1000)) < 200


def test_errors_of_a_call_are_described_in_words() -> None:
    assert in_words(CallFailed(486, "Busy Here")) == ("remote", 486, "The line is busy.")
    assert in_words(CallEnded("over")) == ("remote", None, "The call was cancelled.")
    assert "name" in in_words(ServerUnreachable("x", unknown_host=True))[2]
    assert "does not answer" in in_words(ServerUnreachable("x"))[2]
    assert "neither a number" in in_words(LocalProtocolError("x"))[2]
    assert in_words(PortsExhausted("x"))[0] == "local"
    assert "cannot reach" in in_words(PeerUnreachable("x"))[2]
    assert in_words(KeyError("secret"))[2] == "The call failed inside the phone."


def test_the_first_error_of_nested_groups_is_shown() -> None:
    error = CallFailed(486, "Busy Here")
    assert first_of(ExceptionGroup("a", [ExceptionGroup("b", [error]), ValueError()])) is error
    assert first_of(error) is error


HOSTILE = "Bank\u202eknaB\x1b]0;title\x07\n\u0301\u0301\u0301\u0301" + "x" * 7000


def test_a_reason_is_shown_on_one_line() -> None:
    text = explain(699, HOSTILE)
    assert text.isprintable()
    assert len(text) < 140


async def test_names_of_peers_are_sanitized() -> None:
    calls = CallList(lambda: None, lambda _: None)
    call = calls.begin("a1", "incoming", f"sip:{HOSTILE}@192.0.2.1", HOSTILE)
    assert call.display_name is not None
    assert call.display_name.isprintable()
    assert len(call.display_name) <= 64
    assert call.remote.isprintable()
    assert len(call.remote) <= 256


def test_a_story_shows_no_control_characters() -> None:
    text = (
        "MESSAGE sip:a%1b@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n"
        'From: "Bank\u202e\x1b[2J" <sip:b@192.0.2.1>;tag=1\r\nTo: <sip:a@192.0.2.1>\r\n'
        "Call-ID: 1\r\nCSeq: 1 MESSAGE\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    )
    addresses = ("192.0.2.1", 5060), ("192.0.2.2", 5060)
    (step,) = tell([Entry(0.0, "", *addresses, text.encode())], 0.0)
    assert all(line.isprintable() for line in step.message.split("\r\n"))
    assert step.title.isprintable()
