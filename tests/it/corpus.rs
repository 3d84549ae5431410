//! Replays the fuzzer's seeds (`fuzz/corpus`) on stable, through the same functions.
//!
//! In: the files of each target. Out: a failure that names the file whose bytes break a promise of `fuzz/targets.rs`.

use std::path::Path;

#[path = "../../fuzz/targets.rs"]
mod targets;

/// Of each seed; a multiple of this is a night's work of the fuzzer.
const MUTATIONS: u64 = 40;

/// The seed itself for 0, else the same bytes with some changed, lost, doubled or cut off: always the same for a number.
fn mutated(seed: &[u8], number: u64) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ seed.len() as u64;
    let mut next = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below.max(1) as u64) as usize
    };
    for _ in 0..number.min(4) {
        let (at, to) = (next(bytes.len()), next(bytes.len() + 1));
        let (at, to) = (at.min(to), at.max(to).min(at.min(to) + 64));
        match next(5) {
            0 if at < bytes.len() => bytes[at] = next(256) as u8,
            1 => drop(bytes.drain(at..to)),
            2 => bytes.splice(at..at, bytes[at..to].to_vec()).for_each(drop),
            3 => bytes.truncate(at),
            _ => bytes.insert(at, b"<>[]{}=\"'\n\0\xff9"[next(13)]),
        }
    }
    bytes
}

fn replay(name: &str, target: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut seeds = 0;
    for entry in folder.read_dir().expect("the corpus is there") {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        for mutation in 0..=MUTATIONS {
            let bytes = mutated(&bytes, mutation);
            let outcome = std::panic::catch_unwind(|| target(&bytes));
            assert!(outcome.is_ok(), "{}, mutation {mutation}: {:?}", path.display(), String::from_utf8_lossy(&bytes));
        }
        seeds += 1;
    }
    assert!(seeds >= 10, "{seeds} seeds in {}", folder.display());
}

#[test]
fn no_log_breaks_a_promise() {
    replay("agent_log", targets::agent_log);
}

#[test]
fn no_checked_file_breaks_a_promise() {
    replay("check", targets::check);
}

#[test]
fn no_ecs_config_breaks_a_promise() {
    replay("ecs_config", targets::ecs_config);
}

#[test]
fn no_user_data_breaks_a_promise() {
    replay("user_data", targets::user_data);
}

#[test]
fn no_api_error_breaks_a_promise() {
    replay("api_error", targets::api_error);
}

#[test]
fn no_answer_of_aws_breaks_a_promise() {
    replay("aws_answer", targets::aws_answer);
}

#[test]
fn no_saved_state_breaks_a_promise() {
    replay("saved_state", targets::saved_state);
}

#[test]
fn no_settings_breaks_a_promise() {
    replay("settings_text", targets::settings_text);
}

#[test]
fn no_file_of_our_own_breaks_a_promise() {
    replay("own_files", targets::own_files);
}

#[test]
fn no_hosts_or_resolv_conf_breaks_a_promise() {
    replay("resolver", targets::resolver);
}

#[test]
fn no_local_answer_breaks_a_promise() {
    replay("local_answer", targets::local_answer);
}

#[test]
fn no_journal_breaks_a_promise() {
    replay("journal", targets::journal);
}

#[test]
fn no_certificate_breaks_a_promise() {
    replay("certificates", targets::certificates);
}

#[test]
fn no_file_of_proc_breaks_a_promise() {
    replay("proc_files", targets::proc_files);
}

#[test]
fn every_target_has_a_corpus_and_every_corpus_a_target() {
    let names = |folder: &str| {
        let entries = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(folder).read_dir().unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().path().file_stem().unwrap().to_owned()).collect();
        names.sort();
        names
    };
    assert_eq!(names("corpus"), names("fuzz_targets"));
}
