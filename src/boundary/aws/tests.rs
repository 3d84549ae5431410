//! The SDK's clients against servers on loopback.

use super::*;
use crate::boundary::imds::Address;
use crate::boundary::test_server::{Request, Server, answer, run};

fn options(url: &str) -> AwsOptions {
    AwsOptions { endpoint_url: Some(url.to_owned()), host_bundles: Vec::new(), ..AwsOptions::new("eu-west-1") }
}

/// An IMDS server with a role whose credentials expire in 2099.
fn metadata() -> Server {
    Server::start(|request| match request.line.as_str() {
        "PUT /latest/api/token" => answer(200, "t"),
        "GET /latest/meta-data/iam/security-credentials/" => answer(200, "app"),
        _ => answer(
            200,
            r#"{"Code":"Success","AccessKeyId":"AKID","SecretAccessKey":"hunter2","Token":"tok",
                "Expiration":"2099-01-01T00:00:00Z"}"#,
        ),
    })
}

fn imds(server: &Server) -> Imds {
    Imds::new(Address::Fixed(server.url()))
}

fn deadline() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

fn list_clusters(metadata: &Server, options: &AwsOptions) -> Result<Vec<String>, AwsError> {
    run(async { Aws::new(imds(metadata), options).await?.list_clusters(deadline()).await })
}

fn kind_of(status: u16, body: &'static str) -> AwsErrorKind {
    let service = Server::start(move |_| answer(status, body));
    list_clusters(&metadata(), &options(&service.url())).unwrap_err().kind
}

#[test]
fn an_unsigned_request_measures_the_clock() {
    let date = "HTTP/1.1 403 Forbidden\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Length: 2\r\n\r\n{}";
    let service = Server::start(move |_| Some(date.to_owned()));
    let metadata = metadata();
    let ahead = run(async {
        let aws = Aws::new(imds(&metadata), &options(&service.url())).await.unwrap();
        aws.ask_time(deadline()).await;
        aws.clock_ahead()
    });
    assert!(ahead.is_some_and(|ahead| ahead > 1_700_000_000), "{ahead:?}");
    let request = service.requests()[0].rest.to_ascii_lowercase();
    assert!(!request.contains("authorization:") && !request.contains("akid"), "{request}");
    assert_eq!((service.requests().len(), metadata.requests().len()), (1, 0));
}

#[test]
fn reads_every_page_with_the_credentials_of_the_role() {
    let service = Server::start(|request: &Request| {
        if request.rest.contains("\"nextToken\":\"2\"") {
            answer(200, r#"{"clusterArns":["b"]}"#)
        } else {
            answer(200, r#"{"clusterArns":["a"],"nextToken":"2"}"#)
        }
    });
    assert_eq!(list_clusters(&metadata(), &options(&service.url())).unwrap(), ["a", "b"]);
    let first = &service.requests()[0].rest;
    assert!(first.contains("Credential=AKID/") && first.contains("/eu-west-1/ecs/aws4_request"), "{first}");
    assert!(!first.contains("hunter2"));
}

#[test]
fn reads_tags_clusters_and_a_container_instance() {
    let service = Server::start(|request| {
        if request.rest.contains("DescribeTags") {
            return answer(
                200,
                "<DescribeTagsResponse><tagSet><item><resourceId>i-1</resourceId><key>team</key><value>red</value>\
                 </item></tagSet></DescribeTagsResponse>",
            );
        }
        if request.rest.contains("DescribeClusters") {
            return answer(
                200,
                r#"{"clusters":[{"clusterName":"c","clusterArn":"arn:c","status":"ACTIVE",
                    "tags":[{"key":"k","value":"v"}]}],"failures":[{"arn":"arn:gone","reason":"MISSING"}]}"#,
            );
        }
        answer(
            200,
            r#"{"containerInstances":[{"containerInstanceArn":"arn:ci","status":"ACTIVE","agentConnected":true,
                "versionInfo":{"agentVersion":"1.90.0"},"ec2InstanceId":"i-1",
                "attributes":[{"name":"a","value":"b"},{"name":"flag"}]}]}"#,
        )
    });
    let metadata = metadata();
    run(async {
        let aws = Aws::new(imds(&metadata), &options(&service.url())).await.unwrap();
        assert_eq!(aws.instance_tags("i-1", deadline()).await.unwrap()["team"], "red");
        let described = aws.describe_clusters(&["c".to_owned(), "gone".to_owned()], deadline()).await.unwrap();
        assert_eq!((described.clusters[0].tags["k"].as_str(), described.missing), ("v", vec!["arn:gone".to_owned()]));
        let instance = aws.container_instance("c", "arn:ci", deadline()).await.unwrap().unwrap();
        assert!(instance.agent_connected && instance.attributes["flag"].is_empty());
        assert_eq!(instance.agent_version.as_deref(), Some("1.90.0"));
    });
    assert_eq!(metadata.count("PUT"), 1);
}

#[test]
fn distinguishes_denied_throttled_and_broken_answers() {
    let denied = kind_of(400, r#"{"__type":"AccessDeniedException","message":"not authorized: ecs:ListClusters"}"#);
    assert!(matches!(&denied, AwsErrorKind::Denied { message, .. } if message.contains("ecs:ListClusters")));
    let throttled = kind_of(400, r#"{"__type":"ThrottlingException","message":"Rate exceeded"}"#);
    assert!(matches!(throttled, AwsErrorKind::Throttled { .. }), "{throttled:?}");
    let rejected = kind_of(400, r#"{"__type":"UnrecognizedClientException","message":"bad token"}"#);
    assert!(matches!(rejected, AwsErrorKind::Service { status: 400, .. }) && rejected.is_retryable());
    let parameter = kind_of(400, r#"{"__type":"ClientException","message":"no"}"#);
    assert!(!parameter.is_retryable(), "{parameter:?}");
    let gateway = kind_of(502, "<html>bad gateway</html>");
    assert!(matches!(gateway, AwsErrorKind::Service { code: None, status: 502, .. }), "{gateway:?}");
    let garbled = kind_of(200, "not json");
    assert!(matches!(garbled, AwsErrorKind::InvalidResponse), "{garbled:?}");
}

#[test]
fn a_throttled_call_is_made_once_or_repeated_until_its_deadline() {
    const THROTTLED: &str = r#"{"__type":"ThrottlingException","message":"Rate exceeded"}"#;
    let refusing = Server::start(|_| answer(400, THROTTLED));
    assert!(list_clusters(&metadata(), &options(&refusing.url())).is_err());
    assert_eq!(refusing.count("POST"), 1);

    let refusal = answer(400, THROTTLED).unwrap();
    let service = after(refusal.leak(), r#"{"clusterArns":["b"]}"#);
    let metadata = metadata();
    let listed = run(async {
        let aws = Aws::new(imds(&metadata), &options(&service.url())).await.unwrap();
        aws.waiting_for_throttled().list_clusters(deadline()).await
    });
    assert_eq!(listed.unwrap(), ["b"]);
}

#[test]
fn a_transient_error_is_repeated_twice_and_another_is_final() {
    for (status, code, calls) in [(500, "ServerException", 3), (400, "RequestTimeout", 3), (400, "ClientException", 1)]
    {
        let text = format!(r#"{{"__type":"{code}","message":"broken"}}"#);
        let service = Server::start(move |_| answer(status, &text));
        assert!(list_clusters(&metadata(), &options(&service.url())).is_err());
        assert_eq!(service.count("POST"), calls, "{code}");
        let metadata = metadata();
        let once = run(async {
            let aws = Aws::new(imds(&metadata), &options(&service.url())).await.unwrap();
            aws.with_one_attempt().list_clusters(deadline()).await
        });
        assert!(once.is_err());
        assert_eq!(service.count("POST"), calls + 1, "{code}");
    }
}

/// The pauses and the second attempt end at the deadline, at any time: the error of the service is never lost.
#[test]
fn a_deadline_during_a_repetition_does_not_hide_the_error_of_the_service() {
    let error = r#"{"__type":"ServerException","message":"broken"}"#;
    for limit in [300, 700, 1200, 1600] {
        let first = std::sync::atomic::AtomicBool::new(true);
        let service = Server::start(move |_| {
            if first.swap(false, std::sync::atomic::Ordering::SeqCst) {
                return answer(500, error);
            }
            std::thread::park_timeout(Duration::from_secs(3));
            None
        });
        let metadata = metadata();
        let failed = run(async {
            let aws = Aws::new(imds(&metadata), &options(&service.url())).await.unwrap();
            aws.list_clusters(Deadline::after(Duration::from_millis(limit))).await.unwrap_err()
        });
        assert!(matches!(failed.kind, AwsErrorKind::Service { status: 500, .. }), "{limit} ms: {failed}");
    }
}

#[test]
fn reads_the_errors_of_ec2() {
    let service = Server::start(|_| {
        answer(
            403,
            "<Response><Errors><Error><Code>UnauthorizedOperation</Code><Message>no ec2:DescribeTags</Message></Error>\
             </Errors><RequestID>1</RequestID></Response>",
        )
    });
    let metadata = metadata();
    let error = run(async {
        let aws = Aws::new(imds(&metadata), &options(&service.url())).await.unwrap();
        aws.instance_tags("i-1", deadline()).await.unwrap_err()
    });
    assert!(matches!(&error.kind, AwsErrorKind::Denied { code, .. } if code == "UnauthorizedOperation"), "{error}");
    assert!(error.to_string().starts_with("ec2:DescribeTags: denied"), "{error}");
}

#[test]
fn finds_a_credential_failure_inside_the_error_of_the_sdk() {
    let roleless =
        Server::start(|request| if request.line.starts_with("PUT") { answer(200, "t") } else { answer(404, "") });
    let kind = list_clusters(&roleless, &options("http://127.0.0.1:9")).unwrap_err().kind;
    assert!(matches!(kind, AwsErrorKind::NoCredentials), "{kind:?}");

    let off = Server::start(|_| answer(403, ""));
    let error = list_clusters(&off, &options("http://127.0.0.1:9")).unwrap_err();
    assert!(matches!(error.kind, AwsErrorKind::Imds(crate::boundary::imds::ImdsError::Disabled { .. })), "{error:?}");
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("is disabled"));

    let unusable = Server::start(|request| match request.line.as_str() {
        "PUT /latest/api/token" => answer(200, "t"),
        "GET /latest/meta-data/iam/security-credentials/" => answer(200, "app"),
        _ => answer(200, r#"{"Code":"AssumeRoleUnauthorizedAccess"}"#),
    });
    let kind = list_clusters(&unusable, &options("http://127.0.0.1:9")).unwrap_err().kind;
    assert!(matches!(&kind, AwsErrorKind::Credentials { code } if code == "AssumeRoleUnauthorizedAccess"), "{kind:?}");
}

#[test]
fn a_closed_port_is_refused_and_silence_is_a_timeout() {
    let metadata = metadata();
    let port = crate::boundary::test_server::ClosedPort::take();
    let closed = port.address();
    let kind = list_clusters(&metadata, &options(&format!("http://{closed}"))).unwrap_err().kind;
    assert!(matches!(kind, AwsErrorKind::Refused), "{kind:?}");

    let silent = Server::start(|_| None);
    let error = run(async {
        let aws = Aws::new(imds(&metadata), &options(&silent.url())).await.unwrap();
        aws.list_clusters(Deadline::after(Duration::from_millis(300))).await.unwrap_err()
    });
    assert!(matches!(error.kind, AwsErrorKind::Timeout) && error.elapsed < Duration::from_secs(1), "{error:?}");
}

#[test]
fn resolves_the_endpoint_of_ecs_without_a_request() {
    let absent = Imds::new(Address::Fixed("http://127.0.0.1:9".to_owned()));
    let endpoint = |options: AwsOptions| {
        run(async { Aws::new(absent.clone(), &options).await.unwrap().ecs_endpoint().await }).unwrap()
    };
    let at = |host: &str, port| Endpoint { host: host.to_owned(), port };
    assert_eq!(endpoint(AwsOptions::new("eu-west-1")), at("ecs.eu-west-1.amazonaws.com", 443));
    assert_eq!(endpoint(AwsOptions::new("cn-north-1")), at("ecs.cn-north-1.amazonaws.com.cn", 443));
    assert_eq!(endpoint(options("http://[::1]:4566")), at("::1", 4566));
}

#[test]
fn an_invalid_bundle_is_an_error_and_an_empty_path_is_ignored() {
    let metadata = metadata();
    let with = |path: &str| AwsOptions { ca_bundle: Some(path.into()), ..AwsOptions::new("eu-west-1") };
    let created = |path: &str| run(Aws::new(imds(&metadata), &with(path))).map(|_| ()).map_err(|error| error.kind);
    assert!(matches!(created("/dev/null"), Err(AwsErrorKind::CaBundle { .. })));
    assert!(created("").is_ok());
}

/// A server that answers with `first` once, and then with `second`.
fn after(first: &'static str, second: &'static str) -> Server {
    let requests = std::sync::atomic::AtomicUsize::new(0);
    Server::start(move |_| match requests.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
        0 => Some(first.to_owned()),
        _ => answer(200, second),
    })
}

#[test]
fn retries_a_read_after_an_incomplete_answer() {
    const LIST: &str = r#"{"clusterArns":["b"]}"#;
    for broken in [
        "HTTP/1.1 200 X\r\nContent-Length: 17\r\n\r\n{\"clusterArns\":[\"",
        "HTTP/1.1 200 X\r\nContent-Length: 999\r\n\r\n{\"clusterArns\":[]}",
        "HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n12\r\n{\"clusterArns\":[]}\r\n",
        "HTTP/1.1 200 X\r\nContent-Length: 2\r\n\r\n{}",
        "HTTP/1.1 200 X\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 X\r\nContent-Length: 20\r\n\r\n{\"clusterArns\":null}",
    ] {
        let service = after(broken, LIST);
        let listed = list_clusters(&metadata(), &options(&service.url()));
        assert_eq!(listed.map_err(|error| error.to_string()), Ok(vec!["b".to_owned()]), "{broken}");
    }
}

#[test]
fn an_incomplete_list_of_tags_is_never_an_empty_list() {
    const TAGS: &str = "<DescribeTagsResponse><tagSet><item><key>team</key><value>red</value></item></tagSet>\
                        </DescribeTagsResponse>";
    let metadata = metadata();
    let tags = |service: &Server| {
        run(async {
            let aws = Aws::new(imds(&metadata), &options(&service.url())).await.unwrap();
            aws.instance_tags("i-1", deadline()).await
        })
    };
    for body in [
        "<DescribeTagsResponse><tagSet>",
        "<DescribeTagsResponse><tagSet></tagSet>",
        "<DescribeTagsResponse><tagSet><item><key>a</key><value>b</value></item>",
        "<DescribeTagsResponse/>",
        "<DescribeTagsResponse></DescribeTagsResponse>",
        "<DescribeTagsResponse><tagSet></item></DescribeTagsResponse>",
        "<Desc",
        "",
    ] {
        let cut = answer(200, body).unwrap();
        let service = after(cut.clone().leak(), TAGS);
        assert_eq!(tags(&service).unwrap()["team"], "red", "{body}");
        let service = Server::start(move |_| Some(cut.clone()));
        let error = tags(&service).unwrap_err();
        assert!(matches!(error.kind, AwsErrorKind::InvalidResponse) && error.kind.is_retryable(), "{body}: {error}");
        assert_eq!(service.count("POST"), 1 + MAX_REPETITIONS as usize);
    }
    let none = Server::start(|_| answer(200, "<DescribeTagsResponse><tagSet/></DescribeTagsResponse>"));
    assert!(tags(&none).unwrap().is_empty());
}

#[test]
fn a_call_that_changes_something_is_not_retried() {
    let service = Server::start(|_| answer(200, "<CreateTagsResponse><return>true"));
    let metadata = metadata();
    let error = run(async {
        let aws = Aws::new(imds(&metadata), &options(&service.url())).await.unwrap();
        aws.tag_instance("i-1", &[("a".to_owned(), "b".to_owned())], deadline()).await.unwrap_err()
    });
    assert!(matches!(error.kind, AwsErrorKind::InvalidResponse), "{error}");
    assert_eq!(service.count("POST"), 1);
}

#[test]
fn an_endless_answer_is_an_error() {
    let long = format!(r#"{{"clusterArns":["{}"]}}"#, "a".repeat(5 * 1024 * 1024));
    let body = Server::start(move |_| answer(200, &long));
    let error = list_clusters(&metadata(), &options(&body.url())).unwrap_err();
    assert!(matches!(error.kind, AwsErrorKind::InvalidResponse), "{error}");
    let chain = std::error::Error::source(&error).unwrap().to_string();
    assert!(chain.contains("longer than"), "{chain}");

    let pages = Server::start(|_| answer(200, r#"{"clusterArns":[],"nextToken":"again"}"#));
    let error = list_clusters(&metadata(), &options(&pages.url())).unwrap_err();
    let chain = std::error::Error::source(&error).unwrap().to_string();
    assert!(chain.contains("more than 200 pages"), "{chain}");

    let deep = Server::start(|_| answer(200, &("[".repeat(1_000_000))));
    let error = list_clusters(&metadata(), &options(&deep.url())).unwrap_err();
    assert!(matches!(error.kind, AwsErrorKind::InvalidResponse), "{error}");
}

#[test]
fn deep_xml_of_a_query_service_is_an_error() {
    for (status, body) in [(200, "<a>".repeat(300_000)), (500, "<a>".repeat(300_000) + &"</a>".repeat(300_000))] {
        let service = Server::start(move |_| answer(status, &body));
        let metadata = metadata();
        let error = run(async {
            let aws = Aws::new(imds(&metadata), &options(&service.url())).await.unwrap();
            aws.lifecycle_hooks("group", Transition::Launching, deadline()).await.unwrap_err()
        });
        let is_reported =
            matches!(error.kind, AwsErrorKind::InvalidResponse | AwsErrorKind::Service { status: 500, .. });
        assert!(is_reported, "{error}");
    }
}
