/* What LMDB leaves of a file that it was stopped from beginning (a crash, a full disk, a short write) is no LMDB file, and
 * no later start would get past it. So it begins under another name. */
#include "store/lmdb/make.h"

#include <errno.h>
#include <limits.h>
#include <lmdb.h>
#include <stdio.h>
#include <unistd.h>

static int make_whole(const char *path, uint64_t map_bytes) {
    MDB_env *env;
    int rc = mdb_env_create(&env);
    if (rc != 0) return rc;
    rc = mdb_env_set_mapsize(env, map_bytes);
    if (rc == 0) rc = mdb_env_open(env, path, MDB_NOSUBDIR | MDB_NOLOCK, 0600);
    if (rc == 0) rc = mdb_env_sync(env, 1);
    mdb_env_close(env);
    return rc;
}

int lmdb_make(const struct sys *sys, const char *folder, uint64_t map_bytes) {
    char path[PATH_MAX], begun[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/data.mdb", folder) >= (int)sizeof path) return ENAMETOOLONG;
    if (snprintf(begun, sizeof begun, "%s/data.begun", folder) >= (int)sizeof begun) return ENAMETOOLONG;
    if (access(path, F_OK) == 0) return 0;
    if (unlink(begun) != 0 && errno != ENOENT) return errno;
    int rc = make_whole(begun, map_bytes);
    if (rc != 0) return rc;
    return sys->disk_ops->rename(sys->disk, begun, path) == ERR_OK ? 0 : EIO;
}
