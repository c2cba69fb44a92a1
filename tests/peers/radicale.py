"""Radicale, a CardDAV server, on loopback with one user and one address book."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

USER = "alice"
PASSWORD = "a b: öffne dich"
_CACHE = Path(
    os.environ.get("SPECH_CACHE")
    or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spech"
)
PROGRAM = _CACHE / "peers" / "radicale" / "bin" / "radicale"
_NEW_BOOK = """<?xml version="1.0" encoding="utf-8"?>
<mkcol xmlns="DAV:" xmlns:C="urn:ietf:params:xml:ns:carddav"><set><prop>
<resourcetype><collection/><C:addressbook/></resourcetype><displayname>Phones</displayname>
</prop></set></mkcol>"""


class Radicale:
    """A running server. ``url`` is its root, ``book`` the address book."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.book = f"{url}{USER}/phones/"
        self._client = httpx.Client(auth=httpx.BasicAuth(USER, PASSWORD), trust_env=False)

    def make_book(self) -> None:
        self._request("MKCOL", self.book, _NEW_BOOK)

    def put(self, uid: str, name: str, *numbers: str) -> None:
        """Store a card."""
        lines = ["BEGIN:VCARD", "VERSION:3.0", f"UID:{uid}", f"FN:{name}", f"N:{name};;;;"]
        lines += [f"TEL;TYPE=WORK:{number}" for number in numbers]
        card = "\r\n".join([*lines, "END:VCARD", ""])
        self._request("PUT", f"{self.book}{uid}.vcf", card, "text/vcard")

    def delete(self, uid: str) -> None:
        self._request("DELETE", f"{self.book}{uid}.vcf")

    def _request(
        self, method: str, url: str, body: str = "", kind: str = "application/xml"
    ) -> None:
        content = body.encode()
        answer = self._client.request(method, url, content=content, headers={"Content-Type": kind})
        answer.raise_for_status()

    def close(self) -> None:
        self._client.close()


@contextmanager
def running(folder: Path, port: int) -> Iterator[Radicale]:
    """Run the server with its files in ``folder``."""
    users = folder / "users"
    users.write_text(f"{USER}:{PASSWORD}\n")
    command = [str(PROGRAM), "--hosts", f"127.0.0.1:{port}", "--auth-type", "htpasswd"]
    command += ["--auth-htpasswd-filename", str(users), "--auth-htpasswd-encryption", "plain"]
    command += ["--auth-delay", "0", "--storage-filesystem-folder", str(folder / "collections")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
        server = Radicale(f"http://127.0.0.1:{port}/")
        try:
            _await(server.url, process)
            server.make_book()
            yield server
        finally:
            server.close()
            process.terminate()
            process.wait()


def _await(url: str, process: subprocess.Popen[bytes]) -> None:
    give_up = time.monotonic() + 20
    while time.monotonic() < give_up and process.poll() is None:
        try:
            httpx.get(url, trust_env=False)
        except httpx.HTTPError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("Radicale did not start")
