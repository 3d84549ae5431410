"""A simulated ECS agent, with the order of steps, the exit codes, the log and the introspection of the real one.

From the source of amazon-ecs-agent 1.105 (agent/app), and from what the real one was seen to do. It really registers and
connects: with credentials of the role, signed with SigV4, over TLS verified with the bundle of its own image. It runs no
tasks. If `/etc/ecs-fake-agent.json` exists in the host when the container starts, it does what the real agent never does;
a case that needs this file has `simulated_agent=required`:

  {"exit": N}                  exits with N directly after its start; "error" is the line that it logs
  {"start_delay_s": N}         waits before its first request
  {"register_cluster": "X"}    registers in X, whatever ECS_CLUSTER says
"""

import json
import os
import signal
import sys
import threading
import time
import traceback
import uuid

import introspection
import saved_state
import session
import settings
from ecs_client import VERSION, AwsError, Ecs
from exits import ERROR, PANIC, SUCCESS, TERMINAL, Panic, Stop
from logs import Log
from metadata import Metadata, NoCredentials

MISMATCHED_CLUSTER = "Data mismatch; saved cluster '{}' does not match configured cluster '{}'. Perhaps you want to delete the " \
                     "configured checkpoint file?"
CHANGED_TYPE = "Container instance type changes are not supported."


class Agent:
    def __init__(self, log):
        self.log = log
        self.metadata = Metadata(os.environ)
        self.knobs, self.arn, self.instance_id = {}, "", ""
        if os.path.exists("/etc/ecs-fake-agent.json"):
            with open("/etc/ecs-fake-agent.json", encoding="utf-8") as file:
                self.knobs = json.load(file)

    def run(self):
        self.log("info", "Starting Amazon ECS Agent", version=VERSION, commit="00000000")
        if "exit" in self.knobs:
            self.log("critical", self.knobs.get("error", "The simulated agent is configured to exit"))
            raise Stop(self.knobs["exit"])
        time.sleep(self.knobs.get("start_delay_s", 0))
        self.settings = settings.load(self.log, os.environ, self.metadata)
        self.cluster = self.settings["Cluster"]
        self.ecs = Ecs(self.settings["AWSRegion"], self.settings.get("APIEndpoint") or "", self.metadata)
        self.state = saved_state.SavedState(os.environ.get("ECS_DATADIR") or "/data", self.log)
        self.find_instance()
        self.check_cloud_init()
        self.check_host()
        self.restore()
        self.wait_for_service()
        self.prepare()
        self.register()
        self.save()
        self.serve()

    def find_instance(self):
        self.instance_id = self.metadata.ask("meta-data/instance-id") or ""
        if not self.instance_id:
            self.log("warn", "Not able to get EC2 Instance ID from IMDS, skip saving to agent state file")

    def check_cloud_init(self):
        try:
            with open("/var/lib/cloud/data/result.json", encoding="utf-8") as file:
                has_none = "DataSourceNone" in (json.load(file)["v1"]["datasource"] or "")
        except (OSError, ValueError, KeyError):
            return
        if has_none and self.metadata.ask("user-data"):
            self.log("critical", "Cloud-init failure detected")
            raise Stop(TERMINAL)

    def check_host(self):
        # On every host whose cgroup set-up softly fails, also a healthy one.
        self.log("warn", "Disabling TaskCPUMemLimit because agent is unable to setup '/ecs' cgroup: cgroupv2 init: unable to "
                         "create v2 manager: mkdir /sys/fs/cgroup/ecstasks.slice: read-only file system", module="agent_unix.go")
        with open("/proc/meminfo", encoding="ascii") as file:
            total = next(int(line.split()[1]) // 1024 for line in file if line.startswith("MemTotal:"))
        self.memory = total - (self.settings.get("ReservedMemory") or 0)
        self.log("info", "Remaining memory", remainingMemory=self.memory)
        if self.memory < 0:
            self.log("critical", "Unable to fetch host resources")
            raise Stop(ERROR)

    def restore(self):
        saved = self.state.load()
        id_of_state = saved[saved_state.INSTANCE_ID]
        if self.instance_id and id_of_state not in ("", self.instance_id):
            self.log("warn", f"Data mismatch; saved InstanceID '{id_of_state}' does not match current InstanceID "
                             f"'{self.instance_id}'. Overwriting old datafile", module="agent.go")
            return
        self.instance_id = self.instance_id or id_of_state
        if cluster := saved[saved_state.CLUSTER]:
            configured = self.cluster or "default"
            if cluster != configured:
                problem = MISMATCHED_CLUSTER.format(cluster, configured)
                self.log("critical", "Error restoring cluster", previousCluster=cluster, configuredCluster=configured,
                         error=problem)
                self.log("critical", f"Unable to initialize new task engine: {problem}", module="agent.go")
                raise Stop(TERMINAL)
            self.cluster = cluster
            self.log("info", "Cluster was successfully restored", cluster=cluster)
        self.arn = saved[saved_state.ARN]

    def wait_for_service(self):
        if os.environ.get("ECS_WARM_POOLS_CHECK", "").strip() not in settings.TRUE:
            return
        self.log("info", "Waiting for instance to go InService", module="agent.go")
        while self.metadata.ask("meta-data/autoscaling/target-lifecycle-state") != "InService":
            time.sleep(2)

    def prepare(self):
        """What a healthy host without extra programs logs before it registers."""
        try:
            self.metadata.credentials()
        except NoCredentials as problem:
            self.log("error", "Error getting valid credentials", error=problem)
        tarball = "/managed-agents/serviceconnect/ecs-service-connect-agent.interface-v1.tar"
        self.log("warn", f"AppNet agent container tarball unavailable: {tarball}",
                 error=f"stat {tarball}: no such file or directory")
        self.log("warn", "Failed to find kernel module sch_netem that is needed for fault-injection feature: exit status 1",
                 module="agent_capability_unix.go")

    def register(self):
        known = self.arn
        try:
            if known:
                self.log("info", "Restored from checkpoint file", containerInstanceARN=known, cluster=self.cluster)
                self.arn = self.send_registration(self.cluster)
            else:
                self.log("info", "Registering Instance with ECS")
                self.arn = self.register_anywhere()
        except AwsError as problem:
            self.refused(problem)
        if not known:
            self.log("info", "Instance registration completed successfully", instanceArn=self.arn, cluster=self.cluster)

    def register_anywhere(self):
        """Registers in the configured cluster, or in `default`, which is created if ECS does not have it."""
        wanted = self.knobs.get("register_cluster") or self.cluster
        if wanted:
            return self.send_registration(wanted)
        self.cluster = "default"
        try:
            return self.send_registration("default")
        except AwsError as problem:
            if "Cluster not found" not in problem.message:
                raise
        try:
            self.ecs.call("CreateCluster", clusterName="default")
        except AwsError as problem:
            self.log("critical", "Could not create cluster", cluster="default", error=problem)
            raise
        return self.send_registration("default")

    def send_registration(self, cluster):
        fields = {"cluster": cluster, "clientToken": str(uuid.uuid4()),
                  "instanceIdentityDocument": self.metadata.ask("dynamic/instance-identity/document"),
                  "instanceIdentityDocumentSignature": self.metadata.ask("dynamic/instance-identity/signature"),
                  "versionInfo": {"agentVersion": VERSION, "dockerVersion": "DockerVersion: 20.10.24+dfsg1"},
                  "attributes": self.attributes(), "totalResources": self.resources()}
        if tags := self.settings.get("ContainerInstanceTags"):
            fields["tags"] = [{"key": key, "value": value} for key, value in tags.items()]
        if self.arn:
            fields["containerInstanceArn"] = self.arn
        pauses = session.Pauses(3, 192, 2)
        while True:
            try:
                registered = self.ecs.call("RegisterContainerInstance", **fields)["containerInstance"]
                self.log("info", "Registered container instance with cluster!")
                self.check_attributes(fields["attributes"], registered.get("attributes", []))
                return registered["containerInstanceArn"]
            except AwsError as problem:
                self.log("error", "Unable to register as a container instance with ECS", error=problem)
                if problem.code not in ("ThrottlingException", "ServerException", "LimitExceededException"):
                    self.log("error", "Received terminal error from RegisterContainerInstance call, exiting", error=problem)
                    raise
                self.log("error", "Received non-terminal error from RegisterContainerInstance call, retrying with exponential "
                                  "backoff", error=problem)
                time.sleep(pauses.take())

    def attributes(self):
        """Capabilities at each registration, custom attributes at the first one only."""
        found = {"com.amazonaws.ecs.capability.docker-remote-api.1.25": "", "ecs.os-type": "linux", "ecs.capability.task-eni": ""}
        for driver in self.settings["AvailableLoggingDrivers"]:
            found[f"com.amazonaws.ecs.capability.logging-driver.{driver}"] = ""
        if not self.arn:
            found.update(self.settings.get("InstanceAttributes") or {})
        return [{"name": name, **({"value": value} if value else {})} for name, value in found.items()]

    def check_attributes(self, sent, returned):
        returned = {one["name"]: one.get("value") or "" for one in returned}
        missing = [one["name"] for one in sent if returned.get(one["name"], "") != one.get("value", "")]
        if not missing:
            return
        problem = "Attribute validation failed"
        self.log("error", "Error registering attributes", error=problem, missingAttributes=",".join(missing))
        self.log("error", "Received terminal error from RegisterContainerInstance call, exiting", error=problem)
        self.log("error", "Error registering container instance", error=problem)
        again = "re-" if self.arn else ""
        advice = " Please make sure custom attributes are valid as per public AWS documentation"
        self.log("critical", f"Instance {again}registration attempt with invalid attribute(s)",
                 error=advice if self.settings.get("InstanceAttributes") else "")
        self.log("critical", "Agent will terminally exit, unable to register container instance", error=problem)
        raise Stop(TERMINAL)

    def resources(self):
        return [{"name": "CPU", "type": "INTEGER", "integerValue": 1024 * (os.cpu_count() or 1)},
                {"name": "MEMORY", "type": "INTEGER", "integerValue": self.memory},
                {"name": "PORTS", "type": "STRINGSET", "stringSetValue": ["22", "2375", "2376", "51678", "51679"]},
                {"name": "PORTS_UDP", "type": "STRINGSET", "stringSetValue": []}]

    def refused(self, problem):
        """Ends the agent after a registration that failed: without end if ECS refuses what the agent sends."""
        self.log("error", f"Error {'re-' if self.arn else ''}registering container instance", error=problem)
        if CHANGED_TYPE in problem.message:
            self.log("critical", "The current instance type does not match the registered instance type. Please revert the "
                                 f"instance type change, or alternatively launch a new instance: {problem}", module="agent.go")
        elif problem.code == "InvalidParameterException":
            self.log("critical", "Instance registration attempt with an invalid parameter", error=problem)
        elif problem.code == "ClientException":
            self.log("critical", "Instance registration attempt with client performing invalid action", error=problem)
        else:
            raise Stop(ERROR)
        self.log("critical", "Agent will terminally exit, unable to register container instance", error=problem)
        raise Stop(TERMINAL)

    def save(self):
        zone = self.metadata.ask("meta-data/placement/availability-zone") or ""
        for key, value in ((saved_state.AGENT_VERSION, VERSION), (saved_state.ZONE, zone), (saved_state.CLUSTER, self.cluster),
                           (saved_state.ARN, self.arn), (saved_state.INSTANCE_ID, self.instance_id)):
            self.state.save(key, value)

    def serve(self):
        self.log("error", "error adding /managed-agents/serviceconnect to fsnotify watcher", error="no such file or directory",
                 module="watcher.go")
        threading.Thread(target=introspection.serve, args=(self.log, self.ecs, self.cluster, self.arn), daemon=True).start()
        plane = session.ControlPlane(self.log, self.ecs, self.cluster, self.arn)
        threading.Thread(target=session.run_tcs, args=(plane,), daemon=True).start()
        self.log("info", "Beginning Polling for updates", module="agent.go")
        session.run_acs(plane)


def main():
    log = Log(os.environ)
    if sys.argv[1:] == ["--healthcheck"]:
        return introspection.health_check(log)

    def leave(*_):
        log("info", "Agent received termination signal", signal="terminated")
        os._exit(SUCCESS)  # ends all threads at once, as the agent does

    signal.signal(signal.SIGTERM, leave)
    try:
        Agent(log).run()
        return SUCCESS
    except Stop as stop:
        return stop.code
    except Panic as panic:
        sys.stderr.write(panic.trace())
        return PANIC
    except Exception:  # a bug of this program, which ends it like a panic
        traceback.print_exc()
        return PANIC


if __name__ == "__main__":
    CODE = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(CODE)
