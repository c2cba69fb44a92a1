"""Scripts that are put together with what they import."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from spech.web import page_files
from spech.web.app import frontend_folder
from spech.web.page_files import read_file
from spech.web.page_scripts import join_scripts

FRONTEND = frontend_folder()
ENTRIES = ["early.js", "app.js", "later.js"]


def write(folder: Path, **modules: str) -> None:
    for name, text in modules.items():
        path = folder / f"{name.replace('__', '/')}.js"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


def names(script: str) -> list[str]:
    return re.findall(r"^// ([\w/-]+\.js)$", script, re.MULTILINE)


def test_a_module_comes_after_what_it_imports(tmp_path: Path) -> None:
    write(
        tmp_path,
        main='import {\n  b,\n  one as first,\n} from "./parts/b.js";\nimport "./c.js";\nb(first);',
        parts__b='import { c } from "../c.js";\nexport function b() {}\nexport const one = c;',
        c="export class c {}\nexport async function d() {}\n/** no export */\nconst e = 1;",
    )
    script = join_scripts(tmp_path, ["main.js"])
    assert script.splitlines()[0] == "export const $modules = {};"
    assert names(script) == ["c.js", "parts/b.js", "main.js"]
    assert '$modules["c.js"] = { c, d };' in script
    assert 'const { c } = $modules["c.js"];\nfunction b() {}\nconst one = c;' in script
    assert 'const {\n  b,\n  one: first,\n} = $modules["parts/b.js"];\n\nb(first);' in script


def test_a_script_leaves_out_what_earlier_ones_bring(tmp_path: Path) -> None:
    write(
        tmp_path,
        first="export const a = 1;",
        second='import { a } from "./first.js";\nexport const b = a;',
        third='import { a } from "./first.js";\nimport { b } from "./second.js";\n'
        'import { d } from "./d.js";',
        d="export const d = 1;",
    )
    script = join_scripts(tmp_path, ["first.js", "second.js", "third.js"])
    assert script.startswith('import { $modules } from "./first.js";\nimport "./second.js";\n')
    assert names(script) == ["d.js", "third.js"]


def test_comments_are_left_out(tmp_path: Path) -> None:
    code = 'const b = "// c"; // d\n  /** @type {e} */ (f).g();\n'
    write(
        tmp_path,
        a=f"// @ts-check\n/**\n * h * {{@link i}} /\n */\n{code}  // j\n  /** k */\nl();\n",
    )
    script = join_scripts(tmp_path, ["a.js"])
    assert script.splitlines()[3:-2] == [*code.splitlines(), "l();", ""]


def test_no_template_of_the_page_has_several_lines() -> None:
    """What is in it could look like a comment."""
    for path in FRONTEND.rglob("*.js"):
        lines = re.sub(r"^ *(?://|/?\*).*", "", path.read_text(), flags=re.MULTILINE).splitlines()
        assert [line for line in lines if line.count("`") % 2] == [], path


def test_a_module_finds_files_beside_it(tmp_path: Path) -> None:
    write(tmp_path, sound__a='const url = new URL("b.js", import.meta.url);')
    script = join_scripts(tmp_path, ["sound/a.js"])
    assert 'new URL("b.js", new URL("sound/a.js", import.meta.url).href)' in script


@pytest.mark.parametrize(
    "text",
    [
        "export default 1;",
        "const a = 1;\nexport { a };",
        "export let a = 1;",
        'export * from "./b.js";',
        'import * as a from "./b.js";',
        'import a from "./b.js";',
        "import { a } from './b.js';",
        'import { a } from "b";',
    ],
)
def test_other_imports_and_exports_are_refused(tmp_path: Path, text: str) -> None:
    write(tmp_path, a=text, b="")
    with pytest.raises(SyntaxError, match=r"a\.js has a line"):
        join_scripts(tmp_path, ["a.js"])


def test_a_circle_is_refused(tmp_path: Path) -> None:
    write(tmp_path, a='import "./b.js";', b='import "./a.js";')
    with pytest.raises(SyntaxError, match=r"a\.js imports itself, by way of a\.js, b\.js"):
        join_scripts(tmp_path, ["a.js"])


def test_each_module_of_the_page_comes_once() -> None:
    scripts = {name: read_file(FRONTEND, name, stamped=True).decode() for name in ENTRIES}
    found = [name for script in scripts.values() for name in names(script)]
    modules = {path.relative_to(FRONTEND).as_posix() for path in FRONTEND.rglob("*.js")}
    alone = {name for name in modules if re.search(r"-worklet|^service-worker|^sign-in", name)}
    assert sorted(found) == sorted(modules - alone)
    assert names(scripts["early.js"])[-1] == "early.js"
    for name in ENTRIES[1:]:
        assert scripts[name].startswith('import { $modules } from "./early.js";')


def test_only_scripts_in_the_top_folder_load_others() -> None:
    """What they load has an address relative to the script that they are part of."""
    for path in FRONTEND.rglob("*.js"):
        if path.parent != FRONTEND:
            assert not re.search(r"(?<![\w#.])import\(", path.read_text()), path


def test_scripts_are_put_together_again_only_after_a_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    joined = []

    def join(folder: Path, scripts: Sequence[str]) -> str:
        joined.append(scripts[-1])
        return join_scripts(folder, scripts)

    monkeypatch.setattr(page_files, "join_scripts", join)
    for page in ("index.html", "sign-in.html"):
        (tmp_path / page).write_text('<script type="module" src="a.js"></script>')
    write(tmp_path, a='import { b } from "./b.js";\nb();', b="export function b() {}")
    before = [read_file(tmp_path, "a.js", stamped=True) for _ in range(3)]
    assert joined == ["a.js"]
    with pytest.raises(FileNotFoundError):
        read_file(tmp_path, "other.js", stamped=True)
    assert joined == ["a.js"]
    write(tmp_path, b="export function b() { return 1; }")
    assert b"return 1" in read_file(tmp_path, "a.js", stamped=True)
    assert len(set(before)) == 1
    assert joined == ["a.js", "a.js"]
