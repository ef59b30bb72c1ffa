#include "sys/phase.h"

#ifdef WICK_PLANTS
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE_BYTES = 4096 };
_Static_assert(PHASE_COUNT * sizeof(uint32_t) <= PAGE_BYTES, "the counters fit the page");

static uint32_t unwatched[PHASE_COUNT];
static uint32_t *counters = unwatched;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int kill_phase = -1;
static uint32_t kill_countdown;
static int kill_at_end;

/* The file must be there already: a test build that runs by itself shares nothing. */
static void open_page(void) {
    const char *kill_text = getenv("WICK_KILL");
    if (kill_text != NULL) {
        char *end;
        kill_phase = (int)strtol(kill_text, &end, 10);
        if (*end == ',') kill_countdown = (uint32_t)strtoul(end + 1, &end, 10);
        if (*end == ',') kill_at_end = (int)strtol(end + 1, &end, 10);
        if (*end != '\0') abort();
    }
    const char *path = getenv("WICK_PHASES");
    int file = path != NULL ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *page = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (page != MAP_FAILED) counters = page;
}

/* SIGKILL from inside, so that it falls where a poller outside is too slow to aim. */
static void kill_here(enum phase phase, int end) {
    if ((int)phase != kill_phase || end != kill_at_end) return;
    if (__atomic_sub_fetch(&kill_countdown, 1, __ATOMIC_SEQ_CST) == 0) kill(getpid(), SIGKILL);
}

void phase_begin(enum phase phase) {
    pthread_once(&once, open_page);
    __atomic_fetch_add(&counters[phase], 1, __ATOMIC_SEQ_CST);
    kill_here(phase, 0);
}

void phase_end(enum phase phase) {
    kill_here(phase, 1);
    __atomic_fetch_sub(&counters[phase], 1, __ATOMIC_SEQ_CST);
}

uint32_t phase_seal_rest(void) {
    const char *text = getenv("WICK_SEAL_REST");
    return text != NULL ? (uint32_t)strtoul(text, NULL, 10) : 0;
}
#else
typedef int phase_not_built;
#endif
