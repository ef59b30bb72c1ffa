"""Our closed segments read by others: kafka-python's record parser always, Apache Kafka's own DumpLogSegments with
--services; and segments that a real Kafka wrote (golden/) read by ours.

golden/kafka-<version>-<codec>/00000000000000000000.log was written by a Kafka broker (golden/README.md says how).
"""
import glob, json, os, re, shutil, subprocess, sys, time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from wick import Report, arguments, must, price_event

options = arguments("segments exchanged with Kafka")
report = Report()
HERE = os.path.dirname(os.path.abspath(__file__))
KEEP = os.path.join(HERE, "..", "..", "build-check")  # what is downloaded stays for the next run
COUNT = 5000


def quiet(*words, **more):
    done = subprocess.run(words, capture_output=True, text=True, **more)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(words[:4])}: exit {done.returncode}: {(done.stderr or done.stdout).strip()[-400:]}")
    return done.stdout


def write_topic():
    """A closed log of lines with keys, over several segments."""
    data = os.path.join(options.scratch, "data")
    config = os.path.join(options.scratch, "wick.yaml")
    with open(config, "w") as file:
        file.write("log: {segment: 1MiB}\n")
    must(options.wick, "topic", "create", "exchange", "--config", config, data=data)
    lines = [f"key-{i % 97}|" + price_event(f"X{i % 97}", 1700000000000 + i, f"{i}.25") for i in range(COUNT)]
    must(options.wick, "topic", "write", "exchange", "--key-separator", "|", "--config", config, data=data, input="\n".join(lines).encode() + b"\n")
    must(options.wick, "fsck", data=data)
    found = sorted(glob.glob(os.path.join(data, "log", "exchange-0", "*.log")))
    assert found, "no segment"
    return found, lines


def kafka_python(segments, lines):
    python = os.path.join(KEEP, "venv", "bin", "python")
    if not os.path.exists(python):
        quiet(sys.executable, "-m", "venv", os.path.join(KEEP, "venv"))
    if subprocess.run([python, "-c", "import kafka, lz4, zstandard"], capture_output=True).returncode != 0:
        quiet(python, "-m", "pip", "-q", "install", "kafka-python==2.0.6", "lz4", "zstandard")
    code = """
import sys, json
from kafka.record import MemoryRecords
for path in sys.argv[1:]:
    records = MemoryRecords(open(path, "rb").read())
    while records.has_next():
        batch = records.next_batch()
        assert batch.validate_crc(), path
        for record in batch:
            print(json.dumps([record.offset, record.key and record.key.decode(), record.value.decode()]))
"""
    rows = [json.loads(row) for row in quiet(python, "-c", code, *segments).splitlines()]
    wanted = [[i, *line.split("|", 1)] for i, line in enumerate(lines)]
    assert rows == wanted, f"{len(rows)} records of {len(wanted)}; the first that differ: " + str(
        next(((a, b) for a, b in zip(rows, wanted) if a != b), None))


def kafka_lib():
    lib = os.path.join(KEEP, "kafka-4.3.1")
    if not glob.glob(os.path.join(lib, "kafka-tools-*.jar")):
        quiet("mvn", "-q", "-B", "-f", os.path.join(HERE, "pom.xml"), "dependency:copy-dependencies", "-DincludeScope=runtime",
              f"-DoutputDirectory={lib}")
    return os.path.join(lib, "*")


def dump_log_segments(segments):
    total = 0
    for path in segments:
        out = quiet("java", "-cp", kafka_lib(), "org.apache.kafka.tools.DumpLogSegments", "--deep-iteration", "--files", path)
        batches = re.findall(r"isvalid: (\w+)", out)
        assert batches and set(batches) == {"true"}, out[-400:]
        total += len(re.findall(r"^\|? ?offset: \d+", out, re.M))
        for index in (path[:-4] + ".index", path[:-4] + ".timeindex"):
            if os.path.exists(index):
                said = quiet("java", "-cp", kafka_lib(), "org.apache.kafka.tools.DumpLogSegments", "--index-sanity-check", "--files", index)
                assert "passed sanity check" in said or "Dumping" in said, said[-300:]
                assert "Mismatch" not in said and "out of order" not in said.lower(), said[-300:]
    assert total == COUNT, f"{total} records of {COUNT}"


def golden(folder):
    """A folder that Kafka wrote, put beside ours."""
    data = os.path.join(options.scratch, os.path.basename(folder))
    wanted = [json.loads(line) for line in open(os.path.join(HERE, "golden", "records.jsonl"))]
    target = os.path.join(data, "log", "copied-0")
    must(options.wick, "topic", "create", "other", data=data)
    os.makedirs(target)
    shutil.copy(os.path.join(folder, "00000000000000000000.log"), target)
    must(options.wick, "topic", "create", "another", data=data)  # the next writer takes the folder over
    rows = [json.loads(line) for line in must(options.wick, "topic", "read", "copied", data=data).splitlines()]
    got = [[r["offset"], r["key"], r["value"]] for r in rows]
    assert got == wanted, f"{len(got)} records of {len(wanted)}"


try:
    segments, lines = write_topic()
except Exception as error:
    report.check("write", False, error)
    sys.exit(1)
report.case("kafka-python-reads-ours", kafka_python, segments, lines)
if os.environ.get("WICK_SERVICES"):
    if shutil.which("java") and shutil.which("mvn"):
        report.case("dump-log-segments-reads-ours", dump_log_segments, segments)
    else:
        report.skip("dump-log-segments-reads-ours", "needs java (17 or later) and mvn")
for folder in sorted(glob.glob(os.path.join(HERE, "golden", "kafka-*"))):
    report.case(f"{os.path.basename(folder)}-read-by-ours", golden, folder)
sys.exit(report.done())
