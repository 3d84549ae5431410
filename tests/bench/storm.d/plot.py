"""Draws the calls of the runs in each second: one panel for each scenario that throttles.

In: the runs. Out: a drawing of `svg.py`."""

import model
import services
import svg

WIDTH, PANEL, LEFT, RIGHT, TOP, BETWEEN = 860, 170, 58, 20, 64, 74
# What a bar or a dot is, with its color.
KINDS = {"admitted": ("blue", "admitted"), "throttled": ("orange", "throttled, repeated later"),
         "model": ("text", "model, all calls")}


def per_second(times, seconds):
    counts = [0] * seconds
    for time in times:
        if int(time) < seconds:
            counts[int(time)] += 1
    return counts


def ticks(most, wanted):
    """Round numbers from 0 to `most`, about `wanted` of them."""
    step = next(step for step in (1, 2, 5, 10, 20, 25, 50, 100, 200, 250, 500, 1000, 5000) if most / step <= wanted)
    return range(0, int(most) + 1, step)


def dot(drawing, x, y):
    drawing.shape("text", f'<circle class="text" cx="{x:.1f}" cy="{y:.1f}" r="1.8"/>')


def arrivals(runs, times, titles):
    """`times`: for each scenario the times of instances that run alone, from which the model begins."""
    shown = [run for run in runs.values() if model.CALLS[run.scenario]]
    title = f"Calls in each second while {len(shown[0].instances):,} instances start within {shown[0].over:g} s"
    drawing = svg.Drawing(WIDTH, TOP + len(shown) * (PANEL + BETWEEN), title)
    drawing.write(LEFT, 26, title, size=16, bold=True)
    x = LEFT
    for kind, (color, words) in KINDS.items():
        if kind == "model":
            dot(drawing, x + 7, 44)
        else:
            drawing.rect(x, 38, 14, 12, color)
        drawing.write(x + 20, 49, words, "faint")
        x += 44 + 7 * len(words)
    for index, run in enumerate(shown):
        panel(drawing, run, times[run.scenario], titles[run.scenario], TOP + index * (PANEL + BETWEEN) + 28)
    return drawing.text()


def panel(drawing, run, times, title, top):
    """One scenario: the calls before ecs.config, with the admitted ones below the throttled ones."""
    wanted = model.CALLS[run.scenario]
    calls = model.before_config(run.scenario, run.calls)
    seconds = int(max(call[0] for call in calls)) + 1
    admitted = per_second([time for time, _, _, throttled in calls if not throttled], seconds)
    everything = per_second([call[0] for call in calls], seconds)
    outcome = model.simulate(run.scenario, len(run.instances), run.over, times)
    modelled = per_second([call[0] for call in model.before_config(run.scenario, outcome.calls)], seconds)
    most = max(everything + modelled)
    bottom, across, scale = top + PANEL, (WIDTH - LEFT - RIGHT) / seconds, PANEL / most
    _, capacity, refill = services.BUCKETS[wanted[0]]
    drawing.write(LEFT, top - 10, f"{title[0].upper()}{title[1:]}: {' and '.join(wanted)}; the bucket holds {capacity} "
                                  f"and gains {refill} a second")
    for value in ticks(most, 4):
        drawing.rect(LEFT, bottom - value * scale - 0.5, WIDTH - LEFT - RIGHT, 1, "grid")
        drawing.write(LEFT - 8, bottom - value * scale + 4, str(value), "faint", "end")
    width = max(across - 0.6, 0.6)
    for second in range(seconds):
        x, height = LEFT + second * across, admitted[second] * scale
        refused = (everything[second] - admitted[second]) * scale
        what = f"{second} s: {admitted[second]} admitted, {everything[second] - admitted[second]} throttled"
        drawing.rect(x, bottom - height - refused, width, refused, KINDS["throttled"][0], what)
        drawing.rect(x, bottom - height, width, height, KINDS["admitted"][0], what)
        dot(drawing, x + across / 2, bottom - modelled[second] * scale)
    for value in ticks(seconds, 8):
        drawing.write(LEFT + value * across, bottom + 18, f"{value} s", "faint", "middle")
