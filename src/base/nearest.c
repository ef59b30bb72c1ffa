#include "base/nearest.h"

enum { NAME_MAX_BYTES = 32, DISTANCE_MAX = 2 };

/* How many letters must be put in, taken out, changed or swapped with the next one. */
static unsigned distance(struct slice a, struct slice b) {
    unsigned rows[3][NAME_MAX_BYTES + 1];
    if (a.size > NAME_MAX_BYTES || b.size > NAME_MAX_BYTES) return NAME_MAX_BYTES;
    for (unsigned j = 0; j <= b.size; j++) rows[0][j] = j;
    for (unsigned i = 1; i <= a.size; i++) {
        unsigned *now = rows[i % 3];
        const unsigned *before = rows[(i + 2) % 3], *earlier = rows[(i + 1) % 3];
        now[0] = i;
        for (unsigned j = 1; j <= b.size; j++) {
            unsigned least = before[j - 1] + (a.data[i - 1] != b.data[j - 1]);
            if (before[j] + 1 < least) least = before[j] + 1;
            if (now[j - 1] + 1 < least) least = now[j - 1] + 1;
            if (i > 1 && j > 1 && a.data[i - 1] == b.data[j - 2] && a.data[i - 2] == b.data[j - 1] &&
                earlier[j - 2] + 1 < least)
                least = earlier[j - 2] + 1;
            now[j] = least;
        }
    }
    return rows[a.size % 3][b.size];
}

struct nearest nearest_begin(struct slice given) {
    return (struct nearest){given, NULL, DISTANCE_MAX + 1};
}

void nearest_look(struct nearest *nearest, const char *name) {
    const struct slice given = nearest->given, known = slice_text(name);
    unsigned far = distance(given, known);
    if (given.size > 2 && given.size <= known.size && memcmp(given.data, known.data, given.size) == 0) far = 1;
    if (far >= nearest->distance || 2 * far > given.size) return;
    nearest->name = name;
    nearest->distance = far;
}
