/* Goes through what a crash can leave of a log: ahead of every disk operation of small workloads, all combinations of what
 * was not synced, or many where they are too many; then longer random workloads. Each state is recovered with the log's own
 * code and compared, byte by byte, with what was acknowledged.
 *
 *   sim-log-crash [STATES [FIRST SEED]]      by default 1,000,000 (base/testing.h); 0: only that seed, at random
 *
 * Prints "states N violations N" and fails if there is a violation. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/testing.h"
#include "log_world.h"

enum { ALL_UP_TO = 2000, SAMPLES = 40, SHOWN_MAX = 10, ENOUGH = 100 };

struct crash_test {
    struct world world;
    struct sim *crashed, *again;
    uint64_t wanted, states, violations, flips, compound;
    uint64_t seed, operation;
    const char *workload;
    uint64_t samples;
    uint64_t run_states; /* of this workload: a seed alone says what happens */
    uint64_t random;
    uint8_t outcomes[SIM_CHOICES_MAX];
    uint32_t choice_count;
};

static uint64_t pick(struct crash_test *test, uint64_t below) {
    test->random = test->random * 6364136223846793005u + 1442695040888963407u;
    return (test->random >> 33) % below;
}

static void report(struct crash_test *test, const char *how) {
    if (++test->violations >= ENOUGH) test->wanted = test->states; /* That tells it all. */
    if (test->violations > SHOWN_MAX) return;
    printf("violation: workload %s seed %llu operation %llu, %s: %s\n", test->workload, (unsigned long long)test->seed,
           (unsigned long long)test->operation, how, test->world.problem);
}

/* --- a crash while recovering from a crash --- */

struct second_crash {
    struct crash_test *test;
    uint64_t at;
    bool done;
};

static void crash_again(void *context, enum sim_operation operation) {
    (void)operation;
    struct second_crash *second = context;
    struct crash_test *test = second->test;
    if (second->done || second->at-- > 0) return;
    second->done = true;
    uint8_t outcomes[SIM_CHOICES_MAX], choices[SIM_CHOICES_MAX] = {0};
    uint32_t count = sim_choices(test->crashed, outcomes);
    for (uint32_t i = 0; i < count; i++) choices[i] = (uint8_t)pick(test, outcomes[i]);
    sim_crash(test->crashed, choices, pick(test, UINT32_MAX), test->again);
}

/* Recovers, with a second crash at some operation of the recovery, and checks what is left then. */
static void check_compound(struct crash_test *test) {
    struct second_crash second = {.test = test, .at = pick(test, 12)};
    sim_watch(test->crashed, crash_again, &second);
    bool fine = world_check(&test->world, test->crashed, false, false);
    sim_watch(test->crashed, NULL, NULL);
    test->states++;
    if (!fine) report(test, "after a crash");
    if (!second.done) return;
    test->compound++;
    test->states++;
    if (!world_check(&test->world, test->again, true, false)) report(test, "after a crash of the recovery");
}

/* --- rot --- */

/* A byte of some segment flips while the machine is down. */
static void check_flip(struct crash_test *test) {
    struct world *world = &test->world;
    uint8_t choices[SIM_CHOICES_MAX] = {0};
    uint32_t topic = (uint32_t)pick(test, WORLD_TOPICS);
    int64_t acked = world->topics[topic].acked_end;
    if (world->topics[topic].state != WORLD_LIVE || acked == 0) return;
    const struct world_batch *batch = world->topics[topic].batches[pick(test, world->topics[topic].batch_count)];
    if (!batch->acked) return;
    sim_crash(world->sim, choices, 1, test->crashed);
    char path[128];
    uint64_t size = 0;
    for (int64_t base = batch->base_offset; base >= 0 && size == 0; base--) {
        snprintf(path, sizeof path, "data/log/%s-0/%020lld.log", world->topics[topic].name, (long long)base);
        size = sim_size(test->crashed, path);
    }
    if (size == 0) return;
    sim_flip(test->crashed, path, pick(test, size), (uint8_t)(1 << pick(test, 8)));
    test->flips++;
    test->states++;
    if (!world_check(world, test->crashed, false, true)) report(test, "with a flipped bit");
}

/* --- the states of one moment --- */

static void check_state(struct crash_test *test, const uint8_t *choices) {
    sim_crash(test->world.sim, choices, pick(test, UINT32_MAX), test->crashed);
    if (++test->run_states % 32 == 0) {
        check_compound(test);
        return;
    }
    test->states++;
    if (!world_check(&test->world, test->crashed, test->run_states % 8 == 0, false)) report(test, "after a crash");
}

static void check_all(struct crash_test *test) {
    uint8_t choices[SIM_CHOICES_MAX] = {0};
    for (;;) {
        check_state(test, choices);
        uint32_t i = 0;
        while (i < test->choice_count && ++choices[i] == test->outcomes[i]) choices[i++] = 0;
        if (i == test->choice_count) return;
    }
}

/* All kept, all dropped, each choice alone against these, and as many random ones. */
static void check_some(struct crash_test *test) {
    uint8_t choices[SIM_CHOICES_MAX];
    for (uint8_t rest = SIM_KEPT; rest <= SIM_DROPPED; rest++) {
        memset(choices, rest, test->choice_count);
        check_state(test, choices);
        uint32_t step = 1 + test->choice_count / SAMPLES;
        for (uint32_t i = (uint32_t)pick(test, step); i < test->choice_count; i += step) {
            choices[i] = (uint8_t)pick(test, test->outcomes[i]);
            check_state(test, choices);
            choices[i] = rest;
        }
    }
    for (uint64_t n = 0; n < test->samples; n++) {
        uint64_t bias = pick(test, 4);
        for (uint32_t i = 0; i < test->choice_count; i++)
            choices[i] = pick(test, 4) < bias ? 0 : (uint8_t)pick(test, test->outcomes[i]);
        check_state(test, choices);
    }
}

static void before_operation(void *context, enum sim_operation operation) {
    (void)operation;
    struct crash_test *test = context;
    if (test->states >= test->wanted) return;
    world_publish(&test->world);
    test->operation = sim_count(test->world.sim);
    test->choice_count = sim_choices(test->world.sim, test->outcomes);
    uint64_t all = 1;
    for (uint32_t i = 0; i < test->choice_count && all <= ALL_UP_TO; i++) all *= test->outcomes[i];
    if (all <= test->samples * 4 || (all <= ALL_UP_TO && test->workload[0] != 'r'))
        check_all(test);
    else
        check_some(test);
    for (unsigned i = 0; i < 2; i++) check_flip(test);
}

/* --- workloads --- */

/* A letter is a step: c create, a append to the first topic, b to the second, s commit a group, i idle (a durable end is
 * recorded), o close and open, R retention, C compaction, G the same with a guard, d delete the first topic, D the second, p replace a file,
 * f the next preallocation finds the disk full, w a step of which a write finds it full, u append to the first topic with a
 * retry behind. */
static const char *const small[] = {
    "ccs",
    "cas",
    "casas",
    "caaas",
    "casis",
    "cabs",
    "caso",
    "casoas",
    "casdcas",
    "caaaasaaaas",
    "caaaasaaaasi",
    "cpasp",
    "caasaasR",
    "caaaasaaaasaaaasRs",
    "caaaasaaaasRo",
    "cbbbsbbbsbbbsbbbsC",
    "cbbbbsbbbbsbbbbsbbbbsCbsCo",
    "cbbbsbbbsbbbsbbbsGbs",
    "cbbbbsbbbbsbbbbsbbbbsGbsGo",
    "cbbbbsbbbbsbbbbsD",
    "casaasoaaasoi",
    "caaasaafasaaasafaasas",
    "casaawaas",
    "cuswuwaaus",
    "casuuwasuuws",
    "caaaasauwaiwbbwbs",
};

static void do_step(struct crash_test *test, char step) {
    struct world *world = &test->world;
    switch (step) {
        case 'c':
            sim_fail(world->sim, SIM_ALLOCATE, 0, ERR_OK);
            world_create(world, 0);
            world_create(world, 1);
            break;
        case 'a': world_submit(world, 0, false); break;
        case 'b': world_submit(world, 1, false); break;
        case 'u': world_submit(world, 0, true); break;
        case 'w': world_step_full(world); break;
        case 's':
        case 'i': world_step(world); break;
        case 'o':
            sim_fail(world->sim, SIM_ALLOCATE, 0, ERR_OK);
            world_close(world);
            world_open(world);
            break;
        case 'R': world_retain(world); break;
        case 'C': world_compact(world); break;
        case 'G': world_compact_guarded(world); break;
        case 'd': world_delete(world, 0); break;
        case 'D': world_delete(world, 1); break;
        case 'p': world_replace(world); break;
        case 'f': sim_fail(world->sim, SIM_ALLOCATE, 1, ERR_NO_SPACE); break;
        default: assert(!"a step");
    }
    for (uint32_t i = 0; i < WORLD_TOPICS; i++) world->topics[i].time_ms += 30000;
}

static void run(struct crash_test *test, const char *name, const char *steps) {
    struct sim *sim = sim_make(test->seed);
    test->crashed = sim_make(1);
    test->again = sim_make(2);
    test->workload = name;
    test->run_states = 0;
    test->random = test->seed;
    world_init(&test->world, sim, test->seed);
    sim_watch(sim, before_operation, test);
    world_open(&test->world);
    for (; *steps != '\0' && test->states < test->wanted; steps++) do_step(test, *steps);
    sim_fail(sim, SIM_ALLOCATE, 0, ERR_OK);
    world_close(&test->world);
    test->operation = 0;
    sim_watch(sim, NULL, NULL);
    if (!world_check(&test->world, sim, true, false)) report(test, "without a crash");
    world_deinit(&test->world);
    sim_drop(&test->crashed);
    sim_drop(&test->again);
    sim_drop(&sim);
}

static void run_random(struct crash_test *test) {
    static const char steps[] = "aaaaabbbbbuussssssiiwwoRCGpdDcff"; /* likelihoods */
    char script[128] = "c";
    uint64_t random = test->seed * 0x9e3779b97f4a7c15u;
    size_t length = 8 + (random >> 40) % 100;
    for (size_t i = 1; i < length; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        script[i] = steps[(random >> 33) % (sizeof steps - 1)];
        if (script[i] == 'd' || script[i] == 'D') script[i] = (random >> 20) % 4 ? 's' : script[i];
    }
    run(test, "random", script);
}

int main(int argc, char **argv) {
    struct crash_test *test = calloc(1, sizeof *test);
    assert(test != NULL);
    test->wanted = argc > 1 ? strtoull(argv[1], NULL, 10) : testing_seeds(1000000);
    test->seed = argc > 2 ? strtoull(argv[2], NULL, 10) : testing_first_seed();
    test->samples = SAMPLES;
    if (test->wanted == 0) {
        test->wanted = UINT64_MAX;
        test->samples = SAMPLES / 4;
        run_random(test);
        test->wanted = 0;
    }
    int64_t began = sys_monotonic_ns(sys_real());
    for (uint32_t round = 0; round < 2; round++)
        for (size_t i = 0; i < sizeof small / sizeof *small && test->states < test->wanted; i++, test->seed++)
            run(test, small[i], small[i]);
    test->samples = SAMPLES / 4;
    for (; test->states < test->wanted; test->seed++) run_random(test);
    double seconds = (double)(sys_monotonic_ns(sys_real()) - began) / 1e9;
    printf("%llu crashes of recoveries, %llu flipped bits, %.1f s, %.0f states/s\n", (unsigned long long)test->compound,
           (unsigned long long)test->flips, seconds, (double)test->states / seconds);
    printf("states %llu violations %llu\n", (unsigned long long)test->states, (unsigned long long)test->violations);
    bool failed = test->violations > 0;
    free(test);
    return failed;
}
