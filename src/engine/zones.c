/* Time zones by name, read once from the system's zoneinfo. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/engine.h"

enum { ZONES_MAX = 1024, ZONE_FILE_MAX = 256 * 1024, ZONE_NAME_MAX = 64 };

struct zone_entry {
    char name[ZONE_NAME_MAX];
    struct zone *zone;
};

struct zones {
    const struct sys *sys;
    pthread_mutex_t lock;
    struct zone_entry entries[ZONES_MAX];
    uint32_t count;
};

enum err zones_open(const struct sys *sys, struct zones **ret_zones) {
    struct zones *zones = calloc(1, sizeof *zones);
    if (zones == NULL) return ERR_NO_MEMORY;
    zones->sys = sys;
    pthread_mutex_init(&zones->lock, NULL);
    *ret_zones = zones;
    return ERR_OK;
}

void zones_close(struct zones **zones) {
    struct zones *z = *zones;
    if (z == NULL) return;
    for (uint32_t i = 0; i < z->count; i++) zone_close(&z->entries[i].zone);
    pthread_mutex_destroy(&z->lock);
    free(z);
    *zones = NULL;
}

/* "Area/City": letters, digits, _ + - and / between parts, so that no name leaves the zoneinfo folder. */
static bool is_zone_name(struct slice name) {
    if (name.size == 0 || name.size >= ZONE_NAME_MAX) return false;
    for (size_t i = 0; i < name.size; i++) {
        uint8_t c = name.data[i];
        bool letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        bool inner = i > 0 && ((c >= '0' && c <= '9') || c == '_' || c == '+' || c == '-' || c == '/');
        if (!letter && !inner) return false;
    }
    return true;
}

static enum err load_zone(struct zones *zones, const char *name, struct diag *diag, struct zone **ret_zone) {
    enum err err = zone_fixed(slice_text(name), ret_zone);
    if (err == ERR_OK) return ERR_OK;
    if (!is_zone_name(slice_text(name))) {
        diag_set(diag, ERR_SYNTAX, "\"%s\" is no time zone", name);
        diag_hint(diag, "a name such as Europe/Berlin, or an offset such as +08:00");
        return ERR_SYNTAX;
    }
    char path[128];
    snprintf(path, sizeof path, "/usr/share/zoneinfo/%s", name);
    uint8_t *data = NULL;
    size_t size = 0;
    err = sys_read_file(zones->sys, path, ZONE_FILE_MAX, NULL, &data, &size);
    if (err != ERR_OK) {
        diag_set(diag, ERR_UNKNOWN, "time zone \"%s\" is not known", name);
        diag_hint(diag, "is tzdata installed? an offset such as +08:00 always works");
        return ERR_UNKNOWN;
    }
    err = zone_parse(name, slice_of(data, size), diag, ret_zone);
    free(data);
    return err;
}

enum err zones_find(void *context, struct slice name, struct diag *diag, const struct zone **ret_zone) {
    struct zones *zones = context;
    char text[ZONE_NAME_MAX];
    if (name.size >= sizeof text || name.size == 0 || memchr(name.data, 0, name.size) != NULL)
        return diag_set(diag, ERR_SYNTAX, "that is no time zone");
    memcpy(text, name.data, name.size);
    text[name.size] = '\0';
    pthread_mutex_lock(&zones->lock);
    enum err err = ERR_OK;
    uint32_t i = 0;
    while (i < zones->count && strcmp(zones->entries[i].name, text) != 0) i++;
    if (i == zones->count) {
        struct zone *zone = NULL;
        err = i == ZONES_MAX ? diag_set(diag, ERR_LIMIT, "too many time zones in use")
                             : load_zone(zones, text, diag, &zone);
        if (err == ERR_OK) {
            memcpy(zones->entries[i].name, text, sizeof text);
            zones->entries[i].zone = zone;
            zones->count++;
        }
    }
    if (err == ERR_OK) *ret_zone = zones->entries[i].zone;
    pthread_mutex_unlock(&zones->lock);
    return err;
}
