"""Every command in each situation: beside a running wick, without one, asked elsewhere by URL, and on folders that are not."""
import hashlib, json, os, pty, re, socket, subprocess, sys, time, zipfile

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
    for words, code in ((["candles", "kraken:NOPE/USD"], 3), (["candles", "kraken:A/USD", "--interval", "7x"], 2), (["topic", "read", "nope"], 3),
                        (["topic", "create", "notes"], 3), (["topic", "read", "notes", "--from", "99"], 3), (["why", "kraken:A/USD", "noon"], 2)):
        got, out, err = run(options.wick, *words, "--data", data)
        assert got == code and out == b"" and err.startswith(b"wick: "), (words, got, out, err)
    asking = {"candles", "latest", "series", "why", "gaps", "ledger"}
    for words in (["run"], ["import", events], ["candles", "x"], ["latest"], ["series"], ["why", "x", "1"], ["gaps"], ["verify", "--capture", events], ["ledger"], ["topic", "list"],
                  ["fsck"], ["generate", "trades"], ["bench", "fold"]):
        code, out, err = run(options.wick, *words, "--url", "http://127.0.0.1:1", "--data", os.path.join(options.scratch, "url"))
        assert code == (5 if words[0] in asking else 2) and out == b"" and (words[0] in asking or b"--data, not --url" in err), (words, code, err)
    names = re.findall(r"^  (\w+)", must(options.wick, "help").decode(), re.M)
    assert len(names) > 8, names
    for name in names:
        assert f"wick {name}" in must(options.wick, "help", name).decode() or name in ("help",), name


def completion():
    """bash offers the commands, what each takes, and the choices of an option; each option it offers is one that the command takes."""
    script = os.path.join(options.scratch, "wick.bash")
    with open(script, "wb") as file:
        file.write(must(options.wick, "help", "--completion"))

    def offers(*words):
        line = " ".join(f"'{word}'" for word in words)
        code = f"source {script}; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _wick; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        return subprocess.run(["bash", "-c", code], capture_output=True, check=True, text=True).stdout.split()

    commands = offers("wick", "")
    assert commands == re.findall(r"^## wick ([a-z]+)", must(options.wick, "help", "--reference").decode(), re.M), commands
    for words, wanted in ((("wick", "la"), ["latest"]), (("wick", "topic", ""), ["list", "create", "delete", "read", "write", "tail", "copy"]),
                          (("wick", "generate", "p"), ["price-events", "prices"]), (("wick", "bench", ""), ["fold", "decode", "read"]), (("wick", "help", "f"), ["fsck"]),
                          (("wick", "series", "--format", ""), ["table", "json", "csv"]), (("wick", "candles", "x", "--kind", "t"), ["trade"]), (("wick", "fsck", "--u"), []),
                          (("wick", "series", "--u"), ["--url"])):
        assert offers(*words) == wanted, (words, offers(*words))
    for command in commands:
        said = re.findall(r"^  --([a-z0-9-]+)", must(options.wick, "help", command).decode(), re.M)
        offered = [option[2:] for option in offers("wick", command, "--")]
        assert sorted(offered) == sorted(set(said) - (set() if "url" in offered else {"url"})) and "data" in offered, (command, offered, said)
        page = must(options.wick, "help", "--manual").decode().split(f".SS wick {command} ")[1].split(".SS ")[0]
        assert all(f"\\-\\-{option}" in page or option in ("data", "config", "url", "format", "help") for option in said), command


def what_is_wrong_is_named():
    """Where, what, and what to do, with the exit code that docs/cli.md gives: 2 the command line, 3 what it names, 5 the machine, 6 others."""
    def file(name, content=b""):
        path = os.path.join(options.scratch, name)
        with open(path, "wb") as out:
            out.write(content)
        return path

    empty, line = file("empty.jsonl"), price_event("A", now, "1").encode() + b"\n"
    with zipfile.ZipFile(os.path.join(options.scratch, "two.zip"), "w") as two:
        two.writestr("a", line * 9000)
        two.writestr("b", line)
    nowhere, two, trades = os.path.join(options.scratch, "nowhere"), os.path.join(options.scratch, "two.zip"), file("t.csv", b"%d,1,2,3\n" % now)
    at = ["--data", data]
    for words, code, said in (
            (["candles", "kraken:A/USD", "--limit", "0", *at], 2, b'wick: --limit: "0" is no number'),
            (["candles", "kraken:A/USD", "--kind", "trad", *at], 2, b"wick: --kind: a kind is trade or price"),
            (["candles", "kraken:A/USD", "--tz", "Mars/Olympus", *at], 2, b'wick: --tz: no time zone "Mars/Olympus" (a name such as'),
            (["candles", "kraken:A/USD", "--week-start", "8", *at], 2, b"wick: --week-start: "),
            (["candles", "kraken:A/USD", "--from", "noon", *at], 2, b'wick: --from: "noon" is not a time'),
            (["candles", "kraken:A/USD", "--kind", "trade", *at], 3, b'there are no trades of "kraken:A/USD" (there are prices: ask for kind price'),
            (["why", "kraken:A/USD", "noon", *at], 2, b'wick: time: "noon" is not a time'),
            (["latest", "--base", *at], 2, b"--base needs a value"),
            (["import", empty, *at], 3, b"empty.jsonl: there is nothing in the file"),
            (["import", two, *at], 3, b"two.zip: the zip file has more than one file in it (unpack it"),
            (["import", trades, "--venue", "a b", "--columns", "time,price,quantity,id", *at], 2, b'--venue: "a b"'),
            (["import", trades, "--series", "nonsense", "--columns", "time,price,quantity,id", *at], 2, b'--series: the symbol "nonsense"'),
            (["import", "x/" * 3000, *at], 3, b"too long"), (["import", options.scratch, *at], 3, b"this is a folder"),
            (["import", events, "--data", events], 3, b"a file has its name"),
            (["verify", "--capture", options.scratch], 3, b"this is a folder"), (["verify", "--capture", empty], 3, b"nothing in the file"),
            (["generate", "trades", "--out", nowhere, "--topic", "x", *at], 2, b"one of --out, --topic"),
            (["fsck", "--rebuild", "--cut", "prices/0@1", *at], 2, b"one of --rebuild and --cut"),
            (["fsck", "--rebuild", "--data", nowhere], 3, b"there is no log in this folder (wick run and wick import make one"),
            (["fsck", "--cut", "prices/0@1", "--data", nowhere], 3, nowhere.encode() + b"/log: there is no log"),
            (["series", "--data", nowhere], 3, b"--data DIR names the data folder")):
        got, out, err = run(options.wick, *words)
        assert got == code and out == b"" and said in err and err.count(two.encode()) < 2, (words[:6], got, out, err[:600])
    assert not os.path.exists(nowhere), "what was only looked for was made"
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = "127.0.0.1:%d" % other.getsockname()[1]
        code, out, err = run(options.wick, "run", "--listen", address, "--data", os.path.join(options.scratch, "no-port"))
    assert code == 6 and out == b"" and f"cannot listen on {address}: Address already in use (stop what".encode() in err, (code, err)


def settings_of_the_command_line():
    """What an option says is wrong usage, 2; what the file says is bad input, 3, with its line: also where two settings contradict each other."""
    folder = os.path.join(options.scratch, "settings")
    os.makedirs(folder, exist_ok=True)
    config = os.path.join(folder, "wick.yaml")
    made = os.path.join(folder, "made")
    for text, words, code, said in (
            ("", ["--listen", "localhost"], 2, '--listen: "localhost" is no address'), ("", ["--listen", "127.0.0.1:99999"], 2, '--listen: "99999" is no port'),
            ("", ["--listen", "0.0.0.0:0"], 2, "--listen: http.listen: beyond loopback"), ("", ["--data", ""], 2, "--data: this must not be empty"),
            ("", ["--data", "x" * 600], 2, "--data: this is longer than 511 bytes"),
            ("http:\n  listen: localhost\n", [], 3, 'wick.yaml:2:11: http.listen: "localhost" is no address'),
            ("http: {listen: '0.0.0.0:0'}\n", [], 3, "wick.yaml:1:16: http.listen: beyond loopback"),
            ("\nhttp: {certificate: a.pem}\n", [], 3, "wick.yaml:2:21: http.certificate: http.key is missing"),
            (f"http: {{certificate: {config}, key: {config}}}\n", [], 3, f"{config}: this does not hold a certificate in PEM"),
            ("topics: {prices_partitions: 2}", ["--data", data], 3, "wick.yaml:1:29: topic prices of this folder has 1 partitions, not 2")):
        with open(config, "w") as file:
            file.write(text)
        for more in ([], ["--print-config"])[: 1 if "topics" in text or config in text else 2]:  # what only files and folders tell
            got, out, err = run(options.wick, "run", "--config", config, *words, *more, *([] if "--data" in words else ["--data", made]))
            assert got == code and out == b"" and said.encode() in err and err.count(b"\n") == 1, (text, words, more, got, err)
    for path, code, said in ((folder, 3, b"this is a folder"), (os.path.join(folder, "none"), 3, b"No such file"), ("/dev/stdin", 3, b"this is a pipe")):
        got, out, err = run(options.wick, "series", "--config", path, "--data", data, input=b"data: x\n")
        assert got == code and out == b"" and said in err and path.encode() in err, (path, got, err)
    code, out, err = run(options.wick, "run", "--data", b"\xff", "--print-config")
    assert code == 2 and out == b"" and b"UTF-8" in err, (code, err)
    code, out, err = run(options.wick, "topic", "copy", "notes", "other", "--to-data", "", "--data", data)
    assert code == 2 and b"--to-data: this must not be empty" in err, (code, err)


def elsewhere_by_https():
    """A certificate of one's own is trusted where the environment names it, whatever else it names; the token goes only there."""
    folder = os.path.join(options.scratch, "tls")
    os.makedirs(folder, exist_ok=True)
    own, other, key = (os.path.join(folder, name) for name in ("own.pem", "other.pem", "key.pem"))
    for path in (other, own):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
                        "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", path], check=True, capture_output=True)
    config = os.path.join(folder, "wick.yaml")
    with open(config, "w") as file:
        file.write(f"http:\n  certificate: {own}\n  key: {key}\n  tokens: [{hashlib.sha256(b'secret').hexdigest()}]\n")
    server = Server(options.wick, os.path.join(folder, "data"), config=config)
    try:
        url = ["--url", f"https://127.0.0.1:{server.address()}"]
        none = {"CURL_CA_BUNDLE": "", "SSL_CERT_FILE": "", "SSL_CERT_DIR": "", "WICK_TOKEN": "secret"}
        for trust, said in (({}, b"SSL_CERT_FILE in the environment names"), ({"SSL_CERT_FILE": other}, b"certificate"), ({"SSL_CERT_FILE": own}, None), ({"CURL_CA_BUNDLE": own}, None),
                            ({"CURL_CA_BUNDLE": other, "SSL_CERT_FILE": own}, None), ({"CURL_CA_BUNDLE": own, "SSL_CERT_FILE": other}, None),
                            ({"SSL_CERT_FILE": folder + "/none"}, b"SSL_CERT_FILE in the environment names it")):
            for words in (["series", *url], ["generate", "price-events", "--count", "3", "--to", url[1] + "/v1/prices"]):
                code, out, err = run(options.wick, *words, env={**none, **trust})
                assert (code == 0 and err == b"") if said is None else (code == 5 and out == b"" and said in err), (words, trust, code, err)
            code, _, err = run(options.wick, "series", *url, env={**none, **trust, "WICK_TOKEN": "wrong"})
            assert code != 0 and (said is not None or b"WICK_TOKEN in the environment is the token" in err), (trust, code, err)
        assert len(must(options.wick, "latest", *url, "--format", "json", env={**none, "SSL_CERT_FILE": own}).splitlines()) == 3
    finally:
        server.stop()
    for url, code, said in (("ftp://localhost", 2, b"ftp"), (f"file://{config}", 2, b"file"), (":::", 2, b"such as http://"), ("http://127.0.0.1:1", 5, b"is a wick running there?")):
        got, out, err = run(options.wick, "series", "--url", url, env={"WICK_TOKEN": ""})
        assert got == code and out == b"" and said in err, (url, got, err)
    code, _, err = run(options.wick, "series", "--url", "http://127.0.0.1:1", env={"WICK_TOKEN": "a\nX: b"})
    assert code == 2 and b"WICK_TOKEN" in err, (code, err)
    many = [f"kraken:{'X' * 20}{i}/USD" for i in range(2000)]
    server = Server(options.wick, data)
    try:  # too much for a URL is said, and never cut
        code, out, err = run(options.wick, "latest", *many, "--url", f"http://127.0.0.1:{server.address()}")
        assert code != 0 and out == b"" and err.startswith(b"wick: "), (code, out[:200], err)
    finally:
        server.stop()


def why_in_words():
    """Klines, events without ids and single ones are told as what they are."""
    klines, trades, minute = (os.path.join(options.scratch, name) for name in ("BTCUSDT-1m-2024-03-01.csv", "few.csv", "x"))
    minute = 1709251200000
    with open(klines, "w") as file:
        file.write(f"{minute},1,2,1,1,1,{minute + 59999},1,7,1,1,0\n")
    with open(trades, "w") as file:
        file.write(f"{minute},1,2,1\n{minute + 60000},1,2,3\n")
    must(options.wick, "import", "--venue", "kraken", "--series", "kraken:K/USD", klines, data=data)
    must(options.wick, "import", "--series", "binance:BTC/USDT", "--columns", "time,price,quantity,id", trades, data=data)
    for series, lines in (("kraken:K/USD", ["7 trades, without ids", "final: the venue's own candle, which it had closed"]),
                          ("binance:BTC/USDT", ["1 trade, ids 1 to 1", "1 hole in the ids touches this minute"]),
                          ("kraken:A/USD", ["60 prices observed"])):
        found = must(options.wick, "why", series, str(now if series == "kraken:A/USD" else minute), data=data).decode().splitlines()
        assert all(line in found for line in lines), (series, found)


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
for name, case in (("same-everywhere", same_everywhere), ("folders-that-are-not", folders_that_are_not), ("wrong-use", wrong_use), ("completion", completion), ("what-is-wrong-is-named", what_is_wrong_is_named), ("settings-of-the-command-line", settings_of_the_command_line), ("elsewhere-by-https", elsewhere_by_https), ("why-in-words", why_in_words),
                   ("bar-on-a-terminal", bar_on_a_terminal), ("arrays", arrays)):
    report.case(name, case)
sys.exit(report.done())
