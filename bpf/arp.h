/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* ARP, answered on the host: every on-link address is at the virtual router's MAC. */
#ifndef MIZAR_ARP_H
#define MIZAR_ARP_H

#include "address.h"
#include "exit.h"
#include "parse.h"

/* linux/if_arp.h needs a C library for another machine. */
#define ARPHRD_ETHER 1
#define ARPOP_REQUEST 1
#define ARPOP_REPLY 2

struct arp_ipv4 {
	__be16 hardware;
	__be16 protocol;
	__u8 hardware_bytes;
	__u8 protocol_bytes;
	__be16 operation;
	__u8 sender_mac[MAC_BYTES];
	__be32 sender;
	__u8 target_mac[MAC_BYTES];
	__be32 target;
} __attribute__((packed));

static __always_inline bool endpoint_owns(const struct endpoint_key *key, __u32 ifindex)
{
	struct local_endpoint *owner = bpf_map_lookup_elem(&local, key);

	return owner && owner->ifindex == ifindex;
}

static __always_inline void arp_reply_write(struct ethhdr *ethernet, struct arp_ipv4 *arp,
					    const struct host_config *config)
{
	__be32 target = arp->target;

	mac_copy(ethernet->h_dest, arp->sender_mac);
	mac_copy(ethernet->h_source, config->router_mac);
	arp->operation = bpf_htons(ARPOP_REPLY);
	mac_copy(arp->target_mac, arp->sender_mac);
	arp->target = arp->sender;
	mac_copy(arp->sender_mac, config->router_mac);
	arp->sender = target;
}

/* Probes (sender 0.0.0.0) and questions about the endpoint's own address stay
 * without an answer: one would tell it that the address is taken. */
static __always_inline int arp_answer(struct __sk_buff *skb, struct frame frame,
				      const struct host_config *config, const struct port *port)
{
	struct ethhdr *ethernet = frame.data;
	struct arp_ipv4 *arp = (void *)(ethernet + 1);
	struct endpoint_key sender = {.vni = port->vni}, target = {.vni = port->vni};

	if ((void *)(arp + 1) > frame.end)
		return REASON_TRUNCATED;
	if (arp->hardware != bpf_htons(ARPHRD_ETHER) || arp->protocol != bpf_htons(ETH_P_IP) ||
	    arp->hardware_bytes != MAC_BYTES || arp->protocol_bytes != 4)
		return REASON_MALFORMED;
	if (!mac_equal(arp->sender_mac, port->mac))
		return REASON_SPOOFED_MAC;
	if (arp->operation != bpf_htons(ARPOP_REQUEST) || !arp->sender)
		return REASON_ARP_IGNORED;
	address_from_ipv4(ADDRESS(sender.address), arp->sender);
	address_from_ipv4(ADDRESS(target.address), arp->target);
	if (!endpoint_owns(&sender, skb->ifindex))
		return REASON_SPOOFED_ADDRESS;
	if (endpoint_owns(&target, skb->ifindex))
		return REASON_ARP_IGNORED;
	if (!address_in_subnet(ADDRESS(target.address), ADDRESS(port->subnet4),
			       ADDRESS(port->mask4)))
		return REASON_ARP_IGNORED;
	arp_reply_write(ethernet, arp, config);
	if (bpf_redirect(skb->ifindex, 0) != TC_ACT_REDIRECT)
		return REASON_REDIRECT_FAILED;
	return REASON_ARP_ANSWERED;
}

#endif
