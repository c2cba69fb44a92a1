"""What commands print: errors with hints, colors, JSON lines, the display of a call."""

from __future__ import annotations

import json

import click
import pytest
from click.testing import CliRunner

from spech import RegistrationFailed, ServerUnreachable
from spech.cli import main
from spech.cli.failure import CommandGroup, Failure, Unreachable, reported, show_error
from spech.cli.output import Output
from spech.cli.profiles import PASSWORD_VARIABLE
from spech.cli.telling import meter
from spech.errors import LocalProtocolError, RequestFailed


def test_wrong_usage_is_an_error_with_the_usage_of_the_command() -> None:
    result = CliRunner().invoke(main, ["ping", "--count", "none"], prog_name="spech")
    assert result.exit_code == 2
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert lines[0].startswith("error: Invalid value for '-c' / '--count': 'none' is not a valid")
    assert lines[2:] == ["Usage: spech ping [OPTIONS] [TARGET]", "For help: spech ping --help"]


def test_an_error_has_its_hint_on_a_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    show_error(Failure("it failed [red]", "do that"))
    assert capsys.readouterr().err == "error: it failed [red]\nhint: do that\n"


@pytest.mark.parametrize("plain", [True, False])
def test_a_terminal_sees_colours_unless_they_are_unwanted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, plain: bool
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    if plain:
        monkeypatch.setenv("NO_COLOR", "1")
    show_error(Failure("it failed"))
    assert ("\x1b[1;31merror" in capsys.readouterr().err) is not plain


@pytest.mark.parametrize(
    ("raised", "status", "says"),
    [
        (RegistrationFailed(403, "Forbidden"), 3, "Could not register: 403 Forbidden"),
        (ServerUnreachable("The host 'x' is unknown."), 3, "The host 'x' is unknown."),
        (RequestFailed(404, "Not Found"), 1, "Refused: 404 Not Found"),
        (LocalProtocolError("it is no number"), 2, "it is no number"),
    ],
)
def test_an_error_has_its_exit_status(raised: Exception, status: int, says: str) -> None:
    with pytest.raises(click.ClickException) as error, reported():
        raise raised
    assert error.value.exit_code == status
    assert error.value.message.startswith(says)


@pytest.mark.parametrize(
    ("raised", "says"),
    [
        (FileNotFoundError(2, "No such file or directory", "a.txt"), "a.txt: No such file"),
        (OSError(28, "No space left on device"), "No space left"),
        (OSError("nothing that has a number"), "nothing that has a number"),
    ],
)
def test_an_error_of_the_system_is_one_line(raised: OSError, says: str) -> None:
    @click.command
    def fail() -> None:
        raise raised

    result = CliRunner().invoke(CommandGroup(commands=[fail]), ["fail"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"error: {says}")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(("status", "hinted"), [(401, True), (403, True), (404, False)])
def test_a_refused_password_is_hinted_at(
    monkeypatch: pytest.MonkeyPatch, status: int, hinted: bool
) -> None:
    monkeypatch.delenv(PASSWORD_VARIABLE, raising=False)
    hint = Unreachable(RegistrationFailed(status, "No")).hint
    assert (hint is not None) is hinted
    assert not hinted or f"{PASSWORD_VARIABLE}, which is not set" in str(hint)


@pytest.mark.parametrize(
    ("settings", "printed"),
    [
        ({}, "one\ntwo\n"),
        ({"quiet": True}, ""),
        ({"as_json": True}, '{"event": "one"}\n{"event": "two", "text": "ü"}\n'),
        ({"as_json": True, "quiet": True}, '{"event": "two", "text": "ü"}\n'),
    ],
)
@pytest.mark.parametrize("to_stderr", [False, True])
def test_events_are_lines_or_json(
    capsys: pytest.CaptureFixture[str], settings: dict[str, bool], printed: str, to_stderr: bool
) -> None:
    output = Output(**settings, to_stderr=to_stderr)
    output.tell("one", event="one")
    output.result("two", event="two", text="ü")
    captured = capsys.readouterr()
    assert (captured.err if to_stderr else captured.out) == printed
    assert (captured.out if to_stderr else captured.err) == ""
    assert not output.is_live


@pytest.mark.parametrize(
    ("command", "row"),
    [
        ("tones", {"country": "de", "name": "Germany", "busy": "425/480 0/480"}),
        ("codecs", {"name": "PCMU", "rate_hz": 8000, "bitrate": 64000, "available": True}),
    ],
)
def test_tables_are_printed_as_json_lines(command: str, row: dict[str, object]) -> None:
    result = CliRunner().invoke(main, [command, "--json"])
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert len({tuple(each) for each in rows}) == 1
    assert any(row.items() <= each.items() for each in rows)


@pytest.mark.parametrize(
    ("level", "filled", "style"),
    [(-100.0, 0, "green"), (-30.0, 16, "green"), (-10.0, 27, "yellow"), (0.0, 32, "red")],
)
def test_a_meter_shows_a_level(level: float, filled: int, style: str) -> None:
    bar = meter(level)
    assert bar.plain == "█" * filled + "░" * (32 - filled)
    assert filled == 0 or str(bar.spans[0].style) == style
