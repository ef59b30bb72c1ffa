"""Data folders of every version of the formats open and say the same; one of a version to come is refused, and told so."""
import glob, importlib.machinery, importlib.util, json, os, sys, tarfile

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from wick import Report, Server, arguments, must, price_event, run

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "golden")
loader = importlib.machinery.SourceFileLoader("golden", os.path.join(GOLDEN, "make"))
golden = importlib.util.module_from_spec(importlib.util.spec_from_loader("golden", loader))
loader.exec_module(golden)

options = arguments("golden data folders")
report = Report()


def opened(name, as_name):
    data = os.path.join(options.scratch, as_name)
    with tarfile.open(os.path.join(GOLDEN, name + ".tar.gz")) as tar:
        tar.extractall(data)
    with open(os.path.join(GOLDEN, name + ".json")) as file:
        said = json.load(file)
    said.pop("made_by")
    return data, said


def compare(got, wanted, what):
    assert got.keys() == wanted.keys(), (what, sorted(got))
    for question, answer in wanted.items():
        assert got[question] == answer, f"{what}: {question}: {got[question]}, not {answer}"


def opens_and_says_the_same(name):
    data, wanted = opened(name, name)
    compare(golden.answers(options.wick, data), wanted, "as it is")
    must(options.wick, "fsck", data=data)
    made = golden.files(options.scratch)
    again = json.loads(must(options.wick, "import", "--columns", "time,price,quantity,id", "--series", "bitstamp:ETH/USD", "--format",
                            "json", made["trades"], data=data))
    assert again["repeated"] is True, f"an import is forgotten: {again}"
    other = json.loads(must(options.wick, "import", "--columns", "time,price,quantity,id", "--series", "kraken:ETH/USD", "--format", "json",
                            made["trades"], data=data))
    assert (other["repeated"], other["used"]) == (False, 300), f"taken for the import of another venue: {other}"
    must(options.wick, "import", "--copy", "--as", "binance-stream", made["stream"], data=data)
    after = golden.answers(options.wick, data)
    assert after["binance:BTC/USDT 1m"] == wanted["binance:BTC/USDT 1m"], "the ids seen are forgotten"
    server = Server(options.wick, data)
    server.wait_ready()
    try:
        assert server.request("POST", "/v1/prices", price_event("NEW", golden.START, "5"))[0] == 200
    finally:
        server.stop()
    must(options.wick, "fsck", "--rebuild", data=data)
    rebuilt = golden.answers(options.wick, data)
    for question in wanted:
        if question.startswith("binance:"):
            assert rebuilt[question] == wanted[question], f"made anew: {question}: {rebuilt[question]}"


def crc32c(content):
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def contents(data):
    found = {}
    for place, _, names in os.walk(data):
        for name in set(names) - {"lock", "lock.mdb"}:
            with open(os.path.join(place, name), "rb") as file:
                found[os.path.relpath(os.path.join(place, name), data)] = file.read()
    return found


def a_later_version_is_refused():
    """Of the log as a whole: every command says what it met, where, and what to do, and changes nothing."""
    data, _ = opened(newest, "later")
    path = os.path.join(data, "log", "identity")
    with open(path, "rb") as file:
        content = file.read()
    later = content[:8] + (int.from_bytes(content[8:12], "little") + 1).to_bytes(4, "little") + content[12:-4]
    with open(path, "wb") as file:
        file.write(later + crc32c(later).to_bytes(4, "little"))
    before = contents(data)
    for words in (("run", "--listen", "127.0.0.1:0"), ("candles", "kraken:A/USD"), ("ledger",), ("import", __file__), ("topic", "list"),
                  ("fsck",), ("fsck", "--rebuild")):
        code, out, err = run(options.wick, *words, data=data)
        said = out if words == ("fsck",) else err  # a finding is a result
        assert code == 4 and b"log/identity" in said and b"another version" in said, (words, code, out, err)
        assert words == ("fsck",) or b"with the wick that wrote it" in said and out == b"", (words, out, err)
    changed = {name for name, content in contents(data).items() if before.pop(name, None) != content}
    assert not before and not changed, (list(before), changed)


names = sorted(os.path.basename(path)[:-7] for path in glob.glob(os.path.join(GOLDEN, "*.tar.gz")))
newest = names[-1]
for name in names:
    report.case(f"opens-{name}", opens_and_says_the_same, name)
report.case("a-later-version-is-refused", a_later_version_is_refused)
sys.exit(report.done())
