/* Records to events, for the candle tasks: the decoders of venue/ behind candle's interface. */
#include <stdlib.h>

#include "engine/engine.h"
#include "venue/venue.h"

struct price_event_decoder {
    struct event_decoder base;
    struct price_decoder *decoder;
    struct buf padded; /* the value of a batch's last record, with readable bytes behind it */
};

static enum err decode_price(struct event_decoder *decoder, const struct record *record, struct diag *diag,
                             struct event *events, uint32_t max, uint32_t *ret_count) {
    struct price_event_decoder *self = (struct price_event_decoder *)decoder;
    (void)max;
    if (record->value.size > PRICE_EVENT_BYTES_MAX)
        return price_decode(self->decoder, record->value, diag, events); /* refused unread */
    if (record->slack_bytes >= INPUT_PADDING_BYTES) {
        enum err err = price_decode(self->decoder, record->value, diag, events);
        if (err == ERR_OK) *ret_count = 1;
        return err;
    }
    buf_clear(&self->padded);
    uint8_t *to = buf_reserve(&self->padded, record->value.size + INPUT_PADDING_BYTES);
    if (to == NULL) return diag_set(diag, ERR_NO_MEMORY, "no memory for an event");
    memcpy(to, record->value.data, record->value.size);
    memset(to + record->value.size, 0, INPUT_PADDING_BYTES);
    enum err err = price_decode(self->decoder, slice_of(to, record->value.size), diag, events);
    if (err == ERR_OK) *ret_count = 1;
    return err;
}

static void close_price(struct event_decoder **decoder) {
    struct price_event_decoder *self = (struct price_event_decoder *)*decoder;
    price_decoder_close(&self->decoder);
    buf_deinit(&self->padded);
    free(self);
    *decoder = NULL;
}

static const struct event_decoder_ops price_ops = {.decode = decode_price, .close = close_price};

enum err price_event_decoder_open(struct series_table *series, struct event_decoder **ret_decoder) {
    struct price_event_decoder *self = calloc(1, sizeof *self);
    if (self == NULL) return ERR_NO_MEMORY;
    self->base.ops = &price_ops;
    buf_init(&self->padded, PRICE_EVENT_BYTES_MAX + INPUT_PADDING_BYTES);
    enum err err = price_decoder_open(series, &self->decoder);
    if (err != ERR_OK) {
        free(self);
        return err;
    }
    *ret_decoder = &self->base;
    return ERR_OK;
}

struct venue_event_decoder {
    struct event_decoder base;
    struct venue_decoder *decoder;
};

static enum err decode_venue(struct event_decoder *decoder, const struct record *record, struct diag *diag,
                             struct event *events, uint32_t max, uint32_t *ret_count) {
    struct venue_event_decoder *self = (struct venue_event_decoder *)decoder;
    return venue_decode(self->decoder, record->value, diag, events, max, ret_count);
}

static void close_venue(struct event_decoder **decoder) {
    struct venue_event_decoder *self = (struct venue_event_decoder *)*decoder;
    venue_decoder_close(&self->decoder);
    free(self);
    *decoder = NULL;
}

static const struct event_decoder_ops venue_ops = {.decode = decode_venue, .close = close_venue};

enum err venue_event_decoder_open(const char *venue, struct series_table *series, struct event_decoder **ret_decoder) {
    struct venue_event_decoder *self = calloc(1, sizeof *self);
    if (self == NULL) return ERR_NO_MEMORY;
    self->base.ops = &venue_ops;
    enum err err = venue_decoder_open(venue, series, &self->decoder);
    if (err != ERR_OK) {
        free(self);
        return err;
    }
    *ret_decoder = &self->base;
    return ERR_OK;
}

static enum err refuse(struct event_decoder *decoder, const struct record *record, struct diag *diag,
                       struct event *events, uint32_t max, uint32_t *ret_count) {
    (void)decoder, (void)record, (void)events, (void)max, (void)ret_count;
    return diag_set(diag, ERR_UNKNOWN, "no decoder reads the messages of this venue");
}

static void close_refusing(struct event_decoder **decoder) {
    free(*decoder);
    *decoder = NULL;
}

static const struct event_decoder_ops refusing_ops = {.decode = refuse, .close = close_refusing};

enum err refusing_decoder_open(struct event_decoder **ret_decoder) {
    struct event_decoder *self = calloc(1, sizeof *self);
    if (self == NULL) return ERR_NO_MEMORY;
    self->ops = &refusing_ops;
    *ret_decoder = self;
    return ERR_OK;
}
