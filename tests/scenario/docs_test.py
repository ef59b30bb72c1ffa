"""The generated reference pages are those of the program."""
import os, sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from wick import Report, arguments, must

options = arguments("generated pages")
report = Report()
DOCS = os.path.join(os.path.dirname(__file__), "..", "..", "docs")


def same(page, *words):
    with open(os.path.join(DOCS, page), "rb") as file:
        assert file.read() == must(options.wick, *words), f"docs/{page} is out of step: wick {' '.join(words)} > docs/{page}"


report.case("cli", same, "cli.md", "help", "--reference")
report.case("config", same, "config.md", "run", "--config-reference")
sys.exit(report.done())
