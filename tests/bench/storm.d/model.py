"""An event simulation of the calls of many instances, for more instances than a host can run.

In: a scenario, the number of instances, the time over which they start. Out: when each call was made, and when each
instance was configured and ready. The pauses are those of `src/retry.rs`, which is read, so that the model cannot
describe another version of the program. The buckets and the agent are those of services.py.

The model has two free parameters: the times that the program needs before its first call and between two calls."""

import dataclasses
import heapq
import pathlib
import random
import re

import services

ROOT = pathlib.Path(__file__).resolve().parents[3]
# Seconds from the start of `run` to its first call, and from a call to the one that its answer permits. The second matters:
# 27 ms after an admitted call, an exhausted bucket that gains 20 tokens a second has no further token yet.
START, NEXT = 0.05, services.API_DELAY + 0.007
# The calls of each scenario before ecs.config is written.
CALLS = {"imds-tag": [], "describe-tags": ["DescribeTags"], "cluster-tags": ["ListClusters", "DescribeClusters"]}


def constant(name):
    """A constant of src/retry.rs: a duration in whole seconds, or a number."""
    text = (ROOT / "src/retry.rs").read_text(encoding="utf-8")
    found = re.search(rf"const {name}: \w+ = (?:Duration::from_secs\()?([0-9.]+)\)?;", text)
    if not found:
        raise SystemExit(f"storm: src/retry.rs has no constant {name}, which the model needs")
    return float(found[1])


@dataclasses.dataclass
class Pauses:
    """The pauses after throttled attempts: a share of the time since the first attempt, of which up to `jitter` is cut
    off at random."""
    shortest: float
    longest: float
    share: float
    jitter: float = 0.5

    def after(self, waited, chance):
        return min(self.longest, max(self.shortest, waited * self.share)) * (1 - self.jitter * chance.random())

    @staticmethod
    def of_the_program():
        return Pauses(constant("SHORTEST_THROTTLED"), constant("LONGEST_THROTTLED"), constant("THROTTLED_SHARE"))


# A client whose instances wait for the same times: what must not happen.
SYNCHRONISED = Pauses(shortest=5, longest=5, share=0, jitter=0)


# What ends an instance: `run.deadline`, and `verify.deadline` from the end of `run` (docs/reference/settings.md).
RUN_DEADLINE, VERIFY_DEADLINE = 240, 600


@dataclasses.dataclass
class Outcome:
    """Calls as in `services.Api`, and the times at which instances had ecs.config and were ready."""
    calls: list
    configured: list
    ready: list


def simulate(scenario, count, over, pauses, seed=1, run_deadline=RUN_DEADLINE):
    """Makes the calls of all instances in the order of time."""
    chance, buckets, outcome = random.Random(seed), services.new_buckets(), Outcome([], [], [])
    steps = [*CALLS[scenario], "configured", "RegisterContainerInstance", "DescribeContainerInstances", "ready"]
    # Each event: time, number, step, time of the step's first attempt, limit, instance, pause of the agent.
    events = []
    for index in range(count):
        start = chance.uniform(0, over)
        events.append((start + START, index, 0, None, start + run_deadline, index, 3.0))
    heapq.heapify(events)
    number = count
    while events:
        now, _, step, first, limit, instance, agent_pause = heapq.heappop(events)
        name, first, number = steps[step], now if first is None else first, number + 1
        after = NEXT
        if name == "ready":
            outcome.ready.append(now)
            continue
        if name == "configured":
            outcome.configured.append(now)
            after, limit = chance.uniform(*services.Agent.START), now + VERIFY_DEADLINE
        else:
            admitted = buckets[name].take(now)
            outcome.calls.append((now, instance, name, not admitted))
            if not admitted and name == "RegisterContainerInstance":
                again, agent_pause = now + agent_pause * chance.uniform(1, 1.2), min(192.0, agent_pause * 2)
            elif not admitted and name != "DescribeContainerInstances":
                again = now + services.API_DELAY + pauses.after(now - first, chance)
            else:  # The verification calls once: a connected agent is ready also if its call is throttled.
                again = None
            if again is not None:
                if again < limit:
                    heapq.heappush(events, (again, number, step, first, limit, instance, agent_pause))
                continue
            if name == "RegisterContainerInstance":
                after = chance.uniform(*services.Agent.CONNECT)
        heapq.heappush(events, (now + after, number, step + 1, None, limit, instance, agent_pause))
    return outcome


# Where `waves` begins: so many seconds after the last start, when the bucket is empty and no instance calls first.
FIRST_BURST = 5
# The most that `waves` may be.
MOST_WAVES = 3


def waves(times, begin, end):
    """How far the arrivals are from independent ones: the squared deviation of the calls in each second from the mean of
    the seven seconds around it, divided by that mean. Independent arrivals have about 1 (the variance of a Poisson
    distribution is its mean). Clients in step have about as much as the calls of one wave. Seconds with fewer than five
    calls around them are left out, because few calls say nothing."""
    counts = [0] * (int(end) + 1)
    for time in times:
        if time < len(counts):
            counts[int(time)] += 1
    deviations = []
    for second in range(int(begin) + 3, len(counts) - 3):
        mean = sum(counts[second - 3:second + 4]) / 7
        if mean >= 5:
            deviations.append((counts[second] - mean) ** 2 / mean)
    return sum(deviations) / len(deviations) if deviations else 0.0
