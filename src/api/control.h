/* What commands ask of a running wick through the socket in its data folder, and nobody else can: the socket is its owner's
 * alone (mode 0600), so these routes may open files by path and write any topic. They are no part of the HTTP contract, and
 * over TCP they are not there.
 *
 *   POST /control/import         {"path","name","as","venue","series","columns","time_unit","interval","version","copy"} -> {"id"}
 *   GET  /control/import?id=N    {"state":"waiting|running|done|failed", progress, and result or error}. Who asks no more
 *                                for CONTROL_ABANDONED_MS has gone: the import is given up
 *   POST /control/cancel?id=N    {}
 *   POST /control/create?topic&partitions&compacted, /control/delete?topic    {}
 *   POST /control/append?topic&partition    a record batch -> {"offset"}, once it is on disk */
#ifndef API_CONTROL_H
#define API_CONTROL_H

#include "venue/import_row.h"
#include "venue/venue.h"

enum { CONTROL_ABANDONED_MS = 15000 };

/* Strings live during the call. */
struct control_import {
    const char *path; /* to open */
    const char *name; /* as the user wrote it: for messages and the register */
    uint64_t version; /* of the content, as far as the file's folder knows */
    struct import_options options;
    bool copy;
};

struct control_progress {
    enum control_state { CONTROL_WAITING, CONTROL_RUNNING, CONTROL_DONE, CONTROL_FAILED } state;
    struct input_progress progress;
    struct import_result result; /* CONTROL_DONE */
    enum err err;                /* CONTROL_FAILED */
    struct diag diag;
};

/* An object with the file, its format, the seven terms and the range; of what was copied, what was read and written instead. */
void control_put_result(struct buf *out, const struct import_result *result);

/* Any thread; none blocks for long. */
struct control_ops {
    /* ERR_BUSY: too many wait already. */
    enum err (*import_start)(void *context, const struct control_import *import, struct diag *diag, uint64_t *ret_id);
    /* A finished import is forgotten once it was told. ERR_NOT_FOUND. */
    enum err (*import_look)(void *context, uint64_t id, struct control_progress *ret_progress);
    void (*import_cancel)(void *context, uint64_t id);
    /* A venue's topic was made: it gets its task soon. */
    void (*venues_changed)(void *context);
};

#endif
