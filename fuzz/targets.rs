//! The fuzz targets, which `tests/it/corpus.rs` also runs on the corpus: one function for each format of untrusted
//! input.
//!
//! In: any bytes. Out: nothing, or a panic if an assertion fails. Each function calls the same public parsers as the
//! product.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use ecs_bootstrap::boundary::aws::complete::is_complete;
use ecs_bootstrap::boundary::aws::{AwsError, AwsErrorKind, is_query_answer, usable_certificates};
use ecs_bootstrap::boundary::disk::Disk;
use ecs_bootstrap::boundary::docker::{Container, Version};
use ecs_bootstrap::boundary::imds::is_role_document;
use ecs_bootstrap::boundary::{agent, dns, kernel, listeners, tls};
use ecs_bootstrap::causes::diagnose;
use ecs_bootstrap::commands::is_handover;
use ecs_bootstrap::ecs_config::issue::{Context, first_crlf, issues};
use ecs_bootstrap::ecs_config::{agent_cluster, edit, effective, read};
use ecs_bootstrap::evidence::files::{CloudInit, ConfigText, UnreadConfig, output_failures};
use ecs_bootstrap::evidence::{Evidence, StageError, agent_log, host, user_data};
use ecs_bootstrap::facts::saved_state::{from_bolt, from_json};
use ecs_bootstrap::facts::{Instance, WriteRecord, since};
use ecs_bootstrap::render::VerdictDocument;
use ecs_bootstrap::report;
use ecs_bootstrap::settings::fragment::Fragment;
use ecs_bootstrap::settings::merge::merge;
use ecs_bootstrap::settings::schema::MAX_DURATION;
use ecs_bootstrap::settings::{self, Rank, TagsSettings};

/// `ecs-agent.log`, `ecs-init.log` and cloud-init's output: each line that is read has a message, and each shown line
/// of the output is short and has no control character.
pub(crate) fn agent_log(bytes: &[u8]) {
    let lines = agent_log::last_attempt(bytes);
    assert!(lines.iter().all(|line| !line.message.is_empty() && line.text().contains(&line.message)));
    assert!(lines.iter().all(|line| line.level.chars().all(|c| !c.is_ascii_uppercase())));
    for shown in output_failures(bytes) {
        assert!(shown.len() < 120 && !shown.contains(char::is_control), "{shown:?}");
    }
    CloudInit::read(Some(bytes), Some(bytes));
}

/// `ecs.config`: a successful edit has the expected value by ecs-init's rules, and the same edit again changes nothing.
pub(crate) fn ecs_config(bytes: &[u8]) {
    let lines = 1 + bytes.iter().filter(|byte| **byte == b'\n').count();
    assert!(issues(bytes, &Context::default()).iter().all(|issue| (1..=lines).contains(&issue.line)));
    assert!(first_crlf(bytes).is_none_or(|line| line <= lines));
    agent_cluster(bytes, bytes, bytes);
    ConfigText::of("/etc/ecs/ecs.config", None, bytes);
    UnreadConfig::of("/etc/ecs.config", bytes);
    let set = BTreeMap::from([("ECS_CLUSTER".to_owned(), Some("prod".to_owned()))]);
    let Ok(edited) = edit(bytes, &set) else { return };
    let after = read(&edited);
    assert_eq!(effective(&after).get("ECS_CLUSTER").map(|line| line.value.as_str()), Some("prod"));
    assert_eq!(edit(&edited, &set).as_ref(), Ok(&edited), "a second edit");
    let unset = BTreeMap::from([("ECS_CLUSTER".to_owned(), None)]);
    if let Ok(removed) = edit(&edited, &unset) {
        assert!(!effective(&read(&removed)).contains_key("ECS_CLUSTER"));
    }
}

/// A file for `check`, with a detected type and as each type: the position of each finding is inside the file, and its
/// message is one line.
pub(crate) fn check(bytes: &[u8]) {
    use ecs_bootstrap::check::{InputType, Options};
    let lines = 1 + bytes.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count();
    let types = [InputType::UserData, InputType::EcsConfig, InputType::Settings, InputType::EcsConfigJson];
    for input_type in types.into_iter().map(Some).chain([None]) {
        for is_rendered in [false, true] {
            let options = Options { input_type, is_rendered };
            // The extension selects the language, and with it the quoting of strings.
            let names: &[&str] = match input_type {
                Some(InputType::UserData) => &["a file", "a.tf", "a.py", "a.ts", "a.go", "a.java", "a.json"],
                _ => &["a file"],
            };
            let checked = names.iter().filter_map(|name| ecs_bootstrap::check::check(name, bytes, options));
            for finding in checked.flat_map(|checked| checked.findings) {
                assert!((1..=lines).contains(&(finding.line as usize)) && finding.column >= 1, "{finding:?}");
                let texts = [Some(finding.message), finding.suggestion];
                assert!(texts.iter().flatten().all(|text| text.len() <= 1024 && !text.contains(char::is_control)));
            }
        }
    }
}

/// User data: its type depends only on its bytes, and its content is not kept.
pub(crate) fn user_data(bytes: &[u8]) {
    let known = user_data::read(Some(bytes));
    assert_eq!(known.part_type == user_data::PartType::Absent, bytes.is_empty());
    assert_eq!(user_data::read(Some(bytes)).part_type, known.part_type);
    assert!(known.mime.iter().all(|fault| fault.text.len() < 120 && fault.text.is_ascii()));
    let _ = settings::user_data::settings_in(bytes);
}

/// An error of an AWS API (HTTP status, code and message, one line each): for each cause that it results in, the
/// evidence has no control character.
pub(crate) fn api_error(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut parts = text.splitn(3, '\n');
    let status = parts.next().and_then(|status| status.trim().parse().ok()).unwrap_or(400);
    let code = parts.next().map(str::to_owned).filter(|code| !code.is_empty());
    let kind = AwsErrorKind::of_answer(code, parts.next().unwrap_or_default().into(), status);
    for operation in ["ecs:DescribeClusters", "ec2:DescribeTags"] {
        let error = AwsError { operation, kind: kind.clone(), elapsed: Duration::ZERO, source: None };
        let evidence = Evidence::of_stage_error(StageError::Aws(error));
        for finding in diagnose(&evidence).found {
            assert!(!finding.seen.iter().any(|line| line.contains(char::is_control)), "{:?}", finding.seen);
        }
    }
}

/// An answer of an AWS service: complete XML is still complete with spaces around it, and is not complete without its
/// last byte.
pub(crate) fn aws_answer(bytes: &[u8]) {
    is_query_answer(bytes);
    let bytes = bytes.trim_ascii();
    if is_complete(bytes) && bytes.starts_with(b"<") {
        assert!(is_complete(&[b"\n ", bytes, b"\n"].concat()));
        assert!(!is_complete(&bytes[..bytes.len() - 1]), "without its last byte");
    }
}

/// The agent's database and its older state file. No value is empty.
pub(crate) fn saved_state(bytes: &[u8]) {
    for saved in [from_bolt(bytes), from_json(bytes)].into_iter().flatten().flatten() {
        let values = [&saved.cluster, &saved.container_instance_arn, &saved.ec2_instance_id, &saved.availability_zone];
        assert!(values.into_iter().flatten().all(|value| !value.is_empty()));
    }
}

/// Settings as TOML, as an environment variable and as a tag: no input causes a panic, and no duration is longer than a
/// day.
pub(crate) fn settings_text(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let pairs = ["RUN__DEADLINE", "VERIFY__WINDOW", "CLUSTER_TAGS", "AGENT__ECS_RESERVED_PORTS"];
    let tags = BTreeMap::from([("p:cluster".to_owned(), text.to_string()), (text.to_string(), "x".to_owned())]);
    let mut read: Vec<_> = pairs
        .iter()
        .map(|name| Fragment::from_environment([(format!("ECS_BOOTSTRAP_{name}").as_str(), text.as_ref())]))
        .collect();
    read.push(Fragment::from_toml(&text, Rank::Config, "a file"));
    read.push(Fragment::from_toml(&text, Rank::UserData, "user data"));
    read.push(Fragment::from_tags(&tags, "p:", TagsSettings::All, Rank::InstanceTag, "IMDS"));
    for read in read {
        let Ok(fragment) = read else { continue };
        let merged = merge(&[fragment]);
        let durations = [&merged.imds_deadline, &merged.tags_wait, &merged.run_deadline, &merged.verify_deadline];
        assert!(durations.iter().all(|duration| duration.value <= MAX_DURATION));
        assert!(merged.verify_window.value <= MAX_DURATION);
    }
}

/// `plan.json`, `status.json`, `written.json` and `signals.json`, which another program may have changed.
pub(crate) fn own_files(bytes: &[u8]) {
    is_handover(bytes);
    report::is_record(bytes);
    let _ =
        serde_json::from_slice::<VerdictDocument>(bytes).map(|document| ecs_bootstrap::render::verdict_text(&document));
    let _ = serde_json::from_slice::<WriteRecord>(bytes).map(|written| written.keys.len());
}

/// `/etc/hosts` and `/etc/resolv.conf`. The number of addresses and of name servers is limited.
pub(crate) fn resolver(bytes: &[u8]) {
    assert!(dns::hosts(bytes, "localhost").len() <= 16);
    if let Ok((config, options)) = dns::resolv_conf(bytes) {
        assert!((1..=8).contains(&config.name_servers().len()) && options.timeout <= Duration::from_secs(30));
    }
}

/// Answers of IMDS, docker and the agent.
pub(crate) fn local_answer(bytes: &[u8]) {
    is_role_document(bytes);
    let now = SystemTime::now();
    if let Ok(instance) = serde_json::from_slice::<Instance>(bytes) {
        instance.age(now);
    }
    since(&String::from_utf8_lossy(bytes), now);
    let _ = Container::of(bytes);
    let _ = serde_json::from_slice::<Version>(bytes);
    let _ = serde_json::from_slice::<agent::AgentMetadata>(bytes);
    let _ = serde_json::from_slice::<Vec<agent::Task>>(bytes);
}

/// The output of journalctl, and `daemon.json`: the lines that are kept have no control character.
pub(crate) fn journal(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let kept = host::journal_of_last_start(&text).into_iter().chain(host::oom_kills(&text));
    for line in kept.chain(host::denials(&text, 0)).chain(host::not_json(bytes)) {
        assert!(!line.contains(char::is_control), "{line:?}");
    }
}

/// A CA bundle, and a single certificate in DER form.
pub(crate) fn certificates(bytes: &[u8]) {
    usable_certificates(bytes);
    if let Some(certificate) = tls::names(bytes) {
        assert!(!(certificate.issuer + &certificate.subject).contains(char::is_control));
    }
}

/// Files of `/proc`, below a root that the fuzzer creates.
pub(crate) fn proc_files(bytes: &[u8]) {
    let folder = std::env::temp_dir().join(format!("ecs-bootstrap-fuzz-{}", std::process::id()));
    for path in ["proc/meminfo", "proc/pressure/memory", "proc/uptime", "proc/net/tcp"] {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().expect("it has a parent")).expect("the folder can be created");
        std::fs::write(path, bytes).expect("the file can be written");
    }
    let disk = Disk::new(folder);
    let _ = (kernel::memory(&disk), kernel::pressure(&disk), kernel::uptime(&disk));
    assert!(listeners::listeners(&disk, ([127, 0, 0, 1], 51678).into()).is_some());
}
