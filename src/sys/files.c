#include <stdio.h>
#include <stdlib.h>

#include "base/plant.h"
#include "sys/sys.h"

enum { PATH_MAX_BYTES = 4096 };

/* Cuts `path` to its parent: "a/b" to "a", "/a" to "/", "a" to ".". False where there is none. */
static bool path_parent(char *path) {
    size_t size = strlen(path);
    while (size > 1 && path[size - 1] == '/') size--;
    if (size == 0 || (size == 1 && (path[0] == '/' || path[0] == '.'))) return false;
    while (size > 0 && path[size - 1] != '/') size--;
    while (size > 1 && path[size - 1] == '/') size--;
    if (size == 0) path[size++] = '.';
    path[size] = '\0';
    return true;
}

static enum err path_copy(const char *path, char copy[static PATH_MAX_BYTES], struct diag *diag) {
    int n = snprintf(copy, PATH_MAX_BYTES, "%s", path);
    return n > 0 && n < PATH_MAX_BYTES ? ERR_OK : diag_set(diag, ERR_USAGE, "empty or over-long path");
}

static enum err sync_parent(const struct sys *sys, const char *path, struct diag *diag) {
    char parent[PATH_MAX_BYTES];
    enum err err = path_copy(path, parent, diag);
    if (err) return err;
    if (PLANTED(PLANT_NO_FOLDER_SYNC) || !path_parent(parent)) return ERR_OK;
    err = sys->disk_ops->sync_folder(sys->disk, parent);
    if (err) {
        diag_set(diag, err, "cannot sync the folder");
        diag_where(diag, "%s", parent);
    }
    return err;
}

/* Every level is synced into its parent, also those that were there: a killed process may have made them without the
 * sync. Parents above us that we may not open are somebody else's. */
enum err sys_make_folders(const struct sys *sys, const char *path, struct diag *diag) {
    char level[PATH_MAX_BYTES];
    enum err err = path_copy(path, level, diag);
    if (err) return err;
    for (size_t i = 1; level[i - 1] != '\0'; i++) {
        if ((level[i] != '/' && level[i] != '\0') || level[i - 1] == '/') continue;
        char kept = level[i];
        level[i] = '\0';
        err = sys->disk_ops->make_folder(sys->disk, level);
        if (err) {
            diag_set(diag, err, "cannot make the folder: %s",
                     err == ERR_EXISTS ? "a file has its name" : err_message(err));
            diag_where(diag, "%s", level);
            return err;
        }
        err = sync_parent(sys, level, diag);
        if (err && err != ERR_DENIED) return err;
        level[i] = kept;
    }
    return ERR_OK;
}

static enum err read_open_file(const struct sys *sys, struct sys_file *file, size_t max_size, uint8_t **ret_data,
                               size_t *ret_size) {
    uint64_t size;
    enum err err = sys->disk_ops->size(file, &size);
    if (err) return err;
    if (size > max_size) return ERR_TOO_LARGE;
    uint8_t *data = malloc((size_t)size + 1);
    if (data == NULL) return ERR_NO_MEMORY;
    size_t got = 0;
    err = sys->disk_ops->read(file, 0, data, (size_t)size, &got);
    if (err) {
        free(data);
        return err;
    }
    data[got] = '\0';
    *ret_data = data;
    *ret_size = got;
    return ERR_OK;
}

enum err sys_read_file(const struct sys *sys, const char *path, size_t max_size, struct diag *diag, uint8_t **ret_data,
                       size_t *ret_size) {
    struct sys_file *file;
    enum err err = sys->disk_ops->open(sys->disk, path, SYS_READ, diag, &file);
    if (err) return err;
    err = read_open_file(sys, file, max_size, ret_data, ret_size);
    sys->disk_ops->close(sys->disk, &file);
    if (err) {
        diag_set(diag, err, "cannot read the file: %s", err_message(err));
        diag_where(diag, "%s", path);
    }
    return err;
}

static enum err write_synced(const struct sys *sys, const char *path, struct slice content, struct diag *diag) {
    struct sys_file *file;
    enum err err = sys->disk_ops->open(sys->disk, path, SYS_WRITE | SYS_CREATE, diag, &file);
    if (err) return err;
    err = sys->disk_ops->truncate(file, 0);
    if (!err && content.size > 0) err = sys->disk_ops->write(file, 0, &content, 1);
    if (!err) err = sys->disk_ops->sync(file);
    sys->disk_ops->close(sys->disk, &file);
    return err;
}

enum err sys_replace_file(const struct sys *sys, const char *path, struct slice content, struct diag *diag) {
    char scratch[PATH_MAX_BYTES];
    int n = snprintf(scratch, sizeof scratch, "%s.tmp", path);
    if (n < 0 || n >= (int)sizeof scratch) return diag_set(diag, ERR_USAGE, "over-long path");
    enum err err = write_synced(sys, scratch, content, diag);
    if (!err) err = sys->disk_ops->rename(sys->disk, scratch, path);
    if (!err) err = sync_parent(sys, path, diag);
    if (err) {
        diag_set(diag, err, "cannot replace the file: %s", err_message(err));
        diag_where(diag, "%s", path);
    }
    return err;
}
