"""wick generate: the same seed gives the same bytes; what it makes is what the imports, topics and routes take; at a rate."""
import collections, csv, io, json, os, re, sys, time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from wick import Report, Server, arguments, events_of, must, rows, run

options = arguments(__doc__)
report = Report()
KINDS = ("price-events", "trades", "prices")
COUNT, FROM, SPAN = 2000, 1_700_000_000_000, 3_600_000


def made(kind, *words):
    return must(options.wick, "generate", kind, "--count", str(COUNT), *words)


def lines(kind, *words):
    text = made(kind, *words).decode().splitlines()
    return text[1:] if kind == "prices" else text


def path(name):
    return os.path.join(options.scratch, name)


def same_seed_same_bytes():
    for kind in KINDS:
        again = path(kind + ".out")
        assert made(kind, "--out", again) == b"", kind
        first = made(kind)
        assert first == open(again, "rb").read() == made(kind, "--seed", "1"), kind
        other = made(kind, "--seed", "2")
        assert len(set(first.splitlines()) & set(other.splitlines())) < COUNT / 100, kind
        assert len(lines(kind)) == COUNT, kind
        assert made(kind, "--series", "3") != first, kind


def imports_take_every_line():
    for kind, form in (("price-events", "price-events"), ("trades", "binance-stream")):
        file = path(kind)
        made(kind, "--out", file)
        (row,) = rows(options.wick, "import", file, data=path("import"))
        assert (row["format"], row["read"], row["used"], row["skipped"]) == (form, COUNT, COUNT, 0), row
    known = rows(options.wick, "series", data=path("import"))
    assert sum(s["kind"] == "trade" for s in known) == 24 and sum(s["kind"] == "price" for s in known) > 500, len(known)
    assert rows(options.wick, "gaps", data=path("import")) == [], "ids are dense"


def rows_of_prices():
    """The stock examples' table: a header, and of each row a time, a name and a price."""
    table = list(csv.DictReader(io.StringIO(made("prices").decode())))
    assert len(table) == COUNT and list(table[0]) == ["ts", "symbol", "price"], table[0]
    assert len({row["symbol"] for row in table}) >= 8
    for row in table:
        assert re.fullmatch(r"2023-11-1\dT\d\d:\d\d:\d\d(\.\d{1,3})?Z", row["ts"]) and float(row["price"]) > 0, row


def times(kind, *words):
    if kind == "trades":
        return [json.loads(line.split(" ", 1)[1])["T"] for line in lines(kind, *words)]
    return [json.loads(line)["timestampInMs"] for line in lines(kind, *words)]


def behind(found):
    """How far each event lies behind the largest time before it."""
    newest, result = found[0], []
    for at in found:
        newest = max(newest, at)
        result.append(newest - at)
    return result


def time_and_disorder():
    for kind in ("price-events", "trades"):
        found = times(kind)
        assert FROM <= min(found) and max(found) <= FROM + SPAN and max(found) > FROM + SPAN * 0.99, (min(found), max(found))
        assert 0 < max(behind(found)) <= 2000
        assert max(behind(times(kind, "--disorder-ms", "0"))) == 0
        found = times(kind, "--from", "1600000000000", "--span-ms", "10000")
        assert 1_600_000_000_000 <= min(found) and max(found) <= 1_600_000_010_000
        assert 200 < sum(late >= 55_000 for late in behind(times(kind, "--late-ppm", "200000"))) < 600


def doubles():
    for kind in KINDS:
        found = collections.Counter(lines(kind, "--duplicate-ppm", "100000"))
        assert 120 < COUNT - len(found) < 300, (kind, COUNT - len(found))
    made("trades", "--duplicate-ppm", "100000", "--out", path("doubles"))
    (row,) = rows(options.wick, "import", path("doubles"), data=path("double"))
    assert row["used"] == len(set(lines("trades", "--duplicate-ppm", "100000"))) and row["duplicate"] == COUNT - row["used"], row


def at_a_rate():
    """Never faster, and not a hundred times slower."""
    for kind in KINDS:
        began = time.monotonic()
        must(options.wick, "generate", kind, "--count", "101", "--rate", "250")
        took = time.monotonic() - began
        assert 0.39 < took < 30, f"{kind}: {took:.2f} s instead of 0.4 s"


def into_topics():
    for kind in KINDS:
        must(options.wick, "generate", kind, "--count", "500", "--topic", "made-" + kind, data=path("topics"))
        values = must(options.wick, "topic", "read", "made-" + kind, "--values", data=path("topics")).decode().splitlines()
        wanted = must(options.wick, "generate", kind, "--count", "500").decode().splitlines()[kind == "prices":]
        assert values == [line.split(" ", 1)[1] if kind == "trades" else line for line in wanted], kind
    record = json.loads(must(options.wick, "topic", "read", "made-trades", "--limit", "1", "--format", "json", data=path("topics")))
    assert record["key"] == json.loads(record["value"])["s"], record
    # A venue's own topic: its candles come by themselves.
    must(options.wick, "generate", "trades", "--count", "500", "--topic", "inbound-data-binance", data=path("topics"))
    (row,) = rows(options.wick, "ledger", data=path("topics"))
    assert (row["topic"], row["used"], row["read"]) == ("inbound-data-binance", 500, 500), row


def into_a_url():
    server = Server(options.wick, path("url"))
    try:
        server.wait_ready()
        url = f"http://127.0.0.1:{server.port}/v1/prices"
        must(options.wick, "generate", "price-events", "--count", "2500", "--to", url)
        ledger = {row["topic"]: row for row in server.json("/v1/ledger")["rows"]}["prices"]
        assert (ledger["used"], ledger["invalid"]) == (2500, 0), ledger
        values = events_of(must(options.wick, "topic", "read", "prices", "--values", data=path("url")).splitlines())
        assert sorted(values) == sorted(must(options.wick, "generate", "price-events", "--count", "2500").splitlines())
        code, _, err = run(options.wick, "generate", "price-events", "--to", url, "--from", str(int(time.time() * 1000) + 86_400_000))
        assert code == 3 and b"refuses events" in err and b"reason" in err, (code, err)
        code, _, err = run(options.wick, "generate", "trades", "--to", url)
        assert code != 0 and url.encode() in err, (code, err)
    finally:
        server.stop()
    code, _, err = run(options.wick, "generate", "price-events", "--to", url)
    assert code == 5 and url.encode() in err, (code, err)


def bounds_and_bad_files():
    """What cannot be written is an error also when only the last bytes cannot; times stay where nanoseconds fit 64 bits."""
    for count in ("3", "30000"):
        code, out, err = run(options.wick, "generate", "price-events", "--count", count, "--out", "/dev/full")
        assert code == 5 and out == b"" and b"/dev/full: the file cannot be written: No space left" in err, (count, code, err)
    code, _, err = run(options.wick, "generate", "price-events", "--out", path("none") + "/x")
    assert code == 5 and b"No such file or directory" in err, (code, err)
    for option, most in (("--from", 4102444800000), ("--span-ms", 3153600000000), ("--series", 20000), ("--disorder-ms", 86400000), ("--late-ppm", 1000000)):
        code, _, err = run(options.wick, "generate", "trades", option, str(most + 1))
        assert code == 2 and f"..{most}".encode() in err, (option, code, err)
    latest = must(options.wick, "generate", "trades", "--count", "500", "--from", "4102444800000", "--span-ms", "3153600000000").splitlines()
    assert len(latest) == 500 and all(0 < int(line.split()[0]) < 2**63 for line in latest)
    code, _, err = run(options.wick, "generate", "trades", "--count", "-1")
    assert code == 2 and b"whole number from 0 on" in err, (code, err)


for name, case in (("same-seed-same-bytes", same_seed_same_bytes), ("imports-take-every-line", imports_take_every_line),
                   ("rows-of-prices", rows_of_prices), ("time-and-disorder", time_and_disorder), ("doubles", doubles), ("at-a-rate", at_a_rate),
                   ("into-topics", into_topics), ("into-a-url", into_a_url), ("bounds-and-bad-files", bounds_and_bad_files)):
    report.case(name, case)
sys.exit(report.done())
