"""The local answers of the agent on port 51678, from ecs-agent/introspection, and the health check of its container."""

import http.client
import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from ecs_client import VERSION, AwsError

PORT = 51678


def serve(log, ecs, cluster, arn):
    """Serves without end. As in the agent, a port in use is an error in the log, and is tried again. The real agent learns of its
    tasks from ACS; this one asks ECS when it is asked."""
    metadata = {"Cluster": cluster, "ContainerInstanceArn": arn, "Version": f"Amazon ECS Agent - v{VERSION} (*00000000)"}
    answers = {"/v1/metadata": lambda: metadata, "/v1/tasks": lambda: {"Tasks": tasks(ecs, cluster, arn)}}
    commands = {"AvailableCommands": ["/v1/metadata", "/v1/tasks", "/license"]}

    class Introspection(BaseHTTPRequestHandler):
        def do_GET(self):
            log("debug", "Handling http request", method=self.command, **{"from": "%s:%s" % self.client_address[:2]})
            text = json.dumps(answers.get(self.path, lambda: commands)()).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(text)

        do_HEAD = do_GET

        def log_message(self, template, *values):
            pass

    while True:
        try:
            ThreadingHTTPServer(("0.0.0.0", PORT), Introspection).serve_forever()
        except OSError as problem:
            log("error", "Error running introspection endpoint", error=f"listen tcp :{PORT}: bind: {problem.strerror}".lower())
            time.sleep(1)


def tasks(ecs, cluster, arn):
    try:
        known = ecs.call("ListTasks", cluster=cluster, containerInstance=arn)["taskArns"]
        described = ecs.call("DescribeTasks", cluster=cluster, tasks=known)["tasks"] if known else []
    except AwsError:
        return []
    return [{"Arn": task["taskArn"], "DesiredStatus": "RUNNING", "KnownStatus": task["lastStatus"],
             "Family": task["taskDefinitionArn"].partition(":")[0], "Version": "1", "Containers": []} for task in described]


def health_check(log):
    """Docker runs this in the container every 30 s. Its error is in the agent's log while the agent does not serve yet."""
    url = f"http://localhost:{PORT}/v1/metadata"
    try:
        connection = http.client.HTTPConnection("localhost", PORT, timeout=5)
        connection.request("HEAD", "/v1/metadata")
        connection.getresponse()
        return 0
    except OSError as problem:
        reason = f'Head "{url}": dial tcp 127.0.0.1:{PORT}: connect: {problem.strerror}'.lower().replace("head", "Head", 1)
        log("error", f"health check [HEAD {url}] failed with error: {reason}", module="healthcheck.go")
        return 1
