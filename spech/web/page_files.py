"""The files of the page: which there are, under which addresses they never change, and compressed.

There is no build step: a file is what is in the folder when it is asked for. The page itself is
asked for each time. It names its scripts and styles by a stamp of all files, `/STAMP/app.js`, so
that browsers keep them for good and ask again when any file has changed. Under such an address a
script is answered with all that it imports (`page_scripts`), and `/STAMP/index.css` has all styles
of `index.html`, because each request costs a round trip.
"""

from __future__ import annotations

import gzip
import hashlib
import itertools
import re
from functools import lru_cache
from pathlib import Path
from typing import Final

from spech.web.page_scripts import join_scripts

_PAGES: Final = ("index.html", "sign-in.html")
_STAMP_CHARACTERS: Final = 12
_STAMPED: Final = re.compile(rf"[0-9a-f]{{{_STAMP_CHARACTERS}}}/(.+)")
_LINK: Final = re.compile(r'(href|src)="([\w/-]+\.(?:css|js))"')
_SCRIPT: Final = re.compile(r'<script type="module"(?: async)? src="(\w[\w-]*\.js)"')
_STYLE: Final = re.compile(r'<link rel="stylesheet" href="[\w/-]+\.css">\s*')
#: Of these kinds a compressed copy is smaller; shorter ones fit into one packet as they are.
_TEXTS: Final = ("text/", "application/json", "application/manifest+json", "image/svg+xml")
_WORTH_COMPRESSING: Final = 1000


def without_stamp(name: str) -> tuple[str, bool]:
    """The name of a file without the stamp, and whether there was one."""
    found = _STAMPED.fullmatch(name)
    return (found[1], True) if found else (name, False)


def read_page(folder: Path, name: str) -> bytes:
    """An HTML file whose scripts and styles are named by the stamp, and whose styles are one.

    Raises:
        OSError: there is no such file.
    """
    stamp = _stamp(folder)
    styles = iter([f'<link rel="stylesheet" href="{Path(name).stem}.css">\n  '])
    text = _STYLE.sub(lambda _: next(styles, ""), (folder / name).read_text())
    return _LINK.sub(rf'\1="{stamp}/\2"', text).encode()


def read_file(folder: Path, name: str, *, stamped: bool) -> bytes:
    """Any other file. ``index.css`` is all styles of ``index.html``, in their order.

    Args:
        folder: where the files are.
        name: which file.
        stamped: asked for under an address with a stamp, where a script in the top folder has with
            it what it imports.

    Raises:
        OSError: there is no such file.
        SyntaxError: see `join_scripts`.
    """
    path = folder / name
    if path.parent == folder and path.suffix == ".js" and stamped and path.is_file():
        return _joined_scripts(folder, path.name, _stamp(folder))
    page = path.with_suffix(".html")
    if path.suffix != ".css" or path.parent != folder or not page.is_file():
        return path.read_bytes()
    links = _LINK.findall(page.read_text())
    return b"\n".join((folder / each).read_bytes() for _, each in links if each.endswith(".css"))


@lru_cache(maxsize=16)
def _joined_scripts(folder: Path, name: str, _stamp: str) -> bytes:
    """A script with all that it imports; put together again when a file has changed."""
    return join_scripts(folder, _scripts_until(folder, name)).encode()


def _scripts_until(folder: Path, name: str) -> list[str]:
    """A script, after those that its page loads before it.

    One that no page names is loaded by those of the telephone.
    """
    telephone, *others = (_SCRIPT.findall((folder / page).read_text()) for page in _PAGES)
    scripts = next((found for found in others if name in found), telephone)
    return [*itertools.takewhile(lambda each: each != name, scripts), name]


def compresses(kind: str, content: bytes) -> bool:
    """Whether it pays to compress a file of this media type."""
    return kind.startswith(_TEXTS) and len(content) >= _WORTH_COMPRESSING


@lru_cache(maxsize=128)
def compress(content: bytes) -> bytes:
    """The content as gzip (RFC 1952), always with the same bytes."""
    return gzip.compress(content, mtime=0)


def _stamp(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            status = path.stat()
            digest.update(_digest(path, status.st_mtime_ns, status.st_size))
    return digest.hexdigest()[:_STAMP_CHARACTERS]


@lru_cache(maxsize=256)
def _digest(path: Path, _changed_ns: int, _size: int) -> bytes:
    """Of a file's name and content; read again when the file has changed."""
    return hashlib.sha256(str(path).encode() + b"\0" + path.read_bytes()).digest()
