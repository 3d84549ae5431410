//! Usual files with and without mistakes: each finding with its place.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::{Checked, InputType, Level, Options, check};

/// `LINE:COLUMN LEVEL ID` of each finding.
pub(super) fn found(checked: &Checked) -> Vec<String> {
    let line = |f: &super::Finding| format!("{}:{} {} {}", f.line, f.column, f.level, f.id);
    checked.findings.iter().map(line).collect()
}

pub(super) fn checked(name: &str, text: impl AsRef<[u8]>) -> Checked {
    check(name, text.as_ref(), Options::default()).unwrap_or_else(|| panic!("{name} was not recognised"))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

const SCRIPT: &str = r#"#!/bin/bash -xe
exec > >(tee /var/log/user-data.log|logger -t user-data -s 2>/dev/console) 2>&1
CLUSTER=$(curl -s "http://169.254.169.254/latest/meta-data/tags/instance/cluster")
echo "ECS_CLUSTER=${CLUSTER}" >> /etc/ecs/ecs.config
echo 'ECS_AVAILABLE_LOGGING_DRIVERS=["json-file","awslogs"]' >> /etc/ecs/ecs.config
echo "ECS_INSTANCE_ATTRIBUTES={\"role\":\"worker\",\"az\":\"$AZ\"}" >> /etc/ecs/ecs.config
echo ECS_INSTANCE_ATTRIBUTES={\"role\":\"worker\"} >> /etc/ecs/ecs.config
echo ECS_ENABLE_CONTAINER_METADATA=true | sudo tee -a /etc/ecs/ecs.config # don't
cat <<EOF >> /etc/ecs/ecs.config
# don't panic
ECS_ENGINE_AUTH_TYPE=docker
ECS_ENGINE_AUTH_DATA={"https://index.docker.io/v1/":{"username":"$U","password":"$P"}}
$EXTRA
EOF
if [ "$SPOT" = "yes" ]; then
  echo ECS_ENABLE_SPOT_INSTANCE_DRAINING=true >> /etc/ecs/ecs.config
else
  echo ECS_ENABLE_SPOT_INSTANCE_DRAINING=false >> /etc/ecs/ecs.config
fi
{
  echo "ECS_DISABLE_PRIVILEGED=true"
  cat <<-'END'
	ECS_CONTAINER_STOP_TIMEOUT=2m
	END
} >> /etc/ecs/ecs.config
printf 'ECS_DATADIR=%s\n' <DATA_FOLDER> >> /etc/ecs/ecs.config
echo "ECS_LOGLEVEL is $LEVEL"; echo "ECS_LOGLEVEL=$LEVEL"
report() { echo ECS_DATADIR=/x; }
{ echo ECS_CLUSTER=a; echo ECS_NVIDIA_RUNTIME=nvidia; } > /etc/ecs/ecs.config
cat <<X > /etc/motd
  X
X
echo ECS_DATADIR={/a,/b} > /dev/null
printf 'ECS_LOGLEVEL=%s\nECS_DATADIR=/data\n' "$LEVEL" >> /etc/ecs/ecs.config
sudo bash -c "echo ECS_POLL_METRICS=true >> /etc/ecs/ecs.config"
echo "ECS_CLUSTER=x y" > /tmp/other
sed -i 's/^ECS_CLUSTER=.*/ECS_CLUSTER=x y/' /etc/ecs/ecs.config
(crontab -l 2>/dev/null; echo "* * * * * sh /home/x.sh") | crontab -
start ecs
"#;

const CLOUD_CONFIG: &str = r#"#cloud-config
write_files:
  - path: /etc/ecs/ecs.config
    permissions: '0644'
    content: |
      # comment
      ECS_CLUSTER=${cluster}
      ECS_AVAILABLE_LOGGING_DRIVERS=["json-file","awslogs"]
  - path: /etc/motd
    content: "ECS_CLUSTER=a b"
runcmd:
  - echo "ECS_CLUSTER=prod" >> /etc/ecs/ecs.config # comment
  - [ sh, -c, "echo 'ECS_LOGLEVEL=info' >> /etc/ecs/ecs.config" ]
  - |
    cat <<EOF >> /etc/ecs/ecs.config
    ECS_RESERVED_MEMORY=128
    EOF
"#;

const TERRAFORM: &str = r#"resource "aws_launch_template" "ecs" {
  name = "it's a test"
  user_data = base64encode(<<-EOF
    #!/bin/bash
    cat <<'EOT' >> /etc/ecs/ecs.config
    ECS_CLUSTER=${aws_ecs_cluster.this.name}
    ECS_CONTAINER_INSTANCE_TAGS=${jsonencode(local.tags)}
    EOT
    echo ECS_CLUSTER=${format("%s-cluster", var.env)} >> /etc/ecs/ecs.config;echo ECS_BACKEND_HOST= >> /etc/ecs/ecs.config;
  EOF
  )
}
"#;

const CLOUDFORMATION: &str = r#"Resources:
  Config:
    Metadata:
      AWS::CloudFormation::Init:
        config:
          commands:
            01_add:
              command: !Sub echo ECS_CLUSTER=${ECSCluster} >> /etc/ecs/ecs.config
    Properties:
      UserData:
        Fn::Base64: !Sub |
          #!/bin/bash -xe
          echo ECS_CLUSTER=${ECSCluster} >> /etc/ecs/ecs.config
          /opt/aws/bin/cfn-signal -e $? --region ${AWS::Region}
"#;

const TEMPLATE: &str = r#"#!/bin/bash
cat <<'EOF' >> /etc/ecs/ecs.config
ECS_CLUSTER=${cluster_name}
ECS_INSTANCE_ATTRIBUTES={"stack":"${stack}"}
%{ if spot ~}
ECS_ENABLE_SPOT_INSTANCE_DRAINING=true
%{ endif ~}
EOF
echo ECS_CLUSTER=$${CLUSTER} >> /etc/ecs/ecs.config
${extra}
"#;

#[test]
fn a_file_without_a_mistake_has_no_finding() {
    let config = "# x\nECS_CLUSTER=prod\nDD_API_KEY=hunter2\nECS_RESERVED_PORTS=[22, 80]\nNO_PROXY=169.254.169.254\n";
    for (name, text) in [
        ("user-data.sh", SCRIPT.to_owned()),
        ("user-data.sh", SCRIPT.replace('\n', "\r\n")),
        ("cloud.yaml", CLOUD_CONFIG.to_owned()),
        ("main.tf", TERRAFORM.to_owned()),
        ("stack.yaml", CLOUDFORMATION.to_owned()),
        ("user_data.tpl", TEMPLATE.to_owned()),
        ("ecs.config", config.to_owned()),
        ("ecs.config", config.replace('\n', "\r\n")),
        ("ecs.config.tpl", "ECS_CLUSTER=${cluster}\nECS_LOGLEVEL={{ level }}\n".to_owned()),
        ("user-data.ps1", "<powershell>\nInitialize-ECSAgent -Cluster 'prod'\n</powershell>\n".to_owned()),
        ("user-data.json", "{\"ignition\":{\"version\":\"3.3.0\"}}".to_owned()),
        ("user-data.toml", "[settings.ecs]\ncluster = \"prod\"\n".to_owned()),
        ("ecs.config.json", "{\"cluster\": \"prod\", \"ReservedMemory\": 128, \"Other\": []}".to_owned()),
        ("config.toml", "cluster = \"prod\"\n[agent]\nDD_SITE = \"eu\"\n".to_owned()),
        ("user-data", "#ECS-Bootstrap\ncluster = \"prod\"\n".to_owned()),
        ("user-data", "{\"ECSAgentConfiguration\": {\"Cluster\": \"prod\"}}".to_owned()),
        ("x", String::new()),
    ] {
        assert_eq!(found(&checked(name, &text)), Vec::<String>::new(), "{name}\n{text}");
    }
    for text in [SCRIPT, CLOUD_CONFIG] {
        assert_eq!(found(&checked("user-data", gzip(text.as_bytes()))), Vec::<String>::new(), "{text}");
    }
}

/// A script that sets the cluster, and this line after it.
fn script(line: &str) -> String {
    format!("#!/bin/bash\necho ECS_CLUSTER=prod >> /etc/ecs/ecs.config\n{line}\n")
}

fn is(name: &str, text: &str, expected: &[&str]) {
    assert_eq!(found(&checked(name, text)), expected, "{name}\n{text}");
}

#[test]
fn a_mistake_in_a_script_is_found_at_its_place() {
    for (line, expected) in [
        (r#"echo ECS_INSTANCE_ATTRIBUTES={"a":"b"} >> /etc/ecs/ecs.config"#, &["3:30 error config-bad-json"][..]),
        ("C=1; echo 'ECS_CLUSTER=$C' >> /etc/ecs/ecs.config", &["3:24 error cluster-name-invalid"]),
        (
            "C=x\ncat > /etc/ecs/ecs.config <<'EOF'\nECS_CLUSTER=${C}\n export ECS_LOGLEVEL=debug\nEOF",
            &["5:13 error cluster-name-invalid", "6:2 warning config-export"],
        ),
        (
            "cat <<EOF | sudo tee -a /etc/ecs/ecs.config\nECS_CLUSTER=\"$C\"\nECS_INSTANCE_ATTRIBUTES={\\\"a\\\":\\\"b\\\"}\nEOF",
            &["4:13 error config-quoted", "5:25 error config-bad-json"],
        ),
        ("echo \"ECS_CLUSTER=x\\nECS_LOGLEVEL=info\" >> /etc/ecs/ecs.config", &["3:20 error config-value-ignored"]),
        ("cat <<EOF >> /etc/ecs/ecs.config\nECS_LOGLEVEL=info\n  EOF\necho x", &["3:7 error config-unreadable-key"]),
        ("cat <<EOF >> /etc/ecs/ecs.config\nECS_LOGLEVEL=info", &["3:7 warning config-unreadable-key"]),
        (
            "cat <<EOF >> /etc/ecs/ecs.config\nECS_LOGLEVEL=info\nsystemctl start ecs",
            &["3:7 error config-unreadable-key", "5:1 warning config-unreadable-key"],
        ),
        ("echo ECS_LOGLEVEL=info > /etc/ecs/ecs.config", &["3:1 error no-cluster-named"]),
        ("echo ECS_LOGLEVEL=info | sudo tee /etc/ecs/ecs.config", &["3:1 error no-cluster-named"]),
        ("echo ECS_LOGLEVEL=info >> /etc/ecs/ecs.conf", &["3:6 warning config-wrong-file"]),
        ("echo ECS_CLUSTER=other >> /etc/ecs.config", &["3:6 error config-wrong-file"]),
        ("echo ECS_LOGLEVEL=info", &["3:6 warning config-wrong-file"]),
        ("ECS_LOGLEVEL=info >> /etc/ecs/ecs.config", &["3:1 error config-unreadable-key"]),
        (
            "echo ECS_INSTANCE_ATTRIBUTES={\\\"a\\\":\\\"b\\\",\\\"c\\\":\\\"d\\\"} >> /etc/ecs/ecs.config",
            &["3:30 error config-bad-json"],
        ),
        (
            "echo -n ECS_LOGLEVEL=info >> /etc/ecs/ecs.config\necho ECS_DATADIR=/d >> /etc/ecs/ecs.config",
            &["3:25 warning config-unreadable-key"],
        ),
        ("cat <<'EOF' >> /etc/ecs/ecs.config\n{\"Cluster\": \"prod\"}\nEOF", &["4:1 error config-wrong-file"]),
        (
            "printf \"ECS_CONTAINER_STOP_TIMEOUT=%d\\n\" 120 >> /etc/ecs/ecs.config",
            &["3:42 warning config-value-ignored"],
        ),
        ("echo 'ECS_DATADIR=$(pwd)' >> /etc/ecs/ecs.config", &["3:19 warning config-value-ignored"]),
        ("#cloud-config\nruncmd: []", &["3:1 error user-data-not-recognised"]),
        ("echo -e \"A=1\\nECS_LOGLEVEL=INFO\" >> /etc/ecs/ecs.config", &["3:28 warning config-value-ignored"]),
        (
            "printf '%s\\n' ECS_CLUSTER=None \"ECS_LOG_LEVEL=info\" >> /etc/ecs/ecs.config",
            &["3:27 error cluster-name-invalid", "3:33 warning config-key-misspelt"],
        ),
        ("F=/etc/ecs/ecs.config\necho \"ECS_CHECKPOINT=yes\n\" >> $F", &["4:22 warning config-value-ignored"]),
        ("sudo sh -c 'echo ECS_LOGLEVEL=INFO >> /etc/ecs/ecs.config'", &["3:31 warning config-value-ignored"]),
        ("tee /etc/ecs/ecs.config <<< 'ECS_CLUSTER=\"x\"'", &["3:42 error config-quoted"]),
    ] {
        is("a", &script(line), expected);
    }
    is("a", "#!/bin/sh\necho export ECS_CLUSTER=x >> /etc/ecs/ecs.config\n", &["2:6 error config-export"]);
}

#[test]
fn a_mistake_in_another_file_is_found_at_its_place() {
    let yaml = CLOUD_CONFIG.replace("${cluster}", "$CLUSTER").replace("LOGLEVEL=info", "LOGLEVEL=INFO");
    is("c.yaml", &yaml, &["7:19 error cluster-name-invalid", "13:35 warning config-value-ignored"]);
    let terraform = TERRAFORM.replace("    ECS_CLUSTER=", "    ECS_CLUSTER =");
    is("main.tf", &terraform, &["6:5 warning config-spaces"]);
    let stack =
        CLOUDFORMATION.replace("          echo ECS_CLUSTER=${ECSCluster}", "          echo ECS_CLUSTER='\"x\"'");
    is("s.yaml", &stack, &["13:29 error config-quoted"]);
    is("u", &format!("\n{}", script("")), &["1:1 error user-data-not-recognised"]);
    is("user-data", "echo ECS_CLUSTER=x >> /etc/ecs/ecs.config\n", &["1:1 error user-data-not-recognised"]);
    is(
        "config.toml",
        "clutser = 1\ncluster = \"a\"\n[agent]\nECS_CLUSTER = \"b\"\nECS_LOGLEVL = \"x\"\n",
        &["1:1 error setting-invalid", "4:15 error setting-invalid", "5:15 warning config-key-misspelt"],
    );
    is(
        "ecs.config.json",
        "{\n \"Clustr\": \"x\",\n \"ECS_CLUSTER\": \"x\",\n \"DockerStopTimeout\": \"30s\"\n}",
        &["2:2 warning config-key-misspelt", "3:2 warning config-wrong-file", "4:2 error config-bad-json"],
    );
    is("ecs.config.json", "{\"Cluster\": \"x\"", &["1:15 error config-bad-json"]);
    is("ecs.config", "{\"Cluster\": \"x\"}", &["1:1 error config-wrong-file"]);
    is(
        "arch",
        "#cloud-config-archive\n- type: text/x-ecs-bootstrap\n  content: |\n    cluster = \"x\"\n",
        &["1:1 warning user-data-not-recognised"],
    );
    let utf_16: Vec<u8> = "\u{feff}#!/bin/sh\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(found(&checked("u", utf_16)), ["1:1 error user-data-not-recognised"]);
    assert_eq!(found(&checked("u", &gzip(SCRIPT.as_bytes())[..40])), ["1:1 error user-data-not-recognised"]);
}

#[test]
fn a_finding_in_encoded_text_has_the_place_of_that_text_and_the_line_in_it() {
    let script = "#!/bin/bash\n\necho ECS_CLUSTER='\"x\"' >> /etc/ecs/ecs.config\n";
    for bytes in [gzip(script.as_bytes()), STANDARD.encode(script).into_bytes()] {
        let checked = checked("user-data", bytes);
        assert_eq!(found(&checked), ["1:1 error config-quoted"]);
        assert!(checked.findings[0].message.contains("line 3 of the decoded"), "{}", checked.findings[0].message);
    }
    let head = "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"B\"\n\n--B\n";
    let part =
        "Content-Type: text/x-shellscript\nContent-Transfer-Encoding: base64\n\n".to_owned() + &STANDARD.encode(script);
    let settings = "\n--B\nContent-Type: text/x-ecs-bootstrap\n\nclustr = 1\n--B--\n";
    let checked = checked("user-data", format!("{head}{part}{settings}"));
    assert_eq!(found(&checked), ["8:1 error config-quoted", "12:1 error setting-invalid"]);
    assert_eq!(checked.findings[1].suggestion.as_deref(), Some("cluster"));
}

#[test]
fn a_message_has_findings_only_where_cloud_init_loses_something() {
    let head = "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"B\"\n\n--B\n";
    let quoted = "Content-Type: text/x-shellscript\nContent-Transfer-Encoding: quoted-printable\n\
                  #!/bin/sh\n# =C3=A9\necho ECS_CLUSTER=3D'\"x\"' >> /etc/ecs/=\necs.config\n";
    let open = format!("{head}{quoted}").replace('\n', "\r\n");
    assert_eq!(found(&checked("user-data", open)), ["9:21 error config-quoted"]);
    let unknown =
        format!("{head}Content-Type: text/x-shellscript\n\n#!/bin/sh\n--B\nContent-Type: text/x-sh\n\nls\n--B--\n");
    assert_eq!(found(&checked("user-data", unknown)), ["11:1 error user-data-mime-broken"]);
    let template = format!("{head}Content-Type: text/x-shellscript\n\n${{script}}\n--B--\n");
    assert_eq!(found(&checked("user-data.tpl", &template)), Vec::<String>::new());
    let options = Options { is_rendered: true, ..Options::default() };
    let rendered = check("user-data.tpl", template.as_bytes(), options).unwrap();
    assert_eq!(found(&rendered), ["7:1 error user-data-mime-broken"]);
    let program = format!("\nuser_data = <<EOF\n{template}EOF\n");
    assert_eq!(found(&checked("main.tf", program)), Vec::<String>::new());
}

#[test]
fn a_placeholder_in_settings_is_not_judged_in_a_template() {
    let settings =
        "#ecs-bootstrap\ncluster = \"${Cluster}\"\n[verify]\ndeadline = \"{{ deadline }}\"\nwindow = \"long\"\n";
    assert_eq!(found(&checked("user-data", settings)), ["5:10 error setting-invalid"]);
    let options = Options { is_rendered: true, ..Options::default() };
    let rendered = check("user-data", settings.as_bytes(), options).unwrap();
    let expected = ["2:11 error setting-invalid", "4:12 error setting-invalid", "5:10 error setting-invalid"];
    assert_eq!(found(&rendered), expected);
}

#[test]
fn the_templates_of_this_project_have_no_mistake() {
    let templates: [(&str, &[u8]); 3] = [
        ("cluster.yaml", include_bytes!("../../packaging/cloudformation/cluster.yaml")),
        ("instance.yaml", include_bytes!("../../packaging/cloudformation/instance.yaml")),
        ("repository.yaml", include_bytes!("../../packaging/cloudformation/repository.yaml")),
    ];
    for (name, text) in templates {
        assert_eq!(found(&check(name, text, Options::default()).unwrap()), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn a_placeholder_in_a_rendered_file_is_a_mistake() {
    let options = Options { is_rendered: true, ..Options::default() };
    for (name, text, expected) in [
        ("cloud.yaml", CLOUD_CONFIG, "7:19 error cluster-name-invalid"),
        ("ecs.config.tpl", "ECS_CLUSTER=${cluster}\n", "1:13 error cluster-name-invalid"),
    ] {
        assert_eq!(found(&check(name, text.as_bytes(), options).unwrap()), [expected]);
    }
}

#[test]
fn errors_are_shown_before_warnings() {
    let text = "ECS_LOGLEVL=x\n".repeat(150) + "ECS_CLUSTER=a b\n";
    let checked = checked("ecs.config", text);
    assert_eq!((checked.findings.len(), checked.findings_not_shown), (50, 101));
    assert_eq!(checked.findings.last().unwrap().level, Level::Error);
}

#[test]
fn an_unknown_file_is_not_recognised() {
    assert!(check("README.md", b"# Notes\n\nSome words.\n", Options::default()).is_none());
    assert!(check("x", b"\x00\x01\x02\xff", Options::default()).is_none());
}

#[test]
fn no_text_takes_long() {
    let many = |piece: &str| piece.repeat((100 << 10) / piece.len());
    for piece in [
        "(x)|",
        "{ a; ",
        "cat <<A\n A\n",
        "\u{b}",
        "$(",
        "`",
        "\"",
        "printf '%s' a ",
        "- content: x\n",
        "a:\n ",
        "ECS_",
        "ECS_A_B_C=1\n",
        "\\",
        "--b\n",
        "[",
        "<<<",
        "<<A ",
        "'x' ",
    ] {
        let begun = std::time::Instant::now();
        for head in [
            "#!/bin/sh\n",
            "#cloud-config\nruncmd:\n",
            "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n",
            "",
        ] {
            for input_type in [InputType::UserData, InputType::EcsConfig, InputType::EcsConfigJson] {
                let options = Options { input_type: Some(input_type), is_rendered: false };
                let _ = check("x", (head.to_owned() + &many(piece)).as_bytes(), options);
            }
        }
        assert!(begun.elapsed().as_secs() < 15, "{piece:?} took {:?}", begun.elapsed());
    }
}

/// Pieces of user data, as a regular expression.
const PIECES: &str = "\
    (#!/bin/bash\n|#cloud-config\n|write_files:\n|- |  |content: \\||\u{b}|echo |cat <<EOF|EOF|>> \
    |/etc/ecs/ecs.config|ECS_CLUSTER=|ECS_INSTANCE_ATTRIBUTES=|\"|'|\\$|\\{|\\}|\\(|\\)|`|\\\\|\n|=|x\
    |\\||;|é|#|mime-version: 1.0\n|content-type: multipart/mixed; boundary=b\n|--b\n|<<|\\[|\\]|%s\
    |printf ){0,40}";

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        bytes: Vec<u8>,
        text in PIECES,
    ) {
        use InputType::{EcsConfig, EcsConfigJson, Settings, UserData};
        for bytes in [&bytes[..], text.as_bytes()] {
            for input_type in [None, Some(UserData), Some(EcsConfig), Some(Settings), Some(EcsConfigJson)] {
                let _ = check("x", bytes, Options { input_type, is_rendered: false });
            }
        }
    }
}
