"""Digest authentication: the examples of the RFCs, and client and server together."""

from __future__ import annotations

import hashlib
import random

import pytest

from spech.sip.dialog.digest import DigestClient, DigestServer, DigestVerdict
from spech.sip.message.headers import AuthHeader

NONCE_2617 = "dcd98b7102dd2f0e8b11d0f600bfb0c093"
NONCE_7616 = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"

# RFC 2617 section 3.5 and RFC 7616 section 3.9.1: realm, password, credentials.
EXAMPLES = [
    (
        "testrealm@host.com",
        "Circle Of Life",
        f'Digest username="Mufasa", realm="testrealm@host.com", nonce="{NONCE_2617}", '
        'uri="/dir/index.html", qop=auth, nc=00000001, cnonce="0a4f113b", '
        'response="6629fae49393a05397450978507c4ef1", opaque="5ccc069c403ebaf9f0171e9517f40e41"',
    ),
    (
        "http-auth@example.org",
        "Circle of Life",
        'Digest username="Mufasa", realm="http-auth@example.org", uri="/dir/index.html", '
        f'algorithm=MD5, nonce="{NONCE_7616}", nc=00000001, '
        'cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", qop=auth, '
        'response="8ca523f5e9506fed4657c9700eebdbec", '
        'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"',
    ),
    (
        "http-auth@example.org",
        "Circle of Life",
        'Digest username="Mufasa", realm="http-auth@example.org", uri="/dir/index.html", '
        f'algorithm=SHA-256, nonce="{NONCE_7616}", nc=00000001, '
        'cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", qop=auth, '
        'response="753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1", '
        'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"',
    ),
]


@pytest.mark.parametrize(("realm", "password", "credentials"), EXAMPLES)
def test_the_server_accepts_the_examples_of_the_rfcs(
    realm: str, password: str, credentials: str
) -> None:
    server = DigestServer(realm, random.Random(1), 60)
    auth = AuthHeader.parse(credentials)
    # The password is right, the nonce is unknown.
    assert server.verify(auth, "GET", password, 0.0) is DigestVerdict.STALE
    assert server.verify(auth, "GET", "circle of life", 0.0) is DigestVerdict.WRONG
    assert server.verify(auth, "PUT", password, 0.0) is DigestVerdict.WRONG


def test_the_client_matches_the_example_of_rfc_2069() -> None:
    # Section 2.4, with the response from its erratum.
    challenge = AuthHeader.parse(f'Digest realm="testrealm@host.com", nonce="{NONCE_2617}"')
    answer = client("CircleOfLife", "Mufasa").answer([challenge], "GET", "/dir/index.html", b"")
    assert answer is not None
    assert answer.parameters["response"] == "1949323746fe6a43ef61f9606e7febea"
    assert not answer.parameters.keys() & {"qop", "nc", "cnonce", "algorithm", "opaque"}


def client(password: str = "secret", user: str = "alice") -> DigestClient:
    return DigestClient(user, password, random.Random(2))


def challenge(**parameters: str) -> AuthHeader:
    return AuthHeader("Digest", {"realm": "r", "nonce": "n"} | parameters)


def digest(name: str, text: str) -> str:
    return hashlib.new(name, text.encode()).hexdigest()


@pytest.mark.parametrize(
    ("algorithm", "name"),
    [("MD5", "md5"), ("md5", "md5"), ("SHA-256", "sha256"), ("SHA-512-256", "sha512_256")],
)
@pytest.mark.parametrize("session", ["", "-sess"])
@pytest.mark.parametrize("qop", ["auth", "auth-int", "auth-int, auth", None])
def test_the_client_matches_the_formula(
    algorithm: str, name: str, session: str, qop: str | None
) -> None:
    asked = challenge(algorithm=algorithm + session, opaque="o")
    if qop is not None:
        asked = challenge(algorithm=algorithm + session, opaque="o", qop=qop)
    answer = client().answer([asked], "REGISTER", "sip:example.com", b"body")
    assert answer is not None
    given = answer.parameters
    first = digest(name, "alice:r:secret")
    if session:
        first = digest(name, f"{first}:n:{given['cnonce']}")
    if qop == "auth-int":
        second = digest(name, f"REGISTER:sip:example.com:{digest(name, 'body')}")
    else:
        second = digest(name, "REGISTER:sip:example.com")
    chosen = None if qop is None else qop.rpartition(" ")[2]
    middle = f"n:00000001:{given['cnonce']}:{chosen}" if chosen else "n"
    assert given["response"] == digest(name, f"{first}:{middle}:{second}")
    assert given.get("qop") == chosen
    assert given["algorithm"] == algorithm + session
    assert given["opaque"] == "o"


def test_the_client_uses_the_strongest_challenge() -> None:
    md5, sha = challenge(algorithm="MD5"), challenge(algorithm="SHA-256")
    for challenges in ([md5, sha], [sha, md5], [challenge(algorithm="WHIRLPOOL"), md5, sha]):
        answer = client().answer(challenges, "BYE", "sip:x", b"")
        assert answer is not None
        assert answer.parameters["algorithm"] == "SHA-256"


@pytest.mark.parametrize(
    "challenges",
    [
        [],
        [challenge(algorithm="WHIRLPOOL")],
        [challenge(qop="token")],
        [challenge(qop="")],
        [AuthHeader("Digest", {"realm": "r"})],
        [AuthHeader("Digest", {"nonce": "n"})],
        [AuthHeader("Basic", {"realm": "r", "nonce": "n"})],
    ],
)
def test_the_client_ignores_unsupported_challenges(challenges: list[AuthHeader]) -> None:
    assert client().answer(challenges, "BYE", "sip:x", b"") is None
    assert not client().can_answer(challenges)


def test_checking_for_an_answer_does_not_count_as_use() -> None:
    alice = client()
    assert alice.can_answer([challenge(algorithm="WHIRLPOOL"), challenge(qop="auth")])
    answer = alice.answer([challenge(qop="auth")], "BYE", "sip:x", b"")
    assert answer is not None
    assert answer.parameters["nc"] == "00000001"


def test_the_client_counts_the_uses_of_a_nonce() -> None:
    alice = client()
    asked = challenge(qop="auth")
    answers = [alice.answer([asked], "BYE", "sip:x", b"") for _ in range(3)]
    counts = [answer.parameters["nc"] for answer in answers if answer]
    assert counts == ["00000001", "00000002", "00000003"]
    assert len({answer.parameters["response"] for answer in answers if answer}) == 3
    other = alice.answer([challenge(qop="auth", realm="other")], "BYE", "sip:x", b"")
    fresh = alice.answer([challenge(qop="auth", nonce="m")], "BYE", "sip:x", b"")
    assert other is not None
    assert fresh is not None
    assert other.parameters["nc"] == fresh.parameters["nc"] == "00000001"
    assert fresh.parameters["cnonce"] != answers[0].parameters["cnonce"]  # type: ignore[union-attr]


def test_two_servers_of_one_realm_have_a_nonce_each() -> None:
    alice = client()
    proxy, registrar = challenge(nonce="p", qop="auth"), challenge(nonce="q", qop="auth")
    for count in ("00000001", "00000002"):
        for asked in (proxy, registrar):
            answer = alice.answer([asked], "REGISTER", "sip:x", b"")
            assert answer is not None
            assert answer.parameters["nc"] == count


def test_the_client_remembers_a_bounded_number_of_realms() -> None:
    alice = client()
    for number in range(100):
        alice.answer([challenge(realm=str(number))], "BYE", "sip:x", b"")
    again = alice.answer([challenge(realm="99", qop="auth")], "BYE", "sip:x", b"")
    forgotten = alice.answer([challenge(realm="0", qop="auth")], "BYE", "sip:x", b"")
    assert again is not None
    assert forgotten is not None
    assert again.parameters["nc"] == "00000002"
    assert forgotten.parameters["nc"] == "00000001"


def sent_with(alice: DigestClient, nonce: str, **more: str) -> AuthHeader:
    """Alice's credentials for a nonce."""
    answer = alice.answer([challenge(nonce=nonce, **more)], "REGISTER", "sip:x", b"")
    assert answer is not None
    return answer


@pytest.mark.parametrize("more", [{}, {"qop": "auth"}])
def test_the_refusal_of_a_nonce_does_not_mean_a_wrong_password(more: dict[str, str]) -> None:
    """It has expired, or another server of a cluster issued it."""
    alice = client()
    for _ in range(2):
        sent = sent_with(alice, "1", **more)
        assert not alice.rejected(challenge(nonce="2"), sent)
        assert not alice.rejected(challenge(nonce="2", stale="TRUE"), sent)
        assert not alice.rejected(challenge(nonce="1", stale="true"), sent)
        # The server goes on using the nonce.
        assert alice.rejected(challenge(nonce="1"), sent)


def test_representations_do_not_contain_the_password() -> None:
    alice = client("hunter2")
    answer = alice.answer([challenge()], "BYE", "sip:x", b"")
    assert "hunter2" not in repr(alice) + repr(answer) + str(answer)


def ask(server: DigestServer, now: float, algorithm: str = "SHA-256") -> AuthHeader:
    """The challenge of that algorithm, as received."""
    sent = [AuthHeader.parse(str(header)) for header in server.challenge(now)]
    return next(header for header in sent if header.parameters["algorithm"] == algorithm)


def answered(alice: DigestClient, asked: AuthHeader, method: str = "REGISTER") -> AuthHeader:
    answer = alice.answer([asked], method, "sip:example.com", b"")
    assert answer is not None
    return AuthHeader.parse(str(answer))


@pytest.fixture
def server() -> DigestServer:
    return DigestServer('ex"ample', random.Random(3), 30.0)


@pytest.mark.parametrize("algorithm", ["SHA-256", "MD5"])
def test_client_and_server_work_together(server: DigestServer, algorithm: str) -> None:
    alice = client()
    asked = ask(server, 1000.0, algorithm)
    for _ in range(3):
        assert (
            server.verify(answered(alice, asked), "REGISTER", "secret", 1001.0) is DigestVerdict.OK
        )
    auth = answered(alice, asked)
    assert server.verify(auth, "REGISTER", "Secret", 1001.0) is DigestVerdict.WRONG
    assert server.verify(auth, "INVITE", "secret", 1001.0) is DigestVerdict.WRONG


def test_both_algorithms_are_offered_the_stronger_first(server: DigestServer) -> None:
    headers = server.challenge(0.0)
    assert [header.parameters["algorithm"] for header in headers] == ["SHA-256", "MD5"]
    assert all(header.parameters["qop"] == "auth" for header in headers)
    assert not any("stale" in header.parameters for header in headers)
    assert all(h.parameters["stale"] == "true" for h in server.challenge(0.0, stale=True))


def test_a_replay_is_refused(server: DigestServer) -> None:
    alice = client()
    asked = ask(server, 0.0)
    first, second = answered(alice, asked), answered(alice, asked)
    assert server.verify(second, "REGISTER", "secret", 1.0) is DigestVerdict.OK
    assert server.verify(second, "REGISTER", "secret", 1.0) is DigestVerdict.STALE
    assert server.verify(first, "REGISTER", "secret", 1.0) is DigestVerdict.STALE
    assert server.verify(answered(alice, asked), "REGISTER", "secret", 1.0) is DigestVerdict.OK


def test_credentials_without_qop_are_accepted_once(server: DigestServer) -> None:
    asked = ask(server, 0.0)
    parameters = {k: v for k, v in asked.parameters.items() if k != "qop"}
    auth = answered(client(), AuthHeader("Digest", parameters))
    assert server.verify(auth, "REGISTER", "secret", 1.0) is DigestVerdict.OK
    assert server.verify(auth, "REGISTER", "secret", 1.0) is DigestVerdict.STALE


def test_an_old_nonce_is_stale(server: DigestServer) -> None:
    alice = client()
    asked = ask(server, 1000.0)
    assert server.verify(answered(alice, asked), "REGISTER", "secret", 1030.0) is DigestVerdict.OK
    assert (
        server.verify(answered(alice, asked), "REGISTER", "secret", 1030.1) is DigestVerdict.STALE
    )
    assert server.verify(answered(alice, asked), "REGISTER", "wrong", 1030.1) is DigestVerdict.WRONG


@pytest.mark.parametrize("nonce", ["", ".", "x", "1.2.3", "zz.yy.xx", "é.è.ê"])
def test_a_foreign_nonce_is_stale(server: DigestServer, nonce: str) -> None:
    auth = answered(client(), challenge(realm=server.realm, nonce=nonce, qop="auth"))
    assert server.verify(auth, "REGISTER", "secret", 0.0) is DigestVerdict.STALE


def test_a_forged_nonce_is_stale(server: DigestServer) -> None:
    genuine = ask(server, 0.0).parameters["nonce"]
    forged = "f" + genuine
    auth = answered(client(), challenge(realm=server.realm, nonce=forged, qop="auth"))
    assert server.verify(auth, "REGISTER", "secret", 0.0) is DigestVerdict.STALE


@pytest.mark.parametrize(
    "changes",
    [
        {"realm": "other"},
        {"algorithm": "SHA-512-256"},
        {"algorithm": "MD5-sess"},
        {"algorithm": ""},
        {"qop": "auth-int"},
        {"qop": ""},
        {"nc": "1"},
        {"nc": "0000000g"},
        {"nc": ""},
        {"response": ""},
        {"response": "é"},
        {"username": "bob"},
        {"uri": "sip:other"},
        {"cnonce": "other"},
        {"nonce": "other"},
    ],
)
def test_altered_credentials_are_wrong(server: DigestServer, changes: dict[str, str]) -> None:
    auth = answered(client(), ask(server, 0.0))
    altered = AuthHeader("Digest", dict(auth.parameters) | changes)
    assert server.verify(altered, "REGISTER", "secret", 0.0) is DigestVerdict.WRONG


@pytest.mark.parametrize("name", ["username", "realm", "nonce", "uri", "response", "cnonce", "nc"])
def test_incomplete_credentials_are_wrong(server: DigestServer, name: str) -> None:
    auth = answered(client(), ask(server, 0.0))
    rest = {k: v for k, v in auth.parameters.items() if k != name}
    assert (
        server.verify(AuthHeader("Digest", rest), "REGISTER", "secret", 0.0) is DigestVerdict.WRONG
    )
    assert server.verify(AuthHeader("Basic", {}), "REGISTER", "secret", 0.0) is DigestVerdict.WRONG


def test_nonces_differ_and_only_used_ones_are_remembered(server: DigestServer) -> None:
    nonces = {ask(server, 5.0).parameters["nonce"] for _ in range(50)}
    assert len(nonces) == 50
    assert len(server._used) == 0
    for number in range(200):
        auth = answered(client(), ask(server, float(number)))
        assert server.verify(auth, "REGISTER", "secret", float(number)) is DigestVerdict.OK
    assert len(server._used) <= 31
