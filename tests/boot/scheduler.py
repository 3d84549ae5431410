"""Services, their scheduler and their tasks. moto has services, but no scheduler.

In: the host's `aws/services.json`, by name: `{"mesh": {"daemon": true, "starts_after_s": 2}, "web": {"constraint":
"attribute:NAME == VALUE"}}`. A service without `daemon` wants one ordinary task; without `starts_after_s` its task stays
PENDING. Out: answers of ECS; `api.log` has each task that was placed. As in ECS, a task is placed on a container instance
only while its agent is connected and its attributes match the placement constraint.
"""

import json
import os
import threading
import time

OPERATIONS = ("ListServices", "DescribeServices", "DescribeTaskDefinition", "ListTasks", "DescribeTasks", "PutAttributes")


class Scheduler:
    """The services of one host's cluster."""

    def __init__(self, account):
        self.account, self.tasks, self.lock = account, {}, threading.Lock()

    def services(self):
        try:
            with open(os.path.join(self.account.folder, "aws", "services.json"), encoding="utf-8") as file:
                return json.load(file)
        except FileNotFoundError:
            return {}

    def place(self):
        """Places the tasks that can be placed now."""
        for arn, instance in self.account.registered.items():
            for name, service in self.services().items():
                attribute, _, value = service.get("constraint", "").removeprefix("attribute:").partition(" == ")
                is_match = not attribute or instance["attributes"].get(attribute) == value
                if is_match and self.account.agent_connected(arn) and (arn, name) not in self.tasks:
                    task = arn.replace(":container-instance/", ":task/") + f"{len(self.tasks):02d}"
                    self.tasks[arn, name] = {"arn": task, "placed": time.monotonic()}
                    self.account.note(service="scheduler", operation="placed", status=200, request=name)

    def described(self, name, task):
        starts_after = self.services().get(name, {}).get("starts_after_s")
        runs = starts_after is not None and time.monotonic() >= task["placed"] + starts_after
        return {"taskArn": task["arn"], "group": f"service:{name}", "lastStatus": "RUNNING" if runs else "PENDING",
                "healthStatus": "UNKNOWN", "taskDefinitionArn": f"{name}:1"}

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
        return {"taskArns": [task["arn"] for (arn, _), task in self.tasks.items() if arn == request["containerInstance"]]}

    def DescribeTasks(self, request):
        found = [(name, task) for (_, name), task in self.tasks.items() if task["arn"] in request["tasks"]]
        return {"failures": [], "tasks": [self.described(name, task) for name, task in found]}

    def PutAttributes(self, request):
        for attribute in request["attributes"]:
            self.account.registered[attribute["targetId"]]["attributes"][attribute["name"]] = attribute["value"]
        return {"attributes": request["attributes"]}
