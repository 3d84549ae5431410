//! Simulates the EC2 API for tags of instances (Amazon EC2 API Reference, "CreateTags", "DescribeTags").

use super::{ApiError, State, Tags, escape};
use std::collections::BTreeMap;
use std::time::Instant;

impl State {
    fn create_tags(&mut self, form: &BTreeMap<String, String>) -> Result<String, ApiError> {
        let field = |name: String| form.get(&name).cloned();
        let tags = (1..).map_while(|at| Some((field(format!("Tag.{at}.Key"))?, field(format!("Tag.{at}.Value"))?)));
        let tags: Tags = tags.collect();
        if let Some(key) = tags.keys().find(|key| self.refused_tags.iter().any(|refused| key.ends_with(refused))) {
            let text =
                format!("You are not authorized to perform this operation: the policy does not allow the tag {key}.");
            return Err((403, "UnauthorizedOperation".into(), text));
        }
        self.instance_tags.entry(field("ResourceId.1".into()).unwrap_or_default()).or_default().extend(tags);
        Ok("<CreateTagsResponse \
         xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><return>true</return></CreateTagsResponse>"
            .to_owned())
    }

    pub(super) fn ec2(&mut self, operation: &str, form: &BTreeMap<String, String>) -> Result<String, ApiError> {
        if operation == "CreateTags" {
            return self.create_tags(form);
        }
        if operation != "DescribeTags" {
            return Err((
                400,
                "InvalidAction".into(),
                format!("The action {operation} is not valid for this web service."),
            ));
        }
        let calls = self.counts.get("DescribeTags").copied().unwrap_or_default();
        let hidden = calls <= self.tags_after_calls || self.tags_after.is_some_and(|at| Instant::now() < at);
        let mut items = String::new();
        for (id, tags) in self.instance_tags.iter().filter(|_| !hidden) {
            for (key, value) in tags.iter().filter(|(key, value)| matches(form, id, key, value)) {
                let (key, value) = (escape(key), escape(value));
                items += &format!(
                    "<item><resourceId>{id}</resourceId><resourceType>instance</resourceType>\
                     <key>{key}</key><value>{value}</value></item>"
                );
            }
        }
        let space = "http://ec2.amazonaws.com/doc/2016-11-15/";
        Ok(format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<DescribeTagsResponse xmlns=\"{space}\">\
             <requestId>simulated</requestId><tagSet>{items}</tagSet></DescribeTagsResponse>"
        ))
    }
}

/// Whether a tag matches all filters of a DescribeTags call (`Filter.1.Name`, `Filter.1.Value.1`).
fn matches(form: &BTreeMap<String, String>, id: &str, key: &str, value: &str) -> bool {
    form.iter().filter(|(field, _)| field.starts_with("Filter.") && field.ends_with(".Name")).all(|(field, name)| {
        let subject = match name.as_str() {
            "resource-id" => id,
            "resource-type" => "instance",
            "key" => key,
            "value" => value,
            _ => return false,
        };
        let values = field.replace(".Name", ".Value.");
        form.iter().any(|(field, pattern)| field.starts_with(&values) && glob(pattern, subject))
    })
}

fn glob(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, rest)) => text
            .strip_prefix(head)
            .is_some_and(|tail| tail.char_indices().any(|(at, _)| glob(rest, &tail[at..])) || glob(rest, "")),
    }
}
