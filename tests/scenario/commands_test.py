"""Every command in each situation: beside a running wick, without one, asked elsewhere by URL, and on folders that are not."""
import hashlib, json, os, pty, re, subprocess, sys, time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from wick import SHARED, Report, Server, arguments, must, price_event, rows, run

options = arguments(__doc__)
report = Report()
now = int(time.time() * 1000) // 60000 * 60000 - 120_000
data = os.path.join(options.scratch, "data")
events = os.path.join(options.scratch, "events.jsonl")
# What asks: the same answer in the table's three situations, and in each format.
ASKING = [["candles", "kraken:A/USD"], ["latest", "kraken:A/USD", "kraken:B/USD"], ["latest", "--base", "A"], ["series"], ["gaps"],
          ["why", "kraken:A/USD", str(now)], ["ledger"]]
TOPICS = [["topic", "list"], ["topic", "read", "notes"], ["topic", "read", "notes", "--values", "--limit", "1"]]


def fill():
    with open(events, "w") as file:
        file.write("\n".join(price_event(base, now + i * 1000, str(i + 1)) for base in "AB" for i in range(60)) + "\n")
    must(options.wick, "import", events, data=data)
    must(options.wick, "topic", "create", "notes", data=data)
    must(options.wick, "topic", "write", "notes", data=data, input=b"one\ntwo\n")


def answers(extra, commands):
    """All answers; each is right (0), and nothing but results is on standard output."""
    found = []
    for words in commands:
        for form in ("table", "json", "csv"):
            code, out, err = run(options.wick, *words, "--format", form, *extra)
            assert code == 0 and err == b"" and (out or words[0] == "gaps"), f"{words} {form}: exit {code}, {err!r}"
            if form == "json":
                for line in out.splitlines():
                    assert words[-1] == "1" or json.loads(line) is not None
            if words[0] != "ledger" and words[:2] != ["topic", "list"]:  # offsets of status records differ
                found.append((words, form, out))
    return found


def same_everywhere():
    alone = answers(["--data", data], ASKING)
    topics = answers(["--data", data], TOPICS)
    with open(os.path.join(options.scratch, "wick.yaml"), "w") as file:
        file.write(f"http:\n  tokens: [{hashlib.sha256(b'secret').hexdigest()}]\n")
    server = Server(options.wick, data, config=os.path.join(options.scratch, "wick.yaml"))
    try:
        server._address.wait(20)
        for _ in range(200):
            if run(options.wick, "series", "--data", data)[0] == 0 and os.path.exists(os.path.join(data, "socket")):
                break
            time.sleep(0.05)
        assert answers(["--data", data], ASKING) == alone, "beside a server the answers differ"
        assert answers(["--data", data], TOPICS) == topics, "beside a server the topics differ"
        url = ["--url", f"http://127.0.0.1:{server.port}"]
        code, _, err = run(options.wick, "series", *url)
        assert code != 0 and b"WICK_TOKEN" in err, (code, err)
        os.environ["WICK_TOKEN"] = "secret"
        assert answers(url, ASKING) == alone, "by URL the answers differ"
        del os.environ["WICK_TOKEN"]
        for words in (["topic", "list"], ["import", events]):
            code, out, err = run(options.wick, *words, *url)
            assert code == 2 and b"--data" in err and out == b"", (words, code, err)
        must(options.wick, "generate", "price-events", "--count", "10", "--topic", "made", data=data)
        assert len(must(options.wick, "topic", "read", "made", "--values", data=data).splitlines()) == 10
        must(options.wick, "topic", "copy", "made", "notes", data=data)
        must(options.wick, "topic", "copy", "made", "made", "--to-data", data + "-2", data=data)
        assert len(must(options.wick, "topic", "read", "notes", data=data).splitlines()) == 12
        must(options.wick, "topic", "delete", "made", data=data)
        for topic in ("prices", "candles.sealed.1m"):
            assert run(options.wick, "topic", "delete", topic, "--data", data)[0] == 2
        code, _, err = run(options.wick, "run", "--data", data, "--listen", "127.0.0.1:0")
        assert code == 6 and data.encode() in err and b"stop it" in err and b"--data" in err, (code, err)
    finally:
        server.stop()
    assert len(must(options.wick, "topic", "read", "made", "--values", data=data + "-2").splitlines()) == 10


def folders_that_are_not():
    empty = os.path.join(options.scratch, "empty")
    os.makedirs(empty, exist_ok=True)
    for folder in (os.path.join(options.scratch, "missing"), empty, events):
        for words in ASKING + TOPICS + [["topic", "tail", "notes"], ["topic", "write", "notes"], ["topic", "delete", "notes"], ["fsck"]]:
            code, out, err = run(options.wick, *words, "--data", folder, input=b"")
            assert code in (3, 5) and out == b"" and folder.encode() in err and err.count(b"\n") == 1, (words, folder, code, out, err)
        assert os.listdir(empty) == [] and not os.path.exists(os.path.join(options.scratch, "missing")), f"{words} made something"


def wrong_use():
    for words, said in ((["latst"], b'"latest"'), (["help", "improt"], b'"import"'), (["import", "--colums", "x"], b"--columns"), (["candles"], b"SERIES"),
                        (["topic", "lst"], b"list, create"), (["topic", "read"], b"name"), (["topic", "copy", "a"], b"FROM TO"),
                        (["topic", "copy", "a", "a"], b"itself"), (["bench", "nope"], b"fold"), (["generate", "nope"], b"price-events"),
                        (["verify"], b"--capture"), (["series", "--format", "xml"], b"json"), (["import", "--as", "nope", events], b"binance-trades")):
        code, out, err = run(options.wick, *words)
        assert code == 2 and said in err and out == b"", (words, code, out, err)
    for words, code in ((["candles", "kraken:NOPE/USD"], 3), (["candles", "kraken:A/USD", "--interval", "7x"], 3), (["topic", "read", "nope"], 3),
                        (["topic", "create", "notes"], 3), (["topic", "read", "notes", "--from", "99"], 3), (["why", "kraken:A/USD", "noon"], 3)):
        got, out, err = run(options.wick, *words, "--data", data)
        assert got == code and out == b"" and err.startswith(b"wick: "), (words, got, out, err)
    names = re.findall(r"^  (\w+)", must(options.wick, "help").decode(), re.M)
    assert len(names) > 8, names
    for name in names:
        assert f"wick {name}" in must(options.wick, "help", name).decode() or name in ("help",), name


def bar_on_a_terminal():
    """Progress goes to standard error, and only if that is a terminal."""
    big = os.path.join(options.scratch, "big.jsonl")
    must(options.wick, "generate", "price-events", "--count", "300000", "--series", "10", "--out", big)
    ours, theirs = pty.openpty()
    command = subprocess.Popen([options.wick, "import", big, "--data", data + "-pty"], stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    seen = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:
            break
        if not piece:
            break
        seen += piece
    out = command.communicate()[0]
    assert command.returncode == 0 and b"%" in seen and b"[" in seen and out.count(b"\n") == 1 and b"\r" not in out, (seen[-200:], out)
    _, out, err = run(options.wick, "import", big, "--data", data + "-pipe")
    assert err == b"" and out.count(b"\n") == 1, (out, err)


def arrays():
    """Files that are one JSON array: price events, and what Binance's REST routes answer."""
    cases = {
        "BTCUSDT-trades.json": [{"id": 5, "price": "4.5", "qty": "2", "quoteQty": "9", "time": now, "isBuyerMaker": True, "isBestMatch": True}],
        "LTCUSDT-agg.json": [{"a": 1, "p": "4.5", "q": "2", "f": 7, "l": 9, "T": now, "m": True, "M": True}],
        "ETHUSDT-1m.json": [[now, "1", "3", "1", "2", "7", now + 59999, "14", 4, "3", "6", "0"]],
        "prices.json": [json.loads(price_event("C", now, "8"))],
    }
    for name, content in cases.items():
        for indent in (None, 2):
            path = os.path.join(options.scratch, name)
            with open(path, "w") as file:
                json.dump(content, file, indent=indent)
            line = json.loads(must(options.wick, "import", path, "--format", "json", data=data + f"-array-{indent}"))
            assert line["used"] == 1 and line["read"] == 1, line
    for series, close in (("binance:BTCUSDT", "4.5"), ("binance:LTCUSDT", "4.5"), ("binance:ETHUSDT", "2"), ("kraken:C/USD", "8")):
        assert rows(options.wick, "candles", series, data=data + "-array-2")[0]["close"] == close, series
    for name, text, said in (("none.json", "[]", b"empty"), ("other.json", '[{"x":1}]', b"not known"), ("half.json", '[{"id":1', b"byte")):
        path = os.path.join(options.scratch, name)
        with open(path, "w") as file:
            file.write(text)
        code, out, err = run(options.wick, "import", path, "--data", data)
        assert code == 3 and out == b"" and said in err and name.encode() in err, (name, code, err)


fill()
for name, case in (("same-everywhere", same_everywhere), ("folders-that-are-not", folders_that_are_not), ("wrong-use", wrong_use),
                   ("bar-on-a-terminal", bar_on_a_terminal), ("arrays", arrays)):
    report.case(name, case)
sys.exit(report.done())
