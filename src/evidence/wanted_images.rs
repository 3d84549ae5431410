//! The images that docker must have before the instance is ready (`ready.images`), and what of them is missing.
//!
//! In: the conditions, and the state of the pulls that `pull-images` stores. Out: what is missing, with the reason.

use super::Evidence;
use crate::images::{Pull, PullState, Pulls, Reason};
use crate::plan::ReadyConditions;
use crate::redaction;

/// Whether docker has the images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageState<'e> {
    /// It has all of them.
    Complete,
    /// They are being pulled.
    Pulling(&'e Pulls),
    /// The pulls have ended, and some are missing.
    Missing(&'e Pulls),
    /// Nothing is known: the pulls have not begun.
    Unknown,
}

impl Evidence {
    /// The conditions, if images are among them.
    fn waits_for_images(&self) -> Option<&ReadyConditions> {
        self.expectation.as_ref()?.waits_for_images()
    }

    /// The state of the images; `None` if none must be there.
    pub fn image_state(&self) -> Option<ImageState<'_>> {
        let conditions = self.waits_for_images()?;
        let pulls = self.pulls.as_ref().filter(|pulls| pulls.wanted == conditions.images);
        Some(match pulls {
            Some(pulls) if pulls.is_complete() => ImageState::Complete,
            Some(pulls) if pulls.has_ended => ImageState::Missing(pulls),
            Some(pulls) => ImageState::Pulling(pulls),
            None => ImageState::Unknown,
        })
    }

    /// The pulls for which the start of the agent waits.
    pub fn held_by_images(&self) -> Option<&Pulls> {
        let holds = self.waits_for_images()?.images.holds_registration && self.container_instance_arn().is_none();
        match self.image_state()? {
            ImageState::Pulling(pulls) if holds => Some(pulls),
            _ => None,
        }
    }
}

/// The images that docker does not have, as evidence lines, if their reason is one of these. Nothing is known about an image
/// that was not tried.
pub fn missing_images(pulls: &Pulls, reasons: &[Reason]) -> Vec<String> {
    let line = |pull: &Pull| {
        let reason = pull.failure.as_ref().map_or(Reason::Other, |failure| failure.reason);
        let is_missing = pull.state != PullState::Present && reasons.contains(&reason);
        is_missing.then(|| format!("`{}`: {}", pull.image, why(pull)))
    };
    let services = pulls.services.iter().filter(|failure| reasons.contains(&failure.reason));
    let services = services.map(|failure| format!("the images of the services are not known: {}", failure.text));
    services.chain(pulls.images.iter().filter_map(line)).map(|line| redaction::line(&line)).collect()
}

fn why(pull: &Pull) -> String {
    match &pull.failure {
        Some(failure) => failure.text.clone(),
        None => {
            format!("not complete after {} s, {} of {} bytes", pull.duration_ms / 1000, pull.bytes, pull.total_bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::images::{Failure, WantedImages};
    use crate::plan::Expectation;
    use crate::settings::{AtDeadline, Daemons, ReadyAttributes};

    fn evidence(pulls: Option<Pulls>, holds: bool) -> Evidence {
        let images = WantedImages { named: vec!["a".into()], of_services: Vec::new(), holds_registration: holds };
        let ready = ReadyConditions {
            daemons: Daemons::None,
            attributes: ReadyAttributes::default(),
            images: images.clone(),
            min_gpus: None,
            deadline: Duration::from_secs(300),
            at_deadline: AtDeadline::Fail,
        };
        Evidence {
            expectation: Some(Expectation { ready: Some(ready), ..Expectation::default() }),
            pulls: pulls.map(|pulls| Pulls { wanted: images, ..pulls }),
            ..Evidence::default()
        }
    }

    fn pulls(state: PullState, has_ended: bool) -> Pulls {
        let images = vec![Pull { state, ..Pull::new("a".into()) }];
        Pulls { has_ended, images, ..Pulls::default() }
    }

    #[test]
    fn only_an_end_with_all_images_is_complete() {
        use PullState::{Absent, Present, Pulling};
        for (state, has_ended, expected) in [
            (Present, true, "Complete"),
            (Present, false, "Pulling"),
            (Pulling, false, "Pulling"),
            (Absent, true, "Missing"),
        ] {
            let evidence = evidence(Some(pulls(state, has_ended)), true);
            let found = format!("{:?}", evidence.image_state().unwrap());
            assert!(found.starts_with(expected), "{state:?} {has_ended}: {found}");
            assert_eq!(evidence.held_by_images().is_some(), expected == "Pulling", "{state:?} {has_ended}");
        }
        assert_eq!(evidence(None, true).image_state(), Some(ImageState::Unknown));
        assert!(evidence(Some(pulls(Pulling, false)), false).held_by_images().is_none());
    }

    #[test]
    fn pulls_of_other_settings_say_nothing() {
        let mut other = evidence(Some(pulls(PullState::Present, true)), false);
        other.pulls.as_mut().unwrap().wanted.named.push("b".into());
        assert_eq!(other.image_state(), Some(ImageState::Unknown));
        other.expectation.as_mut().unwrap().ready = None;
        assert_eq!(other.image_state(), None);
    }

    #[test]
    fn the_lines_are_those_of_the_reason() {
        let failed = |reason, text: &str| Some(Failure { reason, text: text.into() });
        let pull = |image: &str, failure| Pull { state: PullState::Absent, failure, ..Pull::new(image.into()) };
        let pulls = Pulls {
            images: vec![pull("a", failed(Reason::Denied, "denied")), pull("b", None)],
            services: failed(Reason::NotFound, "no service `x`"),
            ..Pulls::default()
        };
        assert_eq!(missing_images(&pulls, &[Reason::Denied]), ["`a`: denied"]);
        assert_eq!(missing_images(&pulls, &[Reason::Other]), ["`b`: not complete after 0 s, 0 of 0 bytes"]);
        assert_eq!(
            missing_images(&pulls, &[Reason::NotFound]),
            ["the images of the services are not known: no service `x`"]
        );
    }
}
