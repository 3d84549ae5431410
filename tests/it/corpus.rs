//! Replays the fuzzer's seeds (`fuzz/corpus`) on the stable toolchain.
//!
//! In: the files of each target. Out: a failure with the name of the file whose bytes break a rule of
//! `fuzz/targets.rs`.

use std::path::Path;

#[path = "../../fuzz/targets.rs"]
mod targets;

/// Mutations of each seed. The fuzzer itself, which runs each night, tries many more.
const MUTATIONS: u64 = 40;

/// The seed itself for 0, otherwise a mutation: some bytes changed, removed, repeated or cut off. The same number
/// always gives the same mutation.
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
    for entry in folder.read_dir().expect("fuzz/corpus has the folder") {
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
fn agent_log_seeds_pass() {
    replay("agent_log", targets::agent_log);
}

#[test]
fn check_seeds_pass() {
    replay("check", targets::check);
}

#[test]
fn ecs_config_seeds_pass() {
    replay("ecs_config", targets::ecs_config);
}

#[test]
fn user_data_seeds_pass() {
    replay("user_data", targets::user_data);
}

#[test]
fn api_error_seeds_pass() {
    replay("api_error", targets::api_error);
}

#[test]
fn aws_answer_seeds_pass() {
    replay("aws_answer", targets::aws_answer);
}

#[test]
fn saved_state_seeds_pass() {
    replay("saved_state", targets::saved_state);
}

#[test]
fn settings_text_seeds_pass() {
    replay("settings_text", targets::settings_text);
}

#[test]
fn own_files_seeds_pass() {
    replay("own_files", targets::own_files);
}

#[test]
fn resolver_seeds_pass() {
    replay("resolver", targets::resolver);
}

#[test]
fn local_answer_seeds_pass() {
    replay("local_answer", targets::local_answer);
}

#[test]
fn journal_seeds_pass() {
    replay("journal", targets::journal);
}

#[test]
fn certificates_seeds_pass() {
    replay("certificates", targets::certificates);
}

#[test]
fn proc_files_seeds_pass() {
    replay("proc_files", targets::proc_files);
}

#[test]
fn every_target_has_a_corpus_and_every_corpus_has_a_target() {
    let names = |folder: &str| {
        let entries = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(folder).read_dir().unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().path().file_stem().unwrap().to_owned()).collect();
        names.sort();
        names
    };
    assert_eq!(names("corpus"), names("fuzz_targets"));
}
