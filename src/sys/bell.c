#include <errno.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "sys/sys.h"

enum { QUIET = 0, RUNG = 1, SLEEPING = 2 };

void sys_bell_ring(struct sys_bell *bell) {
    if (atomic_exchange_explicit(&bell->state, RUNG, memory_order_acq_rel) == SLEEPING)
        syscall(SYS_futex, &bell->state, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* Sleeps while the state is SLEEPING; an absolute deadline, so that spurious wakes do not extend it. False: time is up. */
static bool sleep_until(struct sys_bell *bell, const struct timespec *deadline) {
    long result =
        syscall(SYS_futex, &bell->state, FUTEX_WAIT_BITSET_PRIVATE, SLEEPING, deadline, NULL, FUTEX_BITSET_MATCH_ANY);
    return !(result < 0 && errno == ETIMEDOUT);
}

void sys_bell_wait(struct sys_bell *bell, int64_t timeout_ms) {
    struct timespec deadline;
    if (timeout_ms >= 0) {
        clock_gettime(CLOCK_MONOTONIC, &deadline);
        int64_t ns = deadline.tv_nsec + timeout_ms % 1000 * 1000000;
        deadline.tv_sec += timeout_ms / 1000 + ns / 1000000000;
        deadline.tv_nsec = ns % 1000000000;
    }
    for (;;) {
        uint32_t seen = RUNG;
        if (atomic_compare_exchange_strong_explicit(&bell->state, &seen, QUIET, memory_order_acq_rel,
                                                    memory_order_acquire))
            return;
        if (seen == QUIET && !atomic_compare_exchange_strong(&bell->state, &seen, SLEEPING) && seen == RUNG) continue;
        if (sleep_until(bell, timeout_ms >= 0 ? &deadline : NULL)) continue;
        atomic_exchange_explicit(&bell->state, QUIET, memory_order_acq_rel);
        return;
    }
}
