/* Imports: files into candles by reference, or, with `copy`, into the venue's topic.
 *
 * By reference: a bounded task of its own reads the file once, seals every period it touched, and one store commit shows the
 * candles and the register's row (flow/imports.h) together. Killed earlier, nothing shows, and the next run starts over.
 * The same content again changes nothing. */
#ifndef ENGINE_IMPORT_H
#define ENGINE_IMPORT_H

#include "engine/engine.h"
#include "flow/imports.h"
#include "venue/venue.h"

struct import_request {
    const char *path;
    struct import_options options;
    bool copy;
    /* Called now and then with how far it is; may be NULL. */
    void (*progress)(void *context, const struct input_progress *progress);
    void *context;
};

struct import_result {
    struct import_row row;
    bool repeated;    /* this content was imported before: nothing was done */
    uint64_t skipped; /* messages that are no market events */
    const char *format;
};

enum err import_run(struct engine *engine, const struct import_request *request, struct diag *diag,
                    struct import_result *ret_result) MUST_USE;

#endif
