#include "sys/sim.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/splitmix.h"

enum { FILE_MAGIC = 0x73696d66, NAMES_MAX = 4096, NONE = -1, ROOT = 0 };

struct sector {
    uint32_t number;
    uint16_t from, to; /* changed bytes */
    uint8_t old[SIM_SECTOR_BYTES];
};

struct entry {
    const char *name; /* interned */
    int inode;
};

enum change_kind { LINK, UNLINK, RENAME };

struct change {
    enum change_kind kind;
    const char *name;
    const char *to; /* of a rename */
    int inode;
};

struct inode {
    bool folder;
    /* of a file: bytes beyond `size` and below `capacity` are zero */
    uint8_t *data;
    uint64_t size, capacity, synced_size;
    struct sector *sectors;
    uint32_t sector_count, sector_capacity;
    int exclusive, shared; /* locks held */
    /* of a folder */
    struct entry *entries, *synced;
    uint32_t entry_count, entry_capacity, synced_count, synced_capacity;
    struct change *changes;
    uint32_t change_count, change_capacity;
};

struct sys_file {
    uint32_t magic;
    struct sim *sim;
    int inode;
    bool writable, locked, locked_shared;
};

struct sim {
    struct sys sys;
    struct inode *inodes;
    uint32_t inode_count, inode_capacity;
    char **names;
    uint32_t name_count;
    struct sim *names_of; /* a machine after a crash uses the names of the one it came from, which must outlive it */
    uint64_t random;
    int64_t now_ns;
    uint64_t free_bytes;
    uint64_t count;
    uint32_t fail_countdown[SIM_OPERATIONS];
    enum err fail_err[SIM_OPERATIONS];
    void (*before)(void *context, enum sim_operation operation);
    void *before_context;
};

static void *must(void *memory) {
    assert(memory != NULL); /* A test machine without memory has nothing to tell. */
    return memory;
}

#define GROW(array, count, capacity)                                            \
    do {                                                                        \
        if ((count) == (capacity)) {                                            \
            (capacity) = (capacity) ? (capacity)*2 : 8;                         \
            (array) = must(reallocarray((array), (capacity), sizeof *(array))); \
        }                                                                       \
    } while (0)

/* --- names and paths --- */

static const char *intern(struct sim *sim, const char *name, size_t size) {
    struct sim *owner = sim->names_of;
    for (uint32_t i = 0; i < owner->name_count; i++)
        if (strncmp(owner->names[i], name, size) == 0 && owner->names[i][size] == '\0') return owner->names[i];
    assert(owner->name_count < NAMES_MAX);
    char *copy = must(malloc(size + 1));
    memcpy(copy, name, size);
    copy[size] = '\0';
    return owner->names[owner->name_count++] = copy;
}

static int find_entry(const struct inode *folder, const char *name) {
    for (uint32_t i = 0; i < folder->entry_count; i++)
        if (folder->entries[i].name == name) return (int)i;
    return NONE;
}

/* The folder that holds the last part of the path, and that part, interned. "." parts and slashes at the ends do not count. */
static enum err resolve(struct sim *sim, const char *path, int *ret_folder, const char **ret_name) {
    int folder = ROOT;
    const char *name = NULL;
    for (const char *at = path; *at != '\0';) {
        size_t size = strcspn(at, "/");
        if (size > 0 && !(size == 1 && at[0] == '.')) {
            if (name != NULL) {
                int entry = find_entry(&sim->inodes[folder], name);
                if (entry == NONE) return ERR_NOT_FOUND;
                folder = sim->inodes[folder].entries[entry].inode;
                if (!sim->inodes[folder].folder) return ERR_NOT_FOUND;
            }
            name = intern(sim, at, size);
        }
        at += size;
        if (*at == '/') at++;
    }
    *ret_folder = folder;
    *ret_name = name;
    return ERR_OK;
}

/* The inode of a path, or NONE. */
static int lookup(struct sim *sim, const char *path) {
    int folder;
    const char *name;
    if (resolve(sim, path, &folder, &name) != ERR_OK) return NONE;
    if (name == NULL) return ROOT;
    int entry = find_entry(&sim->inodes[folder], name);
    return entry == NONE ? NONE : sim->inodes[folder].entries[entry].inode;
}

static int new_inode(struct sim *sim, bool folder) {
    if (sim->inode_count == sim->inode_capacity) {
        uint32_t capacity = sim->inode_capacity ? sim->inode_capacity * 2 : 16;
        sim->inodes = must(reallocarray(sim->inodes, capacity, sizeof *sim->inodes));
        memset(sim->inodes + sim->inode_capacity, 0, (capacity - sim->inode_capacity) * sizeof *sim->inodes);
        sim->inode_capacity = capacity;
    }
    struct inode *inode = &sim->inodes[sim->inode_count]; /* Its memory from a life before is used again. */
    inode->folder = folder;
    if (inode->size > 0) memset(inode->data, 0, inode->size);
    inode->size = inode->synced_size = 0;
    inode->sector_count = inode->entry_count = inode->synced_count = inode->change_count = 0;
    inode->exclusive = inode->shared = 0;
    return (int)sim->inode_count++;
}

/* --- folders --- */

static void set_entry(struct inode *folder, const char *name, int inode) {
    int at = find_entry(folder, name);
    if (at == NONE) {
        GROW(folder->entries, folder->entry_count, folder->entry_capacity);
        at = (int)folder->entry_count++;
    }
    folder->entries[at] = (struct entry){name, inode};
}

static void remove_entry(struct inode *folder, const char *name) {
    int at = find_entry(folder, name);
    if (at != NONE) folder->entries[at] = folder->entries[--folder->entry_count];
}

static void apply(struct inode *folder, const struct change *change) {
    switch (change->kind) {
        case LINK: set_entry(folder, change->name, change->inode); break;
        case UNLINK: remove_entry(folder, change->name); break;
        case RENAME:
            remove_entry(folder, change->name);
            set_entry(folder, change->to, change->inode);
            break;
    }
}

static void change_folder(struct sim *sim, int folder, struct change change) {
    struct inode *inode = &sim->inodes[folder];
    GROW(inode->changes, inode->change_count, inode->change_capacity);
    inode->changes[inode->change_count++] = change;
    apply(inode, &change);
}

static void copy_entries(struct entry **to, uint32_t *to_count, uint32_t *to_capacity, const struct entry *from,
                         uint32_t count) {
    while (*to_capacity < count) {
        *to_capacity = *to_capacity ? *to_capacity * 2 : 8;
        *to = must(reallocarray(*to, *to_capacity, sizeof **to));
    }
    if (count > 0) memcpy(*to, from, count * sizeof *from);
    *to_count = count;
}

/* --- file content --- */

static void reserve(struct inode *inode, uint64_t size) {
    if (size <= inode->capacity) return;
    uint64_t capacity = inode->capacity ? inode->capacity : 1024;
    while (capacity < size) capacity *= 2;
    inode->data = must(realloc(inode->data, capacity));
    memset(inode->data + inode->capacity, 0, capacity - inode->capacity);
    inode->capacity = capacity;
}

/* Notes that bytes [from, to) of a sector are about to change. */
static void touch(struct inode *inode, uint32_t number, uint32_t from, uint32_t to) {
    for (uint32_t i = inode->sector_count; i > 0; i--) {
        struct sector *sector = &inode->sectors[i - 1];
        if (sector->number != number) continue;
        if (from < sector->from) sector->from = (uint16_t)from;
        if (to > sector->to) sector->to = (uint16_t)to;
        return;
    }
    GROW(inode->sectors, inode->sector_count, inode->sector_capacity);
    struct sector *sector = &inode->sectors[inode->sector_count++];
    sector->number = number;
    sector->from = (uint16_t)from;
    sector->to = (uint16_t)to;
    reserve(inode, ((uint64_t)number + 1) * SIM_SECTOR_BYTES);
    memcpy(sector->old, inode->data + (uint64_t)number * SIM_SECTOR_BYTES, SIM_SECTOR_BYTES);
}

static void touch_range(struct inode *inode, uint64_t from, uint64_t to) {
    while (from < to) {
        uint64_t number = from / SIM_SECTOR_BYTES, end = (number + 1) * SIM_SECTOR_BYTES;
        if (end > to) end = to;
        touch(inode, (uint32_t)number, (uint32_t)(from % SIM_SECTOR_BYTES),
              (uint32_t)(end - number * SIM_SECTOR_BYTES));
        from = end;
    }
}

static bool all_zero(const uint8_t *data, uint64_t size) {
    return size == 0 || (data[0] == 0 && memcmp(data, data + 1, size - 1) == 0);
}

/* What is cut off may come back with the old length, so its sectors are changed ones; those of zeroes say nothing. */
static void shrink(struct inode *inode, uint64_t size) {
    for (uint64_t from = size; from < inode->size;) {
        uint64_t end = (from / SIM_SECTOR_BYTES + 1) * SIM_SECTOR_BYTES;
        if (end > inode->size) end = inode->size;
        if (!all_zero(inode->data + from, end - from)) touch_range(inode, from, end);
        memset(inode->data + from, 0, end - from);
        from = end;
    }
    inode->size = size;
}

/* --- operations --- */

static struct sim *sim_of(void *disk) { return disk; }

static struct inode *inode_of(struct sys_file *file) {
    assert(file != NULL && file->magic == FILE_MAGIC);
    return &file->sim->inodes[file->inode];
}

static enum err failure(struct sim *sim, enum sim_operation operation) {
    if (sim->fail_countdown[operation] == 0 || --sim->fail_countdown[operation] > 0) return ERR_OK;
    return sim->fail_err[operation];
}

/* Ahead of every operation that a crash can come before. */
static enum err before(struct sim *sim, enum sim_operation operation) {
    sim->count++;
    sim->now_ns += 1000;
    if (sim->before != NULL) sim->before(sim->before_context, operation);
    return failure(sim, operation);
}

static enum err sim_open(void *disk, const char *path, unsigned flags, struct diag *diag, struct sys_file **ret_file) {
    struct sim *sim = sim_of(disk);
    int folder;
    const char *name;
    enum err err = resolve(sim, path, &folder, &name);
    if (!err && name == NULL) err = ERR_IO;
    int entry = err ? NONE : find_entry(&sim->inodes[folder], name);
    if (!err && entry == NONE && (flags & SYS_CREATE) == 0) err = ERR_NOT_FOUND;
    if (!err && entry != NONE && (flags & SYS_CREATE) && (flags & SYS_EXCLUSIVE)) err = ERR_EXISTS;
    if (!err) err = entry == NONE ? before(sim, SIM_OPEN) : failure(sim, SIM_OPEN);
    int inode = err || entry == NONE ? NONE : sim->inodes[folder].entries[entry].inode;
    if (!err && inode != NONE && sim->inodes[inode].folder) err = ERR_IO;
    if (err) {
        diag_set(diag, err, "cannot open the file: %s", err_message(err));
        diag_where(diag, "%s", path);
        return err;
    }
    if (inode == NONE) {
        inode = new_inode(sim, false);
        change_folder(sim, folder, (struct change){LINK, name, NULL, inode});
    }
    struct sys_file *file = must(malloc(sizeof *file));
    *file = (struct sys_file){FILE_MAGIC, sim, inode, (flags & SYS_WRITE) != 0, false, false};
    *ret_file = file;
    return ERR_OK;
}

static void unlock(struct sys_file *file) {
    struct inode *inode = inode_of(file);
    if (file->locked) (*(file->locked_shared ? &inode->shared : &inode->exclusive))--;
    file->locked = false;
}

static void sim_close(void *disk, struct sys_file **file) {
    (void)disk;
    if (*file == NULL) return;
    assert((*file)->magic == FILE_MAGIC);
    unlock(*file);
    (*file)->magic = 0;
    free(*file);
    *file = NULL;
}

static enum err sim_read(struct sys_file *file, uint64_t offset, void *data, size_t size, size_t *ret_read) {
    struct inode *inode = inode_of(file);
    enum err err = failure(file->sim, SIM_READ);
    if (err) return err;
    uint64_t left = offset < inode->size ? inode->size - offset : 0;
    size_t n = size < left ? size : (size_t)left;
    if (n > 0) memcpy(data, inode->data + offset, n);
    *ret_read = n;
    return ERR_OK;
}

static enum err grow(struct sys_file *file, uint64_t size) {
    struct inode *inode = inode_of(file);
    if (size <= inode->size) return ERR_OK;
    struct sim *sim = file->sim;
    if (sim->free_bytes != UINT64_MAX) {
        if (size - inode->size > sim->free_bytes) return ERR_NO_SPACE;
        sim->free_bytes -= size - inode->size;
    }
    reserve(inode, (size + SIM_SECTOR_BYTES - 1) / SIM_SECTOR_BYTES * SIM_SECTOR_BYTES);
    inode->size = size;
    return ERR_OK;
}

/* How much of `size` is written before an error: of a disk that is full, some of it. */
static uint64_t fitting(struct sim *sim, uint64_t size, enum err err) {
    return err == ERR_NO_SPACE ? splitmix_next(&sim->random) % (size + 1) : 0;
}

static enum err sim_write(struct sys_file *file, uint64_t offset, const struct slice *parts, size_t part_count) {
    assert(inode_of(file) != NULL && file->writable);
    enum err err = before(file->sim, SIM_WRITE);
    struct inode *inode = inode_of(file);
    uint64_t size = 0;
    for (size_t i = 0; i < part_count; i++) size += parts[i].size;
    if (err) size = fitting(file->sim, size, err);
    enum err full = grow(file, offset + size);
    if (full) return full;
    touch_range(inode, offset, offset + size);
    for (size_t i = 0; i < part_count && size > 0; i++) {
        uint64_t n = parts[i].size < size ? parts[i].size : size;
        if (n > 0) memcpy(inode->data + offset, parts[i].data, n);
        offset += n;
        size -= n;
    }
    return err;
}

static enum err sim_sync(struct sys_file *file) {
    enum err err = before(file->sim, SIM_SYNC);
    if (err) return ERR_SYNC;
    struct inode *inode = inode_of(file);
    inode->sector_count = 0;
    inode->synced_size = inode->size;
    return ERR_OK;
}

static enum err sim_allocate(struct sys_file *file, uint64_t offset, uint64_t size) {
    enum err err = before(file->sim, SIM_ALLOCATE);
    return err ? err : grow(file, offset + size);
}

static enum err sim_truncate(struct sys_file *file, uint64_t size) {
    struct inode *inode = inode_of(file);
    if (size == inode->size) return ERR_OK;
    enum err err = before(file->sim, SIM_TRUNCATE);
    if (err) return err;
    inode = inode_of(file);
    if (size > inode->size) return grow(file, size);
    shrink(inode, size);
    return ERR_OK;
}

static enum err sim_size_of(struct sys_file *file, uint64_t *ret_size) {
    *ret_size = inode_of(file)->size;
    return ERR_OK;
}

static enum err sim_lock(struct sys_file *file, enum sys_lock lock) {
    struct inode *inode = inode_of(file);
    unlock(file);
    if (inode->exclusive > 0 || (lock == SYS_LOCK_EXCLUSIVE && inode->shared > 0)) return ERR_LOCKED;
    file->locked = true;
    file->locked_shared = lock == SYS_LOCK_SHARED;
    (*(file->locked_shared ? &inode->shared : &inode->exclusive))++;
    return ERR_OK;
}

static enum err sim_rename(void *disk, const char *from, const char *to) {
    struct sim *sim = sim_of(disk);
    int folder, to_folder;
    const char *name, *to_name;
    enum err err = resolve(sim, from, &folder, &name);
    if (!err) err = resolve(sim, to, &to_folder, &to_name);
    if (err) return err;
    assert(name != NULL && to_name != NULL && folder == to_folder); /* Nothing here moves between folders. */
    int entry = find_entry(&sim->inodes[folder], name);
    if (entry == NONE) return ERR_NOT_FOUND;
    err = before(sim, SIM_RENAME);
    if (err) return err;
    int inode = sim->inodes[folder].entries[find_entry(&sim->inodes[folder], name)].inode;
    change_folder(sim, folder, (struct change){RENAME, name, to_name, inode});
    return ERR_OK;
}

static enum err sim_unlink(void *disk, const char *path) {
    struct sim *sim = sim_of(disk);
    int folder;
    const char *name;
    enum err err = resolve(sim, path, &folder, &name);
    if (err) return err;
    int entry = name == NULL ? NONE : find_entry(&sim->inodes[folder], name);
    if (entry == NONE) return ERR_NOT_FOUND;
    const struct inode *inode = &sim->inodes[sim->inodes[folder].entries[entry].inode];
    if (inode->folder && inode->entry_count > 0) return ERR_EXISTS;
    err = before(sim, SIM_UNLINK);
    if (!err) change_folder(sim, folder, (struct change){UNLINK, name, NULL, NONE});
    return err;
}

static enum err sim_make_folder(void *disk, const char *path) {
    struct sim *sim = sim_of(disk);
    int folder;
    const char *name;
    enum err err = resolve(sim, path, &folder, &name);
    if (err || name == NULL) return err;
    int entry = find_entry(&sim->inodes[folder], name);
    if (entry != NONE) return sim->inodes[sim->inodes[folder].entries[entry].inode].folder ? ERR_OK : ERR_EXISTS;
    err = before(sim, SIM_MAKE_FOLDER);
    if (err) return err;
    int inode = new_inode(sim, true);
    change_folder(sim, folder, (struct change){LINK, name, NULL, inode});
    return ERR_OK;
}

static enum err sim_sync_folder(void *disk, const char *path) {
    struct sim *sim = sim_of(disk);
    int at = lookup(sim, path);
    if (at == NONE || !sim->inodes[at].folder) return ERR_NOT_FOUND;
    if (sim->inodes[at].change_count == 0) return failure(sim, SIM_SYNC_FOLDER) ? ERR_SYNC : ERR_OK;
    if (before(sim, SIM_SYNC_FOLDER)) return ERR_SYNC;
    struct inode *inode = &sim->inodes[at];
    copy_entries(&inode->synced, &inode->synced_count, &inode->synced_capacity, inode->entries, inode->entry_count);
    inode->change_count = 0;
    return ERR_OK;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

static enum err sim_list(void *disk, const char *path, enum err (*visit)(void *, const struct sys_entry *),
                         void *context) {
    struct sim *sim = sim_of(disk);
    int at = lookup(sim, path);
    if (at == NONE || !sim->inodes[at].folder) return ERR_NOT_FOUND;
    uint32_t count = sim->inodes[at].entry_count;
    struct entry *entries = must(malloc((count + 1) * sizeof *entries));
    if (count > 0) memcpy(entries, sim->inodes[at].entries, count * sizeof *entries);
    if (count > 1) qsort(entries, count, sizeof *entries, by_name);
    enum err err = ERR_OK;
    for (uint32_t i = 0; i < count && !err; i++) {
        const struct inode *inode = &sim->inodes[entries[i].inode];
        struct sys_entry entry = {entries[i].name, inode->folder, inode->size};
        err = visit(context, &entry);
    }
    free(entries);
    return err;
}

static enum err sim_free_bytes(void *disk, const char *path, uint64_t *ret_bytes) {
    (void)path;
    *ret_bytes = sim_of(disk)->free_bytes;
    if (*ret_bytes == UINT64_MAX) *ret_bytes = (uint64_t)1 << 50;
    return ERR_OK;
}

static int64_t sim_wall_ms(void *context) { return 1700000000000 + sim_of(context)->now_ns / 1000000; }
static int64_t sim_monotonic_ns(void *context) { return sim_of(context)->now_ns; }

static void sim_random(void *context, void *bytes, size_t size) {
    for (size_t i = 0; i < size; i++) ((uint8_t *)bytes)[i] = (uint8_t)splitmix_next(&sim_of(context)->random);
}

static const struct sys_disk_ops disk_ops = {
    .open = sim_open,
    .close = sim_close,
    .read = sim_read,
    .write = sim_write,
    .sync = sim_sync,
    .allocate = sim_allocate,
    .truncate = sim_truncate,
    .size = sim_size_of,
    .lock = sim_lock,
    .rename = sim_rename,
    .unlink = sim_unlink,
    .make_folder = sim_make_folder,
    .sync_folder = sim_sync_folder,
    .list = sim_list,
    .free_bytes = sim_free_bytes,
};

/* --- the machine --- */

struct sim *sim_make(uint64_t seed) {
    struct sim *sim = calloc(1, sizeof *sim);
    if (sim == NULL) return NULL;
    sim->names = must(calloc(NAMES_MAX, sizeof *sim->names));
    sim->names_of = sim;
    sim->random = seed;
    sim->free_bytes = UINT64_MAX;
    sim->sys = (struct sys){.disk_ops = &disk_ops,
                            .disk = sim,
                            .context = sim,
                            .wall_ms = sim_wall_ms,
                            .monotonic_ns = sim_monotonic_ns,
                            .random = sim_random};
    int root = new_inode(sim, true);
    assert(root == ROOT);
    (void)root;
    return sim;
}

void sim_drop(struct sim **sim) {
    struct sim *s = *sim;
    if (s == NULL) return;
    for (uint32_t i = 0; i < s->inode_capacity; i++) {
        struct inode *inode = &s->inodes[i];
        free(inode->data);
        free(inode->sectors);
        free(inode->entries);
        free(inode->synced);
        free(inode->changes);
    }
    free(s->inodes);
    for (uint32_t i = 0; i < s->name_count; i++) free(s->names[i]);
    free(s->names);
    free(s);
    *sim = NULL;
}

const struct sys *sim_sys(struct sim *sim) { return &sim->sys; }

void sim_watch(struct sim *sim, void (*before_operation)(void *context, enum sim_operation operation), void *context) {
    sim->before = before_operation;
    sim->before_context = context;
}

void sim_advance(struct sim *sim, int64_t ms) { sim->now_ns += ms * 1000000; }
void sim_set_free_bytes(struct sim *sim, uint64_t bytes) { sim->free_bytes = bytes; }
uint64_t sim_count(const struct sim *sim) { return sim->count; }

void sim_fail(struct sim *sim, enum sim_operation operation, uint32_t countdown, enum err err) {
    sim->fail_countdown[operation] = countdown;
    sim->fail_err[operation] = err;
}

bool sim_flip(struct sim *sim, const char *path, uint64_t offset, uint8_t mask) {
    int at = lookup(sim, path);
    if (at == NONE || sim->inodes[at].folder || offset >= sim->inodes[at].size) return false;
    sim->inodes[at].data[offset] ^= mask;
    return true;
}

uint64_t sim_size(const struct sim *sim, const char *path) {
    int at = lookup((struct sim *)(uintptr_t)sim, path);
    return at == NONE ? 0 : sim->inodes[at].size;
}

uint32_t sim_choices(const struct sim *sim, uint8_t ret_outcomes[static SIM_CHOICES_MAX]) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < sim->inode_count; i++) {
        const struct inode *inode = &sim->inodes[i];
        uint32_t twofold = inode->change_count + (inode->size != inode->synced_size);
        for (uint32_t j = 0; j < twofold && count < SIM_CHOICES_MAX; j++) ret_outcomes[count++] = 2;
        for (uint32_t j = 0; j < inode->sector_count && count < SIM_CHOICES_MAX; j++)
            ret_outcomes[count++] = SIM_OUTCOMES;
    }
    return count;
}

/* Takes the choices in the order in which sim_choices lists them. */
struct chooser {
    const uint8_t *choices;
    uint32_t at;
    uint64_t random;
};

static uint8_t choose(struct chooser *chooser) {
    return chooser->at < SIM_CHOICES_MAX ? chooser->choices[chooser->at++] : (uint8_t)SIM_DROPPED;
}

static void crash_folder(const struct inode *from, struct inode *to, struct chooser *chooser) {
    copy_entries(&to->entries, &to->entry_count, &to->entry_capacity, from->synced, from->synced_count);
    for (uint32_t i = 0; i < from->change_count; i++)
        if (choose(chooser) == SIM_KEPT) apply(to, &from->changes[i]);
    copy_entries(&to->synced, &to->synced_count, &to->synced_capacity, to->entries, to->entry_count);
}

static void crash_sector(struct inode *to, const struct sector *sector, uint8_t outcome, uint64_t *random) {
    uint8_t *data = to->data + (uint64_t)sector->number * SIM_SECTOR_BYTES;
    uint32_t from = sector->from, end = sector->to;
    if (outcome == SIM_CUT) from += 1 + (uint32_t)(splitmix_next(random) % (end - from));
    if (outcome == SIM_DROPPED || outcome == SIM_CUT) memcpy(data + from, sector->old + from, end - from);
    if (outcome != SIM_GARBLED) return;
    uint64_t garbage = splitmix_next(random);
    for (uint32_t i = from; i < end; i++) {
        data[i] = (uint8_t)(garbage >> i % 8 * 8);
        if (i % 8 == 7) garbage = garbage * 6364136223846793005u + 1442695040888963407u;
    }
}

static void crash_file(const struct inode *from, struct inode *to, struct chooser *chooser) {
    uint64_t size = from->size;
    if (from->size != from->synced_size && choose(chooser) != SIM_KEPT) size = from->synced_size;
    uint64_t most = size > from->size ? size : from->size;
    most = (most + SIM_SECTOR_BYTES - 1) / SIM_SECTOR_BYTES * SIM_SECTOR_BYTES;
    for (uint32_t i = 0; i < from->sector_count; i++) {
        uint64_t end = ((uint64_t)from->sectors[i].number + 1) * SIM_SECTOR_BYTES;
        if (end > most) most = end;
    }
    reserve(to, most);
    if (from->size > 0) memcpy(to->data, from->data, from->size);
    to->size = most; /* so that new_inode clears what it finds */
    for (uint32_t i = 0; i < from->sector_count; i++)
        crash_sector(to, &from->sectors[i], choose(chooser), &chooser->random);
    if (most > size) memset(to->data + size, 0, most - size);
    to->size = to->synced_size = size;
}

void sim_crash(const struct sim *sim, const uint8_t *choices, uint64_t seed, struct sim *into) {
    assert(sim != into);
    if (into->names_of != sim->names_of) {
        for (uint32_t i = 0; i < into->name_count; i++) free(into->names[i]);
        into->name_count = 0;
        into->names_of = sim->names_of;
    }
    struct chooser chooser = {choices, 0, seed};
    into->inode_count = 0;
    into->random = seed;
    into->now_ns = sim->now_ns;
    into->free_bytes = sim->free_bytes;
    memset(into->fail_countdown, 0, sizeof into->fail_countdown);
    for (uint32_t i = 0; i < sim->inode_count; i++) {
        const struct inode *from = &sim->inodes[i];
        int number = new_inode(into, from->folder);
        struct inode *to = &into->inodes[number];
        if (from->folder)
            crash_folder(from, to, &chooser);
        else
            crash_file(from, to, &chooser);
    }
}
