/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* The way out: a stage returns a reason, or GO_ON; each program has one exit,
 * which counts the reason, reports it where the packet is traced, and turns it
 * into the hook's return code.
 */
#ifndef MIZAR_EXIT_H
#define MIZAR_EXIT_H

#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

#include "address.h"
#include "maps.h"

#define GO_ON (-1)

/* What a program learns of its packet on the way, for its exit. */
struct passage {
	__u32 ifindex;   /* the endpoint's that sent it; 0: not known, or none */
	__u32 vni;       /* 0: not known */
	__u32 trace;     /* number from a trace_filter or option TRACE; 0: not traced */
	bool answered;   /* became an answer or an ICMP error, which leaves in its place */
	struct address source;
	struct address destination;
	struct address next;  /* the host that it is sent to; zero: none */
};

enum verdict { VERDICT_PASS, VERDICT_HANDED, VERDICT_ANSWERED, VERDICT_TAKEN, VERDICT_DROP };

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

/* Whose drop it was. With the map full the totals in `counters` are still right. */
static __noinline int drop_count(const struct passage *passage, enum reason reason, __u64 bytes)
{
	struct drop_key key = {.reason = reason};
	struct drop first = {}, *known;

	if (!passage)
		return 0;
	key.ifindex = passage->ifindex;
	key.vni = passage->vni;
	known = bpf_map_lookup_elem(&drops, &key);
	if (!known) {
		bpf_map_update_elem(&drops, &key, &first, BPF_NOEXIST);
		known = bpf_map_lookup_elem(&drops, &key);
	}
	if (!known)
		return 0;
	__sync_fetch_and_add(&known->packets, 1);
	__sync_fetch_and_add(&known->bytes, bytes);
	*ADDRESS(known->source) = passage->source;
	*ADDRESS(known->destination) = passage->destination;
	return 0;
}

/* Did something leave, out of whatever port: the packet, or what it became? */
static __always_inline bool has_left(const struct passage *passage, enum reason reason)
{
	enum verdict verdict = verdict_of(reason);

	return passage->answered || verdict == VERDICT_PASS || verdict == VERDICT_ANSWERED;
}

static __noinline int trace_report(const struct passage *passage, enum program program,
				   enum reason reason, __u32 ifindex)
{
	const struct address nowhere = {};
	struct trace_event *event;

	if (!passage)
		return 0;
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event)
		return 0;
	event->type = EVENT_TRACE;
	event->trace = passage->trace;
	event->program = program;
	event->reason = reason;
	event->vni = passage->vni;
	event->ifindex = ifindex;
	event->ns = bpf_ktime_get_ns();
	*ADDRESS(event->source) = passage->source;
	*ADDRESS(event->destination) = passage->destination;
	/* A way that was found, but not taken, isn't where it was sent. */
	*ADDRESS(event->next) = has_left(passage, reason) ? passage->next : nowhere;
	bpf_ringbuf_submit(event, 0);
	return 0;
}

static __always_inline void leave(const struct passage *passage, enum program program,
				  enum reason reason, __u64 bytes, __u32 ifindex)
{
	count(reason, bytes);
	if (verdict_of(reason) == VERDICT_DROP)
		drop_count(passage, reason, bytes);
	if (passage->trace)
		trace_report(passage, program, reason, ifindex);
}

/* tcx and cls_bpf. What leaves has been redirected by its stage; what isn't ours
 * goes on to the next program on the hook, then to the stack. */
static __always_inline int leave_tc(struct __sk_buff *skb, const struct passage *passage,
				    enum program program, enum reason reason, __u64 bytes)
{
	const struct host_config *config = configuration();
	bool sent = reason != REASON_NOT_OURS && has_left(passage, reason);

	leave(passage, program, reason, bytes, skb->ifindex);
	skb->tc_index = sent && config ? sent_mark(config) : 0;
	if (reason == REASON_NOT_OURS)
		return TC_ACT_UNSPEC;
	return sent ? TC_ACT_REDIRECT : TC_ACT_SHOT;
}

/* What leaves does so by the port that it came in by. */
static __always_inline int leave_xdp(const struct xdp_md *xdp, const struct passage *passage,
				     enum reason reason, __u64 bytes)
{
	leave(passage, PROGRAM_UPLINK_XDP, reason, bytes, xdp->ingress_ifindex);
	if (reason == REASON_NOT_OURS || verdict_of(reason) == VERDICT_HANDED)
		return XDP_PASS;
	return has_left(passage, reason) ? XDP_TX : XDP_DROP;
}

#endif
