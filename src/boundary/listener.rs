//! Finds out who owns the socket that answers on a local port, for `agent`.
//!
//! In: the address, and the tables of sockets in `/proc/net`. Out: root, the agent's container, or why it is neither. Any
//! user may listen on a port above 1023, so an answer alone proves nothing.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::disk::Disk;
use super::docker::Docker;
use super::kernel::{self, Listener};
use crate::retry::Deadline;

/// The name that ecs-init gives the agent's container.
const CONTAINER: &str = "ecs-agent";

/// A local port, and where its sockets and their owners are looked up.
#[derive(Clone, Debug)]
pub(super) struct Port {
    pub(super) at: SocketAddr,
    disk: Disk,
    docker: Docker,
}

/// The owner of the sockets that can have given an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// User 0, or the agent's container.
    Trusted,
    /// Another one, or an unknown one: goes on after "the answer is not believed:".
    Other(String),
    /// Another socket has taken the place of the first meanwhile, so nobody knows which of them has answered.
    Changed,
}

impl Port {
    pub(super) fn new(at: SocketAddr, disk: Disk, docker: Docker) -> Port {
        Port { at, disk, docker }
    }

    /// The sockets that a connection can reach now; `None` where no table can be read.
    pub(super) fn listeners(&self) -> Option<Vec<Listener>> {
        kernel::listeners(&self.host(), self.at)
    }

    /// The same with the processes that have them open.
    pub(super) fn listeners_with_processes(&self) -> Option<Vec<Listener>> {
        let host = self.host();
        let named = |one: Listener| Listener { process: kernel::process_of(&host, one.inode), ..one };
        Some(kernel::listeners(&host, self.at)?.into_iter().map(named).collect())
    }

    /// Who has answered, by the sockets that listened before the question and those that listen after the answer: a socket
    /// that accepted the connection and was closed since would not be seen by one look.
    pub(super) async fn owner(&self, before: Option<Vec<Listener>>, deadline: Deadline) -> Owner {
        let after = self.listeners();
        let (Some(before), Some(after)) = (before, after) else {
            let why = "it cannot be seen who listens there: neither /proc/net/tcp nor /proc/net/tcp6 can be read";
            return Owner::Other(why.to_owned());
        };
        if before != after {
            return Owner::Changed;
        }
        if after.is_empty() {
            return Owner::Other("no socket of this host listens there".to_owned());
        }
        for foreign in after.into_iter().filter(|one| one.uid != 0) {
            let process = kernel::process_of(&self.host(), foreign.inode);
            if let Some((pid, _)) = &process
                && self.is_in_container(*pid, deadline).await
            {
                continue;
            }
            let process = process.map(|(pid, name)| format!(" (process {pid}, `{name}`)")).unwrap_or_default();
            return Owner::Other(format!(
                "the socket that listens there is of uid {}{process}, not of root",
                foreign.uid
            ));
        }
        Owner::Trusted
    }

    /// Whether a process is in the control groups of the agent's container. Only docker puts processes there; a name in the
    /// path of a group would prove nothing, for users name their own groups.
    async fn is_in_container(&self, pid: u32, deadline: Deadline) -> bool {
        let Ok(Some(first)) = self.docker.first_process(CONTAINER, deadline).await else { return false };
        let host = self.host();
        let groups = kernel::control_groups(&host, first);
        groups.is_some() && groups == kernel::control_groups(&host, pid)
    }

    /// Where the tables are. A root without them (an image, a folder of a test) says nothing of sockets: then this
    /// process's own network is looked at, in which its connections end. A missing table is never a reason to believe.
    fn host(&self) -> Disk {
        let has_table = ["/proc/net/tcp", "/proc/net/tcp6"].iter().any(|path| self.disk.exists(path).unwrap_or(true));
        if has_table { self.disk.clone() } else { Disk::new(PathBuf::from("/")) }
    }
}
