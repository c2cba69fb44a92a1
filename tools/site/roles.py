"""Turns the roles of Sphinx in docstrings, such as ``:meth:`Call.play```, into links."""

import re
from typing import Any, Final

import griffe

ROLE: Final = re.compile(r":[a-z:]+:`(~?)([^`<>]*?)(?:<([^`<>]+)>)?`")


class Roles(griffe.Extension):  # type: ignore[misc]
    def on_object(self, *, obj: griffe.Object, loader: griffe.GriffeLoader, **_: Any) -> None:
        if obj.docstring is None:
            return
        scope = obj if obj.is_class or obj.is_module else obj.parent

        def link(found: re.Match[str]) -> str:
            short, text, target = found.groups()
            name = (target or text).strip()
            shown = name.rpartition(".")[2] if short else text.strip()
            for path in (f"{scope.path}.{name}", f"spech.{name}"):
                try:
                    loader.modules_collection.get_member(path)
                except (KeyError, griffe.GriffeError):
                    continue
                name = path
                break
            return f'<autoref optional identifier="{name}"><code>{shown}</code></autoref>'

        obj.docstring.value = ROLE.sub(link, obj.docstring.value)
