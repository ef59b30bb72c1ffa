/* Latest prices of every series on the stream.
 *
 * They are told in rounds, of messages of PIECE_SERIES at most, by number of the series. A round tells every change up to the
 * number it began with: only its last message moves the session on, and a client that reads slowly gets the rest of a round
 * when there is room again. What changes meanwhile is the next round's. */
#include <assert.h>
#include <stdlib.h>

#include "api/stream.h"

enum { PIECE_SERIES = 2000, PIECE_BYTES_MAX = 4 * 1024 * 1024 };

struct changes {
    bool all; /* of every series: the first round, or changes were forgotten */
    uint32_t *series;
    uint32_t count;
};

static bool note_series(void *context, const struct hub_row *row) {
    struct changes *changes = context;
    assert(changes->count < HUB_ROWS_MAX);
    changes->series[changes->count++] = row->series;
    return true;
}

static int by_number(const void *a, const void *b) {
    const uint32_t one = *(const uint32_t *)a, two = *(const uint32_t *)b;
    return (one > two) - (one < two);
}

/* What changed since the last round; a new one begins where none is under way. */
static void find_changes(struct session *session, struct changes *changes) {
    struct hub *hub = session->hub;
    pthread_mutex_lock(&hub->lock);
    if (session->latest_next == 0) session->latest_target = hub->sequence;
    changes->all =
        session->latest_sequence == 0 || !hub_visit_since(hub, session->latest_sequence, note_series, changes);
    /* Nothing that it watches has changed: its candles are as new as anything. */
    if (session->dirty_first == NULL && session->flush == NULL) session->sequence = hub->sequence;
    pthread_mutex_unlock(&hub->lock);
    qsort(changes->series, changes->count, sizeof *changes->series, by_number);
}

static void put_short(struct buf *out, const struct series *series, const struct latest *latest) {
    buf_put_text(out, "{\"series\":");
    put_name(out, slice_text(series->name));
    buf_put_text(out,
                 series->kind == SERIES_PRICE ? ",\"kind\":\"price\",\"price\":" : ",\"kind\":\"trade\",\"price\":");
    put_decimal(out, latest->price);
    put_member(out, "time");
    put_i64(out, latest->time_ms);
    buf_put_u8(out, '}');
}

/* From number *next on. *next turns 0 where this was the last piece; returns how many there are in it. */
static uint32_t put_piece(const struct api_options *options, const struct changes *changes, struct buf *out,
                          uint32_t *next) {
    const uint32_t total = changes->all ? series_count(options->series) : changes->count;
    const uint32_t from = *next;
    uint32_t put = 0;
    *next = 0;
    for (uint32_t i = changes->all ? from : 0; i < total; i++) {
        const uint32_t number = changes->all ? i : changes->series[i];
        if (number < from || (!changes->all && i > 0 && number == changes->series[i - 1])) continue;
        if (put == PIECE_SERIES) {
            *next = number;
            break;
        }
        const struct series *series = series_get(options->series, number);
        struct latest latest;
        if (series == NULL || latest_get(options->latest, number, &latest) != ERR_OK) continue;
        if (put++ > 0) buf_put_u8(out, ',');
        put_short(out, series, &latest);
    }
    return put;
}

/* True where the round goes on with another piece now. */
static bool send_piece(struct session *session, const struct changes *changes, struct buf *text) {
    const struct api_options *options = &session->hub->api->options;
    const bool first = session->latest_sequence == 0 && session->latest_next == 0;
    char cursor[STREAM_CURSOR_MAX];
    uint32_t next = session->latest_next;
    buf_clear(text);
    buf_put_text(text, "{\"type\":\"latest\",\"latest\":[");
    const uint32_t put = put_piece(options, changes, text, &next);
    const uint64_t sequence = next == 0 ? session->latest_target : session->latest_sequence;
    buf_put_text(text, "],\"cursor\":");
    hub_cursor(session->hub, session_covers(session, session->sequence, sequence), cursor);
    put_name(text, slice_text(cursor));
    buf_put_u8(text, '}');
    if ((put > 0 || first) && session_send(session, text) == ERR_BUSY) {
        session->blocked = true;
        return false;
    }
    session->latest_next = next;
    session->latest_sequence = sequence;
    return next > 0;
}

void latest_start(struct session *session, bool wanted, uint64_t sequence) {
    session->latest_wanted = wanted;
    session->latest_sequence = sequence;
    session->latest_next = 0;
    session->latest_ms = 0;
}

void latest_send(struct session *session, int64_t now_ms) {
    struct changes changes = {.series = malloc(HUB_ROWS_MAX * sizeof *changes.series)};
    struct buf text;
    if (changes.series == NULL) return; /* the tick comes again */
    buf_init(&text, PIECE_BYTES_MAX);
    find_changes(session, &changes);
    while (send_piece(session, &changes, &text)) continue;
    session->latest_ms = now_ms;
    buf_deinit(&text);
    free(changes.series);
}
