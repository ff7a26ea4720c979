// SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0)
/* Counts what the kernel loses of what the programs had sent.
 *
 * A redirect may fail after its program has ended: the next hop doesn't answer, an
 * interface or the workload's end is down, a queue is full. The program has counted
 * the packet as sent by then. For some of these no counter of the kernel goes up at
 * all (docs/adr/0017-lost-redirects.md), but each drop passes one tracepoint.
 */
#include "exit.h"

/* The fields that are read; libbpf finds where the running kernel has them. */
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct ns_common {
	unsigned int inum;
};

struct net {
	struct ns_common ns;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct net_device {
	possible_net_t nd_net;
};

struct sk_buff {
	unsigned int len;
	__u16 tc_index;
	struct net_device *dev;
};
#pragma clang attribute pop

/* trace_kfree_skb(skb, location, reason, ...): one call for each packet dropped on the
 * machine; those that are consumed as they should be have another tracepoint. */
SEC("tp_btf/kfree_skb")
int lost(__u64 *arguments)
{
	struct sk_buff *skb = (struct sk_buff *)arguments[0];
	struct host_config *config = configuration();
	struct passage passage = {};

	if (!config || skb->tc_index != sent_mark(config))
		return 0;
	/* Past the host's namespace the packet is the workload's, or the wire's. */
	if (skb->dev->nd_net.net->ns.inum != config->netns)
		return 0;
	count(REASON_LOST, skb->len);
	drop_count(&passage, REASON_LOST, skb->len);
	return 0;
}

char _license[] SEC("license") = "GPL";
