/* A data folder with topic `prices`, its candle task and the API over it, for the tests: everything but the engine. */
#ifndef API_API_FIXTURE_H
#define API_API_FIXTURE_H

#include "api/api.h"
#include "candle/desk.h"

enum { FIXTURE_PARTITIONS_MAX = 4 };

struct fixture {
    char folder[64];
    uint32_t partitions;
    int64_t checkpoint_ms;  /* 0: its default */
    uint64_t reserve_bytes; /* free disk space that the log keeps back; 0: its default */
    struct log *log;
    struct store *store;
    struct shelf *shelf;
    struct series_table *series;
    struct latest_table *latest;
    struct candle_desk *desk;
    struct task_group *tasks;
    struct log_partition *prices[FIXTURE_PARTITIONS_MAX], *invalid;
    struct api *api;
    struct server *server;
    int port;
    uint32_t api_base_ms; /* what the API takes for the base of the candles, which is 60000; 0: that */
    int64_t now_ms;       /* what the API takes for the time; 0: the wall clock */
    /* the last answer */
    unsigned status;
    struct buf body;
    char type[64];
};

/* `folder` empty: a new one. Threads run; with a server too where asked. */
void fixture_open(struct fixture *fixture, uint32_t partitions, bool with_server);
void fixture_close(struct fixture *fixture); /* keeps the folder */
void fixture_remove(struct fixture *fixture);

unsigned fixture_get(struct fixture *fixture, const char *target);
unsigned fixture_post(struct fixture *fixture, const char *target, const char *body);
/* The answer to the last request, as text. */
const char *fixture_text(struct fixture *fixture);
void fixture_expect(struct fixture *fixture, unsigned status, const char *part);
/* A price event as JSON, in a static buffer. */
const char *price_json(const char *base, const char *price, int64_t time_ms);

#endif
