#include "codec/input.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include <xxhash.h>

#include "codec/input_unwrap.h"

/* Plain bytes are read, hashed and decoded a piece at a time, each while it is in the second-level cache. */
enum { PLAIN_PIECE_BYTES = 128 * 1024, PEEK_BYTES = 128 * 1024 };

struct input {
    const struct sys *sys;
    struct sys_file *file; /* NULL: standard input, or memory */
    uint64_t offset;
    struct slice memory; /* what is left of it */
    bool from_memory;
    uint64_t total_bytes;

    enum input_wrapping wrapping;
    struct input_source source; /* as stored; of plain input, only the first bytes pass through it */
    struct unwrap *unwrap;

    uint8_t *data; /* plain bytes */
    size_t capacity;
    size_t start, end;  /* not yet handed out */
    size_t hashed;      /* bytes before this are in the identity */
    size_t searched;    /* no newline before this */
    bool skipping;      /* within a line that was too long */
    enum err stopped;   /* ERR_END or why nothing more comes */
    struct diag reason; /* with stopped */
    XXH3_state_t *hash;
    uint64_t plain_bytes;
    uint64_t lines;
};

/* --- where the bytes come from --- */

static enum err read_file(struct input *input, void *data, size_t size, size_t *ret_read) {
    enum err err = input->sys->disk_ops->read(input->file, input->offset, data, size, ret_read);
    if (err != ERR_OK)
        return diag_set(&input->reason, err, "reading failed at byte %llu", (unsigned long long)input->offset);
    input->offset += *ret_read;
    if (*ret_read == 0 && input->offset < input->total_bytes)
        return diag_set(&input->reason, ERR_IO, "the file became shorter while it was read");
    return ERR_OK;
}

/* Standard input is no file of the disk that `sys` stands for, hence the one system call of this folder. */
static enum err read_standard(struct input *input, void *data, size_t size, size_t *ret_read) {
    ssize_t got;
    do got = read(STDIN_FILENO, data, size);
    while (got < 0 && errno == EINTR);
    if (got < 0) return diag_set(&input->reason, ERR_IO, "reading standard input failed");
    *ret_read = (size_t)got;
    return ERR_OK;
}

static enum err read_memory(struct input *input, void *data, size_t size, size_t *ret_read) {
    size_t take = size < input->memory.size ? size : input->memory.size;
    if (take > 0) memcpy(data, input->memory.data, take);
    input->memory = slice_of(input->memory.data + take, input->memory.size - take);
    *ret_read = take;
    return ERR_OK;
}

static enum err read_stored(void *context, void *data, size_t size, size_t *ret_read) {
    struct input *input = context;
    if (input->from_memory) return read_memory(input, data, size, ret_read);
    return input->file == NULL ? read_standard(input, data, size, ret_read) : read_file(input, data, size, ret_read);
}

/* --- opening --- */

static enum input_wrapping wrapping_of(const uint8_t *head, size_t size) {
    if (size >= 2 && head[0] == 0x1F && head[1] == 0x8B) return INPUT_GZIP;
    if (size < 4) return INPUT_PLAIN;
    if (memcmp(head, "\x28\xB5\x2F\xFD", 4) == 0) return INPUT_ZSTD;
    if ((head[0] & 0xF0) == 0x50 && memcmp(head + 1, "\x2A\x4D\x18", 3) == 0) return INPUT_ZSTD; /* a skippable frame */
    if (memcmp(head, "PK\3\4", 4) == 0 || memcmp(head, "PK\5\6", 4) == 0) return INPUT_ZIP;
    return INPUT_PLAIN;
}

static enum err begin(struct input *input, struct diag *diag) {
    input->source = (struct input_source){.read = read_stored, .context = input};
    input->source.data = malloc(INPUT_PIECE_BYTES);
    input->capacity = 2 * PLAIN_PIECE_BYTES;
    input->data = malloc(input->capacity + INPUT_PADDING_BYTES);
    input->hash = XXH3_createState();
    if (input->source.data == NULL || input->data == NULL || input->hash == NULL)
        return diag_set(diag, ERR_NO_MEMORY, "out of memory for a file's buffers");
    memset(input->data, 0, input->capacity + INPUT_PADDING_BYTES);
    XXH3_128bits_reset(input->hash);
    enum err err = input_source_need(&input->source, 4);
    if (err != ERR_OK) {
        if (diag != NULL) *diag = input->reason;
        return err;
    }
    const uint8_t *head = input->source.data;
    input->wrapping = wrapping_of(head, input->source.end);
    if (input->wrapping == INPUT_PLAIN) return ERR_OK;
    if (input->wrapping == INPUT_ZIP && head[2] == 5) return diag_set(diag, ERR_CORRUPT, "the zip file is empty");
    return unwrap_open(input->wrapping, &input->source, &input->unwrap);
}

static enum err open_file(struct input *input, const char *path, struct diag *diag) {
    const struct sys *sys = input->sys;
    enum err err = sys->disk_ops->open(sys->disk, path, SYS_READ, diag, &input->file);
    if (err != ERR_OK) return err;
    return sys->disk_ops->size(input->file, &input->total_bytes);
}

enum err input_open(const struct sys *sys, const char *path, struct diag *diag, struct input **ret_input) {
    assert(sys != NULL && path != NULL && ret_input != NULL);
    struct input *input = calloc(1, sizeof *input);
    if (input == NULL) return ERR_NO_MEMORY;
    input->sys = sys;
    enum err err = strcmp(path, "-") == 0 ? ERR_OK : open_file(input, path, diag);
    if (err == ERR_OK) err = begin(input, diag);
    if (err != ERR_OK) {
        diag_where(diag, "%s", path);
        input_close(&input);
        return err;
    }
    *ret_input = input;
    return ERR_OK;
}

enum err input_open_memory(struct slice bytes, struct diag *diag, struct input **ret_input) {
    assert(ret_input != NULL);
    struct input *input = calloc(1, sizeof *input);
    if (input == NULL) return ERR_NO_MEMORY;
    input->from_memory = true;
    input->memory = bytes;
    input->total_bytes = bytes.size;
    enum err err = begin(input, diag);
    if (err != ERR_OK) {
        input_close(&input);
        return err;
    }
    *ret_input = input;
    return ERR_OK;
}

void input_close(struct input **input) {
    if (input == NULL || *input == NULL) return;
    struct input *i = *input;
    if (i->file != NULL) i->sys->disk_ops->close(i->sys->disk, &i->file);
    unwrap_close(&i->unwrap);
    if (i->hash != NULL) XXH3_freeState(i->hash);
    free(i->source.data);
    free(i->data);
    free(i);
    *input = NULL;
}

/* --- plain bytes --- */

static enum err read_plain(struct input *input, uint8_t *to, size_t size, size_t *ret_read) {
    struct input_source *source = &input->source;
    if (input->wrapping != INPUT_PLAIN) return unwrap_read(input->unwrap, to, size, &input->reason, ret_read);
    size_t left = source->end - source->at;
    if (left > 0) {
        size_t take = left < size ? left : size;
        memcpy(to, source->data + source->at, take);
        source->at += take;
        *ret_read = take;
        return ERR_OK;
    }
    size_t read = 0;
    enum err err = source->ended ? ERR_OK : read_stored(input, to, size, &read);
    if (err != ERR_OK) return err;
    source->read_bytes += read;
    if (read == 0) return ERR_END;
    *ret_read = read;
    return ERR_OK;
}

static void hash_to(struct input *input, size_t end) {
    if (end > input->hashed) XXH3_128bits_update(input->hash, input->data + input->hashed, end - input->hashed);
    input->hashed = end;
}

static enum err grow(struct input *input) {
    size_t capacity = input->capacity * 2;
    uint8_t *data = realloc(input->data, capacity + INPUT_PADDING_BYTES);
    if (data == NULL) return diag_set(&input->reason, ERR_NO_MEMORY, "out of memory for a long line");
    input->data = data;
    input->capacity = capacity;
    memset(data + input->end, 0, capacity - input->end + INPUT_PADDING_BYTES);
    return ERR_OK;
}

/* Moves what is not handed out to the front, and reads on behind it. What was handed out before is gone. */
static enum err fill(struct input *input) {
    if (input->stopped != ERR_OK) return input->stopped;
    hash_to(input, input->end); /* while it is in the cache */
    if (input->start > 0) {
        memmove(input->data, input->data + input->start, input->end - input->start);
        input->end -= input->start;
        input->searched = input->searched > input->start ? input->searched - input->start : 0;
        input->start = 0;
        input->hashed = input->end;
    }
    enum err err = ERR_OK;
    if (input->capacity - input->end < PLAIN_PIECE_BYTES) err = grow(input);
    size_t read = 0;
    if (err == ERR_OK) err = read_plain(input, input->data + input->end, PLAIN_PIECE_BYTES, &read);
    input->end += read;
    input->plain_bytes += read;
    if (err != ERR_OK) input->stopped = err;
    return err;
}

enum err input_stopped(const struct input *input, struct diag *diag) {
    if (input->stopped == ERR_OK) return ERR_OK;
    if (input->stopped != ERR_END && diag != NULL) *diag = input->reason;
    return input->stopped;
}

static void hand_out(struct input *input, size_t end, struct slice *ret_bytes) {
    *ret_bytes = slice_of(input->data + input->start, end - input->start);
    input->start = end;
    if (input->searched < end) input->searched = end;
}

/* Within a line that is too long: drops it up to its newline. True when that was found. */
static bool skip_line(struct input *input) {
    size_t size = input->end - input->start;
    const uint8_t *newline = size == 0 ? NULL : memchr(input->data + input->start, '\n', size);
    input->start = newline == NULL ? input->end : (size_t)(newline + 1 - input->data);
    input->searched = input->start;
    input->skipping = newline == NULL;
    return newline != NULL;
}

enum err input_lines(struct input *input, struct diag *diag, struct slice *ret_lines) {
    assert(input != NULL && ret_lines != NULL);
    for (;;) {
        if (!input->skipping || skip_line(input)) {
            size_t size = input->end - input->searched;
            const uint8_t *newline = size == 0 ? NULL : memrchr(input->data + input->searched, '\n', size);
            if (newline != NULL) {
                hand_out(input, (size_t)(newline + 1 - input->data), ret_lines);
                return ERR_OK;
            }
        }
        input->searched = input->end;
        if (!input->skipping && input->end - input->start > INPUT_LINE_MAX) {
            input->start = input->end;
            input->skipping = true;
            return diag_set(diag, ERR_TOO_LARGE, "a line of more than %d bytes", INPUT_LINE_MAX);
        }
        enum err err = fill(input);
        if (err == ERR_OK) continue;
        if (err != ERR_END || input->start == input->end || input->skipping) return input_stopped(input, diag);
        hand_out(input, input->end, ret_lines);
        return ERR_OK;
    }
}

enum err input_bytes(struct input *input, size_t size, struct diag *diag, struct slice *ret_bytes) {
    assert(size <= INPUT_LINE_MAX);
    enum err err = ERR_OK;
    while (err == ERR_OK && input->end - input->start < size) err = fill(input);
    if (err == ERR_END && input->end > input->start)
        return diag_set(diag, ERR_CORRUPT, "the file ends %zu bytes too early", size - (input->end - input->start));
    if (err != ERR_OK) return input_stopped(input, diag);
    hand_out(input, input->start + size, ret_bytes);
    return ERR_OK;
}

/* Enough to tell a format by, yet no more than a slow pipe has sent. */
static bool peeked_enough(const struct input *input) {
    enum { PEEK_LINES = 3 };
    const uint8_t *at = input->data + input->start, *end = input->data + input->end;
    if (end - at >= PEEK_BYTES) return true;
    int lines = 0;
    while (lines < PEEK_LINES && at < end && (at = memchr(at, '\n', (size_t)(end - at))) != NULL) at++, lines++;
    return lines == PEEK_LINES;
}

struct slice input_peek(struct input *input) {
    while (!peeked_enough(input) && fill(input) == ERR_OK) continue;
    return slice_of(input->data + input->start, input->end - input->start);
}

struct slice input_unmarked(struct slice head) {
    const bool marked = head.size >= 3 && memcmp(head.data, "\xEF\xBB\xBF", 3) == 0;
    return marked ? slice_of(head.data + 3, head.size - 3) : head;
}

void input_skip_mark(struct input *input) {
    while (input->end - input->start < 3 && fill(input) == ERR_OK) continue;
    const struct slice head = slice_of(input->data + input->start, input->end - input->start);
    input->start += head.size - input_unmarked(head).size;
    if (input->searched < input->start) input->searched = input->start;
}

enum input_wrapping input_wrapping_of(const struct input *input) { return input->wrapping; }

void input_add_lines(struct input *input, uint64_t count) { input->lines += count; }

void input_progress(const struct input *input, struct input_progress *ret_progress) {
    *ret_progress = (struct input_progress){.read_bytes = input->source.read_bytes,
                                            .total_bytes = input->total_bytes,
                                            .plain_bytes = input->plain_bytes,
                                            .lines = input->lines};
}

void input_identity(const struct input *input, uint8_t ret_identity[static 16]) {
    XXH3_state_t *state = XXH3_createState();
    assert(state != NULL);
    XXH3_copyState(state, input->hash);
    if (input->end > input->hashed) XXH3_128bits_update(state, input->data + input->hashed, input->end - input->hashed);
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(state));
    XXH3_freeState(state);
    memcpy(ret_identity, canonical.digest, 16);
}
