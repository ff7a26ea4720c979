"""Every kind of resource, once: names, scope, what may change, what `get` prints.

API paths, CLI words, OpenAPI and validation all follow from `KINDS`. Its order
is the order of dependency: a kind refers only to kinds before it.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

from mizar.model import errors, resources


class Column(NamedTuple):
    """A column of `mizar get`: its header and the text for one resource."""

    header: str
    text: Callable[[Any], str]


class Kind(NamedTuple):
    """``immutable``: spec field -> why it can't change; every other spec field may.

    ``wide`` are the columns that ``-o wide`` adds to ``columns``; both leave out
    name and tenant, which every kind has.
    """

    name: str
    plural: str
    short: tuple[str, ...]
    type: type[resources.Resource]
    tenanted: bool
    immutable: dict[str, str]
    columns: tuple[Column, ...]
    wide: tuple[Column, ...]

    def key(self, name: str, tenant: str = "") -> resources.Key:
        """The key of one of this kind; a tenant given for a kind that has none is left out."""
        return resources.Key(self.name, tenant if self.tenanted else "", name)


def _joined(items: Iterable[str]) -> str:
    return ",".join(items) or "-"


PHASE: Final = Column("STATUS", lambda r: r.status.phase)
MESSAGE: Final = Column("MESSAGE", lambda r: r.status.message or "-")

_TENANT = Kind(
    name="Tenant",
    plural="tenants",
    short=("tenant",),
    type=resources.Tenant,
    tenanted=False,
    immutable={},
    columns=(PHASE,),
    wide=(Column("DESCRIPTION", lambda r: r.spec.description or "-"),),
)

_HOST = Kind(
    name="Host",
    plural="hosts",
    short=("host",),
    type=resources.Host,
    tenanted=False,
    immutable={
        "address": "a host's address can't change: tables all over the fleet point at it; "
        "delete the host and register it anew",
    },
    columns=(
        Column("ADDRESS", lambda r: r.spec.address),
        Column("TRANSIT", lambda r: "yes" if r.spec.transit else "no"),
        PHASE,
    ),
    wide=(
        Column("UPLINK", lambda r: r.status.uplink or "-"),
        Column("MODE", lambda r: r.status.uplink_mode or "-"),
        Column("MTU", lambda r: str(r.status.underlay_mtu or "-")),
        Column("VERSION", lambda r: r.status.version or "-"),
        MESSAGE,
    ),
)

_VPC = Kind(
    name="VPC",
    plural="vpcs",
    short=("vpc",),
    type=resources.VPC,
    tenanted=True,
    immutable={},
    columns=(
        Column("VNI", lambda r: str(r.status.vni)),
        Column("CIDRS", lambda r: _joined(r.spec.cidrs)),
        PHASE,
    ),
    wide=(Column("ROUTERS", lambda r: _joined(r.status.routers)), MESSAGE),
)

_NETWORK = Kind(
    name="Network",
    plural="networks",
    short=("network", "net", "nets"),
    type=resources.Network,
    tenanted=True,
    immutable={
        "vpc": "a network's VPC can't change: its addresses belong to the VPC; "
        "delete it and create another",
        "cidrs": "a network's ranges can't change: its endpoints' prefixes come from them; "
        "create another network beside it",
        "gateways": "a network's gateways can't change: its endpoints' default routes point at "
        "them; create another network beside it",
    },
    columns=(
        Column("VPC", lambda r: r.spec.vpc),
        Column("CIDRS", lambda r: _joined(r.spec.cidrs)),
        Column("GATEWAYS", lambda r: _joined(r.status.gateways)),
        PHASE,
    ),
    wide=(
        Column("NUMBER", lambda r: str(r.status.number)),
        Column("SWITCHES", lambda r: _joined(r.status.switches)),
        MESSAGE,
    ),
)

_ENDPOINT = Kind(
    name="Endpoint",
    plural="endpoints",
    short=("endpoint", "ep", "eps"),
    type=resources.Endpoint,
    tenanted=True,
    immutable={
        "network": "an endpoint's network can't change: its address belongs to the network; "
        "delete it and create another",
        "addresses": "an endpoint's addresses can't change: its workload has them configured; "
        "delete it and create another",
        "mac": "an endpoint's MAC can't change: its workload's interface has it; "
        "delete it and create another",
        "netns": "an endpoint's network namespace can't change: its workload runs there; "
        "delete it and create another",
        "interface": "an endpoint's interface can't be renamed: its workload uses it; "
        "delete it and create another",
    },
    columns=(
        Column("NETWORK", lambda r: r.spec.network),
        Column("ADDRESSES", lambda r: _joined(r.status.addresses)),
        Column("HOST", lambda r: r.status.host or "-"),
        PHASE,
    ),
    wide=(
        Column("MAC", lambda r: r.status.mac or "-"),
        Column("NETNS", lambda r: r.spec.netns or "-"),
        Column("INTERFACE", lambda r: r.spec.interface),
        Column("SECONDARY", lambda r: _joined(r.spec.secondaryAddresses)),
        Column("GENERATION", lambda r: str(r.status.generation)),
        MESSAGE,
    ),
)

KINDS: Final[dict[str, Kind]] = {
    kind.name: kind for kind in (_TENANT, _HOST, _VPC, _NETWORK, _ENDPOINT)
}
RANK: Final[dict[str, int]] = {name: rank for rank, name in enumerate(KINDS)}
_WORDS: Final = {
    word: kind for kind in KINDS.values() for word in (kind.name.lower(), kind.plural, *kind.short)
}


def by_word(word: str) -> Kind:
    """The kind that a user means by ``word`` (``ep``, ``networks``, ``VPC``).

    Raises `errors.Invalid` with the nearest word when there is none.
    """
    kind = _WORDS.get(word.lower())
    if kind is None:
        raise errors.Invalid([unknown_kind(word, "request")])
    return kind


def unknown_kind(word: str, where: str) -> errors.Problem:
    """The problem of a kind that doesn't exist, with the nearest one as the remedy."""
    near = difflib.get_close_matches(word.lower(), _WORDS, n=1)
    known = ", ".join(KINDS)
    remedy = f"did you mean {_WORDS[near[0]].name}?" if near else f"the kinds are {known}"
    return errors.Problem(where, "kind", f"unknown kind {word!r}", remedy)
