/* decimal_parse on any bytes: what parses prints canonically, parses again to the same value, and the sum and product with
 * itself agree with its own rescaling. */
#include <assert.h>

#include "base/decimal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct decimal value, again, sum, back;
    if (decimal_parse(slice_of(data, size), &value) != ERR_OK) return 0;
    assert(value.scale <= DECIMAL_DIGITS_MAX);
    char text[DECIMAL_TEXT_MAX];
    size_t length = decimal_format(value, text);
    assert(decimal_parse(slice_of(text, length), &again) == ERR_OK);
    assert(again.mantissa == value.mantissa && again.scale == value.scale);
    struct decimal normal = decimal_normalize(value);
    assert(normal.mantissa == value.mantissa && normal.scale == value.scale);
    if (decimal_add(value, value, &sum) == ERR_OK) {
        assert(decimal_subtract(sum, value, &back) == ERR_OK && decimal_equal(back, value));
        assert(decimal_multiply(value, decimal_of(2), &back) == ERR_OK && decimal_equal(back, sum));
    }
    char fixed[DECIMAL_TEXT_MAX + 40];
    decimal_format_fixed(value, (uint8_t)(size % 39), fixed);
    return 0;
}
