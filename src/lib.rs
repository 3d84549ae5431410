//! Boots an EC2 instance into its ECS cluster.

pub mod boundary;
pub mod apply;
pub mod causes;
pub mod decide;
pub mod ecs_config;
pub mod effects;
pub mod evidence;
pub mod exit;
pub mod facts;
pub mod gather;
pub mod host;
pub mod journal;
pub mod plan;
pub mod retry;
pub mod settings;
pub mod verdict;
pub mod verify;
