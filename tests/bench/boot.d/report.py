#!/usr/bin/env python3
"""Prints the table of tests/bench/boot, checks its limits, and writes both into the documentation with a plot.

In: the file of results, one line of JSON for each boot (see events.py). Out: exit code 0 if all limits were checked and
hold, 1 if one does not, 3 if those that were checked hold. `--self-test` instead: prints `N passed, N failed` last."""

import contextlib
import io
import json
import pathlib
import statistics
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import figures  # noqa: E402
from svg import Drawing  # noqa: E402

NAMES = {"runcmd": "cloud-config, runcmd", "shell": "shell script", "sample": "ecs-bootstrap in user data",
         "baked": "units in the image", "early": "units, early start"}
WORKS = {0: "user data does nothing", 20: "user data works for 20 s"}
USUAL, EARLY = "runcmd", "early"
OURS = ("sample", "baked", "early")
# Seconds by which our ways may be slower than the usual one. Boots of one way differ by more, so it counts only if it is certain.
SLOWER = 0.1
EARLIER = 18  # seconds by which early start must be faster than every other variant, of 20 s of user data
FEWEST = 9  # boots of each variant with each user data; from fewer, no limit is checked
# Half of the 51 ms that the verification of a boot took before it was optimized.
MOST_VERIFY = 0.0255
# Seconds of a boot, on average, in which another host may work.
TOGETHER = 0.2
TITLE = "Seconds from the start of PID 1 to registered, for each way to join a cluster"
PICTURE = figures.ROOT / "docs/images/launch-to-ready.svg"

# What the boot waits for, one after the other: the event that ends the wait, the text, the colour of the plot.
UNTIL_CLOUD_INIT = [
    ("cloud-init-local.service is up", "start, cloud-init-local", "grey"),
    ("systemd-networkd-wait-online.service is up", "network", "blue"),
    ("cloud-init.service is up", "cloud-init", "navy"),
]
CLOUD_CONFIG = ("cloud-config.service is up", "cloud-config", "teal")
USER_DATA = [CLOUD_CONFIG, ("ecs.service begins", "cloud-final, user data", "orange")]
NO_USER_DATA = [CLOUD_CONFIG, ("ecs.service begins", "docker", "purple")]
AGENT = [("registered", "agent", "green")]
COLOURS = {text: colour for _, text, colour in UNTIL_CLOUD_INIT + USER_DATA + NO_USER_DATA + AGENT}


# The last step that our ways do not take part in. Without the spread of the steps before it, a smaller difference is certain.
COMMON = "cloud-init.service is up"


class Boots:
    """The boots of one variant with one user data."""

    def __init__(self, events):
        self.events = events
        self.after_cloud_init = figures.Sample([one["registered"] - one[COMMON] for one in events])
        self.registered = figures.Sample([one["registered"] for one in events])

    def waits(self):
        """The text and the median of each wait, in seconds."""
        final = "cloud-final.service is up"
        waited = all(final in one and one[final] <= one["ecs.service begins"] for one in self.events)
        found, before = [], [0] * len(self.events)
        for event, text, _ in UNTIL_CLOUD_INIT + (USER_DATA if waited else NO_USER_DATA) + AGENT:
            ends = [one[event] for one in self.events]
            found.append((text, statistics.median(end - begin for begin, end in zip(before, ends))))
            before = ends
        return found


def load(path):
    """All boots, one dictionary for each."""
    return [json.loads(line) for line in pathlib.Path(path).read_text(encoding="utf-8").splitlines()]


def by_variant(boots):
    """The boots by variant and seconds of user data, in the order of NAMES."""
    found = {}
    for work in WORKS:
        for variant in NAMES:
            if events := [one["events"] for one in boots if (one["variant"], one["user_data"]) == (variant, work)]:
                found[variant, work] = Boots(events)
    return found


def compare(boots):
    """The table: a row for each variant with each user data, and the limits. A limit for which boots are missing is
    `unchecked`."""
    table, found = figures.Table("boot"), by_variant(boots)
    counts = {key: len(ours.events) for key, ours in found.items()}
    enough = {key for key, count in counts.items() if count >= FEWEST}
    for work in WORKS:
        for variant in NAMES:
            what, ours, usual = f"{WORKS[work]}: {NAMES[variant]}", found.get((variant, work)), found.get((USUAL, work))
            limited = work == 0 and variant in OURS
            if (variant, work) not in enough or limited and (USUAL, work) not in enough:
                boots_of = ", ".join(f"{counts.get((name, work), 0)} of {name}" for name in dict.fromkeys([variant, USUAL]))
                table.unchecked(what, f"needs {FEWEST} boots; there are {boots_of}", ours and ours.registered, figures.s)
            elif limited:
                table.not_slower(what, ours.registered, usual.registered, SLOWER, figures.s)
                table.not_slower(f"{what}, after cloud-init.service", ours.after_cloud_init, usual.after_cloud_init, SLOWER,
                                 figures.s)
            elif usual and variant != USUAL:
                table.compared(what, ours.registered, usual.registered, figures.s)
            else:
                table.reported(what, ours.registered, figures.s)
    for variant in NAMES:
        what = f"{WORKS[20]}: early start, compared with {NAMES[variant]}"
        if variant != EARLY and {(EARLY, 20), (variant, 20)} <= enough:
            table.at_most_plus(what, found[EARLY, 20].registered, found[variant, 20].registered, -EARLIER, figures.s)
        elif variant != EARLY:
            table.unchecked(what, f"needs {FEWEST} boots of both")
    cost_of_verify(table, boots)
    table.at_most("seconds of a boot in which another host worked (mean)", together(boots) / len(boots), TOGETHER, figures.s)
    cost_of_sleepers(table, boots)
    return table


def together(boots):
    """The seconds in which two hosts worked at the same time."""
    moments = sorted((moment, step) for one in boots for begin, end in one["working"]
                     for moment, step in ((begin, 1), (end, -1)))
    total, working, before = 0.0, 0, 0.0
    for moment, step in moments:
        total += moment - before if working > 1 else 0
        working, before = working + step, moment
    return total


def cost_of_verify(table, boots):
    """The CPU time of the verification, from its start beside user data to the verdict. The limit is for the boot that other
    load disturbed least: it can only add CPU time."""
    for work in WORKS:
        what = f"{WORKS[work]}: CPU time of `verify`, units in the image"
        spent = [one["verify"] for one in boots if (one["variant"], one["user_data"]) == ("baked", work)]
        if work == 0 and len(spent) >= FEWEST:
            table.reported(what, figures.Sample(spent), figures.ms)
            table.at_most(f"{what}, the lowest", min(spent), MOST_VERIFY, figures.ms)
        elif work == 0:
            table.unchecked(what, f"needs {FEWEST} boots", spent and figures.Sample(spent), figures.ms)
        elif spent:
            table.reported(what, figures.Sample(spent), figures.ms)


def cost_of_sleepers(table, boots):
    """The same steps of boots beside idle hosts and of boots alone: from PID 1 until user data begins."""
    what, event = "PID 1 to user data, beside idle hosts; peer: alone", "cloud-final.service begins"
    alone, beside = ([one["events"][event] for one in boots
                      if one["user_data"] and bool(one["beside"]) == is_beside and event in one["events"]]
                     for is_beside in (False, True))
    if alone and beside:
        table.compared(what, figures.Sample(beside), figures.Sample(alone), figures.s)


def waits_table(boots):
    """What each variant waits for when user data does nothing, in seconds."""
    columns = {variant: dict(ours.waits()) for (variant, work), ours in boots.items() if work == 0}
    rows = [[text] + [f"{waits[text]:.2f}" if text in waits else "" for waits in columns.values()] for text in COLOURS]
    return figures.markdown(["wait, in seconds (median)"] + [NAMES[variant] for variant in columns], rows)


LEFT, RIGHT, TOP, BAR, STEP, WIDTH = 204, 70, 74, 18, 26, 860


def plot(boots):
    """A bar for each variant, with what it waited for, and the lowest and highest time as a line at its end."""
    panels = {work: {variant: ours for (variant, of), ours in boots.items() if of == work} for work in WORKS}
    height = TOP + sum(66 + STEP * len(panel) for panel in panels.values())
    drawing = Drawing(WIDTH, height, TITLE)
    drawing.write(16, 26, "Seconds from the start of PID 1 to registered", size=15, bold=True)
    x = 16
    for text, colour in COLOURS.items():
        drawing.rect(x, 40, 12, 12, colour)
        drawing.write(x + 17, 50.5, text, "faint", size=12)
        x += 36 + 6 * len(text)
    y = TOP
    for work, panel in panels.items():
        y = draw_panel(drawing, y, WORKS[work], panel)
    return drawing.text()


def draw_panel(drawing, y, heading, panel):
    longest = max(ours.registered.highest for ours in panel.values())
    tick = 1 if longest < 12 else 5
    scale = (WIDTH - LEFT - RIGHT) / longest
    drawing.write(16, y + 16, heading[0].upper() + heading[1:], bold=True)
    y += 26
    bottom = y + STEP * len(panel)
    for second in range(0, int(longest) + 1, tick):
        drawing.rect(LEFT + second * scale, y, 1, bottom - y, "grid")
        drawing.write(LEFT + second * scale, bottom + 15, str(second), "faint", "middle", size=12)
    for variant, ours in panel.items():
        drawing.write(LEFT - 10, y + 17, NAMES[variant], anchor="end")
        x = LEFT
        for text, seconds in ours.waits():
            drawing.rect(x, y + 4, max(0, seconds * scale - 1), BAR, COLOURS[text], f"{text}: {seconds:.2f} s")
            x += seconds * scale
        spread = ours.registered
        drawing.rect(LEFT + spread.lowest * scale, y + 12.5, (spread.highest - spread.lowest) * scale, 1.5, "text")
        for end in (spread.lowest, spread.highest):
            drawing.rect(LEFT + end * scale - 0.75, y + 9, 1.5, 8, "text")
        drawing.write(LEFT + max(spread.highest * scale, x - LEFT) + 8, y + 17, f"{spread.median:.1f} s", bold=True)
        y += STEP
    return bottom + 40


def self_test():
    def boot(variant, work, registered, working=None, verify=0.02):
        return {"variant": variant, "user_data": work, "beside": 0, "working": [working or [0, 0]], "verify": verify,
                "events": {"registered": registered, COMMON: 2, "cloud-final.service begins": 3}}

    def status(*changed, count=FEWEST, skip=(), verify=0.02):
        """Of boots in which all limits hold, apart from `changed`: (variant, seconds of user data, time)."""
        times = {(variant, work): 5.0 if work == 0 or variant == EARLY else 25.0 for variant in NAMES for work in WORKS}
        times |= {(variant, work): time for variant, work, time in changed}
        boots = [boot(*key, time, verify=verify) for key, time in times.items() if key not in skip for _ in range(count)]
        with contextlib.redirect_stderr(io.StringIO()):
            return compare(boots).status()

    cases = [("all limits hold", status(), 0), ("too few boots", status(count=FEWEST - 1), 3),
             ("ours is slower than the usual way", status(("baked", 0, 5.2)), 1),
             ("early start is not early", status((EARLY, 20, 8.0)), 1),
             ("the verification takes too long", status(verify=0.03), 1),
             ("hosts one after the other", together([boot("runcmd", 0, 5, [0, 4]), boot("shell", 0, 5, [4, 9])]), 0),
             ("hosts that work together", together([boot("runcmd", 0, 5, [0, 4]), boot("shell", 0, 5, [2, 9])]), 2)]
    cases += [(f"{variant} with {work} s is missing", status(skip=[(variant, work)]), 3) for variant in NAMES for work in WORKS]
    failed = [f"FAILED: {what}: {found}, wanted {wanted}" for what, found, wanted in cases if found != wanted]
    print(*failed, f"{len(cases) - len(failed)} passed, {len(failed)} failed", sep="\n")
    return 1 if failed else 0


def main(results, update_docs=""):
    boots = load(results)
    table = compare(boots)
    if update_docs:
        found = by_variant(boots)
        figures.write_part(figures.EXPLANATION, "boot-waits", waits_table(found))
        PICTURE.write_text(plot(found), encoding="utf-8")
        # Written here, so that the page has no link to a picture that was never made.
        figures.write_part(figures.EXPLANATION, "boot-plot", f"![{TITLE}](../images/{PICTURE.name})")
    return table.finish(bool(update_docs), figures.EXPLANATION)


if __name__ == "__main__":
    sys.exit(self_test() if sys.argv[1:] == ["--self-test"] else main(*sys.argv[1:]))
