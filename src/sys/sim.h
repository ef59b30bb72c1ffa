/* A simulated machine: disk, clock and random, in one thread, from one seed. For tests.
 *
 * The disk keeps what was synced and forgets, in any combination, what was not. What a crash may do is a list of
 * independent choices, so that a test can go through all of them:
 *
 *   - a 512-byte sector with unsynced changes: all kept, all dropped, cut in the middle, or garbled. Only the bytes that
 *     were written since the last sync are harmed (powersafe overwrite), but all between the first and the last of them;
 *   - the length of a file, changed since its last sync: the new one or the old one;
 *   - a change of a folder (create, unlink, rename, make folder) since that folder was last synced: there or not. A rename
 *     is one change. Syncing a file does not make its name durable.
 *
 * Time moves only by sim_advance and by 1 us for each disk operation. There are no threads: components are stepped. */
#ifndef SYS_SIM_H
#define SYS_SIM_H

#include "sys/sys.h"

enum { SIM_SECTOR_BYTES = 512, SIM_CHOICES_MAX = 4096 };

enum sim_operation {
    SIM_OPEN,
    SIM_READ,
    SIM_WRITE,
    SIM_SYNC,
    SIM_ALLOCATE,
    SIM_TRUNCATE,
    SIM_RENAME,
    SIM_UNLINK,
    SIM_MAKE_FOLDER,
    SIM_SYNC_FOLDER,
    SIM_OPERATIONS
};

enum sim_outcome { SIM_KEPT, SIM_DROPPED, SIM_CUT, SIM_GARBLED, SIM_OUTCOMES };

struct sim;

/* NULL without memory. */
struct sim *sim_make(uint64_t seed);
void sim_drop(struct sim **sim);
const struct sys *sim_sys(struct sim *sim);

/* Calls `before` ahead of each operation that changes the disk or makes it durable (all but open without create, and
 * read): the places where a crash differs. NULL: no calls. */
void sim_watch(struct sim *sim, void (*before)(void *context, enum sim_operation operation), void *context);

/* How many choices a crash has now, and how many outcomes each (2: SIM_KEPT or SIM_DROPPED; 4 for sectors); at most
 * SIM_CHOICES_MAX, further ones count as dropped. */
uint32_t sim_choices(const struct sim *sim, uint8_t ret_outcomes[static SIM_CHOICES_MAX]);
/* Makes `into` the machine after a crash of `sim` with these outcomes; what `into` was is forgotten, and its open files
 * must not be used again. `seed` decides where a sector is cut and what garbage is in it. */
void sim_crash(const struct sim *sim, const uint8_t *choices, uint64_t seed, struct sim *into);

void sim_advance(struct sim *sim, int64_t ms);
/* What free_bytes answers, and where allocate and write stop with ERR_NO_SPACE; UINT64_MAX at first. */
void sim_set_free_bytes(struct sim *sim, uint64_t bytes);
/* The `countdown`th such operation from now (1: the next) fails with `err`; 0 switches that off. A write that fails with
 * ERR_NO_SPACE has written some of its bytes. */
void sim_fail(struct sim *sim, enum sim_operation operation, uint32_t countdown, enum err err);
/* Rot: flips bits of a byte as it is on the disk. False: there is no such byte. */
bool sim_flip(struct sim *sim, const char *path, uint64_t offset, uint8_t mask);
/* The length of a file; 0 where there is none. */
uint64_t sim_size(const struct sim *sim, const char *path);
/* How many operations were watched. */
uint64_t sim_count(const struct sim *sim);

#endif
