/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* A HINT written in a packet's place. */
#ifndef MIZAR_HINT_H
#define MIZAR_HINT_H

#include "geneve.h"
#include "packet.h"
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

/* The sender came straight here and is wrong: it is told, in the packet's place. */
static __always_inline int gone_tell(void *context, bool in_xdp, const struct host_config *config,
				     struct tunnel *t, struct passage *passage)
{
	struct whereabouts at = gone_from(config);
	int left;

	if (packet_bytes(context, in_xdp) < HINT_FRAME_BYTES)
		return REASON_NOT_HERE;
	address_from_ipv4(&passage->next, t->outer->saddr);
	left = hint_send(context, in_xdp, config, t, passage, &at, REASON_NOT_HERE);
	passage->answered = left == REASON_NOT_HERE;
	return left;
}

#endif
