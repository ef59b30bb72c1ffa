"""Words on the command line that nobody would type: always an exit code of the table, and a reason where it is not 0."""
import os, random, re, sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from wick import Report, arguments, must, run

options = arguments(__doc__)
report = Report()
chance = random.Random(options.seed)
COUNT = 2000 if options.long else 200
FOLDER = os.path.join(options.scratch, "data")
EMPTY = os.path.join(options.scratch, "empty")
open(EMPTY, "w").close()
SILENT = ("run", "bench")  # they would stay, or take their time


def known():
    reference = must(options.wick, "help", "--reference").decode()
    commands = [word for word in re.findall(r"^## wick ([a-z-]+)", reference, re.M) if word not in SILENT]
    flags = sorted(set(re.findall(r"--[a-z][a-z0-9-]*", reference)) - {"--follow", "--url", "--rate", "--data", "--help"})
    assert len(commands) > 8 and len(flags) > 20, (commands, flags)
    return commands, flags


def word(flags):
    letters = "abz09-=:/@.%,;{}[]\\\"' \t\xe9\u20ac"
    kinds = (
        lambda: chance.choice(flags),
        lambda: chance.choice(flags) + "=" + "".join(chance.choice(letters) for _ in range(chance.randrange(12))),
        lambda: "".join(chance.choice(letters) for _ in range(chance.randrange(1, 40))),
        lambda: chance.choice(("-1", "0", "99999999999999999999", "1e9", "NaN", "", "--", "-", "x" * 5000, "a:b/c", "2024-02-30", "1M", "json")),
        lambda: chance.choice(("list", "create", "read", "write", "copy", "tail", "prices", "1700000000000", "binance:BTC/USDT", EMPTY)),
    )
    return chance.choice(kinds)()


def any_words():
    commands, flags = known()
    codes = {}
    for _ in range(COUNT):
        words = [chance.choice(commands)] + [word(flags) for _ in range(chance.randrange(6))]
        words = [w for w in words if "\0" not in w]
        code, out, err = run(options.wick, *words, "--data", FOLDER, input=b"", timeout=60)
        assert code in range(7), f"{words}: exit {code}: {err[-300:]!r}"
        assert code in (0, 1) or err.startswith(b"wick"), f"{words}: exit {code} without a reason: {err[-300:]!r}"
        codes[code] = codes.get(code, 0) + 1
    assert codes.get(2, 0) > COUNT / 4 and len(codes) >= 3, f"hardly any way was tried: {codes}"


os.chdir(options.scratch)  # where files of strange names may appear
report.case("any-words", any_words)
sys.exit(report.done())
