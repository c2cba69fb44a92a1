"""The pytest plugin: installing Spech makes its fixtures and its reports available.

``asterisk`` is a real PBX for the whole test run (:mod:`spech.testing.dialplan` lists its
extensions). Without an Asterisk the tests that use it are skipped, with the reason; with
``SPECH_REQUIRE_ASTERISK=1`` in the environment they fail. ``SPECH_TEST_PBX=host:port`` names a
running PBX with the same accounts and extensions.

The report of a failed test shows each of its calls: the messages, the packets in both directions,
the codec, and the folder with the sound of both sides and a packet capture. A group with one error
is reported as that error.

pytest imports this module in every run of every project that has Spech installed. So it imports
nothing else of Spech until a fixture is used or a call begins.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import pytest

if TYPE_CHECKING:
    from spech.testing.asterisk import Asterisk
    from spech.testing.evidence import Evidence

_OPTION: Final = "--call-folder"


def unavailable(what: str, reason: str) -> NoReturn:
    """Skip the test, or fail it if ``SPECH_REQUIRE_<what>=1`` requires it to run."""
    if os.environ.get(f"SPECH_REQUIRE_{what.upper()}", "0") not in ("", "0"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def asterisk() -> Iterator[Asterisk]:
    """A running Asterisk, one for all tests."""
    from spech.testing.asterisk import Asterisk, AsteriskUnavailable

    elsewhere = os.environ.get("SPECH_TEST_PBX")
    if elsewhere:
        host, _, port = elsewhere.rpartition(":")
        console = os.environ.get("SPECH_TEST_PBX_CONSOLE", "").split()
        yield Asterisk.elsewhere(host, int(port), console=console)
        return
    with contextlib.ExitStack() as stack:
        try:
            pbx = stack.enter_context(Asterisk())
        except AsteriskUnavailable as error:
            unavailable("asterisk", str(error))
        yield pbx


@pytest.fixture
def nothing_left(asterisk: Asterisk) -> Iterator[None]:
    """Fail if the test leaves a channel of the PBX, or a socket of this process."""
    from spech.testing.leftovers import open_sockets

    before = open_sockets()
    yield
    left = open_sockets() - before
    assert not left, f"the test left {len(left)} sockets open"
    if asterisk.has_console:
        asterisk.await_channels(0)


# ---------------------------------------------------------------------- reports


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option for the files of failed tests."""
    parser.getgroup("spech").addoption(
        _OPTION,
        type=Path,
        metavar="FOLDER",
        help="where to save sound and packets of calls in failed tests (default: as tmp_path)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Watch for calls."""
    config.pluginmanager.register(CallReports(config), "spech_calls")


class CallReports:
    """Adds the calls of failed tests to their reports."""

    def __init__(self, config: pytest.Config) -> None:
        from spech.observers import call_observers

        self._config = config
        self._observers = call_observers
        self._evidence: Evidence | None = None
        call_observers.append(self._observe)

    def pytest_unconfigure(self) -> None:
        """The run ends."""
        self._observers.remove(self._observe)

    def _observe(self, call: Any) -> None:
        if self._evidence is None:
            from spech.testing.evidence import Evidence

            self._evidence = Evidence()
        self._evidence.observe(call)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self) -> None:
        """A test begins, with no calls."""
        self._evidence = None

    def pytest_runtest_logfinish(self) -> None:
        """A test has ended; what is kept of its calls is not needed any more."""
        self._evidence = None

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Report the error in a group as itself, and what is known of the calls."""
        errors = [] if self._evidence is None else _unpack(call)
        report = yield
        if report.failed and self._evidence is not None:
            text = self._evidence.report(self._folder(item))
            self._evidence = None  # So that it is not reported again by the teardown.
            report.sections.append(("Calls", "\n".join([*errors, text])))
        return report

    def _folder(self, item: pytest.Item) -> Path:
        chosen: Path | None = self._config.getoption(_OPTION)
        if chosen is not None:
            return chosen.absolute() / _plain(item.nodeid)[-100:]
        factory = getattr(self._config, "_tmp_path_factory", None)
        if factory is None:
            return Path(tempfile.mkdtemp(prefix="spech-calls-"))
        folder: Path = factory.mktemp(f"calls-{_plain(item.name)[:40]}")
        return folder


def _plain(name: str) -> str:
    """A name with nothing that a file system refuses."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-")


def _unpack(call: pytest.CallInfo[None]) -> list[str]:
    """Put the error of a group in its place; of several errors return a line each."""
    if call.excinfo is None or not isinstance(call.excinfo.value, BaseExceptionGroup):
        return []
    from spech.testing.evidence import causes

    errors = causes(call.excinfo.value)
    if len(errors) == 1:
        call.excinfo = pytest.ExceptionInfo.from_exception(errors[0])
        return []
    return [f"{type(error).__name__}: {error}" for error in errors]
