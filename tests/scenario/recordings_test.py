"""Recorded exchange data: candles against the exchange's own, verdicts of `wick verify`, imports that repeat."""
import csv, decimal, gzip, io, json, os, shutil, sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from wick import SHARED, Report, arguments, must, rows, run

options = arguments("recorded exchange data")
report = Report()
DATA = os.path.join(SHARED, "data")
if not os.path.isdir(DATA):
    report.skip("recordings", f"no recorded data at {DATA} (WICK_SHARED)")
    sys.exit(0)
D = decimal.Decimal
counter = 0


def folder():
    global counter
    counter += 1
    return os.path.join(options.scratch, f"data-{counter}")


def scratch(name, text):
    path = os.path.join(options.scratch, name)
    with open(path, "w") as file:
        file.write(text)
    return path


def candles(data, series, interval, *more):
    return rows(options.wick, "candles", series, "--interval", interval, "--limit", "50000", *more, data=data)


def number(value):
    return D(repr(value)) if isinstance(value, float) else D(value)


def compare(ours_, wanted, volumes=True):
    """`wanted`: (open time, open, high, low, close, volume); every one must be there, exactly."""
    ours = {row["open_time"]: row for row in ours_}
    wrong = []
    for time, *values in wanted:
        row = ours.get(time)
        got = None if row is None else [D(row[k]) for k in ("open", "high", "low", "close", "volume")[:5 if volumes else 4]]
        if got != [number(v) for v in values[:5 if volumes else 4]]:
            wrong.append(f"{time}: {got}, not {values}")
    assert not wrong, f"{len(wrong)} of {len(wanted)} differ, the first: {wrong[0]}"


def xrp_eth():
    trades = json.loads(gzip.open(os.path.join(DATA, "trades", "XRP_OLD-trades.json.gz")).read())
    rows = [",".join(str(t["info"][k]).lower() for k in ("a", "p", "q", "f", "l", "T", "m", "M")) for t in trades]
    path = scratch("XRPETH-aggTrades-2019-10-11.csv", "\n".join(rows) + "\n")
    data = folder()
    must(options.wick, "import", "--as", "binance-aggtrades", "--venue", "binance", path, data=data)
    for interval in ("1m", "5m"):
        wanted = json.load(open(os.path.join(DATA, "trades", f"XRP_ETH-{interval}.json")))
        last = max(row[0] for row in wanted)  # still open when it was recorded
        compare(candles(data, "binance:XRP/ETH", interval, "--from", str(wanted[0][0])), [r for r in wanted if r[0] != last])


def reference_fold(trades):
    """(time, id, price, quantity) -> 1m rows."""
    buckets = {}
    for time, number_, price, quantity in trades:
        # An id that was seen already keeps its first content.
        buckets.setdefault(time // 60000 * 60000, {}).setdefault(number_, (time, price, quantity))
    rows = []
    for start in sorted(buckets):
        ordered = [value for _, value in sorted(buckets[start].items())]
        prices = [p for _, p, _ in ordered]
        rows.append((start, prices[0], max(prices), min(prices), prices[-1], sum(q for _, _, q in ordered)))
    return rows


def trx(name):
    path = os.path.join(DATA, "trades", f"test_{name}_binance_trade_stream_spot_trxusdt_04-03-2025.csv")
    with open(path) as file:
        rows = list(csv.DictReader(file))
    # The negative file repeats a line and puts one receive time on another day; neither changes the set of trades.
    wanted = reference_fold([(int(r["TransactionTime"]) // 1000, int(r["TradeId"]), D(r["Price"]), D(r["Quantity"])) for r in rows])
    data = folder()
    said = json.loads(must(options.wick, "import", "--columns", "-,-,-,-,time,-,id,price,quantity,-,-", "--time-unit", "us", "--series",
                           "binance:TRX/USDT", "--format", "json", path, data=data))
    compare(candles(data, "binance:TRX/USDT", "1m"), wanted)
    repeated = len(rows) - len({r["TradeId"] for r in rows})
    assert (said["read"], said["duplicate"]) == (len(rows), repeated), said


def ada_klines():
    path = os.path.join(DATA, "klines", "ADABTC-1m-2021-11-27.csv")
    data = folder()
    must(options.wick, "import", "--as", "binance-klines", "--venue", "binance", path, data=data)
    ours = {r["open_time"]: r for r in candles(data, "binance:ADA/BTC", "1m")}
    names = ("open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "trades", "taker_buy_volume",
             "taker_buy_quote_volume")
    with open(path) as file:
        for values in csv.reader(file):
            row = ours[int(values[0])]
            got, wanted = [D(row[n]) for n in names], [D(v) for v in values[:11]]
            assert got == wanted, f"{values[0]}: {got}, not {wanted}"
            assert row["basis"] == "klines" and row["hash"] is None, row


def many_intervals():
    with open(os.path.join(DATA, "klines", "binance-multitf-ETHBTC-1589740560.csv")) as file:
        rows = list(csv.DictReader(file))
    by_interval = {}
    for r in rows:
        by_interval.setdefault(r["interval"], []).append(
            (int(r["open_ts"]) * 1000, r["open"], r["high"], r["low"], r["close"], r["volume"]))
    checked = 0
    # Each finer set is the input; what it covers whole must give the exchange's own coarser candles.
    for fine, coarser in (("1m", ("3m", "5m", "15m", "30m", "1h", "2h", "4h")), ("15m", ("30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d")),
                          ("1d", ("3d", "1w", "1M"))):
        source = by_interval[fine]
        # Only minutes are taken in: a coarser row stands in for its first minute, which changes no sum and no extreme.
        text = "".join(f"{t},{o},{h},{l},{c},{v},{t + 59_999},0,1,0,0,0\n" for t, o, h, l, c, v in source)
        path = scratch(f"ETHBTC-1m-2020-05-{fine}.csv", text)
        data = folder()
        must(options.wick, "import", "--as", "binance-klines", "--venue", "binance", path, data=data)
        first, last = source[0][0], source[-1][0]  # the last one is still open
        for interval in coarser:
            theirs = by_interval.get(interval, [])
            whole = [row for row, following in zip(theirs, theirs[1:]) if row[0] >= first and following[0] <= last]
            if not whole:
                continue
            compare(candles(data, "binance:ETH/BTC", interval, "--from", str(whole[0][0])), whole)
            checked += len(whole)
    assert checked > 300, f"only {checked} candles could be compared"


def one_day_stream():
    path = os.path.join(DATA, "trades", "spot-btcusdt_20240808.gz")
    trades = []
    with gzip.open(path, "rt") as file:
        for line in file:
            message = json.loads(line.split(" ", 1)[1])
            event = message.get("data", message)
            if event.get("e") == "trade":
                trades.append((event["T"], event["t"], D(event["p"]), D(event["q"])))
    data = folder()
    must(options.wick, "import", "--as", "binance-stream", path, data=data)
    compare(candles(data, "binance:BTC/USDT", "1m"), reference_fold(trades))


def verdicts(name):
    truth = {}
    with open(os.path.join(DATA, "binance-ws", "kline-truth.jsonl")) as file:
        for line in file:
            row = json.loads(line)
            if row["capture"] == name:
                truth[(row["line"], row["symbol"])] = row["check"]
    code, out, err = run(options.wick, "verify", "--capture", os.path.join(DATA, "binance-ws", name), "--format", "json")
    assert code == 0, f"exit {code}: {err[-300:]!r}"
    ours = {}
    for line in out.splitlines():
        row = json.loads(line)
        if "line" in row:
            ours[(row["line"], row["symbol"])] = row["check"]
    wrong = [f"{key}: {ours.get(key)}, not {check}" for key, check in truth.items() if ours.get(key) != check]
    assert truth and not wrong and len(ours) == len(truth), f"{len(wrong)} of {len(truth)} differ: {wrong[:3]}; {len(ours)} given"


def the_same_content_twice_changes_nothing():
    path = os.path.join(DATA, "klines", "ADABTC-1m-2021-11-27.csv")
    other = os.path.join(options.scratch, "ADABTC-1m-copy.csv")
    shutil.copy(path, other)
    data = folder()
    must(options.wick, "import", "--as", "binance-klines", "--venue", "binance", path, data=data)
    before = candles(data, "binance:ADA/BTC", "1m")
    said = json.loads(must(options.wick, "import", "--as", "binance-klines", "--venue", "binance", other, "--format", "json", data=data))
    assert said["repeated"] is True, said
    assert candles(data, "binance:ADA/BTC", "1m") == before
    must(options.wick, "ledger", data=data)


def copied_or_by_reference_the_same_candles():
    path = os.path.join(DATA, "binance-ws", "BINANCE_FUTURES.ws.1.0")
    a, b = folder(), folder()
    must(options.wick, "import", path, data=a)
    must(options.wick, "import", "--copy", path, data=b)
    series = sorted(row["series"] for row in rows(options.wick, "series", data=a))
    assert series, "no series"
    drop, compared = ("final", "revision", "last_offset"), 0
    for name in series:
        both = [[{k: v for k, v in r.items() if k not in drop} for r in candles(d, name, "1m")] for d in (a, b)]
        assert both[0] == both[1], f"{name}: {both[0][:1]} {both[1][:1]}"
        compared += len(both[0])
    assert compared > 0, "no candles"


report.case("xrp-eth-1m-5m", xrp_eth)
report.case("trx-clean", trx, "positive")
report.case("trx-with-faults", trx, "negative")
report.case("ada-klines", ada_klines)
report.case("many-intervals", many_intervals)
report.case("btc-stream", one_day_stream)
for capture in ("BINANCE.2021-04-17.ws.1.0", "BINANCE_FUTURES.ws.1.0", "BINANCE_TR.ws.1.0"):
    report.case(f"verdicts-{capture}", verdicts, capture)
report.case("the-same-content-twice", the_same_content_twice_changes_nothing)
report.case("copied-or-by-reference", copied_or_by_reference_the_same_candles)
sys.exit(report.done())
