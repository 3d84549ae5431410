//! What the files of this host say about its configuration: `ecs.config` and what may be taken for it, and cloud-init's
//! records.
//!
//! Plain data without a byte of a secret or of user data.

use std::time::SystemTime;

use crate::ecs_config::issue::{CLUSTER, ConfigIssue, Context, cluster, first_crlf, issues};
use crate::ecs_config::{effective, read};

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// Whether they were looked at, at all.
    pub is_examined: bool,
    /// Those of both `ecs.config` files that could be read.
    pub configs: Vec<ConfigText>,
    /// The cluster that an agent would join with them; `None` for none, which it takes for `default`.
    pub joined: Option<String>,
    /// The region of the agent's JSON file.
    pub json_region: Option<String>,
    /// Files beside them that name a cluster and that the agent does not read.
    pub strays: Vec<Stray>,
    /// cloud-init's records.
    pub cloud_init: CloudInit,
}

/// One `ecs.config`.
#[derive(Clone, Debug)]
pub struct ConfigText {
    /// Which.
    pub path: &'static str,
    /// When it was last written.
    pub modified: Option<SystemTime>,
    /// The lines with a mistake.
    pub issues: Vec<ConfigIssue>,
    /// The first line with a CR at its end.
    pub crlf: Option<usize>,
    /// The line of `ECS_CLUSTER` that is in force, and its value.
    pub cluster: Option<(usize, String)>,
}

impl ConfigText {
    /// Reads it.
    pub fn of(path: &'static str, modified: Option<SystemTime>, bytes: &[u8]) -> ConfigText {
        let lines = read(bytes);
        let named = effective(&lines).get(CLUSTER).map(|line| (line.line, line.value.trim().to_owned()));
        ConfigText {
            path,
            modified,
            issues: issues(bytes, &Context::default()),
            crlf: first_crlf(bytes),
            cluster: named,
        }
    }
}

/// A file that may have been meant to be `ecs.config`.
#[derive(Clone, Debug)]
pub struct Stray {
    /// Which.
    pub path: String,
    /// The line that names the cluster.
    pub line: usize,
    /// The cluster.
    pub cluster: String,
}

impl Stray {
    /// The file as a stray, where it names a cluster.
    pub fn of(path: &str, bytes: &[u8]) -> Option<Stray> {
        let lines = read(bytes);
        let right = effective(&lines).get(CLUSTER).and_then(|line| Some((line.line, cluster(&line.value)?)));
        let odd = || {
            let exported = issues(bytes, &Context::default()).into_iter().filter(|issue| issue.key == CLUSTER);
            exported.filter_map(|issue| Some((issue.line, issue.cluster?))).next_back()
        };
        let (line, cluster) = right.or_else(odd)?;
        Some(Stray { path: path.to_owned(), line, cluster })
    }
}

/// What cloud-init has written down of itself (cloud-init, "Boot stages" and "Reported status").
#[derive(Clone, Debug, Default)]
pub struct CloudInit {
    /// Where it found the instance's data: `DataSourceEc2Local`, `DataSourceNone`, ...
    pub datasource: Option<String>,
    /// Whether its last stage has ended; `None` where it has left no record.
    pub ended: Option<bool>,
    /// What went wrong.
    pub errors: Vec<ModuleError>,
    /// How many errors and warnings it got over.
    pub recoverable: usize,
    /// What the output of the last run of user data shows of known failures, the last ones.
    pub output: Vec<String>,
    /// What its output of this boot warns of, as far as it concerns user data.
    pub warnings: Vec<String>,
    /// Whether it has made a script of user data.
    pub has_scripts: bool,
    /// Whether the scripts of user data have run on this instance, and are not run again.
    pub ran_scripts: bool,
    /// The hash of the user data that it has taken.
    pub taken: Option<[u8; 32]>,
}

/// A part of cloud-init that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleError {
    /// Its name with hyphens, such as `scripts-user`; empty where the record does not say it.
    pub module: String,
    /// The scripts that failed, as cloud-init names them: `part-001`, `runcmd`.
    pub scripts: Option<String>,
}

/// Modules that do what user data says, and fail where that fails.
const OF_USER_DATA: [&str; 9] = [
    "scripts-user",
    "scripts-per-once",
    "scripts-per-instance",
    "scripts-per-boot",
    "runcmd",
    "bootcmd",
    "write-files",
    "write-files-deferred",
    "consume-data",
];

impl ModuleError {
    /// Whether what failed is what user data says.
    pub fn is_of_user_data(&self) -> bool {
        OF_USER_DATA.contains(&self.module.as_str())
    }

    /// The module and the scripts of an error as cloud-init writes it, `('scripts_user', RuntimeError('Runparts: 1
    /// failures (part-001) in 1 attempted commands'))`. What else it says may be user data, and is not kept.
    fn read(text: &str) -> ModuleError {
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let quoted = text.trim_start_matches(['(', '"']).strip_prefix('\'').and_then(|rest| rest.split_once('\''));
        let module = quoted.map(|(name, _)| name).filter(|name| name.len() <= 40 && name.chars().all(is_name));
        let scripts = text.split_once("failures (").and_then(|(_, rest)| rest.split_once(')')).map(|(names, _)| names);
        let is_list = |names: &&str| names.len() <= 80 && names.chars().all(|c| is_name(c) || c == ',');
        ModuleError {
            module: module.unwrap_or_default().replace('_', "-"),
            scripts: scripts.filter(is_list).map(str::to_owned),
        }
    }
}

impl CloudInit {
    /// From `status.json` and `result.json`, each `None` where it is not there. The latter comes with the end of the
    /// last stage; what it does not say, the former may.
    pub fn read(status: Option<&[u8]>, result: Option<&[u8]>) -> CloudInit {
        let parse = |bytes: Option<&[u8]>| -> serde_json::Value {
            let whole: Option<serde_json::Value> = bytes.and_then(|bytes| serde_json::from_slice(bytes).ok());
            whole.and_then(|mut whole| whole.get_mut("v1").map(serde_json::Value::take)).unwrap_or_default()
        };
        let (of_status, of_result) = (parse(status), parse(result));
        let texts = |value: &serde_json::Value| -> Vec<ModuleError> {
            let texts = value.get("errors").and_then(|errors| errors.as_array()).into_iter().flatten();
            texts.filter_map(|text| text.as_str().map(ModuleError::read)).collect()
        };
        let stages = || of_status.as_object().into_iter().flatten().map(|(_, stage)| stage);
        let mut errors = texts(&of_result);
        errors.extend(stages().flat_map(texts));
        errors.sort_by(|a, b| (&a.module, &a.scripts).cmp(&(&b.module, &b.scripts)));
        errors.dedup();
        let recovered = stages().filter_map(|stage| stage.get("recoverable_errors")?.as_object());
        let count = |levels: &serde_json::Map<String, serde_json::Value>| -> usize {
            let grave = levels.iter().filter(|(level, _)| ["WARNING", "ERROR", "CRITICAL"].contains(&level.as_str()));
            let texts = grave.filter_map(|(_, texts)| texts.as_array()).flatten();
            texts.filter(|text| !text.as_str().is_some_and(is_of_ours)).count()
        };
        let source = |value: &serde_json::Value| Some(value.get("datasource")?.as_str()?.to_owned());
        let named = source(&of_result).or_else(|| source(&of_status)).map(|name| name.chars().take(80).collect());
        CloudInit {
            datasource: named.filter(|name: &String| !name.is_empty()),
            ended: (status.is_some() || result.is_some()).then_some(result.is_some()),
            errors,
            recoverable: recovered.map(count).sum(),
            ..CloudInit::default()
        }
    }
}

/// What programs say of failures that user data meets, as it is shown. The rest of their lines is not ours to tell.
const FAILURES: [&str; 13] = [
    "command not found",
    "bad interpreter",
    "Exec format error",
    "syntax error",
    "unbound variable",
    "Permission denied",
    "Could not resolve",
    "Failed to connect",
    "Connection timed out",
    "Cannot find a valid baseurl",
    "Unable to locate credentials",
    "No space left on device",
    "No such file or directory",
];
/// What cloud-init warns of where it passes over user data, or a part of it.
const WARNINGS: [&str; 4] = [
    "Failed loading yaml blob",
    "Failed at merging in cloud config part",
    "Unhandled non-multipart",
    "Unhandled unknown content-type",
];
/// Whether cloud-init warns of what is not for it: settings of ours, or the agent's JSON, as a whole or as a part.
fn is_of_ours(warning: &str) -> bool {
    let ours = warning.contains("x-ecs-bootstrap") || warning.contains("#ecs-bootstrap");
    warning.contains("Unhandled") && (ours || warning.contains("ECSAgentConfiguration"))
}

/// How many of them are kept.
const SHOWN: usize = 3;

/// The known failures at the end of `cloud-init-output.log`, since its last stage began: script, line and failure, and
/// nothing that stands between them.
pub fn output_failures(tail: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(tail);
    let last = text.rfind("running 'modules:final'").map_or(&text[..], |at| &text[at..]);
    let mut found: Vec<String> = last.lines().filter_map(failure).collect();
    found.dedup();
    found.split_off(found.len().saturating_sub(SHOWN))
}

/// The warnings in `cloud-init-output.log` since its first stage of this boot began, each once and in its fixed words.
pub fn output_warnings(tail: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(tail);
    let first = text.rfind("running 'init-local'").or_else(|| text.rfind("running 'init'"));
    let boot = first.map_or(&text[..], |at| &text[at..]);
    let holds = |known: &&&str| boot.lines().any(|line| line.contains(**known) && !is_of_ours(line));
    WARNINGS.iter().filter(holds).map(|known| format!("`{known}`")).collect()
}

fn failure(line: &str) -> Option<String> {
    let known = FAILURES.iter().find(|known| line.contains(**known))?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let (_, rest) = line.split_once("/scripts/").unwrap_or_default();
    let script: String = rest.chars().take_while(|c| is_name(*c)).take(40).collect();
    let number = rest[script.len()..].strip_prefix(": line ").and_then(|rest| rest.split_once(':'));
    let number = number.and_then(|(number, _)| number.parse::<u32>().ok());
    Some(match (script.is_empty(), number) {
        (false, Some(number)) => format!("{script} line {number}: `{known}`"),
        (false, None) => format!("{script}: `{known}`"),
        (true, _) => format!("`{known}`"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_failed_and_no_more() {
        let result = br#"{"v1": {"datasource": "DataSourceEc2Local", "errors": [
            "('scripts_user', RuntimeError('Runparts: 1 failures (part-001) in 1 attempted commands'))",
            "('package_update_upgrade_install', ProcessExecutionError(\"Command: ['yum', 'hunter2']\"))", "hunter2", 7]}}"#;
        let read = CloudInit::read(None, Some(result));
        let told: Vec<_> = read.errors.iter().map(|e| (e.module.as_str(), e.scripts.as_deref())).collect();
        assert_eq!(told, [("", None), ("package-update-upgrade-install", None), ("scripts-user", Some("part-001"))]);
        assert_eq!((read.ended, read.datasource.as_deref()), (Some(true), Some("DataSourceEc2Local")));
        assert!(!format!("{read:?}").contains("hunter2"));
    }

    #[test]
    fn reads_the_status_while_there_is_no_result() {
        let status =
            br#"{"v1": {"datasource": "DataSourceNone", "stage": "modules-final", "init": {"errors": ["('ssh', X())"],
            "recoverable_errors": {"WARNING": ["a", "b", "Unhandled non-multipart (text/x-not-multipart) userdata: 'b'#ecs-bootstrap...'"], "DEPRECATED": ["c"]}}}}"#;
        let read = CloudInit::read(Some(status), None);
        assert_eq!((read.ended, read.recoverable, read.errors.len()), (Some(false), 2, 1));
        assert_eq!(read.datasource.as_deref(), Some("DataSourceNone"));
        assert_eq!(CloudInit::read(None, None).ended, None);
        assert_eq!(CloudInit::read(Some(b"{"), None).ended, Some(false));
    }

    #[test]
    fn shows_the_failure_and_not_the_line() {
        let log = concat!(
            "/var/lib/cloud/instance/scripts/part-001: line 1: old: command not found\n",
            "Cloud-init v. 22.2.2 running 'modules:final' at Thu, 01 Jan 2026. Up 20 s\n",
            "token=hunter2\n",
            "/var/lib/cloud/instance/scripts/part-001: line 3: hunter2: command not found\n",
            "/var/lib/cloud/instance/scripts/part-002: /bin/bash\r: bad interpreter: No such file or directory\n",
            "curl: (6) Could not resolve host: hunter2\n",
        );
        let shown = ["part-001 line 3: `command not found`", "part-002: `bad interpreter`", "`Could not resolve`"];
        assert_eq!(output_failures(log.as_bytes()), shown);
        let log = concat!(
            "2026 - util.py[WARNING]: Unhandled unknown content-type (text/hunter2)\n",
            "Cloud-init v. 22.2.2 running 'init-local' at Thu, 01 Jan 2026. Up 5 s\n",
            "2026-01-01 - util.py[WARNING]: Failed loading yaml blob. Invalid format at line 2: \"hunter2\"\n",
        );
        assert_eq!(output_warnings(log.as_bytes()), ["`Failed loading yaml blob`"]);
    }

    #[test]
    fn a_file_with_an_exported_cluster_is_a_stray_too() {
        let named = |text: &str| Stray::of("/etc/ecs.config", text.as_bytes()).map(|s| (s.line, s.cluster));
        assert_eq!(named("A=1\nECS_CLUSTER=\"prod\"\n"), Some((2, "prod".to_owned())));
        assert_eq!(named("export ECS_CLUSTER=prod\n"), Some((1, "prod".to_owned())));
        assert_eq!(named("# ECS_CLUSTER=prod\nECS_CLUSTER=\n"), None);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_can_break_it(bytes: Vec<u8>, text in "(\\('|'|_user|failures \\(|\\)|,|/scripts/|: line |7|:|command not found|é|\n){0,30}") {
            for bytes in [&bytes[..], text.as_bytes()] {
                output_failures(bytes);
                output_warnings(bytes);
                CloudInit::read(Some(bytes), Some(bytes));
                ConfigText::of("", None, bytes);
                Stray::of("", bytes);
            }
            ModuleError::read(&text);
        }
    }
}
