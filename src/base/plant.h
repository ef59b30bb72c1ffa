/* Planted bugs: run-time switches of test builds (`meson -Dplants=true`), each of which must make a test fail
 * (`./check --plant NAME`). They show that the tests can see what they claim to see. In other builds PLANTED is false at
 * compile time and nothing is left of it. One at a time, named by the environment variable WICK_PLANT. */
#ifndef BASE_PLANT_H
#define BASE_PLANT_H

#include <stdbool.h>

/* X(code, name, what it does) */
#define PLANT_TABLE(X)                                                                                               \
    X(PLANT_NO_FDATASYNC, "no-fdatasync", "the log's sync does nothing")                                             \
    X(PLANT_ANSWER_BEFORE_SYNC, "answer-before-sync", "appends complete before the sync")                            \
    X(PLANT_FOLD_BEFORE_SYNC, "fold-before-sync", "the durable end moves before the sync")                           \
    X(PLANT_NO_CHECKSUM, "no-checksum", "a batch's CRC is not checked")                                              \
    X(PLANT_NO_FOLDER_SYNC, "no-folder-sync", "folders are not synced after create and rename")                      \
    X(PLANT_CUT_AT_ROT, "cut-at-rot", "recovery cuts at the first bad batch whatever follows")                       \
    X(PLANT_CHECKPOINT_BEFORE_DATA, "checkpoint-before-data", "a checkpoint commits before its outputs are on disk") \
    X(PLANT_DEDUP_OFF, "dedup-off", "trade ids seen before are folded again")                                        \
    X(PLANT_DOUBLE_APPLY, "double-apply", "a restarted task folds the batch before its checkpoint again")            \
    X(PLANT_CLOSE_BY_ARRIVAL, "close-by-arrival", "the close is the last trade to arrive")                           \
    X(PLANT_LEDGER_TERM, "ledger-term", "duplicates are not counted")                                                \
    X(PLANT_QUIET_WITHOUT_PROOF, "quiet-without-proof", "every minute without trades is called quiet")

enum plant {
    PLANT_NONE,
#define X(code, name, what) code,
    PLANT_TABLE(X)
#undef X
        PLANT_COUNT
};

#ifdef WICK_PLANTS
bool planted(enum plant plant); /* reads WICK_PLANT once; an unknown name aborts */
#define PLANTED(plant) planted(plant)
#else
#define PLANTED(plant) false
#endif

#endif
