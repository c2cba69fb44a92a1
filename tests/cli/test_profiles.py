"""Accounts in the configuration file, and where their passwords come from."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from spech.cli import main
from spech.cli.call import Order
from spech.cli.plan import Plan
from spech.cli.profiles import PASSWORD_VARIABLE, default_account, find_profile
from spech.cli.telling import CallResult
from spech.errors import LocalProtocolError


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configuration file, which does not exist yet."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv(PASSWORD_VARIABLE, "of-the-environment")
    (tmp_path / "spech").mkdir()
    return tmp_path / "spech" / "config.toml"


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    """Records the plans of `spech call` instead of placing calls."""
    plans: list[Plan] = []

    async def place(order: Order, plan: Plan, outcome: CallResult, output: object) -> None:
        plans.append(plan)

    # The name spech.cli.call is the command, not its module.
    monkeypatch.setattr(sys.modules["spech.cli.call"], "place", place)
    return plans


def write(file: Path, *lines: str) -> None:
    file.write_text("\n".join(["[accounts.work]", 'address = "sip:alice@192.0.2.1"', *lines]))
    file.chmod(0o600)


@pytest.mark.parametrize(
    ("lines", "password"),
    [
        ((), "of-the-environment"),
        (('password = "of-the-table"',), "of-the-table"),
        (('password-env = "OTHER"',), "of-the-other-variable"),
        (('password-file = "secret"',), "of-the-file"),
        ((r"""password-command = 'printf "of the program\nuser: alice"'""",), "of the program"),
    ],
)
def test_the_password_comes_from_the_source_that_the_table_names(
    file: Path, monkeypatch: pytest.MonkeyPatch, lines: tuple[str, ...], password: str
) -> None:
    monkeypatch.setenv("OTHER", "of-the-other-variable")
    (file.parent / "secret").write_text("of-the-file\n")
    write(file, *lines)
    assert find_profile("work").account.password == password


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (('pasword = "x"',), "unknown field `pasword`"),
        (('transport = "sctp"',), "sctp"),
        (('proxy = "nonsense"',), "not a SIP address"),
        (
            ('password = "x"', 'password-file = "y"'),
            "password and password-file exclude each other",
        ),
        (
            ('password-env = "UNSET_VARIABLE"',),
            "the variable UNSET_VARIABLE of password-env is not",
        ),
        (('password-file = "nowhere"',), "cannot be read"),
        (('password-command = "false"',), "password-command failed"),
        (('password-command = "true"',), "password-command has no password in its first line"),
        (('password-command = "no-such-program-here"',), "password-command failed"),
    ],
)
def test_a_mistake_in_a_table_is_named(file: Path, lines: tuple[str, ...], says: str) -> None:
    write(file, *lines)
    with pytest.raises(LocalProtocolError, match=r"config\.toml, \[accounts\.work\]: ") as error:
        find_profile("work")
    assert says in str(error.value)


@pytest.mark.parametrize("text", ["account = ", "acount = 'work'", "[accounts]\nwork = 1"])
def test_a_file_with_a_mistake_is_an_error(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(LocalProtocolError, match=r"config\.toml: "):
        default_account()


def test_a_table_has_all_that_an_account_has(file: Path) -> None:
    write(
        file,
        'auth-user = "a1"',
        'display-name = "Alice"',
        'transport = "tls"',
        'proxy = "sip:192.0.2.9"',
        'ca = "ca.pem"',
        'encryption = "required"',
        "ice = true",
    )
    account = find_profile("work").account
    assert (account.auth_user, account.display_name) == ("a1", "Alice")
    assert (account.transport, account.proxy) == ("tls", "sip:192.0.2.9")
    assert account.tls.ca_file == file.parent / "ca.pem"
    assert (account.encryption, account.ice) == ("required", True)


def test_a_named_account_has_values_for_other_options(file: Path, plans: list[Plan]) -> None:
    write(file, 'codecs = ["G722", "PCMA"]', 'encryption = "sdes"', 'stun = "stun:192.0.2.7"')
    CliRunner().invoke(main, ["call", "600", "--account", "work"])
    CliRunner().invoke(main, ["call", "600", "--codec", "PCMU", "--account", "work"])
    assert [plan.codecs for plan in plans] == [("G722", "PCMA"), ("PCMU",)]
    assert [plan.encryption for plan in plans] == ["sdes", "sdes"]
    assert [plan.stun for plan in plans] == ["stun:192.0.2.7"] * 2


def test_the_file_names_the_account_that_is_used_where_none_is_given(
    file: Path, plans: list[Plan]
) -> None:
    write(file)
    file.write_text('account = "work"\n' + file.read_text())
    for more in ([], ["--account", ""], ["--account", "bob@192.0.2.2"]):
        CliRunner().invoke(main, ["call", "sip:600@192.0.2.1", *more])
    used = [plan.account and plan.account.address for plan in plans]
    assert used == ["sip:alice@192.0.2.1", None, "sip:bob@192.0.2.2"]


def test_an_unknown_name_is_reported_with_the_known_ones(file: Path) -> None:
    write(file)
    result = CliRunner().invoke(main, ["call", "600", "--account", "wrok"])
    assert result.exit_code == 2
    assert "'wrok' is neither a SIP address (sip:user@host) nor an account in " in result.output
    assert "it has work" in result.output


@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o640, True)])
def test_a_password_that_others_can_read_is_warned_of(
    file: Path, plans: list[Plan], mode: int, warned: bool
) -> None:
    write(file, 'password = "of-the-table"')
    file.chmod(mode)
    result = CliRunner().invoke(main, ["call", "600", "--account", "work"])
    assert len(plans) == 1
    assert (f"hint: chmod 600 {file}" in result.output) is warned
    assert "of-the-table" not in result.output


def test_the_shell_completes_the_names(file: Path) -> None:
    write(file)
    variables = {
        "_SPECH_COMPLETE": "bash_complete",
        "COMP_WORDS": "spech call 600 --account w",
        "COMP_CWORD": "4",
    }
    result = CliRunner().invoke(main, [], env=variables, prog_name="spech")
    assert result.output == "plain,work\n"
