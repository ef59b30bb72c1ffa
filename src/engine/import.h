/* Imports: files into candles by reference, or, with `copy`, into the venue's topic.
 *
 * By reference: a bounded task of its own reads the file (once, if its days come in order), seals every period it touched, and one store commit shows the
 * candles and the register's row (venue/import_row.h) together. Killed earlier, nothing shows, and the next run starts over.
 * The same content again changes nothing.
 *
 * Beside live tasks the import folds on its own thread, with a book and a shelf of its own; the tasks go on. Only the commit
 * holds them, for as long as it takes to write: it makes sure that no task has changed a series that the file changed too
 * since the import began to read the store, and has the tasks read their books anew. Where one has, the file is read again
 * with the tasks held; what arrives meanwhile is acknowledged, up to what a task may be behind, and folded after it. */
#ifndef ENGINE_IMPORT_H
#define ENGINE_IMPORT_H

#include <stdatomic.h>

#include "engine/engine.h"
#include "venue/import_row.h"
#include "venue/venue.h"

struct import_request {
    const char *path; /* "-": standard input; shorter than IMPORT_PATH_MAX, as the name */
    const char *name; /* for the register and people; NULL: path */
    uint64_t
        version; /* of the file's content, as far as its folder knows (time of change): what refused records of this
                         name, and --copy, are told apart by */
    struct import_options options;
    bool copy;
    /* Called now and then with how far it is; what is not ERR_OK ends the import. May be NULL. */
    enum err (*progress)(void *context, const struct input_progress *progress);
    void *context;
    const atomic_bool *cancelled; /* looked at all the time; may be NULL */
    struct import_turns *turns;   /* of import_run_many; NULL: alone */
    uint64_t turn;
};

enum err import_run(struct engine *engine, const struct import_request *request, struct diag *diag,
                    struct import_result *ret_result) MUST_USE;

/* Several files of this machine, without live tasks. Files of klines are read two at a time, of different series; what they
 * come to is what it would be one after the other, in their order. Its functions are called on the caller's thread. */
struct import_many {
    uint32_t count;
    /* What to do with a file, but for progress and turns; an error is told to `done`. */
    enum err (*open)(void *context, uint32_t file, struct import_request *ret_request, struct diag *diag);
    /* Not ERR_OK: the rest is cancelled. May be NULL. */
    enum err (*progress)(void *context, uint32_t file, const struct input_progress *progress);
    /* Once for each file that was opened or tried, in their order. False: no further files. `result` is NULL on errors of
     * `open`. */
    bool (*done)(void *context, uint32_t file, enum err err, struct diag *diag, const struct import_result *result);
    void *context;
};
enum err import_run_many(struct engine *engine, const struct import_many *files, struct diag *diag) MUST_USE;

#endif
