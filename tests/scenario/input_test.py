"""Bad files, configurations and arguments: a clear error with the place, the right exit code, and nothing lost."""
import gzip, json, os, random, struct, sys, time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from wick import Report, arguments, must, price_event, rows, run

options = arguments("bad input")
report, chance = Report(), random.Random(options.seed)
now = int(time.time() * 1000) // 60000 * 60000 - 3600_000


def file_of(name, content):
    path = os.path.join(options.scratch, name)
    with open(path, "wb") as file:
        file.write(content if isinstance(content, bytes) else content.encode())
    return path


def data_of(name):
    return os.path.join(options.scratch, "data-" + name)


def refuses(words, codes, *wanted, data=None):
    code, out, err = run(options.wick, *words, data=data)
    said = err.decode(errors="replace")
    assert code in codes, f"wick {' '.join(words)}: exit {code}, {said[-300:]}"
    assert said.strip() and "Assertion" not in said, f"said: {said!r}"
    for text in wanted:
        assert text in said, f"\"{text}\" is not in: {said[-300:]}"


def arguments_():
    refuses(["nothing"], [2], "nothing")
    refuses(["candles"], [2])
    refuses(["candles", "binance:BTC/USDT", "--nothing"], [2], "--nothing")
    refuses(["candles", "binance:BTC/USDT", "--interval", "7x"], [2, 3], data=data_of("none"))
    refuses(["import"], [2])
    refuses(["import", "--as", "nothing", "x"], [2], "nothing")
    refuses(["topic", "fly"], [2])


def configurations():
    for name, text, wanted in (("unknown", "http:\n  lisen: 1\n", "unknown.yaml:2"), ("type", "log:\n  segment: many\n", "type.yaml:2"),
                               ("range", "http:\n  threads: 0\n", "range.yaml:2"), ("syntax", "http: {\n", "syntax.yaml"),
                               ("twice", "data: a\ndata: b\n", "twice.yaml:2")):
        path = file_of(name + ".yaml", text)
        refuses(["run", "--config", path, "--print-config"], [3], wanted)
    refuses(["run", "--config", os.path.join(options.scratch, "absent.yaml"), "--print-config"], [3, 5], "absent.yaml")
    printed = file_of("printed.yaml", must(options.wick, "run", "--print-config"))
    assert must(options.wick, "run", "--config", printed, "--print-config") == open(printed, "rb").read()


def files_that_are_not():
    good = price_event("A", now, "1")
    refuses(["import", "--as", "price-events", os.path.join(options.scratch, "absent.jsonl")], [3, 5], "absent.jsonl", data=data_of("absent"))
    refuses(["import", "--as", "price-events", options.scratch], [3, 5], data=data_of("folder"))
    packed = gzip.compress((good + "\n").encode() * 1000)
    refuses(["import", "--as", "price-events", file_of("cut.jsonl.gz", packed[:len(packed) // 2])], [3, 4, 5], "cut.jsonl.gz", data=data_of("cut"))
    assert not must(options.wick, "topic", "list", data=data_of("cut")) or b'"read":1000' not in must(
        options.wick, "ledger", "--format", "json", data=data_of("cut"))


def bad_lines_are_kept():
    lines = [price_event("A", now + i, str(i + 1)) for i in range(100)]
    bad = ["", "{", "not json", price_event("A", now, "-1"), price_event("A", now, "1" * 40), '{"a":1}', "[" * 200, "\x00\x01\x02",
           price_event("A", 57111 * 31556952000, "1"), price_event("A", now, "NaN"), lines[0][:50]]
    mixed = [text for pair in zip(lines, bad + [""] * 100) for text in pair] + lines[len(bad):]
    data = data_of("bad")
    must(options.wick, "import", "--as", "price-events", file_of("bad.jsonl", "\n".join(dict.fromkeys(mixed)) + "\n"), data=data)
    rows = must(options.wick, "candles", "kraken:A/USD", "--format", "csv", data=data).decode().splitlines()
    assert sum(int(row.split(",")[8]) for row in rows[1:]) == 100, rows
    rejected = must(options.wick, "topic", "read", "imports.invalid", "--values", data=data).decode(errors="replace")
    for text in ("not json", price_event("A", now, "-1"), price_event("A", now, "1" * 40), '{"a":1}'):
        assert text in rejected, f"{text!r} is not in imports.invalid"
    must(options.wick, "ledger", data=data)


def copies_keep_what_they_refuse():
    """Every event is in the log, what is none in imports.invalid; the same file again, and the candles, are the same."""
    path, a, b = os.path.join(options.scratch, "copied.jsonl"), data_of("referred"), data_of("copied")
    must(options.wick, "generate", "price-events", "--count", "20000", "--series", "300", "--seed", "3", "--span-ms", "600000",
         "--disorder-ms", "2000", "--out", path)
    with open(path, "a") as file:
        file.write("{}\n")
    by_reference = json.loads(must(options.wick, "import", path, "--format", "json", data=a))
    for _ in range(2):
        copied = json.loads(must(options.wick, "import", "--copy", path, "--format", "json", data=b))
        assert [copied[k] for k in ("read", "invalid")] == [20001, 1] == [by_reference[k] for k in ("read", "invalid")], copied
        refused = must(options.wick, "topic", "read", "imports.invalid", "--values", data=b)
        assert refused.strip() == b"{}", refused
    totals = rows(options.wick, "ledger", data=b)
    assert [row["read"] for row in totals if row["topic"] == "prices"] == [20000], totals
    names = sorted(row["series"] for row in rows(options.wick, "series", data=a))
    assert len(names) == 300 and names == sorted(row["series"] for row in rows(options.wick, "series", data=b))
    drop = ("final", "revision", "last_offset")
    for name in names[::37]:
        both = [[{k: v for k, v in row.items() if k not in drop} for row in rows(options.wick, "candles", name, data=d)]
                for d in (a, b)]
        assert both[0] and both[0] == both[1], f"{name}: {both[0][:1]} {both[1][:1]}"


def frames_are_copied_whole():
    """A message of many trades is one record, and its trades, up to 2,048, are the same as by reference."""
    a, b, frames, trade = data_of("frames-referred"), data_of("frames-copied"), b"", 0
    for count in (1, 5, 300, 2048):
        trades = [{"id": 10 ** 20 + trade + i, "tradeId": trade + i, "ts": now + (trade + i) * 10, "amount": 1 + i % 7, "price": 100 + i % 11,
                   "direction": "buy"} for i in range(count)]
        trade += count
        text = json.dumps({"ch": "market.btcusdt.trade.detail", "ts": now, "tick": {"id": trade, "ts": now, "data": trades[::-1]}})
        packed = gzip.compress(text.encode())
        frames += struct.pack("<QI", now * 1000, len(packed)) + packed
    path = file_of("HTX.frames", frames)
    for data, words in ((a, ()), (b, ("--copy",))):
        answer = json.loads(must(options.wick, "import", *words, "--as", "huobi-frames", "--venue", "huobi", path, "--format", "json", data=data))
        said = ("messages", 4) if words else ("used", trade)
        assert (answer["read"], answer["invalid"], answer[said[0]]) == (trade, 0, said[1]), answer
    kept = must(options.wick, "topic", "read", "inbound-data-huobi", "--values", data=b).splitlines()
    assert [len(json.loads(line)["tick"]["data"]) for line in kept] == [1, 5, 300, 2048], len(kept)
    totals = [row for row in rows(options.wick, "ledger", data=b) if row["topic"] == "inbound-data-huobi"]
    assert [(row["read"], row["used"]) for row in totals] == [(trade, trade)], totals
    both = [[(r["open_time"], r["open"], r["close"], r["volume"], r["trades"]) for r in rows(options.wick, "candles", "huobi:BTC/USDT", data=d)]
            for d in (a, b)]
    assert both[0] and both[0] == both[1], both


def what_no_candle_can_hold():
    """The future and impossible products are refused with their line, and move no watermark."""
    current = int(time.time() * 1000)
    far, year_9999 = current + 600_000, 253402300799999
    data = data_of("beyond")
    lines = [price_event("B", current - 60_000, "7"), price_event("B", far, "8"), price_event("B", year_9999, "9"),
             price_event("B", current - 59_000, "6")]
    must(options.wick, "import", "--as", "price-events", file_of("beyond.jsonl", "\n".join(lines) + "\n"), data=data)
    huge = "9" * 20
    rows = [f"1,5,1,5,{current},true", f"2,5,1,5,{far},true", f"3,{huge},{huge},1,{current},true", f"4,5,2,10,{current},true"]
    must(options.wick, "import", "--as", "binance-trades", file_of("BTCUSDT-trades-beyond.csv", "\n".join(rows) + "\n"), data=data)
    ledger = {row["topic"]: row for row in map(json.loads, must(options.wick, "ledger", "--format", "json", data=data).splitlines())}
    for number, used, invalid in ((1, 2, 2), (2, 2, 2)):
        row = ledger[f"imports/{number}"]
        assert (row["read"], row["used"], row["invalid"], row["late"]) == (4, used, invalid, 0), row
    kept = [json.loads(line) for line in must(options.wick, "topic", "read", "imports.invalid", data=data).splitlines()]
    told = [(row["value"], row["headers"]["reason"], row["headers"]["line"]) for row in kept]
    assert told == [(lines[1], "future", "2"), (lines[2], "future", "3"), (rows[1], "future", "2"), (rows[2], "range", "3")], told


def klines_in_progress():
    """REST's answers end with the candle of this minute: it is no candle yet, is counted, and is taken once it is over."""
    current = int(time.time() * 1000) // 60_000 * 60_000
    data = data_of("in-progress")
    rows_at = [[current + i * 60_000, "1.0", "3", "1", "2", "5", current + i * 60_000 + 59_999, "7", 3, "1", "1.5", "0"] for i in (-2, -1, 0, 1, 9)]
    for name, text in (("BTCUSDT-1m.json", json.dumps(rows_at)), ("ETHUSDT-1m.csv", "".join(",".join(map(str, row)) + "\n" for row in rows_at))):
        said = json.loads(must(options.wick, "import", file_of(name, text), "--format", "json", data=data))
        open_rows = 3 if int(time.time() * 1000) < current + 60_000 else None  # None: the minute passed meanwhile
        assert open_rows is None or (said["read"], said["used"], said["invalid"]) == (5, 2, 3), said
        shown = rows(options.wick, "candles", f"binance:{name[:7]}", data=data)
        assert open_rows is None or [row["open_time"] for row in shown] == [current - 120_000, current - 60_000], shown
    kept = [json.loads(line)["headers"] for line in must(options.wick, "topic", "read", "imports.invalid", data=data).splitlines()]
    assert all(row["reason"] == "future" for row in kept) and len(kept) in (4, 5, 6), kept
    assert f"not closed yet: it ends with {current + 600_000 - 1}" in json.dumps(kept), kept


def recorded_files_as_they_come():
    """A byte order mark behind a compression, an annulled row in every form, an exchange that nobody knows, a header alone, and half
    of a compressed file: what is read and refused is counted, and what cannot be told is said."""
    trade = json.dumps({"e": "trade", "E": now, "s": "BTCUSDT", "t": 1, "p": "5", "q": "2", "T": now, "m": True, "M": True})
    url, mark = "wss://stream.binance.com:9443/ws <-> 1.5\n", b"\xef\xbb\xbf"
    for name, text in (("marked.jsonl", price_event("A", now, "1")), ("marked.capture", url + f"{now / 1000}: {trade}"),
                       ("marked.stream", f"{now * 10 ** 6} {trade}"), ("BTCUSDT-marked.json", "[" + json.dumps(
                           {"id": 5, "price": "4.5", "qty": "2", "quoteQty": "9", "time": now, "isBuyerMaker": True, "isBestMatch": True}) + "]")):
        said = json.loads(must(options.wick, "import", file_of(name, gzip.compress(mark + text.encode() + b"\n")), "--format", "json", data=data_of(name)))
        assert (said["read"], said["used"], said["invalid"]) == (1, 1, 0), (name, said)
    annulled = {"a": 2, "p": "0", "q": "0", "f": -1, "l": -1, "T": now, "m": True, "M": True}
    good = {**annulled, "a": 1, "p": "5", "q": "1", "f": 7, "l": 8}
    row = lambda o: ",".join(str(v) for v in o.values())
    for name, text in (("BTCUSDT-aggTrades-1.csv", f"{row(good)}\n{row(annulled)}\n"), ("BTCUSDT-aggTrades-2.json", json.dumps([good, annulled])),
                       ("annulled.capture", url + "".join(f"1.5: {json.dumps({'e': 'aggTrade', 's': 'BTCUSDT', **o})}\n" for o in (good, annulled)))):
        data = data_of("annulled-" + name)
        said = json.loads(must(options.wick, "import", file_of(name, text), "--format", "json", data=data))
        assert (said["read"], said["used"], said["invalid"]) == (2, 1, 1), (name, said)
        assert b"annulled" in must(options.wick, "topic", "read", "imports.invalid", data=data), name
    foreign = f"wss://stream.bybit.com/v5/public/spot <-> 1.5\n{now / 1000}: {trade}\n"
    refuses(["import", file_of("foreign", foreign)], (2,), "stream.bybit.com", "--venue", data=data_of("foreign"))
    said = json.loads(must(options.wick, "import", "--venue", "binance-us", file_of("named", foreign), "--format", "json", data=data_of("named")))
    assert said["used"] == 1, said
    said = json.loads(must(options.wick, "import", file_of("foreign-later", url + f"{now / 1000}: {trade}\n" + foreign), "--format", "json", data=data_of("later")))
    assert (said["read"], said["used"], said["invalid"]) == (3, 1, 2), said
    said = json.loads(must(options.wick, "import", file_of("BTCUSDT-trades-2024-01-02.csv", "id,price,qty,quote_qty,time,is_buyer_maker\n"), "--format", "json",
                           data=data_of("header")))
    assert (said["read"], said["invalid"]) == (0, 0) and "trades" in json.dumps(said), said
    half = gzip.compress(chance.randbytes(50).hex().encode())[:40]
    for words in ([], ["--as", "price-events"]):
        refuses(["import", file_of("half.gz", half), *words], (3,), "gzip data ends early", data=data_of("half"))


def odd_files():
    for name, content in (("empty", b""), ("binary", chance.randbytes(100_000)), ("one-line", b"x" * 5_000_000), ("nul", bytes(10_000)),
                          ("half", price_event("A", now, "1").encode()[:-5]), ("gzip-of-garbage", gzip.compress(chance.randbytes(100_000)))):
        code, _, err = run(options.wick, "import", "--as", "price-events", file_of(name, content), data=data_of(name))
        assert code in (0, 3, 4), f"{name}: exit {code}: {err[-200:]!r}"
        code, _, err = run(options.wick, "import", file_of(name + "-guessed", content), data=data_of(name + "-guessed"))
        assert code in (0, 2, 3, 4), f"{name}, guessed: exit {code}: {err[-200:]!r}"


for name, case in (("arguments", arguments_), ("configurations", configurations), ("files-that-are-not", files_that_are_not),
                   ("bad-lines-are-kept", bad_lines_are_kept), ("copies-keep-what-they-refuse", copies_keep_what_they_refuse), ("frames-are-copied-whole", frames_are_copied_whole), ("what-no-candle-can-hold", what_no_candle_can_hold), ("klines-in-progress", klines_in_progress),
                   ("recorded-files-as-they-come", recorded_files_as_they_come), ("odd-files", odd_files)):
    report.case(name, case)
sys.exit(report.done())
