"""Guessing the password: few attempts, growing delays, one log line for each."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest
import trio

from spech.web import logins
from spech.web.logins import FAILURES, LoginLimiter
from spech.web.proxies import TrustedProxies

from .test_app import client

PASSWORD = "correct horse"


async def attempt(http: Any, password: str, name: str = "admin", **headers: str) -> Any:
    """Try to sign in, and return the response."""
    body = json.dumps({"name": name, "password": password})
    return await http.post("/session", data=body, headers=headers)


def test_delays_grow_after_five_failures() -> None:
    limiter = LoginLimiter()
    waits = []
    now = 0.0
    for _ in range(FAILURES + 3):
        limiter.fail("192.0.2.1", "admin", now)
        waits.append(limiter.wait("192.0.2.1", now))
        now += waits[-1]
    assert waits == [0, 0, 0, 0, 2, 4, 8, 16]
    assert limiter.wait("192.0.2.2", now - 1) == 0


def test_a_delay_is_bounded_and_ends() -> None:
    limiter = LoginLimiter()
    now = 0.0
    for _ in range(40):
        limiter.fail("192.0.2.1", "admin", now)
        now += limiter.wait("192.0.2.1", now)
    limiter.fail("192.0.2.1", "admin", now)
    assert limiter.wait("192.0.2.1", now) == 600
    assert limiter.wait("192.0.2.1", now + 600) == 0


def test_guessing_for_weeks_is_still_delayed() -> None:
    limiter = LoginLimiter()
    now = 0.0
    for _ in range(1100):
        limiter.fail("192.0.2.1", "admin", now)
        now += limiter.wait("192.0.2.1", now)
    limiter.fail("192.0.2.1", "admin", now)
    assert limiter.wait("192.0.2.1", now) == 600


def test_failures_are_forgotten_a_minute_after_the_last_delay() -> None:
    limiter = LoginLimiter()
    for _ in range(FAILURES):
        limiter.fail("192.0.2.1", "admin", 0.0)
    limiter.fail("192.0.2.1", "admin", 61.0)  # Within a minute after the delay of 2 s.
    assert limiter.wait("192.0.2.1", 61.0) == 4
    limiter.fail("192.0.2.1", "admin", 125.0)
    assert limiter.wait("192.0.2.1", 125.0) == 0


def test_a_success_clears_the_record() -> None:
    limiter = LoginLimiter()
    for _ in range(FAILURES - 1):
        limiter.fail("192.0.2.1", "admin", 0.0)
    limiter.succeed("192.0.2.1", "Admin")
    limiter.fail("192.0.2.1", "admin", 0.0)
    assert limiter.wait("192.0.2.1", 0.0) == 0


@pytest.mark.parametrize("names", [["admin"], ["admin", "bob"]])
def test_a_success_does_not_clear_guesses_at_another_password(names: list[str]) -> None:
    limiter = LoginLimiter()
    for number in range(FAILURES):
        assert limiter.wait("192.0.2.1", 0.0) == 0
        limiter.fail("192.0.2.1", names[number % len(names)], 0.0)
        limiter.succeed("192.0.2.1", "bob")
    assert limiter.wait("192.0.2.1", 0.0) == 2


def test_an_ipv6_network_is_one_source() -> None:
    limiter = LoginLimiter()
    for host in range(FAILURES):
        limiter.fail(f"2001:db8::{host}", "admin", 0.0)
    assert limiter.wait("2001:db8::ffff", 0.0) > 0
    assert limiter.wait("2001:db8:0:1::1", 0.0) == 0


def test_the_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logins, "_SOURCES", 3)
    limiter = LoginLimiter()
    for host in range(5):
        for _ in range(FAILURES):
            limiter.fail(f"192.0.2.{host}", "admin", 0.0)
    assert [limiter.wait(f"192.0.2.{host}", 0.0) > 0 for host in range(5)] == [
        False,
        False,
        True,
        True,
        True,
    ]


async def test_the_server_stops_comparing_passwords_during_a_delay(
    data_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with client(data_folder, password=PASSWORD, signed_in=False) as http:
        statuses = []

        async def guess(number: int) -> None:
            statuses.append((await attempt(http, f"guess {number}")).status_code)

        # At the same time, which does not give a guess more.
        async with trio.open_nursery() as nursery:
            for number in range(FAILURES + 3):
                nursery.start_soon(guess, number)
        assert sorted(statuses) == [401] * FAILURES + [429] * 3
        blocked = await attempt(http, PASSWORD)
        assert blocked.status_code == 429
        assert 1 <= int(blocked.headers["Retry-After"]) <= 2
    lines = [record.getMessage() for record in caplog.records if "login" in record.getMessage()]
    assert len(lines) == FAILURES
    assert "guess" not in caplog.text
    # The expression that docs/security.md gives to fail2ban.
    assert all(re.fullmatch(r"login failed from \S+: wrong password", line) for line in lines)
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


async def test_signing_in_gives_no_more_guesses_at_another_password(data_folder: Path) -> None:
    async with client(data_folder, password=PASSWORD, signed_in=False) as http:
        for _ in range(FAILURES - 1):
            assert (await attempt(http, "guess", name="bob")).status_code == 401
        assert (await attempt(http, PASSWORD)).status_code == 204
        assert (await attempt(http, "guess", name="bob")).status_code == 401
        assert (await attempt(http, "guess", name="bob")).status_code == 429


@pytest.mark.parametrize(
    ("peer", "headers", "source", "proxied"),
    [
        ("192.0.2.9", {}, "192.0.2.9", False),
        # Headers from a stranger are not trusted, but they show that there is a proxy.
        ("192.0.2.9", {"X-Forwarded-For": "127.0.0.1"}, "192.0.2.9", True),
        # Loopback is not trusted unless it is named.
        ("127.0.0.1", {"Forwarded": "for=192.0.2.1"}, "127.0.0.1", True),
        ("10.0.0.1", {}, "10.0.0.1", True),
        ("10.0.0.1", {"X-Forwarded-For": "192.0.2.1"}, "192.0.2.1", True),
        ("10.0.0.1", {"X-Forwarded-For": "203.0.113.5, 192.0.2.1"}, "192.0.2.1", True),
        ("10.0.0.1", {"X-Forwarded-For": "192.0.2.1, 10.0.0.7, 10.1.2.3"}, "192.0.2.1", True),
        ("10.0.0.1", {"X-Forwarded-For": "192.0.2.1:4711"}, "192.0.2.1", True),
        ("10.0.0.1", {"X-Forwarded-For": "2001:db8::5"}, "2001:db8::5", True),
        ("10.0.0.1", {"X-Forwarded-For": "nonsense"}, "10.0.0.1", True),
        ("10.0.0.1", {"X-Forwarded-For": "10.0.0.3"}, "10.0.0.1", True),
        ("10.0.0.1", {"Forwarded": "for=192.0.2.1;proto=https"}, "192.0.2.1", True),
        ("10.0.0.1", {"Forwarded": 'for="[2001:db8::5]:80"; by=10.0.0.1'}, "2001:db8::5", True),
        (
            "10.0.0.1",
            {"Forwarded": "for=203.0.113.5, For=192.0.2.1, for=10.9.9.9"},
            "192.0.2.1",
            True,
        ),
        ("10.0.0.1", {"Forwarded": 'for="a,for=192.0.2.1'}, "10.0.0.1", True),
        ("10.0.0.1", {"Forwarded": "for=_hidden"}, "10.0.0.1", True),
        # The proxy writes one of the two; the client may have written the other.
        (
            "10.0.0.1",
            {"Forwarded": "for=203.0.113.5", "X-Forwarded-For": "192.0.2.1"},
            "10.0.0.1",
            True,
        ),
        (
            "10.0.0.1",
            {"Forwarded": "for=192.0.2.1", "X-Forwarded-For": "192.0.2.1"},
            "192.0.2.1",
            True,
        ),
    ],
)
def test_the_client_behind_a_proxy_is_identified(
    peer: str, headers: dict[str, str], source: str, proxied: bool
) -> None:
    proxies = TrustedProxies(["10.0.0.0/8"])
    assert proxies.client(peer, list(headers.items())) == (source, proxied)


async def test_each_client_of_a_proxy_has_its_own_limit(data_folder: Path) -> None:
    async with client(data_folder, password=PASSWORD, proxies=["127.0.0.1"]) as http:
        for _ in range(FAILURES):
            await attempt(http, "guess", **{"X-Forwarded-For": "192.0.2.1"})
        for source, status in (("192.0.2.1", 429), ("192.0.2.2", 204)):
            answer = await attempt(http, PASSWORD, **{"X-Forwarded-For": source})
            assert answer.status_code == status
