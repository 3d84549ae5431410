#!/usr/bin/env python3
"""What the scripts of tests/bench share: samples, the table that they print, and the tables that they write into the
documentation. It needs Python's standard library only.

A script makes a `Table`, adds a row for each figure, and ends with `table.finish(...)`:

    table = Table("run")
    table.at_most("exec to ecs.config, 20 ms", Sample(times), limit, ms)
    table.times_less("CPU of the shell script", ours, Sample(shell), 12, ms)
    table.reported("peak memory", memory, megabytes)
    sys.exit(table.finish(update_docs))

Usage: tests/bench/figures.py --self-test. Prints `N passed, N failed` last."""

import contextlib
import dataclasses
import io
import pathlib
import random
import re
import statistics
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
LIMITS = ROOT / "docs/reference/limits-and-figures.md"
EXPLANATION = ROOT / "docs/explanation/launch-to-ready.md"


class Sample:
    """The values of one figure in one run of a script. One value is a sample too: a count that does not vary."""

    def __init__(self, values):
        self.values = sorted(values)
        if not self.values:
            raise ValueError("a sample needs at least one value")
        self.median = statistics.median(self.values)
        self.lowest, self.highest = self.values[0], self.values[-1]

    def text(self, unit):
        """The median, and in brackets the lowest and the highest value if they print differently."""
        if unit(self.lowest) == unit(self.highest):
            return unit(self.median)
        return f"{unit(self.median)} ({unit(self.lowest)} to {unit(self.highest)})"


def sample(value):
    return value if isinstance(value, Sample) else Sample([value])


# Units: each takes a value in its base unit (seconds, bytes or a count) and returns text.
def ms(seconds):
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds * 1000:.0f} ms"


def s(seconds):
    return f"{seconds:.2f} s"


def megabytes(count):
    return f"{count / 1e6:.1f} MB"


def millions(count):
    return f"{count / 1e6:.2f} M"


def number(count):
    return f"{count:,.0f}"


@dataclasses.dataclass
class Row:
    what: str
    ours: str
    limit: str = ""
    ratio: str = ""
    holds: bool | None = None  # None: the figure is reported, and nothing is required of it
    unchecked: bool = False  # a limit that was not checked

    def cells(self):
        result = "NOT CHECKED" if self.unchecked else {None: "", True: "ok", False: "FAILED"}[self.holds]
        return [self.what, self.ours, self.limit, self.ratio, result]


HEADINGS = ["what", "measured", "limit or peer", "ratio", ""]


class Table:
    """The rows of one script or of one part of it. `name` is that of the parts of the documentation."""

    def __init__(self, name):
        self.name = name
        self.rows = []

    def at_most(self, what, ours, limit, unit, share=1.0):
        """`ours` is at most `share` times `limit`, each a number or a `Sample`; medians are compared."""
        ours, limit = sample(ours), sample(limit)
        ratio = f"{ours.median / limit.median:.2f}" if limit.median else ""
        required = f"at most {limit.text(unit)}" if share == 1 else f"at most {share:g} x {limit.text(unit)}"
        self.rows.append(Row(what, ours.text(unit), required, ratio, ours.median <= share * limit.median))

    def at_most_plus(self, what, ours, peer, difference, unit):
        """`ours` is at most `difference` more than `peer`, or less by that if it is negative; medians are compared."""
        ours, peer = sample(ours), sample(peer)
        limit = f"{peer.text(unit)} {'-' if difference < 0 else '+'} {unit(abs(difference))}"
        ratio = f"{ours.median / peer.median:.2f}" if peer.median else ""
        self.rows.append(Row(what, ours.text(unit), limit, ratio, ours.median <= peer.median + difference))

    def not_slower(self, what, ours, peer, difference, unit):
        """`ours` is not significantly more than `difference` above `peer`: the medians of resampled values (bootstrap) differ
        by more than that in fewer than 99 of 100 cases. For figures whose spread is larger than the difference."""
        chance = random.Random(len(ours.values))
        def median_of(one):
            return statistics.median(chance.choices(one.values, k=len(one.values)))
        differences = sorted(median_of(ours) - median_of(peer) for _ in range(2000))
        low, high = differences[19], differences[-20]
        limit = f"{peer.text(unit)} + {unit(difference)}; difference {unit(low)} to {unit(high)} (98 %)"
        self.rows.append(Row(what, ours.text(unit), limit, f"{ours.median / peer.median:.2f}", low <= difference))

    def times_less(self, what, ours, peer, factor, unit):
        """`ours` is at least `factor` times less than `peer`; medians are compared. With `None`, nothing is required."""
        ours, peer = sample(ours), sample(peer)
        ratio = peer.median / ours.median
        limit = peer.text(unit) if factor is None else f"{peer.text(unit)}, at least {factor:g} x ours"
        self.rows.append(Row(what, ours.text(unit), limit, f"{ratio:.1f} x", None if factor is None else ratio >= factor))

    def compared(self, what, ours, peer, unit):
        """`ours` beside `peer`; nothing is required."""
        ours, peer = sample(ours), sample(peer)
        ratio = f"{ours.median / peer.median:.2f}" if peer.median else ""
        self.rows.append(Row(what, ours.text(unit), peer.text(unit), ratio))

    def reported(self, what, ours, unit):
        """A figure without a limit."""
        self.rows.append(Row(what, sample(ours).text(unit)))

    def required(self, what, found, wanted, holds):
        """A requirement that is not a number. `found` and `wanted` are texts."""
        self.rows.append(Row(what, found, wanted, "", holds))

    def within(self, what, ours, expected, tolerance, unit):
        """`ours` differs from `expected` by at most a share of it."""
        holds = abs(ours / expected - 1) <= tolerance if expected else ours == expected
        ratio = f"{ours / expected:.2f}" if expected else ""
        self.rows.append(Row(what, unit(ours), f"{unit(expected)} +- {tolerance:.0%}", ratio, holds))

    def unchecked(self, what, why, ours=None, unit=None):
        """A limit that this run did not check, with the figure if there is one."""
        self.rows.append(Row(what, sample(ours).text(unit) if ours else "not measured", why, unchecked=True))

    def text(self):
        """The table in columns for a terminal."""
        lines = [HEADINGS] + [row.cells() for row in self.rows]
        widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
        return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)

    def markdown(self):
        """The table for the documentation. A row that failed says so there too."""
        return markdown(HEADINGS[:-1], [cells[:3] + [f"{cells[3]} FAILED".strip() if cells[4] == "FAILED" else cells[3]]
                                        for cells in (row.cells() for row in self.rows)])

    def failed(self):
        return [row.what for row in self.rows if row.holds is False]

    def finish(self, update_docs=False, page=LIMITS):
        """Prints the table, and with `update_docs` writes it into a page. Returns the exit code of the script: 0 only if
        every limit was checked and holds."""
        print(self.text())
        if update_docs:
            write_part(page, self.name, self.markdown())
        return self.status()

    def status(self):
        """Reports limits that do not hold or were not checked. Returns the exit code of the script."""
        unchecked = [row.what for row in self.rows if row.unchecked]
        for what in self.failed():
            print(f"FAILED: {what}", file=sys.stderr)
        for what in unchecked:
            print(f"NOT CHECKED: {what}", file=sys.stderr)
        return 1 if self.failed() else 3 if unchecked else 0


def markdown(headings, rows):
    """A Markdown table. `|` inside a cell would end the cell."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def write_part(page, name, text):
    """Replaces the text between `<!-- bench: NAME -->` and the next `<!-- end -->` of a page. The page must have this
    part exactly once, so that a figure cannot disappear unnoticed."""
    page = pathlib.Path(page)
    before = page.read_text(encoding="utf-8")
    # Tempered, so that a part without its end does not take the end of the next part.
    part = re.compile(rf"(<!-- bench: {re.escape(name)} -->\n)(?:(?!<!-- ).|\n)*?(<!-- end -->)")
    after, count = part.subn(lambda found: f"{found[1]}{text.strip()}\n{found[2]}", before)
    if count != 1:
        raise ValueError(f"{page} has {count} parts `<!-- bench: {name} -->` that end with `<!-- end -->`, not one")
    if after != before:
        page.write_text(after, encoding="utf-8")


def a_sample_has_a_median_and_a_spread():
    assert Sample([0.003, 0.001, 0.0021]).text(ms) == "2.1 ms (1.0 ms to 3.0 ms)"
    assert Sample([4, 1, 2, 3]).median == 2.5
    assert Sample([7]).text(number) == "7"


def a_sample_that_prints_as_one_value_has_no_spread():
    assert Sample([0.00101, 0.00102]).text(ms) == "1.0 ms"


def an_empty_sample_is_an_error():
    refused(lambda: Sample([]))


def a_difference_counts_only_if_it_is_certain():
    usual = [3.1, 3.2, 3.2, 3.3, 3.3, 3.4, 3.4, 3.5, 3.9]

    def fails(more, difference=0.1):
        table = Table("x")
        table.not_slower("x", Sample([value + more for value in usual]), Sample(usual), difference, s)
        return table.failed() == ["x"]

    assert [fails(more) for more in (-1, 0, 0.15, 0.6, 1)] == [False, False, False, True, True]
    # Without a spread it is certain at once.
    usual = [3.3] * 9
    assert [fails(more) for more in (0.09, 0.11)] == [False, True]


def limits_and_peers_decide():
    table = Table("x")
    table.at_most("equal", 5, 5, number)
    table.at_most("more", 5.1, 5, number)
    table.at_most("within a share", 5.5, 5, number, share=1.1)
    table.at_most("nothing allowed and nothing there", 0, 0, number)
    table.at_most("nothing allowed", 1, 0, number)
    table.at_most_plus("a tenth more", 5.1, 5, 0.1, number)
    table.at_most_plus("two tenths more", 5.2, 5, 0.1, number)
    table.at_most_plus("four less", 1, 5, -4, number)
    table.at_most_plus("three less", 2, 5, -4, number)
    table.times_less("twelve times", 1, Sample([12, 11, 13]), 12, number)
    table.times_less("not twelve times", 1, 11.9, 12, number)
    table.times_less("any times", 1, 0.5, None, number)
    table.reported("reported", 3, number)
    table.required("state", "absent", "present", False)
    assert table.failed() == ["more", "nothing allowed", "two tenths more", "three less", "not twelve times", "state"], table.failed()


def only_a_complete_table_ends_with_0():
    table = Table("x")
    table.at_most("equal", 5, 5, number)
    assert quiet_status(table) == 0
    table.unchecked("another", "not chosen")
    assert quiet_status(table) == 3 and "NOT CHECKED" in table.text() and table.failed() == []
    table.within("near", 115, 100, 0.15, number)
    assert quiet_status(table) == 3
    for far in (116, 84):
        apart = Table("x")
        apart.within("far", far, 100, 0.15, number)
        assert quiet_status(apart) == 1
    table.within("nothing expected", 1, 0, 0.15, number)
    assert quiet_status(table) == 1


def quiet_status(table):
    with contextlib.redirect_stderr(io.StringIO()):
        return table.status()


def a_failed_row_is_visible_in_both_forms():
    table = Table("x")
    table.at_most("a | b", 2, 1, number)
    assert table.text().endswith("FAILED"), table.text()
    assert table.markdown().splitlines()[-1] == "| a \\| b | 2 | at most 1 | 2.00 FAILED |", table.markdown()


def a_part_of_a_page_is_replaced():
    with tempfile.TemporaryDirectory() as folder:
        page = pathlib.Path(folder) / "page.md"
        page.write_text("a\n<!-- bench: x -->\nold\n<!-- end -->\nb\n<!-- bench: y -->\n<!-- end -->\n", encoding="utf-8")
        write_part(page, "x", "new \\1")
        write_part(page, "y", "| y |\n")
        assert page.read_text(encoding="utf-8") == \
            "a\n<!-- bench: x -->\nnew \\1\n<!-- end -->\nb\n<!-- bench: y -->\n| y |\n<!-- end -->\n"
        refused(lambda: write_part(page, "z", "text"))
        page.write_text("<!-- bench: x -->\n<!-- bench: y -->\nold\n<!-- end -->\n", encoding="utf-8")
        refused(lambda: write_part(page, "x", "text"))


def refused(action):
    """Whether an action raises a ValueError."""
    try:
        action()
    except ValueError:
        return
    raise AssertionError("accepted")


def self_test():
    tests = [a_sample_has_a_median_and_a_spread, a_sample_that_prints_as_one_value_has_no_spread,
             an_empty_sample_is_an_error, a_difference_counts_only_if_it_is_certain, limits_and_peers_decide,
             only_a_complete_table_ends_with_0, a_failed_row_is_visible_in_both_forms,
             a_part_of_a_page_is_replaced]
    failed = 0
    for test in tests:
        try:
            test()
        except AssertionError as error:
            failed += 1
            print(f"FAILED: {test.__name__}: {error}")
    print(f"{len(tests) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    if sys.argv[1:] != ["--self-test"]:
        sys.exit(__doc__)
    sys.exit(self_test())
