/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* Reading and rewriting what arrives on the uplink: one body for XDP and tcx.
 *
 * First whether a packet is ours at all: everything else is the host's own
 * traffic and passes. From then on a packet is understood, or dropped with a reason.
 */
#ifndef MIZAR_TUNNEL_H
#define MIZAR_TUNNEL_H

#include "checksum.h"
#include "geneve.h"
#include "hash.h"
#include "parse.h"

#define TUNNEL_HEADERS_MAX \
	(OUTER_HEADERS + GENEVE_OPTIONS_MAX + sizeof(struct ethhdr) + IPV4_HEADER_MAX)

/* A packet of ours. The pointers are void once the packet's room is changed. */
struct tunnel {
	struct iphdr *outer;
	struct udphdr *udp;
	struct ethhdr *inner_ethernet;
	struct iphdr *inner;
	struct options options;
	struct endpoint_key source;
	struct endpoint_key destination;
	__u32 bytes;  /* from the frame's start to the inner frame's */
	__u32 vni;
	bool control;
};

/* GO_ON for Geneve to this host; fragments of it are dropped where one can tell. */
static __always_inline int outer_read(const struct frame *frame, const struct host_config *config,
				      struct tunnel *t)
{
	struct ethhdr *ethernet = frame->data;
	struct iphdr *outer = (void *)(ethernet + 1);
	struct udphdr *udp = (void *)(outer + 1);

	if ((void *)(udp + 1) > frame->end || ethernet->h_proto != bpf_htons(ETH_P_IP) ||
	    outer->version != 4 || outer->protocol != IPPROTO_UDP ||
	    outer->frag_off & bpf_htons(FRAGMENT_OFFSET))
		return REASON_NOT_OURS;
	/* We send no IP options; with some, the port is elsewhere and the packet not ours. */
	if (outer->ihl != sizeof(*outer) / 4 || udp->dest != bpf_htons(GENEVE_PORT))
		return REASON_NOT_OURS;
	if (!config->uplink_ifindex)
		return REASON_NO_CONFIG;
	if (outer->daddr != address_ipv4(ADDRESS(config->host)))
		return REASON_NOT_OURS;
	t->outer = outer;
	t->udp = udp;
	return ipv4_is_fragment(outer) ? REASON_FRAGMENT : GO_ON;
}

/* A source outside the prefixes is looked up each time; one inside, every few
 * milliseconds: the lookup in the trie costs as much as half of the parsing. */
static __always_inline bool source_accepted(__be32 from)
{
	struct underlay_key source = {.prefix_bits = 128};
	__u32 slot = hash_mix(from) % LIMIT_ACCEPTED_SOURCES;
	struct accepted_source *known = bpf_map_lookup_elem(&accepted_sources, &slot);
	__u64 now = bpf_jiffies64();

	if (!known)
		return false;
	if (known->address == from && now - known->asked_jiffies < ACCEPTED_SOURCE_JIFFIES)
		return true;
	address_from_ipv4(ADDRESS(source.address), from);
	if (!bpf_map_lookup_elem(&underlay_prefixes, &source))
		return false;
	known->address = from;
	known->asked_jiffies = now;
	return true;
}

static __always_inline int outer_check(const struct frame *frame, const struct tunnel *t)
{
	__u32 total = bpf_ntohs(t->outer->tot_len);

	if (total > frame->bytes - sizeof(struct ethhdr))
		return REASON_TRUNCATED;
	if (bpf_ntohs(t->udp->len) != total - sizeof(struct iphdr) ||
	    total < OUTER_HEADERS - sizeof(struct ethhdr) || ipv4_sum(t->outer) != 0xffff)
		return REASON_MALFORMED;
	return source_accepted(t->outer->saddr) ? GO_ON : REASON_UNDERLAY_SOURCE;
}

/* Through the Geneve header and its options. */
static __always_inline int geneve_read(const struct frame *frame, struct tunnel *t)
{
	struct geneve_header *geneve = (void *)(t->udp + 1);
	__u32 options;

	if ((void *)(geneve + 1) > frame->end)
		return REASON_TRUNCATED;
	options = (geneve->version_length & GENEVE_LENGTH_MASK) * 4;
	if (geneve->version_length & GENEVE_VERSION_MASK || geneve->protocol != GENEVE_ETHERNET)
		return REASON_GENEVE_INVALID;
	t->bytes = OUTER_HEADERS + options;
	if (t->bytes > sizeof(struct ethhdr) + bpf_ntohs(t->outer->tot_len))
		return REASON_GENEVE_INVALID;
	t->vni = bpf_ntohl(geneve->vni) >> 8;
	t->control = geneve->flags & GENEVE_CONTROL;
	return options_read(geneve + 1, options, frame->end, &t->options);
}

/* The inner packet's header and who talks to whom. */
static __always_inline int inner_read(const struct frame *frame, struct tunnel *t)
{
	struct ethhdr *ethernet = frame->data + t->bytes;
	struct iphdr *ip = (void *)(ethernet + 1);
	__u32 payload = bpf_ntohs(t->outer->tot_len) + sizeof(struct ethhdr) - t->bytes;
	int left;

	if ((void *)(ethernet + 1) > frame->end || payload < sizeof(*ethernet))
		return REASON_TRUNCATED;
	if (ethernet->h_proto != bpf_htons(ETH_P_IP))
		return REASON_NOT_IP;
	left = ipv4_check(ip, frame->end, payload - sizeof(*ethernet));
	if (left != GO_ON)
		return left;
	t->inner_ethernet = ethernet;
	t->inner = ip;
	t->source.vni = t->vni;
	t->destination.vni = t->vni;
	address_from_ipv4(ADDRESS(t->source.address), ip->saddr);
	address_from_ipv4(ADDRESS(t->destination.address), ip->daddr);
	return GO_ON;
}

/* Did it come through a transit host? Its TTL tells, also where no ORIGIN fitted. */
static __always_inline bool came_by_transit(const struct tunnel *t)
{
	return t->options.has_origin || t->outer->ttl <= OUTER_TTL - TRANSIT_TTL_SHARE;
}

/* The sender's host; zero when the packet doesn't say. */
static __always_inline struct address origin_of(const struct tunnel *t)
{
	struct address origin = {};

	if (t->options.has_origin)
		return t->options.origin;
	if (!came_by_transit(t))
		address_from_ipv4(&origin, t->outer->saddr);
	return origin;
}

/* On to the next host: the outer header alone changes. */
static __always_inline void outer_rewrite(struct tunnel *t, const struct host_config *config,
					  const struct address *next)
{
	t->outer->saddr = address_ipv4(ADDRESS(config->host));
	t->outer->daddr = address_ipv4(next);
	t->outer->ttl -= TRANSIT_TTL_SHARE;
	t->udp->check = 0;
	ipv4_checksum_set(t->outer);
}

#endif
