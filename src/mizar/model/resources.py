"""Kinds of resources: spec (the user's), status (the system's), metadata.

Addresses and prefixes are text here, in canonical form (``10.0.0.5``,
``10.0.0.0/24``, ``fd00::5``); a network's and an endpoint's lists hold at most one
per IP family, `EndpointSpec.secondaryAddresses` apart. Every struct is frozen
and refuses unknown fields. What may be changed later is in `registry`.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

API_VERSION: Final = "mizar/v1"

Phase = Literal["Pending", "Ready", "Failed"]


class Struct(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of everything that is stored or sent."""


class Metadata(Struct, frozen=True, kw_only=True):
    """Name, scope and bookkeeping of a resource.

    ``revision`` is the store's revision that last wrote the resource,
    ``created`` an RFC 3339 time in UTC, ``uid`` unique over all time.
    """

    name: str
    tenant: str = ""
    labels: dict[str, str] = {}
    uid: str = ""
    revision: int = 0
    created: str = ""


class HostSpec(Struct, frozen=True, kw_only=True):
    """A machine. ``address``: on its uplink. ``transit``: may hold transit tables."""

    address: str
    transit: bool = True


class HostStatus(Struct, frozen=True, kw_only=True):
    phase: Phase = "Pending"
    message: str = ""
    uplink: str = ""
    uplink_mode: str = ""
    underlay_mtu: int = 0
    version: str = ""


class TenantSpec(Struct, frozen=True, kw_only=True):
    description: str = ""


class TenantStatus(Struct, frozen=True, kw_only=True):
    phase: Phase = "Pending"
    message: str = ""


class VPCSpec(Struct, frozen=True, kw_only=True):
    """``cidrs``: the VPC's address ranges. ``routers``: how many hosts hold its transit router."""

    cidrs: list[str]
    routers: int = 2


class VPCStatus(Struct, frozen=True, kw_only=True):
    """``routers``: names of the hosts that hold the transit router, sorted."""

    phase: Phase = "Pending"
    message: str = ""
    vni: int = 0
    routers: list[str] = []


class NetworkSpec(Struct, frozen=True, kw_only=True):
    """A subnet of ``vpc``. ``cidrs``: an IPv4 range, an IPv6 range, or one of each.

    ``gateways``: at most one per CIDR; by default the first usable address of it.
    """

    vpc: str
    cidrs: list[str]
    gateways: list[str] = []
    switches: int = 2


class NetworkStatus(Struct, frozen=True, kw_only=True):
    """``number``: unique in the VPC (1...). ``switches``: host names.

    ``gateways``: as in force, one per CIDR in their order.
    """

    phase: Phase = "Pending"
    message: str = ""
    number: int = 0
    gateways: list[str] = []
    switches: list[str] = []


class EndpointSpec(Struct, frozen=True, kw_only=True):
    """An interface of a workload.

    ``host``: where it is; empty: chosen by the placement. ``addresses``: fixed
    ones, at most one per CIDR of the network; the others are allocated. ``mac``:
    fixed one; empty: derived. ``netns``: the named network namespace to plumb into
    (created when absent); empty: one of its own, ``PREFIX-TENANT.NAME`` with the
    agent's ``--namespace-prefix``. ``secondaryAddresses``: further addresses of the
    network that are the endpoint's: it is reached at them and may send from them,
    but they aren't configured on its interface.
    """

    network: str
    host: str = ""
    addresses: list[str] = []
    secondaryAddresses: list[str] = []  # noqa: N815 - as users know it from clouds
    mac: str = ""
    netns: str = ""
    interface: str = "eth0"


class EndpointStatus(Struct, frozen=True, kw_only=True):
    """As in force. ``addresses``: one per CIDR of the network, in their order.

    ``generation`` rises with every placement of an address. ``movedFrom``: the host that
    it left lately and that still sends on what arrives for it; empty: none.
    """

    phase: Phase = "Pending"
    message: str = ""
    host: str = ""
    addresses: list[str] = []
    mac: str = ""
    generation: int = 0
    movedFrom: str = ""  # noqa: N815


class Host(Struct, frozen=True, kw_only=True, tag_field="kind", tag="Host"):
    metadata: Metadata
    spec: HostSpec
    status: HostStatus = HostStatus()
    apiVersion: Literal["mizar/v1"] = API_VERSION  # noqa: N815 - the field's standard name


class Tenant(Struct, frozen=True, kw_only=True, tag_field="kind", tag="Tenant"):
    metadata: Metadata
    spec: TenantSpec = TenantSpec()
    status: TenantStatus = TenantStatus()
    apiVersion: Literal["mizar/v1"] = API_VERSION  # noqa: N815


class VPC(Struct, frozen=True, kw_only=True, tag_field="kind", tag="VPC"):
    metadata: Metadata
    spec: VPCSpec
    status: VPCStatus = VPCStatus()
    apiVersion: Literal["mizar/v1"] = API_VERSION  # noqa: N815


class Network(Struct, frozen=True, kw_only=True, tag_field="kind", tag="Network"):
    metadata: Metadata
    spec: NetworkSpec
    status: NetworkStatus = NetworkStatus()
    apiVersion: Literal["mizar/v1"] = API_VERSION  # noqa: N815


class Endpoint(Struct, frozen=True, kw_only=True, tag_field="kind", tag="Endpoint"):
    metadata: Metadata
    spec: EndpointSpec
    status: EndpointStatus = EndpointStatus()
    apiVersion: Literal["mizar/v1"] = API_VERSION  # noqa: N815


Resource = Host | Tenant | VPC | Network | Endpoint


class Key(msgspec.Struct, frozen=True, order=True):
    """Names one resource. ``tenant`` is empty for kinds that live in none (Host, Tenant)."""

    kind: str
    tenant: str
    name: str

    def __str__(self) -> str:
        scope = f"{self.tenant}/" if self.tenant else ""
        return f"{self.kind} {scope}{self.name}"


def key_of(resource: Resource) -> Key:
    return Key(type(resource).__name__, resource.metadata.tenant, resource.metadata.name)


def addresses_of(endpoint: Endpoint) -> list[str]:
    """Every address that is the endpoint's: configured ones, then secondary ones."""
    return [*endpoint.status.addresses, *endpoint.spec.secondaryAddresses]


class Change(msgspec.Struct, frozen=True):
    """One resource before and after; ``old`` None: created, ``new`` None: deleted."""

    key: Key
    old: Resource | None
    new: Resource | None
