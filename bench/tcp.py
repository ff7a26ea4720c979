"""TCP between endpoints on two hosts, against kernel VXLAN + bridge and bare host-to-host.

One stream of iperf3 for a second per sample; all paths have hosts and a wire of the same making
(rig/paths.py), endpoint MTUs as each tunnel allows (1442 ours, 1450 VXLAN, 1500 bare).
Case `offload-tcx`: uplinks with segmentation offloads. Cases `wire-xdp`, `wire-tcx`: MTU-size
packets on the wire. Each case has a line for either baseline.
"""

import argparse

from rig import comparison, paths, traffic


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="more and longer samples")
    full = parser.parse_args().full
    rounds, seconds = (15, 3) if full else (5, 1)

    def sample(path: paths.Path) -> float:
        return traffic.tcp_gbit_s(path.client, path.address, seconds)

    comparison.compare("tcp", "Gbit/s", rounds, sample, seconds=seconds)


if __name__ == "__main__":
    main()
