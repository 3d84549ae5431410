//! Generates user data that is almost a MIME message, from a grammar of its pieces and mutations of the result.
//!
//! In: a number. Out: always the same message for the same number.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::{Compression, write::GzEncoder};

/// The message with this number.
pub(super) fn message(number: u64) -> Vec<u8> {
    // Another factor than that of the generator, or each message would begin in the middle of the one before.
    let mut random = Random(number.wrapping_mul(0xd134_2543_de82_ef95));
    let text = random.message();
    let text = match random.below(20) {
        0..=13 => text,
        14..=17 => text.replace('\n', "\r\n"),
        18 => text.replace('\n', "\r"),
        _ => text.split_inclusive('\n').map(|line| random.with_other_end(line)).collect(),
    };
    let mut lines: Vec<Vec<u8>> = text.split_inclusive('\n').map(|line| line.as_bytes().to_vec()).collect();
    if random.one_in(2) {
        for _ in 0..=random.below(3) {
            random.mutate(&mut lines);
        }
    }
    lines.concat()
}

/// A generator of random numbers (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).unwrap()
    }

    fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }

    fn pick(&mut self, from: &[&'static str]) -> &'static str {
        from[self.below(from.len())]
    }

    /// `usual`, or one time in `bound` one of the others.
    fn mostly(&mut self, bound: usize, usual: &'static str, others: &[&'static str]) -> &'static str {
        if self.one_in(bound) { self.pick(others) } else { usual }
    }

    fn message(&mut self) -> String {
        let begin =
            self.mostly(8, "", &["From me\n", "\n", " \n", " x: y\n", ": x\n", "\u{feff}", "Received: x\n\ty\n"]);
        let version = self.mostly(
            12,
            "MIME-Version: 1.0\n",
            &[
                "",
                "mime-version:1.0\n",
                "MIME-Version : 1.0\n",
                "From x\nMIME-Version: 1.0\n",
                "MIME-Version: 1.0\nFrom x\n",
            ],
        );
        let (header, rest) = match self.below(12) {
            0 => self.part(),
            1 => (String::new(), self.part().1),
            _ => self.multipart(0),
        };
        let separator = self.mostly(10, "\n", &["", "\n\n", " \n", "x\n"]);
        if self.one_in(2) {
            format!("{begin}{version}{header}{separator}{rest}")
        } else {
            format!("{begin}{header}{version}{separator}{rest}")
        }
    }

    /// The headers of a part and its content.
    fn part(&mut self) -> (String, String) {
        let body = self.body();
        let content_type = match self.below(6) {
            0 => String::new(),
            1 | 2 => self.other_type().to_owned(),
            _ => format!("Content-Type: {}{}\n", body.0, self.parameters()),
        };
        let (encoding, text) = self.encoded(body.1);
        let mut headers = [content_type, encoding, self.disposition().to_owned()];
        let swapped = self.below(3);
        headers.swap(0, swapped);
        (headers.concat(), text)
    }

    fn parameters(&mut self) -> &'static str {
        self.pick(&[
            "",
            "",
            "",
            "; charset=\"us-ascii\"",
            ";\n charset=utf-8",
            " ; name=\"n.txt\"",
            ";",
            "; x=\"a;b\"; y=<z>",
        ])
    }

    /// A type that has nothing to do with the content.
    fn other_type(&mut self) -> &'static str {
        self.pick(&[
            "Content-Type: text/plain\n",
            "Content-Type: TEXT/X-ShellScript\n",
            "Content-Type: text/x-shellscript (a script)\n",
            "Content-Type: text/x-sh\n",
            "Content-Type: text/html; charset=utf-8\n",
            "Content-Type: shellscript\n",
            "Content-Type:\n",
            "Content-Type: text/x-not-multipart\n",
            "Content-Type: application/octet-stream\n",
            "Content-Type: application/json\n",
            "Content-Type: text/x-shellscript-per-instance\n",
            "Content-Type: text/x-ecs-bootstrap\n",
            "Content-Type: message/rfc822\n",
            "Content-Type: message/delivery-status\n",
            "Content-Type: multipart/mixed\n",
            "Content-Type : text/x-shellscript\n",
            "Content-Type: text/cloud-config\nContent-Type: text/html\n",
            "content-type:text/cloud-boothook\nX-Other: y\nFoo: bar\n",
            "Content-Type:\n text/x-shellscript\n",
        ])
    }

    fn disposition(&mut self) -> &'static str {
        self.pick(&[
            "",
            "",
            "",
            "",
            "Content-Disposition: attachment; filename=\"a.sh\"\n",
            "Content-Disposition: attachment;\n\tfilename=b/c.sh\n",
            "Content-Disposition: attachment; filename*=utf-8''%C3%A9a.sh\n",
            "Content-Disposition: attachment; filename*0=a; filename*1=\".sh\"\n",
            "Content-Disposition: attachment; filename*0*=us-ascii'en'%41; filename*1=%42.sh\n",
            "Content-Disposition: attachment; filename*=a; filename*0=b\n",
            "Content-Disposition: filename=x; filename=y\n",
            "Content-Disposition: attachment; filename=\"q\\\"\\\\z.sh\"\n",
            "Content-Disposition: attachment; filename=\"\"\n",
            "Merge-Type: list(append)\n",
            "Launch-Index: 0\n",
        ])
    }

    /// A type and content of that type.
    fn body(&mut self) -> (&'static str, String) {
        let script = "#!/bin/sh\necho ECS_CLUSTER=prod >> /etc/ecs/ecs.config\n";
        let (content_type, text) = match self.below(15) {
            0..=3 => ("text/x-shellscript", script),
            4 => ("text/x-shellscript", "#!/bin/sh\ncat <<END\n--other\n\nFrom me\nx: y\nEND"),
            5 => ("text/cloud-config", "#cloud-config\nruncmd:\n - ls\n"),
            6 => ("text/cloud-config", "runcmd: [ls]\n"),
            7 | 8 => ("text/x-ecs-bootstrap", "cluster = \"prod\"\nverify.deadline = \"1m\"\n"),
            9 => ("text/plain", "#ecs-bootstrap\ncluster = \"prod\"\n"),
            10 => ("text/cloud-boothook", "#cloud-boothook\n#!/bin/sh\nls\n"),
            11 => ("text/x-include-url", "#include\nhttp://127.0.0.1:9/x\n"),
            12 => ("text/jinja2", "## template: jinja\n#cloud-config\n"),
            13 => ("text/cloud-config-archive", "#cloud-config-archive\n- content: x\n"),
            _ => ("text/part-handler", "#part-handler\ndef list_types():\n    return []\n"),
        };
        let begin = self.mostly(12, "", &["\n", "  ", "\u{feff}", "\u{a0}", "text\n", "\u{1c}\n"]);
        let end = self.mostly(12, "", &["\n", "# \u{e9}\n", "# \u{20ac}\u{1f600}\n", "\t", "--\n"]);
        (content_type, format!("{begin}{text}{end}"))
    }

    /// The header of an encoding, and the encoded content.
    fn encoded(&mut self, text: String) -> (String, String) {
        let header = |name: &str| format!("Content-Transfer-Encoding: {name}\n");
        match self.below(16) {
            0..=8 => (String::new(), text),
            9 => (header(self.pick(&["7bit", "8bit", "binary", "8BIT ", "base32"])), text),
            10 => (header(self.pick(&["base64", "quoted-printable"])), text),
            11 | 12 => {
                let name = self.mostly(6, "base64", &["BASE64", "base64 ", "\"base64\"", "base64;", "\tbase64"]);
                (header(name), self.wrapped(STANDARD.encode(text)))
            }
            13 => {
                let name = self.mostly(6, "quoted-printable", &["Quoted-Printable", "quoted-printable\t"]);
                (header(name), quoted_printable(&text))
            }
            14 => {
                let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
                gzip.write_all(text.as_bytes()).unwrap();
                let mut gzip = gzip.finish().unwrap();
                match self.below(8) {
                    0 => gzip.truncate(20),
                    1 => gzip.extend([0, 0, 0]),
                    2 => gzip.extend(b"x"),
                    _ => {}
                }
                let name = self.pick(&["gzip", "x-gzip", "x-compress"]);
                let text = self.wrapped(STANDARD.encode(gzip));
                (format!("Content-Type: application/{name}\n{}", header("base64")), text)
            }
            // Latin-1 in base64.
            _ => (header("base64"), self.wrapped(STANDARD.encode(text.chars().map(|c| c as u8).collect::<Vec<_>>()))),
        }
    }

    /// base64 in lines.
    fn wrapped(&mut self, encoded: String) -> String {
        let length = [76, 20, 4, 1000][self.below(4)];
        let lines: String =
            encoded.as_bytes().chunks(length).map(|line| format!("{}\n", std::str::from_utf8(line).unwrap())).collect();
        match self.below(12) {
            0 => lines.trim_end_matches(['=', '\n']).to_owned(),
            1 => lines.replace('\n', " \n"),
            2 => format!("{lines}YQ==\n"),
            3 => format!("{lines}-\n"),
            _ => lines,
        }
    }

    /// The headers of a multipart message and its content.
    fn multipart(&mut self, depth: usize) -> (String, String) {
        let boundary = self.pick(&["b", "==B==", "//", "in", "=_x y", "b--", ""]);
        let subtype = self.mostly(8, "mixed", &["digest", "alternative", "MIXED"]);
        let parameter = match self.below(18) {
            0 => String::new(),
            1 => "; boundary=other".to_owned(),
            2 => format!("; boundary={boundary}"),
            3 => format!(";\n\tBoundary = \"{boundary}\" ; charset=x"),
            4 => format!("; boundary*=utf-8''{}", boundary.replace(' ', "%20")),
            5 => format!("; boundary*1=\"{boundary}\"; boundary*0=\"\""),
            6 => format!("; boundary=\"{boundary}"),
            7 => format!("; boundary=\"<{boundary}>\""),
            8 => format!("; boundary=\"{boundary} \"; boundary=c"),
            _ => format!("; boundary=\"{boundary}\""),
        };
        let header = format!("Content-Type: multipart/{subtype}{parameter}\n");
        let mut text = self.mostly(6, "", &["This is a message.\n", "#!/bin/sh\nls\n", "\n", "--\n"]).to_owned();
        for _ in 0..self.below(5) {
            for _ in 0..=usize::from(self.one_in(20)) {
                let blanks = self.mostly(6, "", &[" ", "\t", " \t ", "-", "x"]);
                text += &format!("--{boundary}{blanks}\n");
            }
            let (header, body) = match self.below(10) {
                0 if depth < 3 => self.multipart(depth + 1),
                1 if depth < 3 => {
                    let inner = if self.one_in(2) { self.multipart(depth + 1) } else { self.part() };
                    ("Content-Type: message/rfc822\n".to_owned(), format!("{}\n{}", inner.0, inner.1))
                }
                _ => self.part(),
            };
            let separator = self.mostly(8, "\n", &["", "", "\n\n", " \n"]);
            let end = if body.ends_with('\n') { "" } else { "\n" };
            text += &format!("{header}{separator}{body}{end}");
        }
        let blanks = self.mostly(8, "\n", &["", " \n", "\t \n"]);
        let end = self.mostly(4, "close", &["", "", "text", "blank"]);
        text += &match end {
            "close" => format!("--{boundary}--{blanks}"),
            "text" => format!("--{boundary}--\n#!/bin/sh\nls\n"),
            "blank" => format!("--{boundary}--\n\n \n"),
            _ => String::new(),
        };
        (header, text)
    }

    fn with_other_end(&mut self, line: &str) -> String {
        match line.strip_suffix('\n') {
            Some(line) => format!("{line}{}", self.pick(&["\n", "\r\n", "\r"])),
            None => line.to_owned(),
        }
    }

    /// Changes a line or a byte.
    fn mutate(&mut self, lines: &mut Vec<Vec<u8>>) {
        if lines.is_empty() {
            return;
        }
        let at = self.below(lines.len());
        let other = self.below(lines.len());
        match self.below(10) {
            0 => drop(lines.remove(at)),
            1 => lines.insert(other, lines[at].clone()),
            2 => lines.swap(at, other),
            3 => lines.truncate(at + 1),
            4 => lines.insert(at, b"\n".to_vec()),
            5 => {
                let inserted = self.pick(&[
                    "--b\n",
                    "--b--\n",
                    "--==B==\n",
                    "--//--\n",
                    "From x\n",
                    " x\n",
                    ":\n",
                    "x: y\n",
                    "#!\n",
                ]);
                lines.insert(at, inserted.into());
            }
            6 => {
                let line = String::from_utf8_lossy(&lines[at]).into_owned();
                lines[at] = self.with_other_end(&line).into_bytes();
            }
            7 => {
                let length = self.below(lines[at].len() + 1);
                lines[at].truncate(length);
            }
            kind => {
                let place = self.below(lines[at].len() + 1);
                let byte =
                    self.pick(&["=", "\"", ";", ":", " ", "-", "\r", "\n", "\0", "\u{e9}", "/", "\u{2028}", "'"]);
                let bytes = if kind == 8 && self.one_in(8) { b"\xff" } else { byte.as_bytes() };
                lines[at].splice(place..place, bytes.iter().copied());
            }
        }
    }
}

fn quoted_printable(text: &str) -> String {
    let coded = |byte: u8| match byte {
        b'=' | 0x80.. => format!("={byte:02X}"),
        b'o' => "o=\n".to_owned(),
        _ => char::from(byte).to_string(),
    };
    text.bytes().map(coded).collect()
}
