//! The attributes that the container instance must have before it is ready (`ready.attributes`), and what of them is missing.
//!
//! In: the conditions, the container instance as ECS describes it, the agent's configuration, and the devices of the host. Out:
//! a line for each missing attribute, with the reason why it is expected.

use std::collections::{BTreeMap, BTreeSet};

use super::Evidence;
use crate::boundary::aws::{AwsError, ContainerInstance};
use crate::followed_tags::FollowedTags;
use crate::plan::ReadyConditions;
use crate::redaction;

/// The attribute of an instance with a trunk network interface (Amazon ECS Developer Guide, "Container instance attributes").
const TRUNK: &str = "ecs.awsvpc-trunk-id";
/// The attribute of an agent that asks for a trunk interface (`agent/app/agent_capability_unix.go`).
const ASKS_FOR_TRUNK: &str = "ecs.capability.task-eni-trunking";
/// The attribute of a logging driver, without its name.
const LOGGING_DRIVER: &str = "com.amazonaws.ecs.capability.logging-driver.";

/// An attribute that the container instance must have and does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingAttribute {
    /// Its name, with the value if that matters.
    pub name: String,
    /// Why it is expected, or what is there instead.
    pub why: String,
}

/// Whether the container instance has the expected attributes.
#[derive(Debug)]
pub enum AttributeState<'e> {
    /// It has all of them.
    Complete,
    /// Some are missing.
    Missing(Vec<MissingAttribute>),
    /// ECS has not answered yet, or with an error.
    Unknown(Option<&'e AwsError>),
}

impl Evidence {
    /// The state of the expected attributes; `None` if none are expected.
    pub fn attribute_state(&self) -> Option<AttributeState<'_>> {
        let conditions = self.expectation.as_ref()?.waits_for_attributes()?;
        let instance = match &self.container_instance {
            Some(Ok(Some(instance))) => instance,
            Some(Err(error)) => return Some(AttributeState::Unknown(Some(error))),
            Some(Ok(None)) | None => return Some(AttributeState::Unknown(None)),
        };
        let mut missing = missing_named(&conditions.attributes.named, &instance.attributes);
        if conditions.attributes.auto {
            missing.extend(self.missing_derived(instance, conditions));
        }
        if !missing.is_empty() {
            return Some(AttributeState::Missing(missing));
        }
        Some(match &self.trunking {
            None if self.must_ask_for_trunking() => AttributeState::Unknown(None),
            Some(Err(error)) if self.must_ask_for_trunking() && !self.is_error_final(error) => {
                AttributeState::Unknown(Some(error))
            }
            _ => AttributeState::Complete,
        })
    }

    /// Whether it matters if trunking is on for the role: the agent asks for a trunk interface, and there is none.
    pub fn must_ask_for_trunking(&self) -> bool {
        let conditions = self.expectation.as_ref().and_then(|expected| expected.waits_for_attributes());
        let lacks_trunk = |instance: &ContainerInstance| {
            instance.attributes.contains_key(ASKS_FOR_TRUNK) && !instance.attributes.contains_key(TRUNK)
        };
        conditions.is_some_and(|conditions| conditions.attributes.auto) && self.described().is_some_and(lacks_trunk)
    }

    /// Why it is not known whether the trunk interface is expected.
    pub fn trunking_error(&self) -> Option<&AwsError> {
        self.trunking.as_ref()?.as_ref().err().filter(|_| self.must_ask_for_trunking())
    }

    /// Whether the trunk interface is not expected because of this error of the account setting: a denied call, or one that
    /// still fails when the window is over.
    fn is_error_final(&self, error: &AwsError) -> bool {
        let window = self.expectation.as_ref().map(|expected| expected.window);
        let is_window_over = self.registered_for.zip(window).is_none_or(|(since, window)| since >= window);
        error.is_denied() || is_window_over
    }

    /// The attributes that the agent must set: those in its configuration, and those in the plan.
    pub fn configured_attributes(&self) -> BTreeMap<String, String> {
        let mut attributes: BTreeMap<String, String> = match self.config.get("ECS_INSTANCE_ATTRIBUTES") {
            Some(text) => serde_json::from_str(text).unwrap_or_default(),
            None => BTreeMap::new(),
        };
        attributes.extend(self.expectation.iter().flat_map(|expected| expected.attributes.clone()));
        // A tag that has changed since the run is not in the file.
        if let Some(followed) = self.followed_now() {
            attributes.retain(|name, _| !followed.keys.contains(name));
            attributes.extend(followed.wanted.clone());
        }
        attributes
    }

    /// What is known about attributes that follow tags, if it is about this container instance and these settings.
    pub fn followed_now(&self) -> Option<&FollowedTags> {
        let rules = self.expectation.as_ref()?.follow.as_ref()?;
        let arn = self.container_instance_arn();
        self.followed.as_ref().filter(|known| Some(known.arn.as_str()) == arn && known.keys == rules.keys)
    }

    /// What `auto` expects and the container instance does not have.
    fn missing_derived(&self, instance: &ContainerInstance, conditions: &ReadyConditions) -> Vec<MissingAttribute> {
        let own = &instance.attributes;
        let configured = self.configured_attributes().into_iter().map(|(name, value)| (name, Some(value))).collect();
        let mut missing = missing_named(&configured, own);
        let drivers: Option<BTreeSet<String>> =
            self.config.get("ECS_AVAILABLE_LOGGING_DRIVERS").and_then(|text| serde_json::from_str(text).ok());
        let drivers = drivers.unwrap_or_default().into_iter().map(|driver| format!("{LOGGING_DRIVER}{driver}"));
        let of_driver = |name: String| missing_attribute(&name, "ECS_AVAILABLE_LOGGING_DRIVERS has this driver");
        missing.extend(drivers.filter(|name| !own.contains_key(name)).map(of_driver));
        let is_off = self.config.get("ECS_ENABLE_GPU_SUPPORT").is_some_and(|value| value.trim() == "false");
        let gpus = conditions.min_gpus.filter(|_| !is_off).map_or(0, |min| min.max(self.gpu_devices));
        if instance.gpus < gpus {
            let why = format!("the agent has registered {} in the resource `GPU`", instance.gpus);
            missing.push(missing_attribute(&format!("GPUs: {gpus}"), &why));
        }
        if self.must_ask_for_trunking() && matches!(self.trunking, Some(Ok(true))) {
            missing.push(missing_attribute(
                TRUNK,
                "the account setting `awsvpcTrunking` is on for the role of this instance",
            ));
        }
        missing
    }
}

fn missing_attribute(name: &str, why: &str) -> MissingAttribute {
    MissingAttribute { name: redaction::line(name), why: redaction::line(why) }
}

fn missing_named(expected: &BTreeMap<String, Option<String>>, own: &BTreeMap<String, String>) -> Vec<MissingAttribute> {
    let one = |(name, value): (&String, &Option<String>)| {
        let shown = value.as_ref().map_or_else(|| name.clone(), |value| format!("{name}={value}"));
        match (own.get(name), value) {
            (None, _) => Some(missing_attribute(&shown, "the container instance has no such attribute")),
            (Some(found), Some(value)) if found != value => {
                Some(missing_attribute(&shown, &format!("its value is `{found}`")))
            }
            (Some(_), _) => None,
        }
    };
    expected.iter().filter_map(one).collect()
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
            images: crate::images::WantedImages::default(),
            min_gpus: auto.then_some(0),
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
            Some(AttributeState::Missing(missing)) => missing.into_iter().map(|one| one.name).collect(),
            Some(AttributeState::Complete) => Vec::new(),
            state => panic!("{state:?}"),
        }
    }

    #[test]
    fn a_named_attribute_is_there_with_any_value_or_with_the_given_one() {
        let named = [("stack", Some("blue: x")), ("zone", None)];
        let nothing = Vec::<String>::new();
        assert_eq!(missing(&evidence(false, &named, &[("stack", "blue: x"), ("zone", "a")])), nothing);
        assert_eq!(missing(&evidence(false, &named, &[("stack", "green")])), ["stack=blue: x", "zone"]);
        assert_eq!(missing(&evidence(false, &[("stack", Some(""))], &[])), ["stack="]);
        assert_eq!(missing(&evidence(false, &[("stack", Some(""))], &[("stack", "")])), nothing);
    }

    #[test]
    fn auto_expects_what_the_configuration_and_the_host_have() {
        let own = [("com.amazonaws.ecs.capability.logging-driver.awslogs", ""), (ASKS_FOR_TRUNK, "")];
        let mut evidence = evidence(true, &[], &own);
        let state = evidence.attribute_state();
        assert!(matches!(state, Some(AttributeState::Unknown(None))), "ECS was not asked about trunking: {state:?}");
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
        let driver = "com.amazonaws.ecs.capability.logging-driver.splunk";
        assert_eq!(missing(&evidence), ["team=a", driver, "GPUs: 2", TRUNK]);
        evidence.trunking = None;
        assert_eq!(missing(&evidence).len(), 3, "what is known to be missing is named before the last answer");
        evidence.trunking = Some(Ok(false));
        evidence.config.insert("ECS_ENABLE_GPU_SUPPORT".to_owned(), "false".to_owned());
        assert_eq!(missing(&evidence), ["team=a", driver]);
    }

    #[test]
    fn the_number_of_gpus_is_that_of_the_devices_and_at_least_one_if_they_are_switched_on() {
        let mut evidence = evidence(true, &[], &[]);
        for (min, devices, gpus, is_missing) in [
            (None, 2, 0, false),
            (Some(0), 0, 0, false),
            (Some(0), 2, 1, true),
            (Some(0), 2, 2, false),
            (Some(1), 0, 0, true),
            (Some(1), 0, 1, false),
        ] {
            evidence.expectation.as_mut().unwrap().ready.as_mut().unwrap().min_gpus = min;
            evidence.gpu_devices = devices;
            if let Some(Ok(Some(instance))) = &mut evidence.container_instance {
                instance.gpus = gpus;
            }
            assert_eq!(!missing(&evidence).is_empty(), is_missing, "{min:?} {devices} {gpus}");
        }
    }

    #[test]
    fn nothing_is_expected_if_it_is_off() {
        let mut off = evidence(false, &[], &[]);
        assert!(off.attribute_state().is_none());
        off.expectation.as_mut().unwrap().ready = None;
        assert!(off.attribute_state().is_none());
    }
}
