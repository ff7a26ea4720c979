/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* Declares one of the sample's maps too: loaded together, they share it. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "sample.h"

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, VERDICTS);
	__type(key, __u32);
	__type(value, struct sample_count);
} counts SEC(".maps");

SEC("xdp")
int shared_xdp(struct xdp_md *ctx)
{
	__u32 verdict = VERDICT_DROP;
	struct sample_count *found = bpf_map_lookup_elem(&counts, &verdict);

	if (found)
		sample_add(found, ctx->data_end - ctx->data);
	return XDP_DROP;
}

char _license[] SEC("license") = "Dual BSD/GPL";
