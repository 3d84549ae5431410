//! Finds the owner of the socket that answers on a local port, for `agent`.
//!
//! In: the address, and the kernel's sockets. Out: whether the owner is root or the agent's container, or
//! why it is neither. Any user may listen on a port above 1023, so the answer alone proves nothing.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::disk::Disk;
use super::docker::Docker;
use super::kernel;
use super::listeners::{Listener, listeners};
use crate::retry::Deadline;

/// The name that ecs-init gives the agent's container.
const CONTAINER: &str = "ecs-agent";

/// A local port, and the clients that look up its sockets and their owners.
#[derive(Clone, Debug)]
pub(super) struct Port {
    pub(super) at: SocketAddr,
    disk: Disk,
    docker: Docker,
}

/// The owner of the sockets that can have sent an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// Root, or the agent's container.
    Trusted,
    /// Another owner, or an unknown one. The text follows after "the answer is not trusted:".
    Other(String),
    /// The listening sockets changed during the request, so it is unknown which of them has answered.
    Changed,
}

impl Port {
    pub(super) fn new(at: SocketAddr, disk: Disk, docker: Docker) -> Port {
        Port { at, disk, docker }
    }

    /// The sockets that a connection can reach now; `None` if they are unknown.
    pub(super) fn listeners(&self) -> Option<Vec<Listener>> {
        listeners(&self.host(), self.at)
    }

    /// [`Port::listeners`] with the processes that have the sockets open.
    pub(super) fn listeners_with_processes(&self) -> Option<Vec<Listener>> {
        let host = self.host();
        let with_process = |one: Listener| Listener { process: kernel::process_of(&host, one.inode), ..one };
        Some(listeners(&host, self.at)?.into_iter().map(with_process).collect())
    }

    /// The owner of the socket that has answered a request. `before` are the sockets that listened before the request;
    /// they are compared with those that listen now. Without `before`, a socket that was closed after it had accepted
    /// the connection would be missed.
    pub(super) async fn owner(&self, before: Option<Vec<Listener>>, deadline: Deadline) -> Owner {
        let after = self.listeners();
        let (Some(before), Some(after)) = (before, after) else {
            let why = "the owner of the port is unknown: netlink failed, and neither /proc/net/tcp nor /proc/net/tcp6 can be read";
            return Owner::Other(why.to_owned());
        };
        if before != after {
            return Owner::Changed;
        }
        if after.is_empty() {
            return Owner::Other("no socket of this host listens on the port".to_owned());
        }
        for foreign in after.into_iter().filter(|one| one.uid != 0) {
            let process = kernel::process_of(&self.host(), foreign.inode);
            if let Some((pid, _)) = &process
                && self.is_in_container(*pid, deadline).await
            {
                continue;
            }
            let process = process.map(|(pid, name)| format!(" (process {pid}, `{name}`)")).unwrap_or_default();
            return Owner::Other(format!("the listening socket belongs to uid {}{process}, not to root", foreign.uid));
        }
        Owner::Trusted
    }

    /// Whether a process is in the control groups of the agent's container. Only docker puts processes there. The name
    /// of a group would prove nothing, because users choose the names of their own groups.
    async fn is_in_container(&self, pid: u32, deadline: Deadline) -> bool {
        let Ok(Some(first)) = self.docker.first_process(CONTAINER, deadline).await else { return false };
        let host = self.host();
        let groups = kernel::control_groups(&host, first);
        groups.is_some() && groups == kernel::control_groups(&host, pid)
    }

    /// The root with the socket tables. A root without tables (an image, or the folder of a test) is replaced by `/`:
    /// this process's connections use the network of `/`. A missing table never makes an answer trusted.
    fn host(&self) -> Disk {
        let has_table = ["/proc/net/tcp", "/proc/net/tcp6"].iter().any(|path| self.disk.exists(path).unwrap_or(true));
        if has_table { self.disk.clone() } else { Disk::new(PathBuf::from("/")) }
    }
}
