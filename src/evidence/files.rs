//! Parses the files that configure the agent (`ecs.config` and files that may have been meant to be it) and
//! cloud-init's records.
//!
//! In: bytes of the files. Out: plain data without a byte of a secret or of user data.

use std::time::SystemTime;

use crate::ecs_config::issue::{CLUSTER_KEY, ConfigIssue, Context, cluster, first_crlf, issues};
use crate::ecs_config::{effective, read};

/// What was found in the files.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// Whether the files have been read.
    pub is_examined: bool,
    /// The `ecs.config` files that could be read.
    pub configs: Vec<ConfigText>,
    /// The cluster that an agent would join with these files; `None` if they name none. The agent then joins `default`.
    pub configured_cluster: Option<String>,
    /// The region in the agent's JSON file.
    pub json_region: Option<String>,
    /// Why the agent cannot read its JSON file, without a byte of the file.
    pub json_fault: Option<String>,
    /// The path in DOCKER_HOST, if there is nothing at it.
    pub missing_docker_socket: Option<String>,
    /// Files that name a cluster but that the agent does not read.
    pub unread_configs: Vec<UnreadConfig>,
    /// cloud-init's records.
    pub cloud_init: CloudInit,
}

/// One `ecs.config`.
#[derive(Clone, Debug)]
pub struct ConfigText {
    pub(crate) path: &'static str,
    pub(crate) modified: Option<SystemTime>,
    /// The lines with a mistake.
    pub issues: Vec<ConfigIssue>,
    /// The number of the first line that ends in CR LF.
    pub crlf: Option<usize>,
    /// The line number and value of the `ECS_CLUSTER` line that takes effect.
    pub cluster: Option<(usize, String)>,
}

impl ConfigText {
    /// Parses the content of an `ecs.config`.
    pub fn of(path: &'static str, modified: Option<SystemTime>, bytes: &[u8]) -> ConfigText {
        let lines = read(bytes);
        let cluster = effective(&lines).get(CLUSTER_KEY).map(|line| (line.line, line.value.trim().to_owned()));
        ConfigText { path, modified, issues: issues(bytes, &Context::default()), crlf: first_crlf(bytes), cluster }
    }
}

/// A file that may have been meant to be `ecs.config`.
#[derive(Clone, Debug)]
pub struct UnreadConfig {
    pub(crate) path: String,
    /// The number of the line that names the cluster.
    pub line: usize,
    pub(crate) cluster: String,
}

impl UnreadConfig {
    /// The file as a stray, if it names a cluster, correctly or with a mistake such as `export`.
    pub fn of(path: &str, bytes: &[u8]) -> Option<UnreadConfig> {
        let lines = read(bytes);
        let correct = effective(&lines).get(CLUSTER_KEY).and_then(|line| Some((line.line, cluster(&line.value)?)));
        let with_mistake = || {
            let found = issues(bytes, &Context::default()).into_iter().filter(|issue| issue.key == CLUSTER_KEY);
            found.filter_map(|issue| Some((issue.line, issue.cluster?))).next_back()
        };
        let (line, cluster) = correct.or_else(with_mistake)?;
        Some(UnreadConfig { path: path.to_owned(), line, cluster })
    }
}

/// What cloud-init recorded about its own run (cloud-init, "Boot stages" and "Reported status").
#[derive(Clone, Debug, Default)]
pub struct CloudInit {
    /// The data source that it used: `DataSourceEc2Local`, `DataSourceNone`, ...
    pub datasource: Option<String>,
    /// Whether its last stage has ended; `None` if there is no record.
    pub ended: Option<bool>,
    /// The failed modules.
    pub errors: Vec<ModuleError>,
    /// The number of errors and warnings that cloud-init classifies as recoverable.
    pub recoverable: usize,
    /// The last known errors in the output of the last run of user data.
    pub output: Vec<String>,
    /// The warnings of this boot that concern user data.
    pub warnings: Vec<String>,
    /// Whether cloud-init extracted a script from user data.
    pub has_scripts: bool,
    /// Whether the scripts of user data have already run on this instance. cloud-init runs them once only.
    pub ran_scripts: bool,
    /// The hash of the user data that cloud-init used.
    pub user_data_hash: Option<[u8; 32]>,
}

/// A failed module of cloud-init.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleError {
    /// The module's name with hyphens, such as `scripts-user`; empty if the record does not contain it.
    pub module: String,
    /// The failed scripts, by cloud-init's names: `part-001`, `runcmd`.
    pub scripts: Option<String>,
}

/// Modules that execute user data. Their failure is a failure of user data.
const USER_DATA_MODULES: [&str; 9] = [
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
    /// Whether the failed module executes user data.
    pub fn runs_user_data(&self) -> bool {
        USER_DATA_MODULES.contains(&self.module.as_str())
    }

    /// Extracts module and scripts from an error as cloud-init writes it: `('scripts_user', RuntimeError('Runparts: 1
    /// failures (part-001) in 1 attempted commands'))`. The rest of the text can be user data and is dropped.
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
    /// Reads `status.json` and `result.json`; each is `None` if the file does not exist. cloud-init writes
    /// `result.json` at the end of its last stage. Until then, and for values that it does not contain, `status.json`
    /// is used.
    pub fn read(status: Option<&[u8]>, result: Option<&[u8]>) -> CloudInit {
        let parse = |bytes: Option<&[u8]>| -> serde_json::Value {
            // An invalid record is treated as one without content: the file itself shows how far cloud-init got.
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
            texts.filter(|text| !text.as_str().is_some_and(is_expected)).count()
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

/// Error messages of programs that user data runs. Only these words are shown: the rest of the line can be a secret.
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
/// cloud-init's warnings about user data, or a part of it, that it ignores.
const WARNINGS: [&str; 4] = [
    "Failed loading yaml blob",
    "Failed at merging in cloud config part",
    "Unhandled non-multipart",
    "Unhandled unknown content-type",
];
/// Whether a warning of cloud-init is expected, because the ignored part is for another program: settings of
/// ecs-bootstrap, or the agent's JSON.
fn is_expected(warning: &str) -> bool {
    let is_settings = warning.contains("x-ecs-bootstrap") || warning.contains("#ecs-bootstrap");
    warning.contains("Unhandled") && (is_settings || warning.contains("ECSAgentConfiguration"))
}

/// The number of failures that are kept.
const MAX_FAILURES: usize = 3;

/// The last known failures in `cloud-init-output.log` since its last stage began: script, line number and message,
/// without the text between them.
pub fn output_failures(tail: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(tail);
    let last = text.rfind("running 'modules:final'").map_or(&text[..], |at| &text[at..]);
    let mut found: Vec<String> = last.lines().filter_map(failure).collect();
    found.dedup();
    found.split_off(found.len().saturating_sub(MAX_FAILURES))
}

/// The known warnings in `cloud-init-output.log` since the first stage of this boot began, each once and without
/// details.
pub fn output_warnings(tail: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(tail);
    let first = text.rfind("running 'init-local'").or_else(|| text.rfind("running 'init'"));
    let boot = first.map_or(&text[..], |at| &text[at..]);
    let holds = |known: &&&str| boot.lines().any(|line| line.contains(**known) && !is_expected(line));
    WARNINGS.iter().filter(holds).map(|known| format!("`{known}`")).collect()
}

/// Script, line number and message of a line with a known failure.
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
    fn reads_only_modules_and_scripts_of_errors() {
        let result = br#"{"v1": {"datasource": "DataSourceEc2Local", "errors": [
            "('scripts_user', RuntimeError('Runparts: 1 failures (part-001) in 1 attempted commands'))",
            "('package_update_upgrade_install', ProcessExecutionError(\"Command: ['yum', 'hunter2']\"))",
            "hunter2", 7]}}"#;
        let read = CloudInit::read(None, Some(result));
        let errors: Vec<_> = read.errors.iter().map(|e| (e.module.as_str(), e.scripts.as_deref())).collect();
        assert_eq!(errors, [("", None), ("package-update-upgrade-install", None), ("scripts-user", Some("part-001"))]);
        assert_eq!((read.ended, read.datasource.as_deref()), (Some(true), Some("DataSourceEc2Local")));
        assert!(!format!("{read:?}").contains("hunter2"));
    }

    #[test]
    fn reads_the_status_while_there_is_no_result() {
        let status =
            br#"{"v1": {"datasource": "DataSourceNone", "stage": "modules-final", "init": {"errors": ["('ssh', X())"],
            "recoverable_errors": {"WARNING": ["a", "b",
                "Unhandled non-multipart (text/x-not-multipart) userdata: 'b'#ecs-bootstrap...'"],
                "DEPRECATED": ["c"]}}}}"#;
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
        let named = |text: &str| UnreadConfig::of("/etc/ecs.config", text.as_bytes()).map(|s| (s.line, s.cluster));
        assert_eq!(named("A=1\nECS_CLUSTER=\"prod\"\n"), Some((2, "prod".to_owned())));
        assert_eq!(named("export ECS_CLUSTER=prod\n"), Some((1, "prod".to_owned())));
        assert_eq!(named("# ECS_CLUSTER=prod\nECS_CLUSTER=\n"), None);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_can_break_it(
            bytes: Vec<u8>,
            text in "(\\('|'|_user|failures \\(|\\)|,|/scripts/|: line |7|:|command not found|é|\n){0,30}",
        ) {
            for bytes in [&bytes[..], text.as_bytes()] {
                output_failures(bytes);
                output_warnings(bytes);
                CloudInit::read(Some(bytes), Some(bytes));
                ConfigText::of("", None, bytes);
                UnreadConfig::of("", bytes);
            }
            ModuleError::read(&text);
        }
    }
}
