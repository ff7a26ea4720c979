"""Counting what the kernel drops after a program has sent it: reason LOST.

One tracepoint of the whole machine, where every dropped packet passes; the program
looks at those that Mizar's programs of this host have sent. Why: docs/adr/0017-lost-redirects.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import structlog

from mizar.bpf import errors, links, maps, objects
from mizar.datapath import pins

OBJECT: Final = "lost"

log = structlog.get_logger()


def watch(pinned: pins.Pins, opened: Mapping[str, maps.Map]) -> None:
    """Counts from now on, into these maps; instead of whatever counted before.

    A kernel that can't (no BTF of its own) is told of in the log: nothing depends on it.
    """
    try:
        spec = objects.shipped(OBJECT)
        with objects.load([spec], reuse={name: opened[name] for name in spec.maps}) as loaded:
            pins.remove(pinned.lost)
            with links.attach_tracepoint(loaded.programs[OBJECT]) as link:
                link.pin(pinned.lost)
    except errors.BpfError as error:
        log.warning("packets lost after they were sent aren't counted", reason=str(error))
