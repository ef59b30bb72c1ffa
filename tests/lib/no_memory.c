/* Preloaded into a program: its allocation number NO_MEMORY_AT fails, and with NO_MEMORY_ON all behind it too.
 * NO_MEMORY_COUNT prints at the end how many there were. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

static atomic_long count;

static int fails(void) {
    static long at = -2;
    if (at == -2) {
        const char *text = getenv("NO_MEMORY_AT");
        at = text == NULL ? -1 : strtol(text, NULL, 10);
    }
    long number = atomic_fetch_add(&count, 1);
    if (at < 0 || number < at || (number > at && getenv("NO_MEMORY_ON") == NULL)) return 0;
    errno = ENOMEM;
    return 1;
}

void *malloc(size_t size) { return fails() ? NULL : __libc_malloc(size); }
void *calloc(size_t items, size_t size) { return fails() ? NULL : __libc_calloc(items, size); }
void *realloc(void *old, size_t size) { return fails() ? NULL : __libc_realloc(old, size); }
void *aligned_alloc(size_t alignment, size_t size) { return fails() ? NULL : __libc_memalign(alignment, size); }

__attribute__((destructor)) static void report(void) {
    if (getenv("NO_MEMORY_COUNT") != NULL) fprintf(stderr, "allocations %ld\n", (long)count);
}
