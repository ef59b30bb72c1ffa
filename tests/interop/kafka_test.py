"""Our closed segments, plain, lz4 and zstd, read by others: kafka-python's record parser always; with --services Apache Kafka's own
DumpLogSegments, and a real broker that serves them to its consumer. And segments that a real Kafka wrote read by ours: those
in golden/ always, with --services those that a broker writes now, in every codec.

golden/kafka-<version>-<codec>/00000000000000000000.log was written by a Kafka broker (golden/README.md says how).
"""
import glob, json, os, re, shutil, struct, subprocess, sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from broker import KEEP, Broker, kafka, quiet
from wick import Report, Server, arguments, must, price_event

options = arguments("segments exchanged with Kafka")
report = Report()
HERE = os.path.dirname(os.path.abspath(__file__))
COUNT = 5000
CODECS = ("none", "lz4", "zstd")


def write_topic(codec):
    """A closed log of lines with keys, over several segments where they are plain."""
    data = os.path.join(options.scratch, f"data-{codec}")
    config = os.path.join(options.scratch, f"wick-{codec}.yaml")
    with open(config, "w") as file:
        file.write(f"log: {{segment: 1MiB, compression: {codec}}}\n")
    must(options.wick, "topic", "create", "exchange", "--config", config, data=data)
    lines = [f"key-{i % 97}|" + price_event(f"X{i % 97}", 1700000000000 + i, f"{i}.25") for i in range(COUNT)]
    must(options.wick, "topic", "write", "exchange", "--key-separator", "|", "--config", config, data=data, input="\n".join(lines).encode() + b"\n")
    must(options.wick, "fsck", data=data)
    found = sorted(glob.glob(os.path.join(data, "log", "exchange-0", "*.log")))
    assert found, "no segment"
    assert codecs_of(found) == {codec}, codecs_of(found)
    return found, lines


def codecs_of(segments):
    """What the batches say of themselves (attributes, bits 0 to 2)."""
    said = set()
    for path in segments:
        with open(path, "rb") as file:
            content, at = file.read(), 0
        while at + 61 <= len(content):
            length, = struct.unpack_from(">i", content, at + 8)
            if length == 0:
                break
            said.add({0: "none", 3: "lz4", 4: "zstd"}[content[at + 22] & 7])
            at += 12 + length
    return said


def posted(codec):
    """What POST /v1/prices appends, and the candles made of it."""
    data = os.path.join(options.scratch, f"posted-{codec}")
    lines = [price_event("X", 1700000000000 + i, f"{i}.25") for i in range(COUNT)]
    server = Server(options.wick, data, config=os.path.join(options.scratch, f"wick-{codec}.yaml"))
    server.wait_ready()
    try:
        for at in range(0, COUNT, 500):
            assert server.request("POST", "/v1/prices", "\n".join(lines[at:at + 500]))[0] == 200
        rows = server.json("/v1/candles?series=kraken:X/USD&from=1699999980000&to=1700000100000")
    finally:
        server.stop()
    assert sum(row["trades"] for row in rows) == COUNT, rows
    must(options.wick, "fsck", data=data)
    segments = sorted(glob.glob(os.path.join(data, "log", "prices-0", "*.log")))
    assert codec in codecs_of(segments), codecs_of(segments)
    values = [row[2] for row in read_by_kafka_python(segments)]
    assert [value for value in values if not value.startswith('{"source":')] == lines, f"{len(values)} records"


def read_by_kafka_python(segments):
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
    return [json.loads(row) for row in quiet(python, "-c", code, *segments).splitlines()]


def kafka_python(segments, lines):
    rows = read_by_kafka_python(segments)
    wanted = [[i, *line.split("|", 1)] for i, line in enumerate(lines)]
    assert rows == wanted, f"{len(rows)} records of {len(wanted)}; the first that differ: " + str(
        next(((a, b) for a, b in zip(rows, wanted) if a != b), None))


def dump_log_segments(segments):
    total = 0
    for path in segments:
        out = kafka("org.apache.kafka.tools.DumpLogSegments", "--deep-iteration", "--files", path)
        batches = re.findall(r"isvalid: (\w+)", out)
        assert batches and set(batches) == {"true"}, out[-400:]
        total += len(re.findall(r"^\|? ?offset: \d+", out, re.M))
        for index in (path[:-4] + ".index", path[:-4] + ".timeindex"):
            if os.path.exists(index):
                said = kafka("org.apache.kafka.tools.DumpLogSegments", "--index-sanity-check", "--files", index)
                assert "passed sanity check" in said or "Dumping" in said, said[-300:]
                assert "Mismatch" not in said and "out of order" not in said.lower(), said[-300:]
    assert total == COUNT, f"{total} records of {COUNT}"


def read_copied(data, topic, segment):
    """The records of a segment that Kafka wrote, put beside ours."""
    target = os.path.join(data, "log", topic + "-0")
    must(options.wick, "topic", "create", "other", data=data)
    os.makedirs(target)
    shutil.copy(segment, target)
    must(options.wick, "topic", "create", "another", data=data)  # the next writer takes the folder over
    rows = [json.loads(line) for line in must(options.wick, "topic", "read", topic, data=data).splitlines()]
    return [[r["offset"], r["key"], r["value"]] for r in rows]


def copy_out(source, target):
    """A segment with the leader epoch, which is ours to use and outside the checksum, set to 0."""
    data = bytearray(open(source, "rb").read())
    at = 0
    while at + 12 <= len(data):
        struct.pack_into(">i", data, at + 12, 0)
        at += 12 + struct.unpack_from(">i", data, at + 8)[0]
    assert at == len(data), f"{source}: {len(data) - at} bytes behind the last batch"
    with open(target, "wb") as file:
        file.write(data)


def broker_wrote(broker, codec, lines):
    topic = f"wrote-{codec}"
    segment, = glob.glob(os.path.join(broker.partition(topic), "*.log"))
    got = read_copied(os.path.join(options.scratch, topic), topic, segment)
    wanted = [[i, *line.split("|", 1)] for i, line in enumerate(lines)]
    assert got == wanted, f"{len(got)} records of {len(wanted)}"


def broker_serves(broker, segments, lines):
    """The broker finds our segments where its own were, as after a crash: it checks them and builds its indexes."""
    folder = broker.partition("exchange")
    for path in glob.glob(os.path.join(folder, "0*")) + glob.glob(os.path.join(folder, "leader-epoch*")):
        os.remove(path)
    for path in segments:
        copy_out(path, os.path.join(folder, os.path.basename(path)))
    for path in glob.glob(os.path.join(broker.data, ".kafka_cleanshutdown")):
        os.remove(path)
    broker.start()
    got = broker.consume("exchange", len(lines))
    wanted = [f"Offset:{i}|{line}" for i, line in enumerate(lines)]
    assert got == wanted, f"{len(got)} records of {len(wanted)}; the first that differ: " + str(
        next(((a, b) for a, b in zip(got, wanted) if a != b), None))


def with_broker(segments, lines):
    codecs = ("none", "gzip", "lz4", "zstd")
    few = lines[:500]
    broker = Broker(options.scratch)
    try:
        broker.create("exchange")
        for codec in codecs:
            broker.create(f"wrote-{codec}")
            broker.produce(f"wrote-{codec}", few, codec)
        broker.stop()
        for codec in codecs:
            report.case(f"broker-writes-{codec}-ours-reads", broker_wrote, broker, codec, few)
        report.case("broker-serves-ours", broker_serves, broker, segments, lines)
    finally:
        broker.stop()


def golden(folder):
    wanted = [json.loads(line) for line in open(os.path.join(HERE, "golden", "records.jsonl"))]
    got = read_copied(os.path.join(options.scratch, os.path.basename(folder)), "copied",
                      os.path.join(folder, "00000000000000000000.log"))
    assert got == wanted, f"{len(got)} records of {len(wanted)}"


written = {}
for codec in CODECS:
    try:
        written[codec] = segments, lines = write_topic(codec)
    except Exception as error:
        report.check(f"write-{codec}", False, error)
        sys.exit(1)
    report.case(f"kafka-python-reads-ours-{codec}", kafka_python, segments, lines)
    report.case(f"kafka-python-reads-posted-{codec}", posted, codec)
if os.environ.get("WICK_SERVICES"):
    for codec, (segments, lines) in written.items():
        name = f"dump-log-segments-reads-ours-{codec}"
        if shutil.which("java") and shutil.which("mvn"):
            report.case(name, dump_log_segments, segments)
        else:
            report.check(name, False, "--services needs java (17 or later) and mvn")
    if shutil.which("java") and shutil.which("mvn"):
        try:
            with_broker(*written["none"])
        except Exception as error:
            report.check("broker", False, error)
for folder in sorted(glob.glob(os.path.join(HERE, "golden", "kafka-*"))):
    report.case(f"{os.path.basename(folder)}-read-by-ours", golden, folder)
sys.exit(report.done())
