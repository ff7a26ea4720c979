/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* Control messages: what they ask, and the answers written in their place. */
#ifndef MIZAR_CONTROL_H
#define MIZAR_CONTROL_H

#include "hint.h"
#include "location.h"
#include "packet.h"
#include "transit.h"
#include "tunnel.h"

static __always_inline int hint_take(const struct frame *frame, const struct host_config *config,
				     const struct tunnel *t)
{
	struct hint_option *hint = frame->data + OUTER_HEADERS +
				   (t->options.control_at & GENEVE_OPTIONS_MASK);

	if ((void *)(hint + 1) > frame->end)
		return REASON_TRUNCATED;
	return location_hint(config, t->vni, hint, clock_ns(config));
}

/* A PROBE goes back to its sender with another type and flags. */
static __always_inline int probe_answer(void *context, bool in_xdp,
					const struct host_config *config, struct tunnel *t,
					struct passage *passage)
{
	struct outer_headers outer = {.ip = *t->outer, .udp = *udp_of(t)};
	__be32 flags = config->tables_complete ? bpf_htonl(ECHO_COMPLETE) : 0;
	__u32 body = OUTER_HEADERS + t->options.control_at;
	__u32 type_at = body - sizeof(struct geneve_option) +
			__builtin_offsetof(struct geneve_option, type);
	__u8 type = OPTION_ECHO;

	address_from_ipv4(&passage->next, t->outer->saddr);
	outer.udp.dest = udp_of(t)->source;
	outer.udp.source = bpf_htons(GENEVE_PORT);
	outer_rewrite(&outer.ip, &outer.udp, config, &passage->next, OUTER_TTL);
	if (!way_known(context, in_xdp, config, &passage->next))
		return REASON_LEFT_TO_TCX;
	if (!outer_store(context, in_xdp, &outer) ||
	    !packet_write(context, in_xdp, type_at, &type, sizeof(type)) ||
	    !packet_write(context, in_xdp, body + __builtin_offsetof(struct probe_option, flags),
			  &flags, sizeof(flags)) ||
	    !packet_sent(in_xdp, config))
		return REASON_REDIRECT_FAILED;
	return REASON_PROBE_ANSWERED;
}

static __always_inline __u32 returned_of(enum reason reason)
{
	switch (reason) {
	case REASON_NO_ENDPOINT:
		return RETURNED_NO_ENDPOINT;
	case REASON_NO_NETWORK:
		return RETURNED_NO_NETWORK;
	case REASON_NOT_HERE:
		return RETURNED_NOT_HERE;
	default:
		return 0;
	}
}

/* A LOOKUP that the tables have dropped for `reason` goes back to its origin, with RETURNED
 * in the place of IDENTITY. Returns the reason it leaves with. */
static __always_inline int lookup_return(void *context, bool in_xdp,
					 const struct host_config *config,
					 const struct frame *frame, struct tunnel *t,
					 struct passage *passage, enum reason reason)
{
	struct outer_headers outer = {.ip = *t->outer, .udp = *udp_of(t)};
	struct identity_part *first = frame->data + OUTER_HEADERS;
	struct identity_part returned;

	passage->next = origin_of(frame, t);
	if (!returned_of(reason) || address_is_zero(&passage->next) ||
	    (void *)(first + 1) > frame->end ||
	    first->option.class != bpf_htons(GENEVE_OPTION_CLASS) ||
	    first->option.type != OPTION_IDENTITY)
		return reason;
	returned = *first;
	returned.option.type = OPTION_RETURNED;
	returned.identity = bpf_htonl(returned_of(reason));
	outer_rewrite(&outer.ip, &outer.udp, config, &passage->next, OUTER_TTL);
	if (!way_known(context, in_xdp, config, &passage->next))
		return REASON_LEFT_TO_TCX;
	if (!outer_store(context, in_xdp, &outer) ||
	    !packet_write(context, in_xdp, OUTER_HEADERS, &returned, sizeof(returned)) ||
	    !packet_returned(in_xdp, config, &passage->next))
		return REASON_REDIRECT_FAILED;
	passage->answered = true;
	return reason;
}

static __always_inline int ask_answer(void *context, bool in_xdp, const struct host_config *config,
				      const struct tunnel *t, struct passage *passage)
{
	struct local_endpoint *here = bpf_map_lookup_elem(&local, &t->destination);
	struct whereabouts at = gone_from(config);
	struct moved *away;

	if (here)
		at = (struct whereabouts){config->host, here->generation, here->identity, 0};
	else if ((away = bpf_map_lookup_elem(&moved, &t->destination)))
		at = (struct whereabouts){away->host, away->generation, away->identity, 0};
	address_from_ipv4(&passage->next, t->outer->saddr);
	return hint_send(context, in_xdp, config, t, passage, &at, REASON_ASK_ANSWERED);
}

static __always_inline int lookup_found(void *context, bool in_xdp,
					const struct host_config *config,
					const struct frame *frame, const struct tunnel *t,
					struct passage *passage, const struct local_endpoint *here)
{
	struct whereabouts at = {config->host, here->generation, here->identity, 0};

	passage->next = origin_of(frame, t);
	if (address_is_zero(&passage->next))
		return REASON_NOT_HERE;
	return hint_send(context, in_xdp, config, t, passage, &at, REASON_LOOKUP_ANSWERED);
}

/* Here: a HINT to the origin. Elsewhere: on to there. Nowhere: back. */
static __always_inline int lookup_answer(void *context, bool in_xdp,
					 const struct host_config *config,
					 const struct frame *frame, struct tunnel *t,
					 struct passage *passage)
{
	struct local_endpoint *here = bpf_map_lookup_elem(&local, &t->destination);
	enum reason reason = REASON_FORWARDED;

	if (here)
		return lookup_found(context, in_xdp, config, frame, t, passage, here);
	t->next = moved_to(&t->destination);
	if (!t->next)
		reason = transit_next(config, &t->destination, bpf_ntohs(udp_of(t)->source),
				      &t->next);
	if (t->next)
		return forward(context, in_xdp, config, t, reason);
	return lookup_return(context, in_xdp, config, frame, t, passage, reason);
}

/* By the first control option. GO_ON: RETURNED, which tcx alone can take. */
static __always_inline int control(void *context, bool in_xdp, const struct host_config *config,
				   struct tunnel *t, struct passage *passage)
{
	struct frame frame = in_xdp ? frame_of_xdp(context) : frame_of_skb(context);
	__u8 type = t->options.control;

	if (type == OPTION_ASK || type == OPTION_LOOKUP || type == OPTION_RETURNED) {
		int left = inner_read(&frame, t, passage, false);

		if (left != GO_ON)
			return left;
	}
	switch (type) {
	case OPTION_HINT:
		return hint_take(&frame, config, t);
	case OPTION_PROBE:
		return probe_answer(context, in_xdp, config, t, passage);
	case OPTION_ASK:
		return ask_answer(context, in_xdp, config, t, passage);
	case OPTION_LOOKUP:
		return lookup_answer(context, in_xdp, config, &frame, t, passage);
	case OPTION_RETURNED:
		return in_xdp ? REASON_LEFT_TO_TCX : GO_ON;
	default:
		return REASON_CONTROL_UNKNOWN;
	}
}

#endif
