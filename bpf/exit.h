/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* The way out: a stage returns a reason, or GO_ON; each program has one exit,
 * which counts the reason and turns it into the hook's return code.
 */
#ifndef MIZAR_EXIT_H
#define MIZAR_EXIT_H

#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

#include "maps.h"

#define GO_ON (-1)

enum verdict { VERDICT_PASS, VERDICT_HANDED, VERDICT_TAKEN, VERDICT_DROP };

static __always_inline enum verdict verdict_of(enum reason reason)
{
	switch (reason) {
#define REASON_VERDICT(name, verdict, text) case REASON_##name: return VERDICT_##verdict;
	REASONS(REASON_VERDICT)
#undef REASON_VERDICT
	default:
		return VERDICT_DROP;
	}
}

/* One packet, however many segments it will be cut into; bytes as it came in. */
static __always_inline void count(enum reason reason, __u64 bytes)
{
	__u32 index = reason;
	struct counter *counter = bpf_map_lookup_elem(&counters, &index);

	if (!counter)
		return;
	counter->packets++;
	counter->bytes += bytes;
}

/* tcx and cls_bpf. PASS and the ARP answer have been redirected by their stage;
 * what isn't ours goes on to the next program on the hook, then to the stack. */
static __always_inline int leave_tc(enum reason reason, __u64 bytes)
{
	count(reason, bytes);
	if (reason == REASON_NOT_OURS)
		return TC_ACT_UNSPEC;
	if (verdict_of(reason) == VERDICT_PASS || reason == REASON_ARP_ANSWERED)
		return TC_ACT_REDIRECT;
	return TC_ACT_SHOT;
}

/* PASS by XDP is transit, out of the port it came in by. */
static __always_inline int leave_xdp(enum reason reason, __u64 bytes)
{
	count(reason, bytes);
	if (reason == REASON_NOT_OURS || verdict_of(reason) == VERDICT_HANDED)
		return XDP_PASS;
	return verdict_of(reason) == VERDICT_PASS ? XDP_TX : XDP_DROP;
}

#endif
