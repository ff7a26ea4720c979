"""Codecs made from an object's BTF, and what is refused."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mizar.bpf import errors, objects

ADDRESS = bytes(range(16))


def test_a_struct_is_packed_field_by_field_in_declared_order(sample: objects.ObjectSpec) -> None:
    codec = sample.types.struct("sample_key")
    assert codec.size == 20
    assert codec.pack(0x01020304, ADDRESS) == b"\x04\x03\x02\x01" + ADDRESS
    assert codec.unpack(b"\x04\x03\x02\x01" + ADDRESS) == (0x01020304, ADDRESS)
    assert codec.unpack(bytes(20)).address == bytes(16)


def test_big_endian_fields_are_plain_integers(sample: objects.ObjectSpec) -> None:
    codec = sample.types.struct("sample_wire")
    packed = bytes.fromhex("ff4d0102 00000007 0000000000000009")
    assert codec.pack(0xFF4D, 1, 2, 7, 9) == packed
    assert codec.unpack(packed) == (0xFF4D, 1, 2, 7, 9)
    assert codec.fields[0] == "class_"


def test_both_byte_orders_and_signs_meet_in_one_struct(sample: objects.ObjectSpec) -> None:
    codec = sample.types.struct("sample_mixed")
    packed = bytes.fromhex("01000000 00000002 fdffffffffffffff 1f90") + b"abcdef"
    value = (1, 2, -3, 8080, b"abcdef")
    assert codec.pack(*value) == packed
    assert codec.encode_many([value, value]) == packed * 2
    assert list(codec.decode_many(packed * 2)) == [value, value]


def test_an_enum_gives_names_and_numbers(sample: objects.ObjectSpec) -> None:
    expected = {"VERDICT_PASS": 0, "VERDICT_DROP": 3, "VERDICTS": 4}
    assert sample.types.enum("verdict") == expected


def test_many_values_are_the_same_bytes_as_one_by_one(sample: objects.ObjectSpec) -> None:
    codec = sample.types.struct("sample_key")
    values = [(number, number.to_bytes(16, "big")) for number in range(2500)]
    encoded = codec.encode_many(values)
    assert encoded == b"".join(codec.pack(*value) for value in values)
    assert list(codec.decode_many(encoded)) == values


@given(
    values=st.lists(
        st.tuples(
            st.integers(0, 2**32 - 1),
            st.integers(0, 2**32 - 1),
            st.integers(-(2**63), 2**63 - 1),
            st.integers(0, 2**16 - 1),
            st.binary(min_size=6, max_size=6),
        )
    )
)
def test_what_is_encoded_is_decoded(
    sample: objects.ObjectSpec, values: list[tuple[int, int, int, int, bytes]]
) -> None:
    codec = sample.types.struct("sample_mixed")
    assert list(codec.decode_many(codec.encode_many(values))) == values


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ((1, b"short"), r"sample_key\.address: not 16 bytes"),
        ((1, bytes(17)), r"sample_key\.address: not 16 bytes"),
        ((1,), "has not the fields vni, address"),
        ((1, ADDRESS, 2), "has not the fields vni, address"),
        ((2**32, ADDRESS), r"sample_key\(4294967296"),
        ((-1, ADDRESS), r"sample_key\(-1"),
    ],
)
def test_what_does_not_fit_is_refused_alone_and_among_many(
    sample: objects.ObjectSpec, value: tuple[object, ...], complaint: str
) -> None:
    codec = sample.types.struct("sample_key")
    with pytest.raises(ValueError, match=complaint):
        codec.pack(*value)
    with pytest.raises(ValueError, match=complaint):
        codec.encode_many([(1, ADDRESS)] * 1500 + [value])


@pytest.mark.parametrize("port", [-1, 2**16])
def test_a_big_endian_field_out_of_range_is_refused(sample: objects.ObjectSpec, port: int) -> None:
    codec = sample.types.struct("sample_mixed")
    with pytest.raises(ValueError, match=r"sample_mixed\(1, 2"):
        codec.pack(1, 2, 3, port, bytes(6))
    with pytest.raises(ValueError, match=r"sample_mixed\(1, 2"):
        codec.encode_many([(1, 2, 3, port, bytes(6))])


def test_another_number_of_bytes_is_refused(sample: objects.ObjectSpec) -> None:
    with pytest.raises(ValueError, match="sample_key: 19 bytes instead of 20"):
        sample.types.struct("sample_key").unpack(bytes(19))


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("sample_padded", r"sample_padded\.number.*padding before it"),
        ("sample_tail", "sample_tail: 2 bytes of padding at its end"),
        ("sample_bits", r"sample_bits\.low: a bit field"),
        ("sample_nested", r"sample_nested\.key: neither an integer"),
        ("sample_absent", "no sample_absent in its BTF"),
    ],
)
def test_a_type_without_a_codec_is_refused_by_name(
    sample: objects.ObjectSpec, name: str, complaint: str
) -> None:
    with pytest.raises(errors.LayoutError, match=complaint):
        sample.types.struct(name)


@given(where=st.integers(0, 1 << 20), bits=st.integers(1, 255), cut=st.booleans())
def test_a_damaged_object_is_refused_or_read_but_breaks_nothing(
    samples: Path, where: int, bits: int, cut: bool
) -> None:
    content = bytearray((samples / "shared.bpf.o").read_bytes())
    where %= len(content)
    content[where] ^= bits
    damaged = samples / "damaged"
    damaged.write_bytes(content[:where] if cut else content)
    with contextlib.suppress(errors.LayoutError):
        objects.read(damaged)
