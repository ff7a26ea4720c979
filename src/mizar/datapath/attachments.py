"""Programs on interfaces: the uplink's by pinned links, the endpoints' by cls_bpf filters.

Every attachment leaves a mark in links/: a link's pin, or for a filter (which
the kernel keeps by itself) a symlink. What is attached and current is left
alone; an old program is replaced atomically. Why endpoints have filters and not
tcx links: docs/adr/0006-filters-on-endpoints.md. The uplink has one where tcx is missing.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path

from mizar.bpf import errors, libbpf, links, programs
from mizar.datapath import pins

UPLINK_TCX = "uplink_tcx"
UPLINK_XDP = "uplink_xdp"
ENDPOINT = "endpoint"

FILTER_MARK = "cls_bpf"

Attach = Callable[[programs.Program, int], links.Link]


class Attachments:
    """What this host has attached. ``tcx`` False: the uplink has a filter too."""

    def __init__(self, pinned: pins.Pins, loaded: dict[str, programs.Program], tcx: bool) -> None:
        self._pins = pinned
        self._programs = loaded
        self._tcx = tcx
        self.hold = False
        """True: attachments keep the program they have (until `refresh`)."""

    def use(self, loaded: dict[str, programs.Program]) -> None:
        """Attaches these programs from now on; `refresh` replaces what is attached."""
        self._programs = loaded

    def endpoint(self, interface: str, ifindex: int) -> None:
        """Program ``endpoint`` on the host's side of a workload's interface."""
        self._filter(interface, self._programs[ENDPOINT], ifindex)

    def delivery(self, ifindex: int) -> None:
        """Program ``uplink_tcx`` on the uplink."""
        attach = self._tcx_link if self._tcx else self._filter
        attach(UPLINK_TCX, self._programs[UPLINK_TCX], ifindex)

    def delivery_current(self, ifindex: int) -> bool:
        """Whether some ``uplink_tcx`` is attached to this uplink, of whatever version."""
        pin = self._pins.links / UPLINK_TCX
        if pin.is_symlink():
            return _filter_program(ifindex) != 0
        return _linked_to(pin) == ifindex

    def strip(self, ifindex: int) -> None:
        """Program ``uplink_xdp`` on the uplink; only after `delivery`."""
        if self.hold and _linked_to(self._pins.links / UPLINK_XDP) != ifindex:
            return
        self._link(UPLINK_XDP, self._programs[UPLINK_XDP], ifindex, links.attach_xdp)

    def no_strip(self) -> None:
        """No XDP on the uplink."""
        self.detach(UPLINK_XDP)

    def refresh(self) -> None:
        """Replaces the program of every attachment by the current one; gone ones are forgotten."""
        self.hold = False
        for pin in sorted(self._pins.links.iterdir()):
            self._refresh(pin)

    def any(self) -> bool:
        """Whether anything is attached."""
        return any(self._pins.links.iterdir())

    def detach(self, name: str) -> None:
        """Detaches at once, whoever else holds the link."""
        pin = self._pins.links / name
        if pin.is_symlink():
            with contextlib.suppress(OSError):
                links.Filter(_filter_ifindex(pin), links.INGRESS).detach()
        with contextlib.suppress(errors.BpfError), links.open(pin) as link:
            link.detach()
        pins.remove(pin)

    def detach_all(self) -> None:
        """XDP first: it must not strip for a delivery that is gone."""
        self.no_strip()
        for pin in sorted(self._pins.links.iterdir()):
            self.detach(pin.name)

    def forget(self, name: str) -> None:
        """Removes the mark of an interface that is gone."""
        pins.remove(self._pins.links / name)

    def _refresh(self, pin: Path) -> None:
        program = self._programs.get(pin.name, self._programs[ENDPOINT])
        ifindex = _filter_ifindex(pin) if pin.is_symlink() else _linked_to(pin)
        if ifindex == 0:
            pins.remove(pin)
        elif pin.is_symlink():
            links.attach_cls(program, ifindex, links.INGRESS)
        else:
            with links.open(pin) as link:
                link.update(program)

    def _tcx_link(self, name: str, program: programs.Program, ifindex: int) -> None:
        self._link(name, program, ifindex, _attach_tcx)

    def _filter(self, name: str, program: programs.Program, ifindex: int) -> None:
        # Marked first: a crash in between leaves a mark without a filter, never the reverse.
        if _marked(self._pins.links / name) != ifindex:
            self.detach(name)
            (self._pins.links / name).symlink_to(f"{FILTER_MARK}:{ifindex}")
        if self._outdated(_filter_program(ifindex), program):
            links.attach_cls(program, ifindex, links.INGRESS)

    def _link(self, name: str, program: programs.Program, ifindex: int, attach: Attach) -> None:
        pin = self._pins.links / name
        if _linked_to(pin) == ifindex:
            with links.open(pin) as link:
                if self._outdated(link.program_id, program):
                    link.update(program)
            return
        self.detach(name)
        with attach(program, ifindex) as link:
            link.pin(pin)

    def _outdated(self, running: int, program: programs.Program) -> bool:
        return running == 0 or (running != _id(program) and not self.hold)


def _attach_tcx(program: programs.Program, ifindex: int) -> links.Link:
    return links.attach_tcx(program, ifindex, links.INGRESS)


def _linked_to(pin: Path) -> int:
    """The interface of the pinned link; 0 if that is gone, or the pin is none of a link."""
    try:
        with links.open(pin) as link:
            return link.ifindex
    except errors.BpfError:
        return 0


def _marked(pin: Path) -> int:
    """The interface that a filter's mark names, gone or not; 0 if the pin is no mark."""
    return int(os.readlink(pin).partition(":")[2]) if pin.is_symlink() else 0


def _filter_ifindex(pin: Path) -> int:
    """The interface of a filter's mark; 0 if it is gone."""
    with contextlib.suppress(OSError):
        socket.if_indextoname(_marked(pin))
        return _marked(pin)
    return 0


def _filter_program(ifindex: int) -> int:
    """The id of the filter's program; 0 without a filter."""
    try:
        return links.Filter(ifindex, links.INGRESS).program_id
    except errors.BpfError as error:
        if error.errno in (errno.ENOENT, errno.EINVAL, errno.ENODEV):
            return 0
        raise


def _id(program: programs.Program) -> int:
    info: libbpf.ProgramInfo = libbpf.info(program.fd, libbpf.ProgramInfo(), program.name)
    return int(info.id)
