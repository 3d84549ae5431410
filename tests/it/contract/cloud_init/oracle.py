"""Reads user data with cloud-init's own code, for a comparison with `src/mime`.

In: one JSON object in each line of stdin, `{"message": BASE64}`. Out: one JSON object in each line of stdout:

- `error`: the exception with which cloud-init gives up all user data, or null.
- `parts`: the parts that `UserDataProcessor` hands to handlers, in their order. Each has its `type`, its `name` and its
  `payload` in base64. Messages inside of messages have no payload of their own and are left out.
- `losses`: what cloud-init loses of the message or cannot run. Each begins with one word for the kind.

It opens no socket, imports no part handler and runs no script: addresses in `#include` parts are not fetched.
"""

import base64
import itertools
import json
import logging
import os
import re
import shutil
import sys
import tempfile
from email import errors
from email._policybase import Compat32
from email.feedparser import FeedParser
from email.mime.multipart import MIMEMultipart

from cloudinit import handlers, helpers, user_data, util
from cloudinit.handlers.shell_script import ShellScriptPartHandler
from cloudinit.handlers.shell_script_by_frequency import ShellScriptByFreqPartHandler
from cloudinit.settings import FREQUENCIES, PER_INSTANCE

OURS = "text/x-ecs-bootstrap"
SCRIPTS = "text/x-shellscript"
# Types of parts that `UserDataProcessor` unpacks itself.
KEPT = ["text/x-include-url", "text/cloud-config-archive"]
UNTYPED = ["text/plain", "text/x-not-multipart"]
# Names of headers that are not text of a part that was taken for a header.
MAIL_HEADER = re.compile(
    r"content-.*|x-.*|mime-version|merge-type|launch-index|number-attachments|subject|from|to|cc|date|message-id|filename",
    re.IGNORECASE,
)


class Stub(handlers.Handler):
    """Takes the place of a handler that would run or interpret the part. Like them all, it needs text or bytes in UTF-8."""

    def __init__(self, types):
        super().__init__("always")
        self.types = types

    def list_types(self):
        return self.types

    def handle_part(self, _data, _type, _name, payload, _frequency):
        util.encode_text(payload)


class Processor(user_data.UserDataProcessor):
    """Keeps includes and archives as parts instead of fetching or unpacking them."""

    def _do_include(self, content, append_msg):
        append_msg.attach(kept("text/x-include-url", content))

    def _explode_archive(self, archive, append_msg):
        append_msg.attach(kept("text/cloud-config-archive", archive))


def kept(content_type, content):
    part = user_data.convert_string(b"")
    part.replace_header("Content-Type", content_type)
    part.kept_payload = content
    return part


def payload_of(part):
    """The payload as the handler gets it, in bytes."""
    payload = part.kept_payload if hasattr(part, "kept_payload") else util.fully_decoded_payload(part)
    return payload.encode("utf-8", "surrogateescape") if isinstance(payload, str) else payload


def type_of(part):
    content_type = part.get_content_type()
    return "text/x-include-url" if content_type == "text/x-include-once-url" else content_type


class Warnings(logging.Handler):
    def __init__(self):
        super().__init__(logging.WARNING)
        self.texts = []

    def emit(self, record):
        self.texts.append(record.getMessage())


class Oracle:
    def __init__(self, folder):
        self.folder = folder
        self.paths = helpers.Paths({"cloud_dir": folder, "run_dir": folder})
        self.processor = Processor(self.paths)
        self.warnings = Warnings()
        logging.getLogger("cloudinit").addHandler(self.warnings)

    def read(self, document):
        try:
            structure = list(structural_losses(document)) if b"mime-version:" in document[:4096].lower() else []
            processed = self.processor.process(document)
            parts = [part for part in processed.get_payload() if payload_of(part) is not None]
            losses = structure + self.handle(processed, parts)
        except Exception as error:
            kind = type(error).__name__
            return {"error": kind, "parts": [], "losses": [f"error {kind}"]}
        listed = [
            {
                "type": type_of(part),
                "name": part.get_filename(),
                "payload": base64.b64encode(payload_of(part)).decode(),
            }
            for part in parts
        ]
        return {"error": None, "parts": listed, "losses": losses}

    def handle(self, processed, parts):
        """Hands the parts to handlers as cloud-init does, and returns what was lost."""
        root = os.path.join(self.folder, "scripts")
        shutil.rmtree(root, ignore_errors=True)
        own = ShellScriptPartHandler(self.paths)
        own.script_dir = os.path.join(root, "user")
        folders = {SCRIPTS: own.script_dir}
        folders |= {f"{SCRIPTS}-{name}": os.path.join(root, name) for name in ("per-boot", "per-instance", "per-once")}
        stubs = ["text/cloud-config", "text/cloud-config-jsonp", "text/cloud-boothook", "text/jinja2"]
        registered = helpers.ContentHandlers()
        for handler in [own, Stub(stubs), *(ShellScriptByFreqPartHandler(each, self.paths) for each in FREQUENCIES)]:
            registered.register(handler, initialized=True)
        self.warnings.texts.clear()
        data = {"handlers": registered, "data": None, "frequency": PER_INSTANCE, "excluded": []}

        def callback(data, name, payload, headers):
            kind = headers["Content-Type"]
            # A message in a message has no payload, and what is in it is handled by itself. ecs-bootstrap reads its
            # settings from the message.
            if payload is None or not payload.strip() or kind == OURS or (kind in UNTYPED and is_ours(payload)):
                return
            if kind == "text/part-handler":
                # cloud-init imports it after it wrote it.
                kind, headers = "text/cloud-config", {"Content-Type": "text/cloud-config"}
            handlers.walker_callback(data, name, payload, headers)

        # Parts of a message in a message are walked twice.
        handlers.walk(processed, lambda *_: None, data)
        flat = MIMEMultipart()
        for part in parts:
            if type_of(part) not in KEPT:
                flat.attach(part)
        handlers.walk(flat, callback, data)
        texts = self.warnings.texts
        if any(type_of(part) == "text/part-handler" for part in parts):
            texts = [text for text in texts if "Unhandled" not in text]
        losses = [("unhandled " if "Unhandled" in text else "failed ") + text[:60] for text in texts]
        is_written = not any(loss.startswith("failed") for loss in losses)
        for part in parts:
            kind, payload = type_of(part), payload_of(part)
            if kind == "text/cloud-config-archive" and not is_utf8(payload):
                losses.append("archive not UTF-8")
            if kind in folders and payload.strip():
                if not payload.startswith((b"#!", b"\x7fELF")):
                    losses.append(f"exec {kind}")
                elif is_written and not is_stored(os.path.join(folders[kind], file_name(part)), payload):
                    losses.append("overwritten")
        return losses


def file_name(part):
    return util.clean_filename(os.path.basename(part.get_filename()) if "-per-" in type_of(part) else part.get_filename())


def is_stored(path, payload):
    """Whether the script is in its file after all parts were handled."""
    with open(path, encoding="utf-8", newline="") as file:
        return file.read() == util.dos2unix(payload.decode())


def is_utf8(payload):
    try:
        return payload.decode() is not None
    except UnicodeDecodeError:
        return False


def is_ours(payload):
    text = payload if isinstance(payload, str) else payload.decode(errors="replace")
    # The escape sequence is what cloud-init makes of a byte order mark.
    return text.removeprefix("\ufeff").removeprefix("\\ufeff").split("\n", 1)[0].rstrip().lower() == "#ecs-bootstrap"


def has_marker(text):
    """Whether a line begins like user data."""
    return any(line.startswith(("#!", "#cloud-", "#include", "#ecs-bootstrap")) for line in re.split(r"[\r\n]", text))


def structural_losses(document):
    """What Python's parser leaves out of all parts."""
    dropped = {}

    class Policy(Compat32):
        """Keeps the text that the parser drops, after a closing boundary that comes before all others."""

        def handle_defect(self, obj, defect):
            super().handle_defect(obj, defect)
            if isinstance(defect, errors.StartBoundaryNotFoundDefect):
                source = parser._input
                lines = [*source._lines, source._partial.getvalue()]
                ends = source._eofstack
                dropped[id(obj)] = "".join(itertools.takewhile(lambda line: not any(end(line) for end in ends), lines))

    parser = FeedParser(policy=Policy())
    parser.feed(document.decode())
    for part in parser.close().walk():
        payload = None if part.is_multipart() else part.get_payload()
        if part.get_content_maintype() != "multipart":
            yield from payload_losses(part, payload) if payload is not None else ()
        elif payload is not None and (payload + dropped.get(id(part), "")).strip():
            yield "no boundary" if part.get_boundary() is None else "no part"
        elif payload is None and (part.epilogue or "").strip():
            yield "epilogue"
        elif payload is None and has_marker(part.preamble or ""):
            yield "preamble"


def payload_losses(part, payload):
    names = {type(defect).__name__ for defect in part.defects}
    if "MissingHeaderBodySeparatorDefect" in names or not payload.strip():
        if not all(MAIL_HEADER.fullmatch(name) for name in part.keys()):
            yield "text in headers"
    encoding = str(part.get("content-transfer-encoding", "")).lower()
    if encoding.strip(" \t;\"'") in ("base64", "quoted-printable") and encoding not in ("base64", "quoted-printable"):
        if payload.strip():
            yield "encoding not decoded"
    if encoding == "base64":
        decoded = part.get_payload(decode=True)
        symbols = len(re.findall(r"[A-Za-z0-9+/]", payload))
        if not re.fullmatch(r"[A-Za-z0-9+/=\s]*", payload, re.ASCII) or len(decoded) != symbols * 3 // 4 or symbols % 4 == 1:
            yield "base64 broken"


def main():
    folder = tempfile.mkdtemp()
    try:
        oracle = Oracle(folder)
        for line in sys.stdin:
            print(json.dumps(oracle.read(base64.b64decode(json.loads(line)["message"]))), flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
