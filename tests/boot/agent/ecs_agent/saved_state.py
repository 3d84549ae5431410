"""The saved state of the agent: its cluster, container instance and EC2 instance, in `agent.db`.

From agent/data and agent/app/data.go. Names of buckets and keys, and every value as a JSON string, are the agent's. The
state file of agents before 1.44 is imported as long as the database has no agent version, as in the agent. In: the data
folder. Out: values by key; faults end the agent with its messages and codes.
"""

import json
import os

import bolt
import go_errors
from exits import ERROR, TERMINAL, Panic, Stop

BUCKETS = (b"containers", b"eniattachments", b"images", b"metadata", b"tasks")
METADATA = b"metadata"
AGENT_VERSION, ZONE, CLUSTER = "agent-version", "availability-zone", "cluster-name"
ARN, INSTANCE_ID, MANIFEST = "container-instance-arn", "ec2-instance-id", "task-manifest-seq-num"
KEYS = (AGENT_VERSION, ZONE, CLUSTER, ARN, INSTANCE_ID, MANIFEST)
# The names of the same values in the state file of old agents.
OF_OLD_AGENTS = {ZONE: "availabilityZone", CLUSTER: "Cluster", ARN: "ContainerInstanceArn", INSTANCE_ID: "EC2InstanceID"}


def go_json(text):
    """A string as Go's encoding/json writes it."""
    text = json.dumps(text, ensure_ascii=False)
    for character in "&<>":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text.encode()


class SavedState:
    def __init__(self, folder, log):
        self.folder, self.log = folder, log
        path = os.path.join(folder, "agent.db")
        try:
            self.file = bolt.Bolt(path)
            self.buckets = self.file.buckets()
            if any(name not in self.buckets for name in BUCKETS):
                self.buckets = {**{name: {} for name in BUCKETS}, **self.buckets}
                self.file.commit(self.buckets)
        except (OSError, bolt.Invalid) as problem:
            reason = f"open {path}: {os.strerror(problem.errno).lower()}" if isinstance(problem, OSError) else problem
            log("critical", "Error creating data client", error=reason)
            raise Stop(ERROR) from problem
        except bolt.Damaged as problem:
            raise Panic(str(problem)) from problem

    def load(self):
        """The saved values; an absent one is an empty string."""
        found = {}
        for key in KEYS:
            value = self.buckets[METADATA].get(key.encode())
            try:
                found[key] = "" if value is None else go_errors.parsed(value.decode("utf-8", "replace"), str)
            except ValueError as problem:
                self.refuse(f"failed to load previous data from BoltDB: failed to get value for metadata '{key}': {problem}")
        if not found[AGENT_VERSION]:
            found.update(self.of_old_agent())
            for key in (ZONE, CLUSTER, ARN, INSTANCE_ID):
                if found[key]:
                    self.save(key, found[key])
            self.save(MANIFEST, found[MANIFEST] or "0")
        return found

    def of_old_agent(self):
        try:
            with open(os.path.join(self.folder, "ecs_agent_data.json"), encoding="utf-8") as file:
                old = json.load(file)["Data"]
            return {key: old.get(name, "") for key, name in OF_OLD_AGENTS.items()}
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError) as problem:
            return self.refuse(f"failed to load previous data from state file: {problem}")

    def refuse(self, reason):
        self.log("critical", f"Error loading previously saved state: {reason}", module="agent.go")
        self.log("critical", f"Unable to initialize new task engine: {reason}", module="agent.go")
        raise Stop(TERMINAL)

    def save(self, key, value):
        self.buckets[METADATA][key.encode()] = go_json(value)
        try:
            self.file.commit(self.buckets)
        except OSError as problem:
            self.log("error", "Failed to save agent metadata to disk", key=key, error=os.strerror(problem.errno).lower())
