/* The configuration, `wick.yaml`: one table gives parser, limits, defaults, `--print-config` and the reference page.
 *
 * Every error names its line. A key that is not in the table is an error with the nearest one as a hint. */
#ifndef ENGINE_CONFIG_H
#define ENGINE_CONFIG_H

#include "base/buf.h"
#include "codec/record_batch.h"
#include "sys/sys.h"

enum {
    CONFIG_TEXT_MAX = 512,
    CONFIG_TOKENS_MAX = 16,
    CONFIG_BASES_MAX = 256,
    CONFIG_SOURCES_MAX = 8,
    CONFIG_SETTINGS_MAX = 40
};

struct config_base {
    char base[32], quote[32], venue[32];
};

/* A source that fills a topic. `generator: market` is the demo's live market. */
struct config_source {
    char generator[32];
    int64_t seed;
    int64_t series;
    int64_t rate; /* events a second, all series together, on average */
};

/* Where in a file the settings were made. */
struct config_origin {
    char name[200]; /* of the file; the end of a long one */
    struct {
        uint32_t line, column; /* 0: a default, or the command line's */
    } places[CONFIG_SETTINGS_MAX];
};

struct config {
    char data[CONFIG_TEXT_MAX];
    char http_listen[CONFIG_TEXT_MAX];
    bool http_public; /* listen beyond loopback without a token */
    int64_t http_threads;
    int64_t http_connections;
    int64_t http_address_connections, http_address_requests; /* of one address; the latter in a second */
    int64_t http_body_bytes, http_memory_bytes;
    char http_certificate[CONFIG_TEXT_MAX];
    char http_key[CONFIG_TEXT_MAX];
    char http_tokens[CONFIG_TOKENS_MAX][65]; /* SHA-256, hex */
    uint32_t http_token_count;
    char log_backend[16];
    char log_compression[8];
    int64_t log_segment_bytes;
    int64_t log_group_bytes;
    int64_t log_reserve_bytes;
    int64_t log_scrub_ms; /* INT64_MAX: never */
    char store_backend[16];
    int64_t store_map_bytes;
    int64_t retention_raw_ms; /* INT64_MAX: for ever */
    int64_t retention_1m_ms;
    int64_t retention_15m_ms;
    int64_t retention_1d_ms;
    char candles_base[8];     /* 1m or 1s */
    int64_t candles_grace_ms; /* of prices */
    int64_t checkpoint_ms;
    int64_t checkpoint_bytes;
    int64_t prices_partitions; /* 0: not said */
    struct config_base bases[CONFIG_BASES_MAX];
    uint32_t base_count;
    struct config_source sources[CONFIG_SOURCES_MAX];
    uint32_t source_count;
    struct config_origin origin; /* the last member: all before it is what is set */
};

void config_defaults(struct config *config);
/* Reads `path` over what is in `config`, and checks the whole. ERR_NOT_FOUND; INPUT errors with "path:line:column" in diag. */
enum err config_read(const struct sys *sys, const char *path, struct diag *diag, struct config *config) MUST_USE;
enum err config_parse(const char *name, struct slice text, struct diag *diag, struct config *config) MUST_USE;
/* Sets one key from the command line: "http.listen", "127.0.0.1:9000". */
enum err config_set(struct config *config, const char *key, const char *value, struct diag *diag) MUST_USE;
/* Do the settings contradict each other? For whoever has set some after the file was read. */
enum err config_check(const struct config *config, struct diag *diag) MUST_USE;
/* Adds the place of a setting ("http.listen") to `diag`, if it is one in a file. */
void config_where(const struct config *config, const char *setting, struct diag *diag);
/* `log.compression`. */
enum record_codec config_codec(const struct config *config);
/* The whole of it as YAML with comments. */
void config_print(const struct config *config, struct buf *out);
/* docs/config.md. */
void config_reference(struct buf *out);

#endif
