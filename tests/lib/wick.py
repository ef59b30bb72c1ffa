"""Helpers of the test scripts: a server as a child process, requests to it, and the lines that ./check counts."""
import argparse, http.client, json, os, re, resource, signal, subprocess, sys, threading, time

SHARED = os.environ.get("WICK_SHARED", os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", "..", "shared")))


def arguments(description):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--wick", required=True, help="the program")
    parser.add_argument("--scratch", required=True, help="an empty folder to work in")
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("WICK_SEED", "1")))
    parsed = parser.parse_args()
    parsed.wick = os.path.abspath(parsed.wick)
    parsed.scratch = os.path.abspath(parsed.scratch)
    os.makedirs(parsed.scratch, exist_ok=True)
    return parsed


class Report:
    """Prints a line a case; `done` gives the exit code."""

    def __init__(self):
        self.failed = 0

    def check(self, name, good, why=""):
        print(f"ok {name}" if good else f"FAIL {name}: {why}", flush=True)
        self.failed += 0 if good else 1
        return good

    def skip(self, name, why):
        print(f"SKIP {name}: {why}", flush=True)

    def case(self, name, function, *words):
        """Runs a function that raises AssertionError (or anything) when the case fails. $WICK_CASES, a pattern, chooses some."""
        if not re.search(os.environ.get("WICK_CASES", ""), name):
            return True
        try:
            function(*words)
        except Exception as error:  # whatever went wrong is the case's failure
            return self.check(name, False, f"{type(error).__name__}: {error}")
        return self.check(name, True)

    def done(self):
        return 1 if self.failed else 0


class Server:
    """`wick run` on a folder; port 0 is asked for, the real one read from what it prints."""

    def __init__(self, wick, data, config=None, env=None, options=(), wrapper=(), limits=None):
        words = [*wrapper, wick, "run", "--data", data, "--listen", "127.0.0.1:0", *options]
        if config is not None:
            words += ["--config", config]
        self.data = data

        def limit():  # {resource.RLIMIT_..: (soft, hard)}
            for kind, values in (limits or {}).items():
                resource.setrlimit(kind, values)

        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                        text=True, env=dict(os.environ, **(env or {})), cwd=os.path.dirname(data) or ".",
                                        preexec_fn=limit if limits else None)
        self.port, self.said = None, []
        self._address = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stderr:
            self.said.append(line.rstrip())
            del self.said[:-200]
            match = re.search(r"https?://[^/\s]*:(\d+)", line)
            if match and self.port is None:
                self.port = int(match.group(1))
                self._address.set()
        self._address.set()

    def address(self, timeout=30):
        """Its port, once it listens."""
        if not self._address.wait(timeout) or self.port is None:
            raise RuntimeError("wick does not listen: " + " | ".join(self.said[-5:]))
        return self.port

    def wait_ready(self, timeout=30):
        """Seconds from now until /readyz says 200."""
        started = time.monotonic()
        self._address.wait(timeout)
        while time.monotonic() - started < timeout:
            if self.process.poll() is not None:
                self._reader.join(2)
                raise RuntimeError(f"wick ended with {self.process.returncode}: {' | '.join(self.said[-5:])}")
            try:
                if self.port and self.get("/readyz", timeout=5)[0] == 200:
                    return time.monotonic() - started
            except OSError:
                pass
            time.sleep(0.005)
        raise RuntimeError("wick is not ready: " + " | ".join(self.said[-5:]))

    def wait_checkpoint(self, timeout=30):
        """Until all that is durable is folded and in a checkpoint."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            tasks = self.json("/v1/status")["tasks"]
            if all(task["checkpoint"] == task["end"] for task in tasks):
                return
            time.sleep(0.02)
        raise AssertionError(f"no checkpoint: {tasks}")

    def exchange(self, method, path, body=None, headers=None, timeout=60):
        """(status, body, headers)"""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body, headers or {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.headers
        finally:
            connection.close()

    def request(self, method, path, body=None, headers=None, timeout=60):
        return self.exchange(method, path, body, headers, timeout)[:2]

    def get(self, path, timeout=60):
        return self.request("GET", path, timeout=timeout)

    def json(self, path):
        status, body = self.get(path)
        if status != 200:
            raise AssertionError(f"GET {path}: {status} {body[:300]!r}")
        return json.loads(body)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self, timeout=30):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
                raise RuntimeError(f"wick did not stop within {timeout} s of SIGTERM")
        self._reader.join(5)  # all that it said is in `said`
        return self.process.returncode

    def cpu_seconds(self):
        with open(f"/proc/{self.process.pid}/stat") as stat:
            user, system = stat.read().rsplit(")", 1)[1].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def memory_bytes(self):
        """RssAnon."""
        with open(f"/proc/{self.process.pid}/status") as status:
            return int(re.search(r"RssAnon:\s+(\d+) kB", status.read()).group(1)) * 1024


def run(wick, *words, data=None, input=None, timeout=300, env=None):
    """A command to its end: (exit code, stdout, stderr)."""
    command = [wick, *words] + (["--data", data] if data else [])
    done = subprocess.run(command, input=input, capture_output=True, timeout=timeout, env=dict(os.environ, **(env or {})))
    return done.returncode, done.stdout, done.stderr


def must(wick, *words, **options):
    code, out, err = run(wick, *words, **options)
    if code != 0:
        raise AssertionError(f"wick {' '.join(words)}: exit {code}: {err.decode(errors='replace').strip()[:500]}")
    return out


def rows(wick, *words, **options):
    """The JSON lines of a command."""
    return [json.loads(line) for line in must(wick, *words, "--format", "json", **options).splitlines()]


def events_of(values):
    """Without the status records that every live source writes into its topic."""
    return [value for value in values if not value.startswith(b'{"source":')]


def price_event(base, time_ms, price, exchange="kraken", quote="USD"):
    return (f'{{"baseCurrency":"{base}","quoteCurrency":"{quote}","exchange":"{exchange}","price":"{price}",'
            f'"baseVolumeLast24h":"1.5","quoteVolumeLast24h":"2.25","timestampInMs":{time_ms}}}')


def flip(path, position):
    """Rot: a bit of the byte turns."""
    with open(path, "r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ 0x40]))
