"""BPF maps: values by key, one at a time and in batches, with keys and values as Python sees them.

A key or value is what its codec says: an integer, or a tuple of a struct's fields in declared
order. A per-CPU map's value is a list, one item for each possible CPU.
"""

import ctypes
import errno
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mizar.bpf import btf, errors, handles, libbpf

HASH, ARRAY, PERCPU_HASH, PERCPU_ARRAY = 1, 2, 5, 6
LRU_HASH, LRU_PERCPU_HASH, LPM_TRIE, RINGBUF = 9, 10, 11, 27
NO_PREALLOC = 1
ANY, NOEXIST, EXIST = 0, 1, 2
_PER_CPU = {PERCPU_HASH, PERCPU_ARRAY, LRU_PERCPU_HASH}
_NO_BATCH = {errors.ENOTSUPP, errno.EOPNOTSUPP, errno.EINVAL}
_FULL = {errno.E2BIG, errno.ENOSPC}  # a hash; a longest-prefix trie
_CHUNK = 4096


class MapSpec(NamedTuple):
    """A map as its object declares it; a ring buffer has no codecs and no sizes."""

    name: str
    type: int
    max_entries: int
    flags: int
    key_size: int
    value_size: int
    key: btf.Codec | None
    value: btf.Codec | None


class Map(handles.Handle):
    """One map of the kernel. Errors of the kernel come as BpfError naming the map."""

    def __init__(self, fd: int, spec: MapSpec) -> None:
        super().__init__(fd, spec.name)
        self.spec = spec
        self.max_entries = check(fd, spec).max_entries
        per_cpu = spec.type in _PER_CPU
        self._cpus = libbpf.possible_cpus() if per_cpu else 1
        self._slot = spec.value_size + (-spec.value_size % 8 if per_cpu else 0)
        self._value_bytes = self._slot * self._cpus

    def lookup(self, key: Any) -> Any | None:
        """The value, or None where the key isn't."""
        value = ctypes.create_string_buffer(self._value_bytes)
        result = libbpf.library().bpf_map_lookup_elem(self.fd, self._key(key), value)
        if result == -errno.ENOENT:
            return None
        self._check(result, f"look up {key!r}")
        return self._decode(value.raw)

    def update(self, key: Any, value: Any, flags: int = ANY) -> None:
        """Write one entry; flags NOEXIST (else EEXIST) or EXIST (else ENOENT)."""
        encoded = self._values([value])
        result = libbpf.library().bpf_map_update_elem(self.fd, self._key(key), encoded, flags)
        self._check(result, f"write {key!r}")

    def delete(self, key: Any) -> bool:
        """Remove one entry; whether there was one."""
        result = libbpf.library().bpf_map_delete_elem(self.fd, self._key(key))
        if result == -errno.ENOENT:
            return False
        self._check(result, f"delete {key!r}")
        return True

    def update_batch(self, keys: Sequence[Any], values: Sequence[Any]) -> None:
        """Write many entries; on an error those before the refused one are written."""
        if len(keys) != len(values):
            raise ValueError(f"map {self.name}: {len(keys)} keys, {len(values)} values")
        call = libbpf.library().bpf_map_update_batch
        for start in range(0, len(keys), _CHUNK):
            some, their = keys[start : start + _CHUNK], values[start : start + _CHUNK]
            count = ctypes.c_uint32(len(some))
            result = call(self.fd, self._keys(some), self._values(their), ctypes.byref(count), None)
            if -result in _NO_BATCH:
                self._update_singly(some, their)
            else:
                refused = some[min(count.value, len(some) - 1)]
                self._check(result, f"write {refused!r}, {start + count.value} entries in")

    def delete_batch(self, keys: Sequence[Any]) -> int:
        """Remove many entries, skipping what isn't there; how many there were."""
        return sum(
            self._delete_chunk(keys[start : start + _CHUNK])
            for start in range(0, len(keys), _CHUNK)
        )

    def items(self) -> Iterator[tuple[Any, Any]]:
        """Every entry, as (key, value); entries written meanwhile may or may not be among them."""
        try:
            first = self._lookup_batch(None)
        except errors.BpfError as error:
            if error.errno not in _NO_BATCH:
                raise
            return self._items_singly()
        return self._items_batch(first)

    def keys(self) -> Iterator[Any]:
        """Every key."""
        return (key for key, _ in self.items())

    def _items_batch(self, batch: "_Batch") -> Iterator[tuple[Any, Any]]:
        while True:
            yield from batch.items
            if batch.next is None:
                return
            batch = self._lookup_batch(batch.next)

    def _lookup_batch(self, position: bytes | None) -> "_Batch":
        room = min(_CHUNK, max(self.max_entries, 1))  # no bucket of a hash holds more
        keys = ctypes.create_string_buffer(self.spec.key_size * room)
        values = ctypes.create_string_buffer(self._value_bytes * room)
        after = ctypes.create_string_buffer(max(self.spec.key_size, 4))
        count = ctypes.c_uint32(room)
        result = libbpf.library().bpf_map_lookup_batch(
            self.fd, position, after, keys, values, ctypes.byref(count), None
        )
        if result != -errno.ENOENT:
            self._check(result, "read entries")
        items = self._decode_many(keys.raw, values.raw, count.value)
        return _Batch(items, None if result == -errno.ENOENT else after.raw)

    def _decode_many(self, keys: bytes, values: bytes, count: int) -> list[tuple[Any, Any]]:
        names = self._codec(self.spec.key).decode_many(keys[: count * self.spec.key_size])
        if self.spec.type not in _PER_CPU:
            codec = self._codec(self.spec.value)
            return list(zip(names, codec.decode_many(values[: count * self._slot]), strict=True))
        size = self._value_bytes
        return [(key, self._decode(values[i * size :][:size])) for i, key in enumerate(names)]

    def _items_singly(self) -> Iterator[tuple[Any, Any]]:
        codec = self._codec(self.spec.key)
        after = ctypes.create_string_buffer(self.spec.key_size)
        position = None
        while True:
            result = libbpf.library().bpf_map_get_next_key(self.fd, position, after)
            if result == -errno.ENOENT:
                return
            self._check(result, "read keys")
            position = after.raw
            key = codec.unpack(position)
            if (value := self.lookup(key)) is not None:
                yield key, value

    def _delete_chunk(self, keys: Sequence[Any]) -> int:
        encoded = self._keys(keys)
        start = ctypes.cast(ctypes.c_char_p(encoded), ctypes.c_void_p).value or 0
        deleted = at = 0
        while at < len(keys):
            count = ctypes.c_uint32(len(keys) - at)
            result = libbpf.library().bpf_map_delete_batch(
                self.fd, start + at * self.spec.key_size, ctypes.byref(count), None
            )
            if -result in _NO_BATCH:
                return sum(self.delete(key) for key in keys)
            missing = result == -errno.ENOENT
            if not missing:
                self._check(result, f"delete {len(keys)} entries")
            deleted += count.value
            at += count.value + missing
        return deleted

    def _update_singly(self, keys: Sequence[Any], values: Sequence[Any]) -> None:
        for key, value in zip(keys, values, strict=True):
            self.update(key, value)

    def _key(self, key: Any) -> bytes:
        return self._codec(self.spec.key).encode(key)

    def _keys(self, keys: Iterable[Any]) -> bytes:
        return self._codec(self.spec.key).encode_many(keys)

    def _values(self, values: Iterable[Any]) -> bytes:
        codec = self._codec(self.spec.value)
        if self.spec.type not in _PER_CPU:
            return codec.encode_many(values)
        slots = [slot for value in values for slot in self._per_cpu(value)]
        return b"".join(codec.encode(slot).ljust(self._slot, b"\0") for slot in slots)

    def _per_cpu(self, value: Sequence[Any]) -> Sequence[Any]:
        if len(value) != self._cpus:
            raise ValueError(f"map {self.name}: {len(value)} values for {self._cpus} CPUs")
        return value

    def _decode(self, data: bytes) -> Any:
        codec = self._codec(self.spec.value)
        slots = [codec.unpack(data[at : at + codec.size]) for at in range(0, len(data), self._slot)]
        return slots if self.spec.type in _PER_CPU else slots[0]

    def _codec(self, codec: btf.Codec | None) -> btf.Codec:
        if codec is None:
            raise errors.LayoutError(f"map {self.name}: its type has neither keys nor values")
        return codec

    def _check(self, result: int, action: str) -> None:
        full = f" is full ({self.max_entries} entries)" if -result in _FULL else ""
        libbpf.check(result, f"map {self.name}{full}: {action}")


class _Batch(NamedTuple):
    items: list[tuple[Any, Any]]
    next: bytes | None


def open(path: Path | str, spec: MapSpec) -> Map:
    """A pinned map; LayoutError if it isn't laid out as spec says, BpfError if it isn't there."""
    fd = handles.get(path, "bpf-map")
    try:
        return Map(fd, spec)
    except BaseException:
        handles.Handle(fd, spec.name).close()
        raise


def check(fd: int, spec: MapSpec) -> libbpf.MapInfo:
    """What the kernel says of a map; LayoutError if it isn't laid out as spec says."""
    info: libbpf.MapInfo = libbpf.info(fd, libbpf.MapInfo(), f"map {spec.name}")
    there = (info.type, info.key_size, info.value_size)
    wanted = (spec.type, spec.key_size, spec.value_size)
    if there != wanted:
        raise errors.LayoutError(
            f"map {spec.name}: type, key bytes, value bytes are {there} in the kernel and {wanted} "
            "in the object; make a new map and copy what is still valid"
        )
    return info
