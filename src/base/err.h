/* Errors: one style for the whole program.
 *
 * A function that can fail returns `enum err`; 0 is fine, and the result must be used. The class drives policy: INPUT
 * is counted, dead-lettered and passed over; RESOURCE pushes back to the source; IO is retried with backoff or ends the
 * process; CORRUPT stops the partition and says so; STATE is misuse. What happened, where, and what to do about it goes
 * into the caller's `struct diag`. A bug is not an error: it is an assert, and asserts stay on in release. */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stdbool.h>
#include <stdint.h>

#define MUST_USE __attribute__((warn_unused_result))

enum err_class {
    ERR_CLASS_NONE,
    ERR_CLASS_INPUT,
    ERR_CLASS_RESOURCE,
    ERR_CLASS_IO,
    ERR_CLASS_CORRUPT,
    ERR_CLASS_STATE
};

/* X(code, name, class, message). `name` is the stable word in APIs, records of `.invalid` topics and metrics. */
#define ERR_TABLE(X)                                                                       \
    X(ERR_OK, "ok", NONE, "no error")                                                      \
    X(ERR_SYNTAX, "syntax", INPUT, "malformed input")                                      \
    X(ERR_TYPE, "type", INPUT, "a value has the wrong type")                               \
    X(ERR_RANGE, "range", INPUT, "a value is out of range")                                \
    X(ERR_PRECISION, "precision", INPUT, "a number needs more than 38 digits")             \
    X(ERR_UTF8, "utf8", INPUT, "text is not valid UTF-8")                                  \
    X(ERR_DEPTH, "depth", INPUT, "nesting is too deep")                                    \
    X(ERR_TOO_LARGE, "too-large", INPUT, "input is larger than the limit")                 \
    X(ERR_DUPLICATE, "duplicate-key", INPUT, "a name occurs twice")                        \
    X(ERR_MISSING, "missing", INPUT, "a required value is missing")                        \
    X(ERR_UNKNOWN, "unknown", INPUT, "a name is not known")                                \
    X(ERR_FUTURE, "future", INPUT, "event time is more than 5 minutes ahead")              \
    X(ERR_CONFLICT, "conflict", INPUT, "two inputs contradict each other")                 \
    X(ERR_USAGE, "usage", INPUT, "wrong usage")                                            \
    X(ERR_NO_MEMORY, "no-memory", RESOURCE, "out of memory")                               \
    X(ERR_NO_SPACE, "no-space", RESOURCE, "the disk is full")                              \
    X(ERR_BUSY, "busy", RESOURCE, "overloaded, try again")                                 \
    X(ERR_LIMIT, "limit", RESOURCE, "a configured limit is reached")                       \
    X(ERR_IO, "io", IO, "input/output failed")                                             \
    X(ERR_SYNC, "sync", IO, "fdatasync failed, which is final for the process")            \
    X(ERR_TIMEOUT, "timeout", IO, "timed out")                                             \
    X(ERR_CLOSED, "closed", IO, "the other side has gone")                                 \
    X(ERR_DENIED, "denied", IO, "permission denied")                                       \
    X(ERR_CORRUPT, "corrupt", CORRUPT, "stored data is damaged")                           \
    X(ERR_FOREIGN, "foreign", CORRUPT, "stored data belongs to another folder or version") \
    X(ERR_STATE, "state", STATE, "not allowed in this state")                              \
    X(ERR_LOCKED, "locked", STATE, "another process holds the lock")                       \
    X(ERR_EXISTS, "exists", STATE, "exists already")                                       \
    X(ERR_NOT_FOUND, "not-found", STATE, "does not exist")                                 \
    X(ERR_END, "end", STATE, "no more")

enum err {
#define X(code, name, class, message) code,
    ERR_TABLE(X)
#undef X
        ERR_COUNT
};

const char *err_name(enum err err);
const char *err_message(enum err err);
enum err_class err_class(enum err err);

/* What a person needs to act: filled once, where the error was found. `where` is a file, line, offset or JSON path. */
struct diag {
    enum err err;
    char where[256];
    char what[512];
    char hint[256];
};

/* Sets `what` (and clears the rest) and returns `err`, so that it can stand in a return statement. `diag` may be NULL. */
enum err diag_set(struct diag *diag, enum err err, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Adds the place; keeps one that is already there (the innermost knows best). */
void diag_where(struct diag *diag, const char *format, ...) __attribute__((format(printf, 2, 3)));
void diag_hint(struct diag *diag, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* One line, "where: what (hint)", cut to fit, behind a word; falls back to the error's own message. */
void diag_print(const struct diag *diag, char *text, uint32_t text_size);

#endif
