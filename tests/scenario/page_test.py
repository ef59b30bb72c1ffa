"""The page is in the program, with all that it asks for; or the program says loudly that it was built without (WICK_PAGE=no)."""
import os, re, sys, time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from wick import Report, Server, arguments

WITH = os.environ.get("WICK_PAGE") != "no"
options = arguments(__doc__)
report = Report()
server = Server(options.wick, os.path.join(options.scratch, "data"))


def at_the_start():
    server.wait_ready()
    words = "page and API at" if WITH else ", API at"
    assert any(words in line for line in server.said), server.said
    loud = lambda: any("BUILT WITHOUT THE PAGE" in line and "-Dpage=enabled" in line for line in server.said)
    for _ in range(0 if WITH else 100):
        if not loud():
            time.sleep(0.05)  # said right after the address
    assert loud() != WITH, server.said


def at_its_address():
    status, body = server.get("/")
    text = body.decode()
    assert status == 200 and text.startswith("<!doctype html>"), (status, text[:100])
    assert ("BUILT WITHOUT THE PAGE" in text) != WITH and ("/openapi.json" in text or WITH), text[:500]
    if WITH:
        files = re.findall(r'(?:src|href)="(/?[\w.]+)"', text)
        assert len(files) >= 3, files
        for name in [*files, "licenses.txt"]:
            assert server.get("/" + name.lstrip("/"))[0] == 200, name
    else:
        for name in ("app.js", "style.css"):
            assert server.get("/" + name)[0] == 404, name
    assert server.json("/v1/series") == []


report.case("at-the-start" + ("" if WITH else "-without"), at_the_start)
report.case("at-its-address" + ("" if WITH else "-without"), at_its_address)
server.stop()
sys.exit(report.done())
