//! The world outside, one party a module: each client takes addresses and deadlines, gives answers or a typed error,
//! logs nothing above debug, and knows neither rooms nor nouns.

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
pub mod given;
pub mod imds;
pub mod journalctl;
pub mod kernel;
mod listener;
mod local;
#[cfg(test)]
mod loopback;
pub mod net;
mod program;
pub mod proxy;
pub mod systemd;
pub mod tls;

/// The parties that a boot speaks to. None is opened before it is first used; AWS needs a region, and systemd a bus,
/// so those two are opened by whoever knows when.
#[derive(Clone, Debug)]
pub struct World {
    /// The files of the host, below the root.
    pub disk: Disk,
    /// The instance metadata service.
    pub imds: Imds,
    /// The ECS agent.
    pub agent: Agent,
    /// docker.
    pub docker: Docker,
    /// `AWS_CA_BUNDLE`.
    pub ca_bundle: Option<PathBuf>,
    /// The clients of AWS, once they were opened.
    aws: Arc<OnceCell<Aws>>,
}

impl World {
    /// The world at these addresses.
    pub fn new(
        root: &Path,
        imds: Address,
        agent_endpoint: Option<&str>,
        ca_bundle: Option<PathBuf>,
    ) -> Result<World, AgentError> {
        let disk = Disk::new(root.to_owned());
        let docker = Docker::new(disk.path("/run/docker.sock"));
        Ok(World {
            agent: Agent::new(agent_endpoint, disk.clone(), docker.clone())?,
            disk,
            imds: Imds::new(imds),
            docker,
            ca_bundle,
            aws: Arc::default(),
        })
    }

    /// AWS clients for the instance's region, with its credentials; opened once, so that connections and credentials
    /// are kept.
    pub async fn aws(&self, region: &str) -> Result<Aws, AwsError> {
        let open = || async {
            let options = AwsOptions { ca_bundle: self.ca_bundle.clone(), ..AwsOptions::new(region) };
            Aws::new(self.imds.clone(), &options).await
        };
        self.aws.get_or_try_init(open).await.cloned()
    }

    /// The same where somebody has opened them.
    pub fn opened_aws(&self) -> Option<&Aws> {
        self.aws.get()
    }
}
