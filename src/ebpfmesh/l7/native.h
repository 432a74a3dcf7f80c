/* What Python calls of the native library, as ebpfmesh/bpf/native/feed.h has it, and of the dynamic loader.
 * build_tools/cffi_module.py makes _native.py of it; tests/unit/test_native_cdef.py holds it against the headers. */

typedef uint64_t __u64;
typedef uint32_t __u32;
typedef uint8_t __u8;

struct l7_core {
	__u32 size;
	__u32 window_size;
	__u32 state_size;
	__u32 config_size;
	__u32 record_size;
	__u32 tables_size;
	void *parse;
	void *detect;
};

struct l7_flow {
	__u64 position;
	__u64 remaining;
	__u64 gap;
	__u8 op;
	__u8 ended;
	__u8 idle;
	__u8 reserved[5];
};

extern const struct l7_core l7_sizes;

void *l7_open(const struct l7_core *core, const void *config);
void l7_reopen(void *connection, const void *config);
void l7_close(void *connection);
void *l7_half_of(void *connection, unsigned int direction);
long l7_feed(void *half, const void *data, unsigned long length);
unsigned long l7_left(void *connection);
const void *l7_events(void *connection);
void l7_miss(void *connection, unsigned int direction, unsigned long length);
const struct l7_flow *l7_flow_of(void *connection, unsigned int direction);
int l7_detect(const struct l7_core *core, unsigned int direction, const void *data, unsigned long length);

/* <dlfcn.h> */
void *dlopen(const char *file, int mode);
void *dlsym(void *handle, const char *name);
char *dlerror(void);
