/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* What is in force for a service at this moment, for the programs that ask for no request. */
#ifndef EBPFMESH_ENROL_CURRENT_H
#define EBPFMESH_ENROL_CURRENT_H

#include "connection.h"

L7_INLINE __u64 l7_generation(void)
{
	struct l7_settings *settings = l7_element(&l7_settings, 0);

	return settings ? *(volatile __u64 *)&settings->generation : 0;
}

L7_INLINE const struct l7_service *l7_service_now(__u32 number)
{
	struct l7_service_entry *entry = l7_element(&l7_services, number);

	return entry ? l7_current_service(entry, l7_generation()) : 0;
}

/* Whether the kernel cannot do something safely (enum l7_setting_flag), as the behaviour probes found at start. */
L7_INLINE int l7_cannot(__u32 flag)
{
	struct l7_settings *settings = l7_element(&l7_settings, 0);

	return settings && settings->flags & flag;
}

/* Whether a failure of this kind (L7_UNJUDGED_PASSES, L7_ERRORS_PASS) lets traffic of the service pass. */
L7_INLINE int l7_fails_open(__u32 number, __u32 flag)
{
	const struct l7_service *service = l7_service_now(number);

	return service && service->flags & flag;
}

/* The service is gone, or is no more of a protocol that is followed: its connections are plain ones. */
L7_INLINE int l7_is_drained(__u32 number)
{
	const struct l7_service *service = l7_service_now(number);

	return service && (!(service->flags & L7_SERVICE_PRESENT) || service->flags & L7_DRAINS);
}

/* Whether a connection of a service that is gone can be let go at this moment: not while a refused request is being taken out of it,
 * or the server would read the rest. */
L7_INLINE int l7_can_go(const struct l7_mark *mark)
{
	__u64 cookie = mark->cookie;
	struct l7_connection *connection = bpf_map_lookup_elem(&l7_connections, &cookie);

	return !connection || !(connection->flags & (L7_SWALLOWS | L7_SWALLOWS_ALL | L7_REPLY_DUE));
}

#endif
