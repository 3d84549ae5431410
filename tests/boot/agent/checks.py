#!/usr/bin/env python3
"""Checks the simulated agent against the real one, as far as that is known without it: the database against files that
bbolt wrote, the log and the configuration against what the real agent was seen to do. Prints only what fails."""

import base64
import contextlib
import gzip
import io
import os
import re
import struct
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path[:0] = [os.path.join(HERE, "ecs_agent"), os.path.join(HERE, ".."), HERE]
sys.dont_write_bytecode = True

import bolt  # noqa: E402
import exits  # noqa: E402
import logs  # noqa: E402
import pack  # noqa: E402
import saved_state  # noqa: E402
import session  # noqa: E402
import settings  # noqa: E402
import websocket  # noqa: E402

bolt.fcntl.flock = lambda *_: None  # each test opens its database more than once
SOURCE = os.path.join(HERE, "..", "..", "..", "src", "facts", "saved_state", "mod.rs")


def from_bbolt(name):
    """A database that bbolt 1.3.6 wrote: the product's test has it, packed."""
    with open(SOURCE, encoding="utf-8") as file:
        text = re.search(name + r': &str = "([^"]*)"', file.read())[1]
    return gzip.decompress(base64.b64decode("".join(text.split())))


class Folder(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.folder.name, "agent.db")
        self.lines = []

    def tearDown(self):
        self.folder.cleanup()

    def log(self, level, message, **fields):
        self.lines.append((level, message, fields))

    def content(self):
        with open(self.path, "rb") as file:
            return file.read()

    def replace(self, content):
        with open(self.path, "wb") as file:
            file.write(content)

    def state(self):
        return saved_state.SavedState(self.folder.name, self.log)

    def ends_with(self, code):
        with self.assertRaises(exits.Stop) as stop:
            self.state().load()
        self.assertEqual(stop.exception.code, code)


class Database(Folder):
    def test_a_new_database_has_the_bytes_of_bbolt(self):
        self.state()
        self.assertEqual(self.content(), from_bbolt("FRESH_FROM_BBOLT"))

    def test_a_database_of_bbolt_is_read_and_its_root_page_is_written_alike(self):
        written = from_bbolt("WRITTEN_BY_BBOLT")
        self.replace(written)
        file = bolt.Bolt(self.path)
        buckets = file.buckets()
        self.assertEqual(buckets[b"metadata"][b"cluster-name"], b'"prod"')
        self.assertEqual(len(buckets[b"tasks"]), 3)
        page = bolt.root_page(file.root, buckets)
        at = file.root * bolt.PAGE_SIZE
        self.assertEqual(page, written[at:at + len(page)])

    def test_values_survive_and_the_meta_pages_alternate(self):
        state = self.state()
        state.load()
        for key, value in zip(saved_state.KEYS, ("1.105.1", "us-east-1a", "a&b", "arn", "i-0abc", "7")):
            state.save(key, value)
        self.assertIn(rb'"a\u0026b"', self.content())
        self.assertEqual(list(self.state().load().values()), ["1.105.1", "us-east-1a", "a&b", "arn", "i-0abc", "7"])
        transactions = [struct.unpack_from("<Q", self.content(), number * 4096 + 16 + 48)[0] for number in (0, 1)]
        self.assertEqual((transactions[0] % 2, transactions[1] % 2, abs(transactions[0] - transactions[1])), (0, 1, 1))

    def test_the_state_of_an_old_agent_is_imported_once(self):
        with open(os.path.join(self.folder.name, "ecs_agent_data.json"), "w", encoding="utf-8") as file:
            file.write('{"Data": {"Cluster": "prod", "EC2InstanceID": "i-1"}, "Version": 24}')
        self.assertEqual(self.state().load()["cluster-name"], "prod")
        self.assertIn(b'"prod"', self.content())

    def test_faults_end_the_agent_as_the_real_one(self):
        whole = from_bbolt("WRITTEN_BY_BBOLT")
        self.replace(b"\xff" * 8192 + whole[8192:])
        self.ends_with(exits.ERROR)
        self.assertEqual(self.lines[-1], ("critical", "Error creating data client", {"error": self.lines[-1][2]["error"]}))
        self.replace(whole[:9000])
        with self.assertRaises(exits.Panic) as panic:
            self.state()
        self.assertIn("fatal error: fault", panic.exception.trace())
        self.replace(whole.replace(b'"prod"', b'\x01prod"'))
        self.ends_with(exits.TERMINAL)
        self.assertIn("Error loading previously saved state", self.lines[-2][1])


class LogFile(Folder):
    def outputs(self, **environment):
        """What stdout and the file have after a line of each level."""
        path = os.path.join(self.folder.name, "log", "agent.log")
        stdout = io.StringIO()
        with contextlib.redirect_stdout(stdout):
            log = logs.Log({"ECS_LOGFILE": path, **environment})
            for level in logs.LEVELS:
                log(level, "text", error="a \"b\"", number=5)
        found = ""
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                found = file.read()
            os.remove(path)
        return stdout.getvalue(), found

    def test_levels_and_formats(self):
        stdout, found = self.outputs()
        self.assertEqual((found.count("\n"), stdout), (4, found))
        self.assertRegex(found, r'level=info time=\S+Z msg="text" error="a \\"b\\"" number=5\n')
        self.assertEqual(self.outputs(ECS_LOGLEVEL="warn")[1].count("\n"), 3)
        self.assertRegex(self.outputs(ECS_LOG_OUTPUT_FORMAT="json")[1], r'\{"level":"info","time":"\S+Z","msg":"text","error":"a ')

    def test_there_is_no_file_with_a_driver_or_an_unknown_level_or_format(self):
        for name, value in (("ECS_LOG_DRIVER", "json-file"), ("ECS_LOGLEVEL", "crit"), ("ECS_LOGLEVEL", "none"),
                            ("ECS_LOGLEVEL", "INFO"), ("ECS_LOG_OUTPUT_FORMAT", "xml")):
            self.assertEqual(self.outputs(**{name: value})[1], "", name + value)
        self.assertEqual(self.outputs(ECS_LOG_DRIVER="json-file", ECS_LOGLEVEL_ON_INSTANCE="info")[1].count("\n"), 4)


class NoMetadata:
    @staticmethod
    def get(path):
        return '{"region": "us-east-1"}' if "document" in path else None


class Configuration(Folder):
    def loaded(self, **environment):
        return settings.load(self.log, {"ECS_AGENT_CONFIG_FILE_PATH": self.path, **environment}, NoMetadata)

    def refusal(self, **environment):
        with self.assertRaises(exits.Stop):
            self.loaded(**environment)
        return self.lines[-1][1]

    def test_the_environment_comes_before_the_file(self):
        self.replace(b'{"Cluster": "of-file", "ReservedMemory": 5}')
        found = self.loaded(ECS_CLUSTER=" of-environment ")
        self.assertEqual((found["Cluster"], found["ReservedMemory"], found["AWSRegion"]), ("of-environment", 5, "us-east-1"))

    def test_what_ends_the_agent(self):
        for name, value, text in (("ECS_AVAILABLE_LOGGING_DRIVERS", '["json-file","x"]', "Invalid logging drivers: x"),
                                  ("ECS_AWSVPC_ADDITIONAL_LOCAL_ROUTES", '["10.0.0.0/33"]', "invalid CIDR address: 10.0.0.0/33"),
                                  ("ECS_INSTANCE_ATTRIBUTES", '{"a": 1}', "Invalid format for ECS_INSTANCE_ATTRIBUTES"),
                                  ("ECS_CONTAINER_INSTANCE_TAGS", "{", "unexpected end of JSON input")):
            self.assertIn(text, self.refusal(**{name: value}))
        self.replace(b'{"Cluster": "a",}')
        self.assertIn("invalid character '}' looking for beginning of object key string", self.refusal())

    def test_what_is_tolerated(self):
        found = self.loaded(ECS_RESERVED_MEMORY="+5", ECS_AVAILABLE_LOGGING_DRIVERS="json-file")
        self.assertEqual((found["ReservedMemory"], found["AvailableLoggingDrivers"]), (0, ["json-file", "none"]))
        self.assertEqual([level for level, message, _ in self.lines if "Invalid format" in message], ["warn", "warn"])


class Images(Folder):
    def test_the_bundle_that_the_agent_uses_gets_the_ca(self):
        """Through a link in an upper layer, as in images of Amazon Linux, and with an older file of the same name below."""
        target = "etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem"
        image = pack.Image({"architecture": "amd64", "os": "linux", "rootfs": {"diff_ids": []}, "history": [],
                            "config": {"Entrypoint": ["/agent"]}}, [])
        image.add_layer(pack.packed({"etc/ssl/certs/ca-certificates.crt": b"old", target: b"own\n"}))
        image.add_layer(pack.packed({}, links={"etc/ssl/certs/ca-certificates.crt": "../../../" + target}))
        given, ca, trusting = (os.path.join(self.folder.name, name) for name in ("given", "ca", "trusting"))
        image.write(given)
        with open(ca, "wb") as file:
            file.write(b"ours\n")
        pack.trust(given, ca, trusting)
        changed = pack.Image.read(trusting)
        self.assertEqual(changed.bundle(), ("etc/ssl/certs/ca-certificates.crt", b"own\nours\n"))
        self.assertEqual(len(changed.config["history"]), len(changed.config["rootfs"]["diff_ids"]))

    def test_an_unusable_image_is_refused(self):
        self.replace(b"no archive")
        for image, text in ((lambda: pack.Image.read(self.path), "not a tar archive"),
                            (lambda: pack.Image({"architecture": "s390x", "os": "linux"}, []).check(), "linux/s390x"),
                            (lambda: pack.Image({}, []).bundle(), "no bundle of certificates")):
            with self.assertRaisesRegex(pack.Unusable, text):
                image()


class Frames(unittest.TestCase):
    def test_frames_of_any_size_survive_in_parts(self):
        class Pipe:
            data = b""

            def sendall(self, data):
                self.data += data

            def recv(self, _):
                part, self.data = self.data[:7], self.data[7:]
                return part

        for size in (0, 125, 126, 65536):
            pipe = Pipe()
            websocket.WebSocket(pipe, True).send(websocket.TEXT, b"x" * size)
            self.assertEqual(websocket.WebSocket(pipe, False).receive(), (websocket.TEXT, b"x" * size))

    def test_durations_are_written_as_by_go(self):
        self.assertEqual([session.duration(one) for one in (0.25, 1.5, 63.5, 3600)], ["250ms", "1.5s", "1m3.5s", "1h0m0s"])


if __name__ == "__main__":
    report = io.StringIO()
    if not unittest.main(exit=False, testRunner=unittest.TextTestRunner(report)).result.wasSuccessful():
        sys.exit(report.getvalue())
