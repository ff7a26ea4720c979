"""What a reachability check found, as text for a person."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mizar.lab import reachability
from mizar.model import addresses

SELF, SAME_HOST, SAME_NETWORK, OTHER_NETWORK, FAILED = ".", "o", "=", "+", "X"
LEGEND = (
    f"{SAME_HOST} same host   {SAME_NETWORK} other host, same network   "
    f"{OTHER_NETWORK} routed from one network to another   {FAILED} FAILED"
)


def lines(cells: Sequence[reachability.Cell]) -> Iterator[str]:
    """A matrix for each VPC, then what each address is in each VPC, then the sum."""
    vpcs = sorted({cell.source.vpc for cell in cells})
    for vpc in vpcs:
        yield from _matrix(vpc, [cell for cell in cells if cell.source.vpc == vpc])
        yield ""
    yield LEGEND
    if len(vpcs) > 1:
        yield ""
        yield from _answers(vpcs, cells)
    yield ""
    yield from _sums(cells)


def _matrix(vpc: str, cells: Sequence[reachability.Cell]) -> Iterator[str]:
    inside: dict[tuple[str, str], str] = {}
    for cell in cells:
        if cell.expected:
            pair = cell.source.name, cell.expected.name
            inside[pair] = FAILED if inside.get(pair) == FAILED else _mark(cell)
    sources = sorted({cell.source for cell in cells}, key=lambda source: source.name)
    names = [source.short for source in sources]
    rows = [["", "ADDRESSES", "HOST", *names]]
    for source in sources:
        marks = [inside.get((source.name, target.name), SELF) for target in sources]
        rows.append([source.short, ",".join(source.addresses), source.host, *marks])
    yield f"VPC {vpc}: ping and TCP from each row to each address of each column"
    yield from _aligned(rows)


def _mark(cell: reachability.Cell) -> str:
    target = cell.expected
    if not cell.ok or target is None:
        return FAILED
    if cell.source.network != target.network:
        return OTHER_NETWORK
    return SAME_HOST if cell.source.host == target.host else SAME_NETWORK


def _answers(vpcs: Sequence[str], cells: Sequence[reachability.Cell]) -> Iterator[str]:
    """Who said what its name was, for each address and VPC."""
    rows = [["", *vpcs]]
    for address in sorted({cell.address for cell in cells}, key=addresses.number):
        row = [address]
        for vpc in vpcs:
            here = [cell for cell in cells if cell.source.vpc == vpc and cell.address == address]
            row.append(" ".join(sorted({_answer(cell) for cell in here})))
        rows.append(row)
    yield "Who answers at an address (its name, told over TCP):"
    yield from _aligned(rows)


def _answer(cell: reachability.Cell) -> str:
    if cell.expected and cell.ok:
        return f"{cell.answered} on {cell.expected.host}"
    return cell.answered or ("somebody pings" if cell.pinged else "nobody")


def _sums(cells: Sequence[reachability.Cell]) -> Iterator[str]:
    within = [cell for cell in cells if cell.expected]
    across = [cell for cell in cells if not cell.expected]
    yield f"inside a VPC: {_passed(within)} of {len(within)} tries ping and connect"
    yield f"across VPCs: {_passed(across)} of {len(across)} tries met silence"
    for cell in cells:
        if not cell.ok:
            yield f"FAILED: {cell.source.name} to {cell.address}: {_problem(cell)}"


def _passed(cells: Sequence[reachability.Cell]) -> int:
    return sum(cell.ok for cell in cells)


def _problem(cell: reachability.Cell) -> str:
    found = f"ping {'answered' if cell.pinged else 'lost'}, TCP {cell.answered or 'not answered'}"
    return f"{found}; expected {cell.expected.name if cell.expected else 'silence'}"


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  " + "  ".join(cells).rstrip()
