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
	LIMIT_LOCAL_ADDRESSES = 16384,    /* addresses of one host's endpoints */
	LIMIT_ROUTES = 16384,             /* (VPC, network) pairs with members on one host */
	LIMIT_SWITCH_ENDPOINTS = 1048576, /* endpoints in one host's transit switches */
	LIMIT_SWITCH_NETWORKS = 65536,    /* networks with a transit switch on one host */
	LIMIT_ROUTER_NETWORKS = 65536,    /* networks in one host's transit routers */
	LIMIT_LOCATIONS = 65536,          /* learned endpoint locations of one host (LRU) */
	LIMIT_UNDERLAY_PREFIXES = 256,    /* declared underlay prefixes */
	LIMIT_HINT_PAIRS = 16384,         /* pairs whose HINTs are rate-limited (LRU) */
	LIMIT_NEXT_HOPS = 256,            /* next hops kept for transit, per CPU (cache) */
	LIMIT_ACCEPTED_SOURCES = 256,     /* underlay sources lately accepted, per CPU (cache) */
	LIMIT_EVENTS_BYTES = 262144,      /* ring of events to the agent */
	LIMIT_HOLDERS = 8,                /* holders of one transit table */
	LIMIT_GENEVE_OPTIONS = 8,         /* options walked in one packet */
};

/* ---- timing, ns ---- */
#define LOCATION_FRESH_NS 1000000000ULL  /* direct path without confirmation */
#define LOCATION_STAMP_NS 500000000ULL   /* stamps are rewritten at most this often */
#define HINT_INTERVAL_NS 100000000ULL    /* one HINT per pair in this time */

/* ---- on the wire (RFC 8926) ---- */
#define GENEVE_PORT 6081
#define GENEVE_OPTION_CLASS 0xff4d  /* experimental range 0xff00-0xffff */
#define SOURCE_PORT_MIN 49152       /* outer source port: hash over 49152-65535 */
#define OUTER_TTL 64
#define TRANSIT_TTL_SHARE 16        /* each transit hop takes this much of OUTER_TTL */

enum geneve_option_type {
	OPTION_IDENTITY = 1,  /* __be32: the sender's security identity */
	OPTION_ORIGIN = 2,    /* 16 bytes: the sender's host, only while in transit */
	OPTION_HINT = 3,      /* struct hint_option, in a control message (O bit) */
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

/* ---- maps ---- */
struct host_config {             /* map host_config, one entry */
	__u8 host[16];           /* this host's underlay address */
	__u8 router_mac[6];      /* the virtual router's MAC, one for all */
	__u16 endpoint_mtu;      /* bytes, inner IP packet */
	__u32 uplink_ifindex;
	__u16 underlay_mtu;      /* bytes, outer IP packet */
	__u16 delivery_attached; /* XDP strips only when this is 1 */
	__u64 test_clock_ns;     /* not 0: the clock, in tests */
};

struct port {                    /* map ports: ifindex -> the endpoint behind it */
	__u32 vni;
	__u32 identity;
	__u32 generation;
	__u8 mac[6];
	__u16 reserved;
	__u8 subnet[16];         /* on-link prefix of its network ... */
	__u8 subnet_mask[16];    /* ... and mask; all ones when nothing is on-link */
};

struct endpoint_key {            /* maps local, switch_endpoints, locations */
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

struct location {                /* locations: learned, the direct path */
	__u8 host[16];
	__u64 confirmed_ns;
	__u32 generation;        /* 0: learned from data, not from a HINT */
	__u32 identity;
};

struct underlay_key {            /* underlay_prefixes: whose Geneve is accepted */
	__u32 prefix_bits;       /* 0..128 */
	__u8 address[16];
};

struct hint_pair {               /* hint_times: when a HINT was last asked for */
	__u32 vni;
	__u8 endpoint[16];
	__u8 origin[16];
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

struct counter {                 /* counters: per CPU, index = enum reason */
	__u64 packets;
	__u64 bytes;
};

/* ---- XDP to tcx on the uplink: constant per flow, or GRO joins nothing ---- */
#define HANDOVER_MAGIC 0x4d5a0001  /* 'MZ' and version 1 */
struct handover {
	__u32 magic;
	__u32 vni;
	__u8 origin[16];         /* outer source, or ORIGIN when it came by transit */
	__u32 identity;
	__u32 via_transit;
};

/* ---- events to the agent ---- */
enum event_type { EVENT_HINT = 1 };
struct hint_event {              /* send a HINT about endpoint to origin */
	__u32 type;
	__u32 vni;
	__u8 endpoint[16];
	__u8 origin[16];
	__u32 generation;
	__u32 identity;
};

#endif
