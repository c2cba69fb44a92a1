"""Faults of peers: all are counted, and few are logged."""

from __future__ import annotations

import logging

import pytest

from spech.incidents import Incidents

LOG = logging.getLogger("spech.test")


def test_each_source_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    incidents = Incidents(LOG)
    for host in ("192.0.2.1", "192.0.2.2", "192.0.2.1", "2001:db8::1", "2001:db8::2"):
        incidents.note(host, "rubbish from %s", host)
    assert incidents.count == 5
    assert [record.message for record in caplog.records] == [
        f"rubbish from {host} (logged once)" for host in ("192.0.2.1", "192.0.2.2", "2001:db8::1")
    ]


def test_milestones_log_the_number_of_incidents(caplog: pytest.LogCaptureFixture) -> None:
    incidents = Incidents(LOG, milestones=True)
    for _ in range(240):
        incidents.note("192.0.2.1", "a wrong password")
    assert [record.message for record in caplog.records] == [
        f"a wrong password (number {number} from there)" for number in (1, 10, 100)
    ]


def test_many_sources_do_not_fill_memory_or_log(caplog: pytest.LogCaptureFixture) -> None:
    incidents = Incidents(LOG)
    for number in range(5000):
        incidents.note(f"10.0.{number // 250}.{number % 250}", "rubbish")
    assert incidents.count == 5000
    assert len(caplog.records) == 1000


def test_the_handled_exception_is_logged_on_request(
    caplog: pytest.LogCaptureFixture,
) -> None:
    incidents = Incidents(LOG)
    try:
        raise ValueError("unexpected")
    except ValueError:
        incidents.note("192.0.2.1", "cannot handle it", traceback=True)
    assert "ValueError: unexpected" in caplog.text
