"""libbpf.so.1 by ctypes: the functions that Mizar calls, their structs, and libbpf's messages.

Works with libbpf 1.0 and later; option structs carry their size, so a later library reads what
we fill in and nothing else. Calls release the interpreter lock and are safe from any thread.
"""

import ctypes
import errno
import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import (
    CFUNCTYPE,
    POINTER,
    c_char_p,
    c_int,
    c_size_t,
    c_uint32,
    c_uint64,
    c_void_p,
)
from typing import Any

from mizar.bpf import errors

LIBRARY = "libbpf.so.1"
SAMPLE = CFUNCTYPE(c_int, c_void_p, c_void_p, c_size_t)
_PRINT = CFUNCTYPE(c_int, c_int, c_char_p, c_void_p)
_MESSAGE_BYTES = 4096

_collected = threading.local()


class OpenOpts(ctypes.Structure):
    """The head of struct bpf_object_open_opts."""

    _fields_ = [("sz", c_size_t), ("object_name", c_char_p)]


class BatchOpts(ctypes.Structure):
    """struct bpf_map_batch_opts."""

    _fields_ = [("sz", c_size_t), ("elem_flags", c_uint64), ("flags", c_uint64)]


class LinkCreateOpts(ctypes.Structure):
    """The head of struct bpf_link_create_opts."""

    _fields_ = [
        ("sz", c_size_t),
        ("flags", c_uint32),
        ("iter_info", c_void_p),
        ("iter_info_len", c_uint32),
        ("target_btf_id", c_uint32),
    ]


class TestRunOpts(ctypes.Structure):
    """struct bpf_test_run_opts."""

    __test__ = False
    _fields_ = [
        ("sz", c_size_t),
        ("data_in", c_char_p),
        ("data_out", c_void_p),
        ("data_size_in", c_uint32),
        ("data_size_out", c_uint32),
        ("ctx_in", c_void_p),
        ("ctx_out", c_void_p),
        ("ctx_size_in", c_uint32),
        ("ctx_size_out", c_uint32),
        ("retval", c_uint32),
        ("repeat", c_int),
        ("duration", c_uint32),
        ("flags", c_uint32),
        ("cpu", c_uint32),
        ("batch_size", c_uint32),
    ]


class TcHook(ctypes.Structure):
    """struct bpf_tc_hook."""

    _fields_ = [
        ("sz", c_size_t),
        ("ifindex", c_int),
        ("attach_point", c_int),
        ("parent", c_uint32),
    ]


class TcOpts(ctypes.Structure):
    """struct bpf_tc_opts."""

    _fields_ = [
        ("sz", c_size_t),
        ("prog_fd", c_int),
        ("flags", c_uint32),
        ("prog_id", c_uint32),
        ("handle", c_uint32),
        ("priority", c_uint32),
    ]


class MapInfo(ctypes.Structure):
    """The head of struct bpf_map_info."""

    _fields_ = [
        ("type", c_uint32),
        ("id", c_uint32),
        ("key_size", c_uint32),
        ("value_size", c_uint32),
        ("max_entries", c_uint32),
        ("map_flags", c_uint32),
        ("name", ctypes.c_char * 16),
    ]


class ProgramInfo(ctypes.Structure):
    """The head of struct bpf_prog_info, up to the name."""

    _fields_ = [
        ("type", c_uint32),
        ("id", c_uint32),
        ("tag", ctypes.c_uint8 * 8),
        ("jited_len", c_uint32),
        ("xlated_len", c_uint32),
        ("jited", c_uint64),
        ("xlated", c_uint64),
        ("load_time", c_uint64),
        ("created_by_uid", c_uint32),
        ("nr_map_ids", c_uint32),
        ("map_ids", c_uint64),
        ("name", ctypes.c_char * 16),
    ]


class LinkInfo(ctypes.Structure):
    """The head of struct bpf_link_info, its union read as XDP's and tcx's member."""

    _fields_ = [
        ("type", c_uint32),
        ("id", c_uint32),
        ("prog_id", c_uint32),
        ("reserved", c_uint32),
        ("ifindex", c_uint32),
        ("attach_type", c_uint32),
    ]


def sized(options: Any) -> Any:
    """Fill in an option struct's size, as libbpf's LIBBPF_OPTS does."""
    options.sz = ctypes.sizeof(options)
    return options


_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "bpf_object__open_mem": (c_void_p, [c_void_p, c_size_t, c_void_p]),
    "bpf_object__load": (c_int, [c_void_p]),
    "bpf_object__close": (None, [c_void_p]),
    "bpf_object__find_map_by_name": (c_void_p, [c_void_p, c_char_p]),
    "bpf_object__find_program_by_name": (c_void_p, [c_void_p, c_char_p]),
    "bpf_map__fd": (c_int, [c_void_p]),
    "bpf_map__reuse_fd": (c_int, [c_void_p, c_int]),
    "bpf_map__set_max_entries": (c_int, [c_void_p, c_uint32]),
    "bpf_program__fd": (c_int, [c_void_p]),
    "bpf_program__set_log_buf": (c_int, [c_void_p, c_void_p, c_size_t]),
    "bpf_map_update_elem": (c_int, [c_int, c_void_p, c_void_p, c_uint64]),
    "bpf_map_lookup_elem": (c_int, [c_int, c_void_p, c_void_p]),
    "bpf_map_delete_elem": (c_int, [c_int, c_void_p]),
    "bpf_map_get_next_key": (c_int, [c_int, c_void_p, c_void_p]),
    "bpf_map_update_batch": (c_int, [c_int, c_void_p, c_void_p, POINTER(c_uint32), c_void_p]),
    "bpf_map_delete_batch": (c_int, [c_int, c_void_p, POINTER(c_uint32), c_void_p]),
    "bpf_map_lookup_batch": (
        c_int,
        [c_int, c_void_p, c_void_p, c_void_p, c_void_p, POINTER(c_uint32), c_void_p],
    ),
    "bpf_obj_pin": (c_int, [c_int, c_char_p]),
    "bpf_obj_get": (c_int, [c_char_p]),
    "bpf_obj_get_info_by_fd": (c_int, [c_int, c_void_p, POINTER(c_uint32)]),
    "bpf_prog_test_run_opts": (c_int, [c_int, c_void_p]),
    "bpf_prog_query": (c_int, [c_int, c_int, c_uint32, c_void_p, c_void_p, POINTER(c_uint32)]),
    "bpf_link_create": (c_int, [c_int, c_int, c_int, c_void_p]),
    "bpf_link_update": (c_int, [c_int, c_int, c_void_p]),
    "bpf_link_detach": (c_int, [c_int]),
    "bpf_tc_hook_create": (c_int, [c_void_p]),
    "bpf_tc_attach": (c_int, [c_void_p, c_void_p]),
    "bpf_tc_detach": (c_int, [c_void_p, c_void_p]),
    "bpf_tc_query": (c_int, [c_void_p, c_void_p]),
    "libbpf_num_possible_cpus": (c_int, []),
    "ring_buffer__new": (c_void_p, [c_int, SAMPLE, c_void_p, c_void_p]),
    "ring_buffer__epoll_fd": (c_int, [c_void_p]),
    "ring_buffer__consume": (c_int, [c_void_p]),
    "ring_buffer__free": (None, [c_void_p]),
}


@functools.cache
def library() -> Any:
    """The library, opened once."""
    return open_library(LIBRARY)


def open_library(name: str) -> Any:
    """A libbpf with its signatures; raises BpfError naming the package to install."""
    try:
        loaded = ctypes.CDLL(name, use_errno=True)
    except OSError as error:
        remedy = f"install libbpf1 (apt-get install libbpf1); {error}"
        raise errors.BpfError(errno.ENOENT, name, remedy) from None
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, arguments
    loaded.libbpf_set_print(_printer)
    return loaded


def _formatter() -> Callable[..., int]:
    function = ctypes.CDLL(None).vsnprintf
    function.argtypes = [c_void_p, c_size_t, c_char_p, c_void_p]
    return function


_vsnprintf = _formatter()


def _print(level: int, form: bytes, arguments: int) -> int:
    """libbpf's print function: keep warnings (0) for collecting(), drop the rest."""
    lines: list[str] | None = getattr(_collected, "lines", None)
    if level == 0 and lines is not None:
        text = ctypes.create_string_buffer(_MESSAGE_BYTES)
        _vsnprintf(text, _MESSAGE_BYTES, form, arguments)
        lines.append(text.value.decode(errors="replace").strip().removeprefix("libbpf: "))
    return 0


_printer = _PRINT(_print)  # libbpf keeps it: it must live as long as the process


@contextmanager
def collecting() -> Iterator[list[str]]:
    """Collect the warnings that libbpf utters in this thread."""
    _collected.lines = lines = list[str]()
    try:
        yield lines
    finally:
        _collected.lines = None


def check(result: int, about: str, remedy: str = "") -> int:
    """Pass on a result of libbpf that is not negative; raise BpfError for one that is."""
    if result < 0:
        raise errors.BpfError(-result, about, remedy)
    return result


def info(fd: int, into: Any, about: str) -> Any:
    """Fill in a *Info struct from what the kernel says about fd."""
    size = c_uint32(ctypes.sizeof(into))
    check(library().bpf_obj_get_info_by_fd(fd, ctypes.byref(into), ctypes.byref(size)), about)
    return into


@functools.cache
def possible_cpus() -> int:
    """How many slots a per-CPU map's value has."""
    return check(library().libbpf_num_possible_cpus(), "number of possible CPUs")
