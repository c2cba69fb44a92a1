"""Limits on connections, derived from the limit on open files."""

from __future__ import annotations

import resource

import pytest

from spech.descriptors import ConnectionBudget, connection_limit


@pytest.mark.parametrize("descriptors", [64, 256, 1024, 4096, 1_048_576, resource.RLIM_INFINITY])
def test_a_quarter_of_the_descriptors_is_reserved_for_calls(descriptors: int) -> None:
    limit = connection_limit(descriptors)
    assert limit >= 8
    if descriptors > 0:
        assert descriptors - 2 * limit >= descriptors // 4


def test_a_source_has_a_limit_of_its_own_until_it_is_trusted() -> None:
    budget = ConnectionBudget(10, per_source=3)
    admissions = [budget.admit("2001:db8::1") for _ in range(3)]
    assert all(admissions)
    assert budget.admit("2001:db8::2:0:0:1") is None  # The same network.
    assert budget.admit("192.0.2.1") is not None
    assert admissions[0] is not None
    admissions[0].trust()
    admissions[0].trust()
    assert budget.admit("2001:db8::1") is not None
    assert budget.count == 5


def test_the_limit_counts_trusted_connections_too() -> None:
    budget = ConnectionBudget(2)
    first = budget.admit("192.0.2.1")
    assert first is not None
    first.trust()
    second = budget.admit("192.0.2.2")
    assert second is not None
    assert budget.admit("192.0.2.3") is None
    first.release()
    first.release()
    with second:
        assert budget.count == 1
    assert budget.count == 0
    third = budget.admit("192.0.2.3")
    assert third is not None
