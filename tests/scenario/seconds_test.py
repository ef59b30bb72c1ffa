"""candles.base: 1s, end to end: trades of past days imported and sealed, prices posted, every interval equal to a fold in Python;
the same after a restart and after the store was made anew."""
import decimal, json, os, random, sys, time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from wick import Report, Server, arguments, must, price_event, rows, run

D = decimal.Decimal
decimal.getcontext().prec = 60
DAY, UNITS = 86_400_000, {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
INTERVALS = ("1s", "5s", "1m", "7m", "15m", "1h", "1d")
TRADES, PRICES, SERIES = 12_000, 2400, "binance:BTC/USDT"
options = arguments(__doc__)
report = Report()
data, config = os.path.join(options.scratch, "data"), os.path.join(options.scratch, "wick.yaml")
with open(config, "w") as file:
    file.write("candles: {base: 1s}\n")
random.seed(options.seed)
now = int(time.time() * 1000)
past = (now // DAY - 3) * DAY


def make_trades():
    """(time, id, price, quantity, buyer is maker): bursts and silences, over two midnights."""
    at, price, found = past + DAY - 3 * 3_600_000, D("100.00"), []
    for number in range(TRADES):
        at += random.choice((0, 1, 40, 300, 900, 1000, 2500, 7000)) + (1_900_000 if number % 2500 == 2499 else 0)
        price = max(D("1"), price + D(random.randint(-50, 50)) / 100)
        found.append((at, 700 + number, price, D(random.randint(1, 5000)) / 1000, random.random() < 0.5))
    return found


def make_prices():
    """(time, price): four a second of some minutes that are over, with seconds left out."""
    begin = (now // 1000 - 1500) * 1000
    return [(begin + i * 250, D(random.randint(9900, 10100)) / 100) for i in range(PRICES) if i // 40 % 5 != 4]


trades, prices = make_trades(), make_prices()
assert trades[-1][0] // DAY - trades[0][0] // DAY >= 1 and trades[-1][0] < now // DAY * DAY


def length(interval):
    return int(interval[:-1]) * UNITS[interval[-1]]


def start_of(at, interval):
    """Buckets are counted from midnight."""
    return at // DAY * DAY + (at % DAY) // length(interval) * length(interval)


def fold(events, interval):
    """What a candle is, in its simplest words."""
    found = {}
    for at, number, price, quantity, maker in sorted(events, key=lambda e: (e[0], e[1])):
        c = found.setdefault(start_of(at, interval), {
            "open": price, "high": price, "low": price, "volume": D(0), "quote_volume": D(0), "trades": 0, "taker_buy_volume": D(0),
            "taker_buy_quote_volume": D(0), "first_id": number, "last_id": number})
        c["high"], c["low"], c["close"] = max(c["high"], price), min(c["low"], price), price
        c["volume"] += quantity
        c["quote_volume"] += price * quantity
        c["trades"] += 1
        c["taker_buy_volume"] += 0 if maker else quantity
        c["taker_buy_quote_volume"] += 0 if maker else price * quantity
        c["first_id"], c["last_id"] = min(c["first_id"], number), max(c["last_id"], number)
    return found


def same(ours, wanted, fields, interval):
    """Rows with events are the reference's; the others are flat at the close before them."""
    seen, close = 0, None
    for row in ours:
        want = wanted.get(row["open_time"])
        if want is None:
            flat = row["trades"] == 0 and row["coverage"] in ("quiet", "unknown") and {row["open"], row["high"], row["low"]} == {row["close"]}
            assert flat and (close is None or D(row["close"]) == close), (interval, row)
            continue
        seen += 1
        for field in fields:
            assert D(row[field]) == want[field], f"{interval} {row['open_time']} {field}: {row[field]}, not {want[field]}"
        assert row["close_time"] == row["open_time"] + length(interval) - 1 or interval == "7m"
        close = want["close"]
    assert seen == len(wanted), f"{interval}: {seen} of {len(wanted)} candles"
    assert [row["open_time"] for row in ours] == sorted({row["open_time"] for row in ours}), f"{interval}: order"


PRICE_FIELDS = ("open", "high", "low", "close")
FIELDS = (*PRICE_FIELDS, "volume", "quote_volume", "trades", "taker_buy_volume", "taker_buy_quote_volume", "first_id", "last_id")


def read(series, kind, interval, first, last):
    """Through the command, in slices: at most 50,000 candles are given at once."""
    step, found = 40_000 * length(interval), []
    begin = start_of(first, interval)
    while begin <= last:
        found += rows(options.wick, "candles", series, "--kind", kind, "--interval", interval, "--from", str(begin), "--to",
                      str(min(begin + step, last + 1)), "--limit", "50000", "--config", config, data=data)
        begin += step
    return found


def trades_are_equal():
    for interval in INTERVALS:
        same(read(SERIES, "trade", interval, trades[0][0], trades[-1][0]), fold(trades, interval), FIELDS, interval)


def import_trades():
    path = os.path.join(options.scratch, "BTCUSDT-trades.csv")
    with open(path, "w") as file:
        for at, number, price, quantity, maker in trades:
            file.write(f"{number},{price},{quantity},{price * quantity},{at},{str(maker).lower()},True\n")
    (row,) = rows(options.wick, "import", path, "--venue", "binance", "--config", config, data=data)
    assert (row["used"], row["read"]) == (TRADES, TRADES), row
    trades_are_equal()
    second = read(SERIES, "trade", "1s", trades[0][0], trades[-1][0])
    assert {row["native_interval"] for row in second} == {"1s"} and {row["coverage"] for row in second} == {"traded", "quiet", "partial"}
    assert [row["coverage"] for row in second].count("partial") == 1, "only what was before the first id is not known"
    assert {row["native_interval"] for row in read(SERIES, "trade", "1d", trades[0][0], trades[-1][0])} <= {"1d", "15m", "1s"}
    topics = {row["topic"]: row for row in rows(options.wick, "topic", "list", "--config", config, data=data)}
    assert topics["candles.sealed.1s"]["end"] >= 2 and "candles.sealed.1m" not in topics, topics


def as_with_minutes():
    """Minutes and more are the same candles, whatever they are merged from; but nothing follows the last id, and seconds tell more
    closely from when on nothing is known."""
    other = data + "-1m"
    must(options.wick, "import", os.path.join(options.scratch, "BTCUSDT-trades.csv"), "--venue", "binance", data=other)
    for interval in ("1m", "7m", "15m", "1h", "1d", "1w", "1M"):
        words = ("candles", SERIES, "--interval", interval, "--from", "0", "--limit", "50000")
        ours, theirs = rows(options.wick, *words, "--config", config, data=data), rows(options.wick, *words, data=other)
        assert len(ours) == len(theirs) > 0, (interval, len(ours), len(theirs))
        for mine, their in zip(ours, theirs):
            drop = ("native_interval", "covered_minutes", "coverage") if mine is ours[-1] else ("native_interval",)
            differ = {k: (mine.get(k), their.get(k)) for k in {*mine, *their} if k not in drop and mine.get(k) != their.get(k)}
            assert not differ, (interval, mine["open_time"], differ)
    for interval, least, most in (("1s", 0, 0), ("5s", 0, 0), ("30s", 0, 0), ("1m", 0, 1), ("2m", 0, 2)):
        found = {row["covered_minutes"] for row in rows(options.wick, "candles", SERIES, "--interval", interval, "--config", config, data=data)}
        assert found and min(found) >= least and max(found) == most, (interval, found)


def post_prices():
    server = Server(options.wick, data, config=config)
    server.wait_ready()
    try:
        for begin in range(0, len(prices), 300):
            body = "\n".join(price_event("ABC", at, str(price)) for at, price in prices[begin:begin + 300])
            status, said = server.request("POST", "/v1/prices", body)
            assert status == 200 and json.loads(said)["accepted"] == len(prices[begin:begin + 300]), said
        events = [(at, 0, price, D(0), False) for at, price in prices]
        for interval in INTERVALS[:-1]:
            wanted = fold(events, interval)
            ours = server.json(f"/v1/candles?series=kraken:ABC/USD&kind=price&interval={interval}&from={prices[0][0] // DAY * DAY}&limit=50000")
            same(ours, wanted, PRICE_FIELDS, interval)
            assert [row["trades"] for row in ours if row["trades"]] == [wanted[at]["trades"] for at in sorted(wanted)], interval
        (last,) = [row for row in ours if row["open_time"] == max(wanted)]
        late = price_event("ABC", prices[-1][0] // 1000 * 1000, "12345")
        server.request("POST", "/v1/prices", late)
        second = server.json(f"/v1/candles?series=kraken:ABC/USD&kind=price&interval=1s&from={prices[-1][0] // 1000 * 1000}")[0]
        assert second["high"] == "12345", second
        why = server.json(f"/v1/why?series=kraken:ABC/USD&kind=price&time={prices[-1][0]}")["candle"]
        assert (why["interval"], why["open_time"], why["high"]) == ("1m", prices[-1][0] // 60_000 * 60_000, "12345"), why
        server.kill()
        server = Server(options.wick, data, config=config)
        server.wait_ready()
        again = server.json(f"/v1/candles?series=kraken:ABC/USD&kind=price&interval=1s&from={prices[-1][0] // 1000 * 1000}")[0]
        assert {**again, "final": None, "revision": None, "reason": None} == {**second, "final": None, "revision": None, "reason": None}, again
        trades_are_equal()
    finally:
        server.stop()


def made_anew():
    before = [read(SERIES, "trade", interval, trades[0][0], trades[-1][0]) for interval in ("1s", "1m", "1d")]
    must(options.wick, "fsck", "--config", config, data=data)
    must(options.wick, "fsck", "--rebuild", "--config", config, data=data)
    trades_are_equal()
    after = [read(SERIES, "trade", interval, trades[0][0], trades[-1][0]) for interval in ("1s", "1m", "1d")]
    assert before == after, "other candles after --rebuild"
    must(options.wick, "ledger", "--config", config, data=data)


def klines_of_seconds():
    fields = ("open", "high", "low", "close", "volume")
    wanted = fold(trades[:3000], "1s")
    path, other = os.path.join(options.scratch, "LTCUSDT-1s-2024.csv"), data + "-klines"
    with open(path, "w") as file:
        for at, c in sorted(wanted.items()):
            values = [at, *(c[f] for f in fields), at + 999, c["quote_volume"], c["trades"], c["taker_buy_volume"], c["taker_buy_quote_volume"], 0]
            file.write(",".join(map(str, values)) + "\n")
    (row,) = rows(options.wick, "import", path, "--config", config, data=other)
    assert (row["used"], row["invalid"]) == (len(wanted), 0), row
    for interval in ("1s", "1m", "1h"):
        ours = rows(options.wick, "candles", "binance:LTC/USDT", "--interval", interval, "--limit", "50000", "--from", "0", "--config", config, data=other)
        same(ours, fold(trades[:3000], interval), fields, interval)


def another_base():
    """A folder keeps its base: with another one it is refused by name, not read wrongly."""
    for words in (["candles", SERIES], ["run", "--listen", "127.0.0.1:0"], ["import", config]):
        code, out, err = run(options.wick, *words, data=data)
        assert code == 3 and out == b"" and b"candles.base" in err and data.encode() in err, (words, code, out[:200], err)
    minutes = os.path.join(options.scratch, "minutes")
    must(options.wick, "import", os.path.join(options.scratch, "BTCUSDT-trades.csv"), "--venue", "binance", data=minutes)
    code, out, err = run(options.wick, "candles", SERIES, "--config", config, data=minutes)
    assert code == 3 and out == b"" and b"of 1m, not of 1s" in err, (code, out[:200], err)


for name, case in (("trades", import_trades), ("as-with-minutes", as_with_minutes), ("prices", post_prices), ("made-anew", made_anew), ("klines", klines_of_seconds),
                   ("another-base", another_base)):
    report.case(name, case)
sys.exit(report.done())
