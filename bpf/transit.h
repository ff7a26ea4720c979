/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* Transit switches and transit routers: the tables that say where a packet goes next. */
#ifndef MIZAR_TRANSIT_H
#define MIZAR_TRANSIT_H

#include "address.h"
#include "exit.h"
#include "hash.h"
#include "maps.h"

#define PREFIX_BITS_MAX (32 + 128)

static __always_inline struct prefix_key prefix_key_of(const struct endpoint_key *endpoint)
{
	struct prefix_key key = {.prefix_bits = PREFIX_BITS_MAX, .vni = endpoint->vni};

	*ADDRESS(key.address) = *ADDRESS(endpoint->address);
	return key;
}

/* The switches on this host, then its routers. SWITCHED or ROUTED: `*next` is the
 * host to send to, in a table's value; else why not. `port`: outer source port. */
static __always_inline int transit_next(const struct host_config *config,
					const struct endpoint_key *destination, __u16 port,
					struct address **next)
{
	struct prefix_key prefix = prefix_key_of(destination);
	struct switch_endpoint *endpoint;
	struct transit_set *network;

	endpoint = bpf_map_lookup_elem(&switch_endpoints, destination);
	if (endpoint) {
		*next = ADDRESS(endpoint->host);
		return address_equal(*next, ADDRESS(config->host)) ? REASON_NOT_HERE
								   : REASON_SWITCHED;
	}
	if (bpf_map_lookup_elem(&switch_networks, &prefix))
		return REASON_NO_ENDPOINT;
	network = bpf_map_lookup_elem(&router_networks, &prefix);
	if (!network)
		return REASON_NOT_HERE;
	*next = holder_choose(network, port);
	if (!*next)
		return REASON_NO_NETWORK;
	return address_equal(*next, ADDRESS(config->host)) ? REASON_NO_ENDPOINT : REASON_ROUTED;
}

#endif
