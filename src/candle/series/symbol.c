#include "candle/series/names.h"

/* Quote assets of each venue (its exchange info, 2021 to 2026). A list may have only what the venue quotes in: ETHUSD is
 * ETH/USD where there is no HUSD. */
static const char *const spot[] = {
    "USDT", "BUSD", "USDC", "TUSD", "FDUSD", "USDP", "USDS", "USDE", "USD1", "XUSD", "BFUSD", "RLUSD", "UST",
    "PAX",  "DAI",  "VAI",  "IDRT", "BIDR",  "BKRW", "BVND", "EURI", "EUR",  "USD",  "GBP",   "AUD",   "TRY",
    "BRL",  "RUB",  "NGN",  "UAH",  "ZAR",   "PLN",  "RON",  "ARS",  "JPY",  "MXN",  "COP",   "CZK",   "IDR",
    "KZT",  "BTC",  "ETH",  "BNB",  "XRP",   "TRX",  "DOGE", "DOT",  "SOL",  "GYEN", "U",     NULL,
};
static const char *const usdm[] = {"USDT", "BUSD", "USDC", "USD1", "BTC", "ETH", "U", NULL};
static const char *const coinm[] = {"USD", NULL};
static const char *const us[] = {"USD", "USDT", "BUSD", "USDC", "DAI", "BTC", "ETH", "BNB", NULL};
static const char *const huobi[] = {
    "USDT", "HUSD", "USDC", "USDD", "TUSD", "USD1", "DAI", "UST", "EURT", "EUR",
    "GBP",  "BRL",  "TRY",  "RUB",  "UAH",  "BTC",  "ETH", "HT",  "TRX",  NULL,
};
static const char *const huobi_futures[] = {"USDT", "USD", NULL};
/* Of other venues nothing is known: what any of them quotes in. */
static const char *const any[] = {
    "USDT", "BUSD", "USDC", "TUSD", "FDUSD", "USDP", "USDS", "USDD", "USDE", "USD1", "XUSD", "BFUSD", "RLUSD", "HUSD",
    "GUSD", "UST",  "PAX",  "DAI",  "VAI",   "IDRT", "BIDR", "BKRW", "BVND", "EURI", "AEUR", "EURT",  "EUR",   "USD",
    "GBP",  "AUD",  "TRY",  "BRL",  "RUB",   "NGN",  "UAH",  "ZAR",  "PLN",  "RON",  "ARS",  "JPY",   "MXN",   "COP",
    "CZK",  "IDR",  "KZT",  "BTC",  "ETH",   "BNB",  "XRP",  "TRX",  "DOGE", "DOT",  "SOL",  "HT",    "U",     NULL,
};

static const struct {
    const char *venue;
    const char *const *quotes;
} venues[] = {
    {"binance", spot},  {"binance-tr", spot}, {"binance-usdm", usdm},          {"binance-coinm", coinm},
    {"binance-us", us}, {"huobi", huobi},     {"huobi-linear", huobi_futures}, {"huobi-swap", huobi_futures},
};

/* Where a venue quotes in one asset that ends with another, and the longer one is not what is meant. */
static const char *const pairs[] = {"BNB/USD", "ARB/USD", "SHIB/USD", "BNB/IDR", "BTC/AEUR", "ETH/AEUR", "EUR/AEUR"};

static const char *const *quotes_of(struct slice venue) {
    for (size_t i = 0; i < sizeof venues / sizeof *venues; i++)
        if (slice_equal_nocase(venue, slice_text(venues[i].venue))) return venues[i].quotes;
    return any;
}

static size_t pair_suffix(struct slice symbol) {
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        const struct slice pair = slice_text(pairs[i]);
        const size_t base = (size_t)(strchr(pairs[i], '/') - pairs[i]), quote = pair.size - base - 1;
        if (symbol.size == base + quote && slice_equal_nocase(slice_of(symbol.data, base), slice_of(pair.data, base)) &&
            slice_equal_nocase(slice_of(symbol.data + base, quote), slice_of(pair.data + base + 1, quote)))
            return quote;
    }
    return 0;
}

/* The length of the longest quote asset that the symbol ends with, with something before it. */
static size_t quote_suffix(const char *const *quotes, struct slice symbol) {
    size_t longest = pair_suffix(symbol);
    if (longest > 0) return longest;
    for (; *quotes != NULL; quotes++) {
        size_t size = strlen(*quotes);
        if (size <= longest || size >= symbol.size) continue;
        if (slice_equal_nocase(slice_of(symbol.data + symbol.size - size, size), slice_text(*quotes))) longest = size;
    }
    return longest;
}

static bool is_quote(const char *const *quotes, struct slice text) {
    while (*quotes != NULL && !slice_equal_nocase(text, slice_text(*quotes))) quotes++;
    return *quotes != NULL;
}

static size_t find_mark(struct slice text, const char *marks) {
    for (size_t i = 0; i < text.size; i++)
        if (strchr(marks, text.data[i]) != NULL && text.data[i] != 0) return i;
    return text.size;
}

/* "BTC_USDT" splits at the mark. In "BTCUSD_PERP" and "BTCUSDT_240927" the mark begins the contract, which stays with the
 * quote: one pair's contracts are different series. */
enum err series_split_symbol(struct slice venue, struct slice symbol, struct slice *ret_base, struct slice *ret_quote) {
    const char *const *quotes = quotes_of(venue);
    size_t mark = find_mark(symbol, "/");
    size_t skip = 1;
    if (mark == symbol.size) {
        mark = find_mark(symbol, "-_");
        struct slice left = slice_of(symbol.data, mark);
        if (mark == symbol.size) {
            mark = symbol.size - quote_suffix(quotes, symbol);
            skip = 0;
        } else {
            struct slice right = slice_of(symbol.data + mark + 1, symbol.size - mark - 1);
            size_t suffix = quote_suffix(quotes, left);
            if (suffix > 0 && !is_quote(quotes, slice_of(right.data, find_mark(right, "-_")))) {
                mark -= suffix;
                skip = 0;
            }
        }
    }
    if (mark == 0 || mark + skip >= symbol.size) return ERR_SYNTAX;
    struct slice base = slice_of(symbol.data, mark);
    struct slice quote = slice_of(symbol.data + mark + skip, symbol.size - mark - skip);
    if (!series_part_ok(base) || !series_part_ok(quote)) return ERR_SYNTAX;
    *ret_base = base;
    *ret_quote = quote;
    return ERR_OK;
}
