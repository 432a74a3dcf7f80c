/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Who asks: the workload by the cgroups of the client's socket, the class of its address, and by both the policy. */
#ifndef EBPFMESH_AUTHORISE_SOURCE_H
#define EBPFMESH_AUTHORISE_SOURCE_H

#include "../enrol/connection.h"
#include "policy.h"

/* The deepest cgroup that is named; 0: none. */
L7_INLINE __u32 l7_workload(const struct l7_connection *connection, __u32 identities)
{
	struct l7_workload_key key = { .identities = identities };

	for (int level = L7_CGROUPS - 1; level >= 0; level--) {
		const __u32 *workload;

		key.cgroup = connection->cgroups[level];
		if (!key.cgroup)
			continue;
		workload = bpf_map_lookup_elem(&l7_workloads, &key);
		if (workload)
			return *workload;
	}
	return 0;
}

L7_INLINE __u32 l7_address_class(const struct l7_connection *connection, __u32 rules)
{
	struct l7_address_key key = { .prefix = 32 + 128, .rules = rules };
	const __u32 *number;

	for (int i = 0; i < 4; i++)
		key.address[i] = connection->address[i];
	number = bpf_map_lookup_elem(&l7_addresses, &key);
	return number ? *number : 0;
}

/* Looks up workload and policy of a connection at a generation, unless they are of it already. Returns 0; -1 if there is no
 * such service: policy is then 0, by which a decision fails. */
L7_GLOBAL int l7_source(struct l7_connection *connection, __u64 generation)
{
	const struct l7_service_entry *entry;
	const struct l7_service *service;
	struct l7_source_key key = {};
	const __u32 *policy;

	if (!connection)
		return -1;
	if (connection->generation == generation && generation)
		return 0;
	connection->generation = generation;
	connection->workload = 0;
	connection->policy = 0;
	entry = l7_element(&l7_services, connection->service);
	if (!entry)
		return -1;
	service = l7_current_service(entry, generation);
	if (!(service->flags & L7_SERVICE_PRESENT))
		return -1;
	if (service->identities)
		connection->workload = l7_workload(connection, service->identities);
	key.rules = service->rules;
	if (service->flags & L7_ASKS_WORKLOAD)
		key.workload = connection->workload;
	if (service->flags & L7_ASKS_ADDRESS)
		key.address = l7_address_class(connection, service->rules);
	if (service->flags & L7_ASKS_PORT)
		key.port = connection->port;
	policy = bpf_map_lookup_elem(&l7_sources, &key);
	connection->policy = policy ? *policy : service->policy;
	return 0;
}

#endif
