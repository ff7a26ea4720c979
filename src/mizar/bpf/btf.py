"""Types from an object's .BTF section, and codecs of C structs and integers made from them.

Source: the kernel's Documentation/bpf/btf.rst. A codec knows fixed-width integers, enums and
arrays of bytes; __be16, __be32 and __be64 are big-endian in memory and plain integers in Python.
Anything else (nested structs, bit fields, implicit padding) is refused by name: such a type has
no room in bpf/model.h.
"""

import functools
import keyword
import struct
from collections import namedtuple
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple, NoReturn

from mizar.bpf import elf, errors

_HEADER = struct.Struct("<HBBIIIII")
_TYPE = struct.Struct("<III")
_MAGIC = 0xEB9F
INT, PTR, ARRAY, STRUCT, UNION, ENUM = 1, 2, 3, 4, 5, 6
TYPEDEF, VOLATILE, CONST, RESTRICT, FUNC_PROTO, VAR, DATASEC = 8, 9, 10, 11, 13, 14, 15
DECL_TAG, TYPE_TAG, ENUM64 = 17, 18, 19
_ONCE = {INT: "<I", ARRAY: "<III", VAR: "<I", DECL_TAG: "<I"}
_EACH = {
    STRUCT: "<III",
    UNION: "<III",
    ENUM: "<Ii",
    FUNC_PROTO: "<II",
    DATASEC: "<III",
    ENUM64: "<IIi",
}
_MODIFIERS = {TYPEDEF, VOLATILE, CONST, RESTRICT, TYPE_TAG}
_SIGNED = 1 << 24  # in an INT's extra word: encoding BTF_INT_SIGNED
_FORMATS = {1: "B", 2: "H", 4: "I", 8: "Q"}
_BIG_ENDIAN = {"__be16", "__be32", "__be64"}
_CHUNK = 1024


class Type(NamedTuple):
    """One BTF type: `ref` is a size or the id of another type, `extra` the words that follow."""

    kind: int
    name: str
    ref: int
    flag: bool
    extra: list[tuple[int, ...]]


class Field(NamedTuple):
    """One member of a C struct: its struct-module format, and whether it is big-endian."""

    name: str
    format: str
    big: bool


class Codec:
    """The bytes of one C type, both ways.

    A struct's `type` is a NamedTuple with the C names (class becomes class_), an integer's is int,
    an array's bytes.
    Byte arrays must have their full length: nothing is padded or cut in silence.
    """

    def __init__(self, name: str, fields: Sequence[Field], row: Any | None) -> None:
        self.name = name
        self.fields = tuple(field.name for field in fields)
        self.type: Any = row or (bytes if fields[0].format.endswith("s") else int)
        integers = [field for field in fields if not field.format.endswith(("s", "B", "b"))]
        self._order = ">" if integers and all(field.big for field in integers) else "<"
        self._swapped = [i for i, field in enumerate(fields) if field.big and self._order == "<"]
        self._body = "".join(
            f"{struct.calcsize(field.format)}s" if i in self._swapped else field.format
            for i, field in enumerate(fields)
        )
        self._one = struct.Struct(self._order + self._body)
        self.layout = self._order + self._body
        self._widths = {i: struct.calcsize(field.format) for i, field in enumerate(fields)}
        self._arrays = [i for i, field in enumerate(fields) if field.format.endswith("s")]
        self._row = row
        self.size = self._one.size

    def pack(self, *values: Any) -> bytes:
        """The bytes of one value, given field by field in declared order; ValueError if unfit."""
        self._check_rows([values])
        try:
            return self._one.pack(*self._outward(values))
        except (struct.error, OverflowError) as error:
            raise ValueError(f"{self.name}{values!r}: {error}") from None

    def unpack(self, data: bytes) -> Any:
        """The value in `size` bytes; ValueError for another number of bytes."""
        if len(data) != self.size:
            raise ValueError(f"{self.name}: {len(data)} bytes instead of {self.size}")
        return next(self.decode_many(data))

    def encode(self, value: Any) -> bytes:
        """The bytes of one value: a tuple in declared order, or an integer or bytes as such."""
        return self.pack(*value) if self._row else self.pack(value)

    def encode_many(self, values: Iterable[Any]) -> bytes:
        """The bytes of many values, one behind the other."""
        rows = list(values) if self._row else [(value,) for value in values]
        self._check_rows(rows)
        try:
            outward = [self._outward(row) for row in rows] if self._swapped else rows
            return b"".join(self._chunks(outward))
        except (struct.error, OverflowError):
            return b"".join(self.pack(*row) for row in rows)  # names the row that is unfit

    def decode_many(self, data: bytes) -> Iterator[Any]:
        """The values in a multiple of `size` bytes."""
        rows: Iterator[tuple[Any, ...]] = self._one.iter_unpack(data)
        if self._swapped:
            rows = map(self._inward, rows)
        return map(self._row._make, rows) if self._row else map(itemgetter(0), rows)

    @functools.cached_property
    def _many(self) -> struct.Struct:
        return struct.Struct(self._order + self._body * _CHUNK)

    def _chunks(self, rows: list[Any]) -> Iterator[bytes]:
        whole = len(rows) - len(rows) % _CHUNK
        for start in range(0, whole, _CHUNK):
            yield self._many.pack(*chain.from_iterable(rows[start : start + _CHUNK]))
        for row in rows[whole:]:
            yield self._one.pack(*row)

    def _check_rows(self, rows: list[tuple[Any, ...]]) -> None:
        if any(count != len(self.fields) for count in set(map(len, rows))):
            raise ValueError(f"{self.name}: a value has not the fields {', '.join(self.fields)}")
        for i in self._arrays:
            if any(n != self._widths[i] for n in set(map(len, map(itemgetter(i), rows)))):
                raise ValueError(f"{self.name}.{self.fields[i]}: not {self._widths[i]} bytes")

    def _outward(self, values: Sequence[Any]) -> Sequence[Any]:
        if not self._swapped:
            return values
        swapped = list(values)
        for i in self._swapped:
            swapped[i] = values[i].to_bytes(self._widths[i], "big")
        return swapped

    def _inward(self, values: tuple[Any, ...]) -> tuple[Any, ...]:
        swapped = list(values)
        for i in self._swapped:
            swapped[i] = int.from_bytes(values[i], "big")
        return tuple(swapped)


class Types:
    """All types of one object. Raises LayoutError for what is missing or has no codec.

    about: the object, for messages. A damaged section raises what errors.DAMAGE lists.
    """

    def __init__(self, section: bytes, about: str) -> None:
        self.about = about
        self._types, self._strings = _parse(section)
        self._codecs: dict[int, Codec] = {}

    def __getitem__(self, number: int) -> Type:
        return self._types[number]

    def struct(self, name: str) -> Codec:
        """The codec of `struct name`."""
        return self.codec(self.find(STRUCT, name))

    def enum(self, name: str) -> dict[str, int]:
        """{constant: value} of `enum name`, in declared order."""
        return {self.string(words[0]): words[1] for words in self[self.find(ENUM, name)].extra}

    def codec(self, number: int) -> Codec:
        """The codec of the type with this id."""
        if number not in self._codecs:
            self._codecs[number] = self._make(number)
        return self._codecs[number]

    def find(self, kind: int, name: str) -> int:
        """The id of the type of this kind and name."""
        for number, found in enumerate(self._types):
            if found.kind == kind and found.name == name:
                return number
        raise errors.LayoutError(
            f"{self.about}: no {name} in its BTF; a type is there only if a map, a global variable "
            "or a function's argument has it"
        )

    def members(self, number: int) -> dict[str, tuple[int, int]]:
        """{name: (type id, offset in bits)} of a struct, {name: (type id, offset)} of a section."""
        found = self[number]
        if found.kind == DATASEC:
            return {self[ref].name: (ref, offset) for ref, offset, _ in found.extra}
        return {self.string(name): (ref, offset) for name, ref, offset in found.extra}

    def resolve(self, number: int) -> tuple[int, set[str]]:
        """The id behind typedefs and qualifiers, and the typedefs' names on the way."""
        names = set[str]()
        for _ in self._types:
            found = self[number]
            if found.kind not in _MODIFIERS:
                return number, names
            names.add(found.name)
            number = found.ref
        raise ValueError("a type that refers to itself")

    def size(self, number: int) -> int:
        """sizeof."""
        found = self[self.resolve(number)[0]]
        if found.kind == ARRAY:
            return self.size(found.extra[0][0]) * found.extra[0][2]
        return 8 if found.kind == PTR else found.ref

    def string(self, offset: int) -> str:
        """A name from its offset."""
        return elf.string(self._strings, offset)

    def _make(self, number: int) -> Codec:
        bare, _ = self.resolve(number)
        found = self[bare]
        if found.kind != STRUCT:
            name = found.name or "value"
            return Codec(name, [self._field("value", number, name)], None)
        fields = self._fields(found)
        return Codec(found.name, fields, namedtuple(found.name, [field.name for field in fields]))

    def _fields(self, found: Type) -> list[Field]:
        fields, end = [], 0
        for words in found.extra:
            name, ref, offset = self.string(words[0]), *words[1:]
            about = f"struct {found.name}.{name}"
            if found.flag or offset != end * 8:
                self._refuse(about, "a bit field or implicit padding before it")
            fields.append(self._field(f"{name}_" if keyword.iskeyword(name) else name, ref, about))
            end += self.size(ref)
        if end != found.ref:
            self._refuse(f"struct {found.name}", f"{found.ref - end} bytes of padding at its end")
        return fields

    def _field(self, name: str, number: int, about: str) -> Field:
        bare, typedefs = self.resolve(number)
        found, size = self[bare], self.size(bare)
        if found.kind == ARRAY and self._is_byte(found.extra[0][0]):
            return Field(name, f"{size}s", False)
        if found.kind not in (INT, ENUM) or size not in _FORMATS:
            self._refuse(about, "neither an integer of 1, 2, 4 or 8 bytes nor an array of __u8")
        signed = found.kind == INT and found.extra[0][0] & _SIGNED
        letter = _FORMATS[size].lower() if signed else _FORMATS[size]
        return Field(name, letter, bool(typedefs & _BIG_ENDIAN))

    def _is_byte(self, number: int) -> bool:
        found = self[self.resolve(number)[0]]
        return found.kind == INT and found.ref == 1

    def _refuse(self, about: str, why: str) -> NoReturn:
        raise errors.LayoutError(f"{self.about}: {about}: {why}; lay it out as bpf/model.h says")


def _parse(section: bytes) -> tuple[list[Type], bytes]:
    """The types (id 0 is void) and the string table of a .BTF section."""
    magic, _, _, size, types_at, types_size, strings_at, strings_size = _HEADER.unpack_from(section)
    if magic != _MAGIC:
        raise ValueError(magic)
    strings = section[size + strings_at : size + strings_at + strings_size]
    types = [Type(0, "void", 0, False, [])]
    at, end = size + types_at, size + types_at + types_size
    while at < end:
        name, info, ref = _TYPE.unpack_from(section, at)
        kind, at = info >> 24 & 0x1F, at + _TYPE.size
        extra, at = _extra(section, at, kind, info & 0xFFFF)
        types.append(Type(kind, elf.string(strings, name), ref, bool(info >> 31), extra))
    return types, strings


def _extra(section: bytes, at: int, kind: int, count: int) -> tuple[list[tuple[int, ...]], int]:
    """The words behind a type, and where they end."""
    form, times = (_EACH[kind], count) if kind in _EACH else (_ONCE.get(kind, ""), kind in _ONCE)
    size = struct.calcsize(form)
    starts = [at + i * size for i in range(times)]
    return [struct.unpack_from(form, section, start) for start in starts], at + size * times
