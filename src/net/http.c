#include "net/http.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>

#include "base/utf8.h"

void http_reply(struct http_exchange *exchange, unsigned status, const char *content_type) {
    assert(status == 101 || (status >= 200 && status < 600));
    exchange->transport->reply(exchange, status, content_type);
}

void http_header(struct http_exchange *exchange, const char *name, const char *value) {
    exchange->transport->header(exchange, name, value);
}

bool http_fits(struct http_exchange *exchange) {
    return exchange->transport->fits == NULL || exchange->transport->fits(exchange);
}

struct slice http_argument(const struct http_exchange *exchange, const char *name) {
    const size_t size = strlen(name);
    for (uint32_t i = 0; i < exchange->argument_count; i++) {
        const struct http_pair *pair = &exchange->arguments[i];
        if (pair->name.size == size && memcmp(pair->name.data, name, size) == 0) return pair->value;
    }
    return SLICE_NONE;
}

bool http_etag_listed(struct slice list, struct slice etag) {
    if (slice_equal(list, SLICE("*"))) return true;
    for (size_t at = 0; at < list.size;) {
        if (list.data[at] != '"') { /* between two, or the mark W/ of a weak one */
            at++;
            continue;
        }
        const uint8_t *end = memchr(list.data + at + 1, '"', list.size - at - 1);
        if (end == NULL) return false;
        const size_t size = (size_t)(end + 1 - (list.data + at));
        if (slice_equal(slice_of(list.data + at, size), etag)) return true;
        at += size;
    }
    return false;
}

/* --- errors --- */

unsigned http_status_of(enum err err) {
    switch (err) {
        case ERR_TOO_LARGE: return 413;
        case ERR_CONFLICT: return 409;
        case ERR_NOT_FOUND: return 404;
        case ERR_DENIED: return 403;
        case ERR_LIMIT: return 429;
        case ERR_TIMEOUT:
        case ERR_CLOSED: return 503;
        default: break;
    }
    switch (err_class(err)) {
        case ERR_CLASS_INPUT: return 400;
        case ERR_CLASS_RESOURCE: return 503;
        default: return 500;
    }
}

/* Messages may quote what a client sent, so control characters become escapes, and bytes that are no UTF-8 '?' (net lies below
 * the JSON codec). */
static void put_text(struct buf *out, const char *text) {
    buf_put_u8(out, '"');
    for (struct slice rest = slice_text(text); rest.size > 0;) {
        const size_t valid = utf8_size(rest), size = valid > 0 ? valid : 1;
        const uint8_t c = rest.data[0];
        if (c < 0x20 || c == 0x7f) {
            buf_printf(out, "\\u%04x", c);
        } else if (c == 0xc2 && valid == 2 && rest.data[1] < 0xa0) {
            buf_printf(out, "\\u%04x", rest.data[1]);
        } else {
            if (c == '"' || c == '\\') buf_put_u8(out, '\\');
            buf_put(out, valid > 0 ? slice_of(rest.data, size) : SLICE("?"));
        }
        rest = slice_of(rest.data + size, rest.size - size);
    }
    buf_put_u8(out, '"');
}

void http_put_error(struct buf *out, enum err err, const char *message, const char *at) {
    buf_put_text(out, "{\"error\":{\"code\":");
    put_text(out, err_name(err));
    buf_put_text(out, ",\"message\":");
    put_text(out, message);
    buf_put_text(out, ",\"at\":");
    put_text(out, at);
    buf_put_text(out, "}}");
}

void http_reply_error(struct http_exchange *exchange, enum err err, const struct diag *diag) {
    assert(err != ERR_OK);
    char message[800];
    struct diag text = {.err = err};
    if (diag != NULL && diag->err != ERR_OK) text = *diag;
    char at[sizeof text.where];
    memcpy(at, text.where, sizeof at);
    text.where[0] = '\0';
    diag_print(&text, message, sizeof message);
    buf_clear(&exchange->answer);
    http_put_error(&exchange->answer, err, message, at);
    const unsigned status = http_status_of(err);
    if (status == 503 || status == 429) http_header(exchange, "Retry-After", "1");
    http_reply(exchange, status, "application/json");
}

/* --- targets --- */

static int hex_value(uint8_t c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* Decodes into `to`, which has room for as many bytes as there are. A decoded NUL or other control byte is refused: nothing
 * of ours has one in a name, and it would lie to whoever prints it. */
static enum err decode(struct slice text, bool plus_is_space, uint8_t *to, size_t *ret_size) {
    size_t size = 0;
    for (size_t i = 0; i < text.size; i++) {
        int c = text.data[i];
        if (c == ' ') return ERR_SYNTAX;
        if (c == '%') {
            if (text.size - i < 3) return ERR_SYNTAX;
            const int high = hex_value(text.data[i + 1]), low = hex_value(text.data[i + 2]);
            if (high < 0 || low < 0) return ERR_SYNTAX;
            c = high * 16 + low;
            i += 2;
        } else if (c == '+' && plus_is_space) {
            c = ' ';
        }
        if (c < 0x20 || c == 0x7f) return ERR_SYNTAX;
        to[size++] = (uint8_t)c;
    }
    *ret_size = size;
    return ERR_OK;
}

static struct slice drop_authority(struct slice target) {
    static const struct slice schemes[] = {SLICE("http://"), SLICE("https://")};
    for (int i = 0; i < 2; i++) {
        if (target.size < schemes[i].size || !slice_equal_nocase(slice_of(target.data, schemes[i].size), schemes[i]))
            continue;
        struct slice rest = slice_of(target.data + schemes[i].size, target.size - schemes[i].size);
        while (rest.size > 0 && rest.data[0] != '/' && rest.data[0] != '?') {
            rest.data++;
            rest.size--;
        }
        if (rest.size == 0) return SLICE("/");
        return rest;
    }
    return target;
}

struct decoding {
    uint8_t *to;
    struct http_pair *pairs;
    uint32_t count;
};

static enum err decode_slice(struct decoding *decoding, struct slice text, bool query, struct slice *ret_text) {
    size_t size = 0;
    enum err err = decode(text, query, decoding->to, &size);
    if (err != ERR_OK) return err;
    *ret_text = slice_of(decoding->to, size);
    decoding->to += size;
    *decoding->to++ = '\0';
    return ERR_OK;
}

static enum err decode_pair(struct decoding *decoding, struct slice text) {
    if (text.size == 0) return ERR_OK;
    const uint8_t *equals = memchr(text.data, '=', text.size);
    struct slice name = text, value = slice_of(text.data + text.size, 0);
    if (equals != NULL) {
        name.size = (size_t)(equals - text.data);
        value = slice_of(equals + 1, text.size - name.size - 1);
    }
    struct http_pair *pair = &decoding->pairs[decoding->count];
    enum err err = decode_slice(decoding, name, true, &pair->name);
    if (err == ERR_OK) err = decode_slice(decoding, value, true, &pair->value);
    if (err == ERR_OK) decoding->count++;
    return err;
}

static enum err decode_query(struct decoding *decoding, struct slice query) {
    const uint8_t *end = query.data + query.size;
    for (const uint8_t *at = query.data; at < end;) {
        const uint8_t *stop = memchr(at, '&', (size_t)(end - at));
        if (stop == NULL) stop = end;
        enum err err = decode_pair(decoding, slice_of(at, (size_t)(stop - at)));
        if (err != ERR_OK) return err;
        at = stop + 1;
    }
    return ERR_OK;
}

static uint32_t count_pairs(struct slice query) {
    uint32_t count = 0;
    for (size_t i = 0; i < query.size; i++) count += query.data[i] != '&' && (i == 0 || query.data[i - 1] == '&');
    return count;
}

enum err http_target_parse(struct arena *arena, struct slice target, struct diag *diag, struct slice *ret_path,
                           const struct http_pair **ret_arguments, uint32_t *ret_count) {
    if (target.size > HTTP_TARGET_MAX)
        return diag_set(diag, ERR_TOO_LARGE, "a request target has at most %d bytes", HTTP_TARGET_MAX);
    target = drop_authority(target);
    const bool asterisk = slice_equal(target, SLICE("*"));
    if (!asterisk && (target.size == 0 || (target.data[0] != '/' && target.data[0] != '?')))
        return diag_set(diag, ERR_SYNTAX, "a request target begins with /");
    const uint8_t *mark = memchr(target.data, '?', target.size);
    const size_t path_size = mark != NULL ? (size_t)(mark - target.data) : target.size;
    const struct slice path = path_size > 0 ? slice_of(target.data, path_size) : SLICE("/");
    const struct slice query = mark != NULL ? slice_of(mark + 1, target.size - path_size - 1) : SLICE_NONE;
    const uint32_t count = count_pairs(query);
    /* Each part gets a NUL behind it: one for the path, two for a pair. */
    uint8_t *memory = arena_alloc(arena, count * sizeof(struct http_pair) + path.size + query.size + 2 * count + 2);
    if (memory == NULL) return diag_set(diag, ERR_NO_MEMORY, "no memory for the request");
    struct decoding decoding = {memory + count * sizeof(struct http_pair), (struct http_pair *)(void *)memory, 0};
    struct slice decoded = SLICE_NONE;
    enum err err = decode_slice(&decoding, path, false, &decoded);
    if (err == ERR_OK) err = decode_query(&decoding, query);
    if (err != ERR_OK) return diag_set(diag, err, "the request target has a broken escape, a space or a control byte");
    *ret_path = decoded;
    *ret_arguments = decoding.pairs;
    *ret_count = decoding.count;
    return ERR_OK;
}

/* --- in process --- */

enum { LOCAL_PADDING_BYTES = 64, LOCAL_ARENA_MAX = 64 * 1024 * 1024 };

struct local {
    struct http_exchange exchange;
    pthread_mutex_t lock;
    pthread_cond_t replied;
    bool done;
    unsigned status;
    char content_type[64];
};

static void local_reply(struct http_exchange *exchange, unsigned status, const char *content_type) {
    struct local *local = (struct local *)exchange;
    pthread_mutex_lock(&local->lock);
    assert(!local->done);
    local->status = status;
    snprintf(local->content_type, sizeof local->content_type, "%s", content_type);
    local->done = true;
    pthread_cond_signal(&local->replied);
    pthread_mutex_unlock(&local->lock);
}

static void local_header(struct http_exchange *exchange, const char *name, const char *value) {
    (void)exchange, (void)name, (void)value;
}

static const struct http_transport_ops local_ops = {local_reply, local_header, NULL};

static void local_wait(struct local *local, void (*pump)(void *context), void *context) {
    pthread_mutex_lock(&local->lock);
    while (!local->done) {
        if (pump == NULL) {
            pthread_cond_wait(&local->replied, &local->lock);
            continue;
        }
        pthread_mutex_unlock(&local->lock);
        pump(context);
        pthread_mutex_lock(&local->lock);
    }
    pthread_mutex_unlock(&local->lock);
}

static enum err local_prepare(struct local *local, const char *target, struct slice body) {
    struct http_exchange *exchange = &local->exchange;
    exchange->local = true;
    uint8_t *copy = arena_alloc(&exchange->arena, body.size + LOCAL_PADDING_BYTES);
    if (copy == NULL) return ERR_NO_MEMORY;
    if (body.size > 0) memcpy(copy, body.data, body.size);
    memset(copy + body.size, 0, LOCAL_PADDING_BYTES);
    exchange->body = slice_of(copy, body.size);
    struct diag diag = {0};
    enum err err = http_target_parse(&exchange->arena, slice_text(target), &diag, &exchange->path, &exchange->arguments,
                                     &exchange->argument_count);
    if (err != ERR_OK && err_class(err) == ERR_CLASS_INPUT) http_reply_error(exchange, err, &diag);
    return err_class(err) == ERR_CLASS_INPUT ? ERR_OK : err;
}

enum err http_local(struct http_handler *handler, enum http_method method, const char *target, struct slice body,
                    void (*pump)(void *context), void *context, unsigned *ret_status, struct buf *ret_body,
                    char ret_content_type[static 64]) {
    struct local local = {.exchange = {.method = method, .transport = &local_ops}};
    pthread_mutex_init(&local.lock, NULL);
    pthread_cond_init(&local.replied, NULL);
    arena_init(&local.exchange.arena, LOCAL_ARENA_MAX);
    buf_init(&local.exchange.answer, HTTP_ANSWER_MAX);
    enum err err = local_prepare(&local, target, body);
    if (err == ERR_OK && !local.done) handler->handle(handler, &local.exchange);
    if (err == ERR_OK) {
        local_wait(&local, pump, context);
        err = buf_err(&local.exchange.answer);
    }
    arena_deinit(&local.exchange.arena);
    pthread_cond_destroy(&local.replied);
    pthread_mutex_destroy(&local.lock);
    if (err != ERR_OK) {
        buf_deinit(&local.exchange.answer);
        return err;
    }
    *ret_status = local.status;
    memcpy(ret_content_type, local.content_type, sizeof local.content_type);
    *ret_body = local.exchange.answer;
    return ERR_OK;
}
