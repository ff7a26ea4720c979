// SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0)
/* XDP_PASS, for the far ends of veths that stand in for NICs: without an XDP
 * program there, what XDP_TX and redirect put into the veth waits in its ring.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("xdp")
int xdp_pass(struct xdp_md *xdp)
{
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
