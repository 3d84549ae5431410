//! Every rule that is a rule: settings and facts go in, what shall be comes out; nothing here reads, writes or waits.

pub mod ecs_config;
#[cfg(test)]
mod ecs_config_oracles;
