"""Records that no decoder understands, in the log itself: counted as invalid, kept with their reason, passed over, and the same
after every start (docs/faults.md, 18)."""
import glob, json, os, random, re, sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from wick import Report, Server, arguments, must, price_event

options = arguments("poison in the log")
report, chance = Report(), random.Random(options.seed)
SEEDS = os.path.join(os.path.dirname(__file__), "..", "..", "fuzz", "seeds")
START = 1700000000000
GOOD = 50


def trade(number):
    """A trade of Binance's stream that is as it should be."""
    return json.dumps({"stream": "btcusdt@trade", "data": {
        "e": "trade", "E": START + number, "s": "BTCUSDT", "t": 1000 + number, "p": f"{100 + number}.5", "q": "0.25", "b": 1,
        "a": 2, "T": START + number * 10, "m": False, "M": True}}, separators=(",", ":"))


def mutated(text):
    """Cut, with bytes changed, or with a member of another type."""
    how = chance.randrange(4)
    if how == 0:
        return text[:chance.randrange(1, len(text) - 1)]
    if how == 1:
        at = chance.randrange(len(text))
        return text[:at] + chance.choice("{}[]\",:x\\") + text[at + 1:]
    if how == 2:
        return re.sub(r'"p":"[^"]*"', '"p":' + chance.choice(['"NaN"', "null", "[]", '"1e999"', '"-1"', '"' + "9" * 60 + '"']), text)
    return re.sub(r'"T":\d+', '"T":' + chance.choice(["-5", '"x"', "1e300", "99999999999999999999"]), text)


def poison():
    """What fuzzing keeps as seeds, and trades that were spoiled; one line each, as `wick topic write` takes it."""
    found = []
    for path in sorted(glob.glob(os.path.join(SEEDS, "*", "*"))):
        with open(path, "rb") as file:
            found += [line for line in file.read(20_000).split(b"\n") if line.strip()]
    chance.shuffle(found)
    return found[:300] + [mutated(trade(5000 + i)).encode() for i in range(300)]


def state(server):
    """What has to be the same after every start."""
    rows = [row for row in server.json("/v1/ledger")["rows"] if row["topic"] == "inbound-data-binance"]
    kept = []
    topic = "inbound-data-binance.invalid"
    for line in must(options.wick, "topic", "read", topic, data=server.data).splitlines():
        record = json.loads(line)
        kept.append((topic, record["offset"], record["value"], json.dumps(record["headers"])))
    terms = ("used", "late", "duplicate", "invalid", "filtered", "pending", "balanced")
    ledger = sorted((row["topic"], row["partition"], *(row[term] for term in terms)) for row in rows)
    return ledger, kept


def is_json(line):
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def is_utf8(line):
    try:
        line.decode()
    except ValueError:
        return False
    return True


def candles(server):
    return server.json(f"/v1/candles?series=binance:BTC/USDT&interval=1m&from={START - 60_000}&limit=100")


servers = []


def start(data):
    servers.append(Server(options.wick, data))
    servers[-1].wait_ready()
    return servers[-1]


def write(data, lines):
    path = os.path.join(options.scratch, "lines")
    with open(path, "wb") as file:
        file.write(b"\n".join(lines) + b"\n")
    must(options.wick, "topic", "create", "inbound-data-binance", data=data)
    with open(path, "rb") as file:
        must(options.wick, "topic", "write", "inbound-data-binance", data=data, input=file.read())


def main():
    data = os.path.join(options.scratch, "data")
    clean = os.path.join(options.scratch, "clean")
    good, bad = [trade(number).encode() for number in range(GOOD)], poison()
    assert len(bad) >= 400, len(bad)
    write(clean, good)
    mixed = good[:GOOD // 2] + bad + good[GOOD // 2:]
    write(data, mixed)
    server = start(clean)
    wanted = candles(server)
    assert sum(row["trades"] for row in wanted) == GOOD, wanted
    assert server.stop() == 0

    server = start(data)
    first = state(server)
    row = next(row for row in first[0] if row[0] == "inbound-data-binance")
    print(f"{len(bad)} bad records of {len(mixed)}: ledger {row}")
    assert row[7] == 0 and row[8], row
    # What is JSON may be a message without an event (an answer to a subscription, say); what is none is refused.
    refused = {entry[2] for entry in first[1]}
    passed_over = [line for line in bad if not is_json(line) and line.decode(errors="replace") not in refused and is_utf8(line)]
    report.check("poison-is-invalid", row[5] >= len(bad) // 2 and not passed_over, f"{row}, not refused: {passed_over[:2]}")
    report.check("poison-is-kept", len(first[1]) == row[5] and all("reason" in entry[3] for entry in first[1]),
                 f"{len(first[1])} records, {row[5]} invalid; {first[1][:1]}")
    server.kill()
    for how in ("after-a-kill", "after-a-stop"):
        server = start(data)
        again = state(server)
        report.check(f"the-same-{how}", again == first, f"{again[0]}, before {first[0]}; {len(again[1])} records, before {len(first[1])}")
        found = {row["open_time"]: row for row in candles(server)}
        good_rows = [row for row in wanted if row["trades"] > 0]
        spoiled = [row for row in good_rows if found.get(row["open_time"], {}).get("trades", 0) < row["trades"]]
        report.check(f"good-trades-are-folded-{how}", not spoiled, spoiled[:1])
        body = price_event("P", START, "1.5")
        report.check(f"serves-{how}", server.request("POST", "/v1/prices", body)[0] == 200)
        server.stop()
    must(options.wick, "fsck", "--rebuild", data=data)
    server = start(data)
    rebuilt = state(server)
    report.check("the-same-when-made-anew", rebuilt[0] == first[0], f"{rebuilt[0]}, before {first[0]}")
    report.check("stops-cleanly", server.stop() == 0)


try:
    main()
except Exception as error:
    report.check("poison", False, f"{type(error).__name__}: {error}")
finally:
    for server in servers:
        if server.process.poll() is None:
            server.kill()
sys.exit(report.done())
