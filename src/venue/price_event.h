/* The lines of a price-events file, many at a time; for import.c beside what venue.h declares. */
#ifndef VENUE_PRICE_EVENT_H
#define VENUE_PRICE_EVENT_H

#include "venue/venue.h"

/* Decodes lines from *at on while they have a remembered shape and known names, at most `max`; starts[i] is where line i
 * starts, counted from the first *at. Leaves *at at the first line that was not taken (or `end`), which price_decode then
 * decides. SHAPE_SLACK bytes behind `end` must be readable. */
uint32_t price_decode_lines(struct price_decoder *decoder, const uint8_t **at, const uint8_t *end, struct event *events,
                            uint32_t *starts, uint32_t max);

/* Keeps it from the machine's wide instructions: for tests of the way without them. */
void price_decoder_narrow(struct price_decoder *decoder);

/* The general way alone, without remembered shapes: what the fast way is tested against. */
enum err price_decode_general(struct price_decoder *decoder, struct slice text, struct diag *diag,
                              struct event *ret_event) MUST_USE;

#endif
