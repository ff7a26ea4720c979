"""The ethtool questions and settings that Mizar needs, by ioctl: driver name, features."""

from __future__ import annotations

import array
import fcntl
import socket
import struct

SIOCETHTOOL = 0x8946
GET_DRIVER = 0x03
GET_STRINGS = 0x1B
GET_STRING_COUNT = 0x37
SET_FEATURES = 0x3B
STRINGS_OF_FEATURES = 4
STRING_BYTES = 32


def _ioctl(interface: str, request: bytes) -> bytes:
    buffer = array.array("B", request)
    ifreq = struct.pack("16sP16x", interface.encode(), buffer.buffer_info()[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCETHTOOL, ifreq)
    return buffer.tobytes()


def driver(interface: str) -> str:
    """The driver's name (``veth``, ``virtio_net``, ``mlx5_core``...); empty when it has none."""
    try:
        reply = _ioctl(interface, struct.pack("I192x", GET_DRIVER))
    except OSError:
        return ""
    return reply[4:36].split(b"\0")[0].decode()


_feature_names: list[str] = []


def _features(interface: str) -> list[str]:
    """Names by bit. The same for every interface of one kernel, so asked once."""
    if not _feature_names:
        request = struct.pack("IIQI", GET_STRING_COUNT, 0, 1 << STRINGS_OF_FEATURES, 0)
        count = struct.unpack_from("I", _ioctl(interface, request), 16)[0]
        header = struct.pack("III", GET_STRINGS, STRINGS_OF_FEATURES, count)
        reply = _ioctl(interface, header + bytes(count * STRING_BYTES))
        for i in range(count):
            text = reply[12 + i * STRING_BYTES : 12 + (i + 1) * STRING_BYTES]
            _feature_names.append(text.split(b"\0")[0].decode())
    return _feature_names


def features_off(interface: str, names: tuple[str, ...]) -> None:
    """Turns features off by name (``tx-udp_tnl-segmentation``); unknown names are ignored."""
    _set_features(interface, names, on=False)


def features_on(interface: str, names: tuple[str, ...]) -> None:
    """Turns features on by name (``rx-gro``); unknown names are ignored."""
    _set_features(interface, names, on=True)


def _set_features(interface: str, chosen: tuple[str, ...], on: bool) -> None:
    names = _features(interface)
    words = (len(names) + 31) // 32
    valid = [0] * words
    for bit, name in enumerate(names):
        if name in chosen:
            valid[bit // 32] |= 1 << (bit % 32)
    blocks = b"".join(struct.pack("II", mask, mask if on else 0) for mask in valid)
    _ioctl(interface, struct.pack("II", SET_FEATURES, words) + blocks)
