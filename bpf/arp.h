/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* ARP, answered on the host: every on-link address is at the virtual router's MAC. */
#ifndef MIZAR_ARP_H
#define MIZAR_ARP_H

#include "answer.h"

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

/* A probe (sender 0.0.0.0) is a question like any other. Questions about the
 * endpoint's own address stay without an answer: it would tell that the address is taken. */
static __noinline int arp_answer(struct __sk_buff *skb, const struct host_config *config,
				 const struct port *port)
{
	struct frame frame = frame_of_skb(skb);
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
	if (arp->operation != bpf_htons(ARPOP_REQUEST))
		return REASON_ARP_IGNORED;
	address_from_ipv4(ADDRESS(sender.address), arp->sender);
	address_from_ipv4(ADDRESS(target.address), arp->target);
	if (arp->sender && !endpoint_owns(&sender, skb->ifindex))
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
