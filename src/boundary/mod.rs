//! All input and output of the program: one module for each service (IMDS, AWS, the ECS agent, docker, systemd) and for
//! each part of the host (files, kernel, console).
//!
//! In: addresses, names and deadlines. Out: answers, or an error type of the module. A module here never uses the
//! stages of the pipeline or their data types, and almost never logs above debug level.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::OnceCell;

use self::agent::{Agent, AgentError};
use self::aws::{Aws, AwsError, AwsOptions};
use self::disk::Disk;
use self::docker::Docker;
use self::imds::{Address, Imds};

pub mod agent;
pub mod archive;
pub mod aws;
mod clock_skew;
pub mod console;
pub mod disk;
pub mod dns;
pub mod docker;
pub mod imds;
pub mod input_file;
pub mod journalctl;
pub mod kernel;
pub mod listeners;
mod local_http;
pub mod net;
pub mod output_file;
mod program_output;
pub mod proxy;
pub mod requests;
mod socket_owner;
pub mod systemd;
#[cfg(test)]
mod test_server;
pub mod tls;

/// The clients that the commands use. No client connects before its first use. The AWS clients need a region, so
/// [`World::aws`] creates them later; systemd is not included, because its bus may not exist yet.
#[derive(Clone, Debug)]
pub struct HostClients {
    /// The files of the host, below the root.
    pub disk: Disk,
    /// The client of the instance metadata service.
    pub imds: Imds,
    /// The client of the ECS agent's introspection endpoint.
    pub agent: Agent,
    /// The client of the docker daemon.
    pub docker: Docker,
    /// The file with CA certificates from `AWS_CA_BUNDLE`.
    pub ca_bundle: Option<PathBuf>,
    /// The AWS clients, created by the first call of [`World::aws`].
    aws: Arc<OnceCell<Aws>>,
}

impl HostClients {
    /// Clients for these addresses. Sends nothing.
    pub fn new(
        root: &Path,
        imds: Address,
        agent_endpoint: Option<&str>,
        ca_bundle: Option<PathBuf>,
    ) -> Result<HostClients, AgentError> {
        let disk = Disk::new(root.to_owned());
        let docker = Docker::new(disk.path("/run/docker.sock"));
        Ok(HostClients {
            agent: Agent::new(agent_endpoint, disk.clone(), docker.clone())?,
            disk,
            imds: Imds::new(imds),
            docker,
            ca_bundle,
            aws: Arc::default(),
        })
    }

    /// The AWS clients for `region`, with the instance's credentials. They are created once, so that later calls reuse
    /// connections and credentials.
    pub async fn aws(&self, region: &str) -> Result<Aws, AwsError> {
        let open = || async {
            let options = AwsOptions { ca_bundle: self.ca_bundle.clone(), ..AwsOptions::new(region) };
            Aws::new(self.imds.clone(), &options).await
        };
        self.aws.get_or_try_init(open).await.cloned()
    }

    /// The AWS clients, if [`World::aws`] has created them.
    pub fn opened_aws(&self) -> Option<&Aws> {
        self.aws.get()
    }
}
