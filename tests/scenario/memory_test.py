"""Memory that runs out at any point of an import: an error and nothing shown, or done; then the same import is right."""
import os, re, shutil, subprocess, sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from wick import Report, arguments, must, price_event

options = arguments("memory that runs out")
report = Report()
POINTS = 200 if options.long else 16
library = os.path.join(options.scratch, "no_memory.so")
source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib", "no_memory.c")
subprocess.run([os.environ.get("CC", "cc"), "-O1", "-shared", "-fPIC", "-o", library, source], check=True)
events = os.path.join(options.scratch, "events.jsonl")
with open(events, "w") as file:
    file.writelines(price_event("A", 1700000000000 + i * 997, f"{i + 1}.5") + "\n" for i in range(500))
data = os.path.join(options.scratch, "data")
asked = ("candles", "kraken:A/USD", "--format", "csv")


def starved(**variables):
    shutil.rmtree(data, ignore_errors=True)
    words = [options.wick, "import", "--as", "price-events", events, "--data", data]
    done = subprocess.run(words, capture_output=True, env=dict(os.environ, LD_PRELOAD=library, **variables), cwd=options.scratch)
    return done.returncode, done.stderr.decode(errors="replace")


code, said = starved(NO_MEMORY_COUNT="1")
total = int(re.search(r"allocations (\d+)", said).group(1))
before = must(options.wick, *asked, data=data)


def at_any_point(how, more):
    failed = 0
    for at in range(0, total, max(1, total // POINTS)):
        code, said = starved(NO_MEMORY_AT=str(at), **more)
        assert code == 0 or (code in (3, 5, 6) and said.strip()), f"allocation {at}, {how}: exit {code}: {said[-300:]}"
        failed += code != 0
        must(options.wick, "import", "--as", "price-events", events, data=data)
        assert must(options.wick, *asked, data=data) == before, f"allocation {at}, {how}: other candles"
    assert failed > 0, "no allocation failed"


report.case("one-allocation-fails", at_any_point, "alone", {})
report.case("every-allocation-from-one-on-fails", at_any_point, "and all behind it", {"NO_MEMORY_ON": "1"})
sys.exit(report.done())
