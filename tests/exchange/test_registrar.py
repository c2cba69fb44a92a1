"""The registrar, with requests and times as input; no socket, no clock."""

from __future__ import annotations

import random

import pytest

from spech.exchange import Registrar
from spech.exchange.registrar import MAX_EXPIRES, MIN_EXPIRES
from spech.shares import Standing
from spech.sip.dialog.digest import DigestClient
from spech.sip.message.headers import AuthHeader
from spech.sip.message.message import Request, Response
from spech.sip.message.parser import parse
from spech.sip.transaction.flow import Flow

FLOW = Flow("udp", ("10.0.0.1", 5060), ("10.0.0.9", 5060))


class Client:
    """Alice's phone, which sends requests of the test and knows the password."""

    def __init__(self, registrar: Registrar, user: str = "alice", password: str = "secret") -> None:
        self.registrar = registrar
        self.user = user
        self.digest = DigestClient(user, password, random.Random(2))
        self.call_id = "one"
        self.sequence = 0
        self.standing: Standing | None = None

    def request(self, *headers: str, method: str = "REGISTER", address: str = "alice") -> Request:
        self.sequence += 1
        lines = [
            f"{method} sip:10.0.0.1 SIP/2.0",
            f"Via: SIP/2.0/UDP 10.0.0.9;branch=z9hG4bK{self.sequence}",
            f"From: <sip:{address}@10.0.0.1>;tag=1",
            f"To: <sip:{address}@10.0.0.1>",
            f"Call-ID: {self.call_id}",
            f"CSeq: {self.sequence} {method}",
            *headers,
        ]
        request = parse("\r\n".join([*lines, "", ""]).encode())
        assert isinstance(request, Request)
        return request

    def send(
        self,
        *headers: str,
        now: float = 0.0,
        method: str = "REGISTER",
        address: str = "alice",
        uri: str = "sip:10.0.0.1",
        moved: Flow = FLOW,
    ) -> Response | None:
        """Send, and send again over ``moved`` with credentials for ``uri`` if challenged."""
        request = self.request(*headers, method=method, address=address)
        response = self.screen(request, FLOW, now)
        if response is None or response.status != 401:
            return response
        challenges = [AuthHeader.parse(one) for one in response.headers.get_all("WWW-Authenticate")]
        answer = self.digest.answer(challenges, method, uri, b"")
        again = self.request(*headers, f"Authorization: {answer}", method=method, address=address)
        return self.screen(again, moved, now)

    def screen(self, request: Request, flow: Flow, now: float) -> Response | None:
        """The response; None where the request is let in, and then what let it in is kept."""
        verdict = self.registrar.screen(request, flow, now)
        self.standing = None if isinstance(verdict, Response) else verdict
        return verdict if isinstance(verdict, Response) else None


@pytest.fixture
def registrar() -> Registrar:
    return Registrar({"alice": "secret", "bob": "other"}, random.Random(1))


@pytest.fixture
def client(registrar: Registrar) -> Client:
    return Client(registrar)


def contacts(registrar: Registrar, now: float = 0.0) -> list[str]:
    return [str(contact) for contact in registrar.contacts("alice", now)]


def status(response: Response | None) -> int:
    assert response is not None
    assert response.to.tag
    return response.status


def test_a_binding_lasts_for_the_requested_time(client: Client) -> None:
    response = client.send("Contact: <sip:alice@10.0.0.9>;expires=60", now=100)
    assert status(response) == 200
    assert response is not None
    assert response.headers.get_all("Contact") == ["<sip:alice@10.0.0.9>;expires=60"]
    assert contacts(client.registrar, 159) == ["sip:alice@10.0.0.9"]
    assert contacts(client.registrar, 160) == []


def test_the_requested_expiry_is_bounded(client: Client) -> None:
    response = client.send("Contact: <sip:alice@10.0.0.9>", "Expires: 99999999")
    assert response is not None
    assert response.headers.get("Contact") == f"<sip:alice@10.0.0.9>;expires={MAX_EXPIRES}"
    response = client.send("Contact: <sip:alice@10.0.0.9>", f"Expires: {MIN_EXPIRES - 1}")
    assert status(response) == 423
    assert response is not None
    assert response.headers.get("Min-Expires") == str(MIN_EXPIRES)


def test_several_contacts_are_added_and_removed(client: Client) -> None:
    client.send("Contact: <sip:alice@10.0.0.9>")
    client.send("Contact: <sip:alice@10.0.0.8>")
    assert contacts(client.registrar) == ["sip:alice@10.0.0.8", "sip:alice@10.0.0.9"]
    client.send("Contact: <sip:alice@10.0.0.8>;expires=0")
    assert contacts(client.registrar) == ["sip:alice@10.0.0.9"]
    response = client.send()
    assert response is not None
    assert len(response.headers.get_all("Contact")) == 1
    assert status(client.send("Contact: *")) == 400
    assert contacts(client.registrar) == ["sip:alice@10.0.0.9"]
    assert status(client.send("Contact: *", "Expires: 0")) == 200
    assert contacts(client.registrar) == []


def test_a_request_that_fails_changes_nothing(client: Client) -> None:
    client.send("Contact: <sip:alice@10.0.0.9>")
    response = client.send("Contact: <sip:alice@10.0.0.8>, <sip:alice@10.0.0.7>;expires=1")
    assert status(response) == 423
    assert contacts(client.registrar) == ["sip:alice@10.0.0.9"]


def test_a_late_request_does_not_undo_a_newer_one(client: Client) -> None:
    client.send("Contact: <sip:alice@10.0.0.9>")
    client.sequence = 0
    assert status(client.send("Contact: <sip:alice@10.0.0.9>;expires=0")) == 500
    client.call_id = "two"
    assert status(client.send("Contact: <sip:alice@10.0.0.9>;expires=0")) == 200


def test_the_number_of_contacts_is_limited(client: Client) -> None:
    for number in range(50):
        client.send(f"Contact: <sip:alice@10.0.0.9:{5000 + number}>")
    assert len(contacts(client.registrar)) == 10


def test_a_malformed_request_is_refused_with_400(client: Client) -> None:
    assert status(client.send("Contact: <<<")) == 400


@pytest.mark.parametrize(
    ("user", "password", "address"),
    [("alice", "wrong", "alice"), ("mallory", "secret", "mallory"), ("bob", "other", "alice")],
)
@pytest.mark.parametrize("method", ["REGISTER", "INVITE"])
def test_wrong_credentials_are_refused(
    registrar: Registrar, user: str, password: str, address: str, method: str
) -> None:
    client = Client(registrar, user, password)
    response = client.send("Contact: <sip:alice@10.0.0.9>", method=method, address=address)
    assert status(response) == 403
    assert contacts(registrar) == []


def test_md5_alone_is_offered_and_accepted_where_that_is_wanted() -> None:
    client = Client(Registrar({"alice": "secret"}, random.Random(1), md5_only=True))
    challenge = client.screen(client.request(), FLOW, 0.0)
    assert challenge is not None
    (offered,) = challenge.headers.get_all("WWW-Authenticate")
    assert AuthHeader.parse(offered).parameters["algorithm"] == "MD5"
    response = client.send("Contact: <sip:alice@10.0.0.9>")
    assert response is not None
    assert response.status == 200
    stronger = AuthHeader.parse(offered.replace("MD5", "SHA-256"))
    answer = client.digest.answer([stronger], "REGISTER", "sip:10.0.0.1", b"")
    refused = client.screen(client.request(f"Authorization: {answer}"), FLOW, 0.0)
    assert refused is not None
    assert refused.status == 403


def test_an_authenticated_caller_is_accepted(client: Client) -> None:
    assert client.send(method="INVITE") is None
    assert client.standing is Standing.KNOWN


def test_credentials_are_valid_only_at_the_address_that_was_challenged(client: Client) -> None:
    elsewhere = Flow("udp", FLOW.local, ("10.0.0.8", 5060))
    response = client.send(method="INVITE", moved=elsewhere)
    assert status(response) == 401
    assert response is not None
    assert "stale=true" in (response.headers.get("WWW-Authenticate") or "")


def test_an_old_nonce_is_stale(client: Client) -> None:
    request = client.request()
    response = client.screen(request, FLOW, 0)
    assert response is not None
    challenges = [AuthHeader.parse(one) for one in response.headers.get_all("WWW-Authenticate")]
    answer = client.digest.answer(challenges, "REGISTER", "sip:10.0.0.1", b"")
    response = client.screen(client.request(f"Authorization: {answer}"), FLOW, 10_000)
    assert status(response) == 401
    assert response is not None
    assert "stale=true" in (response.headers.get("WWW-Authenticate") or "")


def test_other_requests_are_not_the_registrars(client: Client) -> None:
    assert client.send(method="OPTIONS") is None


@pytest.mark.parametrize("method", ["REGISTER", "INVITE"])
@pytest.mark.parametrize(
    ("uri", "right"),
    [
        ("sip:10.0.0.1", True),
        ("SIP:10.0.0.1;transport=udp", False),
        ("sip:10.0.0.2", False),
        ("sip:600@10.0.0.1", False),
        ("sip:10.0.0.1:5061", False),
        ("no uri", False),
        ("", False),
    ],
)
def test_credentials_are_valid_only_for_their_uri(
    client: Client, method: str, uri: str, right: bool
) -> None:
    """RFC 7616 3.4.6: otherwise intercepted credentials could be used for another request."""
    response = client.send(method=method, uri=uri)
    assert (response is None or response.status == 200) is right
    assert right or (response is not None and response.status == 400)


@pytest.mark.parametrize("method", ["REGISTER", "INVITE", "MESSAGE"])
def test_wrong_passwords_are_logged_with_few_lines_for_each_source(
    registrar: Registrar, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    guesser = Client(registrar, password="guess")
    for _ in range(240):
        response = guesser.send(method=method)
        assert response is not None
        assert response.status == 403
    assert registrar.failures.count == 240
    assert [record.message for record in caplog.records] == [
        f"{method} from 10.0.0.9: wrong user or password (number {number} from there)"
        for number in (1, 10, 100)
    ]


def test_a_message_from_the_exchange_itself_is_a_loop(registrar: Registrar) -> None:
    request = Client(registrar).request(method="MESSAGE")
    response = registrar.screen(request, Flow("udp", FLOW.local, FLOW.local), 0.0)
    assert isinstance(response, Response)
    assert response.status == 482
