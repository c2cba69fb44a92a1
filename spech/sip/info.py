"""Digits in INFO requests, as many gateways send them."""

from __future__ import annotations

from spech.sip.message import Request


def dtmf_digit(request: Request) -> str | None:
    """The digit of an ``application/dtmf-relay`` or ``application/dtmf`` body, or None."""
    kind = (request.headers.get("Content-Type") or "").partition(";")[0].strip().lower()
    text = request.body.decode("ascii", "replace")
    if kind == "application/dtmf-relay":
        fields = dict(line.partition("=")[::2] for line in text.splitlines())
        text = next(
            (value for name, value in fields.items() if name.strip().lower() == "signal"), ""
        )
    elif kind != "application/dtmf":
        return None
    digit = text.strip().upper()
    return digit if len(digit) == 1 and digit in "0123456789*#ABCD" else None
