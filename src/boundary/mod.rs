//! The world outside, one party a module: each client takes addresses and deadlines, gives answers or a typed error,
//! logs nothing above debug, and knows neither rooms nor nouns.

pub mod aws;
pub mod dns;
pub mod imds;
#[cfg(test)]
mod loopback;
pub mod net;
