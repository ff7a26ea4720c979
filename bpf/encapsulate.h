/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* Putting the tunnel in front of a packet, GSO or not, and sending it off. */
#ifndef MIZAR_ENCAPSULATE_H
#define MIZAR_ENCAPSULATE_H

#include "checksum.h"
#include "ecn.h"
#include "geneve.h"
#include "hash.h"
#include "parse.h"

/* 14, the inner Ethernet header alone: with Geneve's counted in, GSO packets are lost. */
#define ENCAPSULATE_FLAGS \
	(BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | BPF_F_ADJ_ROOM_ENCAP_L4_UDP | \
	 BPF_F_ADJ_ROOM_ENCAP_L2_ETH | BPF_F_ADJ_ROOM_ENCAP_L2(sizeof(struct ethhdr)))
#define TUNNEL_BYTES (sizeof(struct tunnel_header) + sizeof(struct ethhdr))
#define ALREADY_ENCAPSULATED (-114) /* -EALREADY */
#define IPV4_BYTES_MAX 65535

/* How one packet is sent, and to whom. */
struct dispatch {
	struct address to;
	__u32 vni;
	__u32 identity;
	__u32 trace;      /* 0: not traced */
	__be16 protocol;  /* the packet's EtherType */
	__u16 port;       /* outer source port */
	__u8 tos;         /* the inner packet's */
	__u8 control;     /* option of a control message; 0: data */
	bool with_origin; /* the receiver must know this host, if it isn't the outer source */
};

/* Room alone, without the kernel's marks for segmentation. Those also make an IPv6 packet an
 * IPv4 one for redirect_neigh: without them the helper for translation does, which cuts off
 * what it thinks is too long in a header. */
static __noinline bool room_made_bare(struct __sk_buff *skb, __u32 bytes, __be16 protocol)
{
	__u8 start[sizeof(struct ipv6hdr) - sizeof(struct iphdr)] = {};

	if (protocol != bpf_htons(ETH_P_IPV6))
		return !bpf_skb_adjust_room(skb, bytes, BPF_ADJ_ROOM_MAC, 0);
	return !bpf_skb_load_bytes(skb, sizeof(struct ethhdr), start, sizeof(start)) &&
	       !bpf_skb_change_proto(skb, bpf_htons(ETH_P_IP), 0) &&
	       !bpf_skb_adjust_room(skb, bytes + sizeof(start), BPF_ADJ_ROOM_MAC, 0) &&
	       !bpf_skb_store_bytes(skb, sizeof(struct ethhdr) + bytes, start, sizeof(start), 0);
}

/* The marks exist once per packet: what a workload has tunnelled itself gets room alone, and
 * if it is GSO, it could never be cut. */
static __always_inline bool room_made(struct __sk_buff *skb, __u32 bytes, __be16 protocol)
{
	long failed = bpf_skb_adjust_room(skb, bytes, BPF_ADJ_ROOM_MAC, ENCAPSULATE_FLAGS);

	if (failed == ALREADY_ENCAPSULATED && !skb->gso_size)
		return room_made_bare(skb, bytes, protocol);
	return !failed;
}

static __always_inline void outer_write(struct tunnel_header *header, __u32 bytes,
					const struct host_config *config,
					const struct dispatch *way, __u32 options)
{
	__builtin_memset(header, 0, sizeof(*header));
	header->ip.version = 4;
	header->ip.ihl = sizeof(struct iphdr) / 4;
	header->ip.tos = ecn_outer(way->tos);
	header->ip.tot_len = bpf_htons(bytes);
	header->ip.frag_off = bpf_htons(DONT_FRAGMENT);
	header->ip.ttl = OUTER_TTL;
	header->ip.protocol = IPPROTO_UDP;
	header->ip.saddr = address_ipv4(ADDRESS(config->host));
	header->ip.daddr = address_ipv4(&way->to);
	ipv4_checksum_set(&header->ip);
	header->udp.source = bpf_htons(way->port);
	header->udp.dest = bpf_htons(GENEVE_PORT);
	header->udp.len = bpf_htons(bytes - sizeof(struct iphdr));
	header->geneve.version_length = options / 4;
	header->geneve.flags = way->control ? GENEVE_CONTROL : 0;
	header->geneve.protocol = GENEVE_ETHERNET;
	header->geneve.vni = bpf_htonl(way->vni << 8);
	header->identity_option = option_of(OPTION_IDENTITY, sizeof(header->identity));
	header->identity = bpf_htonl(way->identity);
}

/* The receiver writes the real destination MAC, so both are the router's here. */
static __always_inline void inner_ethernet_write(struct ethhdr *inner,
						 const struct host_config *config,
						 __be16 protocol)
{
	mac_copy(inner->h_dest, config->router_mac);
	mac_copy(inner->h_source, config->router_mac);
	inner->h_proto = protocol;
}

/* What stands between IDENTITY and the inner frame. */
struct extras {
	bool origin;
	bool trace;
	__u32 bytes;
};

/* In data, only what fits; a GSO packet's segments would each have it, and not fit. */
static __always_inline struct extras extras_choose(const struct dispatch *way, bool gso,
						   __u32 bytes, __u32 underlay_mtu)
{
	struct extras extras = {};

	if (way->control)
		extras.bytes = sizeof(struct geneve_option);
	if (way->with_origin &&
	    (way->control || (!gso && bytes + sizeof(struct origin_part) <= underlay_mtu))) {
		extras.origin = true;
		extras.bytes += sizeof(struct origin_part);
	}
	if (way->trace && !gso && bytes + extras.bytes + sizeof(struct trace_part) <= underlay_mtu) {
		extras.trace = true;
		extras.bytes += sizeof(struct trace_part);
	}
	return extras;
}

/* In the order of the contract; returns where the inner frame begins, NULL: out of room. */
static __always_inline void *extras_write(void *at, const void *end,
					  const struct host_config *config,
					  const struct dispatch *way, const struct extras *extras)
{
	if (extras->origin) {
		struct origin_part *origin = at;

		at = origin + 1;
		if (at > end)
			return 0;
		origin->option = option_of(OPTION_ORIGIN, sizeof(origin->host));
		origin->host = *ADDRESS(config->host);
	}
	if (extras->trace) {
		struct trace_part *trace = at;

		at = trace + 1;
		if (at > end)
			return 0;
		trace->option = option_of(OPTION_TRACE, sizeof(trace->trace));
		trace->trace = bpf_htonl(way->trace);
	}
	if (way->control) {
		struct geneve_option *control = at;

		at = control + 1;
		if (at > end)
			return 0;
		*control = option_of(way->control, 0);
	}
	return at;
}

static __always_inline int tunnel_write(struct __sk_buff *skb, const struct host_config *config,
					const struct dispatch *way, const struct extras *extras,
					__u32 bytes)
{
	struct frame frame = frame_of_skb(skb);
	struct ethhdr *outer = frame.data, *inner;
	struct tunnel_header *header = (void *)(outer + 1);

	if ((void *)(header + 1) > frame.end)
		return REASON_TRUNCATED;
	outer->h_proto = bpf_htons(ETH_P_IP);
	outer_write(header, bytes, config, way, IDENTITY_PART_BYTES + extras->bytes);
	inner = extras_write(header + 1, frame.end, config, way, extras);
	if (!inner || (void *)(inner + 1) > frame.end)
		return REASON_TRUNCATED;
	inner_ethernet_write(inner, config, way->protocol);
	return GO_ON;
}

static __always_inline int encapsulate(struct __sk_buff *skb, const struct host_config *config,
				       const struct dispatch *way)
{
	__u32 bytes = skb->len - sizeof(struct ethhdr) + TUNNEL_BYTES;
	struct extras extras = extras_choose(way, skb->gso_size, bytes, config->underlay_mtu);
	int left;

	bytes += extras.bytes;
	if (bytes > IPV4_BYTES_MAX)
		return REASON_TOO_BIG;
	if (!room_made(skb, TUNNEL_BYTES + extras.bytes, way->protocol))
		return REASON_ENCAPSULATION_FAILED;
	left = tunnel_write(skb, config, way, &extras, bytes);
	if (left != GO_ON)
		return left;
	if (bpf_redirect_neigh(config->uplink_ifindex, 0, 0, 0) != TC_ACT_REDIRECT)
		return REASON_REDIRECT_FAILED;
	return GO_ON;
}

#endif
