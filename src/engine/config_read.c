/* wick.yaml, and where in it each setting is. */
#include <stdio.h>
#include <stdlib.h>
#include <yaml.h>

#include "base/nearest.h"
#include "engine/config_work.h"

enum { CONFIG_FILE_MAX = 1024 * 1024 };

struct loading {
    yaml_document_t *document;
    struct config *config;
    struct diag *diag;
};

static enum err at_mark(struct loading *l, yaml_mark_t mark, enum err err) {
    diag_where(l->diag, "%s:%zu:%zu", l->config->origin.name, mark.line + 1, mark.column + 1);
    return err;
}

static enum err at(struct loading *l, const yaml_node_t *node, enum err err) {
    return at_mark(l, node->start_mark, err);
}

static struct slice scalar(const yaml_node_t *node) {
    return slice_of(node->data.scalar.value, node->data.scalar.length);
}

static bool is_bare(const yaml_node_t *node) {
    return node->type == YAML_SCALAR_NODE && node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
}

bool config_is_null(struct slice text) {
    static const char *const words[] = {"~", "null", "Null", "NULL"};
    for (unsigned i = 0; i < sizeof words / sizeof *words; i++)
        if (slice_equal(text, slice_text(words[i]))) return true;
    return false;
}

/* --- mappings and lists --- */

/* The names that may stand in a mapping: of a section of the table, and of the list's or section's own. */
struct names {
    const char *section;      /* of the table; NULL: none */
    const char *const *other; /* ends with NULL */
    const char *prefix;       /* of messages */
};

static void look_at_names(const struct names *names, struct nearest *nearest) {
    for (unsigned i = 0; names->section != NULL && i < config_table_count; i++)
        if (strcmp(config_table[i].section, names->section) == 0)
            nearest_look(nearest, config_table[i].key);
        else if (names->section[0] == '\0')
            nearest_look(nearest, config_table[i].section);
    for (const char *const *name = names->other; *name != NULL; name++) nearest_look(nearest, *name);
}

/* The section that has such a key. */
static const char *section_with(struct slice key) {
    if (slice_equal(key, SLICE("tokens"))) return "http";
    for (unsigned i = 0; i < config_table_count; i++)
        if (slice_equal(slice_text(config_table[i].key), key)) return config_table[i].section;
    return NULL;
}

static enum err unknown_key(struct loading *l, const yaml_node_t *key, const struct names *names) {
    const struct slice name = scalar(key);
    const char *dot = names->prefix[0] != '\0' ? "." : "", *section;
    struct nearest nearest = nearest_begin(name);
    look_at_names(names, &nearest);
    diag_set(l->diag, ERR_UNKNOWN, "there is no setting \"%s%s%.*s\"", names->prefix, dot,
             SLICE_PRINT(config_shown(name)));
    if (nearest.name != NULL)
        diag_hint(l->diag, "did you mean \"%s%s%s\"?", names->prefix, dot, nearest.name);
    else if ((section = section_with(name)) != NULL)
        diag_hint(l->diag, "\"%.*s\" belongs %s%s", SLICE_PRINT(config_shown(name)),
                  section[0] != '\0' ? "into section " : "to the left, outside of the sections", section);
    else
        diag_hint(l->diag, "wick run --print-config shows them all");
    return at(l, key, ERR_UNKNOWN);
}

typedef enum err (*member_visit)(struct loading *l, void *context, const yaml_node_t *key, yaml_node_t *value);

static bool is_repeated(struct loading *l, const yaml_node_t *node, const yaml_node_pair_t *pair) {
    const struct slice key = scalar(yaml_document_get_node(l->document, pair->key));
    for (yaml_node_pair_t *before = node->data.mapping.pairs.start; before < pair; before++)
        if (slice_equal(scalar(yaml_document_get_node(l->document, before->key)), key)) return true;
    return false;
}

static enum err visit_mapping(struct loading *l, yaml_node_t *node, const char *what, member_visit visit,
                              void *context) {
    if (node->type != YAML_MAPPING_NODE)
        return at(l, node, diag_set(l->diag, ERR_TYPE, "%s: a mapping (key: value) is wanted", what));
    for (yaml_node_pair_t *pair = node->data.mapping.pairs.start; pair < node->data.mapping.pairs.top; pair++) {
        yaml_node_t *key = yaml_document_get_node(l->document, pair->key);
        if (key->type != YAML_SCALAR_NODE)
            return at(l, key, diag_set(l->diag, ERR_TYPE, "%s: a key must be a word", what));
        if (is_repeated(l, node, pair))
            return at(
                l, key,
                diag_set(l->diag, ERR_DUPLICATE, "\"%.*s\" is set twice", SLICE_PRINT(config_shown(scalar(key)))));
        enum err err = visit(l, context, key, yaml_document_get_node(l->document, pair->value));
        if (err != ERR_OK) return err;
    }
    return ERR_OK;
}

static enum err visit_sequence(struct loading *l, yaml_node_t *node, const char *what, uint32_t max,
                               enum err (*visit)(struct loading *l, yaml_node_t *item, uint32_t index),
                               uint32_t *ret_count) {
    if (node->type != YAML_SEQUENCE_NODE)
        return at(l, node, diag_set(l->diag, ERR_TYPE, "%s: a list is wanted ([] is one without entries)", what));
    uint32_t count = 0;
    for (yaml_node_item_t *item = node->data.sequence.items.start; item < node->data.sequence.items.top; item++) {
        yaml_node_t *entry = yaml_document_get_node(l->document, *item);
        if (count == max) return at(l, entry, diag_set(l->diag, ERR_TOO_LARGE, "%s: more than %u entries", what, max));
        enum err err = visit(l, entry, count);
        if (err != ERR_OK) return err;
        count++;
    }
    *ret_count = count;
    return ERR_OK;
}

/* --- tokens, bases, sources --- */

static enum err visit_token(struct loading *l, yaml_node_t *item, uint32_t index) {
    struct slice text = item->type == YAML_SCALAR_NODE ? scalar(item) : SLICE_NONE;
    size_t hex = 0;
    while (hex < text.size && memchr("0123456789abcdefABCDEF", text.data[hex], 22) != NULL) hex++;
    if (hex != 64 || text.size != 64) {
        diag_set(l->diag, ERR_SYNTAX, "http.tokens: a SHA-256 digest of 64 hex digits is wanted");
        diag_hint(l->diag, "printf %%s TOKEN | sha256sum makes it");
        return at(l, item, ERR_SYNTAX);
    }
    memcpy(l->config->http_tokens[index], text.data, 64);
    l->config->http_tokens[index][64] = '\0';
    return ERR_OK;
}

static enum err copy_word(struct loading *l, const yaml_node_t *node, const char *what, char *to, size_t to_size) {
    struct slice text = node->type == YAML_SCALAR_NODE ? scalar(node) : SLICE_NONE;
    if (text.size == 0 || text.size >= to_size || memchr(text.data, '\0', text.size) != NULL ||
        (is_bare(node) && config_is_null(text)))
        return at(l, node,
                  diag_set(l->diag, ERR_TYPE, "%s: a word of 1 to %zu characters is wanted", what, to_size - 1));
    memcpy(to, text.data, text.size);
    to[text.size] = '\0';
    return ERR_OK;
}

static enum err copy_number(struct loading *l, const yaml_node_t *node, const char *what, int64_t min, int64_t max,
                            int64_t *ret_value) {
    uint64_t value;
    struct slice text = node->type == YAML_SCALAR_NODE ? scalar(node) : SLICE_NONE;
    if (!slice_to_u64(text, &value) || value < (uint64_t)min || value > (uint64_t)max)
        return at(l, node,
                  diag_set(l->diag, ERR_RANGE, "%s: \"%.*s\" is not a whole number in %lld..%lld", what,
                           SLICE_PRINT(config_shown(text)), (long long)min, (long long)max));
    *ret_value = (int64_t)value;
    return ERR_OK;
}

static enum err base_member(struct loading *l, void *context, const yaml_node_t *key, yaml_node_t *value) {
    static const char *const keys[] = {"base", "quote", "exchange", NULL};
    struct config_base *base = context;
    struct slice name = scalar(key);
    if (slice_equal(name, SLICE("base"))) return copy_word(l, value, "bases.base", base->base, sizeof base->base);
    if (slice_equal(name, SLICE("quote"))) return copy_word(l, value, "bases.quote", base->quote, sizeof base->quote);
    if (slice_equal(name, SLICE("exchange")))
        return copy_word(l, value, "bases.exchange", base->venue, sizeof base->venue);
    return unknown_key(l, key, &(struct names){.other = keys, .prefix = "bases"});
}

static enum err visit_base(struct loading *l, yaml_node_t *item, uint32_t index) {
    struct config_base *base = &l->config->bases[index];
    *base = (struct config_base){0};
    enum err err = visit_mapping(l, item, "bases", base_member, base);
    if (err != ERR_OK) return err;
    if (base->base[0] == '\0' || base->quote[0] == '\0' || base->venue[0] == '\0')
        return at(l, item, diag_set(l->diag, ERR_MISSING, "bases: base, quote and exchange are all needed"));
    for (uint32_t i = 0; i < index; i++)
        if (slice_equal_nocase(slice_text(l->config->bases[i].base), slice_text(base->base)))
            return at(l, item,
                      diag_set(l->diag, ERR_DUPLICATE, "bases: \"%s\" is there twice; it has one quote and exchange",
                               base->base));
    return ERR_OK;
}

static enum err source_member(struct loading *l, void *context, const yaml_node_t *key, yaml_node_t *value) {
    static const char *const keys[] = {"generator", "seed", "series", "rate", NULL};
    struct config_source *source = context;
    struct slice name = scalar(key);
    if (slice_equal(name, SLICE("seed"))) return copy_number(l, value, "sources.seed", 0, INT64_MAX, &source->seed);
    if (slice_equal(name, SLICE("series"))) return copy_number(l, value, "sources.series", 1, 10000, &source->series);
    if (slice_equal(name, SLICE("rate"))) return copy_number(l, value, "sources.rate", 1, 1000000, &source->rate);
    if (!slice_equal(name, SLICE("generator")))
        return unknown_key(l, key, &(struct names){.other = keys, .prefix = "sources"});
    enum err err = copy_word(l, value, "sources.generator", source->generator, sizeof source->generator);
    if (err == ERR_OK && strcmp(source->generator, "market") != 0)
        err = at(l, value, diag_set(l->diag, ERR_RANGE, "sources.generator: market is the only kind of source"));
    return err;
}

static enum err visit_source(struct loading *l, yaml_node_t *item, uint32_t index) {
    struct config_source *source = &l->config->sources[index];
    *source = (struct config_source){.seed = 1, .series = 24, .rate = 50};
    enum err err = visit_mapping(l, item, "sources", source_member, source);
    if (err == ERR_OK && source->generator[0] == '\0')
        err = at(l, item, diag_set(l->diag, ERR_MISSING, "sources: generator: market is missing"));
    return err;
}

/* --- settings --- */

static void keep_place(struct loading *l, unsigned index, const yaml_node_t *value) {
    l->config->origin.places[index].line = (uint32_t)value->start_mark.line + 1;
    l->config->origin.places[index].column = (uint32_t)value->start_mark.column + 1;
}

static enum err wrong_value(struct loading *l, const struct config_entry *e, const yaml_node_t *value, enum err err,
                            const struct diag *inner) {
    diag_set(l->diag, err, "%s%s%s: %s", e->section, e->section[0] != '\0' ? "." : "", e->key, inner->what);
    if (inner->hint[0] != '\0') diag_hint(l->diag, "%s", inner->hint);
    return at(l, value, err);
}

static enum err setting_member(struct loading *l, const struct config_entry *entry, yaml_node_t *value) {
    struct diag inner = {0};
    enum err err = ERR_OK;
    if (value->type != YAML_SCALAR_NODE) {
        err = diag_set(&inner, ERR_TYPE, "a single value is wanted");
    } else if (is_bare(value) && config_is_null(scalar(value))) {
        err = diag_set(&inner, ERR_TYPE, "%.*s is no value", SLICE_PRINT(scalar(value)));
        diag_hint(&inner, "without the line it has its default, %s", entry->fallback[0] ? entry->fallback : "nothing");
    } else {
        err = config_set_entry(entry, l->config, scalar(value), &inner);
    }
    if (err != ERR_OK) return wrong_value(l, entry, value, err, &inner);
    keep_place(l, (unsigned)(entry - config_table), value);
    return ERR_OK;
}

static enum err section_member(struct loading *l, void *context, const yaml_node_t *key, yaml_node_t *value) {
    static const char *const tokens[] = {"tokens", NULL};
    const char *section = context;
    const bool http = strcmp(section, "http") == 0;
    if (http && slice_equal(scalar(key), SLICE("tokens"))) {
        keep_place(l, config_table_count, value);
        return visit_sequence(l, value, "http.tokens", CONFIG_TOKENS_MAX, visit_token, &l->config->http_token_count);
    }
    const struct config_entry *entry = config_find(section, scalar(key));
    if (entry != NULL) return setting_member(l, entry, value);
    return unknown_key(l, key, &(struct names){section, tokens + !http, section});
}

static enum err top_member(struct loading *l, void *context, const yaml_node_t *key, yaml_node_t *value) {
    static const char *const lists[] = {"bases", "sources", NULL};
    (void)context;
    struct slice name = scalar(key);
    if (slice_equal(name, SLICE("bases")))
        return visit_sequence(l, value, "bases", CONFIG_BASES_MAX, visit_base, &l->config->base_count);
    if (slice_equal(name, SLICE("sources")))
        return visit_sequence(l, value, "sources", CONFIG_SOURCES_MAX, visit_source, &l->config->source_count);
    const struct config_entry *entry = config_find("", name);
    if (entry != NULL) return setting_member(l, entry, value);
    for (unsigned i = 0; i < config_table_count; i++) {
        const char *section = config_table[i].section;
        if (section[0] == '\0' || !slice_equal(slice_text(section), name)) continue;
        if (is_bare(value) && scalar(value).size == 0) return ERR_OK; /* all that is in it is commented out */
        return visit_mapping(l, value, section, section_member, (void *)(uintptr_t)section);
    }
    return unknown_key(l, key, &(struct names){"", lists, ""});
}

/* --- the file --- */

/* What is no text at all has an offset, but no mark. */
static yaml_mark_t mark_of(const yaml_parser_t *parser, struct slice text) {
    if (parser->error != YAML_READER_ERROR) return parser->problem_mark;
    yaml_mark_t mark = {0};
    for (size_t i = 0; i < parser->problem_offset && i < text.size; i++) {
        mark.column++;
        if (text.data[i] != '\n') continue;
        mark.line++;
        mark.column = 0;
    }
    return mark;
}

static enum err not_yaml(struct loading *l, const yaml_parser_t *parser, struct slice text) {
    if (parser->problem == NULL) /* it says what it finds wrong with a text */
        return diag_set(l->diag, ERR_NO_MEMORY, "no memory to read %s", l->config->origin.name);
    const yaml_mark_t mark = mark_of(parser, text);
    diag_set(l->diag, ERR_SYNTAX, "not YAML: %s", parser->problem);
    if (mark.index < text.size && text.data[mark.index] == '\t')
        diag_hint(l->diag, "there is a tab: YAML indents with spaces");
    else if (parser->error == YAML_READER_ERROR)
        diag_hint(l->diag, "the file must be UTF-8 text");
    return at_mark(l, mark, ERR_SYNTAX);
}

static enum err look_at_event(struct loading *l, const yaml_event_t *event, int *depth, int *documents) {
    enum { DEPTH_MAX = 16 };
    switch (event->type) {
        case YAML_DOCUMENT_START_EVENT: ++*documents; break;
        case YAML_SEQUENCE_START_EVENT:
        case YAML_MAPPING_START_EVENT: ++*depth; break;
        case YAML_SEQUENCE_END_EVENT:
        case YAML_MAPPING_END_EVENT: --*depth; break;
        default: break;
    }
    enum err err = ERR_OK;
    if (*depth > DEPTH_MAX) err = diag_set(l->diag, ERR_DEPTH, "more than %d levels, one in the other", DEPTH_MAX);
    if (*documents > 1) {
        err = diag_set(l->diag, ERR_SYNTAX, "a second document begins here, and only one is read");
        diag_hint(l->diag, "take out the line ---");
    }
    return err != ERR_OK ? at_mark(l, event->start_mark, err) : ERR_OK;
}

/* Settings behind a second `---` would not be read, and nobody would know; of thousands of levels one in the other the parser
 * would make a document for minutes. */
static enum err look_through(struct loading *l, struct slice text) {
    yaml_parser_t parser;
    yaml_event_t event;
    if (!yaml_parser_initialize(&parser)) return diag_set(l->diag, ERR_NO_MEMORY, "no memory for YAML");
    yaml_parser_set_input_string(&parser, text.data, text.size);
    enum err err = ERR_OK;
    int depth = 0, documents = 0;
    for (bool end = false; err == ERR_OK && !end;) {
        if (!yaml_parser_parse(&parser, &event)) {
            err = not_yaml(l, &parser, text);
            break;
        }
        err = look_at_event(l, &event, &depth, &documents);
        end = event.type == YAML_STREAM_END_EVENT;
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    return err;
}

static void keep_name(struct config_origin *origin, const char *name) {
    const size_t size = strlen(name), max = sizeof origin->name - 1;
    *origin = (struct config_origin){0};
    if (size <= max)
        memcpy(origin->name, name, size);
    else
        snprintf(origin->name, sizeof origin->name, "...%s", name + size - max + 3);
}

static enum err load_document(struct loading *l, struct slice text) {
    yaml_parser_t parser;
    yaml_document_t document;
    if (!yaml_parser_initialize(&parser)) return diag_set(l->diag, ERR_NO_MEMORY, "no memory for YAML");
    yaml_parser_set_input_string(&parser, text.data, text.size);
    enum err err = ERR_OK;
    if (yaml_parser_load(&parser, &document)) {
        l->document = &document;
        yaml_node_t *root = yaml_document_get_root_node(&document);
        bool empty = root == NULL || (is_bare(root) && scalar(root).size == 0);
        if (!empty) err = visit_mapping(l, root, "the file", top_member, NULL);
        yaml_document_delete(&document);
    } else {
        err = not_yaml(l, &parser, text);
    }
    yaml_parser_delete(&parser);
    return err;
}

enum err config_parse(const char *name, struct slice text, struct diag *diag, struct config *config) {
    struct config changed = *config;
    keep_name(&changed.origin, name);
    struct loading l = {.config = &changed, .diag = diag};
    enum err err = look_through(&l, text);
    if (err == ERR_OK) err = load_document(&l, text);
    if (err == ERR_OK) err = config_check(&changed, diag);
    if (err == ERR_OK) *config = changed;
    return err;
}

enum err config_read(const struct sys *sys, const char *path, struct diag *diag, struct config *config) {
    uint8_t *data = NULL;
    size_t size = 0;
    enum err err = sys_read_file(sys, path, CONFIG_FILE_MAX, diag, &data, &size);
    if (err == ERR_TOO_LARGE) diag_hint(diag, "a configuration has at most 1 MiB");
    if (err != ERR_OK) return err;
    err = config_parse(path, slice_of(data, size), diag, config);
    free(data);
    return err;
}
