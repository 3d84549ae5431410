"""The agent's configuration: environment, then the JSON file, then user data, then instance metadata.

From agent/config/{config,parse}.go. In: the environment and the metadata service. Out: values by the names of the Go
fields. What the agent does not accept ends it with code 1, with its messages; what it tolerates is a warning.
"""

import ipaddress
import json
import re

import go_errors
from exits import ERROR, Stop

TRUE = ("1", "t", "T", "TRUE", "true", "True")
DRIVERS = ("json-file", "syslog", "journald", "gelf", "fluentd", "awslogs", "splunk", "logentries", "sumologic", "none",
           "awsfirelens")
# The fields that the simulated agent uses, and their types in JSON.
FIELDS = {"Cluster": str, "AWSRegion": str, "APIEndpoint": str, "InstanceAttributes": dict, "ContainerInstanceTags": dict,
          "ReservedMemory": int, "AvailableLoggingDrivers": list}


def load(log, environment, metadata):
    log("info", "Loading configuration")
    problems = []
    found = of_environment(log, environment, problems)
    merge(found, of_file(log, environment, problems))
    merge(found, of_user_data(log, metadata))
    if not found.get("AWSRegion"):
        found["AWSRegion"] = of_metadata(log, metadata)
    for name in ("Cluster", "AWSRegion"):
        found[name] = (found.get(name) or "").strip()
    merge(found, {"AvailableLoggingDrivers": ["json-file", "none"]})
    if not found["AWSRegion"]:
        log("critical", "Configuration key not set, key: AWSRegion", module="config.go")
        problems.append("Missing required fields: AWSRegion")
    elif unknown := [driver for driver in found["AvailableLoggingDrivers"] if driver not in DRIVERS]:
        problems.append("Invalid logging drivers: " + ", ".join(unknown))
    if problems:
        log("critical", f"Error loading config: {several(problems)}", module="agent.go")
        raise Stop(ERROR)
    return found


def several(problems):
    """The text of several errors, which the agent uses for one as well."""
    return "Multiple error:" + "".join(f"\n\t{number}: {problem}" for number, problem in enumerate(problems))


def merge(found, lower):
    """Fills in what has no value yet."""
    for name, value in lower.items():
        if not found.get(name):
            found[name] = value


def of_environment(log, environment, problems):
    own = []
    found = {"Cluster": environment.get("ECS_CLUSTER"), "AWSRegion": environment.get("AWS_DEFAULT_REGION"),
             "APIEndpoint": environment.get("ECS_BACKEND_HOST")}
    for field, name in (("InstanceAttributes", "ECS_INSTANCE_ATTRIBUTES"),
                        ("ContainerInstanceTags", "ECS_CONTAINER_INSTANCE_TAGS")):
        try:
            found[field] = go_errors.parsed(environment.get(name) or "null", dict)
        except ValueError as problem:
            own.append(f"Invalid format for {name}. Expected a json hash: {problem}")
            log("error", own[-1], module="parse.go")
    try:
        check_routes(environment.get("ECS_AWSVPC_ADDITIONAL_LOCAL_ROUTES") or "null")
    except ValueError as problem:
        own.append(str(problem))
        log("error", f"Invalid format for ECS_AWSVPC_ADDITIONAL_LOCAL_ROUTES, expected a json array of CIDRs: {problem}",
            module="parse.go")
    if own:
        problems.append(several(own))
    found["ReservedMemory"] = reserved_memory(log, environment.get("ECS_RESERVED_MEMORY", ""))
    try:
        found["AvailableLoggingDrivers"] = go_errors.parsed(environment.get("ECS_AVAILABLE_LOGGING_DRIVERS") or "null", list)
    except ValueError as problem:
        log("warn", 'Invalid format for "ECS_AVAILABLE_LOGGING_DRIVERS" environment variable; expected a JSON array like '
                    f'["json-file","syslog"]. err {problem}', module="parse.go")
    return found


def check_routes(text):
    for route in go_errors.parsed(text, list) or []:
        try:
            if not re.fullmatch(r"[^/]+/\d+", route):
                raise ValueError
            ipaddress.ip_interface(route)
        except ValueError as problem:
            raise ValueError(f"invalid CIDR address: {route}") from problem


def reserved_memory(log, text):
    if re.fullmatch(r"[0-9]+", text) and int(text) < 65536:
        return int(text)
    if text:
        reason = "value out of range" if re.fullmatch(r"[0-9]+", text) else "invalid syntax"
        log("warn", 'Invalid format for "ECS_RESERVED_MEMORY" environment variable; expected unsigned integer. err '
                    f'strconv.ParseUint: parsing "{text}": {reason}', module="parse.go")
    return 0


def of_file(log, environment, problems):
    path = environment.get("ECS_AGENT_CONFIG_FILE_PATH") or "/etc/ecs_container_agent/config.json"
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read()
    except OSError:
        return {}
    try:
        return fields(text) if text.strip() else {}
    except ValueError as problem:
        log("critical", f"Error reading cfg json data, err {problem}", module="config.go")
        problems.append(str(problem))
        return {}


def fields(text):
    try:
        values = json.loads(text)
    except json.JSONDecodeError as problem:
        raise ValueError(go_errors.of_json(text, problem)) from problem
    if not isinstance(values, dict):
        raise ValueError("json: cannot unmarshal array into Go value of type config.Config")
    for name, wanted in FIELDS.items():
        go_errors.check(values.get(name), wanted, f"Go struct field Config.{name}")
    return {name: values[name] for name in FIELDS if name in values}


def of_user_data(log, metadata):
    try:
        text = metadata.get("user-data")
    except OSError as problem:
        log("warn", f"Unable to fetch user data: operation error ec2imds: GetUserData, {problem}", module="config.go")
        return {}
    if text is None:
        log("warn", "Unable to fetch user data: operation error ec2imds: GetUserData, http response error StatusCode: 404, "
                    "request to EC2 IMDS failed", module="config.go")
        return {}
    try:
        return fields(json.dumps(json.loads(text)["ECSAgentConfiguration"]))
    except (ValueError, TypeError, KeyError):
        log("debug", "Non-json user data, skip merging into agent config", module="config.go")
        return {}


def of_metadata(log, metadata):
    try:
        return json.loads(metadata.get("dynamic/instance-identity/document"))["region"]
    except (OSError, TypeError, ValueError) as problem:
        log("critical", f"Unable to communicate with EC2 Metadata service to infer region: {problem}", module="config.go")
        return ""
