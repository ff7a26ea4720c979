/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* ICMP errors (RFC 792, RFC 1191, RFC 4443): what a router tells the sender of a packet
 * that it drops. The error takes the packet's place, and goes to the endpoint that sent it. */
#ifndef MIZAR_ICMP_H
#define MIZAR_ICMP_H

#include "answer.h"
#include "resize.h"

#define ICMP_UNREACHABLE 3
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETER_PROBLEM 12
#define ICMP_SOURCE_QUENCH 4
#define ICMP_REDIRECTED 5
#define ICMPV6_UNREACHABLE 1
#define ICMPV6_PACKET_TOO_BIG 2
#define ICMPV6_TIME_EXCEEDED 3
#define ICMPV6_INFORMATIONAL 128  /* types from here on are no errors */
#define ICMP_ERROR(type, code) ((type) << 8 | (code))

/* One error, about the packet in an skb, and where it goes. */
struct icmp_error {
	__u32 ifindex;   /* the sender's interface */
	__u16 at;        /* where the IP packet begins in the frame */
	__u16 what;      /* ICMP_ERROR() */
	__u16 mtu;       /* of "too big" alone, else 0 */
	bool is_ipv6;
};

struct icmp_error_ipv4 {
	struct answer_ipv4 head;
	struct icmp_head icmp;
	__u8 quote[QUOTE_BYTES];
};

struct icmp_error_ipv6 {
	struct answer_ipv6 head;
	struct icmp_head icmp;
	__u8 quote[QUOTE_BYTES];
};

/* The error of a drop, ICMP_ERROR(); 0: nobody is told. */
static __always_inline __u16 icmp_error_of(enum reason reason, bool is_ipv6)
{
	switch (reason) {
	case REASON_GATEWAY:
		return is_ipv6 ? ICMP_ERROR(ICMPV6_UNREACHABLE, 4) : ICMP_ERROR(ICMP_UNREACHABLE, 3);
	case REASON_TOO_BIG:
		return is_ipv6 ? ICMP_ERROR(ICMPV6_PACKET_TOO_BIG, 0)
			       : ICMP_ERROR(ICMP_UNREACHABLE, 4);
	case REASON_HOP_LIMIT:
		return is_ipv6 ? ICMP_ERROR(ICMPV6_TIME_EXCEEDED, 0)
			       : ICMP_ERROR(ICMP_TIME_EXCEEDED, 0);
	case REASON_NO_ROUTE:
	case REASON_NO_NETWORK:
		return is_ipv6 ? ICMP_ERROR(ICMPV6_UNREACHABLE, 0) : ICMP_ERROR(ICMP_UNREACHABLE, 0);
	case REASON_NO_ENDPOINT:
	case REASON_NOT_HERE:
		return is_ipv6 ? ICMP_ERROR(ICMPV6_UNREACHABLE, 3) : ICMP_ERROR(ICMP_UNREACHABLE, 1);
	default:
		return 0;
	}
}

static __always_inline bool icmp_type_is_error(__u8 type, bool is_ipv6)
{
	if (is_ipv6)
		return type < ICMPV6_INFORMATIONAL;
	return type == ICMP_UNREACHABLE || type == ICMP_SOURCE_QUENCH || type == ICMP_REDIRECTED ||
	       type == ICMP_TIME_EXCEEDED || type == ICMP_PARAMETER_PROBLEM;
}

/* May its sender be told of a packet's end? Not by an error about an error, or two hosts
 * could keep each other busy, and once for all fragments. */
static __always_inline bool icmp_may_tell(const struct transport *transport, const void *ip,
					  const void *end, bool is_ipv6)
{
	const __u8 *type;

	if (transport->later_fragment)
		return false;
	if (transport->protocol != (is_ipv6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP))
		return true;
	type = transport_header(transport, ip, end, sizeof(*type));
	return type && !icmp_type_is_error(*type, is_ipv6);
}

/* Spends one of the endpoint's errors; false: none is left. */
static __always_inline bool icmp_budget_spend(__u32 ifindex, __u64 now)
{
	struct error_budget *budget = bpf_map_lookup_elem(&error_budgets, &ifindex);
	struct error_budget full = {.refilled_ns = now, .tokens = ERROR_BUDGET - 1};
	__u64 earned = 0;

	if (!budget)
		return !bpf_map_update_elem(&error_budgets, &ifindex, &full, BPF_ANY);
	if (now > budget->refilled_ns)
		earned = (now - budget->refilled_ns) / ERROR_REFILL_NS;
	budget->refilled_ns += earned * ERROR_REFILL_NS;
	budget->tokens += earned;
	if (budget->tokens > ERROR_BUDGET)
		budget->tokens = ERROR_BUDGET;
	if (!budget->tokens)
		return false;
	budget->tokens--;
	return true;
}

/* How much is quoted of the packet: what there is of it, by its header and by its frame. The
 * compiler, not told that it is bounded, leaves the caller's checks in, which Linux 6.1's
 * verifier needs: it forgets bounds that were found in another register, or in 32 bits. */
static __always_inline __u64 icmp_quote_bytes(const struct __sk_buff *skb,
					      const struct icmp_error *error, __u32 header_says)
{
	__u64 bytes = skb->len - error->at;

	if (bytes > header_says)
		bytes = header_says;
	if (bytes > QUOTE_BYTES)
		bytes = QUOTE_BYTES;
	asm volatile("" : "+r"(bytes));
	return bytes;
}

static __always_inline void icmp_head_write(struct icmp_head *icmp, const struct icmp_error *error)
{
	icmp->type = error->what >> 8;
	icmp->code = error->what & 0xff;
	icmp->rest = bpf_htonl(error->mtu);
}

static __noinline bool icmp_error_ipv4(struct __sk_buff *skb, const struct host_config *config,
				       const struct port *port, const struct icmp_error *error)
{
	struct icmp_error_ipv4 *answer = answer_scratch();
	struct iphdr ip;
	__u64 bytes;

	if (!answer || bpf_skb_load_bytes(skb, error->at, &ip, sizeof(ip)))
		return false;
	bytes = icmp_quote_bytes(skb, error, bpf_ntohs(ip.tot_len));
	__builtin_memset(answer, 0, sizeof(*answer));
	if (bytes < sizeof(ip) || bytes > sizeof(answer->quote) ||
	    bpf_skb_load_bytes(skb, error->at, answer->quote, bytes))
		return false;
	answer_ethernet(&answer->head.ethernet, config, port->mac, ETH_P_IP);
	answer_ipv4(&answer->head, ADDRESS(port->gateway4), ip.saddr, IPPROTO_ICMP,
		    sizeof(answer->icmp) + bytes);
	icmp_head_write(&answer->icmp, error);
	answer->icmp.checksum = ~checksum_fold(
		bpf_csum_diff(0, 0, (__be32 *)&answer->icmp,
			      sizeof(answer->icmp) + sizeof(answer->quote), 0));
	return frame_replace(skb, &answer->head.ethernet.header,
			     sizeof(*answer) - sizeof(__u16) - sizeof(answer->quote) + bytes);
}

static __noinline bool icmp_error_ipv6(struct __sk_buff *skb, const struct host_config *config,
				       const struct port *port, const struct icmp_error *error)
{
	struct icmp_error_ipv6 *answer = answer_scratch();
	struct ipv6hdr ip;
	__u64 bytes;

	if (!answer || bpf_skb_load_bytes(skb, error->at, &ip, sizeof(ip)))
		return false;
	bytes = icmp_quote_bytes(skb, error, sizeof(ip) + bpf_ntohs(ip.payload_len));
	__builtin_memset(answer, 0, sizeof(*answer));
	if (bytes < sizeof(ip) || bytes > sizeof(answer->quote) ||
	    bpf_skb_load_bytes(skb, error->at, answer->quote, bytes))
		return false;
	answer_ethernet(&answer->head.ethernet, config, port->mac, ETH_P_IPV6);
	answer_ipv6(&answer->head, ADDRESS(port->gateway6), ADDRESS(&ip.saddr), IPPROTO_ICMPV6,
		    sizeof(answer->icmp) + bytes, ANSWER_HOPS);
	icmp_head_write(&answer->icmp, error);
	answer->icmp.checksum = answer_ipv6_checksum(&answer->head, sizeof(answer->icmp) +
								       sizeof(answer->quote));
	return frame_replace(skb, &answer->head.ethernet.header,
			     sizeof(*answer) - sizeof(__u16) - sizeof(answer->quote) + bytes);
}

/* Turns the packet into an error about itself, or about an IP packet in it, and sends that to
 * the endpoint behind `port`. False: none is sent, for want of a gateway or of budget; the
 * packet may be spoilt. The caller has asked icmp_may_tell(). */
static __noinline bool icmp_error_send(struct __sk_buff *skb, const struct host_config *config,
				       const struct port *port, const struct icmp_error *error)
{
	const struct address *gateway = ADDRESS(error->is_ipv6 ? port->gateway6 : port->gateway4);
	bool written;

	if (address_is_zero(gateway) || !icmp_budget_spend(error->ifindex, clock_ns(config)))
		return false;
	written = error->is_ipv6 ? icmp_error_ipv6(skb, config, port, error)
				 : icmp_error_ipv4(skb, config, port, error);
	return written && bpf_redirect(error->ifindex, 0) == TC_ACT_REDIRECT;
}

#endif
