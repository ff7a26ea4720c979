/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* The design that Mizar began with, for comparison: XDP at both ends.
 *
 * `send` runs on the host's side of the workload's veth, encapsulates and
 * redirects to the uplink; `receive` runs on the uplink, strips and redirects
 * to the veth. One pair of endpoints, no tables but the two ends' addresses:
 * what it costs is the design's cost, and none of a control plane's.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "checksum.h"
#include "model.h"

#define SOURCE_PORT 50000
#define ETHERNET_BRIDGED 0x6558

struct end {
	__u32 uplink;
	__u32 port;
	__be32 host;
	__be32 other_host;
	__u8 macs[12];    /* destination and source on the underlay */
	__u32 vni;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct end);
} end SEC(".maps");

struct outer {
	struct iphdr ip;
	struct udphdr udp;
	__be16 geneve;    /* version, length, flags: all zero */
	__be16 protocol;
	__be32 vni;       /* top 24 bits */
};
#define OUTER_BYTES (sizeof(struct ethhdr) + sizeof(struct outer))

static __always_inline struct end *this_end(void)
{
	__u32 only = 0;

	return bpf_map_lookup_elem(&end, &only);
}

static __always_inline void outer_write(struct outer *outer, __u32 bytes, const struct end *here)
{
	__builtin_memset(outer, 0, sizeof(*outer));
	outer->ip.version = 4;
	outer->ip.ihl = sizeof(outer->ip) / 4;
	outer->ip.tot_len = bpf_htons(bytes);
	outer->ip.ttl = OUTER_TTL;
	outer->ip.protocol = IPPROTO_UDP;
	outer->ip.saddr = here->host;
	outer->ip.daddr = here->other_host;
	ipv4_checksum_set(&outer->ip);
	outer->udp.source = bpf_htons(SOURCE_PORT);
	outer->udp.dest = bpf_htons(GENEVE_PORT);
	outer->udp.len = bpf_htons(bytes - sizeof(outer->ip));
	outer->protocol = bpf_htons(ETHERNET_BRIDGED);
	outer->vni = bpf_htonl(here->vni << 8);
}

SEC("xdp")
int send(struct xdp_md *xdp)
{
	struct end *here = this_end();
	struct ethhdr *ethernet;
	void *data_end;

	if (!here || bpf_xdp_adjust_head(xdp, -(int)OUTER_BYTES))
		return XDP_ABORTED;
	ethernet = (void *)(long)xdp->data;
	data_end = (void *)(long)xdp->data_end;
	if ((void *)ethernet + OUTER_BYTES > data_end)
		return XDP_ABORTED;
	__builtin_memcpy(ethernet, here->macs, sizeof(here->macs));
	ethernet->h_proto = bpf_htons(ETH_P_IP);
	outer_write((void *)(ethernet + 1), data_end - (void *)(ethernet + 1), here);
	return bpf_redirect(here->uplink, 0);
}

SEC("xdp")
int receive(struct xdp_md *xdp)
{
	struct ethhdr *ethernet = (void *)(long)xdp->data;
	struct outer *outer = (void *)(ethernet + 1);
	struct end *here = this_end();

	if (!here || (void *)(outer + 1) > (void *)(long)xdp->data_end)
		return XDP_PASS;
	if (ethernet->h_proto != bpf_htons(ETH_P_IP) || outer->ip.protocol != IPPROTO_UDP ||
	    outer->udp.dest != bpf_htons(GENEVE_PORT) || outer->ip.saddr != here->other_host ||
	    outer->vni != bpf_htonl(here->vni << 8))
		return XDP_PASS;
	if (bpf_xdp_adjust_head(xdp, OUTER_BYTES))
		return XDP_ABORTED;
	return bpf_redirect(here->port, 0);
}

char _license[] SEC("license") = "Dual BSD/GPL";
