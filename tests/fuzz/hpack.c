/* HPACK under libFuzzer, beside nghttp2's inflater where its library is here: the same blocks are decoded by both, and either
 * both refuse one or both read the same headers. What exceeds a limit of ours (hpack_escalates) is no difference.
 *
 * The input: a byte that chooses limits, then pieces of two bytes (little-endian) and what they announce: with bit 15 a new
 * limit of the table, in units of 16 octets, else the length of a block. */
#include <ebpfmesh/l7/hpack.h>

#include "tables.h"

#include <dlfcn.h>

struct nghttp2_nv {
	uint8_t *name, *value;
	size_t name_length, value_length;
	uint8_t flags;
};

/* What is used of nghttp2 (nghttp2.h). */
static struct {
	int (*make)(void **inflater);
	void (*unmake)(void *inflater);
	int (*limit)(void *inflater, size_t size);
	ssize_t (*step)(void *inflater, struct nghttp2_nv *nv, int *flags, const uint8_t *in, size_t length, int final);
	int (*end)(void *inflater);
} nghttp2;

enum { INFLATE_FINAL = 1, INFLATE_EMIT = 2 };

static void *symbol(void *library, const char *name)
{
	void *found = dlsym(library, name);

	HOLDS(found);
	return found;
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	void *library = dlopen("libnghttp2.so.14", RTLD_NOW);

	(void)argc;
	(void)argv;
	if (!library) {
		fprintf(stderr, "without nghttp2, which is not here: %s\n", dlerror());
		return 0;
	}
	*(void **)&nghttp2.make = symbol(library, "nghttp2_hd_inflate_new");
	*(void **)&nghttp2.unmake = symbol(library, "nghttp2_hd_inflate_del");
	*(void **)&nghttp2.limit = symbol(library, "nghttp2_hd_inflate_change_table_size");
	*(void **)&nghttp2.step = symbol(library, "nghttp2_hd_inflate_hd2");
	*(void **)&nghttp2.end = symbol(library, "nghttp2_hd_inflate_end_headers");
	return 0;
}

/* nghttp2 reads the block: the same headers, one after the other, as the list in the record's text; 0 if it refuses it. */
static int nghttp2_reads(void *inflater, const struct hpack_block *block, const struct l7_record *record, int ours)
{
	const uint8_t *in = block->bytes;
	size_t length = block->length, at = 0;
	struct nghttp2_nv nv;
	int flags = 0;

	while (!(flags & INFLATE_FINAL)) {
		struct l7_header header;
		ssize_t taken = nghttp2.step(inflater, &nv, &flags, in, length, 1);

		if (taken < 0)
			return 0;
		in += taken;
		length -= (size_t)taken;
		if (!(flags & INFLATE_EMIT) || ours)
			continue;
		HOLDS(at + sizeof header <= record->used);
		memcpy(&header, record->text + at, sizeof header);
		at += sizeof header;
		HOLDS(header.name == nv.name_length && header.value == nv.value_length);
		HOLDS(at + header.name + header.value <= record->used);
		HOLDS(!memcmp(record->text + at, nv.name, nv.name_length));
		HOLDS(!memcmp(record->text + at + header.name, nv.value, nv.value_length));
		at += header.name + header.value;
	}
	nghttp2.end(inflater);
	HOLDS(ours || at == record->used);
	return 1;
}

/* One block; 0: nothing after it can be decoded. */
static int decodes(struct l7_config *config, struct hpack_table *table, struct hpack_block *block,
		   struct l7_record *record, void *inflater)
{
	struct hpack_no_head head = { 0 };
	int code;

	l7_begin(record);
	code = hpack_decode(config, table, block, &head, record);
	HOLDS(code >= 0);
	HOLDS(record->used <= (config->text_limit ? config->text_limit : 4096));
	HOLDS(block->at <= block->length);
	fuzz_table_holds(table);
	HOLDS(table->owed || table->maximum <= table->limit);
	if (inflater && !hpack_escalates((__u32)code))
		HOLDS(nghttp2_reads(inflater, block, record, code) == !code);
	return !code;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint32_t limits[8] = { 0, 0, 64, 300, 1000, 4096, 16384, 65536 };
	struct l7_config *config = calloc(1, sizeof *config);
	struct hpack_table *table = calloc(1, sizeof *table);
	struct hpack_block *block = malloc(sizeof *block);
	struct l7_record *record = malloc(sizeof *record);
	void *inflater = NULL;
	int going = 1;

	HOLDS(config && table && block && record);
	if (nghttp2.make)
		HOLDS(!nghttp2.make(&inflater));
	if (size) {
		config->flags = L7_ALL_HEADERS;
		config->table_limit = limits[*data & 7];
		config->text_limit = limits[*data >> 3 & 7];
		config->head_limit = *data & 64 ? 500 : 0;
		data++;
		size--;
	}
	while (size >= 2 && going) {
		uint32_t word = (uint32_t)(data[0] | data[1] << 8);

		data += 2;
		size -= 2;
		if (word & 1 << 15) {
			hpack_set_limit(table, (word & 0x7fff) * 16);
			if (inflater)
				HOLDS(!nghttp2.limit(inflater, (word & 0x7fff) * 16));
			continue;
		}
		block->length = word < size ? word : (uint32_t)size;
		memcpy(block->bytes, data, block->length);
		data += block->length;
		size -= block->length;
		memset(block->bytes + block->length, (int)(word & 0xff), L7_SLACK);
		going = decodes(config, table, block, record, inflater);
	}
	if (inflater)
		nghttp2.unmake(inflater);
	free(config);
	free(table);
	free(block);
	free(record);
	return 0;
}
