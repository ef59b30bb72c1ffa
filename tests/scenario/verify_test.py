"""wick verify on a capture of a page that has one push of each verdict, and on one whose venue is wrong."""
import json, os, sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from wick import Report, arguments, run

MINUTE = 1_618_678_080_000
options = arguments(__doc__)
report = Report()


def trade(symbol, first, last, price, quantity, at, maker=False):
    return {"e": "aggTrade", "E": at, "s": symbol, "a": first, "p": price, "q": quantity, "f": first, "l": last, "T": at, "m": maker, "M": True}


def push(symbol, first, last, prices, volume, quote, buy, buy_quote, trades=None, at=MINUTE):
    o, h, l, c = prices
    count = last - first + 1 if trades is None else trades
    return {"e": "kline", "E": at, "s": symbol, "k": {
        "t": at, "T": at + 59_999, "s": symbol, "i": "1m", "f": first, "L": last, "o": o, "c": c, "h": h, "l": l, "v": volume, "n": count,
        "x": False, "q": quote, "V": buy, "Q": buy_quote, "B": "0"}}


FLAT = push("LTCUSDT", -1, -1, ("7", "7", "7", "7"), "0", "0", "0", "0", 0)
GOOD = [
    trade("XRPUSDT", 1, 2, "0.5", "10", MINUTE + 1000),
    trade("XRPUSDT", 3, 3, "0.6", "5", MINUTE + 2000, True),
    (push("XRPUSDT", 1, 3, ("0.5", "0.6", "0.5", "0.6"), "15", "8", "10", "5"), "full-exact"),
    trade("XRPUSDT", 4, 6, "0.4", "3", MINUTE + 3000),
    (push("XRPUSDT", 1, 5, ("0.5", "0.6", "0.4", "0.4"), "17", "8.8", "12", "5.8"), "full-straddle"),
    (push("ETHUSDT", 10, 12, ("3", "4", "3", "4"), "7", "25", "1", "3"), "uncovered"),
    trade("ETHUSDT", 13, 14, "2", "2.5", MINUTE + 4000),
    (push("ETHUSDT", 10, 14, ("3", "4", "2", "2"), "9.5", "30", "3.5", "8"), "delta-exact"),
    (FLAT, "empty-flat"),
]
BAD = [
    # A unit of the last decimal too much, an increment that is not the trades', and prices without a trade.
    (push("XRPUSDT", 1, 3, ("0.5", "0.6", "0.5", "0.6"), "15.00000001", "8", "10", "5"), "volume: ours 15, theirs 15.00000001"),
    (push("ETHUSDT", 10, 14, ("3", "4", "2", "2"), "9.4", "30", "3.5", "8"), "volume: ours 9.5, theirs 9.4"),
    ({**FLAT, "k": {**FLAT["k"], "c": "8"}}, "a candle without trades is not flat"),
]


def capture(name, messages):
    """Its path, and of each push the line and what is said of it."""
    path, said = os.path.join(options.scratch, name), []
    with open(path, "w") as file:
        file.write("wss://stream.binance.com:9443/stream?streams=xrpusdt@aggTrade/xrpusdt@kline_1m <-> 1618678079.5\n")
        for line, message in enumerate(messages, 2):
            if isinstance(message, tuple):
                message, what = message
                said.append((line, what))
            stream = f"{message['s'].lower()}@{'kline_1m' if 'k' in message else 'aggTrade'}"
            file.write(f"{message['E'] / 1000 + line}: {json.dumps({'stream': stream, 'data': message})}\n")
    return path, said


def all_explained():
    path, said = capture("good", GOOD)
    code, out, err = run(options.wick, "verify", "--capture", path)
    assert (code, err) == (0, b""), (code, err)
    assert out == b"full-exact=1 delta-exact=1 full-straddle=1 empty-flat=1 uncovered=1 unexplained=0\n", out
    code, out, _ = run(options.wick, "verify", "--capture", path, "--format", "json")
    ours = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and [(row["line"], row["check"]) for row in ours] == said, ours
    assert [row["symbol"] for row in ours] == ["XRPUSDT", "XRPUSDT", "ETHUSDT", "ETHUSDT", "LTCUSDT"]


def unexplained():
    path, said = capture("bad", GOOD[:-2] + [BAD[0], BAD[2]])
    said = [s for s in said if s[1] in (BAD[0][1], BAD[2][1])]
    code, out, err = run(options.wick, "verify", "--capture", path)
    lines = out.decode().splitlines()
    assert (code, err) == (1, b""), (code, err)
    assert lines[-1] == "full-exact=1 delta-exact=0 full-straddle=1 empty-flat=0 uncovered=1 unexplained=2", lines
    assert len(lines) == 3 and all(line.startswith(f"line {at}: ") and line.endswith(why) for line, (at, why) in zip(lines, said)), (lines, said)
    code, out, _ = run(options.wick, "verify", "--capture", path, "--format", "json")
    ours = [json.loads(line) for line in out.splitlines()]
    assert code == 1 and [(row["line"], row["why"]) for row in ours if row["check"] == "unexplained"] == said, ours


def unexplained_increment():
    path, said = capture("increment", GOOD[5:7] + [BAD[1]])
    code, out, _ = run(options.wick, "verify", "--capture", path)
    lines = out.decode().splitlines()
    assert code == 1 and lines[-1] == "full-exact=0 delta-exact=0 full-straddle=0 empty-flat=0 uncovered=1 unexplained=1", lines
    assert lines[0].startswith(f"line {said[-1][0]}: ETHUSDT 1m ") and lines[0].endswith(BAD[1][1]), lines


def straddle():
    """A push within an order: prices and count are known, and of the volumes how much they are at most."""
    good = GOOD[4][0]
    for field, wrong, why in (("c", "0.5", "close: ours 0.4, theirs 0.5"), ("n", 4, "trades: ours 5, theirs 4"),
                              ("v", "18.1", "volume: ours 18, theirs 18.1"), ("Q", "6.3", "taker_buy_quote_volume: ours 6.2, theirs 6.3")):
        path, _ = capture("straddle", GOOD[:4] + [({**good, "k": {**good["k"], field: wrong}}, why)])
        code, out, _ = run(options.wick, "verify", "--capture", path)
        lines = out.decode().splitlines()
        assert code == 1 and lines[0].endswith(why) and lines[-1].endswith("full-straddle=0 empty-flat=0 uncovered=0 unexplained=1"), lines


def times_and_ends():
    """Beside the numbers: how long the candle is, whether it was over, and what a flat one stands on."""
    good, repeat, flat = GOOD[2][0], GOOD[5][0], lambda price, at, **more: {**(f := push("LTCUSDT", -1, -1, (price,) * 4, "0", "0", "0", "0", 0, at)),
                                                                           "E": more.get("E", at), "k": {**f["k"], **more.get("k", {})}}
    ended, later = {"E": MINUTE + 60_005, "k": {"x": True}}, MINUTE + 60_000
    for messages, why in (
            ([*GOOD[:2], {**good, "k": {**good["k"], "T": MINUTE + 59_998}}], "close_time: 59999 ms long, 60000 are 1m"),
            ([{**repeat, "k": {**repeat["k"], "T": MINUTE + 119_999}}], "close_time: 120000 ms long, 60000 are 1m"),
            ([*GOOD[:2], {**good, "k": {**good["k"], "x": True}}], f"closed: pushed as closed at {good['E']}, before its end"),
            ([repeat, {**repeat, "k": {**repeat["k"], "v": "8"}}], "volume: 7 in the push before it, of the same trades, theirs 8"),
            ([flat("7", MINUTE, **ended), flat("8", later)], "close: 7 in the candle before it, theirs 8"),
            ([flat("8", later), flat("7", MINUTE, **ended)], "close: 7 in the candle before it, theirs 8"),
            ([flat("7", MINUTE), flat("8", MINUTE)], "close: 7 in the push before it, theirs 8"),
            ([push("LTCUSDT", 4, 4, ("7",) * 4, "1", "7", "0", "0"), flat("7", MINUTE)], "trades: 1 in the push before it, theirs 0"),
            ([trade("LTCUSDT", 1, 2, "7", "1", MINUTE + 5), flat("7", MINUTE, **ended)], "trades: ours 2, theirs 0")):
        path, _ = capture("times", messages)
        code, out, _ = run(options.wick, "verify", "--capture", path)
        lines = out.decode().splitlines()
        assert code == 1 and len(lines) == 2 and lines[0].endswith(": " + why) and lines[1].endswith("unexplained=1"), (why, lines)
    path, _ = capture("flat", [flat("7", MINUTE, **ended), flat("7", later), flat("7", later), repeat, repeat,
                               *GOOD[:2], {**good, "E": MINUTE + 60_005}])
    code, out, _ = run(options.wick, "verify", "--capture", path)
    assert (code, out) == (0, b"full-exact=1 delta-exact=0 full-straddle=0 empty-flat=3 uncovered=2 unexplained=0\n"), out


def closed(symbol, first, last, prices, volume, quote, **more):
    """The last word on a candle; `more` are members of it."""
    message = push(symbol, first, last, prices, volume, quote, volume, quote, more.pop("n", None))
    return {**message, "E": MINUTE + 60_005, "k": {**message["k"], "x": True, **more}}


def single(symbol, number, price, at):
    return {"e": "trade", "E": at, "s": symbol, "t": number, "p": price, "q": "1", "T": at, "m": False, "M": True}


def one_verdict(messages, check, why="", venue="binance"):
    """Of the last push of the capture."""
    path, _ = capture("one", messages)
    code, out, err = run(options.wick, "verify", "--capture", path, "--venue", venue, "--format", "json")
    row = json.loads(out.splitlines()[-1])
    assert (row["check"], row.get("why", ""), code) == (check, why, int(check == "unexplained")), (row, check, why, err)


def whose_trades():
    """A push names all the trades of its candle, and no other one's: whatever the numbers beside them say."""
    trades = [single("XRPUSDT", number, price, at) for number, price, at in (
        (10, "5", MINUTE - 1000), (11, "6", MINUTE + 1000), (12, "7", MINUTE + 2000), (13, "8", MINUTE + 60_500))]
    whole, first = (("6", "7", "6", "7"), "2", "13"), (("6",) * 4, "1", "6")
    older, younger = "first_id: trade 10 is older than the candle, theirs {}", "last_id: trade 13 is younger than the candle, theirs {}"
    for ids, numbers, more, why in (
            ((11, 12), whole, {}, ""),
            ((10, 12), whole, {"n": 2}, older.format(10)), ((10, 12), whole, {}, older.format(10)),
            ((11, 13), whole, {"n": 2}, younger.format(13)), ((10, 13), whole, {"n": 2}, older.format(10)),
            ((11, 11), first, {}, "last_id: ours 12, theirs 11"), ((12, 12), (("7",) * 4, "1", "7"), {}, "first_id: ours 11, theirs 12"),
            ((12, 12), (("7",) * 4, "1", "7"), {"x": False}, "first_id: ours 11, theirs 12"), ((11, 11), first, {"x": False}, ""),
            ((11, 12), whole, {"n": 3}, "trades: ids 11 to 12, theirs 3"), ((12, 11), whole, {"n": 1}, "trades: ids 12 to 11, theirs 1"),
            # Ids of which the capture holds nothing, while it holds the candle's.
            ((2, 3), whole, {}, "last_id: ours 12, theirs 3"), ((2, 3), whole, {"x": False}, older.format(2)),
            ((70, 71), whole, {}, "first_id: ours 11, theirs 70"), ((0, 2**63 - 1), whole, {"n": 2}, older.format(0))):
        one_verdict([*trades, closed("XRPUSDT", *ids, *numbers, **more)], "unexplained" if why else "full-exact", why)
    flat = ("5",) * 4, "0", "0"
    for ids in ((0, 0), (-1, 0), (-2, -2), (-1, 5), (11, 11)):
        why = f"first_id, last_id: -1 without trades, theirs {ids[0]} and {ids[1]}"
        one_verdict([closed("XRPUSDT", *ids, *flat, n=0)], "unexplained", why)
    one_verdict([closed("XRPUSDT", -1, -1, *flat, n=0)], "empty-flat")
    # An aggregated trade has one time: a candle ends within one only where a venue gathers what came in 100 ms.
    order = trade("XRPUSDT", 11, 13, "6", "3", MINUTE + 59_990)
    within = closed("XRPUSDT", 11, 12, ("6",) * 4, "2", "12")
    one_verdict([order, within], "unexplained", "last_id: ours 13, theirs 12")
    one_verdict([order, within], "full-straddle", venue="binance-usdm")


def said_before():
    """What the venue said goes by its own times, as recordings are merged and connections repeat what another has sent."""
    at = lambda message, second, **k: {**message, "E": MINUTE + second * 1000, "k": {**message["k"], **k}}
    empty, one = at(FLAT, 2), at(push("LTCUSDT", 10, 10, ("6",) * 4, "1", "6", "1", "6"), 4)
    two = at(push("LTCUSDT", 10, 11, ("6", "7", "6", "7"), "2", "13", "2", "13"), 6)
    trades = [single("LTCUSDT", 10, "6", MINUTE + 3000), single("LTCUSDT", 11, "7", MINUTE + 5000)]
    for messages in ([empty, trades[0], one, empty, trades[1], two], [empty, trades[0], one, trades[1], two, one, empty, two]):
        for last in range(1, len(messages) + 1):
            if "k" in messages[last - 1]:
                one_verdict(messages[:last], "empty-flat" if messages[last - 1] is empty else "full-exact")
    one_verdict([one, at(FLAT, 5)], "unexplained", "trades: 1 in the push before it, theirs 0")
    one_verdict([one, at(two, 6, f=9)], "unexplained", "first_id: 10 in the push before it, theirs 9")
    ended, following = at(two, 61, x=True), push("LTCUSDT", 11, 12, ("7",) * 4, "2", "14", "2", "14", at=MINUTE + 60_000)
    one_verdict([ended, following], "unexplained", "first_id: the candle before it ends with 11, theirs 11")
    one_verdict([ended, at(two, 61, x=True, L=12, n=3)], "unexplained", "last_id: 11 in the push before it, theirs 12")


def unreadable():
    """A push that cannot be read is not passed over."""
    path, _ = capture("unreadable", GOOD)
    whole = open(path).read().splitlines(keepends=True)
    for broken in (whole[5][:-40], whole[5].replace('"c": "0.4", ', "").rstrip("\n")):
        with open(path, "w") as file:
            file.write("".join(whole[:5] + [broken + "\n"] + whole[6:]))
        code, out, err = run(options.wick, "verify", "--capture", path)
        assert code == 1 and out.endswith(b"unexplained=0\n"), (code, out)
        assert b"1 line cannot be judged; the first is line 6: " in err, err


def no_capture():
    """Exit 3, and why: other files, and captures in which there is nothing to compare."""
    path, _ = capture("trades-only", GOOD[:2])
    rows = os.path.join(options.scratch, "BTCUSDT-1m-2024-03-01.csv")
    with open(rows, "w") as file:
        file.write("1709251200000,1,2,1,1,1,1709251259999,1,1,1,1,0\n")
    for file, said in ((path, b"no kline push"), (rows, b"binance-klines, and no capture")):
        for form in ("table", "json"):
            code, out, err = run(options.wick, "verify", "--capture", file, "--format", form)
            assert (code, out) == (3, b"") and said in err and file.encode() in err, (code, out, err)
    for words, code, said in ((["/nowhere"], 3, b"/nowhere"), ([__file__], 3, os.path.basename(__file__).encode())):
        got, out, err = run(options.wick, "verify", "--capture", *words)
        assert got == code and out == b"" and said in err, (got, out, err)


for name, case in (("all-explained", all_explained), ("unexplained", unexplained), ("unexplained-increment", unexplained_increment),
                   ("straddle", straddle), ("times-and-ends", times_and_ends), ("whose-trades", whose_trades),
                   ("said-before", said_before), ("unreadable", unreadable), ("no-capture", no_capture)):
    report.case(name, case)
sys.exit(report.done())
