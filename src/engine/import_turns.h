/* Files that are imported at the same time take turns in what they share: they begin in their order, one at a time, read
 * beside each other if they can, and commit in their order, one at a time. A file that does not let the next one begin has
 * everything for itself. Every function does nothing where `turns` is NULL. */
#ifndef ENGINE_IMPORT_TURNS_H
#define ENGINE_IMPORT_TURNS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct import_turns {
    pthread_mutex_t lock;
    pthread_cond_t moved;
    uint64_t begun, ended; /* how many files */
    uint32_t reading;      /* the series of the last file that began */
};

struct import_turn {
    uint64_t number; /* from 0, without gaps */
    bool locked;
};

void import_turns_init(struct import_turns *turns);
void import_turns_deinit(struct import_turns *turns);
void import_turn_begin(struct import_turns *turns, struct import_turn *turn);
/* Before the state of the series is read: the file before it may be of the same one. */
void import_turn_alone(struct import_turns *turns, struct import_turn *turn, uint32_t series);
/* The next one may begin. */
void import_turn_read(struct import_turns *turns, struct import_turn *turn);
void import_turn_commit(struct import_turns *turns, struct import_turn *turn);
/* Whatever came before; always. */
void import_turn_end(struct import_turns *turns, struct import_turn *turn);

#endif
