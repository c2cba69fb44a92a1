"""Number rules: what is dialled for what people type, by the numbering plans of countries."""

from __future__ import annotations

import pytest

from spech import Account, LocalProtocolError, NumberRules, open_phone
from spech.phone.dialling import Dialling
from spech.phone.numbering import calling_codes

GERMANY = NumberRules("DE", "national", prefix="0")


@pytest.mark.parametrize(
    ("rules", "typed", "dialled"),
    [
        (GERMANY, "03012345678", "003012345678"),
        (GERMANY, "+493012345678", "003012345678"),
        (GERMANY, "+442079460123", "000442079460123"),
        (NumberRules("DE", "national"), "00442079460123", "00442079460123"),
        (NumberRules("DE", "international"), "03012345678", "+493012345678"),
        (NumberRules("DE", "international"), "00442079460123", "+442079460123"),
        (NumberRules("US", "international"), "4155552671", "+14155552671"),
        (NumberRules("US", "national"), "+442079460123", "011442079460123"),
        (NumberRules("BR", "international"), "1123456789", "+551123456789"),
        (NumberRules("DE"), "03012345678", "03012345678"),
    ],
)
def test_numbers_of_the_network_are_rewritten(rules: NumberRules, typed: str, dialled: str) -> None:
    assert rules.rewrite(typed) == dialled


@pytest.mark.parametrize("typed", ["600", "*97", "#31#", "alice", "0" * 40, "1", "+"])
def test_everything_else_is_left_as_it_was_typed(typed: str) -> None:
    for form in ("national", "international"):
        assert NumberRules("DE", form).rewrite(typed) == typed  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("country", "number"),
    [
        ("DE", "112"),
        ("DE", "110"),
        ("US", "911"),
        ("GB", "999"),
        ("GB", "112"),
        ("BR", "190"),
        ("ES", "112"),
    ],
)
def test_emergency_numbers_are_never_rewritten_and_never_costly(country: str, number: str) -> None:
    rules = NumberRules(country, "national", prefix="9")
    assert rules.is_emergency(number)
    assert rules.rewrite(number) == number
    assert not rules.is_costly(number)


@pytest.mark.parametrize(
    ("country", "number", "costly"),
    [
        ("DE", "09001234567", True),
        ("DE", "+499001234567", True),
        ("US", "9002345678", True),
        ("DE", "03012345678", False),
        ("DE", "08001234567", False),
        ("DE", "600", False),
        ("DE", "alice", False),
    ],
)
def test_expensive_numbers_are_known(country: str, number: str, costly: bool) -> None:
    assert NumberRules(country).is_costly(number) is costly


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (("XX",), "'XX' is not the ISO 3166 code"),
        (("DE", "short"), "unknown format 'short'"),
        (("DE", "national", "+"), r"prefix '\+'"),
        (("DE", "international", "0"), "needs the format"),
    ],
)
def test_unusable_rules_are_refused(arguments: tuple[str, ...], match: str) -> None:
    with pytest.raises(LocalProtocolError, match=match):
        NumberRules(*arguments)  # type: ignore[arg-type]


def test_countries_have_calling_codes() -> None:
    codes = calling_codes()
    assert (codes["DE"], codes["US"], codes["BR"]) == (49, 1, 55)
    assert len(codes) > 200


async def test_a_phone_dials_by_the_rules_of_its_account() -> None:
    account = Account("sip:alice@pbx.test", numbers=GERMANY, register=False)
    async with open_phone(account, listen=("127.0.0.1", 0)) as phone:
        dialling: Dialling = phone._dialling
        for target, user in (
            ("(030) 123 456 78", "003012345678"),
            ("tel:+49-30-12345678;phone-context=x", "003012345678"),
            ("112", "112"),
            ("600", "600"),
        ):
            assert str(dialling.complete(target)) == f"sip:{user}@pbx.test"
        # An address is called as it is, and a caller keeps the number that it was given.
        assert str(dialling.complete("03012345678@pbx.test")) == "sip:03012345678@pbx.test"
        assert dialling.caller("03012345678", phone.address).address.uri.user == "03012345678"
