//! The images that the command line names, and how they replace those of a task definition.
//!
//! In: the options `--image` and `--tag`, and a task definition. Out: the task definition with only `image` of some
//! containers changed, or why the options do not fit it.

use std::collections::BTreeSet;

use clap::Args;
use serde_json::{Value, json};

#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ImageFlags {
    /// The image of a container, instead of the one in the task definition; `CONTAINER=` can be left out if there is
    /// only one container; may be repeated
    #[arg(long, value_name = "[CONTAINER=]IMAGE", value_parser = image)]
    pub(crate) image: Vec<ForContainer>,
    /// The tag of a container's image, instead of its tag or digest; without `CONTAINER=`, of every image; may be
    /// repeated
    #[arg(long, value_name = "[CONTAINER=]TAG", value_parser = tag)]
    pub(crate) tag: Vec<ForContainer>,
}

/// A value for one container, or without a name for the only one or for all.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ForContainer {
    container: Option<String>,
    value: String,
}

/// Splits `CONTAINER=VALUE`. Neither an image nor a tag can contain `=` (OCI Distribution Specification, "Pulling
/// manifests").
fn for_container(text: &str) -> Result<ForContainer, String> {
    match text.split_once('=') {
        Some(("", _)) => Err("the name of the container before `=` is empty".to_owned()),
        Some((container, value)) => Ok(ForContainer { container: Some(container.to_owned()), value: value.to_owned() }),
        None => Ok(ForContainer { container: None, value: text.to_owned() }),
    }
}

/// Parses `[CONTAINER=]IMAGE`. Whether the image exists is left to ECS, but a part that is empty because a variable of
/// the pipeline was not set is an error.
fn image(text: &str) -> Result<ForContainer, String> {
    let parsed = for_container(text)?;
    let image = parsed.value.as_str();
    if image.is_empty() {
        return Err("the image is empty".to_owned());
    }
    if let Some(wrong) = image.chars().find(|c| c.is_whitespace() || c.is_control() || *c == '=') {
        return Err(format!("an image cannot contain {wrong:?}"));
    }
    let (name, version) = split(image);
    let is_complete = match version.chars().next() {
        Some(':') => is_tag(&version[1..]),
        Some(_) => is_digest(&version[1..]),
        None => true,
    };
    if name.is_empty() || name.ends_with(['/', ':', '@']) || !is_complete {
        return Err(format!("`{image}` is not an image: its name, tag or digest is empty or not valid"));
    }
    Ok(parsed)
}

/// Parses `[CONTAINER=]TAG`.
fn tag(text: &str) -> Result<ForContainer, String> {
    let parsed = for_container(text)?;
    if !is_tag(&parsed.value) {
        return Err(format!(
            "`{}` is not a tag: 1 to 128 letters, digits, `_`, `.` and `-`, of which the first is not `.` or `-`; a \
             digest is set with `--image`",
            parsed.value
        ));
    }
    Ok(parsed)
}

/// Whether it is a tag (OCI Distribution Specification, "Pulling manifests").
fn is_tag(text: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.len() <= 128 && text.starts_with(is_word) && text.chars().all(|c| is_word(c) || c == '.' || c == '-')
}

/// Whether it is a digest, for example `sha256:0123...` (OCI Image Format Specification, "Digests").
fn is_digest(text: &str) -> bool {
    let Some((algorithm, encoded)) = text.split_once(':') else { return false };
    let has_length = algorithm != "sha256" || encoded.len() == 64;
    !algorithm.is_empty() && has_length && encoded.len() >= 32 && encoded.chars().all(|c| c.is_ascii_alphanumeric())
}

/// The name of an image, and its tag or digest with the leading `:` or `@`. The `:` of a registry's port is before a
/// `/`. Of an image with both a tag and a digest, both are the version.
fn split(image: &str) -> (&str, &str) {
    let (with_tag, digest) = match image.find('@') {
        Some(at) => image.split_at(at),
        None => (image, ""),
    };
    let path = with_tag.rfind('/').map_or(0, |slash| slash + 1);
    let end = with_tag[path..].find(':').map_or(with_tag.len(), |colon| path + colon);
    if digest.is_empty() { image.split_at(end) } else { (&image[..end], digest) }
}

impl ImageFlags {
    pub(crate) fn is_empty(&self) -> bool {
        self.image.is_empty() && self.tag.is_empty()
    }

    /// Sets the images in a task definition. Returns whether any of them changed.
    pub(crate) fn apply(&self, task: &mut Value) -> Result<bool, String> {
        let mut no_containers = Vec::new();
        let containers = task["containerDefinitions"].as_array_mut().unwrap_or(&mut no_containers);
        let names: Vec<String> =
            containers.iter().map(|one| one["name"].as_str().unwrap_or_default().to_owned()).collect();
        let mut set = BTreeSet::new();
        let mut is_changed = false;
        let images = self.image.iter().map(|one| ("--image", one));
        for (option, one) in images.chain(self.tag.iter().map(|one| ("--tag", one))) {
            for index in one.indexes(option, &names)? {
                let old = containers[index]["image"].as_str().unwrap_or_default().to_owned();
                let new = match option {
                    "--image" => one.value.clone(),
                    _ => format!("{}:{}", split(&old).0, one.value),
                };
                if !set.insert(index) && new != old {
                    let name = &names[index];
                    return Err(format!("the image of the container `{name}` is set twice by `--image` and `--tag`"));
                }
                is_changed |= new != old;
                containers[index]["image"] = json!(new);
            }
        }
        Ok(is_changed)
    }
}

impl ForContainer {
    /// The indexes of the containers that are meant.
    fn indexes(&self, option: &str, names: &[String]) -> Result<Vec<usize>, String> {
        let listed = || names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        match &self.container {
            Some(name) => match names.iter().position(|known| known == name) {
                Some(index) => Ok(vec![index]),
                None => Err(format!(
                    "`{option} {name}=...`: the task definition has no such container; it has {}",
                    listed()
                )),
            },
            None if option == "--tag" || names.len() == 1 => Ok((0..names.len()).collect()),
            None => Err(format!(
                "`{option} {}`: the task definition has several containers; write `{option} CONTAINER={}` with one of {}",
                self.value,
                self.value,
                listed()
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn flags(images: &[&str], tags: &[&str]) -> ImageFlags {
        ImageFlags {
            image: images.iter().map(|text| image(text).unwrap()).collect(),
            tag: tags.iter().map(|text| tag(text).unwrap()).collect(),
        }
    }

    fn applied(images: &[&str], tags: &[&str], before: &[(&str, &str)]) -> Result<Vec<String>, String> {
        let containers: Vec<_> = before.iter().map(|(name, image)| json!({"name": name, "image": image})).collect();
        let mut task = json!({"containerDefinitions": containers});
        flags(images, tags).apply(&mut task)?;
        let containers = task["containerDefinitions"].as_array().unwrap();
        Ok(containers.iter().map(|one| one["image"].as_str().unwrap().to_owned()).collect())
    }

    #[test]
    fn a_tag_replaces_the_tag_or_digest_and_not_the_port_of_the_registry() {
        for (before, after) in [
            ("web", "web:7"),
            ("web:1", "web:7"),
            ("team/web:1", "team/web:7"),
            ("host:5000/x/y", "host:5000/x/y:7"),
            ("host:5000/x/y:tag", "host:5000/x/y:7"),
            (&format!("host:5000/x/y@{DIGEST}"), "host:5000/x/y:7"),
            (&format!("host:5000/y:tag@{DIGEST}"), "host:5000/y:7"),
            ("1.dkr.ecr.eu-west-1.amazonaws.com/web:1", "1.dkr.ecr.eu-west-1.amazonaws.com/web:7"),
            ("[::1]:5000/web:1", "[::1]:5000/web:7"),
        ] {
            assert_eq!(applied(&[], &["7"], &[("web", before)]).unwrap(), [after], "{before}");
        }
    }

    #[test]
    fn options_without_a_name_mean_the_only_container_or_for_tags_all() {
        let two = [("web", "web:1"), ("log", "log:1")];
        assert_eq!(applied(&["web:2"], &[], &two[..1]).unwrap(), ["web:2"]);
        assert_eq!(applied(&["log=log:2"], &[], &two).unwrap(), ["web:1", "log:2"]);
        assert_eq!(applied(&[], &["2"], &two).unwrap(), ["web:2", "log:2"]);
        assert_eq!(applied(&["web=x:2"], &["log=3"], &two).unwrap(), ["x:2", "log:3"]);
        for (images, tags, expected) in [
            (&["x:2"][..], &[][..], "several containers; write `--image CONTAINER=x:2` with one of `web`, `log`"),
            (&["wep=x:2"], &[], "`--image wep=...`: the task definition has no such container; it has `web`, `log`"),
            (&[], &["wep=2"], "`--tag wep=...`: the task definition has no such container"),
            (&["web=x:2"], &["3"], "the image of the container `web` is set twice"),
            (&["web=x:2", "web=x:3"], &[], "the image of the container `web` is set twice"),
        ] {
            let error = applied(images, tags, &two).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        let mut empty = json!({});
        assert_eq!(flags(&[], &["2"]).apply(&mut empty), Ok(false));
    }

    #[test]
    fn an_image_with_a_part_that_a_variable_left_empty_is_refused() {
        for text in [
            "",
            "web=",
            "=web:1",
            "web=x:",
            "x:",
            "x@",
            "x@sha256:",
            "host:5000/",
            ":1",
            "web= ",
            "a b",
            "x:a/",
            "x:.a",
            "x@sha256:0123",
            "web=x=y",
        ] {
            assert!(image(text).is_err(), "{text}");
        }
        for text in ["web", "web=web:1", "host:5000/x/y:tag", &format!("x@{DIGEST}"), &format!("web=x:1@{DIGEST}")] {
            assert!(image(text).is_ok(), "{text}");
        }
        for text in ["", "web=", ".a", "-a", "a b", "a:b", "a/b", DIGEST, &"a".repeat(129), "web=a=b"] {
            assert!(tag(text).is_err(), "{text}");
        }
        for text in ["1", "v1.2_3-rc.1", "web=latest", &"a".repeat(128)] {
            assert!(tag(text).is_ok(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn name_and_version_are_the_whole_image(
            host in "([a-z.]{1,9}(:[0-9]{1,5})?/)?", path in "[a-z0-9]{1,6}(/[a-z0-9._-]{1,6}){0,2}",
            version in "(:[a-zA-Z0-9_][a-zA-Z0-9._-]{0,9})?",
        ) {
            let name = host + &path;
            let image = format!("{name}{version}");
            prop_assert_eq!(split(&image), (name.as_str(), version.as_str()));
            let with_digest = format!("{image}@{DIGEST}");
            prop_assert_eq!(split(&with_digest), (name.as_str(), &*format!("@{DIGEST}")));
        }
    }
}
