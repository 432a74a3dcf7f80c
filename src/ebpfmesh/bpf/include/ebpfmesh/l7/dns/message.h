/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* The sections of a DNS message. A step reads one number, up to 8 bytes of a label, or goes on to the next record. */
#ifndef EBPFMESH_L7_DNS_MESSAGE_H
#define EBPFMESH_L7_DNS_MESSAGE_H

#include "../dns.h"

/* A message of this length begins. */
L7_INLINE long dns_begins(struct dns_walk *walk, __u32 length)
{
	struct dns_half *half = walk->half;

	l7_begin(walk->record);
	half->length = length;
	half->left = length;
	half->section = 0;
	half->skip = 0;
	l7_set_number(walk->record, DNS_LENGTH, length);
	return dns_needs(walk, DNS_AT_HEADER, 8);
}

/* A message is complete, but for half->skip bytes, and those behind its last record. */
L7_INLINE long dns_ends(struct dns_walk *walk)
{
	struct dns_half *half = walk->half;
	struct l7_record *record = walk->record;
	__u32 trailing = half->left;

	if (trailing && !(walk->config->leniencies & DNS_TAKE_TRAILING))
		return dns_fail(walk, DNS_TRAILING);
	record->kind = record->fields[DNS_FLAGS].number & 0x8000 ? DNS_RESPONSE : DNS_QUERY;
	record->flags = L7_MESSAGE_ENDS;
	record->stream = half->id;
	walk->op = l7_pass(record, walk->at - walk->window->start + half->skip + trailing, 0);
	half->phase = DNS_AT_LENGTH;
	half->needed = 0;
	half->number = 0;
	half->length = 0;
	return 1;
}

/* What comes behind a record, whose last half->skip bytes are not looked at. */
L7_INLINE long dns_next(struct dns_walk *walk)
{
	struct dns_half *half = walk->half;
	__u32 shown = walk->window->end - walk->at, section = half->section, skip = half->skip;

	if (section >= 4)
		return dns_ends(walk);
	if (!half->counts[section & 3]) {
		half->section = section + 1;
		return 0;
	}
	if (!half->left)
		return dns_fail(walk, DNS_SHORT);
	half->counts[section & 3]--;
	dns_name_begins(walk, !section && !(walk->record->present & 1u << DNS_NAME));
	if (skip > shown)
		walk->op = l7_pass(walk->record, walk->at - walk->window->start + skip, 0);
	else
		walk->at += skip;
	half->skip = 0;
	return skip > shown;
}

L7_INLINE long dns_header(struct dns_walk *walk, __u64 number)
{
	struct dns_half *half = walk->half;

	half->id = number >> 48;
	l7_set_number(walk->record, DNS_FLAGS, number >> 32 & 0xffff);
	l7_set_number(walk->record, DNS_RCODE, number >> 32 & 15);
	l7_set_number(walk->record, DNS_QUESTIONS, number >> 16 & 0xffff);
	l7_set_number(walk->record, DNS_ANSWERS, number & 0xffff);
	half->counts[0] = number >> 16;
	half->counts[1] = number;
	return dns_needs(walk, DNS_AT_COUNTS, 4);
}

L7_INLINE long dns_counts(struct dns_walk *walk, __u64 number)
{
	struct dns_half *half = walk->half;

	l7_set_number(walk->record, DNS_AUTHORITIES, number >> 16);
	l7_set_number(walk->record, DNS_ADDITIONALS, number & 0xffff);
	half->counts[2] = number >> 16;
	half->counts[3] = number;
	half->phase = DNS_AT_NEXT;
	return 0;
}

L7_INLINE long dns_question(struct dns_walk *walk, __u64 number)
{
	if (walk->half->keeps) {
		l7_set_number(walk->record, DNS_TYPE, number >> 16);
		l7_set_number(walk->record, DNS_CLASS, number & 0xffff);
	}
	walk->half->phase = DNS_AT_NEXT;
	return 0;
}

/* Type, class and TTL. */
L7_INLINE long dns_record(struct dns_walk *walk, __u64 number)
{
	struct l7_record *record = walk->record;

	if (number >> 48 == DNS_OPT && walk->half->section == 3) {
		if (record->present & 1u << DNS_EDNS_SIZE) {
			record->repeated |= 1u << DNS_EDNS_SIZE;
		} else {
			l7_set_number(record, DNS_EDNS_SIZE, number >> 32 & 0xffff);
			l7_set_number(record, DNS_EDNS_FLAGS, number & 0xffffff);
			record->fields[DNS_RCODE].number |= (number >> 24 & 0xff) << 4;
		}
	}
	return dns_needs(walk, DNS_AT_RDLENGTH, 2);
}

L7_INLINE long dns_rdlength(struct dns_walk *walk, __u64 number)
{
	struct dns_half *half = walk->half;

	if (number > half->left)
		return dns_fail(walk, DNS_SHORT);
	half->skip = number;
	half->left -= number;
	half->phase = DNS_AT_NEXT;
	return 0;
}

/* A number was read. */
L7_INLINE long dns_read(struct dns_walk *walk, __u64 number)
{
	switch (walk->half->phase) {
	case DNS_AT_LENGTH:
		return dns_begins(walk, number);
	case DNS_AT_HEADER:
		return dns_header(walk, number);
	case DNS_AT_COUNTS:
		return dns_counts(walk, number);
	case DNS_AT_LABEL:
		return dns_label(walk, number);
	case DNS_AT_POINTER:
		return dns_pointer(walk, number);
	case DNS_AT_QUESTION:
		return dns_question(walk, number);
	case DNS_AT_RECORD:
		return dns_record(walk, number);
	}
	return dns_rdlength(walk, number);
}

/* The next bytes of a number. */
L7_INLINE long dns_number(struct dns_walk *walk)
{
	struct dns_half *half = walk->half;
	__u32 count = walk->window->end - walk->at;
	__u64 word = __builtin_bswap64(l7_word(walk->window, walk->at));

	if (half->phase == DNS_AT_LENGTH && !half->length) { /* between messages */
		half->length = 2;
		half->left = 2;
		half->needed = 2;
		half->number = 0;
	}
	if (count > half->needed)
		count = half->needed;
	if (!count || count > 8)
		return dns_fail(walk, L7_BAD_CALL);
	half->number = half->number << (4 * count) << (4 * count) | word >> (64 - 8 * count);
	walk->at += count;
	half->left -= count;
	half->needed -= count;
	return half->needed ? 0 : dns_read(walk, half->number);
}

L7_CALLBACK long dns_step(__u32 i, void *context)
{
	struct dns_walk *walk = context;
	long stop = 1;

	(void)i;
	walk->at = walk->state->at;
	if (walk->half->phase == DNS_AT_NEXT)
		stop = dns_next(walk);
	else if (walk->at < walk->window->end)
		stop = walk->half->phase == DNS_AT_TEXT ? dns_text(walk) : dns_number(walk);
	walk->state->at = walk->at;
	return stop;
}

#endif
