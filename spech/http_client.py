"""HTTP clients: no cookies, no proxies of the environment, nothing about URLs in logs."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Awaitable, Callable
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Final

import httpx

_MOST_REDIRECTIONS: Final = 5
#: Connections that wait for another request.
_MOST_KEPT: Final = 20


def http_client(
    tls: ssl.SSLContext | None = None,
    *,
    follows: bool = False,
    keeps_connections: bool = True,
    auth: httpx.Auth | None = None,
    timeout: httpx.Timeout | None = None,
    on_request: Callable[[httpx.Request], Awaitable[None]] | None = None,
) -> httpx.AsyncClient:
    """A client, to be opened with ``async with``. It asks for answers that are not compressed.

    Args:
        tls: what is trusted and shown; None for what the system trusts.
        follows: whether it follows redirections, which may lead to another server.
        keeps_connections: whether connections are used again.
        auth: the credentials of each request.
        timeout: for the steps of each request; None for no limits of its own.
        on_request: is awaited before each request, and may change it.
    """
    for name in ("httpx", "httpcore"):
        # They log URLs, whose queries may hold secrets.
        logging.getLogger(name).setLevel(logging.WARNING)
    return httpx.AsyncClient(
        verify=tls or ssl.create_default_context(),
        auth=auth,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        trust_env=False,  # The environment's proxies are for browsing.
        follow_redirects=follows,
        max_redirects=_MOST_REDIRECTIONS,
        timeout=timeout,
        # How many requests there are at once is for its users to limit.
        limits=httpx.Limits(
            max_connections=None,
            max_keepalive_connections=_MOST_KEPT if keeps_connections else 0,
        ),
        headers={"User-Agent": "spech", "Accept-Encoding": "identity"},
        event_hooks={} if on_request is None else {"request": [on_request]},
    )
