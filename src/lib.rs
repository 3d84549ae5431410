//! Boots an EC2 instance into its ECS cluster.

pub mod boundary;
pub mod decide;
pub mod exit;
pub mod facts;
pub mod journal;
pub mod retry;
pub mod settings;
