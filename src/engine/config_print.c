/* What `--print-config` and the reference page say of the table. What is printed reads as the same configuration again. */
#include "base/utf8.h"
#include "engine/config_work.h"

/* Lists, whose members have keys of their own. */
static const char lists_help[] =
    "  tokens     in http: SHA-256 digests, in hex, of the tokens that requests must carry (at most 16)\n"
    "  bases      base -> one quote and exchange, for /v1/latest?group=base (at most 256)\n"
    "  sources    generator: market (the demo's), seed, series (1..10000), rate (1..1000000) (at most 8)\n";

static void print_duration(struct buf *out, int64_t ms) {
    static const struct {
        int64_t ms;
        const char *unit;
    } units[] = {{365LL * 86400000, "y"}, {86400000, "d"}, {3600000, "h"}, {60000, "m"}, {1000, "s"}, {1, "ms"}};
    if (ms == INT64_MAX) {
        buf_put_text(out, "forever");
        return;
    }
    unsigned i = 0;
    while (ms % units[i].ms != 0 || ms < units[i].ms) i++;
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

static void print_number(struct buf *out, enum config_kind kind, int64_t value) {
    switch (kind) {
        case CONFIG_BYTES: print_bytes(out, value); break;
        case CONFIG_DURATION: print_duration(out, value); break;
        default: buf_printf(out, "%lld", (long long)value);
    }
}

void config_put_range(const struct config_entry *e, struct buf *out) {
    if (e->kind == CONFIG_TEXT) {
        if (e->choices != NULL) buf_put_text(out, e->choices);
    } else if (e->kind == CONFIG_FLAG) {
        buf_put_text(out, "true false");
    } else {
        print_number(out, e->kind, e->min);
        buf_put_text(out, "..");
        print_number(out, e->kind, e->max);
        if (e->forever) buf_put_text(out, ", or forever");
    }
}

/* --- text --- */

static uint32_t code_point(struct slice text, size_t size) {
    static const uint8_t first_bits[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    uint32_t code = text.data[0] & first_bits[size];
    for (size_t i = 1; i < size; i++) code = code << 6 | (text.data[i] & 0x3f);
    return code;
}

/* What YAML does not take as it is, or takes for the end of a line. */
static bool wants_escape(uint32_t code) {
    return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x2028 || code == 0x2029 || code == 0xfeff ||
           code == 0xfffe || code == 0xffff;
}

static bool is_plain(const char *text) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._/:-";
    size_t size = strlen(text);
    return size > 0 && strchr("-:", text[0]) == NULL && text[size - 1] != ':' && strspn(text, letters) == size &&
           !config_is_null(slice_text(text));
}

/* In quotes unless it is plainly a word: a path may hold what YAML has a meaning for. */
static void print_text(struct buf *out, const char *text) {
    if (is_plain(text)) {
        buf_put_text(out, text);
        return;
    }
    buf_put_text(out, "\"");
    for (struct slice rest = slice_text(text); rest.size > 0;) {
        size_t size = utf8_size(rest);
        const uint32_t code = size > 0 ? code_point(rest, size) : rest.data[0];
        if (size == 0) size = 1; /* no UTF-8, which no YAML can hold: as it is */
        if (code == '"' || code == '\\') buf_put_text(out, "\\");
        if (wants_escape(code))
            buf_printf(out, "\\u%04x", code);
        else
            buf_put(out, slice_of(rest.data, size));
        rest = slice_of(rest.data + size, rest.size - size);
    }
    buf_put_text(out, "\"");
}

/* --- the whole --- */

static void print_value(struct buf *out, const struct config_entry *e, const struct config *config) {
    const char *from = (const char *)config + e->offset;
    if (e->kind == CONFIG_TEXT)
        print_text(out, from);
    else if (e->kind == CONFIG_FLAG)
        buf_put_text(out, *(const bool *)from ? "true" : "false");
    else
        print_number(out, e->kind, *(const int64_t *)from);
}

static void print_entry(struct buf *out, const struct config_entry *e, const struct config *config) {
    size_t start = out->size;
    buf_printf(out, "%s%s: ", e->section[0] != '\0' ? "  " : "", e->key);
    print_value(out, e, config);
    int pad = 40 - (int)(out->size - start);
    buf_printf(out, "%*s# %s", pad > 1 ? pad : 1, "", e->help);
    size_t before = out->size;
    buf_put_text(out, " (");
    config_put_range(e, out);
    if (out->size == before + 2)
        out->size = before;
    else
        buf_put_text(out, ")");
    buf_put_text(out, "\n");
}

static void print_tokens(const struct config *config, struct buf *out) {
    buf_put_text(out, config->http_token_count > 0 ? "  tokens:\n" : "  tokens: []\n");
    for (uint32_t t = 0; t < config->http_token_count; t++) buf_printf(out, "    - %s\n", config->http_tokens[t]);
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
    for (unsigned i = 0; i < config_table_count; i++) {
        const struct config_entry *e = &config_table[i];
        if (strcmp(e->section, section) != 0) {
            if (strcmp(section, "http") == 0) print_tokens(config, out);
            section = e->section;
            buf_printf(out, "%s:\n", section);
        }
        print_entry(out, e, config);
    }
    print_lists(config, out);
}

void config_reference(struct buf *out) {
    buf_put_text(out,
                 "# Configuration\n\nGenerated by `wick run --config-reference`; the file is `wick.yaml`, or what "
                 "`--config` names.\n\n| setting | default | range | what |\n| --- | --- | --- | --- |\n");
    for (unsigned i = 0; i < config_table_count; i++) {
        const struct config_entry *e = &config_table[i];
        buf_printf(out, "| `%s%s%s` | `%s` | ", e->section, e->section[0] ? "." : "", e->key,
                   e->fallback[0] ? e->fallback : " ");
        config_put_range(e, out);
        buf_printf(out, " | %s |\n", e->help);
    }
    buf_printf(out, "\nLists:\n\n%s", lists_help);
}
