/* Which phase the program is in, for the test that kills it (tests/kill): in test builds (-Dplants=true) a page of memory
 * shared through the file that the environment variable WICK_PHASES names holds one counter a phase, above zero while
 * a thread is inside. The page outlives the process, so it says where the kill fell. In other builds nothing is left of it.
 *
 * WICK_KILL=PHASE,N,END kills the process with SIGKILL at the Nth time that the phase (a number as below) begins (END 0) or
 * has done its work and is about to end (END 1). WICK_SEAL_REST=FREEZES stands for book_options' seal_rest, so that the program
 * seals while it is watched. */
#ifndef SYS_PHASE_H
#define SYS_PHASE_H

/* In the order of the page's bytes: 4 bytes each, native order (tests/kill/kill_test.py reads them). */
enum phase { PHASE_APPEND, PHASE_SYNC, PHASE_ROLL, PHASE_CHECKPOINT, PHASE_SEAL, PHASE_RECOVERY, PHASE_COUNT };

#include <stdint.h>

#ifdef WICK_PLANTS
void phase_begin(enum phase phase);
void phase_end(enum phase phase);
uint32_t phase_seal_rest(void); /* 0: as always */
#else
static inline void phase_begin(enum phase phase) { (void)phase; }
static inline void phase_end(enum phase phase) { (void)phase; }
static inline uint32_t phase_seal_rest(void) { return 0; }
#endif

#endif
