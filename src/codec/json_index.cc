#include "codec/json_index.h"

#include <simdjson.h>

#include <memory>
#include <new>

namespace {

constexpr size_t kFirstCapacity = 4096;
constexpr size_t kDepth = 1;  // The second stage, which would use it, is ours.

enum json_index_status status_of(simdjson::error_code error) {
    switch (error) {
        case simdjson::SUCCESS: return JSON_INDEX_OK;
        case simdjson::EMPTY: return JSON_INDEX_EMPTY;
        case simdjson::UTF8_ERROR: return JSON_INDEX_UTF8;
        case simdjson::UNCLOSED_STRING: return JSON_INDEX_UNCLOSED_STRING;
        case simdjson::UNESCAPED_CHARS: return JSON_INDEX_CONTROL_BYTE;
        default: return JSON_INDEX_NO_MEMORY;
    }
}

}  // namespace

struct json_index {
    std::unique_ptr<simdjson::internal::dom_parser_implementation> parser;
    size_t capacity = 0;
    bool checks_utf8 = false;
};

struct json_index *json_index_open(void) {
    std::unique_ptr<json_index> index(new (std::nothrow) json_index);
    if (!index) return nullptr;
    auto error =
        simdjson::get_active_implementation()->create_dom_parser_implementation(kFirstCapacity, kDepth, index->parser);
    if (error != simdjson::SUCCESS) return nullptr;
    index->capacity = kFirstCapacity;
    // Every vectorised first stage validates UTF-8 as it goes; the portable one is not relied on for that.
    index->checks_utf8 = simdjson::get_active_implementation()->name() != "fallback";
    return index.release();
}

void json_index_close(struct json_index *index) { delete index; }

enum json_index_status json_index_run(struct json_index *index, const uint8_t *text, size_t size,
                                      const uint32_t **ret_positions, uint32_t *ret_count) {
    if (size > index->capacity) {
        size_t capacity = index->capacity;
        while (capacity < size) capacity *= 2;
        if (index->parser->allocate(capacity, kDepth) != simdjson::SUCCESS) {
            index->capacity = 0;
            return JSON_INDEX_NO_MEMORY;
        }
        index->capacity = capacity;
    }
    auto error = index->parser->stage1(text, size, simdjson::stage1_mode::regular);
    if (error != simdjson::SUCCESS) return status_of(error);
    if (!index->checks_utf8 && !simdjson::validate_utf8(reinterpret_cast<const char *>(text), size))
        return JSON_INDEX_UTF8;
    *ret_positions = index->parser->structural_indexes.get();
    *ret_count = index->parser->n_structural_indexes;
    return JSON_INDEX_OK;
}
