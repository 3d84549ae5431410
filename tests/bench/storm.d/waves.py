"""Whether instances that wait for a bucket call in step.

In: the calls of a run. Out: one figure, `waves`, for the whole time in which calls wait.

An instance whose call was throttled calls again after a pause whose mean is known (src/retry.rs). If the instances are
independent, the calls to expect in a second are the sum, over all instances that wait in this second, of one divided by
the mean pause. Instances in step make the same number of calls, but all of them in a few seconds, and none between. So the
figure is the highest number of repeated calls in a second, divided by the number to expect in it: about 1 for independent
instances (up to 2 by chance), and about as much as the seconds of a pause for instances in step. First calls are not
counted, because only the launch decides when they are made.

It needs no trend or average over time, so it is as valid while the instances start as at the end, for waves of any length."""

import model

# The most that `waves` may be. If a fifth of the instances calls in step, it is higher.
MOST = 2.5
# Seconds with fewer calls to expect are left out: so few calls can double by chance, and no more than the bucket of EC2
# or ECS gains in a second, so they cannot exhaust it.
FEWEST = 20


def waiting(calls):
    """For each repeated call: the time of the first attempt, of the last one, and of all repetitions."""
    attempts = {}
    for time, instance, operation, _ in calls:
        attempts.setdefault((instance, operation), []).append(time)
    return [(times[0], times[-1], times[1:]) for times in attempts.values() if len(times) > 1]


def per_second(calls, pauses, delay):
    """Two lists with a number for each second: the repeated calls, and those to expect."""
    found = waiting(calls)
    seconds = int(max((last for _, last, _ in found), default=0)) + 1
    made, expected = [0] * seconds, [0.0] * seconds
    for first, last, repeated in found:
        for time in repeated:
            made[int(time)] += 1
        for second in range(int(first), int(last) + 1):
            begin, end = max(first, second), min(last, second + 1)
            expected[second] += (end - begin) / (pauses.mean((begin + end) / 2 - first) + delay)
    return made, expected


def waves(calls, pauses, delay):
    """The highest share of made to expected calls, and the number of seconds that were checked."""
    made, expected = per_second(calls, pauses, delay)
    shares = [one / of for one, of in zip(made, expected) if of >= FEWEST]
    return max(shares, default=0.0), len(shares)


# Times of an instance for the cases below. They hardly matter there.
ALONE = model.Times([0.05], [0.03], [0.03], [0.1], [0.05])


def cases():
    """Synthetic arrivals, and whether they are waves: what, the pauses of the instances, the seconds in which they start,
    and the verdict."""
    program = model.Pauses.of_the_program()
    same = model.Pauses(program.shortest, program.longest, program.share, 0)
    five, aligned = model.Pauses(5, 5, 0, 0), model.Pauses(5, 5, 0, 0, step=5)
    return [
        ("the program's pauses, started within 10 s", [program], 10, False),
        ("the program's pauses, started at once", [program], 0.5, False),
        ("the program's pauses without their random part, started at once", [same], 0.5, True),
        ("pauses of 5 s, started at once", [five], 0.5, True),
        ("every whole 5 s, started within 10 s", [aligned], 10, True),
        ("every whole 5 s, a fifth of the instances", [*[program] * 4, aligned], 10, True),
    ]


def judge(pauses, over, seed):
    """The figure of 1000 simulated instances that need DescribeTags."""
    outcome = model.simulate("describe-tags", 1000, over, ALONE, pauses, seed)
    calls = model.before_config("describe-tags", outcome.calls)
    return waves(calls, model.Pauses.of_the_program(), model.services.API_DELAY)[0]


def self_test():
    """Checks the check: which of the cases it judges wrongly. Returns the number of tests and their faults."""
    faults, tests = [], 0
    for what, pauses, over, is_wave in cases():
        for seed in range(5):
            tests += 1
            found = judge(pauses, over, seed)
            if (found > MOST) != is_wave:
                faults.append(f"waves: {what}: {found:.2f} with the limit {MOST}")
    return tests, faults
