/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* A core that breaks the contract: the first byte of a call says how. Any other byte is passed. */
#ifndef LIAR_H
#define LIAR_H

#include <ebpfmesh/parser.h>

L7_INLINE int liar_confidence(struct l7_window *window)
{
	(void)window;
	return 0;
}

L7_INLINE int liar_window(struct l7_window *window, struct l7_record *record, __u32 start, __u32 end)
{
	window->start = start;
	window->end = end;
	window->direction ^= 1;
	return l7_pass(record, 1, 0);
}

L7_INLINE int liar_text(struct l7_record *record, __u32 used)
{
	record->kind = 1;
	record->present = ~0u;
	record->used = used;
	for (int i = 0; i < L7_FIELDS; i++)
		record->fields[i].number = ~0ull;
	return l7_pass(record, 1, 0);
}

L7_INLINE int liar_core(struct l7_config *config, struct l7_window *window, struct l7_state *state,
			struct l7_record *record)
{
	(void)config;
	(void)state;
	l7_begin(record);
	if (window->flags & L7_END_OF_STREAM)
		return l7_more(record, 0);
	switch (l7_byte(window, window->start)) {
	case 'e': /* nothing was shown: once a driver that called for ever */
		return liar_window(window, record, L7_WINDOW, 0), L7_MORE;
	case 's': /* most of it was passed */
		return liar_window(window, record, 4000, 5000);
	case 'b': /* the same bytes again */
		return liar_window(window, record, 0, L7_WINDOW);
	case 'u':
		return liar_text(record, ~0u);
	case 'U':
		return liar_text(record, L7_TEXT + 1);
	case 'o': /* no operation, of a record that tells something */
		liar_text(record, 0);
		return 77;
	case 'z': /* passes nothing */
		return l7_pass(record, 0, 0);
	case 'f': /* as much as there can be, and all of it has nothing to do with the text */
		return liar_text(record, 0);
	case 'h': /* beyond what can be counted */
		record->kind = 1;
		return l7_pass(record, ~0ull, 0);
	case 'a':
		return l7_error(record, L7_OWN_CODES, ~0u);
	}
	return l7_pass(record, 1, 0);
}

L7_DETECTOR(liar)
L7_PARSER_WITHOUT_TABLES(liar)

#endif
