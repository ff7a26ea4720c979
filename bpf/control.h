/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* Control messages: what they ask, and the answers written in their place. */
#ifndef MIZAR_CONTROL_H
#define MIZAR_CONTROL_H

#include "geneve.h"
#include "location.h"
#include "packet.h"
#include "transit.h"
#include "tunnel.h"

/* All of a HINT behind its Ethernet header. */
struct hint_message {
	struct iphdr ip;
	struct udphdr udp;
	struct geneve_header geneve;
	struct geneve_option option;
	struct hint_option hint;
};
#define HINT_FRAME_BYTES (sizeof(struct ethhdr) + sizeof(struct hint_message))

/* What a HINT says about the inner destination. */
struct whereabouts {
	const __u8 *host;
	__u32 generation;
	__u32 identity;
	__u32 flags;
};

static __always_inline struct whereabouts gone_from(const struct host_config *config)
{
	return (struct whereabouts){.host = config->host, .flags = HINT_GONE};
}

static __always_inline void hint_write(struct hint_message *m, const struct tunnel *t,
				       const struct whereabouts *at)
{
	m->ip.version = 4;
	m->ip.ihl = sizeof(m->ip) / 4;
	m->ip.tot_len = bpf_htons(sizeof(*m));
	m->ip.frag_off = bpf_htons(DONT_FRAGMENT);
	m->ip.protocol = IPPROTO_UDP;
	m->udp.source = udp_of(t)->source;
	m->udp.dest = bpf_htons(GENEVE_PORT);
	m->udp.len = bpf_htons(sizeof(*m) - sizeof(m->ip));
	m->geneve.version_length = (sizeof(m->option) + sizeof(m->hint)) / 4;
	m->geneve.flags = GENEVE_CONTROL;
	m->geneve.protocol = GENEVE_ETHERNET;
	m->geneve.vni = bpf_htonl(t->vni << 8);
	m->option = option_of(OPTION_HINT, sizeof(m->hint));
	*ADDRESS(m->hint.endpoint) = *ADDRESS(t->destination.address);
	*ADDRESS(m->hint.host) = *ADDRESS(at->host);
	m->hint.generation = bpf_htonl(at->generation);
	m->hint.identity = bpf_htonl(at->identity);
	m->hint.flags = bpf_htonl(at->flags);
}

/* What couldn't be cut off a frame goes along behind the option, where nobody reads it: whoever
 * is on the way may drop a frame that is longer than its headers say. */
static __always_inline void hint_lengthen(struct hint_message *m, __u32 frame_bytes)
{
	__u32 bytes = frame_bytes - sizeof(struct ethhdr);

	m->ip.tot_len = bpf_htons(bytes);
	m->udp.len = bpf_htons(bytes - sizeof(m->ip));
}

/* The packet becomes a HINT about its inner destination, to the host passage->next.
 * `reason`, or why not. */
static __always_inline int hint_send(void *context, bool in_xdp, const struct host_config *config,
				     const struct tunnel *t, struct passage *passage,
				     const struct whereabouts *at, enum reason reason)
{
	struct hint_message message = {};

	if (packet_bytes(context, in_xdp) < HINT_FRAME_BYTES)
		return REASON_TRUNCATED;
	hint_write(&message, t, at);
	if (!way_known(context, in_xdp, config, &passage->next))
		return REASON_LEFT_TO_TCX;
	if (!packet_cut(context, in_xdp, HINT_FRAME_BYTES))
		hint_lengthen(&message, packet_bytes(context, in_xdp));
	outer_rewrite(&message.ip, &message.udp, config, &passage->next, OUTER_TTL);
	if (!packet_write(context, in_xdp, sizeof(struct ethhdr), &message, sizeof(message)))
		return REASON_REDIRECT_FAILED;
	return packet_sent(in_xdp, config) ? reason : REASON_REDIRECT_FAILED;
}

static __always_inline int hint_take(const struct frame *frame, const struct host_config *config,
				     const struct tunnel *t)
{
	struct hint_option *hint = frame->data + OUTER_HEADERS +
				   (t->options.control_at & GENEVE_OPTIONS_MASK);

	if ((void *)(hint + 1) > frame->end)
		return REASON_TRUNCATED;
	return location_hint(t->vni, hint, clock_ns(config));
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
	    !packet_sent(in_xdp, config))
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

#endif
