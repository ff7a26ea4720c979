// SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0)
/* The endpoint program: what a workload sends, at the host's side of its interface.
 *
 * Nothing gets past it to the host's own stack: a packet is delivered on this
 * host, sent over the backplane, answered, or dropped with a reason. The stages
 * below are the steps of docs/data-path.md, section 1.
 */
#include "arp.h"
#include "deliver.h"
#include "dhcp.h"
#include "dhcp6.h"
#include "echo.h"
#include "encapsulate.h"
#include "icmp.h"
#include "location.h"
#include "nd.h"
#include "offload.h"
#include "parse.h"
#include "resize.h"
#include "way.h"

/* What has to lie in one piece of a packet without options or extension headers. */
#define ARP_HEADERS (sizeof(struct ethhdr) + sizeof(struct arp_ipv4))
#define IPV4_HEADERS (sizeof(struct ethhdr) + sizeof(struct iphdr) + sizeof(struct tcphdr))
#define IPV6_HEADERS (sizeof(struct ethhdr) + sizeof(struct ipv6hdr) + sizeof(struct tcphdr))

/* What is read of a packet. */
struct packet {
	struct arrival arrival;  /* as `deliver` has it, if it is for this host */
	struct transport transport;
	__u32 ports;             /* source << 16 | destination, or 0 */
	__be16 protocol;         /* EtherType */
	__u8 tos;
	__u8 hops;               /* TTL or hop limit */
};

/* A packet on its way out of an endpoint. */
struct departure {
	struct host_config *config;
	struct port *port;
	struct packet packet;
	__u32 trace;             /* 0: not traced */
	__u16 outer_port;
};

/* The port's columns of one family, in the order that struct port has them. */
struct family {
	struct address subnet;
	struct address mask;
	struct address gateway;
	struct address address;
};

static __always_inline bool is_ipv6(const struct departure *d)
{
	return d->packet.protocol == bpf_htons(ETH_P_IPV6);
}

static __always_inline struct family *family_of(const struct departure *d)
{
	return (void *)(is_ipv6(d) ? d->port->subnet6 : d->port->subnet4);
}

static __always_inline const struct address *source_of(const struct departure *d)
{
	return ADDRESS(d->packet.arrival.source.address);
}

static __always_inline const struct address *destination_of(const struct departure *d)
{
	return ADDRESS(d->packet.arrival.destination.address);
}

static __always_inline int port_find(struct __sk_buff *skb, struct departure *d)
{
	__u32 ifindex = skb->ifindex;

	d->config = configuration();
	if (!d->config || !d->config->uplink_ifindex)
		return REASON_NO_CONFIG;
	d->port = bpf_map_lookup_elem(&ports, &ifindex);
	return d->port ? GO_ON : REASON_NO_PORT;
}

/* ---- reading ---- */

static __always_inline bool is_vlan(__be16 protocol)
{
	return protocol == bpf_htons(ETH_P_8021Q) || protocol == bpf_htons(ETH_P_8021AD);
}

/* A question's source was checked when it was a packet. */
static __always_inline int ethernet_check(struct __sk_buff *skb, struct departure *d,
					  __u8 question)
{
	struct frame frame = frame_of_skb(skb);
	struct ethhdr *ethernet = frame.data;

	if ((void *)(ethernet + 1) > frame.end)
		return REASON_TRUNCATED;
	d->packet.protocol = ethernet->h_proto;
	/* The kernel has taken the outer tag off the frame; a second one is still in it. */
	if (skb->vlan_present || is_vlan(d->packet.protocol))
		return REASON_VLAN;
	if (question)
		return GO_ON;
	if (!mac_equal(ethernet->h_source, d->port->mac))
		return REASON_SPOOFED_MAC;
	if (d->packet.protocol != bpf_htons(ETH_P_ARP))
		return GO_ON;
	pull(skb, ARP_HEADERS);
	return arp_answer(skb, d->config, d->port);
}

static __always_inline int ipv4_read(struct __sk_buff *skb, struct packet *packet)
{
	struct frame frame;
	struct iphdr *ip;
	int left;

	pull(skb, IPV4_HEADERS);
	frame = frame_of_skb(skb);
	ip = frame.data + sizeof(struct ethhdr);
	left = ipv4_check(ip, frame.end, frame.bytes - sizeof(struct ethhdr));
	if (left != GO_ON)
		return left;
	if (ip->ihl > sizeof(*ip) / 4) {
		pull(skb, HEADERS_READ);
		frame = frame_of_skb(skb);
		ip = frame.data + sizeof(struct ethhdr);
		if ((void *)(ip + 1) > frame.end)
			return REASON_TRUNCATED;
	}
	packet->transport = ipv4_transport(ip);
	packet->tos = ip->tos;
	packet->hops = ip->ttl;
	address_from_ipv4(ADDRESS(packet->arrival.source.address), ip->saddr);
	address_from_ipv4(ADDRESS(packet->arrival.destination.address), ip->daddr);
	packet->ports = transport_ports(&packet->transport, ip, frame.end);
	return GO_ON;
}

static __always_inline int ipv6_read(struct __sk_buff *skb, struct packet *packet)
{
	struct frame frame;
	struct ipv6hdr *ip;
	int left;

	pull(skb, IPV6_HEADERS);
	frame = frame_of_skb(skb);
	ip = frame.data + sizeof(struct ethhdr);
	left = ipv6_check(ip, frame.end, frame.bytes - sizeof(struct ethhdr));
	if (left != GO_ON)
		return left;
	if (is_extension(ip->nexthdr)) {
		pull(skb, HEADERS_READ);
		frame = frame_of_skb(skb);
		ip = frame.data + sizeof(struct ethhdr);
		if ((void *)(ip + 1) > frame.end)
			return REASON_TRUNCATED;
	}
	packet->transport = ipv6_transport(ip, frame.end);
	packet->tos = ip->priority << 4 | ip->flow_lbl[0] >> 4;
	packet->hops = ip->hop_limit;
	*ADDRESS(packet->arrival.source.address) = *ADDRESS(&ip->saddr);
	*ADDRESS(packet->arrival.destination.address) = *ADDRESS(&ip->daddr);
	packet->ports = transport_ports(&packet->transport, ip, frame.end);
	return GO_ON;
}

/* Reads the headers, once. Global, so that the verifier goes through it by itself, and doesn't
 * take each way through extension headers on to the end of the program. */
__noinline int packet_read(struct __sk_buff *skb, struct packet *packet)
{
	if (!packet)
		return REASON_TRUNCATED;
	if (packet->protocol == bpf_htons(ETH_P_IP))
		return ipv4_read(skb, packet);
	return packet->protocol == bpf_htons(ETH_P_IPV6) ? ipv6_read(skb, packet) : REASON_NOT_IP;
}

/* ---- answering: step 6 ---- */

/* Is there a UDP header, and all of it? */
static __always_inline bool is_udp(struct __sk_buff *skb, const struct departure *d)
{
	struct frame frame = frame_of_skb(skb);

	return d->packet.transport.protocol == IPPROTO_UDP &&
	       transport_header(&d->packet.transport, frame.data + sizeof(struct ethhdr), frame.end,
				sizeof(struct udphdr));
}

static __always_inline int ipv4_answer(struct __sk_buff *skb, const struct departure *d)
{
	if (d->packet.ports == DHCP_ANSWER_PORTS && is_udp(skb, d))
		return REASON_DHCP_IGNORED;
	if (d->packet.ports != DHCP_PORTS || !is_udp(skb, d))
		return GO_ON;
	return dhcp_answer(skb, d->config, d->port, d->packet.transport.offset);
}

static __always_inline int ipv6_answer(struct __sk_buff *skb, const struct departure *d)
{
	struct frame frame = frame_of_skb(skb);
	const __u8 *type;

	if (d->packet.ports == DHCP6_ANSWER_PORTS && is_udp(skb, d))
		return REASON_DHCP_IGNORED;
	if (d->packet.ports == DHCP6_PORTS && is_udp(skb, d))
		return dhcp6_answer(skb, d->config, d->port, d->packet.transport.offset);
	if (nd_may_hide(&d->packet.transport, d->packet.hops))
		return REASON_ND_IGNORED;
	if (d->packet.transport.protocol != IPPROTO_ICMPV6)
		return GO_ON;
	type = transport_header(&d->packet.transport, frame.data + sizeof(struct ethhdr), frame.end, 1);
	if (type && is_nd(*type))
		return nd_answer(skb, d->config, d->port, d->packet.transport.extended);
	return GO_ON;
}

static __always_inline int host_answer(struct __sk_buff *skb, const struct departure *d)
{
	if (d->packet.transport.protocol == IPPROTO_TCP)
		return GO_ON;
	return is_ipv6(d) ? ipv6_answer(skb, d) : ipv4_answer(skb, d);
}

/* Echo requests to the router are answered; whatever else goes there ends with `otherwise`. */
static __always_inline int router_answer(struct __sk_buff *skb, const struct departure *d,
					 enum reason otherwise)
{
	int left = echo_answer(skb, d->config, d->port, &d->packet.transport, is_ipv6(d));

	return left == GO_ON ? otherwise : left;
}

/* ---- judging ---- */

static __always_inline bool is_subnet_broadcast(const struct departure *d,
						const struct family *family)
{
	__be32 host_bits = ~address_ipv4(&family->mask);

	return bpf_ntohl(host_bits) > 1 &&
	       address_in_subnet(destination_of(d), &family->subnet, &family->mask) &&
	       !(~address_ipv4(destination_of(d)) & host_bits);
}

static __always_inline bool is_multicast(const struct departure *d)
{
	const struct address *to = destination_of(d);
	__be32 ipv4 = address_ipv4(to);

	if (is_ipv6(d))
		return (to->word[0] & bpf_htonl(0xff000000)) == bpf_htonl(0xff000000);
	return (ipv4 & bpf_htonl(0xf0000000)) == bpf_htonl(0xe0000000) || !~ipv4 ||
	       is_subnet_broadcast(d, family_of(d));
}

static __always_inline bool multicast_mac(struct __sk_buff *skb)
{
	struct frame frame = frame_of_skb(skb);
	struct ethhdr *ethernet = frame.data;

	return (void *)(ethernet + 1) > frame.end || ethernet->h_dest[0] & 1;
}

static __always_inline int ipv4_scope(const struct address *a)
{
	__u32 ipv4 = bpf_ntohl(address_ipv4(a));
	__u8 first = ipv4 >> 24;

	if (ipv4 >> 16 == 0xa9fe)
		return REASON_LINK_LOCAL;
	return !first || first == 127 || first >= 240 ? REASON_MARTIAN : GO_ON;
}

/* IPv4-mapped addresses, :: and ::1 begin with two words of zeros. */
static __always_inline int ipv6_scope(const struct address *a)
{
	if (address_is_link_local(a))
		return REASON_LINK_LOCAL;
	if (a->word[0] | a->word[1])
		return GO_ON;
	if (a->word[2] == IPV4_MAPPED_WORD || (!a->word[2] && bpf_ntohl(a->word[3]) <= 1))
		return REASON_MARTIAN;
	return GO_ON;
}

/* May it leave the link, and be in a packet at all? */
static __always_inline int scope_check(const struct departure *d)
{
	int left = is_ipv6(d) ? ipv6_scope(source_of(d)) : ipv4_scope(source_of(d));

	if (left != GO_ON)
		return left;
	return is_ipv6(d) ? ipv6_scope(destination_of(d)) : ipv4_scope(destination_of(d));
}

/* From the link to the router's own address on it? */
static __always_inline bool stays_on_link(const struct departure *d)
{
	struct address router;

	if (!is_ipv6(d) || !address_is_link_local(source_of(d)))
		return false;
	address_link_local(&router, d->config->router_mac);
	return address_equal(destination_of(d), &router);
}

static __always_inline int address_check(struct __sk_buff *skb, const struct departure *d)
{
	int left;

	if (multicast_mac(skb) || is_multicast(d))
		return REASON_MULTICAST;
	left = scope_check(d);
	if (left == REASON_LINK_LOCAL && stays_on_link(d))
		return router_answer(skb, d, left);
	if (left != GO_ON)
		return left;
	return endpoint_owns(&d->packet.arrival.source, skb->ifindex) ? GO_ON : REASON_SPOOFED_ADDRESS;
}

static __always_inline bool matches(const struct trace_filter *filter, const struct departure *d)
{
	return (!filter->protocol || filter->protocol == d->packet.transport.protocol) &&
	       (!filter->source_port || filter->source_port == d->packet.ports >> 16) &&
	       (!filter->destination_port ||
		filter->destination_port == (__u16)d->packet.ports) &&
	       (address_is_zero(ADDRESS(filter->destination)) ||
		address_equal(ADDRESS(filter->destination), destination_of(d)));
}

static __noinline int trace_choose(struct __sk_buff *skb, struct departure *d)
{
	__u32 ifindex = skb->ifindex;
	struct trace_filter *filter = bpf_map_lookup_elem(&trace_filters, &ifindex);

	if (filter && filter->until_ns > clock_ns(d->config) && matches(filter, d))
		d->trace = filter->trace;
	return GO_ON;
}

static __always_inline int gso_size_check(struct __sk_buff *skb, const struct departure *d)
{
	struct frame frame = frame_of_skb(skb);
	__u32 headers = segment_headers(&d->packet.transport, frame.data + sizeof(struct ethhdr),
					frame.end);

	if (!headers)
		return REASON_TRUNCATED;
	return headers + skb->gso_size > d->config->endpoint_mtu ? REASON_TOO_BIG : GO_ON;
}

static __always_inline int size_check(struct __sk_buff *skb, const struct departure *d)
{
	if (skb->gso_size)
		return gso_size_check(skb, d);
	return skb->len - sizeof(struct ethhdr) > d->config->endpoint_mtu ? REASON_TOO_BIG : GO_ON;
}

static __always_inline int hops_decrement(struct __sk_buff *skb, const struct departure *d)
{
	struct frame frame = frame_of_skb(skb);
	struct iphdr *ip = frame.data + sizeof(struct ethhdr);
	struct ipv6hdr *ip6 = (void *)ip;

	if (is_ipv6(d)) {
		if ((void *)(ip6 + 1) > frame.end)
			return REASON_TRUNCATED;
		ip6->hop_limit--;
		return GO_ON;
	}
	if ((void *)(ip + 1) > frame.end)
		return REASON_TRUNCATED;
	ipv4_ttl_decrement(ip);
	return GO_ON;
}

/* What routing between networks costs. */
static __always_inline int hops_check(struct __sk_buff *skb, const struct departure *d)
{
	struct family *family = family_of(d);

	if (address_in_subnet(destination_of(d), &family->subnet, &family->mask))
		return GO_ON;
	return d->packet.hops <= 1 ? REASON_HOP_LIMIT : hops_decrement(skb, d);
}

static __always_inline void flow_port(struct departure *d)
{
	d->outer_port = source_port(flow_hash(source_of(d), destination_of(d), d->packet.ports,
					      d->packet.transport.protocol));
}

static __always_inline int packet_check(struct __sk_buff *skb, struct departure *d)
{
	int left = host_answer(skb, d);

	if (left != GO_ON)
		return left;
	left = address_check(skb, d);
	if (left != GO_ON)
		return left;
	if (d->config->tracing)
		trace_choose(skb, d);
	if (address_equal(destination_of(d), &family_of(d)->gateway))
		return router_answer(skb, d, REASON_GATEWAY);
	left = size_check(skb, d);
	if (left != GO_ON)
		return left;
	flow_port(d);
	return hops_check(skb, d);
}

/* ---- sending ---- */

static __always_inline int deliver_same_host(struct __sk_buff *skb, const struct departure *d)
{
	struct local_endpoint *to = bpf_map_lookup_elem(&local, &d->packet.arrival.destination);
	int left;

	if (!to)
		return GO_ON;
	left = deliver(skb, d->config, &d->packet.arrival, to);
	return left == REASON_DELIVERED ? REASON_DELIVERED_SAME_HOST : left;
}

static __noinline int send(struct __sk_buff *skb, const struct departure *d,
			   const struct way *way, __u8 control)
{
	struct dispatch dispatch = {
		.to = *way->to,
		.vni = d->port->vni,
		.identity = d->port->identity,
		.trace = d->trace,
		.protocol = d->packet.protocol,
		.port = d->outer_port,
		.tos = d->packet.tos,
		.control = control,
		.with_origin = control ? control == OPTION_LOOKUP : way->to_transit,
	};

	if (way->question)
		question_send(skb, way->question);
	return encapsulate(skb, d->config, &dispatch);
}

/* Steps 15 to 17. A reason to pass with, and a way: it is to be sent there. */
static __noinline int packet_way(struct __sk_buff *skb, const struct departure *d,
				 struct way *way)
{
	int left = deliver_same_host(skb, d);

	if (left != GO_ON)
		return left;
	return way_find(d->config, &d->packet.arrival.destination, d->outer_port, way);
}

/* ---- errors ---- */

/* Tells the sender why its packet was dropped; false: the packet is dropped silently. */
static __noinline bool sender_tell(struct __sk_buff *skb, const struct departure *d,
				   enum reason reason)
{
	struct icmp_error error = {
		.ifindex = skb->ifindex,
		.at = sizeof(struct ethhdr),
		.what = icmp_error_of(reason, is_ipv6(d)),
		.mtu = reason == REASON_TOO_BIG ? d->config->endpoint_mtu : 0,
		.is_ipv6 = is_ipv6(d),
	};
	struct frame frame = frame_of_skb(skb);

	return error.what &&
	       icmp_may_tell(&d->packet.transport, frame.data + error.at, frame.end, error.is_ipv6) &&
	       icmp_error_send(skb, d->config, d->port, &error);
}

/* ---- questions: clones that become control messages, section 2 ---- */

/* Cuts the packet to what an ICMP error would quote of it; not 0: the kernel won't. */
static __noinline int quote_keep(struct __sk_buff *skb)
{
	__u8 quote[QUOTE_BYTES] = {};
	__u32 bytes = skb->len - sizeof(struct ethhdr);

	if (bytes > sizeof(quote))
		bytes = sizeof(quote);
	if (bytes < sizeof(struct iphdr) ||
	    bpf_skb_load_bytes(skb, sizeof(struct ethhdr), quote, bytes) ||
	    !resize(skb, sizeof(struct ethhdr) + bytes) ||
	    bpf_skb_store_bytes(skb, sizeof(struct ethhdr), quote, bytes, 0))
		return -1;
	return 0;
}

/* No workload can set a mark: it stays behind in its network namespace. */
static __always_inline __u8 question_of(const struct __sk_buff *skb)
{
	if (skb->mark == MARK_LOOKUP)
		return OPTION_LOOKUP;
	return skb->mark == MARK_ASK ? OPTION_ASK : 0;
}

static __noinline int question_way(struct departure *d, __u8 question, struct way *way)
{
	const struct endpoint_key *endpoint = &d->packet.arrival.destination;
	int reason;

	flow_port(d);
	if (question == OPTION_ASK)
		return way_to_ask(endpoint, way);
	reason = way_by_tables(d->config, endpoint, d->outer_port, way);
	return verdict_of(reason) == VERDICT_PASS ? REASON_SENT_LOOKUP : reason;
}

/* ---- the program ---- */

/* Through the headers; what is in them is known from here on. */
static __always_inline int read_stages(struct __sk_buff *skb, struct departure *d,
				       struct passage *passage, __u8 question)
{
	int left = ethernet_check(skb, d, question);

	if (left != GO_ON)
		return left;
	d->packet.arrival.source.vni = d->port->vni;
	d->packet.arrival.destination.vni = d->port->vni;
	left = packet_read(skb, &d->packet);
	if (left != GO_ON)
		return left;
	passage->source = *source_of(d);
	passage->destination = *destination_of(d);
	return checksum_misplaced(skb, &d->packet.transport) ? REASON_MALFORMED : GO_ON;
}

/* Everything that can come of a packet but its being sent to another host. */
static __always_inline int judge_stages(struct __sk_buff *skb, struct departure *d,
					struct passage *passage, struct way *way)
{
	int reason = packet_check(skb, d);

	passage->trace = d->trace;
	if (reason == GO_ON)
		reason = packet_way(skb, d, way);
	if (verdict_of(reason) == VERDICT_DROP)
		passage->answered = sender_tell(skb, d, reason);
	return reason;
}

static __always_inline int stages(struct __sk_buff *skb, struct departure *d,
				  struct passage *passage)
{
	struct way way = {};
	__u8 question;
	int reason, left = port_find(skb, d);

	if (left != GO_ON)
		return left;
	passage->vni = d->port->vni;
	question = question_of(skb);
	skb->mark = 0;
	left = read_stages(skb, d, passage, question);
	if (left != GO_ON)
		return left;
	reason = question ? question_way(d, question, &way) : judge_stages(skb, d, passage, &way);
	if (verdict_of(reason) != VERDICT_PASS || !way.to)
		return reason;
	passage->next = *way.to;
	if (question && quote_keep(skb))
		return REASON_ENCAPSULATION_FAILED;
	left = send(skb, d, &way, question);
	return left == GO_ON ? reason : left;
}

SEC("tc")
int endpoint(struct __sk_buff *skb)
{
	__u64 bytes = skb->len;
	struct passage passage = {.ifindex = skb->ifindex};
	struct departure departure = {};
	enum reason reason = stages(skb, &departure, &passage);

	return leave_tc(skb, &passage, PROGRAM_ENDPOINT, reason, bytes);
}

char _license[] SEC("license") = "GPL";
