//! Texts that agent, ecs-init, docker and AWS log today, each with its cause.

use crate::causes::observed::{ARN, INSTANCE, Place};
use ecs_bootstrap::boundary::imds::RoleStatus;
use ecs_bootstrap::evidence::Evidence;
use ecs_bootstrap::evidence::user_data::read;
use ecs_bootstrap::facts::{Fact, SavedAgent, SavedState};
use std::time::Duration;

/// A text and its cause.
pub(super) struct Text {
    pub(super) id: &'static str,
    pub(super) place: Place,
    pub(super) message: &'static str,
    pub(super) error: &'static str,
    /// What else the cause needs.
    pub(super) with: fn(&mut Evidence),
}

const REFUSED: &str = "Unable to register as a container instance with ECS";
const RETRIED: &str =
    "Received non-terminal error from RegisterContainerInstance call, retrying with exponential backoff";
const NOTHING: fn(&mut Evidence) = |_| {};

/// An error of the ECS API as the SDK writes it.
macro_rules! sdk {
    ($error:expr) => {
        concat!(
            "operation error ECS: RegisterContainerInstance, https response error StatusCode: 400, RequestID: ",
            "6d5f1c0a-7e0f-4d3c-9a39-2b7c7a1f0e55, ",
            $error
        )
    };
}

/// A denial of the registration with this end.
macro_rules! denied {
    ($action:expr, $tail:expr) => {
        sdk!(concat!(
            "AccessDeniedException: User: arn:aws:sts::111122223333:assumed-role/ecsInstanceRole/i-0123456789abcdef0 \
             is ",
            "not authorized to perform: ",
            $action,
            " on resource: arn:aws:ecs:eu-west-1:111122223333:cluster/prod ",
            $tail
        ))
    };
}

const fn refused(id: &'static str, place: Place, error: &'static str) -> Text {
    Text { id, place, message: REFUSED, error, with: NOTHING }
}

const fn logged(id: &'static str, place: Place, message: &'static str, error: &'static str) -> Text {
    Text { id, place, message, error, with: NOTHING }
}

const EXITS: Place = Place::Exits(1);

pub(super) const TEXTS: &[Text] = &[
    // IAM.
    refused(
        "register-denied",
        EXITS,
        denied!(
            "ecs:RegisterContainerInstance",
            "because no identity-based policy allows the ecs:RegisterContainerInstance action"
        ),
    ),
    refused(
        "scp-denied",
        EXITS,
        denied!(
            "ecs:RegisterContainerInstance",
            "with an explicit deny in a service control policy: \
             arn:aws:organizations::111122223333:policy/o-1/service_control_policy/p-1"
        ),
    ),
    refused(
        "rcp-denied",
        EXITS,
        denied!("ecs:RegisterContainerInstance", "with an explicit deny in a resource control policy"),
    ),
    refused(
        "boundary-denied",
        EXITS,
        denied!(
            "ecs:RegisterContainerInstance",
            "because no permissions boundary allows the ecs:RegisterContainerInstance action"
        ),
    ),
    refused(
        "session-policy-denied",
        EXITS,
        denied!(
            "ecs:RegisterContainerInstance",
            "because no session policy allows the ecs:RegisterContainerInstance action"
        ),
    ),
    refused(
        "endpoint-policy-denied",
        EXITS,
        denied!(
            "ecs:RegisterContainerInstance",
            "because no VPC endpoint policy allows the ecs:RegisterContainerInstance action"
        ),
    ),
    refused(
        "explicit-deny",
        EXITS,
        denied!("ecs:RegisterContainerInstance", "with an explicit deny in an identity-based policy"),
    ),
    refused(
        "api-denied",
        EXITS,
        denied!("ecs:TagResource", "because no identity-based policy allows the ecs:TagResource action"),
    ),
    Text {
        with: |evidence| evidence.role = present("otherRole"),
        ..refused(
            "wrong-role",
            EXITS,
            denied!(
                "ecs:RegisterContainerInstance",
                "because no identity-based policy allows the ecs:RegisterContainerInstance action"
            ),
        )
    },
    logged(
        "api-denied",
        EXITS,
        "Error calling DescribeTags API",
        "operation error EC2: DescribeTags, https response error StatusCode: 403, RequestID: \
         6d5f1c0a-7e0f-4d3c-9a39-2b7c7a1f0e55, api error UnauthorizedOperation: You are not authorized to perform \
         this operation.",
    ),
    logged(
        "acs-denied",
        Place::Disconnected,
        "Failed to connect to ACS",
        "AccessDeniedException: User: arn:aws:sts::111122223333:assumed-role/r/i is not authorized to perform: \
         ecs:Poll on resource: x",
    ),
    // Credentials.
    refused(
        "credentials-rejected",
        EXITS,
        sdk!("UnrecognizedClientException: The security token included in the request is invalid."),
    ),
    refused(
        "credentials-expired",
        EXITS,
        sdk!("ExpiredTokenException: The security token included in the request is expired"),
    ),
    Text {
        with: |evidence| {
            evidence.network_path.api_clock_skew = Some(-7200);
        },
        ..refused(
            "clock-skew",
            EXITS,
            sdk!(
                "InvalidSignatureException: Signature expired: 20261126T070000Z is now earlier than 20261126T075500Z \
                 (20261126T080000Z - 5 min.)"
            ),
        )
    },
    Text {
        with: |evidence| {
            evidence.role = present("ecsInstanceRole");
            evidence.age = Some(Duration::from_secs(30));
        },
        ..refused(
            "role-late",
            EXITS,
            "operation error ECS: RegisterContainerInstance, get identity: get credentials: failed to refresh cached \
             credentials, no EC2 IMDS role found, operation error ec2imds: GetMetadata, http response error \
             StatusCode: 404, request to EC2 IMDS failed",
        )
    },
    Text {
        with: |evidence| {
            evidence.role = present("ecsInstanceRole");
            evidence.config.insert("HTTP_PROXY".to_owned(), "127.0.0.1:9".to_owned());
        },
        ..refused(
            "imds-proxied",
            EXITS,
            "operation error ECS: RegisterContainerInstance, get identity: get credentials: failed to refresh cached \
             credentials, no EC2 IMDS role found, proxyconnect tcp: dial tcp 127.0.0.1:9: connect: connection refused",
        )
    },
    // The service and the cluster.
    logged("register-throttled", Place::Runs, RETRIED, sdk!("ThrottlingException: Rate exceeded")),
    logged("service-error", Place::Runs, RETRIED, sdk!("ServerException: An unexpected error occurred.")),
    logged(
        "cluster-quota",
        Place::Runs,
        RETRIED,
        sdk!("LimitExceededException: The limit for your resource has been exceeded."),
    ),
    refused(
        "register-refused",
        EXITS,
        sdk!("SomethingNewException: The request cannot be fulfilled, since 'prod' is not ready."),
    ),
    refused("cluster-not-found", Place::GaveUp, sdk!("ClientException: Cluster not found.")),
    Text {
        with: |evidence| drop(evidence.config.insert("AWS_DEFAULT_REGION".to_owned(), "us-east-1".to_owned())),
        ..refused("wrong-region", Place::GaveUp, sdk!("ClientException: Cluster not found."))
    },
    logged(
        "cluster-mismatch-saved",
        Place::GaveUp,
        "Data mismatch; saved cluster 'stage' does not match configured cluster 'prod'. Perhaps you want to delete \
         the configured checkpoint file?",
        "",
    ),
    // The agent.
    logged("attributes-rejected", Place::GaveUp, "Error registering attributes", "Attribute validation failed"),
    refused("tags-rejected", Place::GaveUp, sdk!("InvalidParameterException: Tag keys cannot begin with aws:")),
    refused(
        "instance-type-changed",
        Place::GaveUp,
        sdk!(
            "ClientException: Container instance type changes are not supported. Container instance was previously \
             registered as m5.large."
        ),
    ),
    logged(
        "task-eni-setup-failed",
        Place::GaveUp,
        "Unable to initialize Task ENI dependencies",
        "agent is not started with an init system",
    ),
    logged(
        "cgroup-setup-failed",
        Place::GaveUp,
        "Unable to initialize cgroup root",
        "unable to setup '/ecs' cgroup: mkdir /sys/fs/cgroup/ecs: permission denied",
    ),
    refused(
        "agent-gave-up",
        Place::GaveUp,
        sdk!("InvalidParameterException: The value of 'totalResources' is something new."),
    ),
    logged(
        "agent-exits",
        EXITS,
        "Unable to initialize the image verifier",
        "signature policy 'default' has no trusted key",
    ),
    Text {
        with: |evidence| save(evidence, INSTANCE),
        ..refused("registration-inactive", Place::GaveUp, sdk!("ClientException: Container instance is inactive."))
    },
    Text {
        with: |evidence| save(evidence, "i-0fedcba9876543210"),
        ..logged(
            "baked-agent-state",
            Place::GaveUp,
            "Error loading previously saved state",
            "the instance 'i-0fedcba9876543210' is another one",
        )
    },
    logged(
        "deregistered-while-up",
        Place::Disconnected,
        "Failed to connect to ACS",
        "InactiveInstanceException: Container instance is deregistered.",
    ),
    logged(
        "acs-refused",
        Place::Disconnected,
        "Failed to connect to ACS",
        "unable to dial ecs-a-1.eu-west-1.amazonaws.com, unexpected EOF",
    ),
    Text {
        with: |evidence| {
            evidence.config.insert("ECS_WARM_POOLS_CHECK".to_owned(), "true".to_owned());
            evidence.outside_group = true;
        },
        ..logged(
            "warm-pool-state-missing",
            Place::GaveUp,
            "Could not determine target lifecycle of instance",
            "http response error StatusCode: 404",
        )
    },
    Text {
        with: |evidence| {
            drop(evidence.config.insert("ECS_AVAILABLE_LOGGING_DRIVERS".to_owned(), "[\"pigeon\"]".to_owned()))
        },
        ..logged("config-bad-json", EXITS, "Error loading config", "Invalid logging drivers: [\"pigeon\"]")
    },
    Text {
        with: |evidence| {
            evidence.files.is_examined = true;
            evidence.files.cloud_init.datasource = Some("DataSourceNone".to_owned());
            evidence.files.cloud_init.ended = Some(true);
            evidence.user_data = Some(Ok(read(Some(b"#!/bin/sh\ntrue\n"))));
        },
        ..logged(
            "datasource-none",
            Place::GaveUp,
            "Cloud-init failure detected: DataSourceNone while user data exists",
            "",
        )
    },
    Text {
        with: |evidence| evidence.network_path.tried_host_roots = true,
        ..refused(
            "tls-untrusted",
            EXITS,
            "operation error ECS: RegisterContainerInstance, request send failed, Post \
             \"https://ecs.eu-west-1.amazonaws.com/\": tls: failed to verify certificate: x509: certificate signed \
             by unknown authority",
        )
    },
    // The host, docker and ecs-init.
    logged("disk-full", EXITS, "Error creating data client", "write /data/agent.db: no space left on device"),
    logged(
        "docker-api-mismatch",
        EXITS,
        "Could not get supported docker versions",
        "client version 1.44 is too old. Minimum supported API version is 1.45, please upgrade your client to a \
         newer version",
    ),
    logged(
        "agent-image-load-failed",
        Place::Init,
        "could not load Amazon Elastic Container Service Agent into Docker: archive/tar: invalid header",
        "",
    ),
    Text {
        with: |evidence| evidence.cluster = Some(Ok(Default::default())),
        ..logged(
            "agent-download-failed",
            Place::Init,
            "could not download Amazon Elastic Container Service Agent: 403 Forbidden",
            "",
        )
    },
    Text {
        with: |evidence| drop(evidence.config.insert("ECS_ENABLE_GPU_SUPPORT".to_owned(), "true".to_owned())),
        ..logged(
            "gpu-setup-failed",
            Place::Init,
            "could not initialize Nvidia GPU Manager: nvml: Driver Not Loaded",
            "",
        )
    },
    logged(
        "ecs-init-failed",
        Place::Init,
        "could not enable loopback routing: open '/proc/sys/net/x': no such file",
        "",
    ),
    logged("disk-full", Place::Init, "could not start Agent: mkdir /var/lib/docker/x: no space left on device", ""),
    logged(
        "docker-config-invalid",
        Place::Docker,
        "unable to configure the Docker daemon with file /etc/docker/daemon.json: the following directives don't \
         match any configuration option: 'hostss'",
        "",
    ),
    logged(
        "docker-storage-failed",
        Place::Docker,
        "failed to start daemon: error initializing graphdriver: driver not supported: 'devicemapper'",
        "",
    ),
    logged(
        "docker-failed",
        Place::Docker,
        "failed to start daemon: pid file found, ensure docker is not running or delete '/var/run/docker.pid'",
        "",
    ),
    logged("disk-full", Place::Docker, "failed to start daemon: mkdir /var/lib/docker: no space left on device", ""),
];

fn present(role: &str) -> Option<Result<RoleStatus, ecs_bootstrap::boundary::imds::ImdsError>> {
    Some(Ok(RoleStatus::Present { role: role.to_owned(), expired_for: None }))
}

/// Saved state of this EC2 instance.
fn save(evidence: &mut Evidence, instance: &str) {
    let state = SavedState {
        cluster: Some("prod".to_owned()),
        container_instance_arn: Some(ARN.to_owned()),
        ec2_instance_id: Some(instance.to_owned()),
        ..SavedState::default()
    };
    evidence.saved = Some(SavedAgent { state: Fact::Known(Some(state)), modified: None, is_damaged: false });
}
