"""The Python blocks of README and docs."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]


@dataclass(frozen=True)
class Block:
    name: str
    code: str

    @property
    def is_program(self) -> bool:
        return "spech.run(" in self.code or "asyncio.run(" in self.code

    @property
    def framework(self) -> str | None:
        """The framework for bots that it needs: "pipecat" or "livekit"."""
        found = re.search(r"^from (pipecat|livekit)\b", self.code, re.M)
        return found and found[1]

    @property
    def is_test(self) -> bool:
        return "def test_" in self.code

    @property
    def names(self) -> set[str]:
        """The names that it uses."""
        return {node.id for node in ast.walk(ast.parse(self.code)) if isinstance(node, ast.Name)}


def blocks() -> list[Block]:
    found = []
    for document in DOCUMENTS:
        text = document.read_text()
        for block in re.finditer(r"^```python\n(.*?)^```$", text, re.M | re.S):
            line = text.count("\n", 0, block.start()) + 1
            found.append(Block(f"{document.relative_to(ROOT)}:{line}", block[1]))
    return found
