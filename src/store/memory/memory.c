/* The memory backend, for tests and simulations: a persistent treap (path copying, counted nodes), so that a snapshot is
 * the root of its time. Deletes leave a tombstone with their stamp, as CQL does, so that an older put cannot come back.
 *
 * Two modes. TRANSACTIONAL: a commit is seen whole. ROW_BY_ROW: each row becomes visible by itself, in a seeded random
 * order that keeps only what the contract promises: rows of one partition in order, the last batch last. */
#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/splitmix.h"
#include "store/store_key.h"

enum { MAGIC = 0x6d656d73 };

struct entry {
    _Atomic uint32_t refs;
    uint32_t key_size;
    size_t value_size;
    uint64_t stamp;
    bool deleted;
    uint8_t bytes[]; /* flat key, value */
};

struct node {
    _Atomic uint32_t refs;
    uint64_t priority; /* of the key, so that the shape depends on the content alone */
    struct node *left, *right;
    struct entry *entry;
};

struct data {
    _Atomic uint32_t refs;
    pthread_mutex_t lock; /* over roots */
    struct node *roots[STORE_TABLE_COUNT];
    enum store_memory_mode mode;
    uint64_t random;
    bool crash;
    uint32_t crash_rows;
    void (*before)(void *context);
    void *before_context;
};

struct memory_store {
    struct store base;
    uint32_t magic;
    struct data *data;
};

struct memory_snapshot {
    struct store_snapshot base;
    struct node *roots[STORE_TABLE_COUNT];
};

static const struct store_ops memory_ops[2];

static struct memory_store *memory_of(struct store *store) {
    struct memory_store *memory = (struct memory_store *)store;
    assert(memory->magic == MAGIC);
    return memory;
}

/* --- the treap --- */

static struct slice entry_key(const struct entry *entry) { return slice_of(entry->bytes, entry->key_size); }
static struct slice entry_value(const struct entry *entry) {
    return slice_of(entry->bytes + entry->key_size, entry->value_size);
}

static struct node *node_ref(struct node *node) {
    if (node != NULL) atomic_fetch_add_explicit(&node->refs, 1, memory_order_relaxed);
    return node;
}

static void entry_drop(struct entry *entry) {
    if (atomic_fetch_sub(&entry->refs, 1) == 1) free(entry);
}

static void node_drop(struct node *node) {
    while (node != NULL && atomic_fetch_sub(&node->refs, 1) == 1) {
        struct node *right = node->right;
        node_drop(node->left);
        entry_drop(node->entry);
        free(node);
        node = right;
    }
}

/* Memory is for tests: without any there is nothing left to test. */
static void *must(void *memory) {
    if (memory == NULL) abort();
    return memory;
}

/* Takes the references of `left` and `right`, and of `entry`. */
static struct node *node_make(uint64_t priority, struct entry *entry, struct node *left, struct node *right) {
    struct node *node = must(malloc(sizeof *node));
    atomic_init(&node->refs, 1);
    node->priority = priority;
    node->entry = entry;
    node->left = left;
    node->right = right;
    return node;
}

static struct node *node_copy(const struct node *from, struct node *left, struct node *right) {
    atomic_fetch_add_explicit(&from->entry->refs, 1, memory_order_relaxed);
    return node_make(from->priority, from->entry, left, right);
}

/* New trees of the keys below and above `key`, which is not in `root`. Nothing of `root` changes. */
static void split(struct node *root, struct slice key, struct node **ret_low, struct node **ret_high) {
    if (root == NULL) {
        *ret_low = *ret_high = NULL;
        return;
    }
    struct node *middle;
    if (slice_compare(entry_key(root->entry), key) < 0) {
        split(root->right, key, &middle, ret_high);
        *ret_low = node_copy(root, node_ref(root->left), middle);
    } else {
        split(root->left, key, ret_low, &middle);
        *ret_high = node_copy(root, middle, node_ref(root->right));
    }
}

/* A new tree with `entry` (whose reference it takes) in it; one that is there already is replaced if it is not newer. */
static struct node *insert(struct node *root, uint64_t priority, struct entry *entry, bool present) {
    if (root == NULL) return node_make(priority, entry, NULL, NULL);
    int order = slice_compare(entry_key(entry), entry_key(root->entry));
    if (order == 0) {
        struct node *left = node_ref(root->left), *right = node_ref(root->right);
        if (entry->stamp >= root->entry->stamp) return node_make(priority, entry, left, right);
        entry_drop(entry);
        return node_copy(root, left, right);
    }
    if (!present && priority > root->priority) {
        struct node *low, *high;
        split(root, entry_key(entry), &low, &high);
        return node_make(priority, entry, low, high);
    }
    if (order < 0) {
        struct node *left = insert(root->left, priority, entry, present);
        return node_copy(root, left, node_ref(root->right));
    }
    struct node *right = insert(root->right, priority, entry, present);
    return node_copy(root, node_ref(root->left), right);
}

static const struct entry *find(const struct node *root, struct slice key) {
    while (root != NULL) {
        int order = slice_compare(key, entry_key(root->entry));
        if (order == 0) return root->entry;
        root = order < 0 ? root->left : root->right;
    }
    return NULL;
}

/* --- commit --- */

struct write {
    enum store_table table;
    uint32_t next; /* the next write of the same partition + 1 */
    struct entry *entry;
};

struct writes {
    struct write *list;
    uint32_t count, capacity;
    uint64_t stamp;
};

static enum err writes_add(void *context, const struct store_key *key, struct slice value) {
    struct writes *writes = context;
    struct store_flat_key flat;
    enum err err = store_flat_key(key->partition, key->row, &flat);
    if (err != ERR_OK) return err;
    struct entry *entry = must(malloc(sizeof *entry + flat.size + value.size));
    atomic_init(&entry->refs, 1);
    entry->key_size = (uint32_t)flat.size;
    entry->value_size = value.size;
    entry->stamp = writes->stamp;
    entry->deleted = value.data == NULL;
    memcpy(entry->bytes, flat.bytes, flat.size);
    if (value.size > 0) memcpy(entry->bytes + flat.size, value.data, value.size);
    if (writes->count == writes->capacity) {
        writes->capacity = writes->capacity == 0 ? 64 : writes->capacity * 2;
        writes->list = must(realloc(writes->list, writes->capacity * sizeof *writes->list));
    }
    writes->list[writes->count++] = (struct write){key->table, 0, entry};
    return ERR_OK;
}

static uint64_t partition_hash(const struct write *write) {
    struct slice partition;
    enum err err = store_flat_key_partition(entry_key(write->entry), &partition);
    assert(err == ERR_OK);
    return hash_bytes(partition, (uint64_t)write->table);
}

/* Puts list[from..to) into a random order that keeps the order within each partition. */
static void shuffle(struct write *list, uint32_t count, uint64_t *random) {
    uint64_t *hashes = must(calloc(count + 1, sizeof *hashes));
    uint32_t *heads = must(calloc(count + 1, sizeof *heads));
    struct write *out = must(calloc(count + 1, sizeof *out));
    uint32_t head_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        hashes[i] = partition_hash(&list[i]);
        uint32_t before = i;
        while (before > 0 && hashes[before - 1] != hashes[i]) before--;
        if (before > 0)
            list[before - 1].next = i + 1;
        else
            heads[head_count++] = i;
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t pick = (uint32_t)(splitmix_next(random) % head_count);
        out[i] = list[heads[pick]];
        if (out[i].next > 0)
            heads[pick] = out[i].next - 1;
        else
            heads[pick] = heads[--head_count];
    }
    if (count > 0) memcpy(list, out, count * sizeof *list);
    free(hashes);
    free(heads);
    free(out);
}

static void apply(struct data *data, struct write *write) {
    struct node **root = &data->roots[write->table];
    struct slice key = entry_key(write->entry);
    bool present = find(*root, key) != NULL;
    struct node *grown = insert(*root, hash_bytes(key, 1), write->entry, present);
    node_drop(*root);
    *root = grown;
}

/* Ahead of writes that are seen at once; false: the process dies instead. */
static bool goes_on(struct data *data, uint32_t rows) {
    if (data->before != NULL) data->before(data->before_context);
    if (!data->crash) return true;
    if (data->crash_rows < rows) return false;
    data->crash_rows -= rows;
    return true;
}

static void apply_one(struct data *data, struct write *write) {
    pthread_mutex_lock(&data->lock);
    apply(data, write);
    pthread_mutex_unlock(&data->lock);
}

/* False: the process has died, at the end of it at the latest. */
static bool apply_all(struct data *data, struct writes *writes) {
    uint32_t done = 0;
    if (data->mode == STORE_MEMORY_ROW_BY_ROW) {
        while (done < writes->count && goes_on(data, 1)) apply_one(data, &writes->list[done++]);
    } else if (goes_on(data, writes->count)) {
        pthread_mutex_lock(&data->lock);
        while (done < writes->count) apply(data, &writes->list[done++]);
        pthread_mutex_unlock(&data->lock);
    }
    const bool dies = done < writes->count || (data->crash && data->crash_rows == 0);
    if (dies) data->crash = false;
    while (done < writes->count) entry_drop(writes->list[done++].entry);
    return !dies;
}

static enum err memory_commit(struct store *store, const struct store_batch *const *batches, uint32_t batch_count,
                              uint64_t stamp, struct diag *diag) {
    struct data *data = memory_of(store)->data;
    struct writes writes = {.stamp = stamp};
    uint32_t last_from = 0;
    for (uint32_t i = 0; i < batch_count; i++) {
        last_from = writes.count;
        enum err err = store_batch_visit(batches[i], writes_add, &writes);
        assert(err == ERR_OK);
    }
    if (data->mode == STORE_MEMORY_ROW_BY_ROW && data->random != 0) {
        shuffle(writes.list, last_from, &data->random);
        if (writes.count > 0) shuffle(writes.list + last_from, writes.count - last_from, &data->random);
    }
    const bool lives = apply_all(data, &writes);
    free(writes.list);
    return lives ? ERR_OK : diag_set(diag, ERR_IO, "the store crashed, as the test asked");
}

/* --- reading --- */

static enum err memory_snapshot_open(struct store *store, struct store_snapshot **ret_snapshot) {
    struct data *data = memory_of(store)->data;
    struct memory_snapshot *snapshot = must(calloc(1, sizeof *snapshot));
    snapshot->base.store = store;
    pthread_mutex_lock(&data->lock);
    for (int i = 0; i < STORE_TABLE_COUNT; i++) snapshot->roots[i] = node_ref(data->roots[i]);
    pthread_mutex_unlock(&data->lock);
    *ret_snapshot = &snapshot->base;
    return ERR_OK;
}

static void memory_snapshot_close(struct store_snapshot **snapshot) {
    struct memory_snapshot *own = (struct memory_snapshot *)*snapshot;
    for (int i = 0; i < STORE_TABLE_COUNT; i++) node_drop(own->roots[i]);
    free(own);
    *snapshot = NULL;
}

static enum err memory_get(struct store_snapshot *snapshot, const struct store_key *key, struct slice *ret_value) {
    struct store_flat_key flat;
    enum err err = store_flat_key(key->partition, key->row, &flat);
    if (err != ERR_OK) return err;
    const struct node *root = ((struct memory_snapshot *)snapshot)->roots[key->table];
    const struct entry *entry = find(root, slice_of(flat.bytes, flat.size));
    if (entry == NULL || entry->deleted) return ERR_NOT_FOUND;
    *ret_value = entry_value(entry);
    return ERR_OK;
}

struct scan {
    size_t row_at;
    struct slice low, high;
    bool bounded, descending;
    store_visit visit;
    void *context;
};

static enum err scan_entry(const struct scan *scan, const struct entry *entry) {
    if (entry->deleted) return ERR_OK;
    struct slice key = entry_key(entry);
    return scan->visit(scan->context, slice_of(key.data + scan->row_at, key.size - scan->row_at), entry_value(entry));
}

static enum err scan_node(const struct scan *scan, const struct node *node) {
    if (node == NULL) return ERR_OK;
    bool above_low = slice_compare(entry_key(node->entry), scan->low) >= 0;
    bool below_high = !scan->bounded || slice_compare(entry_key(node->entry), scan->high) < 0;
    const struct node *first = scan->descending ? node->right : node->left;
    const struct node *second = scan->descending ? node->left : node->right;
    bool enter_first = scan->descending ? below_high : above_low;
    bool enter_second = scan->descending ? above_low : below_high;
    enum err err = enter_first ? scan_node(scan, first) : ERR_OK;
    if (err == ERR_OK && above_low && below_high) err = scan_entry(scan, node->entry);
    if (err == ERR_OK && enter_second) err = scan_node(scan, second);
    return err;
}

static enum err memory_scan(struct store_snapshot *snapshot, const struct store_key *key, struct slice end,
                            bool descending, store_visit visit, void *context) {
    struct store_flat_key low, high;
    enum err err = store_flat_key(key->partition, key->row, &low);
    if (err != ERR_OK) return err;
    bool bounded = end.data != NULL;
    if (bounded)
        err = store_flat_key(key->partition, end, &high);
    else
        bounded = store_flat_key_behind(key->partition, &high);
    if (err != ERR_OK) return err;
    struct scan scan = {
        2 + key->partition.size, slice_of(low.bytes, low.size), SLICE_NONE, bounded, descending, visit, context};
    if (bounded) scan.high = slice_of(high.bytes, high.size);
    return scan_node(&scan, ((struct memory_snapshot *)snapshot)->roots[key->table]);
}

struct partitions {
    store_visit visit;
    void *context;
    struct slice last;
};

static enum err partitions_node(struct partitions *partitions, const struct node *node) {
    if (node == NULL) return ERR_OK;
    enum err err = partitions_node(partitions, node->left);
    if (err != ERR_OK) return err;
    struct slice partition;
    err = store_flat_key_partition(entry_key(node->entry), &partition);
    if (err != ERR_OK) return err;
    bool seen = partitions->last.data != NULL && slice_equal(partition, partitions->last);
    if (!seen && !node->entry->deleted) {
        partitions->last = partition;
        err = partitions->visit(partitions->context, partition, SLICE_NONE);
    }
    return err != ERR_OK ? err : partitions_node(partitions, node->right);
}

static enum err memory_partitions(struct store_snapshot *snapshot, enum store_table table, store_visit visit,
                                  void *context) {
    struct partitions partitions = {visit, context, SLICE_NONE};
    return partitions_node(&partitions, ((struct memory_snapshot *)snapshot)->roots[table]);
}

static enum err memory_check(struct store *store, enum err (*report)(void *context, const char *finding),
                             void *context) {
    (void)memory_of(store);
    (void)report;
    (void)context;
    return ERR_OK;
}

/* --- life cycle --- */

static void memory_close(struct store *store) {
    struct memory_store *memory = memory_of(store);
    struct data *data = memory->data;
    memory->magic = 0;
    free(memory);
    if (atomic_fetch_sub(&data->refs, 1) != 1) return;
    for (int i = 0; i < STORE_TABLE_COUNT; i++) node_drop(data->roots[i]);
    pthread_mutex_destroy(&data->lock);
    free(data);
}

#define MEMORY_OPS(atomic)                                                                                 \
    {                                                                                                      \
        .name = "memory", .atomic_commit = (atomic), .close = memory_close, .commit = memory_commit,       \
        .snapshot_open = memory_snapshot_open, .snapshot_close = memory_snapshot_close, .get = memory_get, \
        .scan = memory_scan, .partitions = memory_partitions, .check = memory_check,                       \
    }
static const struct store_ops memory_ops[2] = {
    [STORE_MEMORY_TRANSACTIONAL] = MEMORY_OPS(true),
    [STORE_MEMORY_ROW_BY_ROW] = MEMORY_OPS(false),
};
static struct store *handle(struct data *data) {
    struct memory_store *memory = must(calloc(1, sizeof *memory));
    memory->base.ops = &memory_ops[data->mode];
    memory->magic = MAGIC;
    memory->data = data;
    return &memory->base;
}

enum err store_memory_open(enum store_memory_mode mode, uint64_t seed, struct store **ret_store) {
    struct data *data = calloc(1, sizeof *data);
    if (data == NULL) return ERR_NO_MEMORY;
    atomic_init(&data->refs, 1);
    pthread_mutex_init(&data->lock, NULL);
    data->mode = mode;
    data->random = seed;
    *ret_store = handle(data);
    return ERR_OK;
}

struct store *store_memory_share(struct store *store) {
    struct data *data = memory_of(store)->data;
    atomic_fetch_add(&data->refs, 1);
    return handle(data);
}

void store_memory_crash(struct store *store, uint32_t rows) {
    struct data *data = memory_of(store)->data;
    data->crash = rows != UINT32_MAX;
    data->crash_rows = rows;
}

void store_memory_watch(struct store *store, void (*before)(void *context), void *context) {
    struct data *data = memory_of(store)->data;
    data->before = before;
    data->before_context = context;
}

struct store *store_memory_copy(struct store *store) {
    const struct data *from = memory_of(store)->data;
    struct store *copy = NULL;
    if (store_memory_open(from->mode, from->random, &copy) != ERR_OK) abort();
    struct data *to = memory_of(copy)->data;
    for (int i = 0; i < STORE_TABLE_COUNT; i++) to->roots[i] = node_ref(from->roots[i]);
    return copy;
}
