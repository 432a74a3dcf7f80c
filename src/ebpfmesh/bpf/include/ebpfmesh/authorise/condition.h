/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Whether a condition on a field holds. What came more than once, or was cut, has no value that one can go by: then it is
 * not known, except for whether the field came at all. */
#ifndef EBPFMESH_AUTHORISE_CONDITION_H
#define EBPFMESH_AUTHORISE_CONDITION_H

#include "path.h"

enum l7_truth { L7_FALSE = 0, L7_TRUE = 1, L7_UNKNOWN = 2, L7_NO_TRUTH = -1 /* the condition is not there */ };

/* decision.work while rules are looked at. */
enum l7_rule_work {
	/* a field, and its length without a port: number + 1, and from bit 32 on the length */
	L7_WITHOUT_PORT_LENGTH = 6,
	/* number of the limit or fault that matched last: one that people wrote may be several rules here, in a row */
	L7_TAKEN_LAST = 7,
};

#define L7_PORT_DIGITS 32 /* of a port, leading zeroes included; whether more than these are one is not known */

/* Letters in lower case, other bytes as they are. */
L7_INLINE __u64 l7_folded(__u64 word)
{
	__u64 low = word & HTTP1_LOW7;
	__u64 upper = (low + HTTP1_EACH(0x80 - 'A')) & ~(low + HTTP1_EACH(0x7f - 'Z')) & ~word & HTTP1_HIGH;

	return word | upper >> 2;
}

/* The length of a host without the port behind it, and without a dot before that; more than length: it is not known. */
L7_INLINE __u32 l7_host_length(const struct l7_record *record, __u32 from, __u32 length)
{
	__u32 without = length, i;
	__u8 c;

	for (i = 0; i < L7_PORT_DIGITS; i++) {
		if (i >= length)
			break;
		c = *l7_text_at(record, from + length - 1 - i);
		if (!http1_is_digit(c)) {
			if (c == ':')
				without = length - 1 - i;
			break;
		}
	}
	if (i == L7_PORT_DIGITS)
		return length + 1;
	if (without && *l7_text_at(record, from + without - 1) == '.')
		without--;
	return without;
}

/* Whether the text at an offset of the record's begins with that of the condition. */
L7_INLINE int l7_text_is(const struct l7_record *record, __u32 at, const struct l7_condition *condition)
{
	__u32 length = condition->length, folds = condition->flags & L7_FOLDS;

	for (__u32 k = 0; k < L7_CONDITION_TEXT; k += 8) {
		__u64 word;

		if (k >= length)
			break;
		word = l7_load64(l7_text_at(record, at + k));
		if (folds)
			word = l7_folded(word);
		if (http_low_bytes(word, length - k) != l7_load64(condition->text + k))
			return L7_FALSE;
	}
	return L7_TRUE;
}

/* The same, which all conditions of a decision share. */
L7_INLINE __u32 l7_length_without_port(const struct l7_record *record, struct l7_decision *decision, __u32 field)
{
	__u64 known = decision->work[L7_WITHOUT_PORT_LENGTH];

	if ((__u32)known != field + 1) {
		known = (__u64)l7_host_length(record, record->fields[field].offset, record->fields[field].length)
				<< 32 |
			(field + 1);
		decision->work[L7_WITHOUT_PORT_LENGTH] = known;
	}
	return known >> 32;
}

/* enum l7_truth, of the condition with a number. */
L7_GLOBAL int l7_condition_holds(struct l7_record *record, struct l7_decision *decision, __u32 number)
{
	const struct l7_condition *condition = l7_element(&l7_conditions, number);
	__u32 field, at, length;

	if (!record || !decision || !condition)
		return L7_NO_TRUTH;
	field = condition->field & (L7_FIELDS - 1);
	if (!((record->present | record->truncated | record->repeated) >> field & 1))
		return condition->op == L7_IS_ABSENT;
	if (condition->op <= L7_IS_ABSENT)
		return condition->op == L7_IS_PRESENT;
	if ((record->truncated | record->repeated) >> field & 1)
		return L7_UNKNOWN;
	at = record->fields[field].offset;
	length = record->fields[field].length;
	if (condition->flags & L7_WITHOUT_PORT) {
		__u32 without = l7_length_without_port(record, decision, field);

		if (without > length)
			return L7_UNKNOWN;
		length = without;
	}
	if (length < condition->length || (condition->op == L7_EQUALS && length != condition->length))
		return L7_FALSE;
	if (condition->op == L7_ENDS) {
		if (length == condition->length)
			return L7_FALSE;
		at += length - condition->length;
	}
	return l7_text_is(record, at, condition);
}

#endif
