//! The task role and the execution role: whether they exist, and whether ECS tasks can assume them.

use serde_json::Value;

use super::target::{Target, account_of, log_configurations};
use super::{Checks, image, secret};
use crate::causes;

impl Checks<'_> {
    pub(super) async fn roles(&self) {
        let roles = [("task role", "taskRoleArn"), ("execution role", "executionRoleArn")];
        let named = roles.map(|(what, member)| (what, self.target.task[member].as_str().unwrap_or_default()));
        if named[1].1.is_empty()
            && let Some(why) = needs_execution_role(&self.target)
        {
            self.fail(&causes::EXECUTION_ROLE_REQUIRED, format!("`executionRoleArn` is not set, but {why}"));
        }
        let given = named.into_iter().filter(|(_, role)| !role.is_empty());
        futures_util::future::join_all(given.map(|(what, role)| self.role(what, role))).await;
    }

    async fn role(&self, what: &str, given: &str) {
        let what = format!("{what} `{given}`");
        // A role of another account cannot be read.
        if let Some(account) = account_of(given)
            && self.account().await.as_deref() != Some(account)
        {
            return self.skip(&what, "it is of another account, or the account of the cluster is not known");
        }
        let name = given.rsplit('/').next().unwrap_or(given);
        let call = async |deadline| self.aws.role(name, deadline).await;
        let is_absent = |answer: &Option<_>| answer.is_none();
        match self.ask_twice(&what, is_absent, call).await {
            None => {}
            Some(None) => self.fail(&causes::ROLE_ABSENT, format!("the {what} does not exist")),
            Some(Some(role)) if account_of(given).is_some() && role.arn.starts_with("arn:") && role.arn != given => {
                self.fail(&causes::ROLE_ABSENT, format!("the {what} does not exist; there is `{}`", role.arn));
            }
            Some(Some(role)) => {
                if let Some(why) = cannot_be_assumed(&role.trust_policy) {
                    self.fail(&causes::ROLE_NOT_ASSUMABLE, format!("the trust policy of the {what} {why}"));
                }
            }
        }
    }
}

/// Why a task needs an execution role; `None` if it does not need one (ECS Developer Guide, "Amazon ECS task execution
/// IAM role").
fn needs_execution_role(target: &Target<'_>) -> Option<String> {
    if let Some(reference) = secret::references(target).into_iter().next() {
        return Some(format!("{} uses `{}`", reference.user, reference.text));
    }
    for container in target.containers() {
        let name = container["name"].as_str().unwrap_or_default();
        if container["environmentFiles"].as_array().is_some_and(|files| !files.is_empty()) {
            return Some(format!("container `{name}` has `environmentFiles`"));
        }
    }
    if !target.is_fargate() {
        return None;
    }
    if let Some((user, _)) = log_configurations(target).into_iter().find(|(_, log)| log["logDriver"] == "awslogs") {
        return Some(format!("{user} logs to awslogs on Fargate"));
    }
    let image = target.containers().filter_map(|one| one["image"].as_str()).find(|one| image::of_ecr(one).is_some());
    image.map(|image| format!("the image `{image}` is pulled from ECR on Fargate"))
}

/// The service that assumes the roles (ECS Developer Guide, "Amazon ECS task IAM role").
const ECS_TASKS: &str = "ecs-tasks.";

/// Why ECS tasks can never assume a role with this trust policy; `None` if they can, or if that is not certain.
/// Conditions are not evaluated.
fn cannot_be_assumed(policy: &str) -> Option<String> {
    let policy: Value = serde_json::from_str(policy).ok()?;
    let statements: Vec<&Value> = match &policy["Statement"] {
        Value::Array(list) => list.iter().collect(),
        one @ Value::Object(_) => vec![one],
        _ => return None,
    };
    // A principal or an action that is excluded, or named in an unknown form, may be the one that matters.
    let is_allowed = |statement: &&&Value| statement["Effect"] == "Allow" && concerns_tasks(statement, true);
    if !statements.iter().any(|statement| is_allowed(&statement)) {
        let services: Vec<String> = statements.iter().flat_map(|one| texts(&one["Principal"]["Service"])).collect();
        return Some(match services.as_slice() {
            [] => "allows no service to assume it".to_owned(),
            services => format!("allows `{}` to assume it, but not `ecs-tasks.amazonaws.com`", services.join("`, `")),
        });
    }
    let is_denied = |one: &&Value| one["Effect"] == "Deny" && one["Condition"].is_null() && concerns_tasks(one, false);
    statements.iter().any(is_denied).then(|| "denies `ecs-tasks.amazonaws.com` to assume it".to_owned())
}

/// Whether a statement is about AssumeRole by ECS tasks. `if_unknown` is the answer for forms that are not evaluated.
fn concerns_tasks(statement: &Value, if_unknown: bool) -> bool {
    let principal = &statement["Principal"];
    let is_tasks = match principal {
        Value::Object(members) if !members.is_empty() => {
            let services = texts(&members.get("Service").cloned().unwrap_or_default());
            services.iter().any(|service| {
                let service = service.to_ascii_lowercase();
                service.starts_with(ECS_TASKS) || (if_unknown && service.contains(['*', '?']))
            }) || (if_unknown && texts(&members.get("AWS").cloned().unwrap_or_default()).iter().any(|one| one == "*"))
        }
        // `*`, or `NotPrincipal`.
        _ => if_unknown,
    };
    let is_assume = match &statement["Action"] {
        Value::Null => if_unknown,
        action => texts(action).iter().any(|action| matches(&action.to_ascii_lowercase(), "sts:assumerole")),
    };
    is_tasks && is_assume
}

/// A string or a list of strings.
fn texts(value: &Value) -> Vec<String> {
    let list = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    list.iter().filter_map(|one| one.as_str().map(str::to_owned)).collect()
}

/// Whether a pattern of IAM (`*`, `?`) matches a text (IAM User Guide, "IAM JSON policy elements: Action").
fn matches(pattern: &str, text: &str) -> bool {
    let mut reached = vec![false; text.len() + 1];
    reached[0] = true;
    for sign in pattern.bytes() {
        let mut next = vec![false; text.len() + 1];
        for at in 0..=text.len() {
            next[at] = match sign {
                b'*' => reached[at] || (at > 0 && next[at - 1]),
                b'?' => at > 0 && reached[at - 1],
                sign => at > 0 && reached[at - 1] && text.as_bytes()[at - 1] == sign,
            };
        }
        reached = next;
    }
    reached[text.len()]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policy(statements: Value) -> String {
        json!({"Version": "2012-10-17", "Statement": statements}).to_string()
    }

    fn tasks(action: &Value) -> Value {
        json!({"Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"}, "Action": action})
    }

    #[test]
    fn a_role_that_tasks_can_assume_is_accepted_in_each_form() {
        let tasks = tasks(&json!("sts:AssumeRole"));
        for statements in [
            json!([tasks]),
            tasks.clone(),
            json!([{"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::1:root"}, "Action": "sts:AssumeRole"}, tasks]),
            json!([{"Effect": "Allow", "Principal": {"Service": ["ec2.amazonaws.com", "ecs-tasks.amazonaws.com"]},
                    "Action": ["sts:TagSession", "sts:AssumeRole"]}]),
            json!([{"Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"}, "Action": "sts:Assume*",
                    "Condition": {"StringEquals": {"aws:SourceAccount": "999999999999"}}}]),
            json!([{"Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"}, "Action": "STS:assumerole"}]),
            json!([{"Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"}, "Action": "*"}]),
            json!([{"Effect": "Allow", "Principal": "*", "Action": "sts:AssumeRole"}]),
            json!([{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}]),
            json!([{"Effect": "Allow", "NotPrincipal": {"Service": "x"}, "Action": "sts:AssumeRole"}]),
            json!([{"Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"}, "NotAction": "sts:X"}]),
            json!([tasks, {"Effect": "Deny", "Principal": {"Service": "ecs-tasks.amazonaws.com"},
                           "Action": "sts:AssumeRole", "Condition": {"Bool": {"a": "b"}}}]),
            json!([tasks, {"Effect": "Deny", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}]),
        ] {
            assert_eq!(cannot_be_assumed(&policy(statements.clone())), None, "{statements}");
        }
        for unknown in ["", "not json", "{}", "[]", "{\"Statement\": 7}"] {
            assert_eq!(cannot_be_assumed(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn a_role_that_tasks_can_never_assume_is_found() {
        for (statements, part) in [
            (
                json!([{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]),
                "allows `ec2.amazonaws.com`",
            ),
            (
                json!([{"Effect": "Allow", "Principal": {"Service": "ecs.amazonaws.com"}, "Action": "sts:AssumeRole"}]),
                "allows `ecs.amazonaws.com`",
            ),
            (
                json!([{"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::1:root"}, "Action": "sts:AssumeRole"}]),
                "allows no service",
            ),
            (json!([tasks(&json!("sts:TagSession"))]), "not `ecs-tasks.amazonaws.com`"),
            (
                json!([tasks(&json!("sts:AssumeRole")), {"Effect": "Deny", "Action": "sts:*",
                    "Principal": {"Service": "ecs-tasks.amazonaws.com"}}]),
                "denies",
            ),
            (json!([]), "allows no service"),
        ] {
            let why = cannot_be_assumed(&policy(statements.clone())).unwrap_or_default();
            assert!(why.contains(part), "{statements}: {why:?}");
        }
    }

    #[test]
    fn patterns_of_actions_match_as_in_iam() {
        for (pattern, expected) in [
            ("sts:assumerole", true),
            ("sts:*", true),
            ("*", true),
            ("sts:assume*", true),
            ("sts:assumer?le", true),
            ("s*:*role", true),
            ("sts:assumerolewith*", false),
            ("sts:assumerol", false),
            ("", false),
        ] {
            assert_eq!(matches(pattern, "sts:assumerole"), expected, "{pattern}");
        }
    }
}
