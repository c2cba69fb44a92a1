"""Requests to a control plane."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

import trio


async def ask(
    url: str, body: Any = None, method: str | None = None, **fields: str
) -> tuple[int, str]:
    """Status and body of an answer. A request with a body is a POST, unless ``method`` says else.

    Args:
        url: where to.
        body: sent as JSON; None for none.
        method: of the request.
        fields: header fields, with ``_`` for ``-``.
    """
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"} if data else {}
    headers |= {name.replace("_", "-"): value for name, value in fields.items()}
    asked = urllib.request.Request(url, data, headers, method=method)

    def send() -> tuple[int, str]:
        try:
            with urllib.request.urlopen(asked, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    return await trio.to_thread.run_sync(send)
