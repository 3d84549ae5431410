#!/usr/bin/env python3
"""Prints the table of tests/bench/boot, checks its limits, and writes both into the documentation with a plot.

In: the file of results, one line of JSON for each boot (see events.py). Out: exit code 0 if all limits hold, otherwise 1."""

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
OURS = ("sample", "baked")
SLOWER = 0.1  # seconds by which our ways may be slower than the usual one
EARLIER = 18  # seconds by which early start must be faster than every other variant, of 20 s of user data
TITLE = "Seconds from the start of PID 1 to registered, for each way to join a cluster"
PICTURE = figures.ROOT / "docs/images/launch-to-ready.svg"

# What the boot waits for, one after the other: the event that ends the wait, the text, the colour of the plot.
UNTIL_CLOUD_INIT = [
    ("cloud-init-local.service is up", "start, cloud-init-local", "grey"),
    ("systemd-networkd-wait-online.service is up", "network", "blue"),
    ("cloud-init.service is up", "cloud-init", "navy"),
]
USER_DATA = [("cloud-config.service is up", "cloud-config", "teal"), ("ecs.service begins", "cloud-final, user data", "orange")]
NO_USER_DATA = [("ecs.service begins", "docker", "purple")]
AGENT = [("registered", "agent", "green")]
COLOURS = {text: colour for _, text, colour in UNTIL_CLOUD_INIT + USER_DATA + NO_USER_DATA + AGENT}


class Boots:
    """The boots of one variant with one user data."""

    def __init__(self, events):
        self.events = events
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
    """The boots by variant and seconds of user data, in the order of NAMES."""
    lines = [json.loads(line) for line in pathlib.Path(path).read_text(encoding="utf-8").splitlines()]
    found = {}
    for work in WORKS:
        for variant in NAMES:
            if events := [one["events"] for one in lines if (one["variant"], one["user_data"]) == (variant, work)]:
                found[variant, work] = Boots(events)
    return found


def compare(boots):
    """The table. A limit is in it if both sides were measured."""
    table = figures.Table("boot")
    for (variant, work), ours in boots.items():
        what, usual = f"{WORKS[work]}: {NAMES[variant]}", boots.get((USUAL, work))
        if work == 0 and variant in OURS and usual:
            table.at_most_plus(what, ours.registered, usual.registered, SLOWER, figures.s)
        elif usual and variant != USUAL:
            table.compared(what, ours.registered, usual.registered, figures.s)
        else:
            table.reported(what, ours.registered, figures.s)
    if early := boots.get((EARLY, 20)):
        for variant in [variant for variant, work in boots if work == 20 and variant != EARLY]:
            what = f"{WORKS[20]}: early start before {NAMES[variant]}"
            table.at_most_plus(what, early.registered, boots[variant, 20].registered, -EARLIER, figures.s)
    return table


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


def main(results, update_docs=""):
    boots = load(results)
    table = compare(boots)
    if update_docs:
        figures.write_part(figures.EXPLANATION, "boot-waits", waits_table(boots))
        PICTURE.write_text(plot(boots), encoding="utf-8")
        # Written here, so that the page has no link to a picture that was never made.
        figures.write_part(figures.EXPLANATION, "boot-plot", f"![{TITLE}](../images/{PICTURE.name})")
    return table.finish(bool(update_docs), figures.EXPLANATION)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
