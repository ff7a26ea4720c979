"""Endpoints as the lab's user means them: by name, with the namespace to enter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mizar.lab import layout
from mizar.model import resources
from mizar.plan import entries


class Workload(NamedTuple):
    """``name``: ``TENANT/ENDPOINT``; ``vpc``: ``TENANT/VPC``; ``addresses``: one a family."""

    name: str
    vpc: str
    network: str
    host: str
    addresses: tuple[str, ...]
    netns: str

    @property
    def address(self) -> str:
        """Its first one."""
        return self.addresses[0]

    @property
    def short(self) -> str:
        return self.name.partition("/")[2]


def of(
    lab: layout.Layout,
    endpoint: resources.Endpoint,
    networks: Mapping[resources.Key, resources.Network],
) -> Workload:
    tenant, name = endpoint.metadata.tenant, endpoint.metadata.name
    network = networks[resources.Key("Network", tenant, endpoint.spec.network)]
    host = endpoint.status.host
    return Workload(
        name=f"{tenant}/{name}",
        vpc=f"{tenant}/{network.spec.vpc}",
        network=endpoint.spec.network,
        host=host,
        addresses=tuple(endpoint.status.addresses),
        netns=endpoint.spec.netns or entries.own_netns(lab.netns(host), tenant, name),
    )


def find(known: Sequence[Workload], name: str, tenant: str = "") -> Workload:
    """The one that ``name`` means; raises `layout.LabError` when none or several do."""
    wanted = f"{tenant}/{name}" if tenant and "/" not in name else name
    found = [one for one in known if wanted in (one.name, one.short)]
    if len(found) == 1:
        return found[0]
    if found:
        raise layout.LabError(
            f"endpoint {name}: {_listed(found)} have that name; give TENANT/NAME, or -n TENANT"
        )
    some = f"there are {_listed(known)}" if known else "there are none yet: apply a manifest"
    raise layout.LabError(f"endpoint {wanted}: no such endpoint; {some}")


def _listed(workloads: Sequence[Workload]) -> str:
    shown = [workload.name for workload in workloads[:8]]
    more = f" and {len(workloads) - 8} more" if len(workloads) > 8 else ""
    return ", ".join(shown) + more
