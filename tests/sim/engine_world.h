/* The whole engine on a simulated machine: what its clients send, and what must be found of it after any crash. For
 * tests/sim/engine_sim and tests/sim/engine_crash.
 *
 * Two topics with a candle task each: prices, and trades with dense ids. What is right is a fold that never crashed nor
 * stored anything, of as many records as the task has folded. */
#ifndef TESTS_SIM_ENGINE_WORLD_H
#define TESTS_SIM_ENGINE_WORLD_H

#include "candle/desk.h"
#include "engine/engine.h"
#include "engine/generate.h"
#include "sys/sim.h"

enum world_stream { STREAM_PRICES, STREAM_TRADES, STREAMS };
enum { SCRIPT_EVENTS_MAX = 160, SCRIPT_SERIES = 3 };

struct sent {
    char text[256];
    char key[32];
    int64_t append_ms;
    bool acknowledged;
    bool in_flight;
};

/* Many machines live and die in one process: large tables come from the kernel, zeroed where they are touched, which is nearly
 * nowhere. */
void world_tune_memory(void);

/* What is sent to each topic, in this order, one event a record. */
struct script {
    struct sent events[STREAMS][SCRIPT_EVENTS_MAX];
    uint32_t count[STREAMS];
    struct reference *references[STREAMS][SCRIPT_EVENTS_MAX + 1]; /* made when asked for */
};

void script_add_price(struct script *script, uint32_t series, int64_t time_ms, uint32_t number, int64_t append_ms);
void script_add_trade(struct script *script, uint32_t series, int64_t id, int64_t time_ms, int64_t append_ms);
void script_add_text(struct script *script, enum world_stream stream, const char *text, int64_t append_ms);
void script_add_again(struct script *script, enum world_stream stream, uint32_t index, int64_t append_ms);
void script_deinit(struct script *script);

/* One life of the machine. Disk and rows outlive it. */
struct machine {
    struct sim *sim;
    struct store *rows;
    struct log *log;
    struct store *store;
    struct series_table *series;
    struct latest_table *latest;
    struct shelf *shelf;
    struct task_group *tasks;
    struct task *task[STREAMS];
    struct processor *processor[STREAMS];
    struct log_partition *input[STREAMS], *late[STREAMS], *invalid[STREAMS];
};

/* Recovers; on failure (a crash in the middle of it is one) machine_drop. */
enum err machine_open(struct machine *machine, struct diag *diag) MUST_USE;
/* The process is gone: its memory is given back, and the disk and the rows stay. */
void machine_drop(struct machine *machine);
/* The blocks that nobody can reach any more are given back, however few. */
enum err machine_compact(struct machine *machine, struct diag *diag) MUST_USE;

/* What is wrong, if anything is. */
struct verdict {
    bool wrong;
    char what[1024];
};

/* What is folded now is what a fold of the records below each task's offset gives: candles of three intervals, and ledger. */
void machine_compare(struct machine *machine, struct script *script, struct verdict *verdict);
/* After catching up: the topics hold what was sent, in order, and all that was acknowledged; candles and ledger are right; and,
 * after a checkpoint, every late and every invalid event is in its topic exactly once. */
void machine_judge(struct machine *machine, struct script *script, struct verdict *verdict);
/* Everything that was read of the candles, as one number. */
uint64_t machine_candles_hash(struct machine *machine);

#endif
