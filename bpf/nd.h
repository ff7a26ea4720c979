/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* Neighbour discovery (RFC 4861), answered on the host: every on-link address is at the
 * virtual router's MAC, and the virtual router is the link's only one. */
#ifndef MIZAR_ND_H
#define MIZAR_ND_H

#include "answer.h"

/* linux/icmpv6.h lacks the messages; numbers of RFC 4861, 4.1 to 4.6. */
#define ND_OFFSET (sizeof(struct ethhdr) + sizeof(struct ipv6hdr))
#define ND_ROUTER_SOLICIT 133
#define ND_ROUTER_ADVERT 134
#define ND_NEIGHBOUR_SOLICIT 135
#define ND_NEIGHBOUR_ADVERT 136
#define ND_REDIRECT 137
#define ND_HOPS 255              /* a router would have taken one: it came from the link */
#define ND_FROM_ROUTER 0x80
#define ND_SOLICITED 0x40
#define ND_OVERRIDE 0x20
#define ND_MANAGED 0x80          /* addresses are given by DHCPv6 */
#define ND_ON_LINK 0x80
#define ND_ROUTER_LIFETIME_S 65535  /* the longest (RFC 8319): nobody advertises unasked */
#define ND_FOREVER 0xffffffff
#define ND_SOURCE_MAC 1          /* options; their lengths are in words of 8 bytes */
#define ND_TARGET_MAC 2
#define ND_PREFIX 3
#define ND_MTU 5
#define ALL_NODES_WORDS {bpf_htonl(0xff020000), 0, 0, bpf_htonl(1)}  /* ff02::1 */

struct neighbour_solicitation {
	struct icmp_head message;
	struct address target;
};

struct nd_mac_option {
	__u8 type;
	__u8 words;
	__u8 mac[MAC_BYTES];
};

struct neighbour_advertisement {
	struct answer_ipv6 head;
	__u8 type;
	__u8 code;
	__be16 checksum;
	__u8 flags;
	__u8 reserved[3];
	struct address target;
	struct nd_mac_option mac;
};

struct router_advertisement {
	struct answer_ipv6 head;
	__u8 type;
	__u8 code;
	__be16 checksum;
	__u8 hop_limit;
	__u8 flags;
	__be16 lifetime;
	__be32 reachable;
	__be32 retransmission;
	struct nd_mac_option mac;
	struct {
		__u8 type;
		__u8 words;
		__be16 reserved;
		__be32 mtu;
	} mtu;
	struct {
		__u8 type;
		__u8 words;
		__u8 bits;
		__u8 flags;
		__be32 valid;
		__be32 preferred;
		__be32 reserved;
		struct address prefix;
	} prefix;
};
#define ND_BYTES(type) (sizeof(struct type) - sizeof(struct answer_ipv6))

/* Who asked; zero: duplicate address detection. */
struct nd_question {
	__u8 type;
	__u16 bytes;  /* of ICMPv6 */
	struct endpoint_key source;
};

static __always_inline int nd_read(struct __sk_buff *skb, const struct port *port, bool extended,
				   struct nd_question *asked)
{
	struct icmp_head message;
	struct ipv6hdr ip;

	if (bpf_skb_load_bytes(skb, sizeof(struct ethhdr), &ip, sizeof(ip)))
		return REASON_TRUNCATED;
	if (extended || ip.hop_limit != ND_HOPS)
		return REASON_ND_IGNORED;
	if (bpf_ntohs(ip.payload_len) < sizeof(message) ||
	    bpf_skb_load_bytes(skb, ND_OFFSET, &message, sizeof(message)))
		return REASON_TRUNCATED;
	asked->type = message.type;
	asked->bytes = bpf_ntohs(ip.payload_len);
	asked->source.vni = port->vni;
	*ADDRESS(asked->source.address) = *ADDRESS(&ip.saddr);
	return message.code ? REASON_ND_IGNORED : GO_ON;
}

static __always_inline bool nd_source_allowed(const struct nd_question *asked, __u32 ifindex)
{
	const struct address *source = ADDRESS(asked->source.address);

	return address_is_zero(source) || address_is_link_local(source) ||
	       endpoint_owns(&asked->source, ifindex);
}

/* To whom: who asked, or all nodes where that isn't known yet. */
static __always_inline struct address nd_asker(const struct nd_question *asked)
{
	struct address all_nodes = {.word = ALL_NODES_WORDS};

	return address_is_zero(ADDRESS(asked->source.address)) ?
		       all_nodes : *ADDRESS(asked->source.address);
}

static __always_inline void nd_mac(struct nd_mac_option *option, __u8 type,
				   const struct host_config *config)
{
	option->type = type;
	option->words = sizeof(*option) / 8;
	mac_copy(option->mac, config->router_mac);
}

static __noinline int neighbour_advertise(struct __sk_buff *skb, const struct host_config *config,
					  const struct port *port, const struct nd_question *asked)
{
	struct endpoint_key key = {.vni = port->vni};
	const struct address *target = ADDRESS(key.address);
	struct neighbour_advertisement *answer = answer_scratch();
	struct address router, to = nd_asker(asked);
	bool is_router;

	if (asked->bytes < sizeof(struct neighbour_solicitation) ||
	    bpf_skb_load_bytes(skb, ND_OFFSET + offsetof(struct neighbour_solicitation, target),
			       key.address, sizeof(key.address)))
		return REASON_TRUNCATED;
	address_link_local(&router, config->router_mac);
	is_router = address_equal(target, &router);
	if (!answer || endpoint_owns(&key, skb->ifindex) ||
	    (!is_router && !address_in_subnet(target, ADDRESS(port->subnet6), ADDRESS(port->mask6))))
		return REASON_ND_IGNORED;
	is_router |= address_equal(target, ADDRESS(port->gateway6));
	__builtin_memset(answer, 0, sizeof(*answer));
	answer_ethernet(&answer->head.ethernet, config, port->mac, ETH_P_IPV6);
	answer_ipv6(&answer->head, target, &to, IPPROTO_ICMPV6,
		    ND_BYTES(neighbour_advertisement), ND_HOPS);
	answer->type = ND_NEIGHBOUR_ADVERT;
	answer->flags = ND_OVERRIDE;
	if (is_router)
		answer->flags |= ND_FROM_ROUTER;
	if (!address_is_zero(ADDRESS(asked->source.address)))
		answer->flags |= ND_SOLICITED;
	answer->target = *target;
	nd_mac(&answer->mac, ND_TARGET_MAC, config);
	answer->checksum = answer_ipv6_checksum(&answer->head, ND_BYTES(neighbour_advertisement));
	return answer_send(skb, &answer->head.ethernet, sizeof(*answer) - sizeof(__u16),
			   REASON_ND_ANSWERED);
}

static __always_inline __u8 mask_bits(const struct address *mask)
{
	__u8 bits = 0;

	for (int i = 0; i < 4; i++)
		bits += __builtin_popcount(mask->word[i]);
	return bits;
}

static __noinline int router_advertise(struct __sk_buff *skb, const struct host_config *config,
				       const struct port *port, const struct nd_question *asked)
{
	struct router_advertisement *answer = answer_scratch();
	struct address router, to = nd_asker(asked);

	if (!answer || address_is_zero(ADDRESS(port->gateway6)))
		return REASON_ND_IGNORED;
	address_link_local(&router, config->router_mac);
	__builtin_memset(answer, 0, sizeof(*answer));
	answer_ethernet(&answer->head.ethernet, config, port->mac, ETH_P_IPV6);
	answer_ipv6(&answer->head, &router, &to, IPPROTO_ICMPV6, ND_BYTES(router_advertisement),
		    ND_HOPS);
	answer->type = ND_ROUTER_ADVERT;
	answer->hop_limit = ANSWER_HOPS;
	answer->flags = ND_MANAGED;
	answer->lifetime = bpf_htons(ND_ROUTER_LIFETIME_S);
	nd_mac(&answer->mac, ND_SOURCE_MAC, config);
	answer->mtu.type = ND_MTU;
	answer->mtu.words = sizeof(answer->mtu) / 8;
	answer->mtu.mtu = bpf_htonl(config->endpoint_mtu);
	answer->prefix.type = ND_PREFIX;
	answer->prefix.words = sizeof(answer->prefix) / 8;
	answer->prefix.bits = mask_bits(ADDRESS(port->mask6));
	answer->prefix.flags = ND_ON_LINK;
	answer->prefix.valid = ND_FOREVER;
	answer->prefix.preferred = ND_FOREVER;
	answer->prefix.prefix = *ADDRESS(port->subnet6);
	answer->checksum = answer_ipv6_checksum(&answer->head, ND_BYTES(router_advertisement));
	return answer_send(skb, &answer->head.ethernet, sizeof(*answer) - sizeof(__u16),
			   REASON_ND_ANSWERED);
}

static __always_inline bool is_nd(__u8 type)
{
	return type >= ND_ROUTER_SOLICIT && type <= ND_REDIRECT;
}

/* Could neighbour discovery lie behind more headers than we read? A receiver reads them all
 * (RFC 7113, 3), and takes the message for its link's: nothing on the way changes 255. */
static __always_inline bool nd_may_hide(const struct transport *transport, __u8 hop_limit)
{
	return hop_limit == ND_HOPS && !transport->offset && !transport->later_fragment &&
	       (transport->protocol == IPPROTO_ICMPV6 || is_extension(transport->protocol));
}

/* `extended`: extension headers are in front of the ICMPv6 header. */
static __noinline int nd_answer(struct __sk_buff *skb, const struct host_config *config,
				const struct port *port, bool extended)
{
	struct nd_question asked = {};
	int left = nd_read(skb, port, extended, &asked);

	if (left != GO_ON)
		return left;
	if (asked.type != ND_ROUTER_SOLICIT && asked.type != ND_NEIGHBOUR_SOLICIT)
		return REASON_ND_IGNORED;
	if (!nd_source_allowed(&asked, skb->ifindex))
		return REASON_SPOOFED_ADDRESS;
	if (asked.type == ND_ROUTER_SOLICIT)
		return router_advertise(skb, config, port, &asked);
	return neighbour_advertise(skb, config, port, &asked);
}

#endif
