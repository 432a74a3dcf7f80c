/* The C library's part: the raw system call, and the formatting of libbpf's messages. On x86-64 and aarch64 a va_list
 * argument arrives as a pointer, so `void *` fits both. */
long syscall(long number, ...);
int vsnprintf(char *text, size_t size, const char *format, void *va_list_pointer);
