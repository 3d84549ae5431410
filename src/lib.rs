//! Boots an EC2 instance into its ECS cluster.

pub mod boundary;
pub mod exit;
pub mod retry;
