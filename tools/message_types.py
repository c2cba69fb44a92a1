"""Writes frontend/messages.d.ts: the types of the protocol's messages, from spech/web/messages/.

    .venv/bin/python tools/message_types.py

A test checks that the file is up to date.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, get_args

from msgspec import inspect

from spech.web.audio import Hello, Welcome
from spech.web.audio_frames import FormatChange
from spech.web.messages.accounts import StepMessage
from spech.web.messages.channel import Command, Failed
from spech.web.messages.command import Nothing
from spech.web.messages.quality import MetersMessage, QualityMessage
from spech.web.messages.state import StateMessage

TARGET = Path(__file__).parent.parent / "frontend" / "messages.d.ts"
_HEAD = """\
// The types of the protocol's messages (docs/protocol.md).
// Written by tools/message_types.py from spech/web/messages/. Do not edit.
"""
_SCALARS: dict[type[inspect.Type], str] = {
    inspect.StrType: "string",
    inspect.IntType: "number",
    inspect.FloatType: "number",
    inspect.BoolType: "boolean",
    inspect.NoneType: "null",
}


def declarations() -> str:
    """The contents of the file."""
    commands = {command.__struct_config__.tag: command for command in get_args(Command)}
    sent = [
        StateMessage,
        StepMessage,
        MetersMessage,
        QualityMessage,
        Failed,
    ]
    roots = [
        *(command.outcome for command in commands.values()),
        *sent,
        Hello,
        Welcome,
        FormatChange,
    ]
    blocks = [_HEAD]
    blocks += [_interface(struct) for struct in _structs(roots)]
    blocks.append(
        "/** The fields of each command beside `id` and `command`. */\n"
        + "export interface Commands {\n"
        + "".join(
            f"  {tag}: {_object(command, skip={'id'})};\n" for tag, command in commands.items()
        )
        + "}\n"
    )
    blocks.append(
        "/** The `ok` of the answer to each command. */\n"
        + "export interface Outcomes {\n"
        + "".join(f"  {tag}: {command.outcome.__name__};\n" for tag, command in commands.items())
        + "}\n"
    )
    blocks.append(
        "export interface Done {\n  id: string | number;\n  ok: Outcomes[keyof Outcomes];\n}\n"
    )
    names = [struct.__name__ for struct in sent]
    blocks.append(f"export type ServerMessage = {' | '.join([*names, 'Done'])};\n")
    return "\n".join(blocks)


def _structs(roots: list[Any]) -> list[type]:
    """All structures that ``roots`` refer to, each after those that it needs."""
    found: dict[type, None] = {}

    def visit(kind: inspect.Type) -> None:
        for part in _parts(kind):
            visit(part)
        if isinstance(kind, inspect.StructType | inspect.DataclassType):
            found.setdefault(kind.cls)

    for root in roots:
        visit(inspect.type_info(root))
    return list(found)


def _parts(kind: inspect.Type) -> Iterator[inspect.Type]:
    match kind:
        case inspect.StructType(fields=fields) | inspect.DataclassType(fields=fields):
            yield from (field.type for field in fields)
        case inspect.UnionType(types=types):
            yield from types
        case inspect.VarTupleType(item_type=item):
            yield item
        case inspect.DictType(value_type=value):
            yield value
        case inspect.Metadata(type=inner):
            yield inner


def _interface(struct: type) -> str:
    if struct is Nothing:
        return f"export type {struct.__name__} = Record<string, never>;\n"
    return f"export interface {struct.__name__} {_object(struct, indent='')}\n"


def _object(struct: type, *, skip: Collection[str] = (), indent: str = "  ") -> str:
    info = inspect.type_info(struct)
    assert isinstance(info, inspect.StructType | inspect.DataclassType)
    fields = [
        f"{indent}  {field.encode_name}{'' if field.required else '?'}: {_name(field.type)};\n"
        for field in info.fields
        if field.encode_name not in skip
    ]
    if isinstance(info, inspect.StructType) and info.tag_field and "id" not in skip:
        fields.insert(0, f'{indent}  {info.tag_field}: "{info.tag}";\n')
    return "{\n" + "".join(fields) + indent + "}" if fields else "Record<string, never>"


def _name(kind: inspect.Type) -> str:
    match kind:
        case inspect.Metadata(type=inner):
            return _name(inner)
        case inspect.StructType(cls=cls) | inspect.DataclassType(cls=cls):
            return cls.__name__
        case inspect.UnionType(types=types):
            return " | ".join(_name(each) for each in types)
        case inspect.LiteralType(values=values):
            return " | ".join(f'"{value}"' for value in values)
        case inspect.VarTupleType(item_type=item):
            name = _name(item)
            return f"({name})[]" if " " in name else f"{name}[]"
        case inspect.DictType(value_type=value):
            return f"Record<string, {_name(value)}>"
    return _SCALARS[type(kind)]


if __name__ == "__main__":
    TARGET.write_text(declarations())
