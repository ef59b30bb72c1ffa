/* What is looked at once a second: how fast things go, and for how long a checkpoint has not moved. */
#include "api/stream.h"

static uint64_t count_events(struct api *api) {
    uint64_t sum = 0;
    for (uint32_t i = 0; api->options.tasks != NULL && i < task_group_count(api->options.tasks); i++) {
        struct task_info info;
        task_group_info(api->options.tasks, i, &info);
        sum += info.ledger.read;
    }
    return sum;
}

/* A checkpoint ages from the moment it was first seen to lag behind what is folded. */
static void sample_checkpoints(struct hub *hub, int64_t now_ns) {
    struct task_group *tasks = hub->api->options.tasks;
    pthread_mutex_lock(&hub->lock);
    for (uint32_t i = 0; tasks != NULL && i < task_group_count(tasks) && i < HUB_TASKS_MAX; i++) {
        struct task_info info;
        struct hub_checkpoint *seen = &hub->checkpoints[i];
        task_group_info(tasks, i, &info);
        if (info.checkpoint_offset < info.offset && info.checkpoint_offset == seen->offset && seen->since_ns != 0)
            continue;
        *seen = (struct hub_checkpoint){info.checkpoint_offset, info.checkpoint_offset < info.offset ? now_ns : 0};
    }
    pthread_mutex_unlock(&hub->lock);
}

double hub_checkpoint_age(struct hub *hub, uint32_t task) {
    if (task >= HUB_TASKS_MAX) return 0;
    pthread_mutex_lock(&hub->lock);
    const int64_t since_ns = hub->checkpoints[task].since_ns;
    pthread_mutex_unlock(&hub->lock);
    return since_ns == 0 ? 0 : (double)(sys_monotonic_ns(hub->api->options.sys) - since_ns) / 1e9;
}

void hub_sample(struct hub *hub, int64_t now_ms) {
    enum { COUNT = sizeof hub->samples / sizeof *hub->samples };
    if (now_ms - hub->sampled_ms < 1000) return;
    hub->sampled_ms = now_ms;
    memmove(hub->samples + 1, hub->samples, (COUNT - 1) * sizeof *hub->samples);
    hub->samples[0].ns = sys_monotonic_ns(hub->api->options.sys);
    hub->samples[0].events = count_events(hub->api);
    hub->samples[0].candles = atomic_load(&hub->closed);
    sample_checkpoints(hub, hub->samples[0].ns);
    uint32_t last = 0;
    while (last + 1 < COUNT && hub->samples[last + 1].ns != 0) last++;
    const double seconds = (double)(hub->samples[0].ns - hub->samples[last].ns) / 1e9;
    if (seconds <= 0) return;
    pthread_mutex_lock(&hub->lock);
    hub->rates.events_per_second = (double)(hub->samples[0].events - hub->samples[last].events) / seconds;
    hub->rates.candles_per_second = (double)(hub->samples[0].candles - hub->samples[last].candles) / seconds;
    pthread_mutex_unlock(&hub->lock);
}

void hub_rates(struct hub *hub, struct hub_rates *ret_rates) {
    pthread_mutex_lock(&hub->lock);
    *ret_rates = hub->rates;
    pthread_mutex_unlock(&hub->lock);
    ret_rates->candles_closed = atomic_load(&hub->closed);
}
