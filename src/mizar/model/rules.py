"""What a resource must obey by itself: names, labels, ranges, bounds. No state.

Each function returns all problems that it finds. Rules that need other
resources are in `admission`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence
from typing import Final

from mizar.model import addresses, errors, limits, registry, resources

_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LABEL_NAME: Final = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_LABEL_PREFIX: Final = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_MAC: Final = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_FILE: Final = re.compile(r"[!-.0-~]+")  # printable ASCII without space and slash

PROHIBITED: Final = {
    "0.0.0.0/8": "this host",
    "127.0.0.0/8": "loopback",
    "169.254.0.0/16": "link-local",
    "224.0.0.0/4": "multicast",
    "240.0.0.0/4": "reserved",
}

_Found = Iterator[tuple[str, str, str]]  # field, message, remedy


def check(resource: resources.Resource) -> list[errors.Problem]:
    """Every problem of a resource by itself."""
    name = str(resources.key_of(resource))
    return [
        errors.Problem(name, field, message, remedy)
        for field, message, remedy in (*_metadata(resource), *_spec(resource))
    ]


def _metadata(resource: resources.Resource) -> _Found:
    metadata = resource.metadata
    yield from _dns_label("metadata.name", metadata.name)
    kind = registry.KINDS[type(resource).__name__]
    if kind.tenanted and not metadata.tenant:
        yield "metadata.tenant", "no tenant is named", "add metadata.tenant, or use -n TENANT"
    elif kind.tenanted:
        yield from _dns_label("metadata.tenant", metadata.tenant)
    elif metadata.tenant:
        yield "metadata.tenant", f"a {kind.name} lives in no tenant", "leave it out"
    yield from _labels(metadata.labels)


def _dns_label(field: str, name: str) -> _Found:
    if len(name) > limits.NAME_BYTES or not _NAME.fullmatch(name):
        yield (
            field,
            f"{name!r} is not a valid name",
            f"use 1 to {limits.NAME_BYTES} lower-case letters, digits and inner hyphens",
        )


def _labels(labels: dict[str, str]) -> _Found:
    if len(labels) > limits.LABELS:
        yield "metadata.labels", f"{len(labels)} labels", f"use at most {limits.LABELS}"
    for key, value in labels.items():
        prefix, slash, name = key.rpartition("/")
        if (slash and not _fits(_LABEL_PREFIX, prefix, 253)) or not _fits(_LABEL_NAME, name, 63):
            remedy = "use [DNS-PREFIX/]NAME, the name of at most 63 letters, digits, '-', '_', '.'"
            yield "metadata.labels", f"{key!r} is not a valid label key", remedy
        if value and not _fits(_LABEL_NAME, value, 63):
            remedy = "use at most 63 letters, digits, inner '-', '_', '.'"
            yield f"metadata.labels.{key}", f"{value!r} is not a valid label value", remedy


def _fits(pattern: re.Pattern[str], text: str, longest: int) -> bool:
    return len(text) <= longest and pattern.fullmatch(text) is not None


def _spec(resource: resources.Resource) -> _Found:
    match resource:
        case resources.Host():
            yield from _host(resource.spec)
        case resources.VPC():
            yield from _vpc(resource.spec)
        case resources.Network():
            yield from _network(resource.spec)
        case resources.Endpoint():
            yield from _endpoint(resource.spec)


def _host(spec: resources.HostSpec) -> _Found:
    found = [*_address("spec.address", spec.address)]
    yield from found
    if not found and (use := prohibited(addresses.span(f"{spec.address}/32"))):
        remedy = "use the address of the host's uplink"
        yield "spec.address", f"{spec.address} is not a host's ({use})", remedy


def _vpc(spec: resources.VPCSpec) -> _Found:
    yield from _holders("spec.routers", spec.routers)
    if not 1 <= len(spec.cidrs) <= limits.VPC_CIDRS:
        remedy = f"give 1 to {limits.VPC_CIDRS} ranges"
        yield "spec.cidrs", f"{len(spec.cidrs)} ranges", remedy
    good: list[str] = []
    for index, cidr in enumerate(spec.cidrs[: limits.VPC_CIDRS]):
        field = f"spec.cidrs[{index}]"
        found = [*_range(field, cidr)]
        yield from found
        if found:
            continue
        for other in good:
            if addresses.span(cidr).overlaps(addresses.span(other)):
                yield field, f"{cidr} overlaps {other}", "leave one of them out"
        good.append(cidr)


def _network(spec: resources.NetworkSpec) -> _Found:
    yield from _holders("spec.switches", spec.switches)
    yield from _dns_label("spec.vpc", spec.vpc)
    yield from _one_a_family("spec.cidrs", spec.cidrs, 1)
    yield from _one_a_family("spec.gateways", spec.gateways, 0)
    for cidr in spec.cidrs[:1]:
        found = [*_range("spec.cidrs[0]", cidr)] or [*_size("spec.cidrs[0]", cidr)]
        yield from found
        for gateway in spec.gateways[:1]:
            bad = [*_address("spec.gateways[0]", gateway)]
            yield from bad
            if not found and not bad:
                yield from _usable("spec.gateways[0]", gateway, cidr)


def _endpoint(spec: resources.EndpointSpec) -> _Found:
    yield from _dns_label("spec.network", spec.network)
    if spec.host:
        yield from _dns_label("spec.host", spec.host)
    yield from _one_a_family("spec.addresses", spec.addresses, 0)
    for address in spec.addresses[:1]:
        yield from _address("spec.addresses[0]", address)
    if spec.mac:
        yield from _mac("spec.mac", spec.mac)
    if spec.netns:
        yield from _file("spec.netns", spec.netns, limits.NETNS_BYTES)
    yield from _file("spec.interface", spec.interface, limits.INTERFACE_BYTES)
    if spec.interface in ("lo", "all", "default") or {":", "%"} & {*spec.interface}:
        remedy = "use a name such as eth0"
        yield "spec.interface", f"{spec.interface!r} means something to the kernel", remedy


def _holders(field: str, wanted: int) -> _Found:
    if not 1 <= wanted <= limits.HOLDERS:
        yield field, f"{wanted} is out of bounds", f"use 1 to {limits.HOLDERS}"


def _one_a_family(field: str, items: Sequence[str], least: int) -> _Found:
    if not least <= len(items) <= 1:
        remedy = "give one (IPv4)" if least else "give one (IPv4), or leave it out"
        yield field, f"{len(items)} given", remedy


def _address(field: str, address: str) -> _Found:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        yield field, f"{address!r} is not an IPv4 address", "write it as 10.0.0.5"
        return
    if parsed.version == 6:
        yield field, f"{address} is IPv6, which isn't served yet", "use an IPv4 address"


def _range(field: str, cidr: str) -> _Found:
    """A canonical IPv4 prefix outside the prohibited ranges."""
    try:
        parsed = ipaddress.ip_network(cidr, strict=False)
    except ValueError:
        yield field, f"{cidr!r} is not an IPv4 range", "write it as 10.0.0.0/16"
        return
    if parsed.version == 6:
        yield field, f"{cidr} is IPv6, which isn't served yet", "use an IPv4 range"
    elif cidr != str(parsed):
        host_bits = "/" in cidr and ipaddress.ip_interface(cidr).ip != parsed.network_address
        message = f"{cidr} has host bits set" if host_bits else f"{cidr!r} is not in usual form"
        yield field, message, f"did you mean {parsed}?"
    elif use := prohibited(addresses.span(cidr)):
        yield field, f"{cidr} includes {use} addresses", "use another range, such as 10.0.0.0/8"


def prohibited(span: addresses.Span) -> str:
    """Whose addresses a range touches that no VPC may have; empty: nobody's."""
    for cidr, use in PROHIBITED.items():
        if span.overlaps(addresses.span(cidr)):
            return use
    return ""


def _size(field: str, cidr: str) -> _Found:
    bits = int(cidr.partition("/")[2])
    if not limits.NETWORK_BITS_MIN <= bits <= limits.NETWORK_BITS_MAX:
        remedy = f"use /{limits.NETWORK_BITS_MIN} to /{limits.NETWORK_BITS_MAX}"
        yield field, f"/{bits} is no size for a network", remedy


def _usable(field: str, address: str, cidr: str) -> _Found:
    span = addresses.span(cidr)
    usable = f"use {addresses.text(span.first + 1)} to {addresses.text(span.last - 1)}"
    if not addresses.inside(address, cidr):
        yield field, f"{address} is outside {cidr}", usable
    elif addresses.number(address) in span:
        which = "network" if addresses.number(address) == span.first else "broadcast"
        yield field, f"{address} is the {which} address of {cidr}", usable


def usable(field: str, address: str, cidr: str) -> list[tuple[str, str, str]]:
    """Problems (field, message, remedy) of an address that a network is to have."""
    return [*_usable(field, address, cidr)]


def _mac(field: str, mac: str) -> _Found:
    plain = mac.lower().replace("-", ":")
    if not _MAC.fullmatch(plain):
        yield field, f"{mac!r} is not a MAC address", "write it as 02:00:00:00:00:01"
    elif mac != plain:
        yield field, f"{mac} is not in usual form", f"did you mean {plain}?"
    elif int(mac[:2], 16) & 1 or mac == "00:00:00:00:00:00":
        yield field, f"{mac} is not a unicast address", "use one whose first byte is even"
    elif mac == addresses.ROUTER_MAC:
        yield field, f"{mac} is the virtual router's", "use another one"


def _file(field: str, name: str, longest: int) -> _Found:
    if not _fits(_FILE, name, longest) or name in (".", ".."):
        remedy = f"use 1 to {longest} printable characters without space and slash"
        yield field, f"{name!r} is not a valid name", remedy
