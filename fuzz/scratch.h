/* A folder for a target that needs one; in memory where there is some, as fuzzing is not about the disk. */
#ifndef FUZZ_SCRATCH_H
#define FUZZ_SCRATCH_H

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "sys/sys.h"

static inline void scratch_make(char folder[static 64]) {
    snprintf(folder, 64, "%s/wick-fuzz-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    char *made = mkdtemp(folder);
    assert(made != NULL);
    (void)made;
}

static inline enum err scratch_forget(void *context, const struct sys_entry *entry) {
    char path[512];
    const struct sys *sys = sys_real();
    snprintf(path, sizeof path, "%s/%s", (const char *)context, entry->name);
    if (entry->folder) {
        (void)!sys->disk_ops->list(sys->disk, path, scratch_forget, path);
        (void)!rmdir(path);
    } else {
        (void)!unlink(path);
    }
    return ERR_OK;
}

static inline void scratch_clean(char *folder) {
    (void)!sys_real()->disk_ops->list(sys_real()->disk, folder, scratch_forget, folder);
    (void)!rmdir(folder);
}

#endif
