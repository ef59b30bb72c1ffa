"""Damaged, mixed and doubly used data folders: named clearly, nothing silently lost, the rest still served."""
import glob, json, os, random, shutil, sys, threading, time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from wick import Report, Server, arguments, events_of, flip, must, price_event, run

options = arguments("damaged folders")
report, chance = Report(), random.Random(options.seed)
now = int(time.time() * 1000) // 60000 * 60000 - 3600_000


def filled(name, first=0):
    """A folder with 20 requests of 50 events, stopped cleanly."""
    data = os.path.join(options.scratch, name)
    server = Server(options.wick, data)
    server.wait_ready()
    for i in range(20):
        body = "\n".join(price_event("A", now + first + i * 1000 + n, f"{i}.{n + 1:03d}") for n in range(50))
        status, said = server.request("POST", "/v1/prices", body)
        assert status == 200, said
    server.stop()
    return data


def segment(data):
    return sorted(glob.glob(os.path.join(data, "log", "prices-0", "*.log")))[0]


def rot_is_refused_and_named():
    data = filled("rot")
    path = segment(data)
    flip(path, os.path.getsize(path) // 2)
    code, out, err = run(options.wick, "fsck", data=data)
    assert code == 4, f"fsck: exit {code}, {out[-300:]!r} {err[-300:]!r}"
    said = (out + err).decode()
    assert os.path.basename(path) in said and "--cut" in said, said[-500:]
    code, out, err = run(options.wick, "topic", "read", "prices", "--values", data=data)
    assert code == 4, f"topic read: exit {code}"
    values = events_of(out.splitlines())
    assert 0 < len(values) < 1000 and values[-1] == price_event("A", now + 19049, "19.050").encode(), f"{len(values)} records around the damage"
    assert b"prices" in err, err[-300:]


def rot_behind_a_crash_refuses_writes_loudly():
    """Damage that recovery meets: `wick run` says it, an append is refused with the command, reads of the rest go on; also where
    the tasks have all of it behind them."""
    for every in ("1m", "20ms"):
        for turn in range(20):
            if rot_behind_a_crash(os.path.join(options.scratch, f"crash-{every}-{turn}"), every):
                break
        else:
            raise AssertionError("recovery never met the damage")


def rot_behind_a_crash(data, every):
    """False where the log was idle for a moment and has recorded its end: recovery does not go behind that."""
    config = data + ".yaml"
    with open(config, "w") as file:
        file.write("checkpoint: {every: %s, bytes: 16MiB}\n" % every)
    server = Server(options.wick, data, config=config)
    server.wait_ready()
    for i in range(20):
        body = "\n".join(price_event("A", now + i * 1000 + n, f"{i}.{n + 1:03d}") for n in range(50))
        answer = server.request("POST", "/v1/prices", body)
        assert answer[0] == 200, answer
    server.kill()
    flip(segment(data), 50_000)
    server = Server(options.wick, data)
    try:
        server.address(20)
        status, body = server.request("POST", "/v1/prices", price_event("B", now, "1"))
        if status == 200:
            return False
        error = json.loads(body)["error"]
        assert status == 500 and error["code"] == "corrupt" and "--cut prices/0@" in error["message"], (status, body)
        assert error["at"].startswith("prices-0/"), error
        status, body = server.get("/readyz")
        assert status == 503 and b"--cut prices/0@" in body, (status, body)
        end = time.monotonic() + 20
        while (answer := server.get("/v1/candles?series=kraken:A/USD"))[0] != 200:  # what lies before the damage is folded first
            assert time.monotonic() < end, answer
            time.sleep(0.05)
    finally:
        server.stop()
    assert any("--cut prices/0@" in line for line in server.said), server.said
    return True


def checked_while_it_is_written():
    """fsck beside a running wick: no false alarm however busy it is, and damage of what is closed is found."""
    data, config = os.path.join(options.scratch, "written"), os.path.join(options.scratch, "written.yaml")
    with open(config, "w") as file:
        file.write("log: {segment: 1MiB}\n")
    server = Server(options.wick, data, config=config)
    server.wait_ready()
    going, sent = threading.Event(), []

    def write():
        while not going.is_set():
            first = len(sent) * 100
            body = "\n".join(price_event("A", now + first + n, f"{first + n + 1}") for n in range(100))
            sent.append(server.request("POST", "/v1/prices", body)[0])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(400):
            if len(glob.glob(os.path.join(data, "log", "prices-0", "*.log"))) > 2:
                break
            time.sleep(0.05)
        for _ in range(5):
            must(options.wick, "fsck", data=data)
        flip(segment(data), 300_000)
        code, out, err = run(options.wick, "fsck", data=data)
        assert code == 4 and os.path.basename(segment(data)).encode() in out, (code, out[-400:], err)
    finally:
        going.set()
        writer.join()
        server.stop()
    assert set(sent) == {200}, set(sent)


def a_cut_goes_on_from_there():
    data = filled("cut")
    path = segment(data)
    flip(path, os.path.getsize(path) // 2)
    _, out, _ = run(options.wick, "fsck", "--format", "json", data=data)
    findings = [json.loads(line) for line in out.splitlines() if line.startswith(b"{")]
    command = next((f["repair"] for f in findings if f.get("repair")), None)
    assert command, findings
    target = command.split("--cut", 1)[1].split()[0]
    must(options.wick, "fsck", "--cut", target, data=data)
    must(options.wick, "fsck", data=data)
    count = len(events_of(must(options.wick, "topic", "read", "prices", "--values", data=data).splitlines()))
    assert 0 < count < 1000 and glob.glob(os.path.join(data, "log", "prices-0", "*.cut")), f"{count} records"


def a_damaged_store_is_made_anew():
    data = filled("store")
    server = Server(options.wick, data)
    server.wait_ready()
    before = server.json("/v1/candles?series=kraken:A/USD&kind=price&interval=1m")
    server.stop()
    with open(os.path.join(data, "store", "data.mdb"), "r+b") as file:
        file.write(chance.randbytes(16384))
    code, out, err = run(options.wick, "candles", "kraken:A/USD", data=data)
    assert code in (4, 5) and out == b"" and b"store" in err, (code, out[:200], err)
    must(options.wick, "fsck", "--rebuild", data=data)
    server = Server(options.wick, data)
    server.wait_ready()
    after = server.json("/v1/candles?series=kraken:A/USD&kind=price&interval=1m")
    server.stop()
    assert after == before, f"{after[:1]}, not {before[:1]}"


def two_programs_on_one_folder():
    data = os.path.join(options.scratch, "twice")
    server = Server(options.wick, data)
    server.wait_ready()
    try:
        second = Server(options.wick, data)
        code = second.process.wait(20)
        second._reader.join(2)
        assert code == 6 and any("another process" in line and "stop it" in line for line in second.said), (code, second.said)
        assert server.get("/healthz")[0] == 200
    finally:
        server.stop()


def a_mixed_folder_is_refused():
    a, b = filled("mixed-a"), filled("mixed-b", 500)
    shutil.rmtree(os.path.join(a, "log"))
    shutil.copytree(os.path.join(b, "log"), os.path.join(a, "log"))
    server = Server(options.wick, a)
    assert server.process.wait(20) == 4, f"exit {server.process.returncode}"
    server._reader.join(2)
    for words in (("candles", "kraken:A/USD"), ("topic", "list"), ("ledger",)):
        code, out, err = run(options.wick, *words, data=a)
        if words != ("topic", "list"):  # that one looks at the log alone
            server.said.append(err.decode())
            assert code == 4 and out == b"", (words, code, out, err)
    for said in server.said:
        assert "the store belongs to log" in said and "mixed" in said and "wick fsck --rebuild" in said, said
    must(options.wick, "fsck", "--rebuild", data=a)
    want, got = (must(options.wick, "candles", "kraken:A/USD", "--format", "json", data=data) for data in (b, a))
    assert got == want, (got[:200], want[:200])


def a_torn_tail_is_cut_by_itself():
    data = os.path.join(options.scratch, "torn")
    server = Server(options.wick, data)
    server.wait_ready()
    for i in range(5):
        assert server.request("POST", "/v1/prices", price_event("T", now + i, str(i + 1)))[0] == 200
    server.kill()
    # What a crash in the middle of the next group leaves: the beginning of a batch that nobody was told of.
    path = segment(data)
    with open(path, "r+b") as file:
        content, end, last = file.read(), 0, -1
        while (length := int.from_bytes(content[end + 8:end + 12], "big")) > 0:
            last = int.from_bytes(content[end:end + 8], "big") + int.from_bytes(content[end + 23:end + 27], "big")
            end += 12 + length
        file.seek(end)
        file.write((last + 1).to_bytes(8, "big") + (300).to_bytes(4, "big") + (last + 1).to_bytes(4, "big") + b"\2" + chance.randbytes(40))
    server = Server(options.wick, data)
    server.wait_ready()
    count = len(events_of(must(options.wick, "topic", "read", "prices", "--values", data=data).splitlines()))
    status = server.request("POST", "/v1/prices", price_event("T", now + 9, "9"))[0]
    server.stop()
    assert (count, status) == (5, 200), (count, status)


def no_file_of_the_folder_is_trusted():
    """Files of each kind, cut in half and with a bit turned: the same candles, or an error that says what to do."""
    whole, data = filled("trusted"), os.path.join(options.scratch, "distrusted")
    asked = ("candles", "kraken:A/USD", "--format", "json")
    before = must(options.wick, *asked, data=whole)
    assert before, "no candles"
    if os.path.exists(os.path.join(whole, "socket")):
        os.unlink(os.path.join(whole, "socket"))
    paths = [os.path.relpath(os.path.join(place, name), whole) for place, _, names in os.walk(whole) for name in names]
    paths = sorted(path for path in paths if os.path.getsize(os.path.join(whole, path)) > 0)
    like = {os.path.basename(path): path for path in paths}  # one of each kind, and what holds the events
    for path in sorted({*like.values(), *(path for path in paths if path.endswith(".log"))}):
        for cut in (True, False):
            shutil.rmtree(data, ignore_errors=True)
            shutil.copytree(whole, data)
            target = os.path.join(data, path)
            with open(target, "rb") as file:
                used = len(file.read().rstrip(b"\0"))
            os.truncate(target, used // 2) if cut else flip(target, used // 2)
            code, out, err = run(options.wick, *asked, data=data)
            how = f"{path}, {'cut' if cut else 'flipped'} at {used // 2}"
            assert code in (0, 4, 5), f"{how}: exit {code}: {err[-200:]!r}"
            assert out == before if code == 0 else err.strip(), f"{how}: {out[:200]!r} {err[-200:]!r}"
            code, _, err = run(options.wick, "fsck", data=data)
            wanted = (4,) if path.endswith(".log") and not cut else (0, 4, 5)
            assert code in wanted, f"fsck, {how}: exit {code}: {err[-200:]!r}"


def old_damage_is_found_without_a_reader():
    """A byte turned in a closed segment that nobody reads any more: the program tells of it by itself, and goes on."""
    data, config = os.path.join(options.scratch, "scrub"), os.path.join(options.scratch, "scrub.yaml")
    with open(config, "w") as file:
        file.write("log: {segment: 1MiB, scrub: 1s}\n")
    server = Server(options.wick, data, config)
    server.wait_ready()

    def damaged():
        text = server.get("/metrics")[1].decode()
        return int(next(line for line in text.split("\n") if line.startswith("wick_log_damaged_partitions ")).split()[1])

    def post(i):
        body = "\n".join(price_event("A", now + i * 1000 + n % 1000, f"{i}.{n + 1:04d}") for n in range(1000))
        assert server.request("POST", "/v1/prices", body)[0] == 200

    for i in range(20):
        post(i)
    closed = len(glob.glob(os.path.join(data, "log", "prices-0", "*.log"))) - 1
    assert closed > 1, "nothing is closed: this shows nothing"
    time.sleep(2.5)  # rounds that find nothing
    assert damaged() == 0
    flip(segment(data), os.path.getsize(segment(data)) // 2)
    ends = time.monotonic() + 60
    while damaged() == 0 and time.monotonic() < ends:
        time.sleep(0.2)
    assert damaged() == 1
    post(20)
    assert server.json("/v1/latest?series=kraken:A/USD"), "reads go on"
    server.stop()


for case in (rot_is_refused_and_named, old_damage_is_found_without_a_reader, rot_behind_a_crash_refuses_writes_loudly, checked_while_it_is_written, a_cut_goes_on_from_there, a_damaged_store_is_made_anew, two_programs_on_one_folder,
             a_mixed_folder_is_refused, a_torn_tail_is_cut_by_itself, no_file_of_the_folder_is_trusted):
    report.case(case.__name__.replace("_", "-"), case)
sys.exit(report.done())
