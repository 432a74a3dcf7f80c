/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Structure (a head, the size of a chunk, a frame's header) that was judged and did not leave, or not all of it.
 *
 * What it led to stands: the request is decided, the parser's state is behind it. So the same bytes must come again, and they are
 * compared with those that were judged; anything else is out of step. While the buffer is nearly full a run judges one
 * structure only, and keeps its bytes here before they are let through. */
#ifndef EBPFMESH_ENROL_RESEND_H
#define EBPFMESH_ENROL_RESEND_H

#include "room.h"
#include "step.h"

/* What an element begins as; nobody writes it. */
L7_TABLE(l7_resend_blank, 1, struct l7_resend);

/* Remembers the first bytes of the window, which are being judged. 0 if there is no room: then they must leave, or the connection
 * is out of step. */
L7_GLOBAL int l7_keep_structure(struct l7_room *room, __u32 bytes)
{
	struct l7_resend *resend, *blank;
	__u64 cookie;

	if (!room || !bytes || bytes > L7_WINDOW)
		return 0;
	cookie = room->cookie;
	resend = bpf_map_lookup_elem(&l7_resends, &cookie);
	if (!resend) {
		blank = l7_element(&l7_resend_blank, 0); /* 6.1 takes no argument's memory as a value */
		if (!blank || bpf_map_update_elem(&l7_resends, &cookie, blank, BPF_NOEXIST))
			return 0;
		resend = bpf_map_lookup_elem(&l7_resends, &cookie);
		if (!resend)
			return 0;
	}
	return bpf_probe_read_kernel(resend->bytes, L7_INDEX(bytes - 1, L7_WINDOW) + 1, room->window.data) ? 0 : 1;
}

struct l7_comparing {
	struct l7_room *room;
	struct l7_resend *resend;
	__u32 from; /* in resend */
	__u32 bytes;
	__u32 differ;
};

L7_CALLBACK long l7_compare_step(__u32 step, void *context)
{
	struct l7_comparing *comparing = context;
	__u32 at = step * 8;
	__u64 difference;

	if (at >= comparing->bytes)
		return 1;
	difference = l7_load64(comparing->room->window.data + L7_INDEX(at, L7_WINDOW)) ^
		     l7_load64(comparing->resend->bytes + L7_INDEX(comparing->from + at, L7_WINDOW));
	if (comparing->bytes - at < 8)
		difference &= (1ull << ((comparing->bytes - at) * 8 & 63)) - 1;
	comparing->differ |= difference ? 1 : 0;
	return difference ? 1 : 0;
}

/* Compares the front of the message with what is to come again: how many bytes of it do. -1: they are others, or cannot be seen. */
L7_GLOBAL int l7_comes_again(struct sk_msg_md *msg, struct l7_room *room)
{
	struct l7_comparing comparing = { .room = room };
	struct l7_connection *connection;
	__u64 cookie;

	if (!room)
		return -1;
	cookie = room->cookie;
	connection = bpf_map_lookup_elem(&l7_connections, &cookie);
	comparing.resend = bpf_map_lookup_elem(&l7_resends, &cookie);
	if (!connection || !comparing.resend || connection->judged > L7_WINDOW ||
	    connection->resending > connection->judged)
		return -1;
	comparing.from = connection->judged - connection->resending;
	comparing.bytes = connection->resending < room->size ? connection->resending : room->size;
	room->at = 0;
	if (l7_fill_sent(msg, room, comparing.bytes))
		return -1;
	bpf_loop(L7_WINDOW / 8, l7_compare_step, &comparing, 0);
	return comparing.differ ? -1 : (int)comparing.bytes;
}

#endif
