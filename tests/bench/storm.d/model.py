"""An event simulation of the calls of many instances, for more instances than a host can run.

In: a scenario, the number of instances, the time over which they start, and the times of instances that run alone. Out:
when each call was made, and when each instance was configured and ready.

No parameter is from a run of many instances, so that such a run can refute the model:
- The pauses, deadlines and probes are constants of the program. They are read from its source, so that the model cannot
  describe another version.
- The buckets and the agent are those of services.py, which names the sources in AWS's documentation.
- The times from one step of an instance to the next are measured with instances that run one after the other (`Times`)."""

import dataclasses
import heapq
import pathlib
import random
import re
import statistics

import services

SOURCE = pathlib.Path(__file__).resolve().parents[3] / "src"
# The calls of each scenario before ecs.config is written.
CALLS = {"imds-tag": [], "describe-tags": ["DescribeTags"], "cluster-tags": ["ListClusters", "DescribeClusters"]}
# The prediction is the median of simulations with these seeds. None is that of a measured run.
SEEDS = range(101, 110)


def constants(file, pattern):
    """The numbers that the groups of a pattern find in a file of the program's source."""
    found = re.findall(pattern, (SOURCE / file).read_text(encoding="utf-8"))
    if len(found) != 1:
        raise SystemExit(f"storm: src/{file} has `{pattern}` {len(found)} times, not once; the model needs it")
    return [float(one) for one in ([found[0]] if isinstance(found[0], str) else found[0])]


def of_retry(name):
    """A constant of src/retry.rs: a duration in whole seconds, or a number."""
    return constants("retry.rs", rf"const {name}: \w+ = (?:Duration::from_secs\()?([0-9.]+)\)?;")[0]


@dataclasses.dataclass
class Pauses:
    """The pauses after throttled attempts: a share of the time since the first attempt, of which up to `jitter` is cut
    off at random. With `step`, a pause ends at a whole multiple of so many seconds, for all instances alike."""
    shortest: float
    longest: float
    share: float
    jitter: float
    step: float = 0

    def whole(self, waited):
        return min(self.longest, max(self.shortest, waited * self.share))

    def mean(self, waited):
        return self.whole(waited) * (1 - self.jitter / 2)

    def after(self, now, waited, chance):
        if self.step:
            return self.step - now % self.step
        return self.whole(waited) * (1 - self.jitter * chance.random())

    @staticmethod
    def of_the_program():
        most, divisor = constants("retry.rs", r"duration\.mul_f64\(([0-9.]+) \+ fraction\(\) / ([0-9.]+)\)")
        assert most + 1 / divisor == 1, "the jitter shortens a pause"
        return Pauses(of_retry("SHORTEST_THROTTLED"), of_retry("LONGEST_THROTTLED"), of_retry("THROTTLED_SHARE"), 1 / divisor)


def deadline(name):
    """The default of a deadline, in seconds."""
    return constants("settings/mod.rs", rf'default\("{name}", Duration::from_secs\((\d+)\)\)')[0]


@dataclasses.dataclass
class Times:
    """How long the steps of an instance take that runs alone, in seconds; one value for each measured instance."""
    to_first_call: list  # from the start of `run`; to its end, if it makes no call
    to_next_call: list  # from the arrival of a call to that of the next
    to_config: list  # from the arrival of the last call to the end of `run`
    to_query: list  # from the agent's connection to the call of `verify`
    to_ready: list  # from the arrival of that call to the end of `verify`

    @staticmethod
    def of(run):
        """The times of the instances of a run in which nothing was throttled."""
        found, wanted = Times([], [], [], [], []), CALLS[run.scenario]
        for one in run.ready():
            calls = [call for call in run.calls if call[1] == one.index]
            if any(throttled for *_, throttled in calls):
                raise SystemExit("storm: a call of an instance that runs alone was throttled")
            before = [time for time, _, operation, _ in calls if operation in wanted and time < one.configured_at]
            query = [time for time, _, operation, _ in calls if operation == "DescribeContainerInstances"]
            if len(before) != len(wanted) or len(query) != 1:
                raise SystemExit(f"storm: an instance that runs alone made the calls {calls}")
            found.to_first_call.append((before or [one.configured_at])[0] - one.started_at)
            found.to_next_call += [after - call for call, after in zip(before, before[1:])]
            found.to_config += [one.configured_at - before[-1]] if before else []
            found.to_query.append(query[0] - one.connected_at)
            found.to_ready.append(one.ready_at - query[0])
        if len(found.to_ready) < len(run.instances):
            raise SystemExit("storm: an instance that runs alone did not become ready")
        return found


@dataclasses.dataclass
class Outcome:
    """Calls as in `services.Api`, and the times at which instances had ecs.config and were ready."""
    calls: list
    configured: list
    ready: list


class Simulation:
    """The calls of all instances in the order of time."""

    def __init__(self, scenario, count, over, times, pauses, seed):
        """`pauses` has the pauses of the first instance, of the second, and so on, and then begins again."""
        self.count, self.over, self.times, self.pauses = count, over, times, pauses
        self.run_deadline, self.verify_deadline = deadline("run.deadline"), deadline("verify.deadline")
        self.probe_first, self.probe_every = constants(
            "verify/schedule.rs", r"\(Probe::Cluster, Duration::from_secs\((\d+)\), Duration::from_secs\((\d+)\)\)")
        self.chance, self.buckets = random.Random(seed), services.new_buckets()
        self.steps, self.outcome = CALLS[scenario], Outcome([], [], [])
        self.events, self.number = [], 0

    def at(self, time, action, *arguments):
        self.number += 1
        heapq.heappush(self.events, (time, self.number, action, arguments))

    def run(self):
        for instance in range(self.count):
            start = self.chance.uniform(0, self.over)
            first = self.chance.choice(self.times.to_first_call)
            action = (self.call, instance, 0, None, start + self.run_deadline) if self.steps else (self.configured, instance)
            self.at(start + first, *action)
        while self.events:
            now, _, action, arguments = heapq.heappop(self.events)
            action(now, *arguments)
        return self.outcome

    def admits(self, now, instance, operation):
        admitted = self.buckets[operation].take(now)
        self.outcome.calls.append((now, instance, operation, not admitted))
        return admitted

    def call(self, now, instance, step, first, limit):
        """A call of `run`, which is repeated while it is throttled."""
        first = now if first is None else first
        if self.admits(now, instance, self.steps[step]):
            if step + 1 < len(self.steps):
                self.at(now + self.chance.choice(self.times.to_next_call), self.call, instance, step + 1, None, limit)
            else:
                self.at(now + self.chance.choice(self.times.to_config), self.configured, instance)
            return
        answered = now + services.API_DELAY
        pause = self.pauses[instance % len(self.pauses)].after(answered, answered - first, self.chance)
        if answered + pause < limit:
            self.at(answered + pause, self.call, instance, step, first, limit)

    def configured(self, now, instance):
        self.outcome.configured.append(now)
        state = {"registered": False}
        self.at(now + self.chance.uniform(*services.Agent.START), self.register, instance, state,
                services.Agent.FIRST_PAUSE, now + self.verify_deadline)
        self.at(now + self.probe_first, self.describe_cluster, instance, state, now + self.verify_deadline)

    def describe_cluster(self, now, instance, state, limit):
        """The probe of the cluster, which `verify` needs while the instance is not registered."""
        if not state["registered"] and now < limit:
            self.admits(now, instance, "DescribeClusters")
            pause = 2 * self.probe_every * (1 - self.pauses[0].jitter * self.chance.random())
            self.at(now + pause, self.describe_cluster, instance, state, limit)

    def register(self, now, instance, state, pause, limit):
        if self.admits(now, instance, "RegisterContainerInstance"):
            state["registered"] = True
            connects = now + self.chance.uniform(*services.Agent.CONNECT)
            self.at(connects + self.chance.choice(self.times.to_query), self.query, instance)
        else:
            again = now + pause * self.chance.uniform(*services.Agent.JITTER)
            if again < limit:
                self.at(again, self.register, instance, state, min(services.Agent.LONGEST_PAUSE, pause * 2), limit)

    def query(self, now, instance):
        """The verification calls once: a connected agent is ready also if its call is throttled."""
        self.admits(now, instance, "DescribeContainerInstances")
        self.outcome.ready.append(now + self.chance.choice(self.times.to_ready))


def simulate(scenario, count, over, times, pauses=None, seed=SEEDS[0]):
    """One simulation; by default with the pauses of the program."""
    return Simulation(scenario, count, over, times, pauses or [Pauses.of_the_program()], seed).run()


def predict(scenario, count, over, times):
    """The median of several simulations: when the last instance is ready, and the calls before ecs.config for each."""
    outcomes = [simulate(scenario, count, over, times, seed=seed) for seed in SEEDS]
    return (statistics.median(max(one.ready, default=0) for one in outcomes),
            statistics.median(len(before_config(scenario, one.calls)) for one in outcomes) / count)


def before_config(scenario, calls):
    """The calls of `run`. The probe of `verify` makes one of them too, but only if the instance has not registered."""
    return [call for call in calls if call[2] in CALLS[scenario]]
