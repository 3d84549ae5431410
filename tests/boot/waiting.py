"""The signal targets: CloudFormation and Auto Scaling, since moto lacks the calls that an instance makes there.

In: the host's `aws/waiting.json`, `{"resources": ["STACK/RESOURCE"], "hooks": ["NAME"], "terminating": ["NAME"], "others": 2}`:
the resources that wait for a signal, the launch and the terminating hooks of the group `fleet`, and the number of its other instances in service. Out:
answers; `api.log` has the requests. A resource or a hook that got its signal no longer waits, until the file is
replaced."""

import json
import os
import urllib.parse


class Waiting:
    """The state of the signal targets of one host."""

    def __init__(self, folder):
        self.path = os.path.join(folder, "aws", "waiting.json")
        self.done, self.seen = set(), None

    def known(self):
        try:
            with open(self.path, encoding="utf-8") as file:
                changed = os.fstat(file.fileno()).st_mtime_ns
                if self.seen != changed:
                    self.done, self.seen = set(), changed
                return json.load(file)
        except FileNotFoundError:
            return {}

    def answer(self, operation, body):
        form = {key: values[0] for key, values in urllib.parse.parse_qs(body.decode()).items()}
        known = self.known()
        if operation == "SignalResource":
            resource = f"{form['StackName']}/{form['LogicalResourceId']}"
            if resource not in known.get("resources", []):
                return self.invalid(f"Stack {form['StackName']} does not exist")
            if resource in self.done:
                return self.invalid(f"Resource {form['LogicalResourceId']} is in CREATE_COMPLETE state and cannot be signaled")
            self.done.add(resource)
            return self.result(operation, "")
        if operation == "DescribeLifecycleHooks":
            named = [(name, "LAUNCHING") for name in known.get("hooks", [])]
            named += [(name, "TERMINATING") for name in known.get("terminating", [])]
            hooks = "".join(
                f"<member><LifecycleHookName>{name}</LifecycleHookName><HeartbeatTimeout>30</HeartbeatTimeout>"
                f"<LifecycleTransition>autoscaling:EC2_INSTANCE_{transition}</LifecycleTransition>"
                "<DefaultResult>ABANDON</DefaultResult></member>" for name, transition in named)
            return self.result(operation, f"<LifecycleHooks>{hooks}</LifecycleHooks>")
        if operation == "DescribeAutoScalingGroups":
            others = "".join(
                f"<member><InstanceId>i-{number:017}</InstanceId><LifecycleState>InService</LifecycleState>"
                "<HealthStatus>Healthy</HealthStatus></member>" for number in range(known.get("others", 0)))
            group = f"<member><Instances>{others}</Instances></member>"
            return self.result(operation, f"<AutoScalingGroups>{group}</AutoScalingGroups>")
        hook, hooks = form.get("LifecycleHookName"), known.get("hooks", []) + known.get("terminating", [])
        if form.get("AutoScalingGroupName") != "fleet" or hook not in hooks or hook in self.done:
            return self.invalid(f"No active Lifecycle Action found with instance ID {form.get('InstanceId')}")
        if operation == "CompleteLifecycleAction":
            self.done.add(hook)
        return self.result(operation, "")

    @staticmethod
    def result(operation, inner):
        text = f"<{operation}Response><{operation}Result>{inner}</{operation}Result></{operation}Response>"
        return 200, [("Content-Type", "text/xml")], text.encode()

    @staticmethod
    def invalid(message):
        text = f"<ErrorResponse><Error><Code>ValidationError</Code><Message>{message}</Message></Error></ErrorResponse>"
        return 400, [("Content-Type", "text/xml")], text.encode()
