"""Round trips on the direct path, against kernel VXLAN + bridge and bare host-to-host.

A sample is the mean of a flood of 5,000 pings (ping -f, which counts whole microseconds); a
figure is the median of the samples. Hosts, wires and cases as in tcp.py.
"""

import argparse

from rig import comparison, paths, traffic

ROUNDS, ROUNDS_FULL = 25, 101


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="four times the samples")
    rounds = ROUNDS_FULL if parser.parse_args().full else ROUNDS
    comparison.compare("rtt", "us", rounds, sample)


def sample(path: paths.Path) -> float:
    return traffic.round_trip_us(path.client, path.address)


if __name__ == "__main__":
    main()
