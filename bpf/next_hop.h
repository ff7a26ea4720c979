/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* The next hop towards another host, in XDP: what the kernel's tables said, kept a while. */
#ifndef MIZAR_NEXT_HOP_H
#define MIZAR_NEXT_HOP_H

#include "hash.h"
#include "maps.h"
#include "parse.h"

#define FIB_FAMILY_IPV4 2 /* AF_INET */
#define LOOPBACK_IFINDEX 1 /* in every network namespace */

/* Asking costs more than all else that is done to a transit packet. Asked as if from
 * loopback: the kernel wants forwarding on where the question comes from, and on
 * loopback that opens nothing. */
static __noinline bool next_hop_ask(struct xdp_md *xdp, const struct host_config *config,
				    __be32 to, __u64 now, struct next_hop *hop)
{
	struct bpf_fib_lookup way = {
		.family = FIB_FAMILY_IPV4,
		.l4_protocol = IPPROTO_UDP,
		.ifindex = LOOPBACK_IFINDEX,
		.ipv4_src = address_ipv4(ADDRESS(config->host)),
		.ipv4_dst = to,
	};

	if (bpf_fib_lookup(xdp, &way, sizeof(way), 0) != BPF_FIB_LKUP_RET_SUCCESS ||
	    way.ifindex != xdp->ingress_ifindex)
		return false;
	mac_copy(hop->macs, way.dmac);
	mac_copy(hop->macs + MAC_BYTES, way.smac);
	hop->to = to;
	hop->asked_jiffies = now;
	return true;
}

/* Writes the next hop's MAC; not when its neighbour must first be resolved, or
 * the way leads out of another port: redirect_neigh in tcx can do both. */
static __always_inline bool next_hop_write(struct xdp_md *xdp, const struct host_config *config,
					   __be32 to)
{
	struct frame frame = frame_of_xdp(xdp);
	struct ethhdr *ethernet = frame.data;
	__u32 slot = hash_mix(to) % LIMIT_NEXT_HOPS;
	struct next_hop *hop = bpf_map_lookup_elem(&next_hops, &slot);
	__u64 now = bpf_jiffies64();

	if (!hop || (void *)(ethernet + 1) > frame.end)
		return false;
	if ((hop->to != to || now - hop->asked_jiffies >= NEXT_HOP_JIFFIES) &&
	    !next_hop_ask(xdp, config, to, now, hop))
		return false;
	mac_copy(ethernet->h_dest, hop->macs);
	mac_copy(ethernet->h_source, hop->macs + MAC_BYTES);
	return true;
}

#endif
