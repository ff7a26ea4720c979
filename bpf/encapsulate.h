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

/* One packet's way to the host `to`. */
struct dispatch {
	struct address to;
	__u32 vni;
	__u32 identity;
	__u16 port;       /* outer source port */
	__u8 tos;         /* the inner packet's */
	bool to_transit;  /* to a holder of a transit table, which must know the origin */
};

/* The kernel's marks for segmentation exist once per packet: what a workload has
 * tunnelled itself gets room alone, and if it is GSO, it could never be cut. */
static __always_inline bool room_made(struct __sk_buff *skb, __u32 bytes)
{
	long failed = bpf_skb_adjust_room(skb, bytes, BPF_ADJ_ROOM_MAC, ENCAPSULATE_FLAGS);

	if (failed == ALREADY_ENCAPSULATED && !skb->gso_size)
		failed = bpf_skb_adjust_room(skb, bytes, BPF_ADJ_ROOM_MAC,
					     BPF_F_ADJ_ROOM_FIXED_GSO);
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
	header->geneve.protocol = GENEVE_ETHERNET;
	header->geneve.vni = bpf_htonl(way->vni << 8);
	header->identity_option = option_of(OPTION_IDENTITY, sizeof(header->identity));
	header->identity = bpf_htonl(way->identity);
}

/* The receiver writes the real destination MAC, so both are the router's here. */
static __always_inline void inner_ethernet_write(struct ethhdr *inner,
						 const struct host_config *config)
{
	mac_copy(inner->h_dest, config->router_mac);
	mac_copy(inner->h_source, config->router_mac);
	inner->h_proto = bpf_htons(ETH_P_IP);
}

static __always_inline int encapsulate(struct __sk_buff *skb, const struct host_config *config,
				       const struct dispatch *way)
{
	__u32 identity_bytes = sizeof(struct geneve_option) + sizeof(__be32);
	__u32 outer_bytes = skb->len - sizeof(struct ethhdr) + TUNNEL_BYTES;
	bool with_origin = way->to_transit && !skb->gso_size &&
			   outer_bytes + sizeof(struct origin_part) <= config->underlay_mtu;
	struct tunnel_header *header;
	struct frame frame;

	if (outer_bytes > IPV4_BYTES_MAX)
		return REASON_TOO_BIG;
	if (!room_made(skb, TUNNEL_BYTES + (with_origin ? sizeof(struct origin_part) : 0)))
		return REASON_ENCAPSULATION_FAILED;
	frame = frame_of_skb(skb);
	header = frame.data + sizeof(struct ethhdr);
	if ((void *)header + TUNNEL_BYTES + sizeof(struct origin_part) > frame.end)
		return REASON_TRUNCATED;
	if (with_origin) {
		struct origin_part *origin = (void *)(header + 1);

		outer_write(header, outer_bytes + sizeof(*origin), config, way,
			    identity_bytes + sizeof(*origin));
		origin->option = option_of(OPTION_ORIGIN, sizeof(origin->host));
		origin->host = *ADDRESS(config->host);
		inner_ethernet_write((void *)(origin + 1), config);
	} else {
		outer_write(header, outer_bytes, config, way, identity_bytes);
		inner_ethernet_write((void *)(header + 1), config);
	}
	if (bpf_redirect_neigh(config->uplink_ifindex, 0, 0, 0) != TC_ACT_REDIRECT)
		return REASON_REDIRECT_FAILED;
	return GO_ON;
}

#endif
