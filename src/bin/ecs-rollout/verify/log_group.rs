//! The log groups of awslogs.

use std::collections::BTreeMap;

use super::Checks;
use super::target::log_configurations;
use crate::causes;

impl Checks<'_> {
    pub(super) async fn log_groups(&self) {
        let mut groups: BTreeMap<(Option<String>, String), String> = BTreeMap::new();
        for (user, log) in log_configurations(&self.target) {
            let option = |name: &str| log["options"][name].as_str().filter(|text| !text.is_empty());
            if log["logDriver"] != "awslogs" || option("awslogs-create-group").is_some_and(is_true) {
                continue;
            }
            if let Some(group) = option("awslogs-group") {
                groups.entry((option("awslogs-region").map(str::to_owned), group.to_owned())).or_insert(user);
            }
        }
        let all = groups.iter().map(|((region, group), user)| self.log_group(region.as_deref(), group, user));
        futures_util::future::join_all(all).await;
    }

    async fn log_group(&self, region: Option<&str>, group: &str, user: &str) {
        let what = format!("log group `{group}`");
        let call = async |deadline| self.aws.log_group_exists(group, region, deadline).await;
        if self.ask_twice(&what, |exists| !exists, call).await == Some(false) {
            let place = region.map(|region| format!(" in {region}")).unwrap_or_default();
            self.fail(&causes::LOG_GROUP_ABSENT, format!("the {what} of {user} does not exist{place}"));
        }
    }
}

/// Docker parses the option with Go's `strconv.ParseBool`.
fn is_true(text: &str) -> bool {
    ["1", "t", "T", "true", "TRUE", "True"].contains(&text)
}
