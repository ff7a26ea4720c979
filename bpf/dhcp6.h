/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* DHCPv6 (RFC 8415), answered on the host from the endpoint's port: the one address of
 * one IA_NA, and no leases kept. */
#ifndef MIZAR_DHCP6_H
#define MIZAR_DHCP6_H

#include "answer.h"

#define DHCP6_CLIENT_PORT 546
#define DHCP6_SERVER_PORT 547
#define DHCP6_PORTS (DHCP6_CLIENT_PORT << 16 | DHCP6_SERVER_PORT)  /* of a question */
#define DHCP6_ANSWER_PORTS (DHCP6_SERVER_PORT << 16 | DHCP6_CLIENT_PORT)
#define DHCP6_OPTIONS_READ 16
#define DHCP6_CLIENT_ID_MAX 130
#define DHCP6_T1_S 43200
#define DHCP6_T2_S 69120
#define DHCP6_LIFETIME_S 86400

enum dhcp6_type {
	DHCP6_SOLICIT = 1,
	DHCP6_ADVERTISE = 2,
	DHCP6_REQUEST = 3,
	DHCP6_CONFIRM = 4,
	DHCP6_RENEW = 5,
	DHCP6_REBIND = 6,
	DHCP6_REPLY = 7,
	DHCP6_INFORMATION = 11,
};
#define DHCP6_CLIENT_ID 1
#define DHCP6_SERVER_ID 2
#define DHCP6_IA_NA 3
#define DHCP6_IA_ADDRESS 5
#define DHCP6_STATUS 13
#define DHCP6_NOT_ON_LINK 4  /* a status */
#define DHCP6_RAPID_COMMIT 14
#define DUID_LL 3
#define DUID_ETHERNET 1

struct dhcp6_option {
	__be16 code;
	__be16 length;
};

struct dhcp6_duid {
	__be16 type;
	__be16 hardware;
	__u8 mac[MAC_BYTES];
};

/* Options of an answer begin at any byte: behind a client identifier of any length. */
struct dhcp6_server {
	struct dhcp6_option option;
	struct dhcp6_duid duid;
} __attribute__((packed));

struct dhcp6_lease {
	struct dhcp6_option option;
	__be32 iaid;
	__be32 t1;
	__be32 t2;
	struct dhcp6_option address_option;
	struct address address;
	__be32 preferred;
	__be32 valid;
} __attribute__((packed));

/* What of an IA_NA is read: its first option is where a client puts its address. */
struct dhcp6_association {
	__be32 iaid;
	__be32 t1;
	__be32 t2;
	struct dhcp6_option option;
	struct address address;
};
#define DHCP6_IA_BYTES_MIN offsetof(struct dhcp6_association, option)

struct dhcp6_status {
	struct dhcp6_option option;
	__be16 code;
} __attribute__((packed));

struct dhcp6_answer {
	struct answer_ipv6 head;
	struct udphdr udp;
	__u8 type;
	__u8 transaction[3];
	struct dhcp6_option client;
	__u8 rest[DHCP6_CLIENT_ID_MAX + sizeof(struct dhcp6_server) + sizeof(struct dhcp6_option) +
		  sizeof(struct dhcp6_lease)];
};

struct dhcp6_asked {
	__u8 type;
	__u8 transaction[3];
	__be32 iaid;
	__u32 end;           /* of the payload, from the start of the frame */
	__u32 client_at;
	__u32 client_bytes;  /* 0: no client identifier */
	bool has_ia;
	bool has_address;   /* in the IA_NA ... */
	bool has_its_own;   /* ... and it is the endpoint's */
	bool rapid_commit;
	bool other_server;
	struct address source;
};

static __always_inline struct dhcp6_duid dhcp6_duid(const struct host_config *config)
{
	struct dhcp6_duid duid = {
		.type = bpf_htons(DUID_LL),
		.hardware = bpf_htons(DUID_ETHERNET),
	};

	mac_copy(duid.mac, config->router_mac);
	return duid;
}

static __always_inline bool dhcp6_is_ours(struct __sk_buff *skb, const struct host_config *config,
					  __u32 at, __u32 length)
{
	struct dhcp6_duid ours = dhcp6_duid(config), theirs;

	return length == sizeof(theirs) && !bpf_skb_load_bytes(skb, at, &theirs, sizeof(theirs)) &&
	       theirs.type == ours.type && theirs.hardware == ours.hardware &&
	       mac_equal(theirs.mac, ours.mac);
}

static __always_inline void dhcp6_association_read(struct __sk_buff *skb,
						   const struct port *port, __u32 at,
						   __u16 length, struct dhcp6_asked *asked)
{
	struct dhcp6_association ia;

	asked->has_ia = !bpf_skb_load_bytes(skb, at, &asked->iaid, sizeof(asked->iaid));
	if (length < sizeof(ia) || bpf_skb_load_bytes(skb, at, &ia, sizeof(ia)) ||
	    ia.option.code != bpf_htons(DHCP6_IA_ADDRESS))
		return;
	asked->has_address = true;
	asked->has_its_own = address_equal(&ia.address, ADDRESS(port->address6));
}

/* The option whose body, which fits, begins at `at`. */
static __always_inline void dhcp6_option_read(struct __sk_buff *skb,
					      const struct host_config *config,
					      const struct port *port, __u32 at,
					      const struct dhcp6_option *option,
					      struct dhcp6_asked *asked)
{
	__u16 code = bpf_ntohs(option->code), length = bpf_ntohs(option->length);

	if (code == DHCP6_CLIENT_ID && !asked->client_bytes && length <= DHCP6_CLIENT_ID_MAX) {
		asked->client_at = at;
		asked->client_bytes = length;
	}
	if (code == DHCP6_SERVER_ID && !dhcp6_is_ours(skb, config, at, length))
		asked->other_server = true;
	if (code == DHCP6_IA_NA && !asked->has_ia && length >= DHCP6_IA_BYTES_MIN)
		dhcp6_association_read(skb, port, at, length, asked);
	if (code == DHCP6_RAPID_COMMIT)
		asked->rapid_commit = true;
}

static __noinline int dhcp6_options_read(struct __sk_buff *skb, const struct host_config *config,
					 const struct port *port, __u32 at,
					 struct dhcp6_asked *asked)
{
	struct dhcp6_option option;

	for (int i = 0; i < DHCP6_OPTIONS_READ; i++) {
		if (at + sizeof(option) > asked->end ||
		    bpf_skb_load_bytes(skb, at, &option, sizeof(option)))
			break;
		at += sizeof(option);
		if (at + bpf_ntohs(option.length) > asked->end)
			break;
		dhcp6_option_read(skb, config, port, at, &option, asked);
		at += bpf_ntohs(option.length);
	}
	return 0;
}

static __always_inline __u32 dhcp6_lease_write(struct dhcp6_lease *lease, const struct port *port,
					       __be32 iaid)
{
	lease->option.code = bpf_htons(DHCP6_IA_NA);
	lease->option.length = bpf_htons(sizeof(*lease) - sizeof(lease->option));
	lease->iaid = iaid;
	lease->t1 = bpf_htonl(DHCP6_T1_S);
	lease->t2 = bpf_htonl(DHCP6_T2_S);
	lease->address_option.code = bpf_htons(DHCP6_IA_ADDRESS);
	lease->address_option.length = bpf_htons(sizeof(struct address) + 2 * sizeof(__be32));
	lease->address = *ADDRESS(port->address6);
	lease->preferred = bpf_htonl(DHCP6_LIFETIME_S);
	lease->valid = bpf_htonl(DHCP6_LIFETIME_S);
	return sizeof(*lease);
}

/* Behind the client identifier; returns the options' bytes. */
static __always_inline __u32 dhcp6_options_write(void *to, const struct host_config *config,
						 const struct port *port,
						 const struct dhcp6_asked *asked)
{
	struct dhcp6_server *server = to;
	__u32 used = sizeof(*server);

	server->option.code = bpf_htons(DHCP6_SERVER_ID);
	server->option.length = bpf_htons(sizeof(server->duid));
	server->duid = dhcp6_duid(config);
	if (asked->type == DHCP6_CONFIRM) {
		struct dhcp6_status *status = to + used;

		status->option.code = bpf_htons(DHCP6_STATUS);
		status->option.length = bpf_htons(sizeof(status->code));
		status->code = bpf_htons(asked->has_its_own ? 0 : DHCP6_NOT_ON_LINK);
		return used + sizeof(*status);
	}
	if (asked->type == DHCP6_SOLICIT && asked->rapid_commit) {
		((__u8 *)to)[used + 1] = DHCP6_RAPID_COMMIT;
		used += sizeof(struct dhcp6_option);
	}
	if (asked->has_ia && asked->type != DHCP6_INFORMATION)
		used += dhcp6_lease_write(to + used, port, asked->iaid);
	return used;
}

static __noinline int dhcp6_send(struct __sk_buff *skb, const struct host_config *config,
				 const struct port *port, const struct dhcp6_asked *asked)
{
	struct dhcp6_answer *answer = answer_scratch();
	__u64 client_bytes = asked->client_bytes - 1;
	struct address router;
	__u32 bytes;

	/* To Linux 6.1's verifier "not zero" is no lower bound, but a sum with 1 has one; to the
	 * compiler it would be a detour. */
	asm volatile("" : "+r"(client_bytes));
	if (!answer || client_bytes >= DHCP6_CLIENT_ID_MAX)
		return REASON_DHCP_IGNORED;
	client_bytes++;
	__builtin_memset(answer, 0, sizeof(*answer));
	if (bpf_skb_load_bytes(skb, asked->client_at, answer->rest, client_bytes))
		return REASON_DHCP_IGNORED;
	answer->client.code = bpf_htons(DHCP6_CLIENT_ID);
	answer->client.length = bpf_htons(client_bytes);
	bytes = offsetof(struct dhcp6_answer, rest) - sizeof(struct answer_ipv6) + client_bytes +
		dhcp6_options_write(answer->rest + client_bytes, config, port, asked);
	answer->type = asked->type == DHCP6_SOLICIT && !asked->rapid_commit ? DHCP6_ADVERTISE :
									      DHCP6_REPLY;
	__builtin_memcpy(answer->transaction, asked->transaction, sizeof(answer->transaction));
	address_link_local(&router, config->router_mac);
	answer_ethernet(&answer->head.ethernet, config, port->mac, ETH_P_IPV6);
	answer_ipv6(&answer->head, &router, &asked->source, IPPROTO_UDP, bytes, ANSWER_HOPS);
	answer->udp.source = bpf_htons(DHCP6_SERVER_PORT);
	answer->udp.dest = bpf_htons(DHCP6_CLIENT_PORT);
	answer->udp.len = bpf_htons(bytes);
	answer->udp.check = answer_ipv6_checksum(&answer->head, sizeof(*answer) -
							       sizeof(struct answer_ipv6));
	/* Zero would say that there is none. */
	if (!answer->udp.check)
		answer->udp.check = 0xffff;
	return answer_send(skb, &answer->head.ethernet,
			   sizeof(struct answer_ipv6) - sizeof(__u16) + bytes,
			   REASON_DHCP_ANSWERED);
}

static __always_inline bool dhcp6_answers(__u8 type)
{
	return type == DHCP6_SOLICIT || (type >= DHCP6_REQUEST && type <= DHCP6_REBIND) ||
	       type == DHCP6_INFORMATION;
}

/* `ip_bytes`: from the IP header to the UDP header. */
static __noinline int dhcp6_answer(struct __sk_buff *skb, const struct host_config *config,
				   const struct port *port, __u32 ip_bytes)
{
	__u32 at = sizeof(struct ethhdr) + ip_bytes + sizeof(struct udphdr);
	struct dhcp6_asked asked = {};
	struct ipv6hdr ip;

	if (bpf_skb_load_bytes(skb, sizeof(struct ethhdr), &ip, sizeof(ip)))
		return REASON_TRUNCATED;
	asked.end = sizeof(struct ethhdr) + sizeof(ip) + bpf_ntohs(ip.payload_len);
	if (at + sizeof(__be32) > asked.end || bpf_skb_load_bytes(skb, at, &asked, sizeof(__be32)))
		return REASON_MALFORMED;
	asked.source = *ADDRESS(&ip.saddr);
	if (!address_is_link_local(&asked.source) &&
	    !address_equal(&asked.source, ADDRESS(port->address6)))
		return REASON_SPOOFED_ADDRESS;
	if (!dhcp6_answers(asked.type) || address_is_zero(ADDRESS(port->address6)))
		return REASON_DHCP_IGNORED;
	dhcp6_options_read(skb, config, port, at + sizeof(__be32), &asked);
	if (!asked.client_bytes || asked.other_server ||
	    (asked.type == DHCP6_CONFIRM && !asked.has_address))
		return REASON_DHCP_IGNORED;
	return dhcp6_send(skb, config, port, &asked);
}

#endif
