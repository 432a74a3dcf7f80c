/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Whether a text is a host and port (RFC 3986 section 3.2.2 and 3.2.3): a name or an address, one in brackets if it has colons;
 * then, if anything, a colon and a port. Names that have nothing but letters, digits, '-' and '.' do not come here. */
#ifndef EBPFMESH_L7_HTTP1_AUTHORITY_H
#define EBPFMESH_L7_HTTP1_AUTHORITY_H

#include "scan.h"
#include "state.h"

#define HTTP1_AUTHORITY_LIMIT 300 /* a name of 255, a colon, a port; with room to spare */

enum http1_authority_phase { HTTP1_AT_NAME, HTTP1_IN_BRACKETS, HTTP1_BEHIND_BRACKETS, HTTP1_AT_PORT };

struct http1_authority {
	struct http1_walk *walk;
	__u32 from; /* in text */
	__u32 count;
	__u32 phase;
	__u32 port;
	__u32 bad;
};

/* What stands in no name and no address: '"', '<', '>', '[', '\\', ']', '^', '`', '{', '|', '}'. */
L7_INLINE int http1_is_in_no_host(__u8 c)
{
	__u64 bits = c & 64 ? 0x3800000178000000ull : 0x5000000400000000ull;

	return bits >> (c & 63) & 1;
}

L7_CALLBACK long http1_authority_step(__u32 i, void *context)
{
	struct http1_authority *authority = context;
	__u32 phase = authority->phase;
	__u8 c;

	if (i >= authority->count)
		return 1;
	c = *http1_text(authority->walk, authority->from + i);
	if (phase == HTTP1_AT_PORT) {
		authority->port = authority->port * 10 + (__u8)(c - '0');
		authority->bad = !http1_is_digit(c) || authority->port > 65535;
	} else if (c == ':' && phase != HTTP1_IN_BRACKETS) {
		authority->phase = HTTP1_AT_PORT;
		authority->bad = !i;
	} else if (phase == HTTP1_BEHIND_BRACKETS) {
		authority->bad = 1;
	} else if (c == '[' && !i) {
		authority->phase = HTTP1_IN_BRACKETS;
	} else if (c == ']' && phase == HTTP1_IN_BRACKETS) {
		authority->phase = HTTP1_BEHIND_BRACKETS;
		authority->bad = i < 2;
	} else {
		authority->bad = http1_is_in_no_host(c);
	}
	return authority->bad ? 1 : 0;
}

/* Of count characters of the run at hand. What had no room in the text is told as nobody's, and not looked at. */
L7_INLINE int http1_is_authority(struct http1_walk *walk, __u32 from, __u32 count, int with_port)
{
	struct http1_authority authority = { .walk = walk, .from = walk->half->value + from, .count = count };

	if (authority.from + count > walk->half->room)
		return !with_port;
	if (count > HTTP1_AUTHORITY_LIMIT)
		return 0;
	l7_loop(HTTP1_AUTHORITY_LIMIT, http1_authority_step, &authority);
	return !authority.bad && authority.phase != HTTP1_IN_BRACKETS && (!with_port || authority.port);
}

#endif
