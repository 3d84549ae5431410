//! What stands between this host and AWS: the clock, names, routes, proxies, TLS, and the endpoints of the control plane.

/// All of it.
#[derive(Debug, Default)]
pub struct Way {}
