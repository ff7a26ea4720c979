"""Attaching programs to interfaces: XDP and tcx links, and cls_bpf where the kernel has no tcx.

A link is detached when its last descriptor closes, unless it is pinned. A cls_bpf filter is no
link: it stays until it is detached, so it needs no pin and can't have one.
"""

import contextlib
import ctypes
import enum
import errno
import socket
from pathlib import Path

from mizar.bpf import errors, handles, libbpf, programs

TRACEPOINT_ATTACH, XDP_ATTACH = 23, 37  # enum bpf_attach_type
_NO_IFINDEX = 0x7FFFFFFF
_REPLACE = 1
_PRIORITY = 1
_NO_FILTER = {errno.ENOENT, errno.EINVAL}  # without the filter, without clsact
_HANDLE = 0x4D5A  # 'MZ': other programs' filters at the same priority stay


class Direction(enum.IntEnum):
    """Of packets as the interface sees them; the value is the attach type of tcx."""

    INGRESS = 46
    EGRESS = 47


INGRESS, EGRESS = Direction.INGRESS, Direction.EGRESS


class XdpMode(enum.IntEnum):
    """Where XDP runs: in the driver, or (slow, for tests) in the stack. XDP_FLAGS_*_MODE."""

    NATIVE = 4
    GENERIC = 2


class Link(handles.Handle):
    """A program attached to an interface; update() replaces it with no packet in between."""

    def update(self, program: programs.Program) -> None:
        """Replace the program atomically."""
        result = libbpf.library().bpf_link_update(self.fd, program.fd, None)
        libbpf.check(result, f"{self.name}: replace the program by {program.name}")

    def detach(self) -> None:
        """Detach at once, pinned or not; the descriptor stays to be closed."""
        libbpf.check(libbpf.library().bpf_link_detach(self.fd), f"{self.name}: detach")

    @property
    def ifindex(self) -> int:
        """The interface, 0 once it is gone or the link detached."""
        return int(self._info().ifindex)

    @property
    def program_id(self) -> int:
        """The kernel's id of the program that runs."""
        return int(self._info().prog_id)

    def _info(self) -> libbpf.LinkInfo:
        info: libbpf.LinkInfo = libbpf.info(self.fd, libbpf.LinkInfo(), self.name)
        return info


class Filter:
    """A cls_bpf filter with a Link's methods; it stays attached after close()."""

    fd = -1

    def __init__(self, ifindex: int, direction: Direction) -> None:
        self.ifindex = ifindex
        self.name = f"cls_bpf {direction.name.lower()} of interface {ifindex}"
        self._hook = libbpf.sized(
            libbpf.TcHook(ifindex=ifindex, attach_point=1 if direction is INGRESS else 2)
        )

    def update(self, program: programs.Program) -> None:
        """Replace the program atomically (or attach it)."""
        options = self._options()
        options.prog_fd, options.flags = program.fd, _REPLACE
        with libbpf.collecting() as warnings:
            result = libbpf.library().bpf_tc_attach(ctypes.byref(self._hook), ctypes.byref(options))
        libbpf.check(result, f"{self.name}: attach program {program.name}", " ".join(warnings))

    def detach(self) -> None:
        """Remove the filter if it is there; clsact stays, it may be others' too."""
        with libbpf.collecting():
            result = libbpf.library().bpf_tc_detach(
                ctypes.byref(self._hook), ctypes.byref(self._options())
            )
        if -result not in _NO_FILTER:
            libbpf.check(result, f"{self.name}: detach")

    def pin(self, path: Path | str) -> None:
        """Nothing to do: a filter outlives its process by itself."""

    def close(self) -> None:
        """Nothing to do: no descriptor is held."""

    @property
    def program_id(self) -> int:
        """The kernel's id of the program that runs, 0 if there is none."""
        options = self._options()
        with libbpf.collecting():
            result = libbpf.library().bpf_tc_query(ctypes.byref(self._hook), ctypes.byref(options))
        if -result not in _NO_FILTER:
            libbpf.check(result, f"{self.name}: query")
        return int(options.prog_id)

    def _options(self) -> libbpf.TcOpts:
        options: libbpf.TcOpts = libbpf.sized(libbpf.TcOpts(handle=_HANDLE, priority=_PRIORITY))
        return options


def attach_xdp(
    program: programs.Program,
    ifindex: int,
    mode: XdpMode = XdpMode.NATIVE,
) -> Link:
    """Attach to an interface of this thread's network namespace."""
    name = f"XDP on interface {ifindex}"
    return Link(_create(program, ifindex, XDP_ATTACH, mode, name), name)


def attach_tcx(program: programs.Program, ifindex: int, direction: Direction) -> Link:
    """Attach to an interface of this thread's network namespace, behind those already there."""
    name = f"tcx {direction.name.lower()} of interface {ifindex}"
    return Link(_create(program, ifindex, direction, 0, name), name)


def attach_tracepoint(program: programs.Program) -> Link:
    """Attach to the tracepoint that the program's section names: one for the whole machine."""
    name = f"tracepoint of program {program.name}"
    result = libbpf.library().bpf_link_create(program.fd, 0, TRACEPOINT_ATTACH, None)
    return Link(libbpf.check(result, f"{name}: attach"), name)


def attach_cls(program: programs.Program, ifindex: int, direction: Direction) -> Filter:
    """Attach by clsact and a direct-action filter, replacing Mizar's own filter if there is one."""
    attached = Filter(ifindex, direction)
    hook = libbpf.sized(libbpf.TcHook(ifindex=ifindex, attach_point=3))
    with libbpf.collecting() as warnings:
        result = libbpf.library().bpf_tc_hook_create(ctypes.byref(hook))
    if result != -errno.EEXIST:
        libbpf.check(result, f"clsact on interface {ifindex}", " ".join(warnings))
    attached.update(program)
    return attached


def open(path: Path | str) -> Link:
    """A pinned link; BpfError with errno ENOENT if it isn't there."""
    return Link(handles.get(path, "bpf-link"), f"link {path}")


def tcx_supported() -> bool:
    """Whether the kernel has tcx: asked about an interface that can't be, it names the interface
    as the fault; a kernel without tcx names the attach type."""
    count = ctypes.c_uint32(0)
    result = libbpf.library().bpf_prog_query(
        _NO_IFINDEX, INGRESS, 0, None, None, ctypes.byref(count)
    )
    if result in (-errno.ENODEV, -errno.EINVAL):
        return bool(result == -errno.ENODEV)
    raise errors.BpfError(-result, "probe for tcx", "root or CAP_NET_ADMIN is needed")


def _create(program: programs.Program, ifindex: int, kind: int, flags: int, name: str) -> int:
    options = libbpf.sized(libbpf.LinkCreateOpts(flags=flags))
    result: int = libbpf.library().bpf_link_create(program.fd, ifindex, kind, ctypes.byref(options))
    if result == -errno.EINVAL and not _exists(ifindex):  # so says XDP, where tcx says ENODEV
        result = -errno.ENODEV
    remedy = _REMEDIES.get(-result, "")
    return libbpf.check(result, f"{name}: attach program {program.name}", remedy)


def _exists(ifindex: int) -> bool:
    with contextlib.suppress(OSError):
        return bool(socket.if_indextoname(ifindex))
    return False


_REMEDIES = {
    errno.EBUSY: "another program is attached; see `bpftool net`",
    errno.EOPNOTSUPP: "its driver has no native XDP",
    errno.ENODEV: "no such interface in this network namespace",
}
