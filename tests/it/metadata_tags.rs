//! Tags of an instance whose metadata has no tags, because some tag is not allowed there.

use crate::signal::waited_for;
use crate::support::Instance;

/// EC2 does not launch an instance with such tags while its metadata has tags (EC2 User Guide, "View tags for your EC2
/// instances using instance metadata"). They are switched off there, and `ec2:DescribeTags` returns all of them.
const NOT_IN_METADATA: [&str; 11] =
    ["cost center", "team/web", ".", "..", "_index", "caf\u{e9}", "a&b<c>", "\"quoted\"", "a;b", "'", "%41"];

#[test]
fn tags_that_metadata_cannot_have_do_not_hide_the_cluster_the_stack_and_the_group() {
    let instance = waited_for(Instance::new()).without_imds_tags();
    let of_aws = [
        ("ecs-bootstrap:cluster", "prod"),
        ("aws:cloudformation:stack-name", "fleet"),
        ("aws:cloudformation:logical-id", "Group"),
        ("aws:autoscaling:groupName", "fleet"),
    ];
    instance.aws.change(|aws| {
        aws.waiting.resources.insert(("fleet".into(), "Group".into()), true);
        let tags = of_aws.into_iter().chain(NOT_IN_METADATA.map(|key| (key, "x")));
        let tags = tags.map(|(key, value)| (key.to_owned(), value.to_owned()));
        aws.instance_tags.insert("i-0123456789abcdef0".into(), tags.collect());
    });
    let settings = ["signal.cloudformation=true", "signal.lifecycle=true"];
    let outcome = instance.run(&["run", "--wait", "--set", settings[0], "--set", settings[1]]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    for text in ["`prod`", "SUCCESS to cloudformation, sent", "CONTINUE to launch-hook, sent"] {
        assert!(outcome.stdout.contains(text) || outcome.stderr.contains(text), "no `{text}` in {outcome:#?}");
    }
}
