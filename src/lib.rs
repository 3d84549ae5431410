//! Boots an EC2 instance into its ECS cluster.

pub mod decide;
pub mod exit;
pub mod retry;
pub mod settings;
