//! Boots an EC2 instance into its ECS cluster.

pub mod apply;
pub mod boot;
pub mod boundary;
pub mod causes;
pub mod cli;
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
pub mod report;
pub mod retry;
pub mod settings;
pub mod tell;
pub mod verdict;
pub mod verify;
