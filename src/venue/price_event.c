#include "venue/price_event.h"

#include <assert.h>
#include <stdio.h>

#include "venue/price_match.h"

/* Two ways to one result. The general way parses and validates the object and judges every field. What it accepted, it
 * remembers as a shape; an object that has a remembered shape and known names is read in one pass over its bytes. The
 * second way gives up at anything out of the ordinary and never rejects, so all errors are the general way's. */

enum { ARRAY_EVENTS_MAX = 4096 };

static const char *const field_name[FIELD_COUNT] = {"baseCurrency",      "quoteCurrency",      "exchange",     "price",
                                                    "baseVolumeLast24h", "quoteVolumeLast24h", "timestampInMs"};

struct array_element {
    struct event event;
    struct slice source;
};

struct price_decoder {
    struct series_table *series;
    struct json_parser *parser;
    struct price_shapes shapes;
    struct array_element *elements; /* of an array all of whose elements have a shape; allocated when first met */
};

enum err price_decoder_open(struct series_table *series, struct price_decoder **ret_decoder) {
    assert(series != NULL && ret_decoder != NULL);
    struct price_decoder *decoder = calloc(1, sizeof *decoder);
    if (decoder == NULL) return ERR_NO_MEMORY;
    decoder->series = series;
    /* A name that comes twice or a number that is too long condemns one event, not the request it came in: both are
     * judged below. */
    struct json_limits limits = {.duplicate_keys = true, .number_bytes = JSON_DOCUMENT_MAX};
    enum err err = json_parser_open(&limits, &decoder->parser);
    if (err == ERR_OK) err = price_shapes_init(&decoder->shapes);
    if (err != ERR_OK) {
        price_decoder_close(&decoder);
        return err;
    }
    *ret_decoder = decoder;
    return ERR_OK;
}

void price_decoder_close(struct price_decoder **decoder) {
    if (decoder == NULL || *decoder == NULL) return;
    json_parser_close(&(*decoder)->parser);
    price_shapes_deinit(&(*decoder)->shapes);
    free((*decoder)->elements);
    free(*decoder);
    *decoder = NULL;
}

void price_decoder_narrow(struct price_decoder *decoder) { decoder->shapes.wide = false; }

/* --- the general way --- */

static enum err refuse(struct diag *diag, enum err err, enum field field, const char *what) {
    return diag_set(diag, err, "%s %s", field_name[field], what);
}

static int field_of(struct slice key) {
    for (int i = 0; i < FIELD_COUNT; i++)
        if (slice_equal_nocase(key, slice_text(field_name[i]))) return i;
    return -1;
}

static enum err collect_fields(const struct json_value *object, struct diag *diag,
                               const struct json_value *fields[static FIELD_COUNT]) {
    if (json_type_of(object) != JSON_OBJECT) return diag_set(diag, ERR_TYPE, "a price event must be an object");
    for (const struct json_value *m = json_first(object); m != NULL; m = json_next(m)) {
        struct slice key = json_key(m);
        int field = field_of(key);
        if (field < 0) {
            int shown = key.size < 40 ? (int)key.size : 40;
            diag_set(diag, ERR_UNKNOWN, "a price event has no field \"%.*s\"", shown, (const char *)key.data);
            diag_hint(diag,
                      "its fields are baseCurrency, quoteCurrency, exchange, price, baseVolumeLast24h, "
                      "quoteVolumeLast24h, timestampInMs");
            return ERR_UNKNOWN;
        }
        if (fields[field] != NULL) return refuse(diag, ERR_DUPLICATE, (enum field)field, "occurs twice");
        fields[field] = m;
    }
    for (int i = 0; i < FIELD_COUNT; i++)
        if (fields[i] == NULL && i != FIELD_BASE_VOLUME && i != FIELD_QUOTE_VOLUME)
            return refuse(diag, ERR_MISSING, (enum field)i, "is missing");
    return ERR_OK;
}

/* ASCII letters, digits, '.', '_', '-', and what is not ASCII (valid UTF-8 here) but for its spaces and marks. */
static bool name_byte_allowed(const uint8_t *at, const uint8_t *end) {
    uint8_t c = *at;
    if (c < 0x80)
        return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') || c == '.' || c == '_' || c == '-';
    if (c == 0xC2) return false;                                                   /* U+0080..U+00BF */
    if (c == 0xE2 && end - at > 1 && at[1] <= 0x81) return false;                  /* U+2000..U+207F */
    if (c == 0xE3 && end - at > 2 && at[1] == 0x80 && at[2] <= 0x83) return false; /* U+3000..U+3003 */
    return !(c == 0xEF && end - at > 1 && at[1] >= 0xB8);                          /* U+FE00..U+FFFF */
}

static enum err check_name(const struct json_value *value, enum field field, struct diag *diag,
                           struct slice *ret_name) {
    if (json_type_of(value) != JSON_STRING) return refuse(diag, ERR_TYPE, field, "must be a string");
    struct slice name = json_text(value);
    if (name.size == 0) return refuse(diag, ERR_MISSING, field, "is empty");
    if (name.size > PRICE_NAME_MAX) return refuse(diag, ERR_TOO_LARGE, field, "is longer than 20 bytes");
    for (size_t i = 0; i < name.size; i++)
        if (!name_byte_allowed(name.data + i, name.data + name.size))
            return refuse(diag, ERR_SYNTAX, field, "has a character that names do not have");
    *ret_name = name;
    return ERR_OK;
}

static void fold_case(uint8_t *to, struct slice from, bool upper) {
    for (size_t i = 0; i < from.size; i++) {
        uint8_t c = from.data[i];
        bool change = upper ? c >= 'a' && c <= 'z' : c >= 'A' && c <= 'Z';
        to[i] = change ? c ^ 0x20 : c;
    }
}

static enum err find_series(struct price_decoder *decoder, const struct json_value *const *fields, struct diag *diag,
                            uint32_t *ret_series) {
    uint8_t folded[3][PRICE_NAME_MAX];
    struct slice names[3];
    struct name_key key = {0};
    bool fits = true;
    for (int i = 0; i < 3; i++) {
        enum err err = check_name(fields[i], (enum field)i, diag, &names[i]);
        if (err != ERR_OK) return err;
        fold_case(folded[i], names[i], i != FIELD_EXCHANGE);
        if (!name_key_set(&key, (unsigned)i, names[i])) fits = false;
    }
    if (fits) *ret_series = name_cache_find(&decoder->shapes.names, &key);
    if (fits && *ret_series != SERIES_NONE) return ERR_OK;
    struct series_key series = {.venue = slice_of(folded[FIELD_EXCHANGE], names[FIELD_EXCHANGE].size),
                                .base = slice_of(folded[FIELD_BASE], names[FIELD_BASE].size),
                                .quote = slice_of(folded[FIELD_QUOTE], names[FIELD_QUOTE].size),
                                .kind = SERIES_PRICE};
    enum err err = series_intern(decoder->series, &series, ret_series);
    if (err != ERR_OK) return diag_set(diag, err, "the series cannot be added: %s", err_message(err));
    if (fits) name_cache_add(&decoder->shapes.names, &key, *ret_series);
    return ERR_OK;
}

static enum err read_decimal(const struct json_value *value, enum field field, struct diag *diag,
                             struct decimal *ret_value) {
    enum json_type type = json_type_of(value);
    if (type != JSON_NUMBER && type != JSON_STRING) return refuse(diag, ERR_TYPE, field, "must be a number");
    enum err err = decimal_parse(json_text(value), ret_value);
    if (err == ERR_PRECISION) return refuse(diag, err, field, "needs more than 38 digits");
    if (err != ERR_OK) return refuse(diag, ERR_TYPE, field, "is not a number");
    if (ret_value->mantissa < 0) return refuse(diag, ERR_RANGE, field, "is negative");
    return ERR_OK;
}

static enum err read_time(const struct json_value *value, struct diag *diag, int64_t *ret_time) {
    int64_t time = 0;
    enum err err = json_i64(value, &time);
    if (err == ERR_TYPE) return refuse(diag, err, FIELD_TIME, "must be an integer");
    if (err == ERR_OK && time < 1)
        return refuse(diag, ERR_RANGE, FIELD_TIME, time == 0 ? "is 0, which is no time" : "is before 1970");
    if (err != ERR_OK || time > price_time_max) {
        refuse(diag, ERR_RANGE, FIELD_TIME, "is after the year 9999");
        diag_hint(diag, "it must be milliseconds; this looks like %s",
                  time > 100000000000000000 ? "nanoseconds" : "microseconds");
        return ERR_RANGE;
    }
    *ret_time = time;
    return ERR_OK;
}

static enum err event_of(struct price_decoder *decoder, const struct json_value *object, struct diag *diag,
                         struct event *ret_event) {
    const struct json_value *fields[FIELD_COUNT] = {NULL};
    struct decimal price, volume = {0, 0}, quote_volume = {0, 0};
    struct event event = {.kind = EVENT_PRICE};
    enum err err = collect_fields(object, diag, fields);
    if (err != ERR_OK) return err;
    err = read_decimal(fields[FIELD_PRICE], FIELD_PRICE, diag, &price);
    if (err != ERR_OK) return err;
    if (price.mantissa == 0) return refuse(diag, ERR_RANGE, FIELD_PRICE, "is zero");
    event.no_quantity = fields[FIELD_BASE_VOLUME] == NULL;
    event.no_quote_volume = fields[FIELD_QUOTE_VOLUME] == NULL;
    if (!event.no_quantity) err = read_decimal(fields[FIELD_BASE_VOLUME], FIELD_BASE_VOLUME, diag, &volume);
    if (err == ERR_OK && !event.no_quote_volume)
        err = read_decimal(fields[FIELD_QUOTE_VOLUME], FIELD_QUOTE_VOLUME, diag, &quote_volume);
    if (err == ERR_OK) err = read_time(fields[FIELD_TIME], diag, &event.time_ms);
    if (err == ERR_OK) err = find_series(decoder, fields, diag, &event.series);
    if (err != ERR_OK) return err;
    event.price = price.mantissa;
    event.price_scale = price.scale;
    event.quantity = volume.mantissa;
    event.quantity_scale = volume.scale;
    event.quote_volume = quote_volume.mantissa;
    event.quote_volume_scale = quote_volume.scale;
    *ret_event = event;
    return ERR_OK;
}

/* --- both ways --- */

static int tag_of(void *context, uint32_t depth, const struct json_value *value) {
    (void)context;
    return depth == 1 ? field_of(json_key(value)) : SHAPE_NONE; /* accepted objects have known fields only */
}

static void remember(struct price_decoder *decoder, const struct json_value *object) {
    price_shapes_learn(&decoder->shapes, object, tag_of);
}

static enum err too_large(struct slice text, struct diag *diag) {
    return diag_set(diag, ERR_TOO_LARGE, "an event of %zu bytes, of which %d may be", text.size, PRICE_EVENT_BYTES_MAX);
}

enum err price_decode(struct price_decoder *decoder, struct slice text, struct diag *diag, struct event *ret_event) {
    assert(decoder != NULL && ret_event != NULL);
    if (text.size > PRICE_EVENT_BYTES_MAX) return too_large(text, diag);
    const uint8_t *at = text.data, *end = text.data + text.size;
    struct event event;
    if (text.size > 0 && price_match(&decoder->shapes, &at, end, &event) && at == end) {
        *ret_event = event;
        return ERR_OK;
    }
    const struct json_value *root = NULL;
    enum err err = json_parse(decoder->parser, text, diag, &root);
    if (err == ERR_OK) err = event_of(decoder, root, diag, ret_event);
    if (err == ERR_OK) remember(decoder, root);
    return err;
}

enum err price_decode_general(struct price_decoder *decoder, struct slice text, struct diag *diag,
                              struct event *ret_event) {
    const struct json_value *root = NULL;
    enum err err = json_parse(decoder->parser, text, diag, &root);
    return err == ERR_OK ? event_of(decoder, root, diag, ret_event) : err;
}

uint32_t price_decode_lines(struct price_decoder *decoder, const uint8_t **at, const uint8_t *end, struct event *events,
                            uint32_t *starts, uint32_t max) {
    return price_match_lines(&decoder->shapes, at, end, events, starts, max);
}

/* --- request bodies --- */

typedef enum err visit_price(void *context, const struct price_item *item);

struct body {
    struct price_decoder *decoder;
    visit_price *visit;
    void *context;
};

static bool is_space(uint8_t c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

static struct slice trim(struct slice text) {
    while (text.size > 0 && is_space(text.data[0])) text = slice_of(text.data + 1, text.size - 1);
    while (text.size > 0 && is_space(text.data[text.size - 1])) text.size--;
    return text;
}

/* Hands out one element; what is no event comes with its reason. Errors that are not the input's end the walk. */
static enum err give(const struct body *body, uint32_t index, struct slice source, enum err err,
                     const struct diag *diag, const struct event *event) {
    if (err != ERR_OK && err_class(err) != ERR_CLASS_INPUT) return err;
    struct diag large = {0};
    if (err == ERR_OK && source.size > PRICE_EVENT_BYTES_MAX) {
        err = too_large(source, &large);
        diag = &large;
    }
    struct price_item item;
    item.source = source;
    item.index = index;
    item.err = err;
    item.reason[0] = '\0';
    if (err != ERR_OK) diag_print(diag, item.reason, sizeof item.reason);
    if (err == ERR_OK) item.event = *event;
    return body->visit(body->context, &item);
}

/* An array all of whose elements have a remembered shape. Nothing is handed out before its closing bracket was seen. */
static bool match_array(struct price_decoder *decoder, struct slice text, uint32_t *ret_count) {
    const uint8_t *at = text.data + 1, *end = text.data + text.size;
    uint32_t count = 0;
    if (decoder->elements == NULL) decoder->elements = malloc(ARRAY_EVENTS_MAX * sizeof *decoder->elements);
    if (decoder->elements == NULL) return false;
    for (;;) {
        while (at < end && is_space(*at)) at++;
        if (count == ARRAY_EVENTS_MAX || at >= end) return false;
        struct array_element *element = &decoder->elements[count++];
        const uint8_t *start = at;
        if (!price_match(&decoder->shapes, &at, end, &element->event)) return false;
        element->source = slice_of(start, (size_t)(at - start));
        while (at < end && is_space(*at)) at++;
        if (at >= end) return false;
        uint8_t c = *at++;
        if (c == ']') break;
        if (c != ',') return false;
    }
    *ret_count = count;
    return at == end;
}

/* `text` is `whole` without the space around it; places are told of `whole`. */
static enum err decode_array(const struct body *body, struct slice whole, struct slice text, struct diag *diag) {
    struct price_decoder *decoder = body->decoder;
    uint32_t count = 0;
    if (match_array(decoder, text, &count)) {
        enum err err = ERR_OK;
        for (uint32_t i = 0; err == ERR_OK && i < count; i++)
            err = give(body, i, decoder->elements[i].source, ERR_OK, NULL, &decoder->elements[i].event);
        return err;
    }
    const struct json_value *root = NULL;
    enum err err = json_parse(decoder->parser, whole, diag, &root);
    if (err != ERR_OK) return err;
    bool learnt = false;
    for (const struct json_value *v = json_first(root); err == ERR_OK && v != NULL; v = json_next(v)) {
        struct event event;
        struct diag why = {0};
        enum err bad = event_of(decoder, v, &why, &event);
        if (bad == ERR_OK && !learnt) remember(decoder, v);
        learnt = learnt || bad == ERR_OK;
        err = give(body, count++, json_source(v), bad, &why, &event);
    }
    return err;
}

static struct slice next_line(struct slice *rest) {
    const uint8_t *newline = rest->size == 0 ? NULL : memchr(rest->data, '\n', rest->size);
    size_t size = newline == NULL ? rest->size : (size_t)(newline - rest->data) + 1;
    struct slice line = slice_of(rest->data, size);
    *rest = slice_of(rest->data + size, rest->size - size);
    return line;
}

static enum err decode_lines(const struct body *body, struct slice text) {
    uint32_t index = 0;
    enum err err = ERR_OK;
    for (struct slice rest = text; err == ERR_OK && rest.size > 0; index++) {
        struct slice line = trim(next_line(&rest));
        if (line.size == 0) continue;
        struct event event;
        struct diag why = {0};
        enum err bad = price_decode(body->decoder, line, &why, &event);
        err = give(body, index, line, bad, &why, &event);
    }
    return err;
}

/* Whether any line is a JSON document by itself. */
static bool has_lines(struct price_decoder *decoder, struct slice text) {
    for (struct slice rest = text; rest.size > 0;) {
        struct slice line = trim(next_line(&rest));
        const struct json_value *root = NULL;
        if (line.size > 0 && json_parse(decoder->parser, line, NULL, &root) == ERR_OK) return true;
    }
    return false;
}

enum err price_decode_body(struct price_decoder *decoder, struct slice whole, struct diag *diag, visit_price *visit,
                           void *context) {
    assert(decoder != NULL && visit != NULL);
    struct body body = {.decoder = decoder, .visit = visit, .context = context};
    struct slice text = trim(whole), rest = text;
    if (text.size == 0) return diag_set(diag, ERR_SYNTAX, "the body is empty");
    if (text.data[0] == '[') return decode_array(&body, whole, text, diag);
    struct event event;
    struct diag why = {0};
    struct slice first = trim(next_line(&rest));
    if (rest.size > 0 && (price_decode(decoder, first, NULL, &event) == ERR_OK || has_lines(decoder, text)))
        return decode_lines(&body, whole);
    /* One document, on one line or many; a body that is no JSON at all is an error of the request. */
    const struct json_value *root = NULL;
    const uint8_t *at = text.data;
    if (price_match(&decoder->shapes, &at, text.data + text.size, &event) && at == text.data + text.size)
        return give(&body, 0, text, ERR_OK, NULL, &event);
    enum err err = json_parse(decoder->parser, whole, diag, &root);
    if (err != ERR_OK) return err;
    enum err bad = event_of(decoder, root, &why, &event);
    if (bad == ERR_OK) remember(decoder, root);
    return give(&body, 0, text, bad, &why, &event);
}
