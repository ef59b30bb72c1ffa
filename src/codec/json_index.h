/* The first stage of simdjson behind C: where the tokens of a document start. Private to json.c. */
#ifndef CODEC_JSON_INDEX_H
#define CODEC_JSON_INDEX_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum json_index_status {
    JSON_INDEX_OK,
    JSON_INDEX_EMPTY,
    JSON_INDEX_UTF8,
    JSON_INDEX_UNCLOSED_STRING,
    JSON_INDEX_CONTROL_BYTE, /* below 0x20 within a string */
    JSON_INDEX_NO_MEMORY
};

struct json_index;

struct json_index *json_index_open(void); /* NULL without memory */
void json_index_close(struct json_index *index);
/* On JSON_INDEX_OK the text is valid UTF-8, its strings are closed and free of control bytes, and positions[0..count) are
 * the offsets of every bracket, comma, colon, string and scalar, ascending; a byte between two tokens that is not space
 * belongs to the token before it. Nothing behind `size` is read. Positions live until the next run. */
enum json_index_status json_index_run(struct json_index *index, const uint8_t *text, size_t size,
                                      const uint32_t **ret_positions, uint32_t *ret_count);

#ifdef __cplusplus
}
#endif

#endif
