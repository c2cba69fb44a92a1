"""The files of the page: which there are, under which addresses they never change, and compressed.

There is no build step: a file is what is in the folder when it is asked for. The page itself is
asked for each time. It names its scripts and styles by a stamp of all files, `/STAMP/app.js`, so
that browsers keep them for good and ask again when any file has changed.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from functools import lru_cache
from pathlib import Path
from typing import Final

#: Scripts that the page does not import as modules.
_OTHER_SCRIPTS: Final = ("*-worklet.js", "service-worker.js", "sign-in.js")
_STAMP_CHARACTERS: Final = 12
_STAMPED: Final = re.compile(rf"[0-9a-f]{{{_STAMP_CHARACTERS}}}/(.+)")
_LINK: Final = re.compile(r'(href|src)="([\w/-]+\.(?:css|js))"')
#: Of these kinds a compressed copy is smaller; shorter ones fit into one packet as they are.
_TEXTS: Final = ("text/", "application/json", "application/manifest+json", "image/svg+xml")
_WORTH_COMPRESSING: Final = 1000


def without_stamp(name: str) -> tuple[str, bool]:
    """The name of a file without the stamp, and whether there was one."""
    found = _STAMPED.fullmatch(name)
    return (found[1], True) if found else (name, False)


def read_page(folder: Path, name: str) -> bytes:
    """An HTML file whose scripts and styles are named by the stamp.

    The phone's page asks for all modules at once, instead of finding one in the other.

    Raises:
        OSError: there is no such file.
    """
    stamp = _stamp(folder)
    text = _LINK.sub(rf'\1="{stamp}/\2"', (folder / name).read_text())
    if name == "index.html":
        links = (f'<link rel="modulepreload" href="{stamp}/{each}">\n' for each in _modules(folder))
        text = text.replace("</head>", f"{''.join(links)}</head>")
    return text.encode()


def compresses(kind: str, content: bytes) -> bool:
    """Whether it pays to compress a file of this media type."""
    return kind.startswith(_TEXTS) and len(content) >= _WORTH_COMPRESSING


@lru_cache(maxsize=128)
def compress(content: bytes) -> bytes:
    """The content as gzip (RFC 1952), always with the same bytes."""
    return gzip.compress(content, mtime=0)


def _modules(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*.js")
        if not any(path.match(pattern) for pattern in _OTHER_SCRIPTS)
    )


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
