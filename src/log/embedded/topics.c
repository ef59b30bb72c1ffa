#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "log/embedded/embedded.h"

bool topic_name_valid(const char *name) {
    size_t size = strlen(name);
    if (size == 0 || size > LOG_TOPIC_NAME_MAX || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) return false;
    return strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == size;
}

struct topic *topic_find(struct log *log, const char *name) {
    for (uint32_t i = 0; i < log->topic_count; i++)
        if (!log->topics[i]->deleted && strcmp(log->topics[i]->name, name) == 0) return log->topics[i];
    return NULL;
}

enum err partition_new(struct log *log, struct topic *topic, uint32_t index, struct log_partition **ret_partition) {
    struct log_partition *partition = calloc(1, sizeof *partition);
    if (partition == NULL) return ERR_NO_MEMORY;
    if (asprintf(&partition->folder, "%s/%s-%u", log->folder, topic->name, index) < 0) {
        free(partition);
        return ERR_NO_MEMORY;
    }
    if (strlen(partition->folder) + 64 > LOG_PATH_MAX) {
        free(partition->folder);
        free(partition);
        return ERR_USAGE;
    }
    partition->log = log;
    partition->topic = topic;
    partition->index = index;
    if (log->version >= 2)
        partition->tag =
            (int32_t)(crc32c(partition_name_crc(partition), slice_of(log->id, FORMAT_ID_BYTES)) & INT32_MAX);
    pthread_mutex_init(&partition->lock, NULL);
    *ret_partition = partition;
    return ERR_OK;
}

void partition_free(struct log_partition *partition) {
    if (partition == NULL) return;
    const struct sys *sys = partition->log->sys;
    sys->disk_ops->close(sys->disk, &partition->indexes.index); /* Not written: this may be after a failure. */
    sys->disk_ops->close(sys->disk, &partition->indexes.time_index);
    sys->disk_ops->close(sys->disk, &partition->file);
    sys->disk_ops->close(sys->disk, &partition->ends);
    producers_deinit(&partition->producers);
    pthread_mutex_destroy(&partition->lock);
    free(partition->segments);
    free(partition->folder);
    free(partition);
}

static void topic_free(struct topic *topic) {
    if (topic == NULL) return;
    for (uint32_t i = 0; topic->partitions != NULL && i < topic->options.partition_count; i++)
        partition_free(topic->partitions[i]);
    free(topic->partitions);
    free(topic->name);
    free(topic);
}

void topics_free(struct log *log) {
    for (uint32_t i = 0; i < log->topic_count; i++) topic_free(log->topics[i]);
    free(log->topics);
    log->topics = NULL;
    log->topic_count = 0;
}

static enum err topic_new(struct log *log, const char *name, const struct log_topic_options *options,
                          struct topic **ret_topic) {
    struct topic *topic = calloc(1, sizeof *topic);
    if (topic == NULL) return ERR_NO_MEMORY;
    topic->options = *options;
    topic->name = strdup(name);
    topic->partitions = calloc(options->partition_count, sizeof(struct log_partition *));
    enum err err = topic->name != NULL && topic->partitions != NULL ? ERR_OK : ERR_NO_MEMORY;
    for (uint32_t i = 0; i < options->partition_count && !err; i++)
        err = partition_new(log, topic, i, &topic->partitions[i]);
    if (err) {
        topic_free(topic);
        return err;
    }
    *ret_topic = topic;
    return ERR_OK;
}

/* The table takes the topic over, on success. */
static enum err table_add(struct log *log, struct topic *topic) {
    enum err err = ERR_OK;
    pthread_mutex_lock(&log->lock);
    if (log->topic_count == log->topic_capacity) {
        uint32_t capacity = log->topic_capacity ? log->topic_capacity * 2 : 16;
        struct topic **grown = capacity <= LOG_TOPICS_MAX ? reallocarray(log->topics, capacity, sizeof *grown) : NULL;
        if (grown == NULL) err = capacity <= LOG_TOPICS_MAX ? ERR_NO_MEMORY : ERR_LIMIT;
        if (grown != NULL) {
            log->topics = grown;
            log->topic_capacity = capacity;
        }
    }
    if (!err) {
        uint32_t at = log->topic_count++;
        for (; at > 0 && strcmp(log->topics[at - 1]->name, topic->name) > 0; at--)
            log->topics[at] = log->topics[at - 1];
        log->topics[at] = topic;
    }
    pthread_mutex_unlock(&log->lock);
    return err;
}

/* --- loading --- */

struct loading {
    struct log *log;
    struct diag *diag;
    struct buf names; /* topics found, each with a NUL behind it */
};

static enum err find_topic_folder(void *context, const struct sys_entry *entry) {
    struct loading *loading = context;
    const char *dash = strrchr(entry->name, '-');
    if (!entry->folder || dash == NULL || strcmp(dash, "-0") != 0) return ERR_OK;
    char name[LOG_TOPIC_NAME_MAX + 1];
    size_t size = (size_t)(dash - entry->name);
    if (size == 0 || size > LOG_TOPIC_NAME_MAX) return ERR_OK;
    memcpy(name, entry->name, size);
    name[size] = '\0';
    if (!topic_name_valid(name)) return ERR_OK;
    buf_put(&loading->names, slice_of(name, size + 1));
    return buf_err(&loading->names);
}

static enum err remove_entry(void *context, const struct sys_entry *entry) {
    struct log_partition *partition = context;
    const struct sys *sys = partition->log->sys;
    char path[LOG_PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/%s", partition->folder, entry->name);
    if (n < 0 || n >= (int)sizeof path || entry->folder) return ERR_STATE;
    return strcmp(entry->name, "topic") == 0 ? ERR_OK : sys->disk_ops->unlink(sys->disk, path);
}

static enum err remove_folder(struct log_partition *partition) {
    const struct sys *sys = partition->log->sys;
    enum err err = sys->disk_ops->list(sys->disk, partition->folder, remove_entry, partition);
    if (!err) err = partition_sync_folder(partition);
    if (!err && partition->index == 0) {
        char path[LOG_PATH_MAX];
        int n = snprintf(path, sizeof path, "%s/topic", partition->folder);
        assert(n > 0 && n < (int)sizeof path);
        err = sys->disk_ops->unlink(sys->disk, path);
        if (err == ERR_NOT_FOUND) err = ERR_OK;
    }
    return err ? err : sys->disk_ops->unlink(sys->disk, partition->folder);
}

/* The folder with the topic file goes last, so that a crash leaves what says that the rest is to go. */
static enum err remove_folders(struct topic *topic) {
    for (uint32_t i = topic->options.partition_count; i > 0; i--) {
        struct log_partition *partition = topic->partitions[i - 1];
        const struct sys *sys = partition->log->sys;
        enum err err = remove_folder(partition);
        if (err == ERR_NOT_FOUND) continue;
        if (!err) err = sys->disk_ops->sync_folder(sys->disk, partition->log->folder);
        if (err) return err;
    }
    return ERR_OK;
}

struct look {
    bool segments, durable_end, other;
};

static enum err look_at(void *context, const struct sys_entry *entry) {
    struct look *look = context;
    int64_t base;
    if (segment_name(entry->name, ".log", &base))
        look->segments = true;
    else if (strcmp(entry->name, "durable-end") == 0)
        look->durable_end = true;
    else if (strcmp(entry->name, "topic.tmp") != 0)
        look->other = true;
    return ERR_OK;
}

static enum err count_partition(void *context, const struct sys_entry *entry) {
    struct log_partition *first = context; /* its index counts */
    const char *dash = strrchr(entry->name, '-');
    const char *name = first->topic->name;
    uint64_t index;
    if (!entry->folder || dash == NULL || (size_t)(dash - entry->name) != strlen(name)) return ERR_OK;
    if (strncmp(entry->name, name, strlen(name)) != 0 || !slice_to_u64(slice_text(dash + 1), &index)) return ERR_OK;
    if (index < LOG_PARTITIONS_MAX && index > first->index) first->index = (uint32_t)index;
    return ERR_OK;
}

/* Segments that Kafka wrote, in folders named as ours: everything in them is taken to be durable, and none of it is written
 * to again. A topic folder of Kafka's has no topic file and no durable-end. */
static enum err adopt(struct log *log, const char *name, struct log_topic_options *ret_options, struct diag *diag) {
    struct log_topic_options options = {.partition_count = 1};
    struct topic *topic;
    enum err err = topic_new(log, name, &options, &topic);
    if (err) return err;
    err = log->sys->disk_ops->list(log->sys->disk, log->folder, count_partition, topic->partitions[0]);
    options.partition_count = topic->partitions[0]->index + 1;
    topic->partitions[0]->index = 0;
    topic_free(topic);
    if (err) return err;
    err = topic_new(log, name, &options, &topic);
    for (uint32_t i = 0; i < options.partition_count && !err; i++) {
        struct log_partition *partition = topic->partitions[i];
        partition->recorded = (struct durable_end){.limit = UINT64_MAX, .kafka_end = INT64_MAX};
        err = log->sys->disk_ops->make_folder(log->sys->disk, partition->folder);
        if (!err) err = durable_end_make(partition, diag);
    }
    topic_free(topic);
    struct topic_file file = {.state = TOPIC_LIVE, .options = options};
    memcpy(file.log_id, log->id, FORMAT_ID_BYTES);
    if (!err) err = topic_file_write(log, name, &file, diag);
    *ret_options = options;
    return err;
}

/* Without a topic file: a crash while the folder was made, Kafka's segments, or damage. */
static enum err load_unnamed(struct log *log, const char *name, struct topic_file *ret_file, struct diag *diag) {
    char path[LOG_PATH_MAX];
    snprintf(path, sizeof path, "%s/%s-0", log->folder, name);
    struct look look = {0};
    enum err err = log->sys->disk_ops->list(log->sys->disk, path, look_at, &look);
    if (err) return err;
    if (log->options.read_only && !look.durable_end) return ERR_NOT_FOUND;
    if (look.durable_end && !look.segments && !look.other) look.durable_end = false; /* adoption or nothing at all */
    if (look.durable_end) {
        diag_set(diag, ERR_CORRUPT, "the topic file is missing");
        diag_where(diag, "%s/topic", path);
        return ERR_CORRUPT;
    }
    ret_file->state = TOPIC_MAKING;
    ret_file->options = (struct log_topic_options){.partition_count = 1};
    if (!look.segments) return ERR_OK;
    ret_file->state = TOPIC_LIVE;
    return adopt(log, name, &ret_file->options, diag);
}

static enum err read_topic_file(struct log *log, const char *name, struct topic_file *ret_file, struct diag *diag) {
    char path[LOG_PATH_MAX];
    snprintf(path, sizeof path, "%s/%s-0/topic", log->folder, name);
    uint8_t *bytes;
    size_t size;
    enum err err = sys_read_file(log->sys, path, 4096, diag, &bytes, &size);
    if (err == ERR_NOT_FOUND) return load_unnamed(log, name, ret_file, diag);
    if (err) return err;
    err = format_topic_read(slice_of(bytes, size), ret_file);
    free(bytes);
    if (!err && memcmp(ret_file->log_id, log->id, FORMAT_ID_BYTES) != 0) err = ERR_FOREIGN;
    if (err) {
        diag_set(diag, err, err == ERR_FOREIGN ? "the topic belongs to another log" : "the topic file is damaged");
        diag_where(diag, "%s", path);
    }
    return err;
}

/* What follows the adoption of Kafka's segments: ours begin with a new one. */
static enum err seal_kafka(struct log_partition *partition) {
    if (partition->recorded.kafka_end != INT64_MAX || partition->log->options.read_only ||
        atomic_load(&partition->damaged))
        return ERR_OK;
    partition->recorded.kafka_end = partition->next_offset;
    atomic_store(&partition->kafka_end, partition->next_offset);
    partition->recorded.start_offset = partition->segment_count > 0 ? partition->segments[0].base_offset : 0;
    atomic_store(&partition->start_offset, partition->recorded.start_offset);
    atomic_store(&partition->roll_wanted, true);
    return durable_end_record(partition, 0, DURABLE_CLEAN);
}

static enum err load_topic(struct loading *loading, const char *name) {
    struct log *log = loading->log;
    struct topic_file file = {0};
    enum err err = read_topic_file(log, name, &file, loading->diag);
    if (err == ERR_NOT_FOUND && log->options.read_only) return ERR_OK;
    if (err) return err;
    if (file.state != TOPIC_LIVE && log->options.read_only) return ERR_OK;
    struct topic *topic;
    err = topic_new(log, name, &file.options, &topic);
    if (err) return err;
    if (file.state != TOPIC_LIVE) {
        err = remove_folders(topic);
        topic_free(topic);
        return err;
    }
    for (uint32_t i = 0; i < file.options.partition_count && !err; i++) {
        err = partition_recover(topic->partitions[i], loading->diag);
        if (!err) err = seal_kafka(topic->partitions[i]);
    }
    if (!err) err = table_add(log, topic);
    if (err) topic_free(topic);
    return err;
}

enum err topics_load(struct log *log, struct diag *diag) {
    struct loading loading = {.log = log, .diag = diag};
    buf_init(&loading.names, (LOG_TOPIC_NAME_MAX + 1) * LOG_TOPICS_MAX);
    enum err err = log->options.read_only ? ERR_OK : log->sys->disk_ops->sync_folder(log->sys->disk, log->folder);
    if (!err) err = log->sys->disk_ops->list(log->sys->disk, log->folder, find_topic_folder, &loading);
    for (size_t at = 0; at < loading.names.size && !err;) {
        const char *name = (const char *)loading.names.data + at;
        at += strlen(name) + 1;
        pthread_mutex_lock(&log->lock);
        bool known = topic_find(log, name) != NULL;
        pthread_mutex_unlock(&log->lock);
        if (!known) err = load_topic(&loading, name);
    }
    buf_deinit(&loading.names);
    return err;
}

/* --- the contract's verbs --- */

static enum err make_partition(struct log_partition *partition, struct diag *diag) {
    struct log *log = partition->log;
    enum err err = log->sys->disk_ops->make_folder(log->sys->disk, partition->folder);
    if (!err) err = durable_end_make(partition, diag);
    atomic_store(&partition->start_offset, 0);
    atomic_store(&partition->end_offset, 0);
    return err;
}

static enum err make_topic(struct log *log, struct topic *topic, struct diag *diag) {
    struct topic_file file = {.state = TOPIC_MAKING, .options = topic->options};
    memcpy(file.log_id, log->id, FORMAT_ID_BYTES);
    const struct sys *sys = log->sys;
    enum err err = remove_folders(topic); /* what an earlier try or delete left when the disk was full */
    if (!err) err = sys->disk_ops->make_folder(sys->disk, topic->partitions[0]->folder);
    if (!err) err = topic_file_write(log, topic->name, &file, diag);
    for (uint32_t i = 0; i < topic->options.partition_count && !err; i++)
        err = make_partition(topic->partitions[i], diag);
    if (!err) err = sys->disk_ops->sync_folder(sys->disk, log->folder);
    file.state = TOPIC_LIVE;
    if (!err) err = topic_file_write(log, topic->name, &file, diag);
    return err;
}

static enum err check_new_topic(struct log *log, const char *name, const struct log_topic_options *options,
                                struct diag *diag) {
    if (log->options.read_only) return diag_set(diag, ERR_STATE, "the log is open for reading only");
    if (!topic_name_valid(name))
        return diag_set(diag, ERR_USAGE, "a topic's name has 1 to 249 of the characters a-z A-Z 0-9 . _ -");
    if (options->partition_count > LOG_PARTITIONS_MAX)
        return diag_set(diag, ERR_LIMIT, "a topic has at most %d partitions", LOG_PARTITIONS_MAX);
    pthread_mutex_lock(&log->lock);
    bool exists = topic_find(log, name) != NULL;
    pthread_mutex_unlock(&log->lock);
    return exists ? diag_set(diag, ERR_EXISTS, "topic %s exists already", name) : ERR_OK;
}

enum err log_topic_set_retention(struct log *log, const char *name, int64_t retention_ms) {
    pthread_mutex_lock(&log->care);
    pthread_mutex_lock(&log->commit);
    pthread_mutex_lock(&log->lock);
    struct topic *topic = topic_find(log, name);
    if (topic != NULL) topic->options.retention_ms = retention_ms;
    pthread_mutex_unlock(&log->lock);
    pthread_mutex_unlock(&log->commit);
    pthread_mutex_unlock(&log->care);
    return topic != NULL ? ERR_OK : ERR_NOT_FOUND;
}

enum err log_topic_create(struct log *log, const char *name, const struct log_topic_options *options,
                          struct diag *diag) {
    struct log_topic_options checked = *options;
    if (checked.partition_count == 0) checked.partition_count = 1;
    pthread_mutex_lock(&log->commit);
    struct topic *topic = NULL;
    enum err err = check_new_topic(log, name, &checked, diag);
    if (!err) err = topic_new(log, name, &checked, &topic);
    if (!err) {
        err = make_topic(log, topic, diag);
        if (!err) err = table_add(log, topic);
        if (err) {
            diag_set(diag, err, "cannot make topic %s: %s", name, err_message(err));
            topic_free(topic);
        }
    }
    pthread_mutex_unlock(&log->commit);
    return err;
}

static enum err delete_topic(struct log *log, struct topic *topic, struct diag *diag) {
    struct topic_file file = {.state = TOPIC_DELETING, .options = topic->options};
    memcpy(file.log_id, log->id, FORMAT_ID_BYTES);
    enum err err = topic_file_write(log, topic->name, &file, diag);
    if (err) return err;
    pthread_mutex_lock(&log->lock);
    topic->deleted = true;
    pthread_mutex_unlock(&log->lock);
    for (uint32_t i = 0; i < topic->options.partition_count; i++) {
        struct log_partition *partition = topic->partitions[i];
        atomic_store(&partition->damaged, true);
        index_writer_close(&partition->indexes, log->sys);
        log->sys->disk_ops->close(log->sys->disk, &partition->file);
        log->sys->disk_ops->close(log->sys->disk, &partition->ends);
    }
    return remove_folders(topic);
}

enum err log_topic_delete(struct log *log, const char *name, struct diag *diag) {
    if (log->options.read_only) return diag_set(diag, ERR_STATE, "the log is open for reading only");
    pthread_mutex_lock(&log->care);
    pthread_mutex_lock(&log->commit);
    pthread_mutex_lock(&log->lock);
    struct topic *topic = topic_find(log, name);
    pthread_mutex_unlock(&log->lock);
    enum err err = topic == NULL ? ERR_NOT_FOUND : delete_topic(log, topic, diag);
    pthread_mutex_unlock(&log->commit);
    pthread_mutex_unlock(&log->care);
    if (err) diag_set(diag, err, "cannot delete topic %s: %s", name, err_message(err));
    return err;
}

enum err log_topic_visit(struct log *log, enum err (*visit)(void *context, const struct log_topic_info *info),
                         void *context) {
    for (uint32_t i = 0;; i++) {
        pthread_mutex_lock(&log->lock);
        struct topic *topic = i < log->topic_count ? log->topics[i] : NULL;
        bool deleted = topic != NULL && topic->deleted;
        pthread_mutex_unlock(&log->lock);
        if (topic == NULL) return ERR_OK;
        if (deleted) continue;
        struct log_topic_info info = {topic->name, topic->options};
        enum err err = visit(context, &info);
        if (err) return err;
    }
}

enum err log_partition_find(struct log *log, const char *name, uint32_t index, struct log_partition **ret_partition) {
    pthread_mutex_lock(&log->lock);
    struct topic *topic = topic_find(log, name);
    pthread_mutex_unlock(&log->lock);
    if (topic == NULL || index >= topic->options.partition_count) return ERR_NOT_FOUND;
    *ret_partition = topic->partitions[index];
    return ERR_OK;
}

const char *log_partition_topic(const struct log_partition *partition) { return partition->topic->name; }
uint32_t log_partition_index(const struct log_partition *partition) { return partition->index; }

uint32_t log_partition_for_key(struct slice key, uint32_t partition_count) {
    assert(partition_count > 0);
    return key.data == NULL ? 0 : murmur2(key) % partition_count;
}
