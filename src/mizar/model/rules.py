"""What a resource must obey by itself: names, labels, ranges, bounds. No state.

Each function returns all problems that it finds. Rules that need other
resources are in `admission`.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
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
    "::1/128": "loopback",
    "::/96": "unspecified and IPv4-compatible",
    "::ffff:0:0/96": "IPv4-mapped",
    "fe80::/10": "link-local",
    "ff00::/8": "multicast",
}
_SIZES: Final = {
    4: (limits.NETWORK_BITS_MIN, limits.NETWORK_BITS_MAX),
    6: (limits.NETWORK_BITS6_MIN, limits.NETWORK_BITS6_MAX),
}
_AS_ADDRESS: Final = "write it as 10.0.0.5 or fd00::5"
_AS_RANGE: Final = "write it as 10.0.0.0/16 or fd00:1::/48"

Found = Iterator[tuple[str, str, str]]  # field, message, remedy


def check(resource: resources.Resource) -> list[errors.Problem]:
    """Every problem of a resource by itself."""
    name = str(resources.key_of(resource))
    return [
        errors.Problem(name, field, message, remedy)
        for field, message, remedy in (*_metadata(resource), *_spec(resource))
    ]


def _metadata(resource: resources.Resource) -> Found:
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


def _dns_label(field: str, name: str) -> Found:
    if len(name) > limits.NAME_BYTES or not _NAME.fullmatch(name):
        yield (
            field,
            f"{name!r} is not a valid name",
            f"use 1 to {limits.NAME_BYTES} lower-case letters, digits and inner hyphens",
        )


def _labels(labels: dict[str, str]) -> Found:
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


def _spec(resource: resources.Resource) -> Found:
    match resource:
        case resources.Host():
            yield from _host(resource.spec)
        case resources.VPC():
            yield from _vpc(resource.spec)
        case resources.Network():
            yield from _network(resource.spec)
        case resources.Endpoint():
            yield from _endpoint(resource.spec)


def _host(spec: resources.HostSpec) -> Found:
    found = [*_address("spec.address", spec.address)]
    yield from found
    remedy = "use the IPv4 address of the host's uplink"
    if not found and addresses.family(spec.address) == 6:
        yield "spec.address", f"{spec.address} is IPv6, and the underlay is IPv4", remedy
    elif not found and (use := prohibited(f"{spec.address}/32")):
        yield "spec.address", f"{spec.address} is not a host's ({use})", remedy


def _vpc(spec: resources.VPCSpec) -> Found:
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


def _network(spec: resources.NetworkSpec) -> Found:
    yield from _holders("spec.switches", spec.switches)
    yield from _dns_label("spec.vpc", spec.vpc)
    if not spec.cidrs:
        yield "spec.cidrs", "no range is given", "give an IPv4 range, an IPv6 range, or one of each"
    found = [*_one_a_family("spec.cidrs", spec.cidrs)]
    for index, cidr in enumerate(spec.cidrs):
        field = f"spec.cidrs[{index}]"
        found += [*_range(field, cidr)] or [*_size(field, cidr)]
    yield from found
    yield from _one_a_family("spec.gateways", spec.gateways)
    for index, gateway in enumerate(spec.gateways):
        field = f"spec.gateways[{index}]"
        bad = [*_address(field, gateway)]
        yield from bad
        if not found and not bad:
            yield from usable(field, gateway, spec.cidrs)


def _endpoint(spec: resources.EndpointSpec) -> Found:
    yield from _dns_label("spec.network", spec.network)
    if spec.host:
        yield from _dns_label("spec.host", spec.host)
    yield from _one_a_family("spec.addresses", spec.addresses)
    for index, address in enumerate(spec.addresses):
        yield from _address(f"spec.addresses[{index}]", address)
    yield from _secondary(spec)
    if spec.mac:
        yield from _mac("spec.mac", spec.mac)
    if spec.netns:
        yield from _file("spec.netns", spec.netns, limits.NETNS_BYTES)
    yield from _file("spec.interface", spec.interface, limits.INTERFACE_BYTES)
    if spec.interface in ("lo", "all", "default") or {":", "%"} & {*spec.interface}:
        remedy = "use a name such as eth0"
        yield "spec.interface", f"{spec.interface!r} means something to the kernel", remedy


def _secondary(spec: resources.EndpointSpec) -> Found:
    field, given = "spec.secondaryAddresses", spec.secondaryAddresses
    if len(given) > limits.SECONDARY_ADDRESSES:
        yield field, f"{len(given)} addresses", f"give at most {limits.SECONDARY_ADDRESSES}"
    for index, address in enumerate(given[: limits.SECONDARY_ADDRESSES]):
        yield from _address(f"{field}[{index}]", address)
        if address in spec.addresses or address in given[:index]:
            yield f"{field}[{index}]", f"{address} is given twice", "leave one of them out"


def _holders(field: str, wanted: int) -> Found:
    if not 1 <= wanted <= limits.HOLDERS:
        yield field, f"{wanted} is out of bounds", f"use 1 to {limits.HOLDERS}"


def _one_a_family(field: str, items: Sequence[str]) -> Found:
    for family, count in Counter(map(addresses.family, items)).items():
        if count > 1:
            remedy = "give at most one IPv4 and one IPv6"
            yield field, f"{count} of IPv{family} are given", remedy


def _address(field: str, address: str) -> Found:
    """A canonical address of either family, IPv4 written as IPv4."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        yield field, f"{address!r} is not an IP address", _AS_ADDRESS
        return
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped:
        yield field, f"{address} is IPv4-mapped", f"did you mean {parsed.ipv4_mapped}?"
    elif isinstance(parsed, ipaddress.IPv6Address) and parsed.scope_id is not None:
        yield field, f"{address} names an interface", "leave out what follows the %"
    elif address != str(parsed):
        yield field, f"{address} is not in usual form", f"did you mean {parsed}?"


def _range(field: str, cidr: str) -> Found:
    """A canonical prefix of either family outside the prohibited ranges."""
    try:
        parsed = ipaddress.ip_network(cidr, strict=False)
    except ValueError:
        yield field, f"{cidr!r} is not an address range", _AS_RANGE
        return
    if use := prohibited(str(parsed)):
        example = "10.0.0.0/8" if parsed.version == 4 else "fd00:1::/48"
        yield field, f"{cidr} includes {use} addresses", f"use another range, such as {example}"
    elif cidr != str(parsed):
        host_bits = "/" in cidr and ipaddress.ip_interface(cidr).ip != parsed.network_address
        message = f"{cidr} has host bits set" if host_bits else f"{cidr!r} is not in usual form"
        yield field, message, f"did you mean {parsed}?"


def prohibited(prefix: str) -> str:
    """Whose addresses a prefix touches that no VPC may have; empty: nobody's."""
    family, span = addresses.family(prefix), addresses.span(prefix)
    for cidr, use in PROHIBITED.items():
        if addresses.family(cidr) == family and span.overlaps(addresses.span(cidr)):
            return use
    return ""


def _size(field: str, cidr: str) -> Found:
    least, most = _SIZES[addresses.family(cidr)]
    bits = int(cidr.partition("/")[2])
    if not least <= bits <= most:
        yield field, f"/{bits} is no size for a network", f"use /{least} to /{most}"


def usable(field: str, address: str, cidrs: Sequence[str]) -> Found:
    """Problems of an address that a network with these ranges is to have."""
    family = addresses.family(address)
    cidr = addresses.of_family(cidrs, family)
    if cidr is None:
        remedy = f"use one of {', '.join(cidrs)}, or leave it out"
        yield field, f"{address}: the network has no IPv{family} range", remedy
        return
    good, number = addresses.usable(cidr), addresses.number(address)
    remedy = f"use {addresses.text(good.first)} to {addresses.text(good.last)}"
    if not addresses.inside(address, cidr):
        yield field, f"{address} is outside {cidr}", remedy
    elif number < good.first:
        which = "network" if family == 4 else "subnet-router anycast"
        yield field, f"{address} is the {which} address of {cidr}", remedy
    elif number > good.last:
        yield field, f"{address} is the broadcast address of {cidr}", remedy


def _mac(field: str, mac: str) -> Found:
    plain = mac.lower().replace("-", ":")
    if not _MAC.fullmatch(plain):
        yield field, f"{mac!r} is not a MAC address", "write it as 02:00:00:00:00:01"
    elif mac != plain:
        yield field, f"{mac} is not in usual form", f"did you mean {plain}?"
    elif int(mac[:2], 16) & 1 or mac == "00:00:00:00:00:00":
        yield field, f"{mac} is not a unicast address", "use one whose first byte is even"
    elif mac == addresses.ROUTER_MAC:
        yield field, f"{mac} is the virtual router's", "use another one"


def _file(field: str, name: str, longest: int) -> Found:
    if not _fits(_FILE, name, longest) or name in (".", ".."):
        remedy = f"use 1 to {longest} printable characters without space and slash"
        yield field, f"{name!r} is not a valid name", remedy
