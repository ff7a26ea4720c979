"""The data path of one host: opened where it runs, loaded where it doesn't, upgraded in place.

The maps are the truth of what runs. A new build of the programs takes over the
maps whose layout is the same and switches every attachment atomically; where a
layout differs (or a pin is missing or damaged) there are new maps, which must be
filled before the switch: `Datapath.pending` is True until `settle`. Caches start empty.

The table of transit switches costs 16 MiB for its buckets alone, so it has room for one
row until the host holds a transit switch; `Datapath.make_room` then switches a full one in,
likewise. A host that loses the role keeps the room, until its pins are removed.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from mizar.bpf import btf, errors, maps, objects, programs
from mizar.bpf import pins as bpffs
from mizar.datapath import attachments, losses, namespaces, pins, tables

OBJECTS = ("endpoint", "uplink")
LOOPBACK_FORWARDING = Path("/proc/sys/net/ipv4/conf/lo/forwarding")
SWITCH_TABLES = ("switch_networks", "switch_endpoints")
"""The tables of transit switches; the last one is made small where there are none."""

LARGE = "switch_endpoints"
PROGRAMS = (attachments.ENDPOINT, attachments.UPLINK_TCX, attachments.UPLINK_XDP)


class Datapath:
    """Maps, programs and attachments of this host, in the caller's network namespace."""

    def __init__(
        self,
        pinned: pins.Pins,
        version: str,
        types: btf.Types,
        opened: dict[str, maps.Map],
        loaded: dict[str, programs.Program],
        fresh: frozenset[str],
        tcx: bool,
    ) -> None:
        self.pins = pinned
        self.types = types
        self.maps = opened
        self.attachments = attachments.Attachments(pinned, loaded, tcx)
        self.pending = bool(fresh.intersection(tables.MAPS)) and self.attachments.any()
        self.attachments.hold = self.pending
        self._version = version
        self._programs = loaded
        self._fresh = fresh

    def configure(self, address: str, ifindex: int, mtu: int) -> None:
        """Writes the host's own row. ``mtu``: bytes of an IP packet on the uplink.

        Tables that are new and in force hold nothing yet: they count as incomplete.
        """
        if self._fresh.intersection(tables.MAPS) and not self.pending:
            self._configure(tables_complete=0)
        self._configure(
            host=tables.address_bytes(address),
            router_mac=tables.ROUTER_MAC,
            endpoint_mtu=mtu - tables.TUNNEL_OVERHEAD,
            uplink_ifindex=ifindex,
            underlay_mtu=mtu,
            netns=namespaces.own_number(),
        )

    def trace(self, on: bool) -> None:
        """Lets the endpoint program look at ``trace_filters``, or not."""
        self._configure(tracing=int(on))

    def complete(self) -> None:
        """Says, in answers to PROBEs too, that the tables hold a whole snapshot."""
        self._configure(tables_complete=1)

    def make_room(self, name: str) -> None:
        """Gives a table that is to be written its full size, if it hasn't that.

        The rows are copied and the programs loaded anew; what runs goes on until all is
        switched at once. Raises `mizar.bpf.errors.BpfError`, and then nothing has changed.
        """
        small = self.maps[LARGE]
        if name not in SWITCH_TABLES or small.max_entries == small.spec.max_entries:
            return
        kept = {name: table for name, table in self.maps.items() if name != LARGE}
        new = objects.load(_specs(), reuse=kept)
        rows = [*small.items()]
        new.maps[LARGE].update_batch([key for key, _ in rows], [value for _, value in rows])
        outdated = (small, *self._programs.values())
        self.maps[LARGE] = new.maps[LARGE]
        self._programs = new.programs
        self.attachments.use(new.programs)
        self._fresh |= {LARGE}
        if not self.pending:
            self.settle()
        for handle in outdated:
            handle.close()

    def settle(self) -> None:
        """Makes this build the one that runs: pins it, and replaces the programs everywhere."""
        if self._fresh or not _open_programs(self.pins, self._version):
            self._pin()
        self.attachments.refresh()
        losses.watch(self.pins, self.maps)
        self.pending = False
        self._fresh = frozenset()

    def attach_uplink(self, ifindex: int, mode: str) -> None:
        """Attaches delivery, then (mode ``xdp``) the stripping XDP program, never the reverse.

        Raises `mizar.bpf.errors.BpfError`.
        """
        if not self.attachments.delivery_current(ifindex):
            self._configure(delivery_attached=0)
        self.attachments.delivery(ifindex)
        self._configure(delivery_attached=1)
        if mode == "xdp":
            _allow_next_hops()
            self.attachments.strip(ifindex)
        else:
            self.attachments.no_strip()

    def close(self) -> None:
        """Gives up the handles; what is pinned goes on."""
        for handle in (*self.maps.values(), *self._programs.values()):
            handle.close()

    def _configure(self, **fields: object) -> None:
        row: Any = self.maps["host_config"].lookup(0)
        if row != row._replace(**fields):
            self.maps["host_config"].update(0, row._replace(**fields))

    def _pin(self) -> None:
        # Programs last: without them the next start loads anew over whatever maps are pinned.
        pins.remove(self.pins.programs)
        self.pins.programs.mkdir(mode=0o700)
        for name in self._fresh:
            pins.remove(self.pins.maps / name)
            self.maps[name].pin(self.pins.maps / name)
            self.pins.record_layout(name, _fingerprint(self.maps[name].spec))
        with bpffs.replaced(self.pins.programs) as directory:
            (directory / self._version).mkdir(mode=0o700)
            for name, program in self._programs.items():
                program.pin(directory / self._version / name)


def prepare(root: Path, tcx: bool) -> Datapath:
    """Opens or loads the data path pinned under ``root``; nothing is attached or replaced yet.

    Raises `pins.PinError` or `mizar.bpf.errors.BpfError`.
    """
    pinned = pins.Pins(root)
    pinned.make()
    specs = _specs()
    types = specs[-1].types
    version = hashlib.sha256(b"".join(spec.content for spec in specs)).hexdigest()[:16]
    kept = _open_maps(pinned, specs)
    fresh = frozenset(name for spec in specs for name in spec.maps if name not in kept)
    running = {} if fresh else _open_programs(pinned, version)
    if running:
        return Datapath(pinned, version, types, kept, running, fresh, tcx)
    new = objects.load(specs, reuse=kept, max_entries={LARGE: 1})
    return Datapath(pinned, version, types, new.maps, new.programs, fresh, tcx)


def _specs() -> list[objects.ObjectSpec]:
    return [objects.shipped(name) for name in OBJECTS]


def _allow_next_hops() -> None:
    """Lets uplink_xdp ask for next hops: it asks as if from loopback, which must forward for that.

    Nothing else is opened by it: no packet to be forwarded arrives there.
    """
    LOOPBACK_FORWARDING.write_text("1")


def detach_all(pinned: pins.Pins) -> None:
    """Detaches everything that is marked in links/."""
    attachments.Attachments(pinned, {}, tcx=True).detach_all()


def _open_maps(pinned: pins.Pins, specs: list[objects.ObjectSpec]) -> dict[str, maps.Map]:
    """The pinned maps that this build can go on using."""
    found: dict[str, maps.Map] = {}
    for spec in (s for each in specs for s in each.maps.values()):
        if spec.name in found or pinned.layout(spec.name) != _fingerprint(spec):
            continue
        try:
            found[spec.name] = maps.open(pinned.maps / spec.name, spec)
        except errors.BpfError:
            continue
    return found


def _open_programs(pinned: pins.Pins, version: str) -> dict[str, programs.Program]:
    """The pinned programs of this build, all of them or none."""
    found: dict[str, programs.Program] = {}
    try:
        for name in PROGRAMS:
            found[name] = programs.open(pinned.programs / version / name)
    except errors.BpfError:
        for program in found.values():
            program.close()
        return {}
    return found


def _fingerprint(spec: maps.MapSpec) -> str:
    """Equal for maps whose rows mean the same bytes: type, size, flags, and every field.

    The size is the full one: how many rows a map was made for is the kernel's to say.
    """
    codecs = [(c.name, c.fields, c.layout) if c else None for c in (spec.key, spec.value)]
    text = repr((spec.type, spec.max_entries, spec.flags, codecs))
    return hashlib.sha256(text.encode()).hexdigest()[:32]
