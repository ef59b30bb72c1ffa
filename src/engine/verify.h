/* Our candles against the venue's own klines: every kline push of a recorded capture, judged.
 *
 *   full-exact     every trade that the push names is in the capture, the fold of them equals the push to the digit, and they
 *                  are the candle's: none of it came before the push's first id, or after the last one of a closed candle,
 *                  and none of theirs belongs to another candle
 *   delta-exact    the capture begins within the candle, but the trades since the push before it explain the difference
 *   full-straddle  pushed in the middle of one taker order: an aggregated trade reaches beyond the push's last id, so that
 *                  prices and count are exact and the volumes at most the fold's
 *   empty-flat     no trade, and the push is flat with zero volumes, at the close before it where the capture has that
 *   uncovered      the capture does not hold the trades that would be needed; so, too, one that repeats the push before it
 *   unexplained    the trades that are there say something else; or the push contradicts itself, the one before it of its
 *                  candle, or the candle before it, in the order in which the venue said it: a candle that is not as long as
 *                  its interval or is closed before its end, has more trades than ids, begins with another trade than it did,
 *                  or says something else of the same trades */
#ifndef ENGINE_VERIFY_H
#define ENGINE_VERIFY_H

#include "engine/engine.h"
#include "venue/venue.h"

enum verify_check {
    VERIFY_FULL_EXACT,
    VERIFY_DELTA_EXACT,
    VERIFY_FULL_STRADDLE,
    VERIFY_EMPTY_FLAT,
    VERIFY_UNCOVERED,
    VERIFY_UNEXPLAINED,
    VERIFY_COUNT
};
extern const char *const verify_check_name[VERIFY_COUNT];

struct verify_verdict {
    uint64_t line;
    const struct import_push *push;
    enum verify_check check;
    char why[200]; /* of an unexplained one: which field, ours and theirs */
};

/* Lines that are no message, or one that breaks a rule: pushes may be among them. */
struct verify_unreadable {
    uint64_t count, line; /* the first one's */
    char reason[160];
};

/* Verdicts in the order of the file. Memory grows with the capture's trades (132 bytes each). */
enum err verify_capture(const struct sys *sys, const char *path, const char *venue, struct diag *diag,
                        enum err (*visit)(void *context, const struct verify_verdict *verdict), void *context,
                        struct verify_unreadable *ret_unreadable) MUST_USE;

#endif
