"""What the system tells people of packets: what was lost, and which way one goes or went."""

from __future__ import annotations

import msgspec


class Loss(msgspec.Struct, frozen=True):
    """Packets lost on one host for one reason.

    ``tenant`` and ``endpoint``: whose packets they were, where the host knows;
    else ``tenant`` and ``vpc``: whose network they were in, where ``vni`` tells;
    else all three are empty: nobody's but the host's. ``packets``, ``bytes``: so far. ``rate``:
    packets a second, lately. ``source``, ``destination``: of the last one, or empty.
    ``seen``: when the server last heard of more of them (RFC 3339, UTC); empty: not yet.
    """

    host: str
    reason: str
    packets: int
    bytes: int
    rate: float = 0.0
    tenant: str = ""
    endpoint: str = ""
    vpc: str = ""
    vni: int = 0
    source: str = ""
    destination: str = ""
    seen: str = ""
