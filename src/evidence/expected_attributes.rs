//! The attributes that the container instance must have before it is ready (`ready.attributes`), and what of them is missing.
//!
//! In: the conditions, the container instance as ECS describes it, the agent's configuration, and the devices of the host. Out:
//! a line for each missing attribute, with the reason why it is expected.

use std::collections::{BTreeMap, BTreeSet};

use super::Evidence;
use crate::boundary::aws::{AwsError, AwsErrorKind, ContainerInstance};
use crate::redaction;

/// The attribute of an instance with a trunk network interface (Amazon ECS Developer Guide, "Container instance attributes").
const TRUNK: &str = "ecs.awsvpc-trunk-id";
/// The attribute of a logging driver, without its name.
const LOGGING_DRIVER: &str = "com.amazonaws.ecs.capability.logging-driver.";
/// The most lines.
const MAX_LINES: usize = 20;

/// Whether the container instance has the expected attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttributeState {
    /// It has all of them.
    Complete,
    /// What is missing, one line each.
    Missing(Vec<String>),
    /// ECS has not answered yet, or not with the container instance; the last error.
    Unknown(Option<String>),
    /// ECS does not allow the role to describe the container instance; the error.
    Denied(String),
}

impl Evidence {
    /// The state of the expected attributes; `None` if none are expected.
    pub fn attribute_state(&self) -> Option<AttributeState> {
        let conditions = self.expectation.as_ref()?.waits_for_attributes()?;
        Some(match &self.container_instance {
            Some(Ok(Some(_))) if self.must_ask_for_trunking() && self.trunking.is_none() => {
                AttributeState::Unknown(None)
            }
            Some(Ok(Some(_))) if let Some(error) = self.trunking_error() => {
                AttributeState::Unknown(Some(redaction::error_chain(error)))
            }
            Some(Ok(Some(instance))) => {
                let mut missing = missing_named(&conditions.attributes.named, &instance.attributes);
                if conditions.attributes.auto {
                    missing.extend(self.missing_derived(instance, conditions.expects_gpus));
                }
                missing.truncate(MAX_LINES);
                if missing.is_empty() { AttributeState::Complete } else { AttributeState::Missing(missing) }
            }
            Some(Err(error)) if matches!(error.kind, AwsErrorKind::Denied { .. }) => {
                AttributeState::Denied(redaction::error_chain(error))
            }
            Some(Err(error)) => AttributeState::Unknown(Some(redaction::error_chain(error))),
            Some(Ok(None)) | None => AttributeState::Unknown(None),
        })
    }

    /// Whether it matters if trunking is on for the role: the instance has no trunk interface.
    pub fn must_ask_for_trunking(&self) -> bool {
        let conditions = self.expectation.as_ref().and_then(|expected| expected.waits_for_attributes());
        let lacks_trunk = self.described().is_some_and(|instance| !instance.attributes.contains_key(TRUNK));
        lacks_trunk && conditions.is_some_and(|conditions| conditions.attributes.auto)
    }

    /// The error that may be temporary because of which it is not known whether trunking is on. Without the permission, the
    /// attribute is not expected.
    fn trunking_error(&self) -> Option<&AwsError> {
        let error = self.trunking.as_ref()?.as_ref().err().filter(|_| self.must_ask_for_trunking())?;
        (!matches!(error.kind, AwsErrorKind::Denied { .. })).then_some(error)
    }

    /// The attributes that the agent must set: those in its configuration, and those in the plan.
    pub fn configured_attributes(&self) -> BTreeMap<String, String> {
        let mut attributes: BTreeMap<String, String> = match self.config.get("ECS_INSTANCE_ATTRIBUTES") {
            Some(text) => serde_json::from_str(text).unwrap_or_default(),
            None => BTreeMap::new(),
        };
        attributes.extend(self.expectation.iter().flat_map(|expected| expected.attributes.clone()));
        attributes
    }

    /// What `auto` expects and the container instance does not have.
    fn missing_derived(&self, instance: &ContainerInstance, expects_gpus: bool) -> Vec<String> {
        let own = &instance.attributes;
        let configured = self.configured_attributes().into_iter().map(|(name, value)| (name, Some(value))).collect();
        let mut missing = missing_named(&configured, own);
        let drivers: Option<BTreeSet<String>> =
            self.config.get("ECS_AVAILABLE_LOGGING_DRIVERS").and_then(|text| serde_json::from_str(text).ok());
        let drivers = drivers.unwrap_or_default().into_iter().map(|driver| format!("{LOGGING_DRIVER}{driver}"));
        missing.extend(
            drivers
                .filter(|name| !own.contains_key(name))
                .map(|name| format!("`{}`: ECS_AVAILABLE_LOGGING_DRIVERS has this driver", redaction::line(&name))),
        );
        if expects_gpus && instance.gpus < self.gpu_devices {
            let (has, devices) = (instance.gpus, self.gpu_devices);
            missing.push(format!("the resource `GPU`: the agent has registered {has}, and the host has {devices}"));
        }
        if self.must_ask_for_trunking() && matches!(self.trunking, Some(Ok(true))) {
            missing
                .push(format!("`{TRUNK}`: the account setting `awsvpcTrunking` is on for the role of this instance"));
        }
        missing
    }
}

fn missing_named(expected: &BTreeMap<String, Option<String>>, own: &BTreeMap<String, String>) -> Vec<String> {
    let line = |(name, value): (&String, &Option<String>)| match (own.get(name), value) {
        (None, Some(value)) => Some(format!("`{name}={value}`: the container instance has no such attribute")),
        (None, None) => Some(format!("`{name}`: the container instance has no such attribute")),
        (Some(found), Some(value)) if found != value => Some(format!("`{name}={value}`: its value is `{found}`")),
        (Some(_), _) => None,
    };
    expected.iter().filter_map(line).map(|line| redaction::line(&line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Expectation, ReadyConditions};
    use crate::settings::{AtDeadline, Daemons, ReadyAttributes};
    use std::time::Duration;

    fn evidence(auto: bool, named: &[(&str, Option<&str>)], own: &[(&str, &str)]) -> Evidence {
        let named = named.iter().map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned))).collect();
        let ready = ReadyConditions {
            daemons: Daemons::None,
            attributes: ReadyAttributes { auto, named },
            expects_gpus: auto,
            deadline: Duration::from_secs(300),
            at_deadline: AtDeadline::Fail,
        };
        let attributes = own.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let instance = ContainerInstance {
            arn: "arn".to_owned(),
            status: "ACTIVE".to_owned(),
            status_reason: None,
            agent_connected: true,
            agent_version: None,
            attributes,
            ec2_instance_id: None,
            gpus: 0,
        };
        Evidence {
            expectation: Some(Expectation { ready: Some(ready), ..Expectation::default() }),
            container_instance: Some(Ok(Some(instance))),
            ..Evidence::default()
        }
    }

    fn missing(evidence: &Evidence) -> Vec<String> {
        match evidence.attribute_state() {
            Some(AttributeState::Missing(missing)) => missing,
            Some(AttributeState::Complete) => Vec::new(),
            state => panic!("{state:?}"),
        }
    }

    #[test]
    fn a_named_attribute_is_there_with_any_value_or_with_the_given_one() {
        let named = [("stack", Some("blue")), ("zone", None)];
        assert_eq!(missing(&evidence(false, &named, &[("stack", "blue"), ("zone", "a")])), Vec::<String>::new());
        assert_eq!(
            missing(&evidence(false, &named, &[("stack", "green")])),
            ["`stack=blue`: its value is `green`", "`zone`: the container instance has no such attribute"]
        );
        assert_eq!(
            missing(&evidence(false, &[("stack", Some(""))], &[])),
            ["`stack=`: the container instance has no such attribute"]
        );
    }

    #[test]
    fn auto_expects_what_the_configuration_and_the_host_have() {
        let mut evidence = evidence(true, &[], &[("com.amazonaws.ecs.capability.logging-driver.awslogs", "")]);
        assert_eq!(evidence.attribute_state(), Some(AttributeState::Unknown(None)), "ECS was not asked about trunking");
        evidence.trunking = Some(Ok(false));
        assert_eq!(missing(&evidence), Vec::<String>::new());
        for (name, value) in [
            ("ECS_AVAILABLE_LOGGING_DRIVERS", r#"["awslogs","splunk"]"#),
            ("ECS_INSTANCE_ATTRIBUTES", r#"{"team":"a"}"#),
        ] {
            evidence.config.insert(name.to_owned(), value.to_owned());
        }
        evidence.gpu_devices = 2;
        evidence.trunking = Some(Ok(true));
        let found = missing(&evidence);
        for (line, part) in found.iter().zip(["`team=a`", "logging-driver.splunk`", "the host has 2", TRUNK]) {
            assert!(line.contains(part), "{line}");
        }
        assert_eq!(found.len(), 4);
        evidence.trunking = Some(Ok(false));
        evidence.expectation.as_mut().unwrap().ready.as_mut().unwrap().expects_gpus = false;
        assert_eq!(missing(&evidence).len(), 2);
    }

    #[test]
    fn nothing_is_expected_if_it_is_off() {
        let mut off = evidence(false, &[], &[]);
        assert_eq!(off.attribute_state(), None);
        off.expectation.as_mut().unwrap().ready = None;
        assert_eq!(off.attribute_state(), None);
    }
}
