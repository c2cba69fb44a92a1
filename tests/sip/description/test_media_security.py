"""Encryption in offer and answer: combinations of policies, keys, and refused lines."""

from __future__ import annotations

import base64
import random
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spech.agreement import DtlsPeer, SrtpKeys
from spech.errors import RemoteProtocolError
from spech.sip.description import sdp
from spech.sip.description.media_security import SUITES, MediaSecurity, Policy
from spech.sip.description.offer_answer import Negotiator
from spech.sip.description.payload_types import AudioFormat

PCMU = AudioFormat("PCMU", "PCMU", 8000, 0)
FINGERPRINT = "sha-256 " + ":".join(["AB"] * 32)
KEY = base64.b64encode(bytes(range(30))).decode()
CRYPTO = f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"


def side(policy: Policy, *, secure: bool = False, seed: int = 1) -> Negotiator:
    security = MediaSecurity(
        policy, signalling_secure=secure, rng=random.Random(seed), fingerprint=lambda: FINGERPRINT
    )
    return Negotiator([PCMU], "192.0.2.1", 4000, seed, security=security)


def described(*lines: str, protocol: str = "RTP/SAVP") -> bytes:
    head = ("v=0", "o=- 1 1 IN IP4 192.0.2.9", "s=-", "c=IN IP4 192.0.2.9", "t=0 0")
    return "\r\n".join((*head, f"m=audio 6000 {protocol} 0", *lines, "")).encode()


def crypto(body: bytes) -> list[str]:
    return [value or "" for name, value in sdp.parse(body).media[0].attributes if name == "crypto"]


#: Policies of caller and callee, over plain and encrypted signalling: the agreement, or which side
#: refuses.
POLICIES: list[tuple[Policy, Policy, str, str]] = [
    ("off", "off", "plain", "plain"),
    ("off", "optional", "plain", "plain"),
    ("off", "required", "refused", "refused"),
    ("off", "sdes", "refused", "refused"),
    ("off", "dtls", "refused", "refused"),
    ("optional", "off", "plain", "plain"),
    ("optional", "optional", "SDES", "SDES"),
    ("optional", "required", "refused", "SDES"),
    ("optional", "sdes", "SDES", "SDES"),
    ("optional", "dtls", "refused", "refused"),
    ("required", "off", "DTLS", "SDES"),
    ("required", "optional", "DTLS", "SDES"),
    ("required", "required", "DTLS", "SDES"),
    ("required", "sdes", "refused", "SDES"),
    ("required", "dtls", "DTLS", "refused"),
    ("sdes", "off", "SDES", "SDES"),
    ("sdes", "required", "refused", "SDES"),
    ("sdes", "dtls", "refused", "refused"),
    ("dtls", "off", "DTLS", "DTLS"),
    ("dtls", "required", "DTLS", "DTLS"),
    ("dtls", "sdes", "refused", "refused"),
]


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize(("caller", "called", "plainly", "securely"), POLICIES)
def test_policies_agree_on_encryption(
    caller: Policy, called: Policy, plainly: str, securely: str, secure: bool
) -> None:
    expected = securely if secure else plainly
    left, right = side(caller, secure=secure), side(called, secure=secure, seed=2)
    offer = left.offer()
    if expected == "refused":
        with pytest.raises(RemoteProtocolError) as refused:
            right.receive_offer(offer)
        assert refused.value.status == 488
        assert "encryption" in str(refused.value)
        return
    answer, theirs = right.receive_offer(offer)
    ours = left.receive_answer(answer)
    assert sdp.parse(answer).media[0].protocol == sdp.parse(offer).media[0].protocol
    match expected:
        case "plain":
            assert ours.security is theirs.security is None
        case "SDES":
            assert isinstance(ours.security, SrtpKeys)
            assert isinstance(theirs.security, SrtpKeys)
            assert ours.security.suite == theirs.security.suite == "AEAD_AES_256_GCM"
            assert ours.security.send == theirs.security.receive
            assert ours.security.receive == theirs.security.send
            assert ours.security.send != ours.security.receive
        case "DTLS":
            assert isinstance(ours.security, DtlsPeer)
            assert isinstance(theirs.security, DtlsPeer)
            assert (ours.security.client, theirs.security.client) == (False, True)
            assert ours.security.fingerprints == (("sha-256", "ab" * 32),)


@pytest.mark.parametrize(
    ("policy", "protocol", "attributes"),
    [
        ("off", "RTP/AVP", set()),
        ("optional", "RTP/AVP", {"crypto"}),
        ("required", "UDP/TLS/RTP/SAVP", {"fingerprint", "setup"}),
        ("sdes", "RTP/SAVP", {"crypto"}),
        ("dtls", "UDP/TLS/RTP/SAVP", {"fingerprint", "setup"}),
    ],
)
def test_each_policy_has_its_offer(policy: Policy, protocol: str, attributes: set[str]) -> None:
    media = sdp.parse(side(policy).offer()).media[0]
    assert media.protocol == protocol
    assert {name for name, _ in media.attributes} & {"crypto", "fingerprint", "setup"} == attributes
    if "crypto" in attributes:
        assert [line.split()[1] for line in crypto(side(policy).offer())] == list(SUITES)


def test_the_answer_has_the_tag_of_the_accepted_crypto_line() -> None:
    offer = described("a=crypto:3 F8_128_HMAC_SHA1_80 inline:" + KEY, CRYPTO.replace(":1 ", ":7 "))
    answer, agreed = side("sdes").receive_offer(offer)
    assert isinstance(agreed.security, SrtpKeys)
    assert agreed.security.receive == bytes(range(30))
    (line,) = crypto(answer)
    assert line.startswith("7 AES_CM_128_HMAC_SHA1_80 inline:")
    assert base64.b64decode(line.partition("inline:")[2]) == agreed.security.send


@pytest.mark.parametrize("protocol", ["RTP/SAVP", "RTP/SAVPF"])
def test_the_answer_has_the_profile_of_the_offer(protocol: str) -> None:
    answer, _ = side("off").receive_offer(described(CRYPTO, protocol=protocol))
    assert sdp.parse(answer).media[0].protocol == protocol


@pytest.mark.parametrize(
    "ending", ["", "|2^20", "|2^48", "|1048576", " WSH=64", " -later=1", "|2^31 WSH=128 -x"]
)
def test_valid_crypto_lines_are_accepted(ending: str) -> None:
    assert side("sdes").receive_offer(described(CRYPTO + ending))[1].security is not None


@pytest.mark.parametrize(
    ("suite", "size"),
    [("AEAD_AES_256_GCM", 44), ("AEAD_AES_128_GCM", 28), ("AES_CM_128_HMAC_SHA1_80", 30)],
)
def test_a_key_without_base64_padding_is_accepted(suite: str, size: int) -> None:
    key = base64.b64encode(bytes(range(size))).decode().rstrip("=")
    _, agreed = side("sdes").receive_offer(described(f"a=crypto:1 {suite} inline:{key}|2^31"))
    assert isinstance(agreed.security, SrtpKeys)
    assert agreed.security.receive == bytes(range(size))


@pytest.mark.parametrize(
    "line",
    [
        CRYPTO + " KDR=1",
        CRYPTO + " UNENCRYPTED_SRTP",
        CRYPTO + " UNAUTHENTICATED_SRTP",
        CRYPTO + " UNENCRYPTED_SRTCP",
        CRYPTO + " FEC_ORDER=FEC_SRTP",
        CRYPTO + " SOMETHING",
        CRYPTO + "|2^20|1:4",  # an MKI
        CRYPTO + "|1:4",
        CRYPTO + "|2^10",
        CRYPTO + "|1000",
        CRYPTO + ";inline:" + KEY,
        CRYPTO.replace("_80", "_64"),
        CRYPTO.replace("AES_CM_128_HMAC_SHA1_80", "AEAD_AES_256_GCM"),  # too short for it
        CRYPTO[:-4],
        CRYPTO.replace("inline:", "inline:*"),
        CRYPTO.replace("inline:", "outline:"),
        "a=crypto:",
        "a=crypto:\x0b",
        "a=crypto:1",
        "a=crypto:x y z",
        "\r\n".join((CRYPTO, CRYPTO)),  # one tag twice
    ],
)
def test_invalid_crypto_lines_are_refused(line: str) -> None:
    with pytest.raises(RemoteProtocolError) as refused:
        side("sdes").receive_offer(described(line))
    assert refused.value.status == 488
    # If encryption is optional, it is not used.
    answer, agreed = side("optional").receive_offer(described(line, protocol="RTP/AVP"))
    assert agreed.security is None
    assert crypto(answer) == []


@given(st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), max_size=60))
def test_any_crypto_line_is_read_or_refused(text: str) -> None:
    with suppress(RemoteProtocolError):
        side("sdes").receive_offer(described(f"a=crypto:{text}"))


@pytest.mark.parametrize(
    "answer",
    [
        described(),
        described(CRYPTO.replace(":1 ", ":9 ")),  # a tag that was not offered
        described(CRYPTO),  # a suite that does not match the tag
        described(CRYPTO.replace(":1 ", ":3 "), CRYPTO.replace(":1 ", ":4 ")),
        described(CRYPTO.replace(":1 ", ":3 ") + " KDR=1"),
        described(protocol="RTP/AVP"),
    ],
)
def test_invalid_crypto_answers_are_refused(answer: bytes) -> None:
    left = side("sdes")
    left.offer()
    with pytest.raises(RemoteProtocolError) as refused:
        left.receive_answer(answer)
    assert refused.value.status == 488


def test_an_answer_with_our_own_key_is_refused() -> None:
    left = side("sdes")
    line = crypto(left.offer())[2]
    with pytest.raises(RemoteProtocolError):
        left.receive_answer(described(f"a=crypto:{line}"))


def agreed_by_sdes() -> tuple[Negotiator, Negotiator, SrtpKeys]:
    left, right = side("sdes"), side("sdes", seed=2)
    answer, _ = right.receive_offer(left.offer())
    security = left.receive_answer(answer).security
    assert isinstance(security, SrtpKeys)
    return left, right, security


def test_a_new_offer_of_either_side_keeps_the_keys() -> None:
    left, right, before = agreed_by_sdes()
    assert len(crypto(left.offer())) == 1
    answer, theirs = right.receive_offer(left.offer())
    assert left.receive_answer(answer).security == before
    answer, ours = left.receive_offer(right.offer())
    assert ours.security == before
    assert right.receive_answer(answer).security == theirs.security


def test_a_new_key_of_theirs_gets_a_new_key_of_ours() -> None:
    left, _, before = agreed_by_sdes()
    _, agreed = left.receive_offer(described(CRYPTO))
    assert isinstance(agreed.security, SrtpKeys)
    assert agreed.security.receive == bytes(range(30))
    assert agreed.security.send != before.send
    # Another tag for the same key changes nothing.
    _, again = left.receive_offer(described(CRYPTO.replace(":1 ", ":5 ")))
    assert again.security == agreed.security


def test_a_new_address_of_ours_has_a_new_key() -> None:
    left, right, before = agreed_by_sdes()
    left.move("192.0.2.77", 4444)
    answer, theirs = right.receive_offer(left.offer())
    after = left.receive_answer(answer).security
    assert isinstance(after, SrtpKeys)
    assert isinstance(theirs.security, SrtpKeys)
    assert after.send == theirs.security.receive != before.send
    assert after.receive == theirs.security.send


def test_a_refused_change_keeps_the_keys() -> None:
    left, right, before = agreed_by_sdes()
    with pytest.raises(RemoteProtocolError):
        left.receive_offer(described(CRYPTO).replace(b"SAVP 0", b"SAVP 77"))
    assert left.receive_offer(right.offer())[1].security == before


def test_an_opportunistic_handshake_is_accepted_if_allowed() -> None:
    offer = described(f"a=fingerprint:{FINGERPRINT}", "a=setup:actpass", protocol="RTP/AVP")
    for policy, kind in (("off", None), ("optional", DtlsPeer), ("dtls", DtlsPeer)):
        answer, agreed = side(policy).receive_offer(offer)  # type: ignore[arg-type]
        assert (None if agreed.security is None else type(agreed.security)) is kind
        assert sdp.parse(answer).media[0].protocol == "RTP/AVP"


def test_the_encrypted_one_of_two_lines_is_accepted() -> None:
    offer = described("m=audio 6002 RTP/SAVP 0", CRYPTO, protocol="RTP/AVP")
    answer, agreed = side("optional").receive_offer(offer)
    assert agreed.security is not None
    assert [media.port for media in sdp.parse(answer).media] == [0, 4000]
    answer, agreed = side("off").receive_offer(offer)
    assert agreed.security is None
    assert [media.port for media in sdp.parse(answer).media] == [4000, 0]


@pytest.mark.parametrize(
    ("lines", "client"),
    [
        ([f"a=fingerprint:{FINGERPRINT}", "a=setup:actpass"], True),
        ([f"a=fingerprint:{FINGERPRINT}", "a=setup:passive"], True),
        ([f"a=fingerprint:{FINGERPRINT}", "a=setup:active"], False),
        ([f"a=fingerprint:{FINGERPRINT}"], False),
        ([f"a=fingerprint:{FINGERPRINT}", "a=setup:holdconn"], None),
        (["a=setup:actpass"], None),
        (["a=fingerprint:sha-1 " + ":".join(["AB"] * 20), "a=setup:actpass"], None),
        (["a=fingerprint:sha-256 AB:CD", "a=setup:actpass"], None),
        (["a=fingerprint:md5 " + ":".join(["AB"] * 16), "a=setup:actpass"], None),
    ],
)
def test_setup_decides_which_side_is_the_client(lines: list[str], client: bool | None) -> None:
    offer = described(*lines, protocol="UDP/TLS/RTP/SAVP")
    if client is None:
        with pytest.raises(RemoteProtocolError):
            side("dtls").receive_offer(offer)
        return
    answer, agreed = side("dtls").receive_offer(offer)
    assert agreed.security == DtlsPeer((("sha-256", "ab" * 32),), client)
    media = sdp.parse(answer).media[0]
    assert media.attribute("setup") == ("active" if client else "passive")
    assert media.attribute("fingerprint") == FINGERPRINT
    # They offer again, and the client stays the same.
    again = described(lines[0], "a=setup:actpass", protocol="UDP/TLS/RTP/SAVP")
    negotiator = side("dtls")
    assert negotiator.receive_offer(offer)[1] == negotiator.receive_offer(again)[1]


def test_we_start_another_association_on_request() -> None:
    lines = (f"a=fingerprint:{FINGERPRINT}", "a=setup:actpass")
    negotiator = side("dtls")
    agreed = []
    for connection in ("new", "existing", "new"):
        offer = described(*lines, f"a=connection:{connection}", protocol="UDP/TLS/RTP/SAVP")
        security = negotiator.receive_offer(offer)[1].security
        assert isinstance(security, DtlsPeer)
        assert security.client
        agreed.append(security.number)
    assert agreed == [0, 0, 1]


def test_a_session_level_fingerprint_is_used() -> None:
    offer = described(protocol="UDP/TLS/RTP/SAVP").replace(
        b"m=audio", f"a=fingerprint:{FINGERPRINT}\r\na=setup:actpass\r\nm=audio".encode()
    )
    assert isinstance(side("dtls").receive_offer(offer)[1].security, DtlsPeer)


def test_an_unrequested_fingerprint_is_ignored() -> None:
    left = side("off")
    left.offer()
    answer = described(f"a=fingerprint:{FINGERPRINT}", CRYPTO, protocol="RTP/AVP")
    assert left.receive_answer(answer).security is None


def test_keys_are_not_in_representations() -> None:
    left, _, security = agreed_by_sdes()
    key = base64.b64encode(security.send).decode()
    description = sdp.parse(left.offer())
    parts = [getattr(left, name) for name in dir(left) if not name.startswith("__")]
    for thing in (security, description, description.media[0], parts):
        assert key not in repr(thing)
        assert repr(security.send) not in repr(thing)
