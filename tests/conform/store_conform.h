/* What every store backend must do (store/store.h), as one suite. A backend's test calls store_conform() with a way to
 * open an empty store. */
#ifndef TESTS_CONFORM_STORE_CONFORM_H
#define TESTS_CONFORM_STORE_CONFORM_H

#include "store/store.h"

struct store_conform {
    const char *name;
    /* An empty store. */
    enum err (*open)(void *context, struct store **ret_store);
    /* The same store after a close; NULL where nothing outlives the handle. */
    enum err (*reopen)(void *context, struct store **ret_store);
    /* The process dies once `rows` more rows are written (store_memory_crash); NULL where only a simulated disk can do that. */
    void (*crash)(struct store *store, uint32_t rows);
    void *context;
    bool stamps;   /* older stamps lose */
    bool by_row;   /* its commits are atomic by row only */
    bool threaded; /* readers on other threads see whole commits */
};

/* Runs the suite; the number of failed tests. */
int store_conform(const struct store_conform *backend);

#endif
