/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* What the verifier must refuse: the packet is read without a look at its length. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("xdp")
int accepted(struct xdp_md *ctx)
{
	return XDP_PASS;
}

SEC("xdp")
int refused(struct xdp_md *ctx)
{
	return *(__u8 *)(long)ctx->data;
}

char _license[] SEC("license") = "Dual BSD/GPL";
