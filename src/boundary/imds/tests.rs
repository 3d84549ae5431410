//! The client against servers on loopback, with the failures of the real service.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;
use crate::boundary::test_server::{Request, Server, answer, run};

const PUT: &str = "PUT /latest/api/token";

fn within_seconds(seconds: u64) -> Deadline {
    Deadline::after(Duration::from_secs(seconds))
}

fn get(server: &Server, seconds: u64) -> Result<Option<Vec<u8>>, ImdsError> {
    let imds = Imds::new(Address::Fixed(server.url()));
    run(imds.get("meta-data/instance-id", within_seconds(seconds)))
}

/// A service that grants tokens and answers everything else with `rest`.
fn granting(rest: impl Fn(&Request) -> Option<String> + Send + Sync + 'static) -> Server {
    Server::start(move |request| if request.line == PUT { answer(200, "token") } else { rest(request) })
}

#[test]
fn sends_the_token_and_returns_none_for_status_404() {
    let server = granting(|request| match request.line.as_str() {
        "GET /latest/meta-data/instance-id" if request.rest.contains("x-aws-ec2-metadata-token: token") => {
            answer(200, "i-1")
        }
        _ => answer(404, ""),
    });
    let imds = Imds::new(Address::Fixed(server.url()));
    let (present, absent) = run(async {
        let deadline = within_seconds(5);
        (imds.get("meta-data/instance-id", deadline).await, imds.get("meta-data/tags", deadline).await)
    });
    assert_eq!(present.unwrap(), Some(b"i-1".to_vec()));
    assert_eq!(absent.unwrap(), None);
    assert!(server.requests()[0].rest.contains("x-aws-ec2-metadata-token-ttl-seconds: 21600"));
    assert_eq!(server.count(PUT), 1);
}

#[test]
fn renews_a_refused_token_once() {
    let grants = AtomicUsize::new(0);
    let server = Server::start(move |request| {
        if request.line == PUT {
            return answer(200, &format!("t{}", grants.fetch_add(1, Ordering::SeqCst)));
        }
        if request.rest.contains("token: t1") { answer(200, "i-1") } else { answer(401, "") }
    });
    assert_eq!(get(&server, 5).unwrap(), Some(b"i-1".to_vec()));

    let server = granting(|_| answer(401, ""));
    assert!(matches!(get(&server, 5), Err(ImdsError::Status { status: 401, attempts: 1, .. })));
    assert_eq!(server.count(PUT), 2);
}

#[test]
fn concurrent_requests_share_one_token_and_have_a_connection_each() {
    let server = granting(|_| {
        std::thread::park_timeout(Duration::from_millis(200));
        answer(200, "x")
    });
    let imds = Imds::new(Address::Fixed(server.url()));
    let start = Instant::now();
    run(async {
        let gets = (0..8).map(|n| {
            let imds = imds.clone();
            async move { imds.get(&format!("meta-data/{n}"), within_seconds(5)).await }
        });
        for outcome in futures_util::future::join_all(gets).await {
            assert_eq!(outcome.unwrap(), Some(b"x".to_vec()));
        }
        imds.get("meta-data/late", within_seconds(5)).await.unwrap();
    });
    assert_eq!(server.count(PUT), 1);
    assert!(start.elapsed() < Duration::from_millis(1200), "{:?}", start.elapsed());
    assert!(server.connections() <= 9, "{}", server.connections());
}

#[test]
fn prepared_connections_open_before_the_token_arrives_and_are_used() {
    let may_grant = Arc::new(AtomicBool::new(false));
    let granted = may_grant.clone();
    let server = Server::start(move |request| {
        while request.line == PUT && !granted.load(Ordering::SeqCst) {
            std::thread::park_timeout(Duration::from_millis(1));
        }
        answer(200, "token")
    });
    let imds = Imds::new(Address::Fixed(server.url()));
    std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            run(async {
                imds.prepare(3, within_seconds(5));
                let gets = ["a", "b", "c"].map(|path| imds.get(path, within_seconds(5)));
                for outcome in futures_util::future::join_all(gets).await {
                    assert_eq!(outcome.unwrap(), Some(b"token".to_vec()));
                }
            });
        });
        while server.connections() < 3 && !client.is_finished() {
            std::thread::park_timeout(Duration::from_millis(1));
        }
        assert_eq!(server.count("GET"), 0);
        may_grant.store(true, Ordering::SeqCst);
    });
    assert_eq!((server.count(PUT), server.count("GET"), server.connections()), (1, 3, 3));
}

#[test]
fn a_403_to_the_token_request_means_disabled_and_names_a_proxy() {
    let server = Server::start(|_| Some("HTTP/1.1 403 X\r\nVia: 1.1 squid\r\nContent-Length: 0\r\n\r\n".to_owned()));
    let error = get(&server, 5).unwrap_err();
    assert!(matches!(&error, ImdsError::Disabled { via: Some(via), .. } if via == "1.1 squid"), "{error}");
    assert_eq!(server.requests().len(), 1);

    let server = granting(|_| answer(403, ""));
    assert!(matches!(get(&server, 5), Err(ImdsError::Forbidden { .. })));
}

#[test]
fn distinguishes_a_missing_token_from_a_missing_connection() {
    let server = Server::start(|_| None);
    assert!(matches!(get(&server, 1), Err(ImdsError::TokenLost { .. })));

    let port = crate::boundary::test_server::ClosedPort::take();
    let closed = port.address();
    let imds = Imds::new(Address::Fixed(format!("http://{closed}")));
    let error = run(imds.get("meta-data/instance-id", within_seconds(1))).unwrap_err();
    assert!(matches!(&error, ImdsError::Unreachable { attempts: 2.., source: Some(_), .. }), "{error:?}");
}

#[test]
fn a_path_without_an_answer_is_not_a_lost_token() {
    let server = granting(|_| None);
    assert!(matches!(get(&server, 1), Err(ImdsError::NoAnswer { path, .. }) if path == "meta-data/instance-id"));
}

#[test]
fn an_incomplete_answer_and_one_that_is_not_http_are_garbled() {
    for body in ["HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\nshort", "SSH-2.0-OpenSSH_9.2\r\n"] {
        let server = granting(move |_| Some(body.to_owned()));
        let error = get(&server, 1).unwrap_err();
        assert!(matches!(error, ImdsError::InvalidResponse { attempts: 2.., .. }), "{error:?}");
    }
}

#[test]
fn an_endless_answer_and_a_token_with_a_control_character_are_refused() {
    let server = granting(|_| answer(200, &"x".repeat(MAX_ANSWER_LENGTH + 1)));
    assert!(matches!(get(&server, 1), Err(ImdsError::InvalidResponse { what: "more than 256 KiB", .. })));

    let server = Server::start(|_| answer(200, "to\u{7}ken"));
    let error = get(&server, 1).unwrap_err();
    assert!(matches!(&error, ImdsError::InvalidResponse { path, .. } if path == TOKEN), "{error:?}");
    assert!(!format!("{error:?}").contains("to\\u"));
}

#[test]
fn retries_a_busy_service() {
    let turns = AtomicUsize::new(0);
    let server = granting(move |_| match turns.fetch_add(1, Ordering::SeqCst) {
        0 => answer(503, ""),
        1 => answer(429, ""),
        _ => answer(200, "i-1"),
    });
    assert_eq!(get(&server, 5).unwrap(), Some(b"i-1".to_vec()));

    let server = granting(|_| answer(500, ""));
    assert!(matches!(get(&server, 1), Err(ImdsError::Status { status: 500, attempts: 2.., .. })));
}

#[test]
fn tries_ipv6_if_ipv4_does_not_connect_and_keeps_it() {
    let server = Server::start_at("[::1]:0", |request| answer(200, if request.line == PUT { "t" } else { "i-1" }));
    // A full backlog drops further connections, like an address without a service.
    let full = full_listener();
    let imds = Imds::new(Address::Race(vec![full.0, server.address]));
    let start = Instant::now();
    run(async {
        for _ in 0..2 {
            let pair = (imds.get("a", within_seconds(5)), imds.get("b", within_seconds(5)));
            let (a, b) = futures_util::future::join(pair.0, pair.1).await;
            assert_eq!((a.unwrap(), b.unwrap()), (Some(b"i-1".to_vec()), Some(b"i-1".to_vec())));
        }
    });
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(290) && took < Duration::from_millis(590), "{took:?}");
    assert!(server.requests()[0].rest.to_ascii_lowercase().contains("host: 169.254.169.254"));
}

/// A listener whose backlog is full, and the connections that fill it.
fn full_listener() -> (SocketAddr, TcpListener, Vec<std::net::TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut held = Vec::new();
    // std listens with a backlog of 4096 (at most somaxconn). Fill it until a connection does not open.
    while held.len() < 8192 {
        match std::net::TcpStream::connect_timeout(&address, Duration::from_millis(150)) {
            Ok(stream) => held.push(stream),
            Err(_) => break,
        }
    }
    (address, listener, held)
}
