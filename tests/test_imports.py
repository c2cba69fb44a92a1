"""What an import loads: time and memory that every program and every test run pays."""

from __future__ import annotations

import subprocess
import sys

import pytest

#: Modules that take a tenth of a second or many megabytes, or that only parts of Spech need.
HEAVY = {
    "OpenSSL",
    "av",
    "click",
    "cryptography",
    "dns",
    "hypercorn",
    "pylibsrtp",
    "quart",
    "quart_trio",
    "rich",
    "soxr",
    "trio_websocket",
}


def loaded(program: str) -> set[str]:
    """The modules that a new interpreter has loaded after ``program``."""
    program += "\nimport sys; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return set(run.stdout.split())


def test_importing_spech_loads_its_errors_only() -> None:
    modules = loaded("import spech")
    assert {name for name in modules if name.startswith("spech")} == {"spech", "spech.errors"}
    assert not modules & {*HEAVY, "numpy", "trio"}


def test_the_pytest_plugin_loads_nothing_but_pytest() -> None:
    ours = loaded("import spech.testing.plugin") - loaded("import pytest, contextlib, os, typing")
    assert ours == {"spech", "spech.errors", "spech.testing", "spech.testing.plugin"}


@pytest.mark.parametrize("module", ["av", "dns", "hypercorn", "quart"])
def test_the_library_loads_these_when_a_call_needs_them(module: str) -> None:
    assert module not in loaded("from spech import *")


def test_names_that_do_not_exist_are_reported() -> None:
    run = subprocess.run(
        [sys.executable, "-c", "import spech; spech.open_fone"], capture_output=True, text=True
    )
    assert "AttributeError: module 'spech' has no attribute 'open_fone'" in run.stderr
