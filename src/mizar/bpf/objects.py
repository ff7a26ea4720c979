"""BPF object files: what is in one (a spec, read without privileges), and loading several.

read() never talks to the kernel and gives the same spec for the same bytes. load() lets libbpf
relocate and load; maps of equal name are one map, shared by all objects loaded together.
"""

import ctypes
import mmap
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from importlib import resources
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self, TypeVar

from mizar.bpf import btf, elf, errors, handles, libbpf, maps, programs

_SECTIONS = {
    "xdp": programs.XDP,
    "xdp.frags": programs.XDP,
    "tc": programs.SCHED_CLS,
    "tp_btf/kfree_skb": programs.TRACING,
}
_NUMBERS = ("type", "max_entries", "map_flags")
_Handle = TypeVar("_Handle", bound=handles.Handle)
_LOG_BYTES = (1 << 24) - 1  # the most that every kernel takes; touched only when a program fails


class ProgramSpec(NamedTuple):
    """A program as its object declares it."""

    name: str
    section: str
    type: int


class ObjectSpec(NamedTuple):
    """An object file's maps, programs and types, and the bytes to load."""

    name: str
    content: bytes
    maps: dict[str, maps.MapSpec]
    programs: dict[str, ProgramSpec]
    types: btf.Types


class Collection:
    """Loaded maps and programs by name; close() gives up those that it opened itself."""

    def __init__(
        self,
        own: ExitStack,
        all_maps: dict[str, maps.Map],
        all_programs: dict[str, programs.Program],
    ) -> None:
        self._own = own
        self.maps = all_maps
        self.programs = all_programs

    def close(self) -> None:
        """Close every program and every map that wasn't handed in by `reuse`."""
        self._own.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def shipped(name: str) -> ObjectSpec:
    """The spec of an object inside the package, as shipped("uplink")."""
    return read(Path(str(resources.files("mizar.bpf") / "objects" / f"{name}.bpf.o")))


def read(path: Path | str) -> ObjectSpec:
    """The spec of an object file. Raises LayoutError, or BpfError if it can't be read."""
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        remedy = "build it with bpf/build.py"
        raise errors.BpfError(error.errno or 0, f"object {path}", remedy) from None
    try:
        return _parse(path, content)
    except errors.DAMAGE:
        raise errors.LayoutError(f"object {path}: damaged; build it with bpf/build.py") from None


def _parse(path: Path, content: bytes) -> ObjectSpec:
    sections = elf.sections(content, str(path))
    (encoded,) = (section.data for section in sections if section.name == ".BTF")
    types = btf.Types(encoded, str(path))
    found = {
        name: ProgramSpec(name, section, _SECTIONS[section])
        for section, name in elf.functions(sections)
        if section in _SECTIONS
    }
    all_maps = {spec.name: spec for spec in _maps(types)}
    return ObjectSpec(path.name.partition(".")[0], content, all_maps, found, types)


def load(
    specs: Sequence[ObjectSpec],
    reuse: Mapping[str, maps.Map] | None = None,
    max_entries: Mapping[str, int] | None = None,
) -> Collection:
    """Load the objects' maps and programs into the kernel.

    reuse: maps to use instead of new ones (they stay the caller's). max_entries: other sizes for
    new maps. Raises VerifierError, LayoutError or BpfError, and then leaves nothing behind.
    """
    shared = dict(reuse or {})
    loaded: dict[str, programs.Program] = {}
    with ExitStack() as own:
        for spec in specs:
            _check_names(spec, shared, loaded)
            found = _load(spec, shared, max_entries or {}, own)
            loaded.update(found)
        return Collection(own.pop_all(), shared, loaded)


def _check_names(
    spec: ObjectSpec,
    shared: Mapping[str, maps.Map],
    loaded: Mapping[str, programs.Program],
) -> None:
    for name in spec.programs.keys() & loaded.keys():
        raise errors.LayoutError(f"object {spec.name}: program {name} is in another object too")
    for name in spec.maps.keys() & shared.keys():
        maps.check(shared[name].fd, spec.maps[name])


def _load(
    spec: ObjectSpec,
    shared: dict[str, maps.Map],
    max_entries: Mapping[str, int],
    own: ExitStack,
) -> dict[str, programs.Program]:
    """Load one object; add its new maps to `shared`, and everything to close to `own`."""
    library = libbpf.library()
    with ExitStack() as scratch:
        warnings = scratch.enter_context(libbpf.collecting())
        handle = _open(spec, scratch)
        logs = {name: _log_buffer(handle, name, scratch) for name in spec.programs}
        for name in spec.maps:
            _prepare_map(handle, name, shared, max_entries)
        result = library.bpf_object__load(handle)
        if result < 0:
            raise _failure(spec, -result, logs, warnings)
        for name, map_spec in spec.maps.items():
            if name not in shared:
                fd = os.dup(library.bpf_map__fd(_map(handle, name)))
                shared[name] = _owned(own, maps.Map(fd, map_spec))
        return {
            name: _owned(own, programs.Program(os.dup(_program_fd(handle, name)), name, kind))
            for name, _, kind in spec.programs.values()
        }


def _open(spec: ObjectSpec, scratch: ExitStack) -> int:
    library = libbpf.library()
    options = libbpf.sized(libbpf.OpenOpts(object_name=spec.name.encode()))
    ctypes.set_errno(0)
    handle: int | None = library.bpf_object__open_mem(
        spec.content, len(spec.content), ctypes.byref(options)
    )
    if not handle:
        raise errors.BpfError(ctypes.get_errno(), f"object {spec.name}: libbpf can't read it")
    scratch.callback(library.bpf_object__close, handle)
    return handle


def _log_buffer(handle: int, name: str, scratch: ExitStack) -> mmap.mmap:
    """Memory for a program's verifier log: mapped, and so paid for only when written."""
    log = mmap.mmap(-1, _LOG_BYTES)
    view = ctypes.c_char.from_buffer(log)
    program = libbpf.library().bpf_object__find_program_by_name(handle, name.encode())
    result = libbpf.library().bpf_program__set_log_buf(program, ctypes.addressof(view), _LOG_BYTES)
    libbpf.check(result, f"program {name}: log buffer")
    return log


def _prepare_map(
    handle: int,
    name: str,
    shared: Mapping[str, maps.Map],
    max_entries: Mapping[str, int],
) -> None:
    library = libbpf.library()
    if name in shared:
        result = library.bpf_map__reuse_fd(_map(handle, name), shared[name].fd)
        libbpf.check(result, f"map {name}: reuse")
    elif name in max_entries:
        result = library.bpf_map__set_max_entries(_map(handle, name), max_entries[name])
        libbpf.check(result, f"map {name}: set its size to {max_entries[name]}")


def _map(handle: int, name: str) -> int:
    found: int = libbpf.library().bpf_object__find_map_by_name(handle, name.encode())
    return found


def _program_fd(handle: int, name: str) -> int:
    library = libbpf.library()
    found: int = library.bpf_program__fd(
        library.bpf_object__find_program_by_name(handle, name.encode())
    )
    return found


def _failure(
    spec: ObjectSpec,
    number: int,
    logs: Mapping[str, mmap.mmap],
    warnings: list[str],
) -> errors.BpfError:
    for name, log in logs.items():
        text = log[: log.find(b"\0")].decode(errors="replace")
        if text:
            return errors.VerifierError(number, f"program {name} of object {spec.name}", text)
    return errors.BpfError(number, f"object {spec.name}", "libbpf says: " + "; ".join(warnings))


def _owned(own: ExitStack, thing: _Handle) -> _Handle:
    own.callback(thing.close)
    return thing


def _maps(types: btf.Types) -> Iterator[maps.MapSpec]:
    """The maps declared in section .maps, in the object's order."""
    try:
        declared = types.members(types.find(btf.DATASEC, ".maps"))
    except errors.LayoutError:
        return
    for name, (variable, _) in declared.items():
        yield _map_spec(types, name, types.resolve(types[variable].ref)[0])


def _map_spec(types: btf.Types, name: str, declaration: int) -> maps.MapSpec:
    members = {word: ref for word, (ref, _) in types.members(declaration).items()}
    numbers = {word: _number(types, ref) for word, ref in members.items() if word in _NUMBERS}
    codecs = {
        word: types.codec(types[types.resolve(members[word])[0]].ref)
        for word in ("key", "value")
        if word in members
    }
    key, value = codecs.get("key"), codecs.get("value")
    return maps.MapSpec(
        name,
        numbers["type"],
        numbers.get("max_entries", 0),
        numbers.get("map_flags", 0),
        key.size if key else 0,
        value.size if value else 0,
        key,
        value,
    )


def _number(types: btf.Types, ref: int) -> int:
    """The n of libbpf's __uint(name, n): a pointer to an array of n."""
    array = types[types.resolve(ref)[0]].ref
    return types[array].extra[0][2]
