#include "engine/config.h"

#include <assert.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <yaml.h>

#include "base/civil.h"

enum { CONFIG_FILE_MAX = 1024 * 1024 };

enum value_kind { VALUE_TEXT, VALUE_FLAG, VALUE_COUNT, VALUE_BYTES, VALUE_DURATION };

struct entry {
    const char *section; /* "" for the top level */
    const char *key;
    enum value_kind kind;
    size_t offset;
    size_t text_size;
    int64_t min, max;
    const char *choices; /* of a text, separated by spaces; NULL: any */
    const char *fallback;
    const char *help;
};

#define AT(member) offsetof(struct config, member)
#define TEXT(section, key, member, choices, fallback, help) \
    { section, key, VALUE_TEXT, AT(member), sizeof((struct config *)0)->member, 0, 0, choices, fallback, help }
#define FLAG(section, key, member, fallback, help) \
    { section, key, VALUE_FLAG, AT(member), 0, 0, 1, NULL, fallback, help }
#define COUNT(section, key, member, min, max, fallback, help) \
    { section, key, VALUE_COUNT, AT(member), 0, min, max, NULL, fallback, help }
#define BYTES(section, key, member, min, max, fallback, help) \
    { section, key, VALUE_BYTES, AT(member), 0, min, max, NULL, fallback, help }
#define DURATION(section, key, member, min, fallback, help) \
    { section, key, VALUE_DURATION, AT(member), 0, min, INT64_MAX, NULL, fallback, help }

#define KIB 1024LL
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

static const struct entry table[] = {
    TEXT("", "data", data, NULL, "data/wick", "the data folder: log, store, socket"),
    TEXT("http", "listen", http_listen, NULL, "127.0.0.1:8787",
         "address and port; beyond loopback a token is needed, or `public: true`; port 0 picks one"),
    FLAG("http", "public", http_public, "false", "listen beyond loopback without a token: anybody may write"),
    COUNT("http", "threads", http_threads, 1, 64, "1", "threads that read requests"),
    COUNT("http", "connections", http_connections, 8, 100000, "4096", "connections at a time"),
    COUNT("http", "address_connections", http_address_connections, 1, 100000, "2048",
          "of these, at most so many from one address (IPv6: from one /64); more are answered 429"),
    COUNT("http", "address_requests", http_address_requests, 1, 10000000, "1000000",
          "requests a second from one address; more are answered 429"),
    BYTES("http", "body", http_body_bytes, 1 * KIB, 1 * GIB, "16MiB", "largest request body"),
    BYTES("http", "memory", http_memory_bytes, 1 * MIB, 64 * GIB, "256MiB",
          "bodies and answers held at once; past it requests are answered 503"),
    TEXT("http", "certificate", http_certificate, NULL, "", "PEM file; with `key`, HTTPS instead of HTTP"),
    TEXT("http", "key", http_key, NULL, "", "PEM file of the certificate's key"),
    TEXT("log", "backend", log_backend, "embedded", "embedded", "where topics live"),
    BYTES("log", "segment", log_segment_bytes, 1 * MIB, 2 * GIB - 1, "256MiB", "size of a segment file"),
    BYTES("log", "group", log_group_bytes, 4 * KIB, 64 * MIB, "512KiB", "most that one commit group holds"),
    BYTES("log", "reserve", log_reserve_bytes, 1 * MIB, 64 * GIB, "64MiB",
          "free disk space kept for checkpoints; below it writes are answered 503"),
    DURATION("log", "scrub", log_scrub_ms, 1000, "1d",
             "how often every segment is read again, slowly, to find damage; `forever`: never"),
    TEXT("log", "compression", log_compression, "none lz4 zstd", "none",
         "of batches that `POST /v1/prices` and `wick topic write`, `copy` append; readers take all of them, and gzip"),
    TEXT("store", "backend", store_backend, "lmdb", "lmdb", "where recent candles, state and indexes live"),
    BYTES("store", "map", store_map_bytes, 64 * MIB, 16384 * GIB, "64GiB", "address space for the store, not its size"),
    DURATION("retention", "raw", retention_raw_ms, 1000, "forever", "records of topics, by append time"),
    DURATION("retention", "1m", retention_1m_ms, 86400000, "forever", "1m (and 1s) candles, by their own time"),
    DURATION("retention", "15m", retention_15m_ms, 86400000, "forever", "15m candles"),
    DURATION("retention", "1d", retention_1d_ms, 86400000, "forever", "1d candles"),
    TEXT("candles", "base", candles_base, "1m 1s", "1m", "the finest interval kept"),
    DURATION("candles", "grace", candles_grace_ms, 0, "10s", "how long prices may be out of order"),
    DURATION("checkpoint", "every", checkpoint_ms, 10, "500ms", "at most this far apart"),
    BYTES("checkpoint", "bytes", checkpoint_bytes, 64 * KIB, 1 * GIB, "8MiB",
          "or after this much input; 22MiB at most"),
    COUNT("topics", "prices_partitions", prices_partitions, 0, 64, "0",
          "partitions of topic `prices` where a folder is made; 0: 1, and of a folder that is there those it has"),
};
enum { TABLE_COUNT = sizeof table / sizeof *table };

/* Lists, whose members have keys of their own. */
static const char lists_help[] =
    "  tokens     in http: SHA-256 digests, in hex, of the tokens that requests must carry\n"
    "  bases      base -> one quote and exchange, for /v1/latest?group=base\n"
    "  sources    generator: market (the demo's), seed, series, rate\n";

/* --- values --- */

static enum err parse_bytes(struct slice text, int64_t *ret_value) {
    static const struct {
        const char *unit;
        int64_t factor;
    } units[] = {{"KiB", KIB}, {"MiB", MIB}, {"GiB", GIB}, {"TiB", 1024 * GIB}, {"", 1}};
    size_t digits = 0;
    while (digits < text.size && text.data[digits] >= '0' && text.data[digits] <= '9') digits++;
    uint64_t number;
    if (!slice_to_u64(slice_of(text.data, digits), &number)) return ERR_SYNTAX;
    struct slice unit = slice_of(text.data + digits, text.size - digits);
    for (unsigned i = 0; i < sizeof units / sizeof *units; i++)
        if (slice_equal(unit, slice_text(units[i].unit)))
            return __builtin_mul_overflow(number, units[i].factor, ret_value) ? ERR_RANGE : ERR_OK;
    return ERR_SYNTAX;
}

static bool is_choice(const char *choices, struct slice text) {
    for (const char *at = choices; *at != '\0';) {
        size_t size = strcspn(at, " ");
        if (slice_equal(slice_of(at, size), text)) return true;
        at += size;
        while (*at == ' ') at++;
    }
    return false;
}

static enum err set_text(const struct entry *e, struct config *config, struct slice text, struct diag *diag) {
    if (e->choices != NULL && !is_choice(e->choices, text))
        return diag_set(diag, ERR_RANGE, "%s: \"%.*s\" is not one of: %s", e->key, SLICE_PRINT(text), e->choices);
    if (text.size >= e->text_size || memchr(text.data, '\0', text.size) != NULL)
        return diag_set(diag, ERR_TOO_LARGE, "%s: longer than %zu bytes", e->key, e->text_size - 1);
    char *to = (char *)config + e->offset;
    memcpy(to, text.data, text.size);
    to[text.size] = '\0';
    return ERR_OK;
}

static enum err set_flag(const struct entry *e, struct config *config, struct slice text, struct diag *diag) {
    bool yes = slice_equal(text, SLICE("true"));
    if (!yes && !slice_equal(text, SLICE("false")))
        return diag_set(diag, ERR_TYPE, "%s: \"%.*s\" is neither true nor false", e->key, SLICE_PRINT(text));
    *(bool *)((char *)config + e->offset) = yes;
    return ERR_OK;
}

static enum err set_value(const struct entry *e, struct config *config, struct slice text, struct diag *diag) {
    if (e->kind == VALUE_TEXT) return set_text(e, config, text, diag);
    if (e->kind == VALUE_FLAG) return set_flag(e, config, text, diag);
    int64_t value = 0;
    uint64_t count;
    enum err err = ERR_OK;
    switch (e->kind) {
        case VALUE_DURATION: err = civil_parse_duration(text, NULL, &value); break;
        case VALUE_BYTES: err = parse_bytes(text, &value); break;
        default:
            err = slice_to_u64(text, &count) && count <= INT64_MAX ? ERR_OK : ERR_SYNTAX;
            value = err == ERR_OK ? (int64_t)count : 0;
    }
    if (err != ERR_OK) {
        static const char *const form[] = {[VALUE_COUNT] = "a whole number",
                                           [VALUE_BYTES] = "a size such as 512KiB",
                                           [VALUE_DURATION] = "a duration such as 10s, 7d or forever"};
        return diag_set(diag, ERR_TYPE, "%s: \"%.*s\" is not %s", e->key, SLICE_PRINT(text), form[e->kind]);
    }
    if (value < e->min || value > e->max)
        return diag_set(diag, ERR_RANGE, "%s: \"%.*s\" is outside %lld..%lld", e->key, SLICE_PRINT(text),
                        (long long)e->min, (long long)e->max);
    *(int64_t *)((char *)config + e->offset) = value;
    return ERR_OK;
}

void config_defaults(struct config *config) {
    memset(config, 0, sizeof *config);
    for (unsigned i = 0; i < TABLE_COUNT; i++) {
        enum err err = set_value(&table[i], config, slice_text(table[i].fallback), NULL);
        assert(err == ERR_OK);
    }
}

static const struct entry *find_entry(const char *section, struct slice key) {
    for (unsigned i = 0; i < TABLE_COUNT; i++)
        if (strcmp(table[i].section, section) == 0 && slice_equal(slice_text(table[i].key), key)) return &table[i];
    return NULL;
}

enum err config_set(struct config *config, const char *key, const char *value, struct diag *diag) {
    const char *dot = strchr(key, '.');
    char section[32] = "";
    if (dot != NULL) snprintf(section, sizeof section, "%.*s", (int)(dot - key), key);
    const struct entry *entry = find_entry(section, slice_text(dot != NULL ? dot + 1 : key));
    if (entry == NULL) return diag_set(diag, ERR_UNKNOWN, "there is no setting \"%s\"", key);
    return set_value(entry, config, slice_text(value), diag);
}

/* --- YAML --- */

struct loading {
    const char *name;
    yaml_document_t *document;
    struct config *config;
    struct diag *diag;
};

static enum err at(struct loading *l, const yaml_node_t *node, enum err err) {
    diag_where(l->diag, "%s:%zu:%zu", l->name, node->start_mark.line + 1, node->start_mark.column + 1);
    return err;
}

static struct slice scalar(const yaml_node_t *node) {
    return slice_of(node->data.scalar.value, node->data.scalar.length);
}

typedef enum err (*member_visit)(struct loading *l, void *context, const yaml_node_t *key, yaml_node_t *value);

static enum err visit_mapping(struct loading *l, yaml_node_t *node, const char *what, member_visit visit,
                              void *context) {
    if (node->type != YAML_MAPPING_NODE)
        return at(l, node, diag_set(l->diag, ERR_TYPE, "%s: a mapping (key: value) is wanted", what));
    for (yaml_node_pair_t *pair = node->data.mapping.pairs.start; pair < node->data.mapping.pairs.top; pair++) {
        yaml_node_t *key = yaml_document_get_node(l->document, pair->key);
        yaml_node_t *value = yaml_document_get_node(l->document, pair->value);
        if (key->type != YAML_SCALAR_NODE)
            return at(l, key, diag_set(l->diag, ERR_TYPE, "%s: a key must be a word", what));
        for (yaml_node_pair_t *before = node->data.mapping.pairs.start; before < pair; before++)
            if (slice_equal(scalar(yaml_document_get_node(l->document, before->key)), scalar(key)))
                return at(l, key, diag_set(l->diag, ERR_DUPLICATE, "\"%.*s\" is set twice", SLICE_PRINT(scalar(key))));
        enum err err = visit(l, context, key, value);
        if (err != ERR_OK) return err;
    }
    return ERR_OK;
}

static enum err visit_sequence(struct loading *l, yaml_node_t *node, const char *what, uint32_t max,
                               enum err (*visit)(struct loading *l, yaml_node_t *item, uint32_t index),
                               uint32_t *ret_count) {
    if (node->type != YAML_SEQUENCE_NODE) return at(l, node, diag_set(l->diag, ERR_TYPE, "%s: a list is wanted", what));
    uint32_t count = 0;
    for (yaml_node_item_t *item = node->data.sequence.items.start; item < node->data.sequence.items.top; item++) {
        if (count == max) return at(l, node, diag_set(l->diag, ERR_LIMIT, "%s: more than %u", what, max));
        enum err err = visit(l, yaml_document_get_node(l->document, *item), count);
        if (err != ERR_OK) return err;
        count++;
    }
    *ret_count = count;
    return ERR_OK;
}

static enum err unknown_key(struct loading *l, const yaml_node_t *key, const char *section) {
    struct slice name = scalar(key);
    diag_set(l->diag, ERR_UNKNOWN, "there is no setting \"%s%s%.*s\"", section, section[0] ? "." : "",
             SLICE_PRINT(name));
    diag_hint(l->diag, "wick run --print-config shows them all");
    return at(l, key, ERR_UNKNOWN);
}

static enum err visit_token(struct loading *l, yaml_node_t *item, uint32_t index) {
    struct slice text = item->type == YAML_SCALAR_NODE ? scalar(item) : SLICE_NONE;
    bool hex = text.size == 64;
    for (size_t i = 0; i < text.size && hex; i++) hex = strchr("0123456789abcdef", text.data[i]) != NULL;
    if (!hex)
        return at(l, item,
                  diag_set(l->diag, ERR_SYNTAX,
                           "tokens: a SHA-256 digest of 64 hex digits is wanted, made by: "
                           "printf %%s TOKEN | sha256sum"));
    memcpy(l->config->http_tokens[index], text.data, 64);
    l->config->http_tokens[index][64] = '\0';
    return ERR_OK;
}

static enum err copy_word(struct loading *l, const yaml_node_t *node, char *to, size_t to_size) {
    struct slice text = node->type == YAML_SCALAR_NODE ? scalar(node) : SLICE_NONE;
    if (text.size == 0 || text.size >= to_size)
        return at(l, node, diag_set(l->diag, ERR_TYPE, "a word of 1 to %zu characters is wanted", to_size - 1));
    memcpy(to, text.data, text.size);
    to[text.size] = '\0';
    return ERR_OK;
}

static enum err copy_number(struct loading *l, const yaml_node_t *node, int64_t *ret_value) {
    uint64_t value;
    if (node->type != YAML_SCALAR_NODE || !slice_to_u64(scalar(node), &value) || value > INT64_MAX)
        return at(l, node, diag_set(l->diag, ERR_TYPE, "a whole number is wanted"));
    *ret_value = (int64_t)value;
    return ERR_OK;
}

static enum err base_member(struct loading *l, void *context, const yaml_node_t *key, yaml_node_t *value) {
    struct config_base *base = context;
    if (slice_equal(scalar(key), SLICE("base"))) return copy_word(l, value, base->base, sizeof base->base);
    if (slice_equal(scalar(key), SLICE("quote"))) return copy_word(l, value, base->quote, sizeof base->quote);
    if (slice_equal(scalar(key), SLICE("exchange"))) return copy_word(l, value, base->venue, sizeof base->venue);
    return unknown_key(l, key, "bases");
}

static enum err visit_base(struct loading *l, yaml_node_t *item, uint32_t index) {
    struct config_base *base = &l->config->bases[index];
    *base = (struct config_base){0};
    enum err err = visit_mapping(l, item, "bases", base_member, base);
    if (err != ERR_OK) return err;
    if (base->base[0] == '\0' || base->quote[0] == '\0' || base->venue[0] == '\0')
        return at(l, item, diag_set(l->diag, ERR_MISSING, "bases: base, quote and exchange are all needed"));
    return ERR_OK;
}

static enum err source_member(struct loading *l, void *context, const yaml_node_t *key, yaml_node_t *value) {
    struct config_source *source = context;
    struct slice name = scalar(key);
    if (slice_equal(name, SLICE("generator"))) return copy_word(l, value, source->generator, sizeof source->generator);
    if (slice_equal(name, SLICE("seed"))) return copy_number(l, value, &source->seed);
    if (slice_equal(name, SLICE("series"))) return copy_number(l, value, &source->series);
    if (slice_equal(name, SLICE("rate"))) return copy_number(l, value, &source->rate);
    return unknown_key(l, key, "sources");
}

static enum err visit_source(struct loading *l, yaml_node_t *item, uint32_t index) {
    struct config_source *source = &l->config->sources[index];
    *source = (struct config_source){.seed = 1, .series = 24, .rate = 50};
    enum err err = visit_mapping(l, item, "sources", source_member, source);
    if (err != ERR_OK) return err;
    if (strcmp(source->generator, "market") != 0)
        return at(l, item, diag_set(l->diag, ERR_RANGE, "sources: generator: market is the only kind of source"));
    if (source->series < 1 || source->series > 10000 || source->rate < 1 || source->rate > 1000000)
        return at(l, item, diag_set(l->diag, ERR_RANGE, "sources: series must be 1..10000 and rate 1..1000000"));
    return ERR_OK;
}

static enum err section_member(struct loading *l, void *context, const yaml_node_t *key, yaml_node_t *value) {
    const char *section = context;
    if (strcmp(section, "http") == 0 && slice_equal(scalar(key), SLICE("tokens")))
        return visit_sequence(l, value, "tokens", CONFIG_TOKENS_MAX, visit_token, &l->config->http_token_count);
    const struct entry *entry = find_entry(section, scalar(key));
    if (entry == NULL) return unknown_key(l, key, section);
    if (value->type != YAML_SCALAR_NODE)
        return at(l, value, diag_set(l->diag, ERR_TYPE, "%s: a single value is wanted", entry->key));
    enum err err = set_value(entry, l->config, scalar(value), l->diag);
    return err != ERR_OK ? at(l, value, err) : ERR_OK;
}

static enum err top_member(struct loading *l, void *context, const yaml_node_t *key, yaml_node_t *value) {
    struct slice name = scalar(key);
    if (slice_equal(name, SLICE("bases")))
        return visit_sequence(l, value, "bases", CONFIG_BASES_MAX, visit_base, &l->config->base_count);
    if (slice_equal(name, SLICE("sources")))
        return visit_sequence(l, value, "sources", CONFIG_SOURCES_MAX, visit_source, &l->config->source_count);
    for (unsigned i = 0; i < TABLE_COUNT; i++)
        if (table[i].section[0] != '\0' && slice_equal(slice_text(table[i].section), name))
            return visit_mapping(l, value, table[i].section, section_member, (void *)(uintptr_t)table[i].section);
    return section_member(l, context, key, value);
}

static enum err load_document(struct loading *l, yaml_parser_t *parser) {
    yaml_document_t document;
    if (!yaml_parser_load(parser, &document)) {
        if (parser->problem == NULL) /* it says what it finds wrong with a text */
            return diag_set(l->diag, ERR_NO_MEMORY, "no memory to read %s", l->name);
        diag_set(l->diag, ERR_SYNTAX, "not YAML: %s", parser->problem != NULL ? parser->problem : "unreadable");
        diag_where(l->diag, "%s:%zu:%zu", l->name, parser->problem_mark.line + 1, parser->problem_mark.column + 1);
        return ERR_SYNTAX;
    }
    l->document = &document;
    yaml_node_t *root = yaml_document_get_root_node(&document);
    enum err err = ERR_OK;
    bool empty = root == NULL || (root->type == YAML_SCALAR_NODE && scalar(root).size == 0);
    if (!empty) err = visit_mapping(l, root, "the file", top_member, (void *)(uintptr_t) "");
    yaml_document_delete(&document);
    return err;
}

enum err config_parse(const char *name, struct slice text, struct diag *diag, struct config *config) {
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser)) return diag_set(diag, ERR_NO_MEMORY, "no memory to read %s", name);
    yaml_parser_set_input_string(&parser, text.data, text.size);
    struct config changed = *config;
    struct loading l = {.name = name, .config = &changed, .diag = diag};
    enum err err = load_document(&l, &parser);
    yaml_parser_delete(&parser);
    if (err == ERR_OK) *config = changed;
    return err;
}

enum err config_read(const struct sys *sys, const char *path, struct diag *diag, struct config *config) {
    uint8_t *data = NULL;
    size_t size = 0;
    enum err err = sys_read_file(sys, path, CONFIG_FILE_MAX, diag, &data, &size);
    if (err != ERR_OK) return err;
    err = config_parse(path, slice_of(data, size), diag, config);
    free(data);
    return err;
}

enum record_codec config_codec(const struct config *config) {
    if (strcmp(config->log_compression, "lz4") == 0) return RECORD_CODEC_LZ4;
    return strcmp(config->log_compression, "zstd") == 0 ? RECORD_CODEC_ZSTD : RECORD_CODEC_NONE;
}

/* --- printing --- */

static void print_duration(struct buf *out, int64_t ms) {
    static const struct {
        int64_t ms;
        const char *unit;
    } units[] = {{86400000, "d"}, {3600000, "h"}, {60000, "m"}, {1000, "s"}, {1, "ms"}};
    if (ms == INT64_MAX) {
        buf_put_text(out, "forever");
        return;
    }
    unsigned i = 0;
    while (i < 4 && (ms % units[i].ms != 0 || ms < units[i].ms)) i++;
    buf_printf(out, "%lld%s", (long long)(ms / units[i].ms), units[i].unit);
}

static void print_bytes(struct buf *out, int64_t bytes) {
    static const char *const units[] = {"", "KiB", "MiB", "GiB", "TiB"};
    unsigned i = 0;
    while (i < 4 && bytes % 1024 == 0 && bytes >= 1024) {
        bytes /= 1024;
        i++;
    }
    buf_printf(out, "%lld%s", (long long)bytes, units[i]);
}

/* In quotes unless it is plainly a word: a path may hold what YAML has a meaning for. */
static void print_text(struct buf *out, const char *text) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    size_t size = strlen(text);
    bool plain = size > 0 && strchr("-:", text[0]) == NULL && text[size - 1] != ':';
    for (size_t i = 0; i < size; i++) plain &= strchr(letters, text[i]) != NULL || strchr("._/:-", text[i]) != NULL;
    if (!plain) buf_put_text(out, "\"");
    for (size_t i = 0; i < size; i++) {
        uint8_t c = (uint8_t)text[i];
        if (c < 0x20 || c == 0x7f)
            buf_printf(out, "\\x%02x", c);
        else
            buf_printf(out, c == '"' || c == '\\' ? "\\%c" : "%c", c);
    }
    if (!plain) buf_put_text(out, "\"");
}

static void print_value(struct buf *out, const struct entry *e, const struct config *config) {
    const char *from = (const char *)config + e->offset;
    switch (e->kind) {
        case VALUE_TEXT: print_text(out, from); break;
        case VALUE_FLAG: buf_put_text(out, *(const bool *)from ? "true" : "false"); break;
        case VALUE_COUNT: buf_printf(out, "%lld", (long long)*(const int64_t *)from); break;
        case VALUE_BYTES: print_bytes(out, *(const int64_t *)from); break;
        case VALUE_DURATION: print_duration(out, *(const int64_t *)from); break;
    }
}

static void print_lists(const struct config *config, struct buf *out) {
    buf_put_text(out, config->base_count > 0 ? "bases: # for /v1/latest?group=base\n" : "bases: []\n");
    for (uint32_t i = 0; i < config->base_count; i++) {
        const struct config_base *base = &config->bases[i];
        const char *const words[] = {"  - {base: ", base->base, ", quote: ", base->quote, ", exchange: ", base->venue};
        for (unsigned w = 0; w < 6; w += 2) {
            buf_put_text(out, words[w]);
            print_text(out, words[w + 1]);
        }
        buf_put_text(out, "}\n");
    }
    buf_put_text(out, config->source_count > 0 ? "sources:\n" : "sources: []\n");
    for (uint32_t i = 0; i < config->source_count; i++)
        buf_printf(out, "  - {generator: %s, seed: %lld, series: %lld, rate: %lld}\n", config->sources[i].generator,
                   (long long)config->sources[i].seed, (long long)config->sources[i].series,
                   (long long)config->sources[i].rate);
}

void config_print(const struct config *config, struct buf *out) {
    const char *section = "";
    for (unsigned i = 0; i < TABLE_COUNT; i++) {
        const struct entry *e = &table[i];
        if (strcmp(e->section, section) != 0) {
            section = e->section;
            buf_printf(out, "%s:\n", section);
        }
        size_t start = out->size;
        buf_printf(out, "%s%s: ", section[0] != '\0' ? "  " : "", e->key);
        print_value(out, e, config);
        int pad = 40 - (int)(out->size - start);
        buf_printf(out, "%*s# %s\n", pad > 1 ? pad : 1, "", e->help);
        bool last_of_http = strcmp(section, "http") == 0 && strcmp(table[i + 1].section, "http") != 0;
        if (!last_of_http) continue;
        buf_put_text(out, config->http_token_count > 0 ? "  tokens:\n" : "  tokens: []\n");
        for (uint32_t t = 0; t < config->http_token_count; t++) buf_printf(out, "    - %s\n", config->http_tokens[t]);
    }
    print_lists(config, out);
}

void config_reference(struct buf *out) {
    buf_put_text(out,
                 "# Configuration\n\nGenerated by `wick run --config-reference`; the file is `wick.yaml`, or what "
                 "`--config` names.\n\n| setting | default | what |\n| --- | --- | --- |\n");
    for (unsigned i = 0; i < TABLE_COUNT; i++) {
        const struct entry *e = &table[i];
        buf_printf(out, "| `%s%s%s` | `%s` | %s%s%s%s |\n", e->section, e->section[0] ? "." : "", e->key,
                   e->fallback[0] ? e->fallback : " ", e->help, e->choices != NULL ? " (one of: " : "",
                   e->choices != NULL ? e->choices : "", e->choices != NULL ? ")" : "");
    }
    buf_printf(out, "\nLists:\n\n%s", lists_help);
}
