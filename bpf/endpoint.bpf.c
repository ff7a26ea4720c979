// SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0)
/* The endpoint program: what a workload sends, at the host's side of its interface.
 *
 * Nothing gets past it to the host's own stack: a packet is delivered on this
 * host, sent over the backplane, answered, or dropped with a reason.
 */
#include "arp.h"
#include "deliver.h"
#include "dhcp.h"
#include "dhcp6.h"
#include "echo.h"
#include "encapsulate.h"
#include "location.h"
#include "nd.h"
#include "parse.h"
#include "transit.h"

#define HEADERS_READ (sizeof(struct ethhdr) + IPV4_HEADER_MAX + sizeof(struct tcphdr))

/* A packet on its way out of an endpoint. */
struct departure {
	struct host_config *config;
	struct port *port;
	struct endpoint_key source;
	struct endpoint_key destination;
	__u16 outer_port;
	__u8 tos;
	bool multicast_mac;
};

static __always_inline int port_find(struct __sk_buff *skb, struct departure *d)
{
	__u32 ifindex = skb->ifindex;

	d->config = configuration();
	if (!d->config || !d->config->uplink_ifindex)
		return REASON_NO_CONFIG;
	d->port = bpf_map_lookup_elem(&ports, &ifindex);
	return d->port ? GO_ON : REASON_NO_PORT;
}

static __always_inline bool is_vlan(__be16 protocol)
{
	return protocol == bpf_htons(ETH_P_8021Q) || protocol == bpf_htons(ETH_P_8021AD);
}

static __always_inline int ipv6_answer(struct __sk_buff *skb, struct departure *d)
{
	struct frame frame = frame_of_skb(skb);
	struct ipv6hdr *ip = frame.data + sizeof(struct ethhdr);
	int left = ipv6_check(ip, frame.end, frame.bytes - sizeof(struct ethhdr));
	bool to_router, from_link_local;
	struct address router;
	__u8 *type;

	if (left != GO_ON)
		return left;
	struct transport transport = ipv6_transport(ip, frame.end);

	type = (void *)ip + transport.offset;
	if (transport.offset && transport.protocol == IPPROTO_ICMPV6 &&
	    transport.offset <= EXTENSIONS_BYTES_MAX && (void *)(type + 1) <= frame.end &&
	    is_nd(*type))
		return nd_answer(skb, d->config, d->port, transport.extended);
	if (is_dhcp6(&transport, transport_ports(&transport, ip, frame.end)))
		return dhcp6_answer(skb, d->config, d->port, transport.offset);
	if (ip->daddr.s6_addr[0] == 0xff)
		return REASON_MULTICAST;
	address_link_local(&router, d->config->router_mac);
	to_router = address_equal(ADDRESS(&ip->daddr), &router);
	from_link_local = address_is_link_local(ADDRESS(&ip->saddr));
	d->source.vni = d->port->vni;
	*ADDRESS(d->source.address) = *ADDRESS(&ip->saddr);
	if (from_link_local && to_router) {
		left = echo_answer(skb, d->config, d->port, &transport, true);
		return left == GO_ON ? REASON_LINK_LOCAL : left;
	}
	if (from_link_local || address_is_link_local(ADDRESS(&ip->daddr)))
		return REASON_LINK_LOCAL;
	if (!endpoint_owns(&d->source, skb->ifindex))
		return REASON_SPOOFED_ADDRESS;
	if (address_equal(ADDRESS(&ip->daddr), ADDRESS(d->port->gateway6))) {
		left = echo_answer(skb, d->config, d->port, &transport, true);
		return left == GO_ON ? REASON_GATEWAY : left;
	}
	return REASON_NOT_IP;
}

static __always_inline int ethernet_check(struct __sk_buff *skb, struct departure *d)
{
	struct frame frame = frame_of_skb(skb);
	struct ethhdr *ethernet = frame.data;

	if ((void *)(ethernet + 1) > frame.end)
		return REASON_TRUNCATED;
	/* The kernel has taken the outer tag off the frame; a second one is still in it. */
	if (skb->vlan_present || is_vlan(ethernet->h_proto))
		return REASON_VLAN;
	if (!mac_equal(ethernet->h_source, d->port->mac))
		return REASON_SPOOFED_MAC;
	if (ethernet->h_proto == bpf_htons(ETH_P_ARP))
		return arp_answer(skb, d->config, d->port);
	if (ethernet->h_proto == bpf_htons(ETH_P_IPV6))
		return ipv6_answer(skb, d);
	if (ethernet->h_proto != bpf_htons(ETH_P_IP))
		return REASON_NOT_IP;
	d->multicast_mac = ethernet->h_dest[0] & 1;
	return GO_ON;
}

static __always_inline int size_check(struct __sk_buff *skb, const struct iphdr *ip,
				      const void *end, __u32 endpoint_mtu)
{
	__u32 headers;

	if (!skb->gso_size)
		return skb->len - sizeof(struct ethhdr) > endpoint_mtu ? REASON_TOO_BIG : GO_ON;
	headers = segment_headers(ip, end);
	if (!headers)
		return REASON_TRUNCATED;
	return headers + skb->gso_size > endpoint_mtu ? REASON_TOO_BIG : GO_ON;
}

static __always_inline bool is_multicast(__be32 destination)
{
	return (destination & bpf_htonl(0xf0000000)) == bpf_htonl(0xe0000000) ||
	       destination == bpf_htonl(0xffffffff);
}

static __always_inline bool on_link(const struct departure *d)
{
	return address_in_subnet(ADDRESS(d->destination.address), ADDRESS(d->port->subnet4),
				 ADDRESS(d->port->mask4));
}

static __always_inline bool is_subnet_broadcast(const struct departure *d)
{
	__be32 host_bits = ~address_ipv4(ADDRESS(d->port->mask4));

	return bpf_ntohl(host_bits) > 1 && on_link(d) &&
	       !(~address_ipv4(ADDRESS(d->destination.address)) & host_bits);
}

/* Reads the IPv4 header, once; takes what routing between networks costs. */
static __always_inline int packet_check(struct __sk_buff *skb, struct departure *d)
{
	struct frame frame = frame_of_skb(skb);
	struct iphdr *ip = frame.data + sizeof(struct ethhdr);
	int left = ipv4_check(ip, frame.end, frame.bytes - sizeof(struct ethhdr));

	if (left != GO_ON)
		return left;
	struct transport transport = ipv4_transport(ip);

	if (is_dhcp(&transport, transport_ports(&transport, ip, frame.end)) &&
	    (void *)ip + transport.offset + sizeof(struct udphdr) <= frame.end)
		return dhcp_answer(skb, d->config, d->port, transport.offset);
	d->source.vni = d->port->vni;
	d->destination.vni = d->port->vni;
	address_from_ipv4(ADDRESS(d->source.address), ip->saddr);
	address_from_ipv4(ADDRESS(d->destination.address), ip->daddr);
	if (d->multicast_mac)
		return REASON_MULTICAST;
	if (!endpoint_owns(&d->source, skb->ifindex))
		return REASON_SPOOFED_ADDRESS;
	if (is_multicast(ip->daddr) || is_subnet_broadcast(d))
		return REASON_MULTICAST;
	if (address_equal(ADDRESS(d->destination.address), ADDRESS(d->port->gateway4))) {
		left = echo_answer(skb, d->config, d->port, &transport, false);
		return left == GO_ON ? REASON_GATEWAY : left;
	}
	left = size_check(skb, ip, frame.end, d->config->endpoint_mtu);
	if (left != GO_ON)
		return left;

	d->tos = ip->tos;
	d->outer_port = source_port(flow_hash(ADDRESS(d->source.address),
					      ADDRESS(d->destination.address),
					      transport_ports(&transport, ip, frame.end), ip->protocol));
	if (on_link(d))
		return GO_ON;
	if (ip->ttl <= 1)
		return REASON_HOP_LIMIT;
	ipv4_ttl_decrement(ip);
	return GO_ON;
}

static __always_inline int send(struct __sk_buff *skb, const struct departure *d,
				const struct address *to, bool to_transit, enum reason reason)
{
	struct dispatch way = {
		.to = *to,
		.vni = d->port->vni,
		.identity = d->port->identity,
		.port = d->outer_port,
		.tos = d->tos,
		.to_transit = to_transit,
	};
	int left = encapsulate(skb, d->config, &way);

	return left == GO_ON ? reason : left;
}

static __always_inline int deliver_same_host(struct __sk_buff *skb, const struct departure *d)
{
	struct local_endpoint *to = bpf_map_lookup_elem(&local, &d->destination);
	int left;

	if (!to)
		return GO_ON;
	left = endpoint_receive(skb, d->config, to);
	return left == GO_ON ? REASON_DELIVERED_SAME_HOST : left;
}

/* Where the packet goes: `*to` and the reason it would leave with, or why it can't. */
static __always_inline enum reason route(const struct departure *d, struct address **to)
{
	struct prefix_key prefix = prefix_key_of(&d->destination);
	struct transit_set *set;

	*to = location_host(&d->destination, clock_ns(d->config));
	if (*to)
		return REASON_SENT_DIRECT;
	set = bpf_map_lookup_elem(&routes, &prefix);
	if (!set)
		return REASON_NO_ROUTE;
	*to = holder_choose(set, d->outer_port);
	if (!*to)
		return REASON_NO_ROUTE;
	if (address_equal(*to, ADDRESS(d->config->host)))
		return transit_next(d->config, &d->destination, d->outer_port, to);
	return set->kind == TRANSIT_ROUTER ? REASON_SENT_ROUTER : REASON_SENT_SWITCH;
}

static __always_inline int route_and_send(struct __sk_buff *skb, const struct departure *d)
{
	struct address *to = 0;
	enum reason reason = route(d, &to);
	bool to_endpoint = reason == REASON_SENT_DIRECT || reason == REASON_SWITCHED;

	if (verdict_of(reason) != VERDICT_PASS || !to)
		return reason;
	return send(skb, d, to, !to_endpoint, reason);
}

static __always_inline int stages(struct __sk_buff *skb, struct passage *passage)
{
	struct departure d = {};
	int left = port_find(skb, &d);

	if (left != GO_ON)
		return left;
	pull(skb, HEADERS_READ);
	left = ethernet_check(skb, &d);
	if (left != GO_ON)
		return left;
	left = packet_check(skb, &d);
	if (left != GO_ON)
		return left;
	left = deliver_same_host(skb, &d);
	if (left != GO_ON)
		return left;
	return route_and_send(skb, &d);
}

SEC("tc")
int endpoint(struct __sk_buff *skb)
{
	__u64 bytes = skb->len;
	struct passage passage = {.ifindex = skb->ifindex};
	enum reason reason = stages(skb, &passage);

	return leave_tc(skb, &passage, PROGRAM_ENDPOINT, reason, bytes);
}

char _license[] SEC("license") = "GPL";
