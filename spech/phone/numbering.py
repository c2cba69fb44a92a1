"""Number rules: from a number as people type it to one that the account's server expects."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Literal, get_args

from spech.errors import LocalProtocolError

NumberFormat = Literal["typed", "international", "national"]

_DIALLED: Final = re.compile(r"\+?[0-9]{1,32}")
_PREFIX: Final = re.compile(r"[0-9*#]{0,8}")
_NO_DIGIT: Final = re.compile(r"[^0-9]")


@dataclass(frozen=True, slots=True)
class NumberRules:
    """How numbers of the telephone network are dialed with an account.

        Account("sip:alice@pbx.example.org", numbers=NumberRules("DE", "national", prefix="0"))

    A number is one of the network if the numbering plan of its country has it. Emergency numbers,
    extensions, names and everything else are left as they were typed.

    Args:
        country: where the account is, as an ISO 3166 code (``DE``): what is typed is understood as
            it would be there.
        format: "typed" leaves numbers as they are; "international" makes ``+4930123456``;
            "national" makes what is dialed in that country, ``030123456`` and ``0044…``.
        prefix: what reaches an outside line, put before national numbers.

    Raises:
        LocalProtocolError: the country or the format is unknown, or the prefix cannot be dialed or
            does not go with the format.
    """

    country: str
    format: NumberFormat = "typed"
    prefix: str = ""

    def __post_init__(self) -> None:
        if self.country not in _regions():
            raise LocalProtocolError(f"{self.country!r} is not the ISO 3166 code of a country")
        if self.format not in get_args(NumberFormat):
            raise LocalProtocolError(
                f"unknown format {self.format!r}: it is one of {', '.join(get_args(NumberFormat))}"
            )
        if not _PREFIX.fullmatch(self.prefix):
            raise LocalProtocolError(f"the prefix {self.prefix!r} is not one to eight digits")
        if self.prefix and self.format != "national":
            raise LocalProtocolError('a prefix needs the format "national"')

    def rewrite(self, number: str) -> str:
        """The number as the server expects it. ``number`` has no visual separators."""
        # Loaded here, because the tables are large.
        import phonenumbers

        if self.format == "typed" or not _DIALLED.fullmatch(number) or self.is_emergency(number):
            return number
        try:
            parsed = phonenumbers.parse(number, self.country)
        except phonenumbers.NumberParseException:
            return number
        if not phonenumbers.is_valid_number(parsed):
            return number
        if self.format == "international":
            return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
        national = phonenumbers.format_out_of_country_calling_number(parsed, self.country)
        return self.prefix + _NO_DIGIT.sub("", national)

    def is_emergency(self, number: str) -> bool:
        """Whether the number calls help in the country: never rewrite it, never ask about it."""
        import phonenumbers

        return phonenumbers.is_emergency_number(number, self.country)

    def is_costly(self, number: str) -> bool:
        """Whether a call to the number costs more than usual: premium rates and shared cost."""
        import phonenumbers

        if not _DIALLED.fullmatch(number) or self.is_emergency(number):
            return False
        try:
            parsed = phonenumbers.parse(number, self.country)
        except phonenumbers.NumberParseException:
            return False
        kinds = phonenumbers.PhoneNumberType
        if phonenumbers.number_type(parsed) in (kinds.PREMIUM_RATE, kinds.SHARED_COST):
            return True
        cost = phonenumbers.expected_cost_for_region(parsed, self.country)
        return bool(cost == phonenumbers.ShortNumberCost.PREMIUM_RATE)


def calling_codes() -> dict[str, int]:
    """The calling code of each country, by its ISO 3166 code: ``{"DE": 49, …}``."""
    import phonenumbers

    codes = {
        country: code
        for code, countries in phonenumbers.COUNTRY_CODE_TO_REGION_CODE.items()
        for country in countries
    }
    return {country: codes[country] for country in sorted(_regions())}


def _regions() -> Collection[str]:
    import phonenumbers

    return phonenumbers.SUPPORTED_REGIONS
