"""The list of parsers is complete: a function that refuses what a peer sent is run by one of them.

Codecs are left out, since the length of what they decode is limited (``tests/codecs``).
"""

from __future__ import annotations

import ast
import cProfile
import pkgutil
from importlib.util import find_spec
from pathlib import Path
from types import CodeType

import spech

from .parsers import PARSERS, USERS, repeated

#: What judges by the state of a call instead of by the text: responses to checks that are under
#: way, negotiated payload types, notifications of a subscription with the type of their body, and
#: records of our own.
BY_STATE = {
    "spech.rtp.ice._receive_response",
    "spech.rtp.session.check",
    "spech.sip.call.leftover.__init__",
    "spech.sip.watching.content.read",
    "spech.sip.watching.subscription.receive_notify",
    "spech.sip.watching.subscription._enter_dialog",
}


def refusing() -> dict[tuple[str, int], str]:
    """The functions with ``raise RemoteProtocolError``, by file and first line."""
    found = {}
    for module in pkgutil.walk_packages(spech.__path__, "spech."):
        spec = find_spec(module.name)
        assert spec is not None
        assert spec.origin is not None
        if module.name.startswith(("spech.codecs", "spech.testing")):
            continue
        for node in ast.walk(ast.parse(Path(spec.origin).read_text())):
            if isinstance(node, ast.FunctionDef) and any(map(refuses, ast.walk(node))):
                first = node.decorator_list[0].lineno if node.decorator_list else node.lineno
                found[spec.origin, first] = f"{module.name}.{node.name}"
    return found


def refuses(node: ast.AST) -> bool:
    """Whether it is ``raise RemoteProtocolError``."""
    return isinstance(node, ast.Raise) and "RemoteProtocolError" in ast.unparse(node)


def test_every_function_that_refuses_input_is_in_the_list() -> None:
    profiler = cProfile.Profile(subcalls=False)
    profiler.enable()
    for parser in PARSERS + USERS:
        for place in parser.places:
            parser(repeated(place, b"1", 1))
    profiler.disable()
    codes = [entry.code for entry in profiler.getstats() if isinstance(entry.code, CodeType)]
    run = {(code.co_filename, code.co_firstlineno) for code in codes}
    functions = refusing()
    assert len(functions) > 50
    missing = {name for place, name in functions.items() if place not in run}
    assert missing == BY_STATE
