"""Sections and symbols of a 64-bit little-endian ELF object. Nothing is relocated or loaded."""

import struct
from typing import NamedTuple

from mizar.bpf import errors

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_MACHINE_BPF = 247
_SYMTAB, _NOBITS = 2, 8
_FUNCTION, _GLOBAL = 2, 1


class Section(NamedTuple):
    """One section: its name, type (SHT_*), index of a linked section and bytes."""

    name: str
    type: int
    link: int
    data: bytes


def sections(content: bytes, about: str) -> list[Section]:
    """Every section, in order. Raises LayoutError if content is no BPF object.

    A damaged one raises what errors.DAMAGE lists, here and in functions().
    """
    ident, _, machine, _, _, _, offset, *_, size, count, names = _HEADER.unpack_from(content)
    if ident[:6] != b"\x7fELF\x02\x01" or machine != _MACHINE_BPF or size != _SECTION.size:
        raise errors.LayoutError(f"{about}: not a little-endian BPF object; build it with clang")
    heads = [_SECTION.unpack_from(content, offset + i * size) for i in range(count)]
    strings = _bytes(content, heads[names])
    return [
        Section(string(strings, head[0]), head[1], head[6], _bytes(content, head)) for head in heads
    ]


def functions(all_sections: list[Section]) -> list[tuple[str, str]]:
    """(section, name) of every global function, in the order of the symbol table."""
    found = []
    for table in all_sections:
        if table.type != _SYMTAB:
            continue
        strings = all_sections[table.link].data
        for name, info, _, index, _, _ in _SYMBOL.iter_unpack(table.data):
            if info == _GLOBAL << 4 | _FUNCTION:
                found.append((all_sections[index].name, string(strings, name)))
    return found


def string(table: bytes, offset: int) -> str:
    """The NUL-terminated string at an offset of a string table."""
    return table[offset : table.index(b"\0", offset)].decode()


def _bytes(content: bytes, head: tuple[int, ...]) -> bytes:
    kind, offset, size = head[1], head[4], head[5]
    if kind == _NOBITS:
        return b""
    data = content[offset : offset + size]
    if len(data) != size:
        raise IndexError(offset)
    return data
