/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* Makes every repetition of a test run start from a true packet.
 *
 * Neither BPF_PROG_TEST_RUN nor its live frames give a repetition the packet
 * that the caller passed: it gets what the last repetition left. `restore` writes
 * the original's fields over the packet, and the next destination of a sequence, and
 * tail-calls the program under test. With `bounce` in that program's place the same run measures what the
 * restoring costs.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "checksum.h"

#define AF_INET 2

#define SEQUENCE 1048576   /* destinations of one sequence */
#define SEQUENCES 3
#define SOURCE_PORT_MIN 49152
#define SOURCE_PORT_MASK 0x3fff

/* A packet to a transit host, as rig/packets.py builds it: both options, no IP options. */
struct transit_packet {
	struct ethhdr ethernet;
	struct iphdr outer;
	struct udphdr udp;
	__u8 geneve[8 + 8 + 20];
	struct ethhdr inner_ethernet;
	struct iphdr inner;
} __attribute__((packed));

/* What transit rewrites; the inner packet's destination is 0.0.0.0. */
struct image {
	__u8 macs[12];
	__u8 ttl;
	__u8 reserved;
	__be16 check;
	__be32 source;
	__be32 destination;
	__be16 udp_check;
	__be16 inner_check;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct image);
} image SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SEQUENCES * SEQUENCE);
	__type(key, __u32);
	__type(value, __be32);
} destinations SEC(".maps");

struct position {
	__u32 sequence;
	__u32 next;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct position);
} position SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} tested SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} arrived SEC(".maps");

/* Each field by stores of its own size: loads that span two stores would wait for both,
 * which packets from a wire never make them do. */
static __always_inline void write_over(struct transit_packet *packet, const struct image *image,
				       __be32 destination)
{
	const __u16 *from = (const void *)image->macs;
	__u16 *to = (void *)packet;
	__u32 sum = (__u16)~image->inner_check + (destination & 0xffff) + (destination >> 16);

#pragma unroll
	for (int half = 0; half < 6; half++)
		to[half] = from[half];
	packet->outer.ttl = image->ttl;
	packet->outer.check = image->check;
	packet->outer.saddr = image->source;
	packet->outer.daddr = image->destination;
	packet->udp.source =
		bpf_htons(SOURCE_PORT_MIN + (bpf_ntohl(destination) & SOURCE_PORT_MASK));
	packet->udp.check = image->udp_check;
	packet->inner.daddr = destination;
	packet->inner.check = ~checksum_fold(sum);
}

SEC("xdp")
int restore(struct xdp_md *ctx)
{
	struct transit_packet *packet = (void *)(long)ctx->data;
	const struct image *original;
	struct position *at;
	__be32 *destination;
	__u32 zero = 0, index;

	if ((void *)(packet + 1) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	at = bpf_map_lookup_elem(&position, &zero);
	original = bpf_map_lookup_elem(&image, &zero);
	if (!at || !original)
		return XDP_ABORTED;
	index = at->sequence * SEQUENCE + at->next++ % SEQUENCE;
	destination = bpf_map_lookup_elem(&destinations, &index);
	if (!destination)
		return XDP_ABORTED;
	write_over(packet, original, *destination);
	bpf_tail_call(ctx, &tested, 0);
	return XDP_ABORTED;
}

/* Costs nothing: what is left is the restoring, the tail call and the run's own loop. */
SEC("xdp")
int bounce(struct xdp_md *ctx)
{
	return XDP_TX;
}

/* Plain IPv4 forwarding, back to where the packet came from: the baseline. */
SEC("xdp")
int forward(struct xdp_md *ctx)
{
	struct ethhdr *ethernet = (void *)(long)ctx->data;
	struct iphdr *ip = (void *)(ethernet + 1);
	struct bpf_fib_lookup way = {.family = AF_INET, .ifindex = 1 /* loopback */};
	__u32 check;

	if ((void *)(ip + 1) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	way.ipv4_src = ip->daddr;
	way.ipv4_dst = ip->saddr;
	way.tot_len = bpf_ntohs(ip->tot_len);
	if (bpf_fib_lookup(ctx, &way, sizeof(way), 0) != BPF_FIB_LKUP_RET_SUCCESS)
		return XDP_ABORTED;
	check = ip->check + bpf_htons(0x100);
	ip->check = check + (check >= 0xffff);
	ip->ttl--;
	__builtin_memcpy(ethernet->h_dest, way.dmac, sizeof(way.dmac));
	__builtin_memcpy(ethernet->h_source, way.smac, sizeof(way.smac));
	return XDP_TX;
}

/* At the far end of the wire: count what really came, and drop it. */
SEC("xdp")
int sink(struct xdp_md *ctx)
{
	__u32 zero = 0;
	__u64 *count = bpf_map_lookup_elem(&arrived, &zero);

	if (count)
		(*count)++;
	return XDP_DROP;
}

char _license[] SEC("license") = "Dual BSD/GPL";
