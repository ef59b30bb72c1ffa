/* The LMDB file of a new store, whole and durable before it has its name. */
#ifndef STORE_LMDB_MAKE_H
#define STORE_LMDB_MAKE_H

#include "sys/sys.h"

/* Makes FOLDER/data.mdb unless it is there; an LMDB code, or what errno says. */
int lmdb_make(const struct sys *sys, const char *folder, uint64_t map_bytes);

#endif
