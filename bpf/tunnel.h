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
#include "options.h"
#include "parse.h"

#define TUNNEL_BYTES_MASK 0x1ff /* more than any tunnel header's length, for the verifier */
#define INNER_HEADERS (sizeof(struct ethhdr) + sizeof(struct ipv6hdr))
#define IP_BYTES_MAX (65535 + sizeof(struct ipv6hdr))
#define TUNNEL_HEADERS_MAX \
	(OUTER_HEADERS + GENEVE_OPTIONS_MAX + sizeof(struct ethhdr) + IPV4_HEADER_MAX)

/* A packet of ours. The pointers are void once the packet's room is changed. */
struct tunnel {
	struct iphdr *outer;  /* and UDP after it */
	struct ethhdr *inner;
	struct options options;
	struct endpoint_key destination;  /* zero until the inner header is read */
	struct address *next;             /* the host that it is forwarded to */
	__u32 bytes;  /* from the frame's start to the inner frame's */
	__u32 vni;
	bool control;
};

static __always_inline struct udphdr *udp_of(const struct tunnel *t)
{
	return (void *)(t->outer + 1);
}

/* Or IPv6: its version says so. */
static __always_inline struct iphdr *inner_ip_of(const struct tunnel *t)
{
	return (void *)(t->inner + 1);
}

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
	if (bpf_ntohs(udp_of(t)->len) != total - sizeof(struct iphdr) ||
	    total < OUTER_HEADERS - sizeof(struct ethhdr) || ipv4_sum(t->outer) != 0xffff)
		return REASON_MALFORMED;
	return source_accepted(t->outer->saddr) ? GO_ON : REASON_UNDERLAY_SOURCE;
}

/* Through the Geneve header and its options. */
static __always_inline int geneve_read(const struct frame *frame, struct tunnel *t)
{
	struct geneve_header *geneve = (void *)(udp_of(t) + 1);
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

/* An IPv4 address has one form, or it would be taken for two. */
static __always_inline bool is_mapped(const struct address *a)
{
	return !(a->word[0] | a->word[1]) && a->word[2] == IPV4_MAPPED_WORD;
}

/* `bytes`: what there is from the inner IP header on. Control messages carry the beginning
 * of a packet, not the whole, and its lengths say more than is there. */
static __always_inline int inner_ipv4_read(const struct frame *frame, struct tunnel *t,
					   struct passage *passage, __u32 bytes,
					   bool whole)
{
	struct iphdr *ip = inner_ip_of(t);
	int left;

	if (bytes < sizeof(*ip))
		return REASON_TRUNCATED;
	left = ipv4_check(ip, frame->end, whole ? bytes : IP_BYTES_MAX);
	if (left != GO_ON)
		return left;
	address_from_ipv4(&passage->source, ip->saddr);
	address_from_ipv4(ADDRESS(t->destination.address), ip->daddr);
	return GO_ON;
}

static __always_inline int inner_ipv6_read(const struct frame *frame, struct tunnel *t,
					   struct passage *passage, __u32 bytes,
					   bool whole)
{
	struct ipv6hdr *ip = (void *)inner_ip_of(t);
	int left;

	if (bytes < sizeof(*ip))
		return REASON_TRUNCATED;
	left = ipv6_check(ip, frame->end, whole ? bytes : IP_BYTES_MAX);
	if (left != GO_ON)
		return left;
	passage->source = *ADDRESS(&ip->saddr);
	*ADDRESS(t->destination.address) = *ADDRESS(&ip->daddr);
	return is_mapped(ADDRESS(&ip->saddr)) || is_mapped(ADDRESS(&ip->daddr)) ? REASON_MARTIAN
										: GO_ON;
}

/* The inner packet's header and who talks to whom; the source is only reported and learned,
 * and so has its place in the passage alone. */
static __always_inline int inner_read(const struct frame *frame, struct tunnel *t,
				      struct passage *passage, bool whole)
{
	struct ethhdr *ethernet = frame->data + (t->bytes & TUNNEL_BYTES_MASK);
	__u32 bytes = bpf_ntohs(t->outer->tot_len) + sizeof(*ethernet) - t->bytes;

	if ((void *)(ethernet + 1) > frame->end || bytes < sizeof(*ethernet))
		return REASON_TRUNCATED;
	bytes -= sizeof(*ethernet);
	t->inner = ethernet;
	t->destination.vni = t->vni;
	if (ethernet->h_proto == bpf_htons(ETH_P_IP))
		return inner_ipv4_read(frame, t, passage, bytes, whole);
	if (ethernet->h_proto == bpf_htons(ETH_P_IPV6))
		return inner_ipv6_read(frame, t, passage, bytes, whole);
	return REASON_NOT_IP;
}

/* Did it come through a transit host? Its TTL tells, also where no ORIGIN fitted. */
static __always_inline bool came_by_transit(const struct tunnel *t)
{
	return t->options.origin_at || t->outer->ttl <= OUTER_TTL - TRANSIT_TTL_SHARE;
}

/* The sender's host; zero when the packet doesn't say. */
static __always_inline struct address origin_of(const struct frame *frame, const struct tunnel *t)
{
	struct address *said = frame->data + OUTER_HEADERS +
			       (t->options.origin_at & GENEVE_OPTIONS_MASK);
	struct address origin = {};

	if (t->options.origin_at && (void *)(said + 1) <= frame->end)
		return *said;
	if (!came_by_transit(t))
		address_from_ipv4(&origin, t->outer->saddr);
	return origin;
}

/* Straight from its sender to a holder of a transit table: most likely for another host,
 * so the table is asked first. It may lag behind `local` while an endpoint moves: that
 * costs a detour and no loop, as the next time the packet is none of these. */
static __always_inline bool is_first_hop(const struct tunnel *t)
{
	return t->options.origin_at && t->outer->ttl > OUTER_TTL - TRANSIT_TTL_SHARE;
}

/* What the exit reports of it beside the source, as far as it was read. */
static __always_inline void tunnel_tell(const struct tunnel *t, struct passage *passage)
{
	passage->vni = t->vni;
	passage->destination = *ADDRESS(t->destination.address);
	if (t->next)
		passage->next = *t->next;
}

#endif
