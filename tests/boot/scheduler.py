"""Services, their scheduler and their tasks. moto has services, but no scheduler.

In: the host's `aws/services.json`, by name: `{"mesh": {"daemon": true, "starts_after_s": 2}, "web": {"constraint":
"attribute:NAME == VALUE"}}`. A service without `daemon` wants one ordinary task; without `starts_after_s` its task stays
PENDING. Out: answers of ECS; `api.log` has each task that was placed. As in ECS, a task is placed on a container instance
only while its agent is connected, its status is not DRAINING and its attributes match the placement constraint. With `ends_after_s`,
its task ends so long after the status DRAINING.
"""

import json
import os
import threading
import time

OPERATIONS = ("ListServices", "DescribeServices", "DescribeTaskDefinition", "ListTasks", "DescribeTasks", "PutAttributes",
              "DeleteAttributes", "StartTask")


STALE_S = 3.0  # how long ECS reports the tasks of an instance as running after its agent is connected again


class Scheduler:
    """The services of one host's cluster."""

    def __init__(self, account):
        self.account, self.lock = account, threading.Lock()
        self.tasks = []  # in the order in which they were placed
        self.draining = set()  # the ARNs of container instances
        self.connected = {}  # by ARN of the container instance: whether its agent was connected

    def services(self):
        try:
            with open(os.path.join(self.account.folder, "aws", "services.json"), encoding="utf-8") as file:
                return json.load(file)
        except FileNotFoundError:
            return {}

    def place(self):
        """Places the tasks that can be placed now. The tasks of an agent that was away have ended, which ECS learns later."""
        now = time.monotonic()
        for arn, instance in self.account.registered.items():
            is_connected = self.account.agent_connected(arn)
            if is_connected and self.connected.get(arn) is False:
                for task in self.tasks:
                    task["stopped"] = min(task["stopped"], now + STALE_S)
            self.connected[arn] = is_connected
            for name, service in self.services().items():
                attribute, _, value = service.get("constraint", "").removeprefix("attribute:").partition(" == ")
                is_match = not attribute or instance["attributes"].get(attribute) == value
                has_task = any(task["instance"] == arn and task["name"] == name and task["stopped"] > now for task in self.tasks)
                if is_match and is_connected and not has_task and arn not in self.draining:
                    task = arn.replace(":container-instance/", ":task/") + f"{len(self.tasks):02d}"
                    self.tasks.append({"arn": task, "instance": arn, "name": name, "placed": now, "created": time.time(),
                                       "stopped": float("inf")})
                    self.account.note(service="scheduler", operation="placed", status=200, request=name)

    def drain(self, arn):
        """The container instance `arn` has the status DRAINING."""
        with self.lock:
            self.draining.add(arn)
            for task in self.tasks:
                ends_after = self.services().get(task["name"], {}).get("ends_after_s")
                if task["instance"] == arn and ends_after is not None:
                    task["stopped"] = min(task["stopped"], time.monotonic() + ends_after)

    def running(self, arn):
        """How many tasks run on a container instance."""
        return sum(task["instance"] == arn and task["stopped"] > time.monotonic() for task in self.tasks)

    def described(self, task):
        starts_after = self.services().get(task["name"], {}).get("starts_after_s")
        runs = starts_after is not None and time.monotonic() >= task["placed"] + starts_after
        status = "STOPPED" if time.monotonic() >= task["stopped"] else "RUNNING" if runs else "PENDING"
        return {"taskArn": task["arn"], "group": f"service:{task['name']}", "startedBy": "ecs-svc/0123456789",
                **({"startedAt": task["created"] + starts_after} if status != "PENDING" and starts_after is not None else {}),
                "desiredStatus": "STOPPED" if status == "STOPPED" else "RUNNING",
                "lastStatus": status, "healthStatus": "UNKNOWN", "taskDefinitionArn": f"{task['name']}:1"}

    def answer(self, operation, request):
        with self.lock:
            self.place()
            answer = getattr(self, operation)(request)
            self.place()
            return answer

    def ListServices(self, request):
        names = [name for name, service in self.services().items()
                 if request.get("schedulingStrategy", "REPLICA") == ("DAEMON" if service.get("daemon") else "REPLICA")]
        return {"serviceArns": [f"arn:aws:ecs:us-east-1:{self.account.moto.account}:service/demo/{name}" for name in names]}

    def DescribeServices(self, request):
        services = self.services()
        return {"failures": [], "services": [
            {"serviceName": name, "status": "ACTIVE", "taskDefinition": f"{name}:1", "launchType": "EC2",
             "schedulingStrategy": "DAEMON" if services[name].get("daemon") else "REPLICA", "placementConstraints": []}
            for name in request["services"] if name in services]}

    def DescribeTaskDefinition(self, request):
        return {"taskDefinition": {"taskDefinitionArn": request["taskDefinition"],
                                   "containerDefinitions": [{"name": "main", "essential": True}]}}

    def ListTasks(self, request):
        return {"taskArns": [task["arn"] for task in self.tasks if task["instance"] == request["containerInstance"]]}

    def DescribeTasks(self, request):
        return {"failures": [], "tasks": [self.described(task) for task in self.tasks if task["arn"] in request["tasks"]]}

    def PutAttributes(self, request):
        for attribute in request["attributes"]:
            self.account.registered[attribute["targetId"]]["attributes"][attribute["name"]] = attribute["value"]
        return {"attributes": request["attributes"]}

    def StartTask(self, request):
        instance, name = request["containerInstances"][0], request["taskDefinition"].partition(":")[0]
        task = instance.replace(":container-instance/", ":task/") + f"{len(self.tasks):02d}"
        self.tasks.append({"arn": task, "instance": instance, "name": name, "placed": time.monotonic(), "created": time.time(),
                           "stopped": float("inf")})
        return {"failures": [], "tasks": [{"taskArn": task}]}

    def DeleteAttributes(self, request):
        for attribute in request["attributes"]:
            del self.account.registered[attribute["targetId"]]["attributes"][attribute["name"]]
        return {"attributes": request["attributes"]}
