/* Any bytes as wick.yaml. What is taken prints as a configuration that reads as the same one; what is refused names its line.
 * An input "-key=value" is a key set from the command line. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/utf8.h"
#include "engine/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum err set(struct config *config, const uint8_t *data, size_t size, struct diag *diag) {
    char text[1024];
    if (size >= sizeof text) return ERR_TOO_LARGE;
    memcpy(text, data, size);
    text[size] = '\0';
    char *equals = strchr(text, '=');
    if (equals == NULL) return ERR_SYNTAX;
    *equals = '\0';
    enum err err = config_set(config, text, equals + 1, diag);
    return err == ERR_OK ? config_check(config, diag) : err;
}

static void print(const struct config *config, struct buf *out) {
    buf_init(out, 4 << 20);
    config_print(config, out);
    assert(buf_err(out) == ERR_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct config config, again;
    struct diag diag = {0};
    struct buf first, second;
    config_defaults(&config);
    config_defaults(&again);
    if (size > 0 && data[0] == '-') {
        if (set(&config, data + 1, size - 1, &diag) != ERR_OK) return 0;
    } else if (config_parse("fuzz", slice_of(data, size), &diag, &config) != ERR_OK) {
        assert(strncmp(diag.where, "fuzz", 4) == 0 && diag.what[0] != '\0');
        return 0;
    }
    print(&config, &first);
    if (utf8_valid_bytes(buf_slice(&first)) < first.size) { /* a name of a file, set by itself: no YAML can hold it */
        buf_deinit(&first);
        return 0;
    }
    enum err err = config_parse("printed", buf_slice(&first), &diag, &again);
    if (err != ERR_OK) {
        fprintf(stderr, "%s: %s\n%.*s\n", diag.where, diag.what, (int)first.size, (const char *)first.data);
        abort();
    }
    print(&again, &second);
    assert(slice_equal(buf_slice(&first), buf_slice(&second)));
    buf_deinit(&first);
    buf_deinit(&second);
    return 0;
}
