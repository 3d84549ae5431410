"""The agent's log: its levels, formats and outputs.

From ecs-agent/logger/log.go. Two outputs: stdout, which docker keeps with the log driver of the container, and
ECS_LOGFILE. If the file's level or the format is not one that the logger knows, the logger does not start, and seelog's
own one writes everything to stdout: there is no file then. The level of the file is `off` if ECS_LOG_DRIVER is set, and
ECS_LOGLEVEL is not converted for it, so `crit`, `none` and `INFO` are such unknown levels.
"""

import datetime
import json
import os
import sys
import threading
import time

LEVELS = ("debug", "info", "warn", "error", "critical")
OFF = "off"
# What ECS_LOGLEVEL and ECS_LOGLEVEL_ON_INSTANCE may be, in any case.
NAMES = {"debug": "debug", "info": "info", "warn": "warn", "error": "error", "crit": "critical", "none": OFF}
UNQUOTED = "module"


def quoted(value):
    return json.dumps(str(value), ensure_ascii=False)


class Log:
    def __init__(self, environment):
        level = environment.get("ECS_LOGLEVEL", "")
        self.level = NAMES.get(level.lower(), "info")
        default = OFF if environment.get("ECS_LOG_DRIVER") else level or "info"
        self.file_level = NAMES.get(environment.get("ECS_LOGLEVEL_ON_INSTANCE", "").lower(), default)
        self.format = environment.get("ECS_LOG_OUTPUT_FORMAT") or "logfmt"
        self.path = environment.get("ECS_LOGFILE", "")
        self.is_valid = self.file_level in (*LEVELS, OFF) and self.format in ("logfmt", "json")
        self.lock = threading.RLock()  # the handler of SIGTERM logs too

    def __call__(self, level, message, **fields):
        """Logs a line. `module` is the field of lines without structure: the Go file that logs them."""
        line = self.line(level, message, fields)
        with self.lock:
            if not self.is_valid or self.includes(self.level, level):
                sys.stdout.write(line)
                sys.stdout.flush()
            if self.is_valid and self.path and self.includes(self.file_level, level):
                self.append(line)

    @staticmethod
    def includes(limit, level):
        return limit != OFF and LEVELS.index(level) >= LEVELS.index(limit)

    def append(self, line):
        try:
            os.makedirs(os.path.dirname(self.path), exist_ok=True)
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(line)
        except OSError as problem:
            sys.stderr.write(f"seelog internal error: {problem}\n")

    def line(self, level, message, fields):
        shown = "".join(f" {key}={value if key == UNQUOTED or isinstance(value, int) else quoted(value)}"
                        for key, value in fields.items())
        if not self.is_valid:
            return f"{time.time_ns()} [{level.capitalize()}] logger=structured msg={quoted(message)}{shown}\n"
        moment = f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%dT%H:%M:%SZ}"
        if self.format == "json":
            values = {key: value if isinstance(value, int) else str(value) for key, value in fields.items()}
            return json.dumps({"level": level, "time": moment, "msg": message, **values}, separators=(",", ":")) + "\n"
        return f"level={level} time={moment} msg={quoted(message)}{shown}\n"
