#include "base/err.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    const char *message;
    enum err_class class;
} table[ERR_COUNT] = {
#define X(code, name, class, message) [code] = {name, message, ERR_CLASS_##class},
    ERR_TABLE(X)
#undef X
};

const char *err_name(enum err err) {
    assert(err < ERR_COUNT);
    return table[err].name;
}

const char *err_message(enum err err) {
    assert(err < ERR_COUNT);
    return table[err].message;
}

enum err_class err_class(enum err err) {
    assert(err < ERR_COUNT);
    return table[err].class;
}

enum err diag_set(struct diag *diag, enum err err, const char *format, ...) {
    if (diag == NULL) return err;
    diag->err = err;
    diag->where[0] = '\0';
    diag->hint[0] = '\0';
    va_list list;
    va_start(list, format);
    vsnprintf(diag->what, sizeof diag->what, format, list);
    va_end(list);
    return err;
}

void diag_where(struct diag *diag, const char *format, ...) {
    if (diag == NULL || diag->where[0] != '\0') return;
    va_list list;
    va_start(list, format);
    vsnprintf(diag->where, sizeof diag->where, format, list);
    va_end(list);
}

void diag_hint(struct diag *diag, const char *format, ...) {
    if (diag == NULL) return;
    va_list list;
    va_start(list, format);
    vsnprintf(diag->hint, sizeof diag->hint, format, list);
    va_end(list);
}

/* What did not fit is seen to be missing: "..." behind a whole word, or at least a whole character. */
static void cut_short(char *text, uint32_t text_size) {
    static const char dots[] = "...";
    if (text_size < 2 * sizeof dots) return;
    uint32_t end = text_size - (uint32_t)sizeof dots;
    while (end > text_size / 2 && text[end] != ' ') end--;
    if (text[end] != ' ')
        for (end = text_size - (uint32_t)sizeof dots; end > 0 && ((unsigned char)text[end] & 0xc0) == 0x80;) end--;
    memcpy(text + end, dots, sizeof dots);
}

void diag_print(const struct diag *diag, char *text, uint32_t text_size) {
    const char *what = diag->what[0] != '\0' ? diag->what : err_message(diag->err);
    const int size = snprintf(text, text_size, "%s%s%s%s%s%s", diag->where, diag->where[0] ? ": " : "", what,
                              diag->hint[0] ? " (" : "", diag->hint, diag->hint[0] ? ")" : "");
    if (size >= 0 && (uint32_t)size >= text_size) cut_short(text, text_size);
}
