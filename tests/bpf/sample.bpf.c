/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* One of everything that the binding knows, small enough to reason about. */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

#include "sample.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 200000);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct sample_key);
	__type(value, struct sample_value);
} places SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u64);
} recent SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct sample_prefix);
	__type(value, __u32);
} prefixes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct sample_wire);
} wires SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, VERDICTS);
	__type(key, __u32);
	__type(value, struct sample_count);
} counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u32);
} tallies SEC(".maps");

/* A kind of map that has no batch operations. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u32);
} stages SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} records SEC(".maps");

static __always_inline void count(__u32 verdict, __u64 bytes)
{
	struct sample_count *found = bpf_map_lookup_elem(&counts, &verdict);

	if (found)
		sample_add(found, bytes);
}

/* Adds four bytes of metadata behind those it came with, and tells the ring. */
SEC("xdp")
int sample_xdp(struct xdp_md *ctx)
{
	__u32 record = ctx->data_end - ctx->data;
	__u32 *meta;

	count(VERDICT_PASS, record);
	bpf_ringbuf_output(&records, &record, sizeof(record), 0);
	if (bpf_xdp_adjust_meta(ctx, -(int)sizeof(*meta)))
		return XDP_ABORTED;
	meta = (void *)(long)ctx->data_meta;
	if ((void *)(meta + 1) > (void *)(long)ctx->data)
		return XDP_ABORTED;
	*meta = 0x01020304;
	return XDP_PASS;
}

SEC("xdp")
int sample_sink(struct xdp_md *ctx)
{
	count(VERDICT_DROP, ctx->data_end - ctx->data);
	return XDP_DROP;
}

/* Counts, so that live frames can be seen to have been sent and to have arrived. */
SEC("xdp")
int sample_bounce(struct xdp_md *ctx)
{
	return XDP_TX;
}

SEC("tc")
int sample_tc(struct __sk_buff *skb)
{
	count(VERDICT_PASS, skb->len);
	skb->mark = skb->mark + 1;
	return TC_ACT_UNSPEC;
}

SEC("tc")
int sample_drop(struct __sk_buff *skb)
{
	count(VERDICT_DROP, skb->len);
	return TC_ACT_SHOT;
}

/* Never called; its arguments bring their types into the BTF. */
void sample_types(struct sample_mixed *mixed, enum verdict *verdict, struct sample_padded *padded,
		  struct sample_tail *tail)
{
}

void sample_more_types(struct sample_bits *bits, struct sample_nested *nested)
{
}

char _license[] SEC("license") = "Dual BSD/GPL";
