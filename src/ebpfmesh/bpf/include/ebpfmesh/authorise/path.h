/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* The path of a request, normalised: ebpfmesh.policy.path says by which rules, and is the same in Python.
 *
 * Nearly every path is plain: it is normal as it was sent, which is seen eight bytes at a time while it is copied. Any other
 * goes through l7_path_rewrite(), which is exact for all of them. */
#ifndef EBPFMESH_AUTHORISE_PATH_H
#define EBPFMESH_AUTHORISE_PATH_H

#include "../l7/http.h"
#include "../l7/http1/scan.h"
#include "decision.h"

#define L7_PLAIN_PATH 256 /* bytes; a longer one is not tried */

/* Steps of l7_path_step(): each takes a byte that was sent, or takes one back; and one more for each end. */
#define L7_PATH_STEPS (2 * L7_PATH + 8)

enum l7_path_ok { L7_PATH_BAD = 0, L7_PATH_NORMAL = 1, L7_PATH_NONE = 2 };

/* decision.work while a path is rewritten. */
enum l7_path_work {
	L7_PATH_AT = 0,	 /* of the path as sent, bytes taken; one more than its length: its last segment is done, too */
	L7_PATH_OUT,	 /* bytes of the normalised path */
	L7_PATH_SEGMENT, /* where its last segment begins */
	L7_PATH_GOES_BACK, /* 1: the segment in front of ".." is being taken back */
	L7_PATH_VERDICT,   /* 1: it is normalised; 0: it cannot be, or is not yet */
};

struct l7_path_walk {
	struct l7_record *record;
	struct l7_decision *decision;
};

/* The normalised path from an offset on. */
L7_INLINE __u8 *l7_path_at(struct l7_decision *decision, __u32 at)
{
	asm volatile("" : "+r"(at));
	if (at > L7_PATH)
		at = L7_PATH;
	return decision->path + at;
}

L7_INLINE const __u8 *l7_text_at(const struct l7_record *record, __u32 at)
{
	return record->text + L7_INDEX(at, L7_TEXT);
}

/* Marks zero bytes; the first mark is right. */
L7_INLINE __u64 l7_zeroes(__u64 word)
{
	return (word - HTTP1_EACH(1)) & ~word;
}

/* Marks what is never just copied, the first of it rightly: controls, DEL, '#', '%', ';', '\\'. */
L7_INLINE __u64 l7_path_marks(__u64 word)
{
	return (l7_zeroes(word ^ HTTP1_EACH('%')) | l7_zeroes(word ^ HTTP1_EACH(';')) |
		l7_zeroes(word ^ HTTP1_EACH('\\')) | l7_zeroes(word ^ HTTP1_EACH(0x7f)) |
		l7_zeroes(word ^ HTTP1_EACH('#')) | ((word - HTTP1_EACH(0x20)) & ~word)) &
	       HTTP1_HIGH;
}

/* The path is complete: a '/' behind it. */
L7_INLINE void l7_path_ends(struct l7_decision *decision, __u32 length)
{
	l7_store64(l7_path_at(decision, length), '/');
	decision->path_length = length;
}

/* Whether a word holds anything but what stays as it is, or "//" or "/."; before is the '/' in front of it, in the lowest byte's
 * highest bit. */
L7_INLINE __u64 l7_path_not_plain(__u64 word, __u64 *before)
{
	__u64 slashes = http1_zero_bytes(word ^ HTTP1_EACH('/'));
	__u64 dots = http1_zero_bytes((word | HTTP1_EACH(1)) ^ HTTP1_EACH('/')); /* '.' and '/' */
	__u64 pairs = (slashes << 8 | *before) & dots;

	*before = slashes >> 56;
	return pairs | l7_path_marks(word);
}

/* Copies a path that is normal as it was sent; 0 if it is not, or too long for this. */
L7_GLOBAL int l7_path_copy(struct l7_record *record, struct l7_decision *decision)
{
	__u32 from, length, k;
	__u64 before = 0, word;

	if (!record || !decision)
		return 0;
	from = record->fields[HTTP_PATH].offset;
	length = record->fields[HTTP_PATH].length;
	if (length >= L7_PLAIN_PATH)
		return 0;
	for (k = 0; k < L7_PLAIN_PATH; k += 8) {
		if (k + 8 > length)
			break;
		word = l7_load64(l7_text_at(record, from + k));
		l7_store64(decision->path + k, word);
		if (l7_path_not_plain(word, &before))
			return 0;
	}
	word = l7_load64(l7_text_at(record, from + k));
	l7_store64(decision->path + k, word);
	word = http_low_bytes(word, length & 7) | HTTP1_EACH('a') << (length & 7) * 8;
	if (l7_path_not_plain(word, &before))
		return 0;
	l7_path_ends(decision, length);
	return 1;
}

/* --- rewriting ------------------------------------------------------------------------------------------------------ */

/* The value of a hexadecimal digit; 16 or more if it is none. */
L7_INLINE __u32 l7_hex(__u8 c)
{
	__u32 digit = (__u32)c - '0', letter = ((__u32)c | 0x20) - 'a';

	return digit < 10 ? digit : letter < 6 ? letter + 10 : 16;
}

/* A byte that stands for itself is put there; 0 if no path may hold it. */
L7_INLINE int l7_path_put(struct l7_decision *decision, __u32 c)
{
	if (c < 0x20 || c == 0x7f || c == '/' || c == '\\' ||
	    (c == ';' && !(decision->service.flags & L7_KEEPS_PARAMETERS)))
		return 0;
	*l7_path_at(decision, decision->work[L7_PATH_OUT]) = c;
	decision->work[L7_PATH_OUT]++;
	return 1;
}

/* The last segment is complete, with the byte that ends it, if one does: it stays, or "." and ".." have their effect. */
L7_INLINE int l7_path_segment_ends(struct l7_decision *decision, int with_slash)
{
	__u32 start = decision->work[L7_PATH_SEGMENT], out = decision->work[L7_PATH_OUT], length = out - start;
	const __u8 *segment = l7_path_at(decision, start);

	if (!length)
		return 1;
	if (length <= 2 && segment[0] == '.' && (length == 1 || segment[1] == '.')) {
		decision->work[L7_PATH_OUT] = start;
		if (length == 1)
			return 1;
		decision->work[L7_PATH_OUT] = start - 1;
		decision->work[L7_PATH_GOES_BACK] = 1;
		return start > 1;
	}
	if (with_slash) {
		*l7_path_at(decision, out) = '/';
		decision->work[L7_PATH_OUT] = out + 1;
		decision->work[L7_PATH_SEGMENT] = out + 1;
	}
	return 1;
}

/* A step back, to behind the '/' in front. */
L7_INLINE void l7_path_back(struct l7_decision *decision)
{
	__u32 out = decision->work[L7_PATH_OUT];

	if (*l7_path_at(decision, out - 1) == '/') {
		decision->work[L7_PATH_SEGMENT] = out;
		decision->work[L7_PATH_GOES_BACK] = 0;
	} else {
		decision->work[L7_PATH_OUT] = out - 1;
	}
}

/* A byte that is not just copied; 0 if the path cannot be normalised. */
L7_INLINE int l7_path_special(struct l7_record *record, struct l7_decision *decision, __u32 from, __u32 length)
{
	__u32 at = decision->work[L7_PATH_AT], high, low;
	__u8 c = *l7_text_at(record, from + at);

	if (c == '/') {
		decision->work[L7_PATH_AT] = at + 1;
		return l7_path_segment_ends(decision, 1);
	}
	if (c == '%') {
		if (length - at < 3)
			return 0;
		high = l7_hex(*l7_text_at(record, from + at + 1));
		low = l7_hex(*l7_text_at(record, from + at + 2));
		decision->work[L7_PATH_AT] = at + 3;
		return high < 16 && low < 16 && l7_path_put(decision, high << 4 | low);
	}
	decision->work[L7_PATH_AT] = at + 1;
	return c != '#' && l7_path_put(decision, c);
}

/* Up to eight bytes that are copied and what is behind them, or a step back, or the end. */
L7_CALLBACK long l7_path_step(__u32 i, void *context)
{
	struct l7_path_walk *walk = context;
	struct l7_record *record = walk->record;
	struct l7_decision *decision = walk->decision;
	__u32 from = record->fields[HTTP_PATH].offset, length = record->fields[HTTP_PATH].length;
	__u32 at = decision->work[L7_PATH_AT], n = 8;
	__u64 word, marks;

	(void)i;
	if (decision->work[L7_PATH_GOES_BACK]) {
		l7_path_back(decision);
		return 0;
	}
	if (at > length) {
		decision->work[L7_PATH_VERDICT] = 1;
		return 1;
	}
	if (at == length) {
		decision->work[L7_PATH_AT] = at + 1;
		return l7_path_segment_ends(decision, 0) ? 0 : 1;
	}
	word = l7_load64(l7_text_at(record, from + at));
	marks = l7_path_marks(word) | (l7_zeroes(word ^ HTTP1_EACH('/')) & HTTP1_HIGH);
	if (marks)
		n = http1_first(marks);
	if (n > length - at)
		n = length - at;
	l7_store64(l7_path_at(decision, decision->work[L7_PATH_OUT]), word);
	decision->work[L7_PATH_OUT] += n;
	decision->work[L7_PATH_AT] = at + n;
	if (n == 8 || at + n >= length)
		return 0;
	return l7_path_special(record, decision, from, length) ? 0 : 1;
}

/* Normalises any path of at most L7_PATH bytes; 0 if it cannot be. */
L7_GLOBAL int l7_path_rewrite(struct l7_record *record, struct l7_decision *decision)
{
	struct l7_path_walk walk = { .record = record, .decision = decision };

	if (!record || !decision)
		return 0;
	decision->path[0] = '/';
	decision->work[L7_PATH_AT] = 1;
	decision->work[L7_PATH_OUT] = 1;
	decision->work[L7_PATH_SEGMENT] = 1;
	decision->work[L7_PATH_GOES_BACK] = 0;
	decision->work[L7_PATH_VERDICT] = 0;
	l7_loop(L7_PATH_STEPS, l7_path_step, &walk);
	l7_path_ends(decision, decision->work[L7_PATH_OUT]);
	return decision->work[L7_PATH_VERDICT];
}

/* --- the path of a record ------------------------------------------------------------------------------------------- */

/* Whether the path was cut at a '#': no target has one (RFC 9112 section 3.2), and some servers cut there too, others do not. */
L7_INLINE int l7_path_has_fragment(const struct l7_record *record)
{
	union l7_value path = record->fields[HTTP_PATH], target = record->fields[HTTP_TARGET];
	__u32 end = path.offset + path.length;

	return record->present >> HTTP_TARGET & 1 && path.offset >= target.offset &&
	       end < target.offset + target.length && *l7_text_at(record, end) == '#';
}

/* Normalises it into decision.path: enum l7_path_ok. */
L7_INLINE int l7_path(struct l7_record *record, struct l7_decision *decision)
{
	__u32 length = record->fields[HTTP_PATH].length;
	__u8 first = *l7_text_at(record, record->fields[HTTP_PATH].offset);

	if ((record->truncated | record->repeated) >> HTTP_PATH & 1)
		return L7_PATH_BAD;
	if (!(record->present >> HTTP_PATH & 1) || (length == 1 && first == '*'))
		return L7_PATH_NONE;
	if (!length || length > L7_PATH || first != '/' || l7_path_has_fragment(record))
		return L7_PATH_BAD;
	if (l7_path_copy(record, decision) || l7_path_rewrite(record, decision))
		return L7_PATH_NORMAL;
	return L7_PATH_BAD;
}

#endif
