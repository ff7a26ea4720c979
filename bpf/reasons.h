/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* Why a packet left a program: the one list behind counters, metrics and docs.
 *
 * REASON(name, verdict, text). Verdicts: PASS (went on its way), HANDED (went to
 * another Mizar program on this host), ANSWERED (became its own answer, which left
 * instead), TAKEN (consumed on purpose), DROP.
 * New reasons go at the end of their verdict's block; the numbers are not a
 * wire format, user space reads names and numbers from the object's BTF.
 */
#ifndef MIZAR_REASONS_H
#define MIZAR_REASONS_H

#define REASONS(REASON) \
	REASON(NOT_OURS, PASS, "the host's own traffic, left to its stack") \
	REASON(DELIVERED_SAME_HOST, PASS, "delivered to an endpoint on the sender's host") \
	REASON(DELIVERED, PASS, "taken off the backplane and delivered to an endpoint") \
	REASON(SENT_DIRECT, PASS, "sent to the destination's host on the direct path") \
	REASON(SENT_SWITCH, PASS, "sent to a transit switch of the sender's network") \
	REASON(SENT_ROUTER, PASS, "sent to a transit router of the VPC") \
	REASON(SENT_LOOKUP, PASS, "LOOKUP sent by transit: where is the endpoint?") \
	REASON(SENT_ASK, PASS, "ASK sent on the direct path: is the endpoint still there?") \
	REASON(SWITCHED, PASS, "forwarded by this host's transit switch to the endpoint's host") \
	REASON(ROUTED, PASS, "forwarded by this host's transit router to a transit switch") \
	REASON(FORWARDED, PASS, "forwarded to the host that the endpoint has moved to") \
	REASON(STRIPPED, HANDED, "tunnel stripped by XDP, handed to delivery") \
	REASON(LEFT_TO_TCX, HANDED, "handed unchanged from XDP to the tcx program") \
	REASON(ARP_ANSWERED, ANSWERED, "ARP request answered by the host") \
	REASON(ND_ANSWERED, ANSWERED, "neighbour or router solicitation answered by the host") \
	REASON(DHCP_ANSWERED, ANSWERED, "DHCP message answered by the host") \
	REASON(ECHO_ANSWERED, ANSWERED, "ping of the gateway answered by the host") \
	REASON(PROBE_ANSWERED, ANSWERED, "PROBE of another host answered") \
	REASON(LOOKUP_ANSWERED, ANSWERED, "LOOKUP answered: the endpoint is here") \
	REASON(ASK_ANSWERED, ANSWERED, "ASK answered: here, moved, or gone") \
	REASON(RETURNED_TOLD, ANSWERED, "LOOKUP came back from a table; the endpoint was told by ICMP") \
	REASON(RETURNED_IGNORED, TAKEN, "LOOKUP came back from a table; nobody is to be told, or not now") \
	REASON(ARP_IGNORED, TAKEN, "ARP packet that needs no answer (own address, reply)") \
	REASON(ND_IGNORED, TAKEN, "neighbour discovery that needs no answer, or isn't a workload's to send") \
	REASON(DHCP_IGNORED, TAKEN, "DHCP message that needs no answer, or isn't a workload's to send") \
	REASON(HINT_TAKEN, TAKEN, "HINT taken into the location cache") \
	REASON(HINT_STALE, TAKEN, "HINT older than what is known, or of a local address") \
	REASON(TRUNCATED, DROP, "shorter than its headers say") \
	REASON(MALFORMED, DROP, "headers contradict each other") \
	REASON(NO_CONFIG, DROP, "this host has no configuration yet") \
	REASON(NO_PORT, DROP, "the interface belongs to no endpoint (yet)") \
	REASON(SPOOFED_MAC, DROP, "source MAC is not the endpoint's") \
	REASON(SPOOFED_ADDRESS, DROP, "source address is not the endpoint's") \
	REASON(VLAN, DROP, "VLAN tag from a workload") \
	REASON(NOT_IP, DROP, "neither IPv4 nor IPv6 nor ARP") \
	REASON(MULTICAST, DROP, "multicast or broadcast, which is never flooded") \
	REASON(LINK_LOCAL, DROP, "link-local address, which stays on the link") \
	REASON(MARTIAN, DROP, "address that no endpoint can have: loopback, unspecified, mapped, reserved") \
	REASON(GATEWAY, DROP, "to the gateway itself, which answers nothing but ping") \
	REASON(NO_ROUTE, DROP, "no transit table is known for the destination") \
	REASON(NO_ENDPOINT, DROP, "the network's transit switch knows no such endpoint") \
	REASON(NO_NETWORK, DROP, "the VPC's transit router knows no network of the destination") \
	REASON(NOT_HERE, DROP, "this host holds neither the endpoint nor a transit table for it") \
	REASON(HOP_LIMIT, DROP, "inner TTL expired while routing between networks") \
	REASON(TRANSIT_LOOP, DROP, "outer TTL used up: too many transit hops") \
	REASON(TOO_BIG, DROP, "larger than the endpoint MTU") \
	REASON(UNDERLAY_SOURCE, DROP, "Geneve from outside the declared underlay prefixes") \
	REASON(GENEVE_INVALID, DROP, "Geneve version, protocol or option lengths are wrong") \
	REASON(CRITICAL_OPTION, DROP, "unknown Geneve option marked critical") \
	REASON(CONTROL_UNKNOWN, DROP, "control message of an unknown kind") \
	REASON(FRAGMENT, DROP, "fragmented outer packet") \
	REASON(ENCAPSULATION_FAILED, DROP, "the kernel refused to make room for the tunnel header") \
	REASON(DECAPSULATION_FAILED, DROP, "the kernel refused to remove the tunnel header") \
	REASON(REDIRECT_FAILED, DROP, "the kernel refused the redirect") \
	REASON(ECN_LOST, DROP, "congestion marked by the underlay, on a flow that can't carry the mark") \
	REASON(HANDOVER_LOST, DROP, "stripped by XDP, but tagged or without what XDP learned of it") \
	REASON(LOST, DROP, "sent or delivered, and then dropped by the kernel: no next hop, interface down, queue full")

enum reason {
#define REASON_ENUM(name, verdict, text) REASON_##name,
	REASONS(REASON_ENUM)
#undef REASON_ENUM
	REASON_COUNT,
};

#endif
