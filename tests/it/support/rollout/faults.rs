//! Calls of the simulated API that fail or hang.

use super::{Ecs, Fault, World};

impl Ecs {
    /// Lets the next calls of an operation fail with these errors.
    pub fn fail(&self, operation: &'static str, faults: impl IntoIterator<Item = Fault>) {
        self.change(|host_clients| drop(host_clients.faults.insert(operation, faults.into_iter().map(Some).collect())));
    }

    /// Lets all calls of an operation fail after the first `calls` ones.
    pub fn fail_after(&self, operation: &'static str, calls: usize, fault: Fault) {
        let faults = std::iter::repeat_n(None, calls).chain(std::iter::repeat_n(Some(fault), 50));
        self.change(|host_clients| drop(host_clients.faults.insert(operation, faults.collect())));
    }

    /// Lets an operation give no answer after this many calls.
    pub fn hang_after(&self, operation: &'static str, calls: u32) {
        self.change(|host_clients| {
            host_clients.hangs.insert(operation, calls);
        });
    }
}

impl World {
    /// Whether this call gets no answer.
    pub(super) fn hangs_now(&mut self, operation: &str) -> bool {
        match self.hangs.get_mut(operation) {
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        }
    }
}
