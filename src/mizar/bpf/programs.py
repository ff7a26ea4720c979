"""Loaded BPF programs, and running one on a packet by BPF_PROG_TEST_RUN.

Source of the contexts' rules: the kernel's net/bpf/test_run.c and Documentation/bpf/
bpf_prog_run.rst.
"""

import ctypes
from pathlib import Path
from typing import Any, NamedTuple

from mizar.bpf import handles, libbpf

SCHED_CLS, XDP, TRACING = 3, 6, 26
XDP_ABORTED, XDP_DROP, XDP_PASS, XDP_TX, XDP_REDIRECT = range(5)
TC_OK, TC_SHOT, TC_STOLEN, TC_REDIRECT, TC_UNSPEC = 0, 2, 4, 7, -1
LIVE_BATCH_MAX = 256
_LIVE_FRAMES = 2
_GROWTH = 1024  # bytes by which a packet may have grown when it comes back


class SkContext(NamedTuple):
    """What test_run may set in struct __sk_buff, and what it looks like afterwards."""

    mark: int = 0
    priority: int = 0
    ingress_ifindex: int = 0
    ifindex: int = 0
    cb: tuple[int, int, int, int, int] = (0, 0, 0, 0, 0)
    tstamp: int = 0
    wire_len: int = 0
    gso_segs: int = 0
    gso_size: int = 0


class XdpContext(NamedTuple):
    """What test_run may set in struct xdp_md; meta is the metadata in front of the packet."""

    meta: bytes = b""
    ingress_ifindex: int = 0
    rx_queue_index: int = 0


class Result(NamedTuple):
    """A test run's outcome: verdict, packet and context afterwards, ns for one repetition."""

    retval: int
    packet: bytes
    ctx: Any
    duration_ns: int


class _SkBuff(ctypes.Structure):
    """struct __sk_buff (linux/bpf.h)."""

    _fields_ = [
        *(
            (name, ctypes.c_uint32)
            for name in (
                "len",
                "pkt_type",
                "mark",
                "queue_mapping",
                "protocol",
                "vlan_present",
                "vlan_tci",
                "vlan_proto",
                "priority",
                "ingress_ifindex",
                "ifindex",
                "tc_index",
            )
        ),
        ("cb", ctypes.c_uint32 * 5),
        *(
            (name, ctypes.c_uint32)
            for name in (
                "hash",
                "tc_classid",
                "data",
                "data_end",
                "napi_id",
                "family",
                "remote_ip4",
                "local_ip4",
            )
        ),
        ("remote_ip6", ctypes.c_uint32 * 4),
        ("local_ip6", ctypes.c_uint32 * 4),
        ("remote_port", ctypes.c_uint32),
        ("local_port", ctypes.c_uint32),
        ("data_meta", ctypes.c_uint32),
        ("flow_keys", ctypes.c_uint64),
        ("tstamp", ctypes.c_uint64),
        ("wire_len", ctypes.c_uint32),
        ("gso_segs", ctypes.c_uint32),
        ("sk", ctypes.c_uint64),
        ("gso_size", ctypes.c_uint32),
        ("tstamp_type", ctypes.c_uint8),
        ("padding", ctypes.c_uint8 * 3),
        ("hwtstamp", ctypes.c_uint64),
    ]


class _XdpMd(ctypes.Structure):
    """struct xdp_md (linux/bpf.h)."""

    _fields_ = [
        (name, ctypes.c_uint32)
        for name in (
            "data",
            "data_end",
            "data_meta",
            "ingress_ifindex",
            "rx_queue_index",
            "egress_ifindex",
        )
    ]


class Program(handles.Handle):
    """One verified program of the kernel."""

    def __init__(self, fd: int, name: str, type: int) -> None:
        super().__init__(fd, name)
        self.type = type

    @property
    def id(self) -> int:
        """The kernel's id of the program, as links name it."""
        return int(libbpf.info(self.fd, libbpf.ProgramInfo(), f"program {self.name}").id)

    def test_run(
        self,
        packet: bytes,
        ctx: SkContext | XdpContext | None = None,
        repeat: int = 1,
        live_frames: bool = False,
        batch_size: int = 0,
    ) -> Result:
        """Run on a packet (Ethernet header first) without a wire.

        repeat doesn't restore the packet between runs. live_frames (XDP only) really sends what
        the program transmits or redirects, in batches of at most LIVE_BATCH_MAX (0: 64), and
        gives no packet back; what it transmits comes back out of ctx.ingress_ifindex, an interface
        of this thread's namespace with XDP. Raises BpfError.
        """
        if self.type == XDP:
            meta, *rest = ctx if isinstance(ctx, XdpContext) else XdpContext()
            return self._run_xdp(meta, packet, rest, repeat, live_frames, batch_size)
        context = ctx if isinstance(ctx, SkContext) else SkContext()
        return self._run_skb(packet, context, repeat)

    def _run_skb(self, packet: bytes, ctx: SkContext, repeat: int) -> Result:
        given = _SkBuff()
        for name, value in ctx._asdict().items():
            setattr(given, name, (ctypes.c_uint32 * 5)(*value) if name == "cb" else value)
        run, out, seen = self._run(packet, given, repeat=repeat)
        values = {name: getattr(seen, name) for name in SkContext._fields}
        after = SkContext(**{**values, "cb": tuple(seen.cb)})
        verdict = ctypes.c_int32(run.retval).value
        return Result(verdict, out[: run.data_size_out], after, run.duration)

    def _run_xdp(
        self,
        meta: bytes,
        packet: bytes,
        rest: list[Any],
        repeat: int,
        live: bool,
        batch_size: int,
    ) -> Result:
        content = meta + packet
        given = _XdpMd(len(meta), len(content), 0, *rest)
        run, out, seen = self._run(content, given, repeat=repeat, live=live, batch_size=batch_size)
        if live:
            return Result(run.retval, b"", None, run.duration)
        after = XdpContext(
            out[seen.data_meta : seen.data], seen.ingress_ifindex, seen.rx_queue_index
        )
        return Result(run.retval, out[seen.data : run.data_size_out], after, run.duration)

    def _run(
        self,
        content: bytes,
        given: Any,
        repeat: int,
        live: bool = False,
        batch_size: int = 0,
    ) -> tuple[libbpf.TestRunOpts, Any, Any]:
        size = ctypes.sizeof(given)
        seen, out = type(given)(), ctypes.create_string_buffer(len(content) + _GROWTH)
        run = libbpf.sized(
            libbpf.TestRunOpts(
                data_in=content,
                data_size_in=len(content),
                ctx_in=ctypes.addressof(given),
                ctx_size_in=size,
                repeat=repeat,
                flags=_LIVE_FRAMES if live else 0,
                batch_size=batch_size,
            )
        )
        if not live:
            run.data_out, run.data_size_out = ctypes.addressof(out), len(out)
            run.ctx_out, run.ctx_size_out = ctypes.addressof(seen), size
        result = libbpf.library().bpf_prog_test_run_opts(self.fd, ctypes.byref(run))
        libbpf.check(result, f"test run of program {self.name}")
        return run, out, seen


def open(path: Path | str) -> Program:
    """A pinned program; BpfError with errno ENOENT if it isn't there."""
    fd = handles.get(path, "bpf-prog")
    info: libbpf.ProgramInfo = libbpf.info(fd, libbpf.ProgramInfo(), f"program at {path}")
    return Program(fd, info.name.decode(), info.type)
