/* What the parts of the configuration share: the table of its settings. */
#ifndef ENGINE_CONFIG_WORK_H
#define ENGINE_CONFIG_WORK_H

#include "engine/config.h"

enum config_kind { CONFIG_TEXT, CONFIG_FLAG, CONFIG_COUNT, CONFIG_BYTES, CONFIG_DURATION };

struct config_entry {
    const char *section; /* "" for the top level */
    const char *key;
    enum config_kind kind;
    bool forever; /* of a duration: may also be without end, INT64_MAX */
    size_t offset;
    size_t text_size;
    int64_t min, max;
    const char *choices; /* of a text, separated by spaces; NULL: any */
    const char *fallback;
    const char *help;
};

extern const struct config_entry config_table[];
extern const unsigned config_table_count;

/* NULL if there is none. */
const struct config_entry *config_find(const char *section, struct slice key);
enum err config_set_entry(const struct config_entry *e, struct config *config, struct slice text,
                          struct diag *diag) MUST_USE;
/* "64KiB..22MiB", "1s..100y, or forever", "none lz4 zstd"; nothing where any text will do. */
void config_put_range(const struct config_entry *e, struct buf *out);
/* A word that YAML has for no value. */
bool config_is_null(struct slice text);
/* As much of a value as a message shows. */
struct slice config_shown(struct slice text);

#endif
