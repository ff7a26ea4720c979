"""bpf/hash.h in Python, from its description alone: what the programs must agree with."""

import struct

MASK = 0xFFFFFFFF


def mix(h: int) -> int:
    h ^= h >> 16
    h = h * 0x7FEB352D & MASK
    h ^= h >> 15
    h = h * 0x846CA68B & MASK
    return h ^ h >> 16


def fold(address: bytes) -> int:
    h = 0
    for word in struct.unpack("!4I", address):
        h = (h * 0x9E3779B1 + word) & MASK
    return h


def flow(source: bytes, destination: bytes, protocol: int, sport: int, dport: int) -> int:
    h = mix(fold(source))
    h = mix(h + fold(destination) & MASK)
    h = mix(h + (sport << 16 | dport) & MASK)
    return mix(h + protocol & MASK)


def source_port(flow_hash: int) -> int:
    return 49152 + (flow_hash & 0x3FFF)


def holder(port: int, holders: list[bytes]) -> bytes:
    return max(holders, key=lambda address: mix(port ^ mix(fold(address))))
