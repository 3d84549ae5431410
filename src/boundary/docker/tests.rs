//! The client against servers that send a fixed answer.

use std::os::unix::net::UnixListener;

use super::*;
use crate::boundary::local_http::tests::{run, soon, unix_server};

fn container(answer: &'static [u8]) -> Result<Option<Container>, DockerError> {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("docker.sock");
    unix_server(&socket, answer);
    run(Docker::new(socket).container("ecs-agent", soon()))
}

#[test]
fn reads_the_state_of_a_container() {
    let answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"Id\":\"1\",\"RestartCount\":2,\"State\":{\
        \"Status\":\"exited\",\"Running\":false,\"ExitCode\":5,\"StartedAt\":\"2026-11-24T10:00:00Z\",\
        \"FinishedAt\":\"2026-11-24T10:00:05Z\"}}";
    let container = container(answer).unwrap().unwrap();
    assert_eq!((container.running, container.exit_code, container.restart_count), (false, 5, 2));
    assert_eq!(container.finished_at, "2026-11-24T10:00:05Z");
}

#[test]
fn reads_the_api_versions_of_the_daemon() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("docker.sock");
    let answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n\
        {\"Version\":\"29.0\",\"ApiVersion\":\"1.52\",\"MinAPIVersion\":\"1.44\"}";
    unix_server(&socket, answer);
    let version = run(Docker::new(socket).version(soon())).unwrap();
    assert_eq!((version.api_version.as_str(), version.min_api_version.as_str()), ("1.52", "1.44"));
}

#[test]
fn of_too_much_output_the_beginning_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("docker.sock");
    let line = "2026-11-29T20:53:57.958880747Z a line of the agent\n";
    let answer = format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}", line.repeat(40_000));
    unix_server(&socket, answer.into_bytes().leak());
    let output = run(Docker::new(socket).output_with_times("ecs-agent", (1, 2), soon())).unwrap();
    assert!(output.len() > 1_000_000 && output.starts_with(line.as_bytes()), "{}", output.len());
}

#[test]
fn a_container_that_does_not_exist_is_none() {
    let answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}";
    assert_eq!(container(answer).unwrap(), None);
}

#[test]
fn reads_the_labels_of_running_containers() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("docker.sock");
    unix_server(
        &socket,
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n[{\"Id\":\"1\",\"Labels\":{\"a\":\"b\"}},{\"Id\":\"2\"}]",
    );
    let labels = run(Docker::new(socket).running("a", soon())).unwrap();
    assert_eq!((labels.len(), labels[0]["a"].as_str(), labels[1].len()), (2, "b", 0));
}

#[test]
fn reads_the_output_with_and_without_frames() {
    let framed = b"\x01\0\0\0\0\0\0\x04one\n\x02\0\0\0\0\0\0\x04two\n";
    assert_eq!(without_frames(framed), b"one\ntwo\n");
    assert_eq!(without_frames(b"one\ntwo\n"), b"one\ntwo\n");
    // The limit of lines can cut a frame.
    assert_eq!(without_frames(b"\x02\0\0\0\0\0\0\xfftwo"), b"two");
}

#[test]
fn answers_to_a_ping() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("docker.sock");
    unix_server(&socket, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK");
    run(Docker::new(socket).ping(soon())).unwrap();
}

#[test]
fn distinguishes_a_missing_socket_from_one_without_a_listener() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("docker.sock");
    let docker = Docker::new(socket.clone());
    assert!(matches!(run(docker.ping(soon())), Err(DockerError::NoSocket { .. })));
    drop(UnixListener::bind(&socket).unwrap());
    assert!(matches!(run(docker.ping(soon())), Err(DockerError::Refused { .. })));
}

#[test]
fn a_daemon_that_hangs_is_silent_within_the_deadline() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("docker.sock");
    let _listener = UnixListener::bind(&socket).unwrap();
    let error = run(Docker::new(socket).ping(Deadline::after(Duration::from_millis(50)))).unwrap_err();
    assert!(matches!(error, DockerError::TimedOut { .. }), "{error:?}");
}

#[test]
fn distinguishes_an_error_status_from_a_broken_answer() {
    let status = container(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n").unwrap_err();
    assert_eq!(status.to_string(), "docker answered `/containers/ecs-agent/json` with status 500");
    let broken: [&[u8]; 3] = [
        b"hello\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
    ];
    for answer in broken {
        let error = container(answer).unwrap_err();
        assert!(matches!(error, DockerError::InvalidResponse { .. }), "{error:?}");
    }
}
