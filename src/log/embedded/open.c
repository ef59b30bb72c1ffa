#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "log/embedded/embedded.h"

static const uint64_t mib = 1024 * 1024;

enum { ARENA_MAX_BYTES = 128 * 1024 * 1024 };

static enum err lock_folder(struct log *log, struct diag *diag) {
    const struct sys *sys = log->sys;
    char path[LOG_PATH_MAX];
    snprintf(path, sizeof path, "%s/lock", log->folder);
    enum err err = sys->disk_ops->open(sys->disk, path, SYS_WRITE | SYS_CREATE, diag, &log->lock_file);
    if (err) return err;
    err = sys->disk_ops->lock(log->lock_file, SYS_LOCK_EXCLUSIVE);
    if (err) {
        diag_set(diag, err, "another process writes to this log");
        diag_where(diag, "%s", path);
    }
    return err;
}

static enum err find_durable_end(void *context, const struct sys_entry *entry) {
    struct log *log = context;
    char path[LOG_PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/%s/durable-end", log->folder, entry->name);
    if (!entry->folder || n >= (int)sizeof path) return ERR_OK;
    struct sys_file *file = NULL;
    enum err err = log->sys->disk_ops->open(log->sys->disk, path, SYS_READ, NULL, &file);
    log->sys->disk_ops->close(log->sys->disk, &file);
    return err == ERR_OK ? ERR_EXISTS : ERR_OK;
}

/* A new identity, but only where nothing is of an older one. */
static enum err make_identity(struct log *log, const char *path, struct diag *diag) {
    if (log->options.read_only) {
        diag_set(diag, ERR_NOT_FOUND, "there is no log in this folder");
        diag_hint(diag, "wick run and wick import make one; --data DIR names the data folder, which holds it");
        return ERR_NOT_FOUND;
    }
    enum err err = log->sys->disk_ops->list(log->sys->disk, log->folder, find_durable_end, log);
    if (err == ERR_EXISTS) {
        diag_set(diag, ERR_CORRUPT, "the log's identity is missing, but its partitions are there");
        diag_where(diag, "%s", path);
        return ERR_CORRUPT;
    }
    if (err) return err;
    log->sys->random(log->sys->context, log->id, sizeof log->id);
    log->version = FORMAT_VERSION;
    uint8_t bytes[FORMAT_IDENTITY_BYTES];
    format_identity_write(log->id, bytes);
    return sys_replace_file(log->sys, path, slice_of(bytes, sizeof bytes), diag);
}

static enum err load_identity(struct log *log, struct diag *diag) {
    char path[LOG_PATH_MAX];
    snprintf(path, sizeof path, "%s/identity", log->folder);
    uint8_t *bytes;
    size_t size;
    enum err err = sys_read_file(log->sys, path, 4096, NULL, &bytes, &size);
    if (err == ERR_NOT_FOUND) return make_identity(log, path, diag);
    if (!err) {
        err = format_identity_read(slice_of(bytes, size), log->id, &log->version);
        free(bytes);
    }
    if (err) {
        diag_set(diag, err, err == ERR_FOREIGN ? "the log was written by another version" : "cannot read the identity");
        diag_where(diag, "%s", path);
    }
    return err;
}

static enum err log_new(const struct log_options *options, struct log **ret_log) {
    struct log *log = calloc(1, sizeof *log);
    if (log == NULL) return ERR_NO_MEMORY;
    log->folder = strdup(options->folder);
    if (log->folder == NULL) {
        free(log);
        return ERR_NO_MEMORY;
    }
    log->options = *options;
    log->options.folder = log->folder;
    if (log->options.segment_bytes == 0) log->options.segment_bytes = 256 * mib;
    if (log->options.segment_bytes > INT32_MAX) log->options.segment_bytes = INT32_MAX; /* Kafka's positions */
    if (log->options.group_bytes == 0) log->options.group_bytes = mib / 2;
    if (log->options.reserve_bytes == 0) log->options.reserve_bytes = 64 * mib;
    if (log->options.allocate_bytes == 0) log->options.allocate_bytes = mib / 4;
    if (log->options.record_bytes == 0) log->options.record_bytes = 8 * mib;
    log->sys = options->sys;
    log->pending_tail = &log->pending_head;
    pthread_mutex_init(&log->care, NULL);
    pthread_mutex_init(&log->commit, NULL);
    pthread_mutex_init(&log->lock, NULL);
    arena_init(&log->arena, ARENA_MAX_BYTES);
    *ret_log = log;
    return ERR_OK;
}

void log_free(struct log *log) {
    topics_free(log);
    log->sys->disk_ops->close(log->sys->disk, &log->lock_file);
    arena_deinit(&log->arena);
    pthread_mutex_destroy(&log->care);
    pthread_mutex_destroy(&log->commit);
    pthread_mutex_destroy(&log->lock);
    free(log->folder);
    free(log);
}

enum err log_open(const struct log_options *options, struct diag *diag, struct log **ret_log) {
    assert(options->sys != NULL && options->folder != NULL);
    if (strlen(options->folder) + LOG_TOPIC_NAME_MAX + 64 > LOG_PATH_MAX)
        return diag_set(diag, ERR_USAGE, "the folder's path is too long");
    struct diag own = {0}; /* So that the innermost place is known whatever the caller has in its own. */
    struct log *log;
    enum err err = log_new(options, &log);
    if (err) return diag_set(diag, err, "out of memory");
    if (!options->read_only) err = sys_make_folders(log->sys, log->folder, &own);
    if (!err && !options->read_only) err = lock_folder(log, &own);
    if (!err) err = load_identity(log, &own);
    if (!err) err = topics_load(log, &own);
    if (err) {
        if (own.err == ERR_OK) diag_set(&own, err, "cannot open the log: %s", err_message(err));
        diag_where(&own, "%s", log->folder);
        if (diag != NULL) *diag = own;
        log_free(log);
        return err;
    }
    *ret_log = log;
    return ERR_OK;
}

void log_close(struct log **log) {
    struct log *l = *log;
    if (l == NULL) return;
    atomic_store(&l->stopping, true);
    if (l->thread != NULL) {
        sys_bell_ring(&l->bell);
        l->sys->thread_join(l->sys->context, &l->thread);
    }
    enum err err = commit_all(l);
    for (uint32_t i = 0; i < l->topic_count && !l->options.read_only; i++)
        for (uint32_t j = 0; j < l->topics[i]->options.partition_count && !err; j++)
            if (!l->topics[i]->deleted) err = partition_close_files(l->topics[i]->partitions[j]);
    /* What could not be closed cleanly is recovered at the next open. */
    log_free(l);
    *log = NULL;
}

void log_identity(const struct log *log, uint8_t ret_id[static 16]) { memcpy(ret_id, log->id, FORMAT_ID_BYTES); }

enum err log_refresh(struct log *log, struct diag *diag) {
    assert(log->options.read_only);
    enum err err = ERR_OK;
    for (unsigned tries = 0; tries < 3; tries++) { /* Files may go while we look; then we look again. */
        err = topics_load(log, diag);
        for (uint32_t i = 0; i < log->topic_count && !err; i++)
            for (uint32_t j = 0; j < log->topics[i]->options.partition_count && !err; j++)
                err = partition_refresh(log->topics[i]->partitions[j], diag);
        if (err != ERR_NOT_FOUND) break;
    }
    return err;
}

int64_t log_start_offset(const struct log_partition *partition) { return atomic_load(&partition->start_offset); }

int64_t log_end_offset(const struct log_partition *partition) {
    return atomic_load_explicit(&partition->end_offset, memory_order_acquire);
}

enum err log_watch(struct log_partition *partition, struct sys_bell *bell) {
    pthread_mutex_lock(&partition->lock);
    enum err err = partition->bell_count < LOG_BELLS_MAX ? ERR_OK : ERR_LIMIT;
    if (!err) partition->bells[partition->bell_count++] = bell;
    pthread_mutex_unlock(&partition->lock);
    return err;
}

void log_unwatch(struct log_partition *partition, struct sys_bell *bell) {
    pthread_mutex_lock(&partition->lock);
    for (uint32_t i = 0; i < partition->bell_count; i++)
        if (partition->bells[i] == bell) partition->bells[i--] = partition->bells[--partition->bell_count];
    pthread_mutex_unlock(&partition->lock);
}

void log_partition_damage(const struct log_partition *partition, struct log_finding *ret_finding) {
    struct log_partition *p =
        (struct log_partition *)(uintptr_t)partition; /* The lock is no part of what is promised. */
    pthread_mutex_lock(&p->lock);
    *ret_finding = p->damage;
    pthread_mutex_unlock(&p->lock);
}

bool log_partition_refuses(const struct log_partition *partition) { return atomic_load(&partition->damaged); }
