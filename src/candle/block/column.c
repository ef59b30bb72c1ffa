/* A column: u8 mode, then
 *
 *   CONST   varint value
 *   PACK    varint base, u8 width (0..57 or 64), uvarint patches, ceil(count * width / 8) bytes of value - base, low bits
 *           first; then each patch: uvarint rows since the last one, uvarint bits above `width`
 *   CLASS   u8 signed, code table over 65 classes, u32 size, stream; a value (zigzag if signed) is the code of its bit
 *           length, then its bits below the highest
 *   SYMBOL  varint base, code table over at most 256 symbols, u32 size, stream of codes of value - base
 *
 * A code table: u8 first symbol, u8 count - 1, then code lengths of 4 bits, 0 for symbols that do not occur. Codes are
 * canonical (shorter first, then by symbol), their bits reversed, so that the stream is read from the low end. No code
 * is longer than 10 bits.
 *
 * Everything is little-endian. Arithmetic on values wraps. The encoder takes the mode with the fewest bytes, but a coded
 * one only where it saves 3 %, since packed values are read several times faster. */
#include "candle/block/column.h"

#include <assert.h>

enum { CONST, PACK, CLASS, SYMBOL };
enum { CLASSES = 65, SYMBOLS_MAX = 256, WIDTH_MAX = 57, CODED_MIN_VALUES = 200, PATCH_COST_BITS = 16 };

static inline uint64_t load64(const uint8_t *at) {
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return value;
}
static inline uint64_t low_mask(unsigned bits) { return bits >= 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1; }
static inline unsigned bit_length(uint64_t value) { return value == 0 ? 0 : 64u - (unsigned)__builtin_clzll(value); }
static inline uint64_t zigzag(int64_t value) { return (uint64_t)value << 1 ^ (uint64_t)(value >> 63); }
static inline int64_t unzigzag(uint64_t value) { return (int64_t)(value >> 1 ^ (0 - (value & 1))); }

/* --- writing bits --- */

struct bit_writer {
    uint8_t *at;
    uint64_t bits;
    unsigned fill;
};

static inline void bits_put(struct bit_writer *w, uint64_t value, unsigned width) { /* width <= 56 */
    w->bits |= value << w->fill;
    w->fill += width;
    memcpy(w->at, &w->bits, 8);
    w->at += w->fill >> 3;
    w->bits >>= w->fill & ~7u;
    w->fill &= 7;
}

static inline void bits_put_long(struct bit_writer *w, uint64_t value, unsigned width) {
    if (width > 48) {
        bits_put(w, value & low_mask(48), 48);
        value >>= 48;
        width -= 48;
    }
    bits_put(w, value, width);
}

static uint8_t *bits_end(struct bit_writer *w) { return w->fill > 0 ? w->at + 1 : w->at; }

/* --- prefix codes --- */

struct code {
    uint32_t first, count; /* symbols first .. first + count - 1 */
    uint8_t length[SYMBOLS_MAX];
    uint16_t bits[SYMBOLS_MAX];
};

struct tree_node {
    uint32_t weight;
    uint16_t parent;
    uint16_t symbol;
};

static void sort_leaves(struct tree_node *leaves, uint32_t count) {
    for (uint32_t gap = count / 2; gap > 0; gap /= 2)
        for (uint32_t i = gap; i < count; i++) {
            struct tree_node x = leaves[i];
            uint32_t j = i;
            for (; j >= gap && (leaves[j - gap].weight > x.weight ||
                                (leaves[j - gap].weight == x.weight && leaves[j - gap].symbol > x.symbol));
                 j -= gap)
                leaves[j] = leaves[j - gap];
            leaves[j] = x;
        }
}

/* Huffman's lengths by two queues: sorted leaves, and inner nodes, which come out sorted. */
static unsigned tree_lengths(struct tree_node *nodes, uint32_t leaf_count, uint8_t *lengths) {
    uint32_t leaf = 0, inner = leaf_count, end = leaf_count;
    uint8_t depth[2 * SYMBOLS_MAX];
    assert(leaf_count > 0 && leaf_count <= SYMBOLS_MAX);
    for (uint32_t merges = 1; merges < leaf_count; merges++) {
        uint32_t weight = 0;
        for (int side = 0; side < 2; side++) {
            bool take_leaf = leaf < leaf_count && (inner == end || nodes[leaf].weight <= nodes[inner].weight);
            uint32_t child = take_leaf ? leaf++ : inner++;
            weight += nodes[child].weight;
            nodes[child].parent = (uint16_t)end;
        }
        nodes[end++].weight = weight;
    }
    unsigned longest = 0;
    depth[end - 1] = leaf_count == 1 ? 1 : 0;
    for (uint32_t i = end - 1; i-- > 0;) depth[i] = (uint8_t)(depth[nodes[i].parent] + 1);
    for (uint32_t i = 0; i < leaf_count; i++) {
        lengths[nodes[i].symbol] = depth[i];
        if (depth[i] > longest) longest = depth[i];
    }
    return longest;
}

/* Lengths of at most COLUMN_CODE_BITS: rare symbols are made less rare until the tree is flat enough. */
static void code_lengths(struct code *code, const uint32_t *weights) {
    struct tree_node nodes[2 * SYMBOLS_MAX];
    for (unsigned lift = 0;; lift = lift == 0 ? 1 : lift * 2) {
        uint32_t leaf_count = 0;
        memset(code->length, 0, code->count);
        for (uint32_t i = 0; i < code->count; i++)
            if (weights[i] > 0) nodes[leaf_count++] = (struct tree_node){weights[i] + lift, 0, (uint16_t)i};
        sort_leaves(nodes, leaf_count);
        if (tree_lengths(nodes, leaf_count, code->length) <= COLUMN_CODE_BITS) return;
    }
}

static uint16_t reversed(uint32_t bits, unsigned length) {
    uint32_t out = 0;
    for (unsigned i = 0; i < length; i++) out |= (bits >> i & 1) << (length - 1 - i);
    return (uint16_t)out;
}

/* Canonical codes of the lengths; false if they are too many for their lengths. */
static bool code_assign(struct code *code) {
    uint32_t next[COLUMN_CODE_BITS + 2] = {0}, counts[COLUMN_CODE_BITS + 1] = {0};
    for (uint32_t i = 0; i < code->count; i++) {
        if (code->length[i] > COLUMN_CODE_BITS) return false;
        if (code->length[i] > 0) counts[code->length[i]]++;
    }
    for (unsigned length = 1; length <= COLUMN_CODE_BITS; length++) {
        next[length + 1] = (next[length] + counts[length]) << 1;
        if (next[length] + counts[length] > 1u << length) return false;
    }
    for (uint32_t i = 0; i < code->count; i++) {
        unsigned length = code->length[i];
        if (length > 0) code->bits[i] = reversed(next[length]++, length);
    }
    return true;
}

static void code_write(struct buf *out, const struct code *code) {
    buf_put_u8(out, (uint8_t)code->first);
    buf_put_u8(out, (uint8_t)(code->count - 1));
    for (uint32_t i = 0; i < code->count; i += 2) {
        unsigned high = i + 1 < code->count ? code->length[i + 1] : 0;
        buf_put_u8(out, (uint8_t)(code->length[i] | high << 4));
    }
}

static enum err code_read(struct reader *r, struct code *code, uint32_t symbols_max) {
    code->first = reader_u8(r);
    code->count = (uint32_t)reader_u8(r) + 1;
    if (code->first + code->count > symbols_max) return ERR_CORRUPT;
    struct slice packed = reader_take(r, (code->count + 1) / 2);
    if (reader_err(r) != ERR_OK) return ERR_CORRUPT;
    for (uint32_t i = 0; i < code->count; i++) code->length[i] = packed.data[i / 2] >> (i % 2 * 4) & 15;
    return code_assign(code) ? ERR_OK : ERR_CORRUPT;
}

static void code_table(const struct code *code, uint16_t *table) {
    memset(table, 0, sizeof(uint16_t) << COLUMN_CODE_BITS);
    for (uint32_t i = 0; i < code->count; i++) {
        unsigned length = code->length[i];
        if (length == 0) continue;
        uint16_t entry = (uint16_t)((code->first + i) << 4 | length);
        for (uint32_t at = code->bits[i]; at < 1u << COLUMN_CODE_BITS; at += 1u << length) table[at] = entry;
    }
}

/* --- encoding --- */

struct plan {
    uint8_t mode, width;
    bool is_signed;
    int64_t min;
    uint64_t range;
    uint64_t cost_bits;
    uint32_t patches;
    struct code code;
};

static void plan_pack(struct plan *plan, const int64_t *values, uint32_t count) {
    uint32_t lengths[CLASSES] = {0};
    for (uint32_t i = 0; i < count; i++) lengths[bit_length((uint64_t)values[i] - (uint64_t)plan->min)]++;
    plan->mode = PACK;
    plan->cost_bits = UINT64_MAX;
    uint64_t patches = 0, patch_bits = 0;
    int longest = (int)bit_length(plan->range);
    for (int width = longest; width >= 0; width--) {
        uint64_t cost = (uint64_t)count * (width > WIDTH_MAX ? 64u : (unsigned)width) + patch_bits;
        if (cost < plan->cost_bits) {
            plan->cost_bits = cost;
            plan->width = (uint8_t)(width > WIDTH_MAX ? 64 : width);
            plan->patches = (uint32_t)patches;
        }
        patches += lengths[width];
        if (patches > count / 4) break;
        patch_bits = patches * PATCH_COST_BITS;
        for (int above = width; above <= longest; above++)
            patch_bits += (uint64_t)lengths[above] * (unsigned)((above - width + 7) / 7 * 8);
    }
}

static uint64_t coded_bits(const struct code *code, const uint32_t *weights) {
    uint64_t bits = 0;
    for (uint32_t i = 0; i < code->count; i++) bits += (uint64_t)weights[i] * code->length[i];
    return bits + code->count * 4 + 40;
}

/* log2 in 256ths, between powers of two by a straight line: integers, so that every machine decides alike. */
static uint64_t log2_256(uint32_t value) {
    unsigned whole = bit_length(value) - 1;
    return whole * 256 + ((uint64_t)value << 8 >> whole) - 256;
}

/* About the coded size, to spare the tree. */
static uint64_t entropy_bits(const uint32_t *weights, uint32_t symbols, uint32_t count) {
    uint64_t bits_256 = 0, total = log2_256(count);
    for (uint32_t i = 0; i < symbols; i++)
        if (weights[i] > 0) bits_256 += weights[i] * (total - log2_256(weights[i]));
    return bits_256 / 256 + symbols * 4 + 40;
}

static bool saves(uint64_t cost, const struct plan *plan) { return cost < plan->cost_bits - plan->cost_bits / 32; }

static void plan_class(struct plan *plan, const int64_t *values, uint32_t count) {
    uint32_t weights[CLASSES] = {0};
    bool is_signed = plan->min < 0;
    for (uint32_t i = 0; i < count; i++) weights[bit_length(is_signed ? zigzag(values[i]) : (uint64_t)values[i])]++;
    uint32_t first = 0, last = CLASSES - 1;
    while (weights[first] == 0) first++;
    while (weights[last] == 0) last--;
    uint64_t raw = 0;
    for (uint32_t i = first; i <= last; i++) raw += (uint64_t)weights[i] * (i > 0 ? i - 1 : 0);
    if (!saves(raw + entropy_bits(weights + first, last - first + 1, count), plan)) return;
    struct code code = {.first = first, .count = last - first + 1};
    code_lengths(&code, weights + first);
    uint64_t cost = raw + coded_bits(&code, weights + first);
    if (!saves(cost, plan)) return;
    plan->mode = CLASS;
    plan->is_signed = is_signed;
    plan->cost_bits = cost;
    plan->code = code;
}

static void plan_symbol(struct plan *plan, const int64_t *values, uint32_t count) {
    assert(plan->range < SYMBOLS_MAX);
    uint32_t weights[SYMBOLS_MAX] = {0};
    for (uint32_t i = 0; i < count; i++) weights[(uint64_t)values[i] - (uint64_t)plan->min]++;
    struct code code = {.first = 0, .count = (uint32_t)plan->range + 1};
    if (!saves(entropy_bits(weights, code.count, count), plan)) return;
    code_lengths(&code, weights);
    uint64_t cost = coded_bits(&code, weights);
    if (!saves(cost, plan)) return;
    plan->mode = SYMBOL;
    plan->cost_bits = cost;
    plan->code = code;
}

static void write_pack(struct buf *out, const struct plan *plan, const int64_t *values, uint32_t count) {
    buf_put_varint(out, plan->min);
    buf_put_u8(out, plan->width);
    buf_put_uvarint(out, plan->patches);
    size_t size = ((size_t)count * plan->width + 7) / 8;
    uint8_t *to = buf_reserve(out, size + 16);
    if (to == NULL) return;
    struct bit_writer w = {to, 0, 0};
    uint64_t mask = low_mask(plan->width);
    if (plan->width <= 48)
        for (uint32_t i = 0; i < count; i++)
            bits_put(&w, ((uint64_t)values[i] - (uint64_t)plan->min) & mask, plan->width);
    else
        for (uint32_t i = 0; i < count; i++)
            bits_put_long(&w, ((uint64_t)values[i] - (uint64_t)plan->min) & mask, plan->width);
    assert(bits_end(&w) == to + size);
    buf_commit(out, size);
    uint32_t last = 0;
    for (uint32_t i = 0, left = plan->patches; left > 0; i++) {
        uint64_t high = plan->width >= 64 ? 0 : ((uint64_t)values[i] - (uint64_t)plan->min) >> plan->width;
        if (high == 0) continue;
        buf_put_uvarint(out, i - last);
        buf_put_uvarint(out, high);
        last = i;
        left--;
    }
}

static void stream_write(struct buf *out, const struct plan *plan, const int64_t *values, uint32_t count) {
    size_t most = (size_t)(plan->cost_bits / 8) + 32;
    size_t size_at = out->size;
    buf_put_le32(out, 0);
    uint8_t *start = buf_reserve(out, most);
    if (start == NULL) return;
    struct bit_writer w = {start, 0, 0};
    const struct code *code = &plan->code;
    for (uint32_t i = 0; i < count; i++) {
        if (plan->mode == SYMBOL) {
            uint64_t symbol = (uint64_t)values[i] - (uint64_t)plan->min;
            bits_put(&w, code->bits[symbol], code->length[symbol]);
            continue;
        }
        uint64_t value = plan->is_signed ? zigzag(values[i]) : (uint64_t)values[i];
        unsigned length = bit_length(value);
        bits_put(&w, code->bits[length - code->first], code->length[length - code->first]);
        if (length > 1) bits_put_long(&w, value & low_mask(length - 1), length - 1);
    }
    size_t size = (size_t)(bits_end(&w) - start);
    assert(size <= most);
    buf_commit(out, size);
    uint32_t stored = (uint32_t)size;
    memcpy(out->data + size_at, &stored, 4);
}

void column_encode(struct buf *out, const int64_t *values, uint32_t count) {
    assert(count > 0 && count <= COLUMN_VALUES_MAX);
    int64_t min = values[0], max = values[0];
    for (uint32_t i = 1; i < count; i++) {
        min = values[i] < min ? values[i] : min;
        max = values[i] > max ? values[i] : max;
    }
    if (min == max) {
        buf_put_u8(out, CONST);
        buf_put_varint(out, min);
        return;
    }
    struct plan plan = {.min = min, .range = (uint64_t)max - (uint64_t)min};
    plan_pack(&plan, values, count);
    if (count >= CODED_MIN_VALUES && plan.width > 0) {
        if (plan.range < SYMBOLS_MAX)
            plan_symbol(&plan, values, count);
        else
            plan_class(&plan, values, count);
    }
    buf_put_u8(out, plan.mode);
    if (plan.mode == PACK) {
        write_pack(out, &plan, values, count);
        return;
    }
    if (plan.mode == CLASS)
        buf_put_u8(out, plan.is_signed);
    else
        buf_put_varint(out, min);
    bool fine = code_assign(&plan.code);
    assert(fine);
    code_write(out, &plan.code);
    stream_write(out, &plan, values, count);
}

/* --- decoding --- */

static enum err open_pack(struct column_reader *column, struct reader *r) {
    column->base = reader_varint(r);
    column->width = reader_u8(r);
    column->patches_left = 0;
    uint64_t patches = reader_uvarint(r);
    if (reader_err(r) != ERR_OK || (column->width > WIDTH_MAX && column->width != 64)) return ERR_CORRUPT;
    if (patches > column->count) return ERR_CORRUPT;
    struct slice packed = reader_take(r, ((size_t)column->count * column->width + 7) / 8);
    if (reader_err(r) != ERR_OK) return ERR_CORRUPT;
    column->bits = packed.data;
    column->patches = *r;
    column->patches_left = (uint32_t)patches;
    for (uint64_t i = 0; i < patches; i++) {
        (void)reader_uvarint(r);
        (void)reader_uvarint(r);
    }
    if (patches > 0) {
        uint64_t gap = reader_uvarint(&column->patches);
        column->patch_at = gap > COLUMN_VALUES_MAX ? UINT32_MAX : (uint32_t)gap;
    }
    return reader_err(r);
}

static enum err open_coded(struct column_reader *column, struct reader *r, uint32_t symbols_max) {
    struct code code;
    enum err err = code_read(r, &code, symbols_max);
    if (err != ERR_OK) return err;
    code_table(&code, column->codes);
    struct slice stream = reader_take(r, reader_le32(r));
    if (reader_err(r) != ERR_OK) return ERR_CORRUPT;
    column->bits = stream.data;
    column->end = (uint64_t)stream.size * 8;
    return ERR_OK;
}

enum err column_open(struct column_reader *column, struct reader *bytes, uint32_t count) {
    assert(count > 0 && count <= COLUMN_VALUES_MAX);
    column->count = count;
    column->taken = 0;
    column->at = 0;
    column->patches_left = 0;
    column->mode = reader_u8(bytes);
    switch (column->mode) {
        case CONST: column->base = reader_varint(bytes); return reader_err(bytes);
        case PACK: return open_pack(column, bytes);
        case CLASS: column->base = reader_u8(bytes) != 0; return open_coded(column, bytes, CLASSES);
        case SYMBOL: column->base = reader_varint(bytes); return open_coded(column, bytes, SYMBOLS_MAX);
        default: return ERR_CORRUPT;
    }
}

bool column_is_constant(const struct column_reader *column) { return column->mode == CONST; }

static enum err read_patches(struct column_reader *column, int64_t *values, uint32_t count) {
    while (column->patches_left > 0 && column->patch_at < column->taken + count) {
        uint64_t high = reader_uvarint(&column->patches);
        if (column->width >= 64 || column->patch_at < column->taken) return ERR_CORRUPT;
        int64_t *value = &values[column->patch_at - column->taken];
        *value = (int64_t)((uint64_t)*value + (high << column->width));
        if (--column->patches_left == 0) break;
        uint64_t gap = reader_uvarint(&column->patches);
        if (gap > COLUMN_VALUES_MAX) return ERR_CORRUPT;
        column->patch_at += (uint32_t)gap;
    }
    return ERR_OK;
}

static enum err read_pack(struct column_reader *column, int64_t *values, uint32_t count) {
    unsigned width = column->width;
    uint64_t base = (uint64_t)column->base, at = (uint64_t)column->taken * width, mask = low_mask(width);
    if (width == 0) {
        for (uint32_t i = 0; i < count; i++) values[i] = column->base;
    } else if (width == 64) {
        for (uint32_t i = 0; i < count; i++)
            values[i] = (int64_t)(base + load64(column->bits + 8 * (size_t)(column->taken + i)));
    } else {
        for (uint32_t i = 0; i < count; i++, at += width)
            values[i] = (int64_t)(base + (load64(column->bits + (at >> 3)) >> (at & 7) & mask));
    }
    return column->patches_left > 0 ? read_patches(column, values, count) : ERR_OK;
}

/* `width` bits at `at`, more than one load can give. */
static bool long_bits(const struct column_reader *column, uint64_t at, unsigned width, uint64_t *ret_bits) {
    if (at + width > column->end) return false;
    uint64_t low = load64(column->bits + (at >> 3)) >> (at & 7);
    if (width > 32) {
        at += 32;
        low = (low & low_mask(32)) | load64(column->bits + (at >> 3)) >> (at & 7) << 32;
    }
    *ret_bits = low & low_mask(width);
    return true;
}

static enum err read_class(struct column_reader *column, int64_t *values, uint32_t count) {
    uint64_t at = column->at;
    bool is_signed = column->base != 0;
    for (uint32_t i = 0; i < count; i++) {
        if (at > column->end) return ERR_CORRUPT;
        uint64_t window = load64(column->bits + (at >> 3)) >> (at & 7);
        unsigned entry = column->codes[window & low_mask(COLUMN_CODE_BITS)], length = entry & 15;
        if (length == 0) return ERR_CORRUPT;
        at += length;
        unsigned class = entry >> 4, below = class > 0 ? class - 1 : 0;
        uint64_t bits = window >> length & low_mask(below);
        if (below > WIDTH_MAX - COLUMN_CODE_BITS && !long_bits(column, at, below, &bits)) return ERR_CORRUPT;
        at += below;
        uint64_t value = class > 0 ? UINT64_C(1) << below | bits : 0;
        values[i] = is_signed ? unzigzag(value) : (int64_t)value;
    }
    column->at = at;
    return at > column->end ? ERR_CORRUPT : ERR_OK;
}

static enum err read_symbol(struct column_reader *column, int64_t *values, uint32_t count) {
    uint64_t at = column->at;
    for (uint32_t i = 0; i < count; i++) {
        if (at > column->end) return ERR_CORRUPT;
        uint64_t window = load64(column->bits + (at >> 3)) >> (at & 7);
        unsigned entry = column->codes[window & low_mask(COLUMN_CODE_BITS)], length = entry & 15;
        if (length == 0) return ERR_CORRUPT;
        at += length;
        values[i] = (int64_t)((uint64_t)column->base + (entry >> 4));
    }
    column->at = at;
    return at > column->end ? ERR_CORRUPT : ERR_OK;
}

enum err column_read(struct column_reader *column, int64_t *values, uint32_t count) {
    assert(count <= column->count - column->taken);
    enum err err = ERR_OK;
    switch (column->mode) {
        case CONST:
            for (uint32_t i = 0; i < count; i++) values[i] = column->base;
            break;
        case PACK: err = read_pack(column, values, count); break;
        case CLASS: err = read_class(column, values, count); break;
        default: err = read_symbol(column, values, count); break;
    }
    column->taken += count;
    return err;
}
