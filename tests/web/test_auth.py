"""The gate: which Host and Origin are accepted."""

from __future__ import annotations

import pytest

from spech.web.auth import Gate, host_name, is_loopback, same_origin


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:8080", "127.0.0.1", "localhost:8080", "LOCALHOST", "[::1]:8080", "a.localhost:1"],
)
def test_loopback_names_are_accepted(host: str) -> None:
    assert Gate("127.0.0.1").host_allowed(host)


@pytest.mark.parametrize(
    "host",
    [
        None,
        "",
        "evil.example",
        "evil.example:8080",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "192.0.2.7:8080",
        "127.0.0.1@evil.example",
        "evil.example/127.0.0.1",
        "[::1",
        "127.0.0.1:port",
        "127.0.0.1 evil.example",
        "127.0.0.1, evil.example",
    ],
)
def test_other_names_are_refused(host: str | None) -> None:
    assert not Gate("127.0.0.1").host_allowed(host)


def test_allowed_names_and_addresses_are_accepted() -> None:
    gate = Gate("0.0.0.0", allowed_hosts=["Phone.Example"])
    assert gate.host_allowed("phone.example:8080")
    assert gate.host_allowed("PHONE.example.")
    assert gate.host_allowed("192.0.2.7:8080")
    assert gate.host_allowed("[2001:db8::7]:8080")
    assert not gate.host_allowed("evil.example")


@pytest.mark.parametrize(
    ("origin", "host", "same"),
    [
        (None, "127.0.0.1:8080", True),
        ("http://127.0.0.1:8080", "127.0.0.1:8080", True),
        ("http://localhost:8080", "LocalHost:8080", True),
        ("http://phone.example", "phone.example", True),
        ("https://phone.example", "phone.example", True),
        ("https://phone.example", "phone.example:443", True),
        ("http://[::1]:8080", "[::1]:8080", True),
        ("http://127.0.0.1:8081", "127.0.0.1:8080", False),
        ("http://evil.example", "127.0.0.1:8080", False),
        ("http://127.0.0.1:8080.evil.example", "127.0.0.1:8080", False),
        ("http://127.0.0.1", "127.0.0.1:8080", False),
        ("null", "127.0.0.1:8080", False),
        ("", "127.0.0.1:8080", False),
        ("file://", "127.0.0.1:8080", False),
        ("http://[", "127.0.0.1:8080", False),
        ("http://a:99999", "a:99999", False),
        ("http://127.0.0.1:8080", None, False),
    ],
)
def test_the_origin_must_match(origin: str | None, host: str | None, same: bool) -> None:
    assert same_origin(origin, host) is same


def test_the_port_of_the_origin_is_not_compared() -> None:
    gate = Gate("127.0.0.1")
    assert gate.origin_allowed("http://127.0.0.1:8080")
    assert gate.origin_allowed("https://localhost")
    for origin in ("null", "", "http://evil.example", "file://", "localhost", "ws://localhost"):
        assert not gate.origin_allowed(origin)


def test_host_names_are_parsed() -> None:
    assert host_name("[::1]:80") == "::1"
    assert host_name("A.Example.:80") == "a.example"
    assert is_loopback("Localhost.")
    assert is_loopback("[::1]")
    assert not is_loopback("localhost.evil.example")
    assert not is_loopback("")
