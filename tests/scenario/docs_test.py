"""What the documentation shows is so: the generated references are those of the program, the tutorial runs as it is written,
every command, option, request and configuration named in a page exists."""
import glob, json, os, re, shlex, subprocess, sys, time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from wick import Report, Server, arguments, must, price_event, run

options = arguments("the documentation")
report = Report()
ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
DOCS = os.path.join(ROOT, "docs")
PAGES = [os.path.join(ROOT, name) for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md")] + sorted(
    glob.glob(os.path.join(DOCS, "**", "*.md"), recursive=True) + glob.glob(os.path.join(ROOT, "examples", "*", "README.md")))
LATER = {"venue", "sql", "repair", "rebuild", "schema", "invalid", "archive", "store"}  # named in docs/design.md as later


def text_of(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def blocks(path):
    """The indented blocks of a page, without their indentation."""
    found = re.findall(r"(?:^    .*\n(?:\n(?=    ))?)+", text_of(path), re.M)
    return [re.sub(r"^    ", "", block, flags=re.M) for block in found]


def code(path):
    """Everything set as code: blocks' lines and spans."""
    text = text_of(path)
    return [line for block in blocks(path) for line in block.split("\n")] + re.findall(r"`([^`\n]+)`", text)


# --- the generated references ---

def same(page, *words):
    with open(os.path.join(DOCS, page), "rb") as file:
        assert file.read() == must(options.wick, *words), f"docs/{page} is out of step: wick {' '.join(words)} > docs/{page}"


# --- commands and options named anywhere ---

def commands_exist():
    listed = must(options.wick, "help").decode()
    commands = set(re.findall(r"^  (\w+) ", listed, re.M))
    helps = {name: must(options.wick, "help", name).decode() for name in commands}
    seen = 0
    for path in PAGES:
        for line in code(path):
            for call in re.findall(r"(?:^|[\s/`(])wick ([a-z][^|>`;)]*)", line):
                words = call.replace("`", "").split()
                name = words[0]
                if name in LATER and os.path.basename(path) == "design.md" or not re.fullmatch(r"[a-z]+", name):
                    continue
                assert name in commands, f"{os.path.relpath(path, ROOT)}: there is no command \"wick {name}\": {line.strip()}"
                for option in re.findall(r"--([a-z-]+)", call):
                    assert f"--{option}" in helps[name] + listed, f"{os.path.relpath(path, ROOT)}: wick {name} has no --{option}"
                seen += 1
    assert seen > 30, f"only {seen} commands found: the pages are read wrongly"


def switches_exist():
    """Of ./check, ./demo, bench/run and meson."""
    said = {"check": subprocess.run([sys.executable, os.path.join(ROOT, "tools", "check.py"), "--help"], capture_output=True, text=True).stdout,
            "demo": text_of(os.path.join(ROOT, "demo")),
            "bench/run": subprocess.run([sys.executable, os.path.join(ROOT, "bench", "run"), "--help"], capture_output=True, text=True).stdout}
    meson, seen = text_of(os.path.join(ROOT, "meson_options.txt")), 0
    for path in PAGES:
        for line in code(path):
            for name, rest in re.findall(r"(?:^|[\s/])(check|demo|bench/run)((?: [\w-]+)*(?: --[a-z-]+)+)", line):
                for option in re.findall(r"--[a-z-]+", rest):
                    assert option in said[name], f"{os.path.relpath(path, ROOT)}: {name} has no {option}"
                    seen += 1
            for option in re.findall(r"-D([a-z]+)\b", line):
                assert f"option('{option}'" in meson, f"{os.path.relpath(path, ROOT)}: meson has no option {option}"
    assert seen > 3, f"only {seen} switches found"


def configurations_are_read():
    """Each line of a page that is a setting, and each wick.yaml of the examples."""
    keys = {line.split(":")[0] for line in must(options.wick, "run", "--print-config").decode().splitlines() if re.match(r"\w+:", line)}
    seen = 0
    texts = [(path, block) for path in PAGES for block in blocks(path) if re.match(r"(" + "|".join(keys) + r"): ", block)]
    texts += [(path, text_of(path)) for path in glob.glob(os.path.join(ROOT, "examples", "*", "wick.yaml"))]
    for path, text in texts:
        config = os.path.join(options.scratch, "page.yaml")
        with open(config, "w") as file:
            file.write(text)
        must(options.wick, "run", "--config", config, "--print-config")
        seen += 1
    assert seen >= 3, f"only {seen} configurations found"


# --- the tutorial, as it is written ---

class Session:
    """Runs the lines after "$ " of a page in one folder; other lines of a block are what the command must print."""

    def __init__(self, page, folder):
        self.page, self.folder, self.server, self.port, self.commands, self.compared = page, folder, None, None, 0, 0
        os.makedirs(folder)

    def start(self, words):
        self.server = Server(options.wick, os.path.join(self.folder, words[words.index("--data") + 1]))
        self.server.wait_ready()

    def stop(self):
        if self.server is not None:
            self.server.stop()

    def command(self, line, wanted):
        if line.startswith("wick run"):
            return self.start(shlex.split(line))
        if line.startswith("kill -9"):
            return self.server.kill()
        line = re.sub(r"localhost:8787", f"localhost:{self.server.port}", line)
        env = dict(os.environ, PATH=os.path.dirname(options.wick) + ":" + os.environ["PATH"])
        done = subprocess.run(["bash", "-c", f". ./environment 2>/dev/null\n{line}\ndeclare -p NOW > environment 2>/dev/null; true" if line.startswith(
            "NOW=") else f". ./environment 2>/dev/null\n{line}"], cwd=self.folder, env=env, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, f"$ {line}: exit {done.returncode}: {done.stderr.strip()[-300:]}"
        assert done.stdout.strip() or line.startswith(("NOW=", "wick generate", "wick import")), f"$ {line}: says nothing"
        if wanted:
            assert done.stdout.strip() == wanted.strip(), f"$ {line}: the page shows {wanted!r}, it printed {done.stdout!r}"

    def run(self):
        for block in blocks(self.page):
            if not block.startswith("$ "):
                continue
            for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
                command, wanted = self.split(part)
                self.command(command, wanted)
                self.commands += 1
                self.compared += wanted.strip() != ""

    @staticmethod
    def split(part):
        """The command goes on over lines while a quote is open."""
        lines = part.rstrip("\n").split("\n")
        for count in range(1, len(lines) + 1):
            if re.sub(r"'[^']*'", "", "\n".join(lines[:count])).count("'") == 0:
                return "\n".join(lines[:count]), "\n".join(lines[count:])
        raise AssertionError(f"an open quote: {part}")


def tutorial():
    session = Session(os.path.join(DOCS, "tutorial.md"), os.path.join(options.scratch, "tutorial"))
    try:
        session.run()
        assert session.commands > 10 and session.compared > 0, (session.commands, session.compared)
    finally:
        session.stop()


# --- requests that pages show ---

def requests_are_answered():
    data = os.path.join(options.scratch, "requests")
    server = Server(options.wick, data)
    try:
        server.wait_ready()
        now = int(time.time() * 1000)
        events = [price_event(base, now - 1000, "1.5", venue, quote)
                  for base, quote, venue in (("BTC", "USDT", "binance"), ("ETH", "USDC", "huobi"))]
        assert server.request("POST", "/v1/prices", "\n".join(events))[0] == 200
        seen = 0
        for path in PAGES:
            for line in code(path):
                get = re.match(r"GET\s+(/\S+)", line)
                post = re.match(r"POST\s+(/v1/latest)\s+(\[.*\])", line)
                if get and "{" not in get.group(1) and ".." not in get.group(1) and "=&" not in get.group(1) and not re.search(
                        r"=[A-Z](&|$)|=$", get.group(1)):
                    status, body = server.get(get.group(1))
                    missing = get.group(1) in ("/v1/candles", "/v1/why")  # named without their arguments
                    assert status == 200 or missing and status == 400, f"{os.path.relpath(path, ROOT)}: GET {get.group(1)}: {status} {body[:200]}"
                    seen += 1
                elif post:
                    status, body = server.request("POST", *post.groups())
                    assert status == 200 and json.loads(body)["missing"] == [], f"{os.path.relpath(path, ROOT)}: {line}: {status} {body[:200]}"
                    seen += 1
        assert seen > 8, f"only {seen} requests found"
    finally:
        server.stop()


report.case("cli", same, "cli.md", "help", "--reference")
report.case("config", same, "config.md", "run", "--config-reference")
report.case("commands", commands_exist)
report.case("switches", switches_exist)
report.case("configurations", configurations_are_read)
report.case("tutorial", tutorial)
report.case("requests", requests_are_answered)
sys.exit(report.done())
