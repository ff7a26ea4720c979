/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* DHCP (RFC 2131), answered on the host from the endpoint's port: no leases are kept,
 * since the address is the endpoint's as long as the port is there. */
#ifndef MIZAR_DHCP_H
#define MIZAR_DHCP_H

#include "answer.h"

#define DHCP_SERVER_PORT 67
#define DHCP_CLIENT_PORT 68
#define DHCP_PORTS (DHCP_CLIENT_PORT << 16 | DHCP_SERVER_PORT)  /* of a question */
#define DHCP_ANSWER_PORTS (DHCP_SERVER_PORT << 16 | DHCP_CLIENT_PORT)
#define DHCP_REQUEST_OP 1
#define DHCP_REPLY_OP 2
#define DHCP_MAGIC 0x63825363
#define DHCP_BROADCAST 0x8000
#define DHCP_LEASE_S 86400
#define DHCP_OPTIONS_READ 32

/* RFC 2132 */
enum dhcp_type { DHCP_DISCOVER = 1, DHCP_OFFER = 2, DHCP_REQUEST = 3, DHCP_ACK = 5, DHCP_NAK = 6 };
#define DHCP_PAD 0
#define DHCP_MASK 1
#define DHCP_ROUTER 3
#define DHCP_MTU 26
#define DHCP_REQUESTED 50
#define DHCP_LEASE 51
#define DHCP_TYPE 53
#define DHCP_SERVER 54
#define DHCP_END 255

/* What the answer keeps of the question, and more. */
struct dhcp_head {
	__u8 op;
	__u8 hardware;
	__u8 hardware_bytes;
	__u8 hops;
	__be32 transaction;
	__be16 seconds;
	__be16 flags;
	__be32 client;
	__be32 yours;
	__be32 server;
	__be32 relay;
	__u8 client_mac[16];
};

struct dhcp_message {
	struct dhcp_head head;
	__u8 server_name[64];
	__u8 file[128];
	__be32 magic;
};

struct dhcp_address_option {
	__u8 code;
	__u8 length;
	__be32 value;
} __attribute__((packed));

/* What a NAK lacks. */
struct dhcp_grant {
	struct dhcp_address_option lease;
	struct dhcp_address_option mask;
	struct dhcp_address_option router;
	__u8 mtu_code;
	__u8 mtu_length;
	__be16 mtu;
	__u8 end;
} __attribute__((packed));

struct dhcp_answer {
	struct answer_ipv4 head;
	struct udphdr udp;
	struct dhcp_message message;
	__u8 type_code;
	__u8 type_length;
	__u8 type;
	struct dhcp_address_option server;
	union {
		struct dhcp_grant grant;
		__u8 nak_end;
		__u8 rest[51];  /* BOOTP's 64 bytes of options, less the cookie and those before */
	};
};
#define DHCP_UDP_BYTES (sizeof(struct dhcp_answer) - sizeof(struct answer_ipv4))

/* What the options of a question say; those that it lacks are zero. */
struct dhcp_asked {
	__be32 requested;
	__be32 server;
	__u8 type;
	bool has_type;
	bool has_requested;
	bool has_server;
};

/* The option at `at`, whose length fits. */
static __always_inline void dhcp_option_read(struct __sk_buff *skb, __u32 at, __u8 code,
					     __u8 length, struct dhcp_asked *asked)
{
	if (code == DHCP_TYPE && length == sizeof(asked->type) && !asked->has_type)
		asked->has_type = !bpf_skb_load_bytes(skb, at, &asked->type, sizeof(asked->type));
	if (code == DHCP_REQUESTED && length == sizeof(asked->requested) && !asked->has_requested)
		asked->has_requested = !bpf_skb_load_bytes(skb, at, &asked->requested,
							   sizeof(asked->requested));
	if (code == DHCP_SERVER && length == sizeof(asked->server) && !asked->has_server)
		asked->has_server = !bpf_skb_load_bytes(skb, at, &asked->server,
							sizeof(asked->server));
}

static __noinline int dhcp_options_read(struct __sk_buff *skb, __u32 at, __u32 end,
					struct dhcp_asked *asked)
{
	__u8 code, length;

	for (int i = 0; i < DHCP_OPTIONS_READ; i++) {
		if (at >= end || bpf_skb_load_bytes(skb, at, &code, 1) || code == DHCP_END)
			break;
		at++;
		if (code == DHCP_PAD)
			continue;
		if (at >= end || bpf_skb_load_bytes(skb, at, &length, 1))
			break;
		at++;
		if (at + length > end)
			break;
		dhcp_option_read(skb, at, code, length, asked);
		at += length;
	}
	return 0;
}

/* The answer's type; 0: none is due. */
static __always_inline __u8 dhcp_decide(const struct dhcp_asked *asked, const struct port *port,
					__be32 client)
{
	__be32 address = asked->has_requested ? asked->requested : client;

	if (asked->type == DHCP_DISCOVER)
		return DHCP_OFFER;
	if (asked->type != DHCP_REQUEST)
		return 0;
	if (asked->has_server && asked->server != address_ipv4(ADDRESS(port->gateway4)))
		return 0;
	return address == address_ipv4(ADDRESS(port->address4)) ? DHCP_ACK : DHCP_NAK;
}

static __always_inline struct dhcp_address_option dhcp_option(__u8 code, __be32 value)
{
	return (struct dhcp_address_option){.code = code, .length = sizeof(value), .value = value};
}

static __always_inline void dhcp_grant_write(struct dhcp_grant *grant,
					     const struct host_config *config,
					     const struct port *port)
{
	grant->lease = dhcp_option(DHCP_LEASE, bpf_htonl(DHCP_LEASE_S));
	grant->mask = dhcp_option(DHCP_MASK, address_ipv4(ADDRESS(port->mask4)));
	grant->router = dhcp_option(DHCP_ROUTER, address_ipv4(ADDRESS(port->gateway4)));
	grant->mtu_code = DHCP_MTU;
	grant->mtu_length = sizeof(grant->mtu);
	grant->mtu = bpf_htons(config->endpoint_mtu);
	grant->end = DHCP_END;
}

static __noinline int dhcp_send(struct __sk_buff *skb, const struct host_config *config,
				const struct port *port, const struct dhcp_head *question, __u8 type)
{
	const __u8 everybody[MAC_BYTES] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	__be32 address = address_ipv4(ADDRESS(port->address4));
	bool broadcast = type == DHCP_NAK || question->flags & bpf_htons(DHCP_BROADCAST);
	struct dhcp_answer *answer = answer_scratch();

	if (!answer)
		return REASON_DHCP_IGNORED;
	__builtin_memset(answer, 0, sizeof(*answer));
	answer_ethernet(&answer->head.ethernet, config, broadcast ? everybody : port->mac,
			ETH_P_IP);
	answer_ipv4(&answer->head, ADDRESS(port->gateway4), broadcast ? 0xffffffff : address,
		    IPPROTO_UDP, DHCP_UDP_BYTES);
	answer->udp.source = bpf_htons(DHCP_SERVER_PORT);
	answer->udp.dest = bpf_htons(DHCP_CLIENT_PORT);
	answer->udp.len = bpf_htons(DHCP_UDP_BYTES);
	answer->message.head = *question;
	answer->message.head.op = DHCP_REPLY_OP;
	answer->message.head.hardware = 1;
	answer->message.head.hardware_bytes = MAC_BYTES;
	answer->message.head.hops = 0;
	answer->message.head.seconds = 0;
	answer->message.head.client = 0;
	answer->message.head.yours = type == DHCP_NAK ? 0 : address;
	answer->message.head.server = 0;
	answer->message.magic = bpf_htonl(DHCP_MAGIC);
	answer->type_code = DHCP_TYPE;
	answer->type_length = sizeof(answer->type);
	answer->type = type;
	answer->server = dhcp_option(DHCP_SERVER, address_ipv4(ADDRESS(port->gateway4)));
	if (type == DHCP_NAK)
		answer->nak_end = DHCP_END;
	else
		dhcp_grant_write(&answer->grant, config, port);
	return answer_send(skb, &answer->head.ethernet, sizeof(*answer) - sizeof(__u16),
			   REASON_DHCP_ANSWERED);
}

/* `ip_bytes`: from the IP header to the UDP header. */
static __noinline int dhcp_answer(struct __sk_buff *skb, const struct host_config *config,
				  const struct port *port, __u32 ip_bytes)
{
	__u32 at = sizeof(struct ethhdr) + ip_bytes + sizeof(struct udphdr), end;
	struct dhcp_asked asked = {};
	struct dhcp_head question;
	struct iphdr ip;
	__be32 magic;
	__u8 type;

	if (bpf_skb_load_bytes(skb, sizeof(struct ethhdr), &ip, sizeof(ip)))
		return REASON_TRUNCATED;
	end = sizeof(struct ethhdr) + bpf_ntohs(ip.tot_len);
	if (at + sizeof(struct dhcp_message) > end ||
	    bpf_skb_load_bytes(skb, at, &question, sizeof(question)) ||
	    bpf_skb_load_bytes(skb, at + offsetof(struct dhcp_message, magic), &magic,
			       sizeof(magic)) ||
	    magic != bpf_htonl(DHCP_MAGIC) || question.op != DHCP_REQUEST_OP)
		return REASON_MALFORMED;
	if (ip.saddr && ip.saddr != address_ipv4(ADDRESS(port->address4)))
		return REASON_SPOOFED_ADDRESS;
	if (!mac_equal(question.client_mac, port->mac))
		return REASON_SPOOFED_MAC;
	if (address_is_zero(ADDRESS(port->address4)))
		return REASON_DHCP_IGNORED;
	dhcp_options_read(skb, at + sizeof(struct dhcp_message), end, &asked);
	type = dhcp_decide(&asked, port, question.client);
	return type ? dhcp_send(skb, config, port, &question, type) : REASON_DHCP_IGNORED;
}

#endif
