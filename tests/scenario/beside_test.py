"""Commands beside a running wick: imports while the same series are written live, cancelled imports, topics."""
import json, os, random, signal, subprocess, sys, threading, time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from wick import Report, Server, arguments, must, price_event, rows, run

options = arguments(__doc__)
report = Report()
chance = random.Random(options.seed)


def path_of(name):
    return os.path.join(options.scratch, name)


def file_of(name, text):
    with open(path_of(name), "w") as file:
        file.write(text)
    return path_of(name)


servers = []


def serve(name):
    servers.append(Server(options.wick, path_of(name)))
    servers[-1].wait_ready()
    return servers[-1]


def leave(case):
    """A case that fails leaves no server behind."""
    try:
        case()
    finally:
        while servers:
            servers.pop().stop()


def candles_of(data, series, *words):
    kept = ("open_time", "open", "high", "low", "close", "volume", "trades", "first_id", "last_id", "hash", "coverage")
    words = words if "--limit" in words else (*words, "--limit", "50000")
    return [{name: row[name] for name in kept} for row in rows(options.wick, "candles", series, *words, data=data)]


def trade(identity, time_ms, price):
    return json.dumps({"e": "trade", "E": time_ms, "s": "BTCUSDT", "t": identity, "p": f"{price}", "q": "0.5", "b": 1, "a": 2,
                       "T": time_ms, "m": identity % 2 == 0, "M": True})


def prices_and_file():
    """Live prices go on while a file with the same series, in the same minutes, is imported: as if all had come one way."""
    now = int(time.time() * 1000) // 60000 * 60000 - 3600_000
    live = [price_event("A", now + i * 700, str(chance.randrange(100, 900))) for i in range(4000)]
    filed = [price_event("A", now + i * 701 + 13, str(chance.randrange(100, 900))) for i in range(-4000, 4000)]
    server = serve("prices")
    stop, refused = threading.Event(), []

    def post():
        for at in range(0, len(live), 40):
            status, body = server.request("POST", "/v1/prices", "\n".join(live[at:at + 40]))
            refused.extend([body] if status != 200 else [])
            stop.wait(0.002)

    thread = threading.Thread(target=post)
    thread.start()
    for part in range(4):
        name = file_of(f"part{part}.jsonl", "\n".join(filed[part * 2000:(part + 1) * 2000]) + "\n")
        must(options.wick, "import", name, data=server.data)
    thread.join()
    assert not refused, refused[:1]
    beside = candles_of(server.data, "kraken:A/USD")
    must(options.wick, "ledger", data=server.data)
    server.stop()
    assert candles_of(server.data, "kraken:A/USD") == beside, "stopping changed the candles"
    must(options.wick, "import", file_of("all.jsonl", "\n".join(sorted(live + filed, key=lambda e: json.loads(e)["timestampInMs"])) + "\n"),
         data=path_of("prices-once"))
    once = candles_of(path_of("prices-once"), "kraken:A/USD")
    assert [r["open_time"] for r in beside] == [r["open_time"] for r in once]
    for ours, theirs in zip(beside, once):
        # The last minutes may still be open on one side.
        assert {**ours, "coverage": 0} == {**theirs, "coverage": 0}, f"{ours} is not {theirs}"


def trades_and_file():
    """The same with trades: overlapping ids in both are one trade, whoever brings them first."""
    now = int(time.time() * 1000) // 60000 * 60000 - 7200_000
    line = {i: trade(i, now + i * 300, chance.randrange(100, 900)) for i in range(1, 12001)}
    server = serve("trades")
    must(options.wick, "topic", "create", "inbound-data-binance", data=server.data)
    stop, ended = threading.Event(), []
    parts = [range(1, 5001), range(4001, 9001), range(8001, 12001)]
    names = [file_of(f"trades{i}.txt", "".join(f"{now + k} {line[k]}\n" for k in part)) for i, part in enumerate(parts)]
    must(options.wick, "import", "--as", "binance-stream", names[0], data=server.data)

    def write():
        writer = subprocess.Popen([options.wick, "topic", "write", "inbound-data-binance", "--data", server.data], stdin=subprocess.PIPE,
                                  stderr=subprocess.DEVNULL)
        for at in range(3001, 12001, 100):
            writer.stdin.write(("\n".join(line[k] for k in range(at, at + 100)) + "\n").encode())
            writer.stdin.flush()
            stop.wait(0.003)
        writer.stdin.close()
        ended.append(writer.wait())

    thread = threading.Thread(target=write)
    thread.start()
    for name in (names[2], names[1]):
        must(options.wick, "import", "--as", "binance-stream", name, data=server.data)
    thread.join()
    assert ended == [0], f"wick topic write: {ended}"
    beside = candles_of(server.data, "binance:BTCUSDT")
    ledger = rows(options.wick, "ledger", data=server.data)
    server.stop()
    assert sum(row["used"] for row in ledger) == len(line), ledger
    whole = file_of("trades.txt", "".join(f"{now + k} {line[k]}\n" for k in line))
    must(options.wick, "import", "--as", "binance-stream", whole, data=path_of("trades-once"))
    once = candles_of(path_of("trades-once"), "binance:BTCUSDT")
    assert beside == once, next(f"{a} is not {b}" for a, b in zip(beside, once) if a != b) if len(beside) == len(once) else "not as many"


def until_caught(command, number):
    """Until it has a handler of its own for the signal."""
    end, caught = time.monotonic() + 30, 0
    while not caught >> (number - 1) & 1:
        assert command.poll() is None and time.monotonic() < end, f"no handler: {command.returncode}"
        with open(f"/proc/{command.pid}/status") as file:
            caught = int(next(line for line in file if line.startswith("SigCgt:")).split()[1], 16)
        time.sleep(0.002)


def cancelled():
    """Ctrl-C, or the death of the command, leaves nothing behind."""
    server = serve("cancelled")
    big = path_of("big.jsonl")
    must(options.wick, "generate", "price-events", "--count", "3000000", "--series", "50", "--out", big)
    for number in (signal.SIGINT, signal.SIGTERM):
        command = subprocess.Popen([options.wick, "import", big, "--data", server.data], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        until_caught(command, number)
        time.sleep(0.1)
        command.send_signal(number)
        out, err = command.communicate(timeout=60)
        assert command.returncode == -number and b"cancelled" in err and out == b"", (command.returncode, out, err)
    assert rows(options.wick, "series", data=server.data) == [] or all(
        row.get("price") is None for row in rows(options.wick, "series", data=server.data))
    assert [row["topic"] for row in rows(options.wick, "ledger", data=server.data)] == ["prices"]
    command = subprocess.Popen([options.wick, "import", big, "--data", server.data], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    server_stopped = server.stop()
    out, err = command.communicate(timeout=60)
    assert server_stopped == 0 and command.returncode in (0, 5, 6), (server_stopped, command.returncode, out, err)


def thin_trades(count, order):
    """A trade every two minutes, so with a quiet one between, in the order given."""
    return "".join(f"{i},{100 + i % 7}.5,1,{100 + i % 7}.5,{1_600_000_000_000 + i * 120_000},True,True\n" for i in order(count))


def any_order():
    """A file from its end, or half by half, is read as fast as one in order, and gives the same candles."""
    count, found = 60_000, []
    orders = {"forward": range, "backward": lambda n: range(n - 1, -1, -1), "halves": lambda n: [*range(n // 2, n), *range(n // 2)]}
    for name, order in orders.items():
        os.makedirs(path_of(name))
        path, data = file_of(os.path.join(name, "BTCUSDT-trades-thin.csv"), thin_trades(count, order)), path_of(name + "-data")
        done = subprocess.run([options.wick, "import", path, "--data", data, "--format", "json"], capture_output=True, check=False, timeout=60)
        said = json.loads(done.stdout)
        assert (done.returncode, said["read"], said["used"]) == (0, count, count), said
        found.append([candles_of(data, "binance:BTC/USDT", "--from", str(1_600_000_000_000 + i * 120_000), "--limit", "2000")
                      for i in (0, count // 2 - 500, count - 900)])
        assert [len(part) for part in found[-1]] == [2000, 2000, 1798], [len(part) for part in found[-1]]
    assert found[0] == found[1] == found[2], "the order shows"


def days_that_come_back():
    """Days are sealed as they pass, to save memory; where they come back the file is read again, and all of it is used. Of a pipe,
    which cannot be, they are late."""
    count = 220_000
    text = thin_trades(count, lambda n: [*range(n // 2, n), *range(n // 2)])
    os.makedirs(path_of("back"))
    words = ("import", "--as", "binance-trades", "--series", "binance:BTC/USDT", "--format", "json")
    said = json.loads(must(options.wick, *words, file_of("back/trades.csv", text), data=path_of("back-file")))
    assert (said["read"], said["used"], said["late"]) == (count, count, 0), said
    assert not rows(options.wick, "topic", "read", "imports.late", data=path_of("back-file"))
    half = 1_600_000_000_000 + count // 2 * 120_000
    whole = candles_of(path_of("back-file"), "binance:BTC/USDT", "--from", str(half - 30 * 60_000), "--to", str(half + 30 * 60_000))
    ids = [row["first_id"] for row in whole if row["trades"]]
    assert len(whole) == 60 and len(ids) == 30 and count // 2 in ids and ids == list(range(ids[0], ids[0] + 30)), ids
    assert {row["coverage"] for row in whole} == {"traded", "quiet"}, whole[:3]
    said = json.loads(must(options.wick, *words, "-", input=text.encode(), data=path_of("back-pipe")))
    assert said["read"] == count == said["used"] + said["late"] and said["late"] > 0, said


def several_files():
    """A bad one among them does not keep the others out, and the exit code tells."""
    now = int(time.time() * 1000) - 60000
    for beside in (False, True):
        data = path_of(f"several-{beside}")
        server = serve(f"several-{beside}") if beside else None
        words = [file_of("a.jsonl", price_event("A", now, "1") + "\n"), path_of("missing"), options.scratch,
                 file_of("noise", "\x01\x02 what\n" * 10), file_of("empty", ""), "-", file_of("b.jsonl", price_event("B", now, "2"))]
        code, out, err = run(options.wick, "import", *words, data=data, input=price_event("C", now, "3").encode())
        assert code == 3, (code, err)
        for name in ("missing", options.scratch, "noise", "empty"):
            assert name in err.decode(), f"nothing is said of {name}: {err}"
        assert out.decode().count("\n") == 3, out
        assert sorted(row["series"] for row in rows(options.wick, "latest", "kraken:A/USD", "kraken:B/USD", "kraken:C/USD", data=data)) == \
            ["kraken:A/USD", "kraken:B/USD", "kraken:C/USD"]
        reader, writer = os.pipe()
        os.write(writer, price_event("D", now, "4").encode())
        os.close(writer)
        done = subprocess.run([options.wick, "import", f"/dev/fd/{reader}", "--data", data], pass_fds=(reader,), capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        assert not [name for name in os.listdir(data) if name.startswith("import-")], "a spool file is left"
        if server:
            server.stop()


def copied():
    """--copy beside a server: the topic takes the messages, and the live task folds them."""
    server = serve("copied")
    name, tail = path_of("copy.jsonl"), path_of("tail.jsonl")
    must(options.wick, "generate", "price-events", "--count", "50000", "--series", "20", "--out", name)
    with open(name) as file:
        lines = file.readlines()
    file_of("tail.jsonl", "".join(lines[-100:]) + "{}\n")
    for _ in range(2):
        must(options.wick, "import", "--copy", name, data=server.data)
        row = next(row for row in rows(options.wick, "ledger", data=server.data) if row["topic"] == "prices")
        assert row["read"] == 50000, row
    said = "price-events, 50000 read, 0 invalid; copied: 50000 messages, 0 written, 50000 there already"
    assert must(options.wick, "import", "--copy", name, data=server.data).decode() == f"{name}: {said}\n"
    head, line = must(options.wick, "import", "--copy", "--format", "csv", tail, data=server.data).decode().splitlines()
    told = dict(zip(head.split(","), line.split(",")))
    # Which of another file's events are known by the fold is not known here.
    assert [told[column] for column in ("read", "invalid", "messages", "written", "there_already")] == ["101", "1", "100", "100", "0"], told
    assert not {"used", "late", "duplicate"} & told.keys(), told
    row = next(row for row in rows(options.wick, "ledger", data=server.data) if row["topic"] == "prices")
    assert (row["read"], row["duplicate"]) == (50100, 100), row
    server.stop()


for name, case in (("prices-and-file", prices_and_file), ("trades-and-file", trades_and_file), ("cancelled", cancelled),
                   ("any-order", any_order), ("days-that-come-back", days_that_come_back),
                   ("several-files", several_files), ("copied", copied)):
    report.case(name, leave, case)
sys.exit(report.done())
