"""Checks the links of README.md, CONTRIBUTING.md, SECURITY.md and docs/**/*.md: each file and each anchor exists, each
URL is well-formed, and docs/SUMMARY.md lists every page once. With the folder of a built book, each file and anchor
must also exist there. It does not use the network. Prints `N passed, N failed`.

Usage: links.py [--self-test | BOOK]
"""

import pathlib
import re
import sys
import tempfile
import unicodedata
import urllib.parse

ROOT_PAGES = ["README.md", "CONTRIBUTING.md", "SECURITY.md"]
SUMMARY = "docs/SUMMARY.md"
FENCE = re.compile(r"^\s*(```+|~~~+)")
CODE = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)")
# Inline links and images; the target ends at the first `)` that is not in a pair.
INLINE = re.compile(
    r"\[(?:[^\]\[]|\[[^\]]*\])*\]\(\s*(<[^>]*>|[^\s()]*(?:\([^\s()]*\)[^\s()]*)*)(?:\s+\"[^\"]*\")?\s*\)")
REFERENCE = re.compile(r"^\s{0,3}\[[^\]]+\]:\s*(\S+)")
HTML = re.compile(r"<(?:a|img|source)\b[^>]*?\b(?:href|src|srcset)=\"([^\"]*)\"")
HTML_ID = re.compile(r"<[a-z]+\b[^>]*?\b(?:id|name)=\"([^\"]*)\"")
BARE = re.compile(r"https?://[^\s<>\"'`)\]|]+")


def prose(text):
    """The lines outside of fenced blocks and comments; the others are empty."""
    fence = None
    text = re.sub(r"<!--.*?-->", lambda comment: "\n" * comment[0].count("\n"), text, flags=re.S)
    for line in text.split("\n"):
        found = FENCE.match(line)
        if fence:
            closes = found and found[1].startswith(fence) and not line.strip().strip(fence[0])
            fence = None if closes else fence
            yield ""
        elif found:
            fence = found[1]
            yield ""
        else:
            yield line


def slug(heading):
    """The anchor of a heading by the rule of GitHub."""
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    text = re.sub(r"<[^>]*>", "", text).replace("`", "").strip().lower()
    kept = (c for c in text if c in " -_" or unicodedata.category(c)[0] in "LN")
    return "".join(kept).replace(" ", "-")


def anchors(text):
    found, count = set(), {}
    for line in prose(text):
        heading = re.match(r"^#{1,6}\s+(.*?)\s*#*$", line)
        if heading:
            name = slug(heading[1])
            number = count.get(name, 0)
            count[name] = number + 1
            found.add(f"{name}-{number}" if number else name)
        found.update(HTML_ID.findall(line))
    return found


def targets(text):
    """Line number and target of each link."""
    for number, line in enumerate(prose(text), 1):
        line = CODE.sub(lambda code: " " * len(code[0]), line)
        for pattern in (INLINE, REFERENCE, HTML):
            for target in pattern.findall(line):
                yield number, target.strip("<>").split(" ")[0]
        for target in BARE.findall(INLINE.sub("", line)):
            yield number, target.rstrip(".,;:")


def wrong_url(target):
    try:
        url = urllib.parse.urlsplit(target)
        host = url.hostname or ""
        _ = url.port
    except ValueError as error:
        return str(error)
    if url.scheme not in ("http", "https"):
        return f"the scheme `{url.scheme}`"
    if not re.fullmatch(r"[a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?|[0-9a-f:]+", host):
        return "no host"
    return None if "." in host or ":" in host or host == "localhost" else f"the host `{host}`"


class Tree:
    def __init__(self, root, book=None):
        self.root = root.resolve()
        self.book = book
        self.pages = [self.root / name for name in ROOT_PAGES if (self.root / name).exists()]
        self.docs = sorted((self.root / "docs").rglob("*.md"))
        self.known = {}

    def anchors(self, page):
        if page not in self.known:
            self.known[page] = anchors(page.read_text(encoding="utf-8"))
        return self.known[page]

    def wrong(self, page, target):
        """What is wrong with a link of a page, or None."""
        if re.match(r"^[a-zA-Z][a-zA-Z0-9+.-]*:", target):
            return None if target.startswith("mailto:") else wrong_url(target)
        if target.startswith("/"):
            return "it begins with `/`, which is the root of the site"
        path, _, anchor = target.partition("#")
        found = (page.parent / urllib.parse.unquote(path)).resolve() if path else page
        if not found.is_relative_to(self.root):
            return "it leaves the tree"
        if not found.exists():
            return "no such file"
        if found.is_relative_to(self.root / "docs") != page.is_relative_to(self.root / "docs") \
                and page.is_relative_to(self.root / "docs"):
            return "a page of the book links to a file that is not in the book; use its path in backticks"
        if anchor and found.suffix == ".md" and urllib.parse.unquote(anchor) not in self.anchors(found):
            return f"no heading `#{anchor}` in {found.relative_to(self.root)}"
        if self.book and found.is_relative_to(self.root / "docs"):
            return self.wrong_in_book(found.relative_to(self.root / "docs"), urllib.parse.unquote(anchor))
        return None

    def wrong_in_book(self, path, anchor):
        """What is wrong with a link once mdBook has made its page."""
        if path.name == "README.md":
            path = path.with_name("index.md")
        made = self.book / (path.with_suffix(".html") if path.suffix == ".md" else path)
        if not made.exists():
            return f"the book has no {made.relative_to(self.book)}"
        if anchor and f'id="{anchor}"' not in made.read_text(encoding="utf-8"):
            return f"the book has no `#{anchor}` in {made.relative_to(self.book)}"
        return None

    def check(self):
        """Each page with what is wrong in it."""
        for page in self.pages + self.docs:
            text = page.read_text(encoding="utf-8")
            found = [(number, target, self.wrong(page, target)) for number, target in targets(text)]
            faults = [f"line {number}: `{target}`: {wrong}" for number, target, wrong in found if wrong]
            yield f"the links of {page.relative_to(self.root)}", faults
        yield "docs/SUMMARY.md lists every page once", list(self.orphans())

    def orphans(self):
        summary = self.root / SUMMARY
        if not summary.exists():
            yield f"no {SUMMARY}"
            return
        listed = [(summary.parent / target.partition("#")[0]).resolve()
                  for _, target in targets(summary.read_text(encoding="utf-8")) if "://" not in target]
        for page in self.docs:
            if page != summary and listed.count(page) != 1:
                yield f"{page.relative_to(self.root)} is listed {listed.count(page)} times"


def self_test():
    """Each planted fault is found, and a sound tree has no fault."""
    sound = {
        "README.md": "# Name\n[docs](docs/a.md#two-words) [self](#name) <https://example.com/a>\n`[no](link.md)`\n",
        SUMMARY: "# Summary\n- [A](a.md)\n- [B](sub/b.md)\n",
        "docs/a.md": "# A\n## Two words\n## `code-id`\n## Twice\n## Twice\n[b](sub/b.md) [t](#twice-1) [c](#code-id)\n"
                     "```\n[not](a-link.md)\n```\n<!-- [nor](this.md) -->\n[x](https://example.com/a_(b))\n",
        "docs/sub/b.md": "# B\n[a](../a.md#a), <a id=\"own\"></a>[own](#own) [file](../data.json)\n",
        "docs/data.json": "{}",
    }
    planted = {
        "a file that does not exist": ("docs/a.md", "[x](missing.md)"),
        "a link in a list that does not exist": ("README.md", "- see [x](docs/missing.md)"),
        "an anchor that does not exist": ("docs/a.md", "[x](sub/b.md#missing)"),
        "an anchor of the page itself": ("README.md", "[x](#missing)"),
        "an anchor of a fenced block": ("docs/a.md", "```\n# Fenced\n```\n[x](#fenced)"),
        "a third heading of two": ("docs/a.md", "[x](#twice-2)"),
        "a page that SUMMARY.md does not list": ("docs/orphan.md", "# Orphan"),
        "a page that SUMMARY.md lists twice": (SUMMARY, "- [A again](a.md)"),
        "an URL without a host": ("docs/a.md", "[x](https:///path)"),
        "an URL with a blank host": ("docs/a.md", "see http://nothing here"),
        "an unknown scheme": ("docs/a.md", "[x](htps://example.com)"),
        "a port that is not a number": ("docs/a.md", "[x](https://example.com:x/)"),
        "a link out of the tree": ("docs/a.md", "[x](../../outside.md)"),
        "a link from the book to a file beside it": ("docs/a.md", "[x](../README.md)"),
        "an absolute path": ("docs/a.md", "[x](/docs/a.md)"),
        "an image that does not exist": ("README.md", "![x](docs/missing.svg)"),
        "a picture that does not exist": ("README.md", "<source srcset=\"docs/missing.svg\">"),
        "a reference that does not exist": ("README.md", "[x]: docs/missing.md"),
    }
    results = []
    for name, fault in [("a sound tree", None), *planted.items()]:
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            for path, text in sound.items():
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_text(text, encoding="utf-8")
            if fault:
                path, text = fault
                with (root / path).open("a", encoding="utf-8") as file:
                    file.write(text + "\n")
            found = [fault for _, faults in Tree(root).check() for fault in faults]
            is_right = len(found) == 1 if fault else not found
            results.append((f"{name} is {'found' if fault else 'accepted'}", [] if is_right else [f"found: {found}"]))
    return results


def main(arguments):
    is_self_test = "--self-test" in arguments
    books = [pathlib.Path(argument) for argument in arguments if not argument.startswith("-")]
    tree = Tree(pathlib.Path(__file__).resolve().parents[2], *books)
    results = self_test() if is_self_test else list(tree.check())
    failed = 0
    for name, faults in results:
        failed += bool(faults)
        print(f"{'FAILED' if faults else 'ok'}: {name}", *faults, sep="\n  ")
    print(f"{len(results) - failed} passed, {failed} failed")
    return 1 if failed or not results else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
