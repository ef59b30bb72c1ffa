#include "engine/config.h"

#include <assert.h>
#include <stddef.h>
#include <stdio.h>

#include "base/civil.h"
#include "base/utf8.h"
#include "engine/config_work.h"
#include "net/listen.h"

#define TEXT(section, key, member, choices, fallback, help)                                                          \
    {                                                                                                                \
        section, key, CONFIG_TEXT, false, offsetof(struct config, member), sizeof((struct config *)0)->member, 0, 0, \
            choices, fallback, help                                                                                  \
    }
#define FLAG(section, key, member, fallback, help) \
    { section, key, CONFIG_FLAG, false, offsetof(struct config, member), 0, 0, 1, NULL, fallback, help }
#define COUNT(section, key, member, min, max, fallback, help) \
    { section, key, CONFIG_COUNT, false, offsetof(struct config, member), 0, min, max, NULL, fallback, help }
#define BYTES(section, key, member, min, max, fallback, help) \
    { section, key, CONFIG_BYTES, false, offsetof(struct config, member), 0, min, max, NULL, fallback, help }
#define DURATION(section, key, member, min, max, forever, fallback, help) \
    { section, key, CONFIG_DURATION, forever, offsetof(struct config, member), 0, min, max, NULL, fallback, help }

#define KIB 1024LL
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)
#define SECOND 1000LL
#define DAY (86400 * SECOND)
#define YEAR (365 * DAY)

const struct config_entry config_table[] = {
    TEXT("", "data", data, NULL, "data/wick", "the data folder: log, store, socket"),
    TEXT("http", "listen", http_listen, NULL, "127.0.0.1:8787",
         "address (in numbers, or localhost) and port; beyond loopback a token is needed, or `public: true`; port 0 "
         "picks one"),
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
    BYTES("log", "segment", log_segment_bytes, 1 * MIB, 2047 * MIB, "256MiB", "size of a segment file"),
    BYTES("log", "group", log_group_bytes, 4 * KIB, 64 * MIB, "512KiB", "most that one commit group holds"),
    BYTES("log", "reserve", log_reserve_bytes, 1 * MIB, 64 * GIB, "64MiB",
          "free disk space kept for checkpoints; below it writes are answered 503"),
    DURATION("log", "scrub", log_scrub_ms, SECOND, 100 * YEAR, true, "1d",
             "how often every segment is read again, slowly, to find damage; `forever`: never"),
    TEXT("log", "compression", log_compression, "none lz4 zstd", "none",
         "of batches that `POST /v1/prices` and `wick topic write`, `copy` append; readers take all of them, and gzip"),
    TEXT("store", "backend", store_backend, "lmdb", "lmdb", "where recent candles, state and indexes live"),
    BYTES("store", "map", store_map_bytes, 64 * MIB, 16384 * GIB, "64GiB", "address space for the store, not its size"),
    DURATION("retention", "raw", retention_raw_ms, SECOND, 100 * YEAR, true, "forever",
             "records of topics, by append time"),
    DURATION("retention", "1m", retention_1m_ms, DAY, 100 * YEAR, true, "forever",
             "1m (and 1s) candles, by their own time"),
    DURATION("retention", "15m", retention_15m_ms, DAY, 100 * YEAR, true, "forever", "15m candles"),
    DURATION("retention", "1d", retention_1d_ms, DAY, 100 * YEAR, true, "forever", "1d candles"),
    TEXT("candles", "base", candles_base, "1m 1s", "1m", "the finest interval kept"),
    DURATION("candles", "grace", candles_grace_ms, 1, DAY, false, "10s", "how long prices may be out of order"),
    DURATION("checkpoint", "every", checkpoint_ms, 10, DAY, false, "500ms", "at most this far apart"),
    BYTES("checkpoint", "bytes", checkpoint_bytes, 64 * KIB, 22 * MIB, "8MiB", "or after this much input"),
    COUNT("topics", "prices_partitions", prices_partitions, 0, 64, "0",
          "partitions of topic `prices` where a folder is made; 0: 1, and of a folder that is there those it has"),
};
const unsigned config_table_count = sizeof config_table / sizeof *config_table;
enum { PLACE_OF_TOKENS = sizeof config_table / sizeof *config_table };
static_assert((int)PLACE_OF_TOKENS < (int)CONFIG_SETTINGS_MAX, "a place for each setting, and for the tokens");

/* --- values --- */

struct slice config_shown(struct slice text) {
    enum { SHOWN_MAX = 60 };
    return slice_of(text.data, text.size <= SHOWN_MAX ? text.size : utf8_valid_bytes(slice_of(text.data, SHOWN_MAX)));
}

/* "512KiB"; of counts, which have no unit, "512". */
static enum err parse_whole(struct slice text, bool units_allowed, int64_t *ret_value) {
    static const struct {
        const char *unit;
        int64_t factor;
    } units[] = {{"", 1}, {"KiB", KIB}, {"MiB", MIB}, {"GiB", GIB}, {"TiB", 1024 * GIB}};
    size_t digits = 0;
    while (digits < text.size && text.data[digits] >= '0' && text.data[digits] <= '9') digits++;
    if (digits == 0) return ERR_SYNTAX;
    const struct slice unit = slice_of(text.data + digits, text.size - digits);
    uint64_t number;
    for (unsigned i = 0; i < (units_allowed ? sizeof units / sizeof *units : 1); i++) {
        if (!slice_equal(unit, slice_text(units[i].unit))) continue;
        if (!slice_to_u64(slice_of(text.data, digits), &number)) return ERR_RANGE;
        return __builtin_mul_overflow(number, units[i].factor, ret_value) ? ERR_RANGE : ERR_OK;
    }
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

static enum err set_text(const struct config_entry *e, struct config *config, struct slice text, struct diag *diag) {
    if (e->choices != NULL && !is_choice(e->choices, text))
        return diag_set(diag, ERR_RANGE, "\"%.*s\" is not one of: %s", SLICE_PRINT(config_shown(text)), e->choices);
    if (text.size == 0 && e->fallback[0] != '\0') return diag_set(diag, ERR_MISSING, "this must not be empty");
    if (text.size >= e->text_size)
        return diag_set(diag, ERR_TOO_LARGE, "this is longer than %zu bytes", e->text_size - 1);
    if (text.size > 0 && memchr(text.data, '\0', text.size) != NULL)
        return diag_set(diag, ERR_SYNTAX, "there is a NUL character in it");
    char *to = (char *)config + e->offset;
    memcpy(to, text.data, text.size);
    to[text.size] = '\0';
    return ERR_OK;
}

static enum err set_flag(const struct config_entry *e, struct config *config, struct slice text, struct diag *diag) {
    bool yes = slice_equal(text, SLICE("true"));
    if (!yes && !slice_equal(text, SLICE("false")))
        return diag_set(diag, ERR_TYPE, "\"%.*s\" is neither true nor false", SLICE_PRINT(config_shown(text)));
    *(bool *)((char *)config + e->offset) = yes;
    return ERR_OK;
}

static enum err out_of_range(const struct config_entry *e, struct slice text, struct diag *diag) {
    struct buf range;
    buf_init(&range, 256);
    config_put_range(e, &range);
    diag_set(diag, ERR_RANGE, "\"%.*s\" is outside %.*s", SLICE_PRINT(config_shown(text)),
             SLICE_PRINT(buf_slice(&range)));
    buf_deinit(&range);
    return ERR_RANGE;
}

static enum err set_number(const struct config_entry *e, struct config *config, struct slice text, struct diag *diag) {
    static const char *const form[] = {[CONFIG_COUNT] = "a whole number",
                                       [CONFIG_BYTES] = "a size such as 512KiB (units: KiB, MiB, GiB, TiB)",
                                       [CONFIG_DURATION] = "a duration such as 10s (units: ms, s, m, h, d, w, y)"};
    int64_t value = 0;
    enum err err = e->kind == CONFIG_DURATION ? civil_parse_duration(text, NULL, &value)
                                              : parse_whole(text, e->kind == CONFIG_BYTES, &value);
    if (err != ERR_OK && err != ERR_RANGE)
        return diag_set(diag, ERR_TYPE, "\"%.*s\" is not %s%s", SLICE_PRINT(config_shown(text)), form[e->kind],
                        e->forever ? ", or forever" : "");
    bool endless = e->forever && value == INT64_MAX;
    if (err != ERR_OK || (!endless && (value < e->min || value > e->max))) return out_of_range(e, text, diag);
    *(int64_t *)((char *)config + e->offset) = value;
    return ERR_OK;
}

enum err config_set_entry(const struct config_entry *e, struct config *config, struct slice text, struct diag *diag) {
    struct listen_address address;
    enum err err = e->kind == CONFIG_TEXT   ? set_text(e, config, text, diag)
                   : e->kind == CONFIG_FLAG ? set_flag(e, config, text, diag)
                                            : set_number(e, config, text, diag);
    if (err != ERR_OK || e->offset != offsetof(struct config, http_listen)) return err;
    return listen_read(config->http_listen, diag, &address) == ERR_OK ? ERR_OK : ERR_SYNTAX;
}

void config_defaults(struct config *config) {
    memset(config, 0, sizeof *config);
    for (unsigned i = 0; i < config_table_count; i++) {
        enum err err = config_set_entry(&config_table[i], config, slice_text(config_table[i].fallback), NULL);
        assert(err == ERR_OK);
    }
}

/* --- one setting by its name --- */

const struct config_entry *config_find(const char *section, struct slice key) {
    for (unsigned i = 0; i < config_table_count; i++)
        if (strcmp(config_table[i].section, section) == 0 && slice_equal(slice_text(config_table[i].key), key))
            return &config_table[i];
    return NULL;
}

static const struct config_entry *find_setting(const char *setting) {
    const char *dot = strchr(setting, '.');
    char section[32] = "";
    if (dot != NULL) snprintf(section, sizeof section, "%.*s", (int)(dot - setting), setting);
    return config_find(section, slice_text(dot != NULL ? dot + 1 : setting));
}

enum err config_set(struct config *config, const char *key, const char *value, struct diag *diag) {
    const struct config_entry *entry = find_setting(key);
    if (entry == NULL) return diag_set(diag, ERR_UNKNOWN, "there is no setting \"%s\"", key);
    enum err err = config_set_entry(entry, config, slice_text(value), diag);
    if (err == ERR_OK) config->origin.places[entry - config_table].line = 0;
    return err;
}

void config_where(const struct config *config, const char *setting, struct diag *diag) {
    const struct config_entry *entry = find_setting(setting);
    assert(entry != NULL || strcmp(setting, "http.tokens") == 0);
    const size_t index = entry != NULL ? (size_t)(entry - config_table) : PLACE_OF_TOKENS;
    if (config->origin.places[index].line > 0)
        diag_where(diag, "%s:%u:%u", config->origin.name, config->origin.places[index].line,
                   config->origin.places[index].column);
}

/* --- the whole --- */

static enum err contradiction(const struct config *config, const char *setting, const char *what, struct diag *diag) {
    diag_set(diag, ERR_CONFLICT, "%s: %s", setting, what);
    config_where(config, setting, diag);
    return ERR_CONFLICT;
}

enum err config_check(const struct config *config, struct diag *diag) {
    const bool certificate = config->http_certificate[0] != '\0', key = config->http_key[0] != '\0';
    if (certificate && !key)
        return contradiction(config, "http.certificate", "http.key is missing: HTTPS needs both", diag);
    if (key && !certificate)
        return contradiction(config, "http.key", "http.certificate is missing: HTTPS needs both", diag);
    struct listen_address address = {0};
    enum err err = listen_read(config->http_listen, diag, &address);
    if (err != ERR_OK) return err;
    if (address.loopback || config->http_token_count > 0 || config->http_public) return ERR_OK;
    err = contradiction(config, "http.listen", "beyond loopback anyone on the network could read and write", diag);
    diag_hint(diag, "set a token in http.tokens, or http.public: true if that is meant");
    return err;
}

enum record_codec config_codec(const struct config *config) {
    if (strcmp(config->log_compression, "lz4") == 0) return RECORD_CODEC_LZ4;
    return strcmp(config->log_compression, "zstd") == 0 ? RECORD_CODEC_ZSTD : RECORD_CODEC_NONE;
}
