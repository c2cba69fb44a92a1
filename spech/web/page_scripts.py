"""The scripts of a page in few answers: each is a module with all modules that it imports.

Every request costs a round trip, and without HTTP/2 a browser has six under way at most. There is
no build step for all that: files are put together when they are asked for. A module becomes a
block, whose names are its own, and puts what it exports into the table of all modules:

    {
    const { h } = $modules["dom.js"];       was: import { h } from "../dom.js";
    const label = () => h("p");             was: export const label = () => h("p");
    ;$modules["parts/label.js"] = { label };
    }

So a module imports only by name and exports only declarations that do not change, modules do not
import each other in a circle, and only those in the top folder load others with ``import()``.
Comments on lines of their own are left out: they are a third of the bytes. No template literal may
span several lines, because a line in one could look like a comment.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final

_IMPORT: Final = re.compile(
    r'^import (?:(\{[^{}"]*\}) from )?"(\.\.?/[\w./-]+\.js)";$', re.MULTILINE
)
_EXPORT: Final = re.compile(
    r"^export (?=(?:const|class|function|async function) (\w+))", re.MULTILINE
)
_COMMENT: Final = re.compile(r"^ *(?://.*|/\*\*(?:[^*]|\*(?!/))*\*/)\n", re.MULTILINE)
_OTHER: Final = re.compile(r"^(?:import|export)\b(?! *\().*$", re.MULTILINE)


def join_scripts(folder: Path, scripts: Sequence[str]) -> str:
    """The last script with everything that it imports, except what the scripts before it bring.

    Args:
        folder: where the files are.
        scripts: names of modules in that folder. Browsers load them in this order, and each of them
            as what this function makes of it.

    Raises:
        OSError: there is no such file.
        SyntaxError: a module imports or exports in a way that cannot be put together.
    """
    *earlier, script = scripts
    known: dict[str, str] = {}
    for each in earlier:
        _collect(folder, each, known)
    present = set(known)
    _collect(folder, script, known)
    table = (
        f'import {{ $modules }} from "./{scripts[0]}";'
        if earlier
        else "export const $modules = {};"
    )
    waits = (f'import "./{each}";' for each in earlier[1:])
    blocks = (text for name, text in known.items() if name not in present)
    return "\n".join((table, *waits, *blocks))


def _collect(
    folder: Path, name: str, known: dict[str, str], importing: Collection[str] = ()
) -> None:
    """Add a module as a block, after those that it imports."""
    if name in known:
        return
    if name in importing:
        raise SyntaxError(f"{name} imports itself, by way of {', '.join(importing)}")
    source = (folder / name).read_text()
    for _, path in _IMPORT.findall(source):
        _collect(folder, _resolve(name, path), known, (*importing, name))
    known[name] = _block(name, source)


def _block(name: str, source: str) -> str:
    def taken(found: re.Match[str]) -> str:
        names, path = found.groups()
        if names is None:
            return ""
        return f'const {names.replace(" as ", ": ")} = $modules["{_resolve(name, path)}"];'

    exported = ", ".join(_EXPORT.findall(source))
    body = _EXPORT.sub("", _IMPORT.sub(taken, _COMMENT.sub("", source)))
    if found := _OTHER.search(body):
        raise SyntaxError(f"{name} has a line that cannot be put together with others: {found[0]}")
    body = body.replace("import.meta.url", f'new URL("{name}", import.meta.url).href')
    return f'// {name}\n{{\n{body}\n;$modules["{name}"] = {{ {exported} }};\n}}'


def _resolve(importer: str, path: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(importer), path))
