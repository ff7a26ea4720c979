"""The compiled programs beside the reference model: the same tables, the same packet, one verdict.

A `Kernel` holds the programs in a namespace of their own, runs one packet by test_run and reads
back everything that the model has an opinion on; `differences` says where the two part.
"""

import contextlib
import ctypes
import os
import select
import socket
import struct
import subprocess
from collections.abc import Iterator
from typing import Any, NamedTuple

import backplane
import wire

from mizar.bpf import libbpf, maps, objects, programs
from mizar.datapath import namespaces
from mizar.datapath.reference import outcome as model
from mizar.datapath.reference import run as reference
from mizar.datapath.reference import tables as rows
from mizar.datapath.reference.constants import MARK_ASK, MARK_LOOKUP

KNOWN = {"192.0.2.2": "02:00:00:00:01:02", "192.0.2.3": "02:00:00:00:01:03"}
"""Neighbours on the uplink; others there have no MAC yet."""

ELSEWHERE = "198.51.100.7"
"""A host that the kernel reaches by another interface than the uplink."""

PORTS = ("lo", "port2", "port3")
NO_CONFIG = (bytes(16), bytes(6), 0, 0, 0, 0, 0, 0, 0)
SO_RCVMARK, SO_MARK = 75, 36
LEAST = {0x0800: 34, 0x86DD: 54}  # bytes of a frame that test_run takes; others: 15
CLONE_WAIT_MS = 2000
SMALL = {"switch_endpoints": 1024, "locations": 1024, "error_budgets": 1024, "drops": 1024}
WRITTEN = ("locations", "error_budgets", "drops")
CACHES = ("next_hops", "accepted_sources")
TC_CODES = {
    model.Way.NOWHERE: programs.TC_SHOT,
    model.Way.STACK: programs.TC_UNSPEC,
    model.Way.UNDERLAY: programs.TC_REDIRECT,
    model.Way.INTERFACE: programs.TC_REDIRECT,
}
XDP_CODES = {
    model.Way.NOWHERE: programs.XDP_DROP,
    model.Way.STACK: programs.XDP_PASS,
    model.Way.TCX: programs.XDP_PASS,
    model.Way.UNDERLAY: programs.XDP_TX,
}


class Case(NamedTuple):
    """One packet in one program, and the tables before it."""

    program: str
    tables: rows.Tables
    packet: bytes
    context: model.Context


class Event(NamedTuple):
    """A traced packet left a program, for the host `next`; zero: none."""

    trace: int
    program: int
    reason: str
    vni: int
    ifindex: int
    next: bytes


class Seen(NamedTuple):
    """What came of a packet, as both sides are compared.

    `counted` are (reason, packets, bytes), `events` reports of traced packets, `written` the rows
    of WRITTEN.
    """

    counted: tuple[tuple[str, int, int], ...]
    events: tuple[Event, ...]
    action: int
    packet: bytes
    metadata: bytes
    clones: tuple[model.Clone, ...]
    written: dict[str, dict[Any, Any]]

    @property
    def reasons(self) -> tuple[str, ...]:
        return tuple(reason for reason, _, _ in self.counted)


class Bulk:
    """All of a small map at once, as bytes: a tenth of what decoding each row costs."""

    def __init__(self, table: maps.Map) -> None:
        cpus = libbpf.possible_cpus() if table.spec.type == maps.PERCPU_ARRAY else 1
        self._fd, self._room = table.fd, table.max_entries
        self.key_size, self.value_size = table.spec.key_size, table.spec.value_size * cpus
        self._keys = ctypes.create_string_buffer(self.key_size * self._room)
        self._values = ctypes.create_string_buffer(self.value_size * self._room)
        self._after = ctypes.create_string_buffer(max(self.key_size, 4))

    def read(self) -> tuple[int, bytes, bytes]:
        """(entries, keys, values)"""
        count = ctypes.c_uint32(self._room)
        result = libbpf.library().bpf_map_lookup_batch(
            self._fd, None, self._after, self._keys, self._values, ctypes.byref(count), None
        )
        assert result in (0, -2), result
        size = count.value
        return size, self._keys[: size * self.key_size], self._values[: size * self.value_size]

    def zero(self) -> None:
        """Every value of an array."""
        count = ctypes.c_uint32(self._room)
        keys = b"".join(number.to_bytes(4, "little") for number in range(self._room))
        result = libbpf.library().bpf_map_update_batch(
            self._fd, keys, bytes(len(self._values)), ctypes.byref(count), None
        )
        assert result == 0, result


class Events:
    """Records of a ring buffer, read without an event loop."""

    def __init__(self, source: maps.Map) -> None:
        self.records: list[bytes] = []
        self._sample = libbpf.SAMPLE(self._take)
        self._ring = libbpf.library().ring_buffer__new(source.fd, self._sample, None, None)
        assert self._ring

    def taken(self) -> list[bytes]:
        """What came since last asked."""
        libbpf.library().ring_buffer__consume(self._ring)
        records, self.records = self.records, []
        return records

    def close(self) -> None:
        libbpf.library().ring_buffer__free(self._ring)

    def _take(self, context: int, data: int, size: int) -> int:
        self.records.append(ctypes.string_at(data, size))
        return 0


class Kernel:
    """The loaded programs, and interfaces and neighbours for them."""

    def __init__(self, loaded: objects.Collection, types: Any, uplink: int, tap: Any) -> None:
        self.uplink = uplink
        self.ports = [socket.if_nametoindex(name) for name in PORTS]
        self._maps, self._programs, self._tap = loaded.maps, loaded.programs, tap
        self._names = {
            number: name.removeprefix("REASON_") for name, number in types.enum("reason").items()
        }
        self._counters = Bulk(self._maps["counters"])
        self._written = {name: Bulk(self._maps[name]) for name in WRITTEN}
        self._caches = [Bulk(self._maps[name]) for name in CACHES]
        self._counted = self._counters.read()[2]
        self._event = types.struct("trace_event")
        self.events = Events(self._maps["events"])
        own = backplane.mac(wire.hardware_address("uplink"))
        self.next_hops = {
            rows.address(text): backplane.mac(mac) + own for text, mac in KNOWN.items()
        }

    # ---- tables in ----

    def install(self, tables: rows.Tables, now: int) -> None:
        """Exactly these rows, empty caches, and the clock."""
        for name, wanted in map_rows(tables).items():
            table = self._maps[name]
            table.delete_batch(list(table.keys()))
            table.update_batch(list(wanted), list(wanted.values()))
        self._maps["drops"].delete_batch(list(self._maps["drops"].keys()))
        for cache in self._caches:
            cache.zero()
        self.set_clock(tables, now)

    def set_clock(self, tables: rows.Tables, now: int) -> None:
        config = (*tables.host_config, 0) if tables.host_config else NO_CONFIG
        self._maps["host_config"].update(0, (*config, now))

    # ---- a packet through ----

    def run(self, case: Case) -> Seen:
        context = case.context
        if case.program == "uplink_xdp":
            given: Any = programs.XdpContext(ingress_ifindex=self.uplink)
        else:
            given = programs.SkContext(
                mark=context.mark, ifindex=context.ifindex, gso_size=context.gso_size
            )
        result = self._programs[case.program].test_run(case.packet, ctx=given)
        meta = result.ctx.meta if case.program == "uplink_xdp" else b""
        if case.program != "uplink_xdp" and result.retval == programs.TC_REDIRECT:
            assert result.ctx.mark not in MARKS, "what leaves would be taken for a clone"
        return Seen(
            counted=self._newly_counted(),
            events=tuple(map(self._reported, self.events.taken())),
            action=result.retval,
            packet=result.packet,
            metadata=meta,
            clones=self._clones(),
            written=self.written(),
        )

    def _reported(self, record: bytes) -> Event:
        event = self._event.unpack(record)
        reason = self._names[event.reason]
        return Event(event.trace, event.program, reason, event.vni, event.ifindex, event.next)

    def written(self) -> dict[str, dict[Any, Any]]:
        """The rows that programs write, by table; of drops the packets alone."""
        found = {}
        for name, bulk in self._written.items():
            spec = self._maps[name].spec
            size, keys, values = bulk.read()
            assert spec.key
            assert spec.value
            pairs = (
                zip(spec.key.decode_many(keys), spec.value.decode_many(values), strict=True)
                if size
                else ()
            )
            found[name] = {plain(key): tuple(value) for key, value in pairs}
        found["drops"] = {key: value[0] for key, value in found["drops"].items()}
        return found

    def _newly_counted(self) -> tuple[tuple[str, int, int], ...]:
        """What the counters counted since last asked."""
        before, now = self._counted, self._counters.read()[2]
        self._counted = now
        size = self._counters.value_size
        form = f"={size // 8}Q"
        found = []
        for at in range(0, len(now), size):
            if now[at : at + size] != before[at : at + size]:
                old, new = struct.unpack_from(form, before, at), struct.unpack_from(form, now, at)
                packets, octets = (sum(new[i::2]) - sum(old[i::2]) for i in (0, 1))
                found.append((self._names[at // size], packets, octets))
        return tuple(found)

    def _clones(self) -> tuple[model.Clone, ...]:
        """What has come back to the ingress of an interface with a mark of ours."""
        found = []
        while True:
            try:
                packet, extra, _, _ = self._tap.recvmsg(65536, 64, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return tuple(found)
            for level, kind, data in extra:
                mark = int.from_bytes(data[:4], "little")
                if (level, kind) == (socket.SOL_SOCKET, SO_MARK) and mark in MARKS:
                    found.append(model.Clone(mark, packet))

    def late_clones(self, wanted: int) -> tuple[model.Clone, ...]:
        """Clones that weren't there at once: they come by a queue."""
        found: tuple[model.Clone, ...] = ()
        while len(found) < wanted and select.select([self._tap], [], [], CLONE_WAIT_MS / 1000)[0]:
            found += self._clones()
        return found


PROGRAMS = {"endpoint": 1, "uplink_xdp": 2, "uplink_tcx": 3}
UNDERLAY = model.Way.UNDERLAY
MARKS = (MARK_LOOKUP, MARK_ASK)


def plain(key: Any) -> Any:
    return tuple(key) if isinstance(key, tuple) else key


def map_rows(tables: rows.Tables) -> dict[str, dict[Any, Any]]:
    """Rows of the model as rows of the maps."""
    return {
        "ports": {
            ifindex: (*port[:4], 0, *port.ipv4, *port.ipv6)
            for ifindex, port in tables.ports.items()
        },
        "local": {key: tuple(row) for key, row in tables.local.items()},
        "moved": {key: tuple(row) for key, row in tables.moved.items()},
        "switch_endpoints": {key: tuple(row) for key, row in tables.switch_endpoints.items()},
        "locations": {key: tuple(row) for key, row in tables.locations.items()},
        "routes": {key: transit_set(row) for key, row in tables.routes.items()},
        "router_networks": {key: transit_set(row) for key, row in tables.router_networks.items()},
        "switch_networks": {key: (row,) for key, row in tables.switch_networks.items()},
        "underlay_prefixes": dict.fromkeys(tables.underlay_prefixes, 1),
        "silent_holders": {(key,): until for key, until in tables.silent_holders.items()},
        "error_budgets": {key: tuple(row) for key, row in tables.error_budgets.items()},
        "trace_filters": {
            ifindex: (row.trace, row.protocol, bytes(3), *row[2:4], 0, *row[4:])
            for ifindex, row in tables.trace_filters.items()
        },
    }


def transit_set(row: rows.TransitSet) -> tuple[int, int, int, bytes]:
    return row.kind, len(row.holders), row.network, b"".join(row.holders).ljust(128, b"\0")


# ---- beside each other ----


def verdict(case: Case) -> model.Outcome:
    """What the model says, but for GSO packets, which test_run gives no type: the kernel refuses
    to put those into a tunnel, and to take them out of one."""
    said = reference.run(case.program, case.tables, case.packet, case.context)
    to_tunnel = case.program == "endpoint" and case.context.mark not in MARKS
    if case.context.gso_size and to_tunnel and said.end.way is UNDERLAY:
        return refused(case, said, "ENCAPSULATION_FAILED", said.locations)
    if case.context.gso_size and said.reason == "DELIVERED":
        return refused(case, said, "DECAPSULATION_FAILED", {})
    return said


def refused(case: Case, said: model.Outcome, reason: str, locations: Any) -> model.Outcome:
    return said._replace(
        clones=(),
        end=model.End(reason),
        locations=locations,
        drop=model.DropKey(said.ifindex, said.vni, reason),
    )


def expected(case: Case, drops: dict[Any, int]) -> tuple[Seen, model.Outcome]:
    """What the model says, in the terms of `Seen`; `drops` as counted so far."""
    said = verdict(case)
    after = rows.Tables(
        locations=dict(case.tables.locations), error_budgets=dict(case.tables.error_budgets)
    )
    reference.apply(after, said)
    counted = dict(drops)
    if said.drop:
        key = said.drop
        number = NUMBERS[key.reason]
        counted[key.ifindex, key.vni, number] = counted.get((*key[:2], number), 0) + 1
    written: dict[str, dict[Any, Any]] = {
        "locations": {key: tuple(row) for key, row in after.locations.items()},
        "error_budgets": {key: tuple(row) for key, row in after.error_budgets.items()},
        "drops": counted,
    }
    codes = XDP_CODES if case.program == "uplink_xdp" else TC_CODES
    end = said.end
    number = PROGRAMS[case.program]
    event = Event(said.trace, number, end.reason, said.vni, case.context.ifindex, end.to)
    seen = Seen(
        counted=((end.reason, 1, len(case.packet)),),
        events=(event,) if said.trace else (),
        action=codes[end.way],
        packet=end.packet,
        metadata=end.metadata,
        clones=said.clones,
        written=written,
    )
    return seen, said


NUMBERS = {reason.name: number for number, reason in enumerate(reference.REASONS)}


def compared(kernel: Kernel, case: Case, drops: dict[Any, int]) -> tuple[list[str], model.Outcome]:
    """Runs both; where they part, in words."""
    want, said = expected(case, drops)
    seen = kernel.run(case)
    if len(seen.clones) < len(want.clones):
        late = kernel.late_clones(len(want.clones) - len(seen.clones))
        seen = seen._replace(clones=seen.clones + late)
    return list(differences(seen, want, said.end, case.program)), said


def differences(seen: Seen, want: Seen, end: model.End, program: str) -> Iterator[str]:
    if seen.reasons != want.reasons:
        yield f"reasons: program {seen.reasons}, model {want.reasons}"
    for name in ("counted", "events", "action", "metadata"):
        if getattr(seen, name) != getattr(want, name):
            yield f"{name}: program {getattr(seen, name)!r}, model {getattr(want, name)!r}"
    # What goes nowhere may have been rewritten on the way; MACs of tc's are the kernel's.
    kernels = 12 if end.way is model.Way.UNDERLAY and program != "uplink_xdp" else 0
    if end.way is not model.Way.NOWHERE and seen.packet[kernels:] != want.packet[kernels:]:
        yield f"packet:\n  program {seen.packet.hex()}\n  model   {want.packet.hex()}"
    if seen.clones != want.clones:
        yield f"clones: program {clones(seen)}, model {clones(want)}"
    for name in WRITTEN:
        ours, theirs = want.written[name], seen.written[name]
        for key in ours.keys() | theirs.keys():
            if ours.get(key) != theirs.get(key):
                yield f"{name} {key}: program {theirs.get(key)}, model {ours.get(key)}"


def clones(seen: Seen) -> list[tuple[str, str]]:
    return [(hex(clone.mark), clone.packet.hex()) for clone in seen.clones]


def runs(case: Case) -> bool:
    """Whether test_run takes such a packet at all: the kernel's own stack would have dropped it."""
    if case.program == "uplink_xdp":
        return len(case.packet) >= 14
    ethertype = int.from_bytes(case.packet[12:14], "big")
    return len(case.packet) >= LEAST.get(ethertype, 15)


# ---- the least of what fails ----


def fails(kernel: Kernel, case: Case, like: str = "") -> list[str]:
    """The differences of a case alone, from fresh tables; none when the first begins otherwise."""
    kernel.install(case.tables, case.context.now)
    found = compared(kernel, case, {})[0]
    return found if found and found[0].startswith(like) else []


def reduced(kernel: Kernel, case: Case, like: str) -> Case:
    """Without the rows and bytes that such a difference doesn't need."""
    for name in map_rows(case.tables):
        column = getattr(case.tables, name)
        for key in list(column):
            if isinstance(column, dict):
                fewer: Any = {k: v for k, v in getattr(case.tables, name).items() if k != key}
            else:
                fewer = getattr(case.tables, name) - {key}
            smaller = case._replace(tables=with_column(case.tables, name, fewer))
            if fails(kernel, smaller, like):
                case = smaller
    for step in (256, 64, 16, 4, 1):
        while runs(shorter := case._replace(packet=case.packet[:-step])):
            if not fails(kernel, shorter, like):
                break
            case = shorter
    return case


def with_column(tables: rows.Tables, name: str, column: Any) -> rows.Tables:
    return rows.Tables(**{**vars(tables), name: column})


def told(kernel: Kernel, case: Case, found: list[str]) -> str:
    """A failure as text: what differs, and all that is needed to see it again."""
    like = found[0] if found[0].startswith("reasons") else found[0].partition(":")[0]
    small = reduced(kernel, case, like) if fails(kernel, case, like) else case
    columns = {name: column for name, column in vars(small.tables).items() if column}
    lines = fails(kernel, small) or found
    return "\n".join(
        [
            *lines,
            f"program: {small.program}",
            f"packet: {small.packet.hex()}",
            f"context: {small.context._replace(next_hops={})}",
            *(f"{name}: {column}" for name, column in columns.items()),
        ]
    )


# ---- set up ----


@contextlib.contextmanager
def loaded_kernel() -> Iterator[Kernel]:
    """The built programs in a namespace, which this thread is in meanwhile."""
    specs = backplane.built("endpoint", "uplink")
    with (
        objects.load(specs, max_entries=SMALL) as loaded,
        backplane.namespace() as (netns, uplink),
        namespaces.inside(netns),
    ):
        _furnish()
        tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        tap.setsockopt(socket.SOL_SOCKET, SO_RCVMARK, 1)
        tap.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        with tap:
            kernel = Kernel(loaded, specs[1].types, uplink, tap)
            yield kernel
            kernel.events.close()


def _furnish() -> None:
    """Interfaces for ports, the known neighbours, and a host that isn't behind the uplink."""
    commands = ["sysctl -qw net.ipv6.conf.all.disable_ipv6=1"]
    for name in PORTS[1:]:
        commands += [
            f"ip link add {name} type veth peer name {name}-far",
            f"ip link set {name} up",
            f"ip link set {name}-far up",
        ]
    commands += [
        f"ip neighbour replace {address} lladdr {mac} dev uplink nud permanent"
        for address, mac in KNOWN.items()
    ]
    commands += [
        f"ip route add {ELSEWHERE}/32 dev port2",
        f"ip neighbour add {ELSEWHERE} lladdr 02:00:00:00:01:07 dev port2 nud permanent",
    ]
    for command in commands:
        subprocess.run(command.split(), check=True, capture_output=True)


@contextlib.contextmanager
def one_cpu() -> Iterator[None]:
    """Keeps this process on one CPU: the programs' caches are per CPU."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
