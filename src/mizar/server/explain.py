"""What becomes of an endpoint's packets, by the plan and the reference model, and what is asked.

The plan says what the few hosts on the way must hold, the model walks a packet
through it. What hosts hold may lag behind for a moment, and a host may have
learned more: the notes say so where the server knows.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from mizar.datapath import rehearsal
from mizar.datapath.reasons import REASONS
from mizar.datapath.reference import fleet as model
from mizar.model import addresses, errors, reports, resources
from mizar.model import state as states
from mizar.server import controller

MTU: Final = 1500  # of a host that has never said
SOURCE_PORT: Final = 40000  # of the packets explained, unless one is named
PACKET_BYTES_MAX: Final = 65535  # length of an IP packet that is explained or sent
NEXT_AFTER_NS: Final = 10_000_000
DROPS: Final = frozenset(reason.name for reason in REASONS if reason.verdict == "DROP")
TEXTS: Final = {reason.name: reason.text for reason in REASONS}


class Question(NamedTuple):
    """An endpoint's packets, as asked for; ``to``: an address, or an endpoint's name."""

    source: resources.Endpoint
    to: str
    protocol: str
    source_port: int
    port: int
    bytes: int


def explain(served: controller.Controller, question: Question) -> reports.Explanation:
    """Raises `errors.Refused` when the question makes no sense."""
    state = served.ledger.state
    asked = flow(state, question)
    source = question.source
    tables = served.ledger.plan.extract(_vpc(state, source), [asked.source, asked.destination])
    rehearsed = rehearsal.Rehearsal(tables, map(_setting, _hosts(state, tables)))
    first = _walk(rehearsed, source, asked)
    rehearsed.fleet.now += NEXT_AFTER_NS
    following = _walk(rehearsed, source, asked)
    courses = (first, following)
    return reports.Explanation(
        tenant=source.metadata.tenant,
        endpoint=source.metadata.name,
        flow=asked,
        first=first,
        next=following,
        notes=[*_notes(served, question, courses)],
    )


def flow(state: states.State, question: Question) -> reports.Flow:
    """The packets asked for, with addresses and numbers, checked."""
    named = str(resources.key_of(question.source))
    protocol = next((p for p in reports.PROTOCOLS if p == question.protocol), None)
    if protocol is None:
        known = ", ".join(reports.PROTOCOLS)
        raise _invalid(named, "protocol", f"{question.protocol!r} is unknown", f"say {known}")
    destination = target(state, question.source, question.to)
    source = addresses.of_family(question.source.status.addresses, addresses.family(destination))
    if source is None:
        version = addresses.family(destination)
        message = f"it has no IPv{version} address to send to {destination} from"
        raise _invalid(named, "to", message, "name an address of its own family")
    if destination in resources.addresses_of(question.source):
        message = f"{destination} is its own address, and what it sends there never leaves it"
        raise _invalid(named, "to", message, "name another endpoint")
    check_ports(named, protocol, question.source_port, question.port, needed=True)
    port = question.source_port or (0 if protocol == "icmp" else SOURCE_PORT)
    asked = reports.Flow(source, destination, protocol, port, question.port, question.bytes)
    shortest = rehearsal.shortest(protocol, addresses.family(source))
    if question.bytes and not shortest <= question.bytes <= PACKET_BYTES_MAX:
        message = f"{question.bytes} is no length of an IP packet that holds {protocol}"
        raise _invalid(named, "bytes", message, f"give {shortest} to {PACKET_BYTES_MAX}")
    return asked


def target(state: states.State, source: resources.Endpoint, to: str) -> str:
    """The address meant by an address or an endpoint's name (its own tenant's, or TENANT/NAME)."""
    try:
        return str(ipaddress.ip_address(to))
    except ValueError:
        pass
    tenant, _, name = to.rpartition("/")
    key = resources.Key("Endpoint", tenant or source.metadata.tenant, name)
    found = state.get(key)
    if not isinstance(found, resources.Endpoint):
        named = str(key) if name else "to"
        remedy = "name an endpoint (NAME or TENANT/NAME) or an address; see mizar get endpoints -A"
        raise errors.NotFound(
            [errors.Problem(named, "", "there is no such endpoint", remedy, "not_found")]
        )
    vpc, other = _vpc(state, source), _vpc(state, found)
    if vpc != other:
        message = f"it is in {other}, {resources.key_of(source)} in {vpc}: nothing passes between"
        remedy = f"say its address to ask who answers there in {vpc}"
        raise _invalid(str(key), "", message, remedy)
    mine = {addresses.family(address) for address in source.status.addresses}
    shared = (a for a in found.status.addresses if addresses.family(a) in mine)
    return next(shared, found.status.addresses[0])


def _vpc(state: states.State, endpoint: resources.Endpoint) -> resources.Key:
    tenant = endpoint.metadata.tenant
    network = state.network(tenant, endpoint.spec.network)
    assert network
    return resources.Key("VPC", tenant, network.spec.vpc)


def check_ports(named: str, protocol: str, source_port: int, port: int, *, needed: bool) -> None:
    """TCP and UDP have ports (``needed``: the destination's must be named), ICMP has none."""
    if not (0 <= port <= 65535 and 0 <= source_port <= 65535):
        raise _invalid(named, "port", "it isn't between 0 and 65535", "give another")
    if protocol == "icmp" and (port or source_port):
        raise _invalid(named, "port", "icmp has no ports", "say protocol tcp or udp")
    if needed and protocol != "icmp" and not port:
        raise _invalid(named, "port", f"{protocol} needs one", "name the destination's port")


def _invalid(named: str, field: str, message: str, remedy: str) -> errors.Refused:
    return errors.Invalid([errors.Problem(named, field, message, remedy)])


def _hosts(state: states.State, names: Iterable[str]) -> Iterator[resources.Host]:
    for name in names:
        if host := state.host(name):
            yield host


def _setting(host: resources.Host) -> rehearsal.Setting:
    status = host.status
    mtu = status.underlay_mtu or MTU
    return rehearsal.Setting(host.metadata.name, mtu, status.uplink_mode == "xdp")


def _walk(
    rehearsed: rehearsal.Rehearsal, source: resources.Endpoint, asked: reports.Flow
) -> reports.Course:
    place = rehearsed.interfaces[source.metadata.uid]
    here = next(a for a, host in rehearsed.fleet.hosts.items() if host.name == place.host)
    frame = rehearsal.frame(source.status.mac, asked)
    walk = model.walk(rehearsed.fleet, here, place.number, frame)
    end = walk.end
    delivered = end.verdict == "delivered"
    return reports.Course(
        steps=[_step(rehearsed, step) for step in walk.steps],
        verdict=end.verdict,
        host=end.host,
        reason=end.reason,
        endpoint=_endpoint(rehearsed, end.host, end.interface) if delivered else "",
    )


def _step(rehearsed: rehearsal.Rehearsal, step: model.Step) -> reports.Step:
    def people(text: str) -> str:
        """Interfaces are numbered by the rehearsal alone: say whose they are."""
        return re.sub(
            r"\binterface (\d+)",
            lambda found: f"endpoint {_endpoint(rehearsed, step.host, int(found[1]))}",
            text,
        )

    told = step.reason in DROPS and step.next.startswith("interface")
    return reports.Step(
        host=step.host,
        program=step.program,
        reason=step.reason,
        text=TEXTS.get(step.reason, ""),
        details=[people(detail) for detail in step.detail],
        next=people(step.next) + (" (an ICMP error)" if told else ""),
    )


def _endpoint(rehearsed: rehearsal.Rehearsal, host: str, number: int) -> str:
    entry = rehearsed.endpoints.get(rehearsal.Interface(host, number))
    return f"{entry.tenant}/{entry.name}" if entry else "unknown"


def _notes(
    served: controller.Controller, question: Question, courses: Iterable[reports.Course]
) -> Iterator[str]:
    state, source = served.ledger.state, question.source
    ends = {f"{source.metadata.tenant}/{source.metadata.name}": None}
    ends |= dict.fromkeys(course.endpoint for course in courses if course.endpoint)
    for name in ends:
        endpoint = state.get(resources.Key("Endpoint", *name.split("/")))
        if endpoint and endpoint.status.phase != "Ready":
            because = f" ({endpoint.status.message})" if endpoint.status.message else ""
            yield f"endpoint {name} is {endpoint.status.phase}{because}: hosts may lag behind"
    for host in dict.fromkeys(step.host for course in courses for step in course.steps):
        if not served.readiness.is_connected(host):
            yield f"host {host}'s agent is not connected: its tables may be older than this"
    if question.protocol != "icmp" and not question.source_port:
        yield f"source port {SOURCE_PORT} taken; another may choose another holder of a table"
