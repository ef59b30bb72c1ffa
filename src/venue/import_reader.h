/* The reader of import files, private to this folder: what is common to the formats, and what each does with a line. */
#ifndef VENUE_IMPORT_READER_H
#define VENUE_IMPORT_READER_H

#include "venue/binance/binance.h"
#include "venue/huobi/huobi.h"
#include "venue/price_event.h"

enum { IMPORT_BATCH_MAX = 8192, IMPORT_ROW_MAX = 64 * 1024, IMPORT_FIELDS_MAX = 64 };

enum line_kind {
    LINE_EVENT,   /* *ret_event is filled */
    LINE_ITEM,    /* *ret_item: its kind and what belongs to it */
    LINE_NOTHING, /* a header, an empty line */
};

/* What is done with lines of a format. */
struct import_ops {
    /* Takes lines at *at while they are plain ones; at most `max`; starts[i] from the first *at. NULL: there is none. */
    uint32_t (*batch)(struct import_reader *reader, const uint8_t **at, const uint8_t *end, struct event *events,
                      uint32_t *starts, uint32_t max);
    /* Judges one line, without its newline. An INPUT error makes it an IMPORT_REJECT. May narrow *source. */
    enum err (*line)(struct import_reader *reader, struct slice *source, struct diag *diag, struct event *ret_event,
                     struct import_item *ret_item, enum line_kind *ret_kind);
};

/* The meaning of a column of `--columns`. */
enum csv_column {
    COLUMN_NONE,
    COLUMN_TIME,
    COLUMN_PRICE,
    COLUMN_QUANTITY,
    COLUMN_ID,
    COLUMN_FIRST_ID,
    COLUMN_LAST_ID,
    COLUMN_SIDE,
    COLUMN_MAKER,
    COLUMN_SYMBOL,
    COLUMN_COUNT
};

struct import_reader {
    struct input *input;
    struct market market;
    enum import_format format;
    const struct import_ops *ops;
    bool venue_given; /* by option: a capture's URL does not change it */
    bool foreign;     /* a capture's last URL is of no venue that we know: nor are the messages from there on */
    char time_unit;
    uint8_t time_units;  /* those that were met: 1 s, 2 ms, 4 us, 8 ns */
    int64_t interval_ms; /* that klines must have; 0: any */
    uint32_t series;     /* of CSV files; SERIES_NONE: told by a column */
    struct price_decoder *prices;
    struct binance_decoder *binance;
    struct huobi_decoder *huobi;

    struct slice lines; /* what input_lines gave */
    const uint8_t *at;  /* not yet decoded */
    uint64_t line;      /* the number of the line at `at` */
    bool first_row;     /* no data was seen yet: a row that is none may be the header */

    /* The last batch, for import_source. */
    uint64_t batch_line;
    uint32_t batch_count;
    uint32_t starts[IMPORT_BATCH_MAX];      /* in `lines` */
    uint32_t batch_lines[IMPORT_BATCH_MAX]; /* from batch_line */

    /* Frames: trades decoded and not yet handed out. */
    struct event trades[HUOBI_TRADES_MAX];
    uint32_t trade_count, trade_next;

    struct import_push push;
    uint8_t column_kinds[IMPORT_FIELDS_MAX];
    uint32_t column_count;
    uint8_t row[IMPORT_ROW_MAX]; /* a line while its quotes are taken off */
};

extern const struct import_ops import_capture_ops, import_stream_ops, import_price_ops;
extern const struct import_ops import_aggtrades_ops, import_trades_ops, import_klines_ops, import_csv_ops;

/* What the content looks like; IMPORT_GUESS where it is like nothing. */
enum import_format import_guess(struct slice head);
/* A line of a capture that names the connection which the lines from there on came from. ERR_USAGE where it is of no venue that
 * we know and none was named: they are refused then. */
bool import_is_url(struct slice line);
enum err import_take_url(struct import_reader *reader, struct slice line, struct diag *diag) MUST_USE;
/* "time,price,..": fills the reader's columns. ERR_USAGE. */
enum err import_csv_columns(struct import_reader *reader, const char *columns, struct diag *diag) MUST_USE;
/* The series of a CSV file, by option or by the file's name. ERR_USAGE where neither tells. */
enum err import_csv_series(struct import_reader *reader, const char *path, const char *series,
                           struct diag *diag) MUST_USE;

#endif
