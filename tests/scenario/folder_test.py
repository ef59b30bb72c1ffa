"""What a data folder may hold and who may have it: venues without a decoder, topics of others, partitions."""
import fcntl, json, os, shutil, signal, subprocess, sys, termios, time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from wick import Report, Server, arguments, must, price_event, rows, run

options = arguments("data folders")
report = Report()
minute = int(time.time() * 1000) // 60000 * 60000 - 7200_000


def data_of(name):
    return os.path.join(options.scratch, "data-" + name)


def file_of(name, text):
    path = os.path.join(options.scratch, name)
    with open(path, "w") as file:
        file.write(text)
    return path


def topics_of(data):
    return sorted({row["topic"] for row in rows(options.wick, "topic", "list", data=data)})


def trades(count, first_id=1):
    return "".join(f"{minute + i * 1000},{100 + i % 7}.5,0.25,{first_id + i}\n" for i in range(count))


columns = ("--columns", "time,price,quantity,id")


def any_venue_is_imported():
    """Trades and klines of a venue that has no decoder: folded, shown, and the folder opens as before."""
    data, series = data_of("venue"), ("--series", "kraken:BTC/EUR")
    first = file_of("first.csv", trades(300))
    must(options.wick, "import", *columns, *series, first, data=data)
    before = rows(options.wick, "candles", "kraken:BTC/EUR", data=data)
    assert sum(row["trades"] for row in before) == 300 and len(before) == 5, before
    again = json.loads(must(options.wick, "import", *columns, *series, "--format", "json", first, data=data))
    assert again["repeated"] is True, again
    klines = file_of("klines.csv", "".join(f"{minute + i * 60000},1,2,0.5,1.5,10,{minute + i * 60000 + 59999},15,4,5,7,0\n" for i in range(5)))
    must(options.wick, "import", "--as", "binance-klines", "--venue", "kraken", "--series", "kraken:ETH/EUR", klines, data=data)
    server = Server(options.wick, data)
    server.wait_ready()
    try:
        assert rows(options.wick, "candles", "kraken:BTC/EUR", data=data) == before
        must(options.wick, "import", *columns, *series, file_of("second.csv", trades(400)), data=data)
        must(options.wick, "import", *columns, "--series", "bitstamp:ETH/USD", file_of("third.csv", trades(60)), data=data)
        assert sum(row["trades"] for row in rows(options.wick, "candles", "kraken:BTC/EUR", data=data)) == 700
        assert sum(row["trades"] for row in rows(options.wick, "candles", "kraken:ETH/EUR", data=data)) == 20
    finally:
        server.stop()
    assert sum(row["trades"] for row in rows(options.wick, "candles", "bitstamp:ETH/USD", data=data)) == 60
    must(options.wick, "ledger", data=data)
    must(options.wick, "fsck", data=data)
    assert not [name for name in topics_of(data) if "kraken" in name or "bitstamp" in name], topics_of(data)


def read_another_way_is_another_import():
    """The same content under another format, venue, series, columns or unit of time is not "imported before"; the same is, and a
    rebuild does not forget which it was."""
    data, path = data_of("readings"), file_of("readings.csv", "".join(f"{minute // 1000 + i},{100 + i}.5,0.25,{i + 1}\n" for i in range(60)))
    named = [file_of(f"{symbol}-trades.csv", "".join(f"{i + 1},10{i % 7}.5,1,100.5,{minute + i},True,True\n" for i in range(50)))
             for symbol in ("ETHFDUSD", "BTCUSDC")]
    csv = ("--as", "csv", "--columns", "time,price,quantity,id")
    ways = [(("--as", "price-events", path), 0), ((*csv, "--series", "kraken:ETH/EUR", path), 60), ((*csv, "--series", "kraken:XRP/EUR", path), 60),
            ((*csv, "--venue", "kraken", "--series", "ADA/EUR", path), 60), ((*csv, "--series", "bitstamp:ADA/EUR", path), 60),
            ((*csv, "--time-unit", "ms", "--series", "kraken:BTC/EUR", path), 60),
            (("--as", "csv", "--columns", "time,quantity,price,id", "--series", "kraken:LTC/EUR", path), 60),
            (("--as", "csv", "--columns", "time,price,quantity,-", "--series", "kraken:LTC/EUR", path), 60),
            ((named[0],), 50), ((named[1],), 50)]
    for again in (False, True):
        for at, (words, used) in enumerate(ways):
            said = json.loads(must(options.wick, "import", "--format", "json", *words, data=data))
            assert (said["repeated"], said["import"], said["used"]) == (again, at + 1, used), (words, said)
        if not again:
            must(options.wick, "fsck", "--rebuild", data=data)
    told = json.loads(must(options.wick, "import", "--format", "json", *csv, "--time-unit", "s", "--series", "kraken:ETH/EUR", path, data=data))
    assert told["repeated"], "a unit that was told from the times is another one when it is named"
    assert len(rows(options.wick, "topic", "read", "imports.invalid", data=data)) == 60
    assert [len(rows(options.wick, "candles", series, data=data)) for series in ("binance:ETH/FDUSD", "binance:BTC/USDC")] == [1, 1]


def what_no_decoder_reads_is_not_copied():
    """Refused before a topic is made: messages of a venue without a decoder, and rows that are no messages."""
    message = json.dumps({"e": "trade", "E": minute, "s": "BTCUSDT", "t": 1, "p": "2", "q": "1", "T": minute, "m": True, "M": True})
    stream, table = file_of("stream", f"{minute}000000 {message}\n"), file_of("table.csv", trades(20))
    for name, code, words, said in (("venue", 3, ("--as", "binance-stream", "--venue", "kraken", stream), (b"kraken", b"binance", b"huobi")),
                                    ("rows", 2, (*columns, "--series", "binance:BTC/USDT", table), (b"csv", b"no messages"))):
        data = data_of("copied-" + name)
        got, _, err = run(options.wick, "import", "--copy", *words, data=data)
        assert got == code and all(word in err for word in (*said, b"without --copy")), (got, err)
        assert not [name for name in topics_of(data) if name.startswith(("inbound", "imports"))], topics_of(data)


def topics_of_others_are_left_alone():
    """A topic that is called like a venue's but is none: said once, not folded, and the rest works."""
    data = data_of("others")
    for topic in ("inbound-data-kraken", "inbound-data-", "inbound-data-Binance"):
        must(options.wick, "topic", "create", topic, data=data)
        must(options.wick, "topic", "write", topic, data=data, input=b"{}\nsomething\n")
    must(options.wick, "ledger", data=data)
    server = Server(options.wick, data)
    server.wait_ready()
    try:
        assert server.request("POST", "/v1/prices", price_event("A", minute, "1"))[0] == 200
        read = {row["topic"]: row["read"] for row in rows(options.wick, "ledger", data=data)}
        assert list(read) == ["prices"], read
    finally:
        server.stop()
    said = [line for line in server.said if "inbound-data-kraken" in line]
    assert len(said) == 1 and "binance" in said[0], server.said
    assert must(options.wick, "topic", "read", "inbound-data-kraken", "--values", data=data) == b"{}\nsomething\n"


def message(i):
    """A trade of one of four symbols, as Binance's stream sends it."""
    return json.dumps({"e": "trade", "E": minute, "s": f"{'ABCD'[i % 4]}USDT", "t": 1 + i // 4, "p": "2", "q": "1", "T": minute + i, "m": True, "M": True})


def ledger_of(data, topic):
    return [row["used"] for row in rows(options.wick, "ledger", data=data) if row["topic"] == topic]


def a_venues_topic_has_one_partition():
    """More are refused, and a copy of a topic that has more keeps every record."""
    data, topic = data_of("two"), "inbound-data-binance"
    lines = "".join(f"{'ABCD'[i % 4]}USDT|{message(i)}\n" for i in range(80)).encode()
    must(options.wick, "topic", "create", "notes", "--partitions", "2", data=data)
    must(options.wick, "topic", "write", "notes", "--key-separator", "|", data=data, input=lines)
    refused = ("topic", "create", topic, "--partitions", "2")
    code, _, err = run(options.wick, *refused, data=data)
    assert code == 2 and topic.encode() in err and b"one partition" in err, (code, err)
    server = Server(options.wick, data)
    server.wait_ready()
    try:
        assert run(options.wick, *refused, data=data)[::2] == (code, err), "beside a server it is not refused alike"
        must(options.wick, "topic", "copy", "notes", topic, data=data)
        end = time.monotonic() + 20
        while ledger_of(data, topic) != [80]:  # its task is made meanwhile
            assert time.monotonic() < end, ledger_of(data, topic)
            time.sleep(0.02)
        assert sum(row["trades"] for row in rows(options.wick, "candles", "binance:CUSDT", data=data)) == 20
    finally:
        server.stop()
    must(options.wick, "topic", "copy", "notes", topic, "--to-data", data_of("moved"), data=data)
    assert ledger_of(data_of("moved"), topic) == [80]


def partitions_are_the_folders():
    """The number that a folder was made with counts, whatever is configured; events go by their key, copied ones too."""
    data, four = data_of("partitions"), file_of("four.yaml", "topics: {prices_partitions: 4}\n")
    events = [price_event(f"C{i % 40}", minute + i * 1000, str(100 + i)) for i in range(400)]
    must(options.wick, "import", "--copy", "--config", four, file_of("events.jsonl", "\n".join(events[:200]) + "\n"), data=data)
    ends = {row["partition"]: row["end"] for row in rows(options.wick, "topic", "list", data=data) if row["topic"] == "prices"}
    assert len(ends) == 4 and sum(ends.values()) == 200 and min(ends.values()) > 0, ends
    server = Server(options.wick, data)
    server.wait_ready()
    try:
        assert server.request("POST", "/v1/prices", "\n".join(events[200:]))[0] == 200
        ledger = {row["partition"]: row for row in rows(options.wick, "ledger", data=data) if row["topic"] == "prices"}
        assert len(ledger) == 4 and sum(row["used"] for row in ledger.values()) == 400, ledger
        for i in range(40):
            found = rows(options.wick, "candles", f"kraken:C{i}/USD", "--kind", "price", data=data)
            assert sum(row["trades"] for row in found) == 10, (i, found)
    finally:
        server.stop()
    two = file_of("two.yaml", "topics: {prices_partitions: 2}\n")
    for words in (("run", "--listen", "127.0.0.1:0"), ("latest",)):
        code, _, err = run(options.wick, *words, "--config", two, data=data)
        assert code == 3 and all(word in err for word in (b"prices", b"4 partitions", b"prices_partitions")), (code, err)
    must(options.wick, "ledger", "--config", four, data=data)
    again = json.loads(must(options.wick, "import", "--copy", "--format", "json", os.path.join(options.scratch, "events.jsonl"), data=data))
    ends = [row["end"] for row in rows(options.wick, "topic", "list", data=data) if row["topic"] == "prices"]
    assert sum(ends) < 420, f"the same file again is appended again: {again} {ends}"
    assert [again[name] for name in ("read", "messages", "written", "there_already")] == [200, 200, 0, 200], again


def stored(data):
    """What the store is, as the file system knows it."""
    found = os.stat(os.path.join(data, "store", "data.mdb"))
    return sorted(name for name in os.listdir(data) if name.startswith("store")), found.st_ino


def a_rebuild_owns_the_folder_first():
    """Beside a writer that has no socket, and where opening fails, the store stays where it is."""
    data = data_of("rebuilt")
    must(options.wick, "import", *columns, "--series", "kraken:BTC/EUR", file_of("rebuilt.csv", trades(300)), data=data)
    before, candles = stored(data), rows(options.wick, "candles", "kraken:BTC/EUR", data=data)
    with open(os.path.join(data, "log", "lock"), "r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        code, _, err = run(options.wick, "fsck", "--rebuild", data=data)
        assert code == 6 and b"another process" in err and stored(data) == before, (code, err, stored(data))
    two = file_of("rebuilt.yaml", "topics: {prices_partitions: 2}\n")
    code, _, err = run(options.wick, "fsck", "--rebuild", "--config", two, data=data)
    assert code == 3 and b"partitions" in err and stored(data) == before, (code, err, stored(data))
    must(options.wick, "fsck", "--rebuild", data=data)
    assert stored(data)[0] == ["store", "store.old"] and stored(data) != before, stored(data)
    assert rows(options.wick, "candles", "kraken:BTC/EUR", data=data) == candles
    after = stored(data)
    code, _, err = run(options.wick, "fsck", "--rebuild", data=data)
    assert code == 3 and b"store.old" in err and stored(data) == after, (code, err)


def a_rebuild_that_is_killed_changes_nothing():
    data = data_of("killed")
    must(options.wick, "import", *columns, "--series", "kraken:BTC/EUR", file_of("killed.csv", trades(3000)), data=data)
    candles = rows(options.wick, "candles", "kraken:BTC/EUR", data=data)
    whole = data_of("killed-whole")
    shutil.copytree(data, whole)
    begun = time.monotonic()
    must(options.wick, "fsck", "--rebuild", data=whole)
    lasts, killed = time.monotonic() - begun, 0
    for share in range(10):
        process = subprocess.Popen([options.wick, "fsck", "--rebuild", "--data", data], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(lasts * share / 9)
        process.kill()
        killed += process.wait() != 0
        if process.returncode != 0 and not os.path.exists(os.path.join(data, "store")):
            continue  # in between the two renames: told below
        assert rows(options.wick, "candles", "kraken:BTC/EUR", data=data) == candles, share
        shutil.rmtree(os.path.join(data, "store.old"), ignore_errors=True)
    assert killed >= 2, f"{killed} of 10 rebuilds were killed, which take {lasts:.3f} s"
    if os.path.exists(os.path.join(data, "store")):
        os.rename(os.path.join(data, "store"), os.path.join(data, "store.old"))
    for words in (("run", "--listen", "127.0.0.1:0"), ("candles", "kraken:BTC/EUR")):
        code, _, err = run(options.wick, *words, data=data)
        assert code == 3 and b"store.old" in err and b"wick fsck --rebuild" in err, (code, err)
    must(options.wick, "fsck", "--rebuild", data=data)
    assert rows(options.wick, "candles", "kraken:BTC/EUR", data=data) == candles


def piped(data, words, text):
    """An import that has read this much from its pipe and waits for more."""
    process = subprocess.Popen([options.wick, "import", "--as", "price-events", "--data", data, *words, "-"], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdin.write(text)
    process.stdin.flush()
    left = bytearray(4)
    while fcntl.ioctl(process.stdin, termios.FIONREAD, left) == 0 and any(left):
        assert process.poll() is None
        time.sleep(0.005)
    return process


def interrupted(data, words, before, behind):
    """An import from a pipe that is interrupted between two parts of it: (exit code, what it printed, what it said)."""
    process = piped(data, words, before)
    process.send_signal(signal.SIGINT)
    try:
        process.stdin.write(behind)
        process.stdin.close()
    except BrokenPipeError:
        pass
    out, err = process.stdout.read(), process.stderr.read()
    return process.wait(60), out, err


def an_interrupted_import_says_what_is_so():
    """Cancelled, nothing shows; copied, what is there stays; and what was done already was done."""
    line = (price_event("A", minute, "1") + "\n").encode()
    for name, before, behind in (("cut-short", 70000, 200000), ("cut-soon", 3000, 5000)):
        code, out, err = interrupted(data_of(name), (), line * before, line * behind)
        assert code == -signal.SIGINT and b"cancelled; nothing of it shows" in err and out == b"", (name, code, out, err)
        assert not rows(options.wick, "series", data=data_of(name))
    silent = piped(data_of("cut-silent"), (), line)
    silent.terminate()
    assert silent.wait(60) == -signal.SIGTERM and b"cancelled; nothing of it shows" in silent.stderr.read(), "its pipe is still open"
    code, out, err = interrupted(data_of("cut-copy"), ("--copy",), line * 70000, line * 200000)
    assert code == -signal.SIGINT and b"cancelled; what was copied stays" in err and b"nothing" not in err and out == b"", (code, out, err)
    ends = [row["end"] for row in rows(options.wick, "topic", "list", data=data_of("cut-copy")) if row["topic"] == "prices"]
    assert sum(ends) > 0, ends
    done = file_of("done.jsonl", "".join(price_event("A", minute + i * 1000, "2") + "\n" for i in range(2)))
    code, out, err = interrupted(data_of("done"), (done,), line, line)
    assert code == -signal.SIGINT and b"2 read, 2 used" in out and b"-: cancelled; nothing of it shows" in err, (code, out, err)
    assert sum(row["trades"] for row in rows(options.wick, "candles", "kraken:A/USD", data=data_of("done"))) == 2


for case in (any_venue_is_imported, read_another_way_is_another_import, what_no_decoder_reads_is_not_copied, topics_of_others_are_left_alone, a_venues_topic_has_one_partition,
             partitions_are_the_folders, a_rebuild_owns_the_folder_first, a_rebuild_that_is_killed_changes_nothing,
             an_interrupted_import_says_what_is_so):
    report.case(case.__name__.replace("_", "-"), case)
sys.exit(report.done())
