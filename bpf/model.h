/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* Every map key, map value, event, wire option and limit: declared here, once.
 *
 * User space makes its codecs from these types' BTF. Rules that keep the codecs
 * simple: fixed-width integers and arrays of __u8 only, no nested structs, no
 * implicit padding. Integers are in host order unless their type is __be*.
 * Addresses are 16 bytes, IPv4 as IPv4-mapped (::ffff:a.b.c.d).
 */
#ifndef MIZAR_MODEL_H
#define MIZAR_MODEL_H

#include <linux/types.h>

#include "reasons.h"

/* ---- limits: shown by `mizar limits`, generated into docs/reference ---- */
enum limit {
	LIMIT_PORTS = 4096,               /* endpoints of one host */
	LIMIT_LOCAL_ADDRESSES = 65536,    /* addresses of one host's endpoints, secondary ones too */
	LIMIT_ROUTES = 16384,             /* (VPC, network) pairs with members on one host */
	LIMIT_SWITCH_ENDPOINTS = 1048576, /* endpoints in one host's transit switches */
	LIMIT_SWITCH_NETWORKS = 65536,    /* networks with a transit switch on one host */
	LIMIT_ROUTER_NETWORKS = 65536,    /* networks in one host's transit routers */
	LIMIT_LOCATIONS = 65536,          /* learned endpoint locations of one host (LRU) */
	LIMIT_UNDERLAY_PREFIXES = 256,    /* declared underlay prefixes */
	LIMIT_MOVED = 65536,              /* addresses that lately moved away from one host */
	LIMIT_SILENT_HOLDERS = 1024,      /* holders that don't answer PROBEs */
	LIMIT_ERROR_BUDGETS = 4096,       /* endpoints whose ICMP errors are rate-limited (LRU) */
	LIMIT_DROPS = 16384,              /* (endpoint, VPC, reason) triples counted on one host */
	LIMIT_TRACE_FILTERS = 256,        /* endpoints traced at once on one host */
	LIMIT_NEXT_HOPS = 256,            /* next hops kept for transit, per CPU (cache) */
	LIMIT_ACCEPTED_SOURCES = 256,     /* underlay sources lately accepted, per CPU (cache) */
	LIMIT_EVENTS_BYTES = 262144,      /* ring of events to the agent */
	LIMIT_HOLDERS = 8,                /* holders of one transit table */
	LIMIT_GENEVE_OPTIONS = 8,         /* options walked in one packet */
	LIMIT_EXTENSION_HEADERS = 6,      /* IPv6 extension headers walked in one packet */
};

/* ---- timing, ns ---- */
#define LOCATION_STAMP_NS 250000000ULL   /* stamps are rewritten at most this often */
#define LOCATION_ASK_NS 500000000ULL     /* direct path, asking no question */
#define LOCATION_FRESH_NS 1000000000ULL  /* direct path without confirmation */
#define ASK_INTERVAL_NS 100000000ULL     /* one ASK or LOOKUP per endpoint in this time */
#define ERROR_REFILL_NS 10000000ULL      /* an endpoint earns an ICMP error in this time ... */
#define ERROR_BUDGET 20                  /* ... and saves up this many */

/* ---- on the wire (RFC 8926) ---- */
#define GENEVE_PORT 6081
#define GENEVE_OPTION_CLASS 0xff4d  /* experimental range 0xff00-0xffff */
#define SOURCE_PORT_MIN 49152       /* outer source port: hash over 49152-65535 */
#define OUTER_TTL 64
#define TRANSIT_TTL_SHARE 16        /* each transit hop takes this much of OUTER_TTL */

enum geneve_option_type {
	OPTION_IDENTITY = 1,  /* __be32: the sender's security identity; always first */
	OPTION_ORIGIN = 2,    /* 16 bytes: the sender's host, only while in transit */
	OPTION_TRACE = 4,     /* __be32: report this packet at every hop, by this number */
	/* In control messages (O bit); the first of these found says what it is. */
	OPTION_HINT = 3,      /* struct hint_option: where an endpoint is, or that it is gone */
	OPTION_LOOKUP = 5,    /* empty; by transit: where is the inner destination? */
	OPTION_ASK = 6,       /* empty; direct: is the inner destination still with you? */
	OPTION_RETURNED = 7,  /* __be32, enum returned: a LOOKUP that ended at a table */
	OPTION_PROBE = 8,     /* struct probe_option: are you there? */
	OPTION_ECHO = 9,      /* struct probe_option: the answer */
};

struct geneve_option {
	__be16 class;
	__u8 type;    /* top bit: critical */
	__u8 length;  /* low 5 bits: body in 4-byte words */
};

struct hint_option {  /* body of OPTION_HINT; the VNI is the Geneve header's */
	__u8 endpoint[16];
	__u8 host[16];
	__be32 generation;
	__be32 identity;
	__be32 flags;  /* HINT_GONE */
};
#define HINT_GONE 1

enum returned { RETURNED_NO_ENDPOINT = 1, RETURNED_NO_NETWORK = 2, RETURNED_NOT_HERE = 3 };

struct probe_option {  /* body of OPTION_PROBE and OPTION_ECHO */
	__u8 nonce[8];
	__be32 flags;  /* of an ECHO: ECHO_COMPLETE */
	__be32 reserved;
};
#define ECHO_COMPLETE 1  /* the holder has its tables in full */

/* A LOOKUP or ASK carries this much of the inner IP packet, what an ICMP error quotes. */
#define QUOTE_BYTES 128

/* skb->mark of a clone that is to become a control message; see docs/data-path.md. */
#define MARK_LOOKUP 0x4d5a1001
#define MARK_ASK 0x4d5a1002

/* ---- maps ---- */
struct host_config {             /* map host_config, one entry */
	__u8 host[16];           /* this host's underlay address */
	__u8 router_mac[6];      /* the virtual router's MAC, one for all */
	__u16 endpoint_mtu;      /* bytes, inner IP packet */
	__u32 uplink_ifindex;
	__u16 underlay_mtu;      /* bytes, outer IP packet */
	__u16 delivery_attached; /* XDP strips only when this is 1 */
	__u16 tables_complete;   /* 1: a whole snapshot is in force; told by ECHO */
	__u16 tracing;           /* 1: trace_filters has entries */
	__u32 netns;             /* inode number of the host's network namespace */
	__u64 test_clock_ns;     /* not 0: the clock, in tests */
};

struct port {                    /* map ports: ifindex -> the endpoint behind it */
	__u32 vni;
	__u32 identity;
	__u32 generation;
	__u8 mac[6];
	__u16 reserved;
	/* Per family, IPv4 as IPv4-mapped. A family that the network lacks: mask all
	 * ones, the rest zero. */
	__u8 subnet4[16];        /* on-link prefix of its network ... */
	__u8 mask4[16];          /* ... and mask */
	__u8 gateway4[16];
	__u8 address4[16];       /* the endpoint's own first address */
	__u8 subnet6[16];
	__u8 mask6[16];
	__u8 gateway6[16];
	__u8 address6[16];
};

struct endpoint_key {            /* maps local, moved, switch_endpoints, locations */
	__u32 vni;
	__u8 address[16];
};

struct local_endpoint {          /* map local: an endpoint on this host */
	__u32 ifindex;
	__u32 identity;
	__u32 generation;
	__u8 mac[6];
	__u16 kind;              /* enum interface_kind */
};
enum interface_kind { INTERFACE_VETH = 0, INTERFACE_TAP = 1 };

struct prefix_key {              /* maps routes, router_networks, switch_networks */
	__u32 prefix_bits;       /* 32 (the VNI) + 0..128 */
	__u32 vni;
	__u8 address[16];
};

struct transit_set {             /* routes, router_networks: who holds a transit table */
	__u16 kind;              /* enum transit_kind */
	__u16 count;             /* holders used, at most LIMIT_HOLDERS */
	__u32 network;           /* number of the network in its VPC; 0: the VPC itself */
	__u8 holders[128];       /* LIMIT_HOLDERS addresses of 16 bytes */
};
enum transit_kind { TRANSIT_SWITCH = 1, TRANSIT_ROUTER = 2 };

struct switch_network {          /* switch_networks: a network whose switch is here */
	__u32 network;
};

struct switch_endpoint {         /* switch_endpoints: where an endpoint of it is */
	__u8 host[16];
	__u32 generation;
	__u32 identity;
};

struct moved {                   /* map moved: left this host lately, and for where */
	__u8 host[16];
	__u32 generation;
	__u32 identity;
};

struct location {                /* locations: learned, the direct path */
	__u8 host[16];           /* zero: not known, somebody asked */
	__u64 confirmed_ns;
	__u64 asked_ns;          /* when an ASK or LOOKUP was last sent */
	__u32 generation;        /* 0: learned from data, not from a HINT */
	__u32 identity;
};

struct underlay_key {            /* underlay_prefixes: whose Geneve is accepted */
	__u32 prefix_bits;       /* 0..128 */
	__u8 address[16];
};

struct host_key {                /* map silent_holders; value __u64: until when, ns */
	__u8 address[16];
};

struct error_budget {            /* error_budgets: by ifindex, ICMP errors to an endpoint */
	__u64 refilled_ns;
	__u64 tokens;
};

struct next_hop {                /* next_hops: what the kernel's tables said, in XDP */
	__u64 asked_jiffies;
	__be32 to;               /* underlay address; 0: empty */
	__u8 macs[12];           /* destination and source, as in a frame */
};
#define NEXT_HOP_JIFFIES 2       /* asked again after this: 2 to 20 ms, by the kernel's HZ */

struct accepted_source {         /* accepted_sources: what underlay_prefixes said */
	__u64 asked_jiffies;
	__be32 address;          /* 0: empty */
	__u32 reserved;
};
#define ACCEPTED_SOURCE_JIFFIES 2  /* asked again after this */

struct answer {                  /* answers: per CPU, where an answer is written */
	__u8 bytes[512];
};

struct counter {                 /* counters: per CPU, index = enum reason */
	__u64 packets;
	__u64 bytes;
};

struct drop_key {                /* drops: who lost packets, and why */
	__u32 ifindex;           /* the endpoint's interface; 0: not known */
	__u32 vni;               /* 0: not known */
	__u32 reason;
};

struct drop {
	__u64 packets;
	__u64 bytes;
	__u8 source[16];         /* of the last one; zero: not known */
	__u8 destination[16];
};

struct trace_filter {            /* trace_filters: ifindex -> which of its packets */
	__u32 trace;             /* the number that marked packets carry */
	__u8 protocol;           /* 0: any */
	__u8 reserved[3];
	__u16 source_port;       /* 0: any */
	__u16 destination_port;  /* 0: any */
	__u32 reserved2;
	__u8 destination[16];    /* zero: any */
	__u64 until_ns;          /* by the monotonic clock */
};

/* ---- XDP to tcx on the uplink: constant per flow, or GRO joins nothing ---- */
#define HANDOVER_MAGIC 0x4d5a0002  /* 'MZ' and version 2 */
struct handover {
	__u32 magic;
	__u32 vni;
	__u8 origin[16];         /* outer source, or ORIGIN when it came by transit; may be zero */
	__u32 identity;
	__u32 trace;             /* 0, but for a packet that is traced */
};

/* ---- events to the agent ---- */
enum event_type { EVENT_TRACE = 1 };
enum program { PROGRAM_ENDPOINT = 1, PROGRAM_UPLINK_XDP = 2, PROGRAM_UPLINK_TCX = 3 };
struct trace_event {             /* a traced packet left a program */
	__u32 type;
	__u32 trace;
	__u32 program;           /* enum program */
	__u32 reason;
	__u32 vni;
	__u32 ifindex;           /* that it came in by */
	__u64 ns;                /* by the monotonic clock */
	__u8 source[16];
	__u8 destination[16];
	__u8 next[16];           /* host that it was sent to; zero: none */
};

#endif
