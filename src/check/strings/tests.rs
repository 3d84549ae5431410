//! User data in string literals: each text once with a mistake, whose place is found, and once without.

use super::super::tests::{checked, found};
use super::super::{InputType, Options, check};

/// The mark of the mistake in every text, and its replacements without and with the mistake.
const MARK: &str = "@@";
const HEALTHY: &str = "info";
const LOUD: &str = "loud";

const TERRAFORM_STRING: &str = r##"resource "aws_launch_template" "x" {
  name      = "it's ${var.a["b"]}" # "
  user_data = base64encode("#!/bin/bash\necho ECS_CLUSTER=${var.c["n"]} >> /etc/ecs/ecs.config\necho \"ECS_LOGLEVEL=@@\" >> /etc/ecs/ecs.config\n")
}
"##;

const TERRAFORM_JOIN: &str = r##"locals {
  ecs_config = join("\n", [
    "ECS_CLUSTER=${var.cluster_name}",
    "ECS_INSTANCE_ATTRIBUTES=${jsonencode({ role = var.role, x = "y" })}",
    "ECS_LOGLEVEL=@@",
  ])
}
"##;

const TERRAFORM_SCRIPT: &str = r##"resource "aws_launch_template" "x" {
  user_data = base64encode(join("\n", concat([
    "#!/bin/bash",
    "cat >/etc/ecs/ecs.config <<'EOF'",
    "ECS_CLUSTER=${aws_ecs_cluster.main.name}",
  ], [
    "ECS_LOGLEVEL=@@",
    "EOF",
  ])))
  other = join("", ["#!/bin/bash\n", "echo ECS_CLUSTER=", aws_ecs_cluster.c["x"].name, " >> /etc/ecs/ecs.config\n"])
}
"##;

const TERRAFORM_BELOW: &str = r##"resource "aws_launch_template" "x" {
  user_data = base64encode(
    <<-USERDATA
    #!/bin/bash
    cat <<EOF >> /etc/ecs/ecs.config
    ECS_CLUSTER=${var.cluster-name}
    ECS_LOGLEVEL=@@
    EOF
    USERDATA
  )
}
"##;

const JSON_SUB: &str = r##"{"Resources": {"X": {"Properties": {
  "UserData": {"Fn::Base64": {"Fn::Sub": "#!/bin/bash -xe\n echo ECS_CLUSTER=${ECSCluster} >> /etc/ecs/ecs.config\n echo \u0045CS_LOGLEVEL=@@ >> /etc/ecs/ecs.config\n"}},
  "Other": {"Fn::Base64": {"Fn::Sub": ["#!/bin/bash\necho ECS_CLUSTER=${C} >> /etc/ecs/ecs.config\n", {"C": {"Ref": "Cluster"}}]}}
}}}}
"##;

const JSON_JOIN: &str = r##"{"Resources": {"X": {"Properties": {
  "UserData": {"Fn::Base64": {"Fn::Join": ["", [
    "#!/bin/bash\n",
    "echo ECS_CLUSTER=", {"Ref": "Cluster"}, " >> /etc/ecs/ecs.config\n",
    "echo ECS_AVAILABLE_LOGGING_DRIVERS=[\\\"json-file\\\", \\\"awslogs\\\"] >> /etc/ecs/ecs.config\n",
    "echo ECS_LOGLEVEL=@@ >> /etc/ecs/ecs.config\n"
  ]]}}
}}}}
"##;

const JSON_FILES: &str = r##"{"files": {"/etc/ecs/ecs.config": {
  "content": {"Fn::Sub": "ECS_CLUSTER=${C}\nECS_LOGLEVEL=@@\n"}, "mode": "000644"}}}
"##;

const YAML_JOIN: &str = r##"Resources:
  Block:
    UserData:
      Fn::Base64: !Join
        - "\n"
        - - "#!/bin/bash"
          - !Sub echo ECS_CLUSTER=${C} >> /etc/ecs/ecs.config
          - Fn::Sub: echo ECS_DATADIR=${D} >> /etc/ecs/ecs.config
          - echo ECS_LOGLEVEL=@@ >> /etc/ecs/ecs.config
"##;

const YAML_FLOW: &str = r##"Resources:
  Flow:
    UserData:
      Fn::Base64:
        Fn::Join: ["", ["#!/bin/bash\n", "echo ECS_CLUSTER=", !Ref C, " >> /etc/ecs/ecs.config\n",
          "echo ECS_DATADIR=/", !GetAtt [A, B], " >> /etc/ecs/ecs.config\n",
          "echo ECS_LOGLEVEL=@@ >> /etc/ecs/ecs.config\n"]]
"##;

const YAML_SUB: &str = r##"Resources:
  Long:
    UserData:
      Fn::Base64:
        Fn::Sub:
          - |
            #!/bin/bash
            echo ECS_CLUSTER=${C} >> /etc/ecs/ecs.config
            echo ECS_LOGLEVEL=@@ >> /etc/ecs/ecs.config
          - C: !Ref Cluster
"##;

const YAML_FILES: &str = r##"Resources:
  X:
    files:
      /etc/ecs/ecs.config:
        content: !Join ["\n", [!Sub "ECS_CLUSTER=${C}", "ECS_LOGLEVEL=@@"]]
      /etc/other:
        content: !Sub |
          ECS_LOGLEVEL=nothing to do with it
"##;

const PACKER: &str = r##"build {
  provisioner "shell" {
    inline = [
      "sudo yum -y update || true",
      "echo 'ECS_ENABLE_TASK_IAM_ROLE=true'   | sudo tee -a /etc/ecs/ecs.config",
      "sudo tee -a /etc/ecs/ecs.config > /dev/null <<EOF",
      "ECS_CLUSTER=${var.ecs_cluster_name}",
      "ECS_LOGLEVEL=@@",
      "EOF",
    ]
  }
}
"##;

const PACKER_JSON: &str = r##"{"provisioners": [{"type": "shell", "inline": [
  "echo ECS_CLUSTER={{user `cluster`}} >> /etc/ecs/ecs.config",
  "echo ECS_LOGLEVEL=@@ | sudo tee -a /etc/ecs/ecs.config"]}]}
"##;

const TYPESCRIPT: &str = r##"const userData = ec2.UserData.forLinux(); // don't
userData.addCommands(
  `echo ECS_CLUSTER=${this.names[`a`].clusterName} >> /etc/ecs/ecs.config`,
  'echo ECS_BACKEND_HOST= >> /etc/ecs/ecs.config', // it's cleared
  "echo ECS_LOGLEVEL=@@ >> /etc/ecs/ecs.config",
  ...others,
);
const level = isLoud ? 'echo ECS_LOGLEVEL=nothing >> /etc/ecs/ecs.config' : '';
"##;

const TYPESCRIPT_LIST: &str = r##"const lines = [
  '#!/bin/bash',
  'echo ECS_CLUSTER=' + cluster.name + ' >> /etc/ecs/ecs.config',
  'echo ECS_LOGLEVEL=@@ >> /etc/ecs/ecs.config',
].join('\n');
"##;

const PYTHON: &str = r##"host.add_user_data(
    f"echo ECS_CLUSTER={cluster.cluster_name} >> /etc/ecs/ecs.config",
    f'echo \'ECS_INSTANCE_ATTRIBUTES={{"Service":"{name}"}}\' >> /etc/ecs/ecs.config',
    "echo ECS_LOGLEVEL=@@ "
    ">> /etc/ecs/ecs.config",
)
"##;

const PYTHON_TRIPLE: &str = r##"#!/usr/bin/env python3
def user_data(self):
    x = base64.b64encode(f'''#!/bin/bash
echo ECS_CLUSTER={cluster_name} >> /etc/ecs/ecs.config
echo ECS_LOGLEVEL=@@ >> /etc/ecs/ecs.config
'''.encode('utf-8')).decode('utf-8')
"##;

const PYTHON_JOIN: &str = r##"user_data = "\n".join([
    "#!/bin/bash",
    "echo ECS_CLUSTER=%s >> /etc/ecs/ecs.config" % name,
    "echo ECS_DATADIR=/{} >> /etc/ecs/ecs.config".format(path),
    "echo ECS_LOGLEVEL=@@ >> /etc/ecs/ecs.config",
])
"##;

const JAVA: &str = r##"class X { void f() {
  userData.addCommands("echo ECS_CLUSTER=" + cluster.getName() + " >> /etc/ecs/ecs.config",
      '"' + other, "echo ECS_LOGLEVEL=@@ >> /etc/ecs/ecs.config");
}}
"##;

const JAVA_BLOCK: &str = r##"class X { String f() {
  return UserData.custom("""
      #!/bin/bash
      echo ECS_CLUSTER=%s >> /etc/ecs/ecs.config
      echo ECS_LOGLEVEL=@@ >> /etc/ecs/ecs.config
      """.formatted(name));
}}
"##;

const GO: &str = r##"func f() {
	userData.AddCommands(
		jsii.String(fmt.Sprintf("echo ECS_CLUSTER=%s >> /etc/ecs/ecs.config", name)),
		jsii.String("echo ECS_LOGLEVEL=@@ >> /etc/ecs/ecs.config"))
	s := strings.Join([]string{"#!/bin/bash", `echo ECS_CLUSTER=x >> /etc/ecs/ecs.config`}, "\n")
}
"##;

const GO_RAW: &str = "func f() {\n\ts := `#!/bin/bash\necho ECS_LOGLEVEL=@@ >> /etc/ecs/ecs.config\n`\n}\n";

const SUBSTITUTION: &str = r##"aws ec2 run-instances \
  --user-data "$(cat << 'EOFUSERDATA' | base64 -w0
#!/bin/bash
cat > /etc/ecs/ecs.config << 'EOFSETTINGS'
ECS_CLUSTER=broadcast-cluster
ECS_LOGLEVEL=@@
EOFSETTINGS
EOFUSERDATA
)"
"##;

const SUBSTITUTION_EXPANDED: &str = r##"#!/bin/bash
NAME=prod
DATA=$(cat <<EOF
#!/bin/bash
echo 'ECS_CLUSTER=$NAME' >> /etc/ecs/ecs.config
echo 'ECS_LOGLEVEL=@@' >> /etc/ecs/ecs.config
EOF
)
"##;

/// The name of a file and its text.
const SHAPES: [(&str, &str); 26] = [
    ("string.tf", TERRAFORM_STRING),
    ("join.tf", TERRAFORM_JOIN),
    ("script.tf", TERRAFORM_SCRIPT),
    ("below.tf", TERRAFORM_BELOW),
    ("sub.json", JSON_SUB),
    ("join.json", JSON_JOIN),
    ("stack.template", JSON_JOIN),
    ("files.json", JSON_FILES),
    ("join.yaml", YAML_JOIN),
    ("flow.yaml", YAML_FLOW),
    ("sub.yaml", YAML_SUB),
    ("files.yaml", YAML_FILES),
    ("packer.pkr.hcl", PACKER),
    ("packer.json", PACKER_JSON),
    ("stack.ts", TYPESCRIPT),
    ("list.ts", TYPESCRIPT_LIST),
    ("stack.py", PYTHON),
    ("triple.py", PYTHON_TRIPLE),
    ("join.py", PYTHON_JOIN),
    ("Stack.java", JAVA),
    ("Block.java", JAVA_BLOCK),
    ("stack.go", GO),
    ("raw.go", GO_RAW),
    ("message.json", MESSAGE),
    ("launch.sh", SUBSTITUTION),
    ("expanded.sh", SUBSTITUTION_EXPANDED),
];

/// The line and column of the mark.
fn place(text: &str) -> String {
    let before = text.split(MARK).next().unwrap();
    let column = before.rsplit('\n').next().unwrap().chars().count() + 1;
    format!("{}:{column}", before.matches('\n').count() + 1)
}

#[test]
fn a_mistake_in_a_string_is_found_once_and_at_its_place() {
    for (name, text) in SHAPES {
        for text in [text.to_owned(), text.replace('\n', "\r\n")] {
            let loud = checked(name, text.replace(MARK, LOUD));
            assert_eq!(found(&loud), [format!("{} warning config-value-ignored", place(&text))], "{name}\n{text}");
            let healthy = checked(name, text.replace(MARK, HEALTHY));
            assert_eq!(found(&healthy), Vec::<String>::new(), "{name}\n{text}");
            assert!(healthy.is_recognised, "{name}");
        }
    }
}

#[test]
fn standard_input_has_no_name_and_is_read_too() {
    for text in [TERRAFORM_JOIN, TERRAFORM_SCRIPT, JSON_SUB, JSON_JOIN, PACKER, TYPESCRIPT_LIST, PYTHON, YAML_FLOW] {
        let options = Options { input_type: Some(InputType::UserData), is_rendered: false };
        let read = |text: String| check("<stdin>", text.as_bytes(), options).unwrap();
        let ids = |checked: &super::super::Checked| checked.findings.iter().map(|f| f.id).collect::<Vec<_>>();
        let loud = read(text.replace(MARK, LOUD));
        assert!(ids(&loud).contains(&"config-value-ignored"), "{text}\n{:?}", loud.findings);
        let healthy = read(text.replace(MARK, HEALTHY));
        assert!(!ids(&healthy).contains(&"config-value-ignored"), "{text}\n{:?}", healthy.findings);
    }
}

#[test]
fn an_uncertain_mistake_is_not_reported() {
    for (name, text) in [
        // Which of them is used is not known.
        ("a.tf", r##"user_data = var.x ? "#!/bin/bash\necho ECS_LOGLEVEL=loud >> /etc/ecs/ecs.config\n" : """##),
        // The value of an unknown function is not its argument.
        ("a.ts", "u.addCommands('echo ECS_CLUSTER=' + lookup('not a name') + ' >> /etc/ecs/ecs.config');"),
        ("a.py", "u.add_commands('echo ECS_LOGLEVEL=' + LEVELS['loud'] + ' >> /etc/ecs/ecs.config')"),
        // Variables of a container, not of the agent.
        ("a.ts", "new Container({ environment: ['ECS_LOGLEVEL=loud'] }); // ecs.config"),
        ("a.py", "print(\"\"\"never closed: /etc/ecs/ecs.config\necho ECS_LOGLEVEL=loud >> /etc/ecs/ecs.config"),
        ("a.tf", "content = join(\"\\n\", [\"#cloud-config\", yamlencode(local.config)]) # ecs.config"),
        ("a.tf", "parts = [\"#!/bin/bash\\necho a\\n\", \"#cloud-config\\nruncmd: []\\n\"] # ecs.config"),
        ("a.json", r#"{"Fn::Base64": {"Fn::Join": ["", ["<powershell>\nECS_CLUSTER='", {"Ref": "X"}, "'\n"]]}}"#),
        ("a.ts", "const re = /[\"'`]/; u.addCommands('echo ECS_CLUSTER=x >> /etc/ecs/ecs.config');"),
    ] {
        assert_eq!(found(&checked(name, text)), Vec::<String>::new(), "{name}\n{text}");
    }
}

/// Terraform's conditional lines, in a here-document that is the value of a `for` expression.
const CONDITIONAL: &str = r##"locals {
  user_data = {
    for key, value in var.ec2 : key => <<-EOT
      #!/bin/bash
      cat <<'EOF' >> /etc/ecs/ecs.config
      ECS_CLUSTER=${var.name}
      ${value.use_spot ? "ECS_ENABLE_SPOT_INSTANCE_DRAINING=true" : ""}
      EOF
    EOT
  }
}
"##;

/// Literals whose lines are indented: a language or a function removes the indentation.
const INDENTED: &str = r##"const a = dedent`
    #!/bin/bash
    cat <<EOF >> /etc/ecs/ecs.config
    ECS_CLUSTER=x
    EOF
`;
"##;

const MESSAGE: &str = r##"{"UserData": {"Fn::Base64": {"Fn::Sub": "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"B\"\n\n--B\nContent-Type: text/x-shellscript\n\n#!/bin/bash\necho ECS_LOGLEVEL=@@ >> /etc/ecs/ecs.config\n--B--\n"}}}
"##;

#[test]
fn a_literal_that_its_language_changes_is_not_a_mistake() {
    for (name, text) in [("a.tf", CONDITIONAL), ("a.ts", INDENTED)] {
        let checked = checked(name, text);
        assert_eq!((found(&checked), checked.is_recognised), (Vec::new(), true), "{name}\n{text}");
    }
}

#[test]
fn a_file_without_user_data_is_not_recognised() {
    for (name, text, is_recognised) in [
        ("a.py", "import x # ecs.config\n", false),
        ("a.tf", "resource \"x\" \"y\" {\n  policy = <<EOF\n{}\nEOF\n}\n", false),
        ("a.yaml", "services:\n  a:\n    image: b\n", false),
        ("a.tf", TERRAFORM_STRING, true),
        ("a.yaml", YAML_SUB, true),
        ("a.sh", "echo ECS_CLUSTER=x >> /etc/ecs/ecs.config\n", true),
        ("a.sh", "#!/bin/sh\n", true),
        ("ecs.config", "", true),
    ] {
        let checked = checked(name, text);
        assert_eq!(checked.is_recognised, is_recognised, "{name}\n{text}");
        let summary = crate::render::check_summary(&[checked]);
        let ending = "0 errors, 0 warnings; not checked: no user data was found in it\n";
        assert_eq!(summary.ends_with(ending), !is_recognised, "{summary}");
    }
}

#[test]
fn no_source_takes_long() {
    for piece in [
        "\"",
        "'",
        "`",
        "`${",
        "\"${",
        "\"\"\"",
        "'''",
        "<<A\n",
        "(",
        "[\"a\",",
        "{\"a\":",
        "f(",
        "+ \"a\" ",
        "/*",
        "\\",
        "$(cat <<A\n",
        "f\"{",
        "x.",
        "]",
        "a = \"b\"\n",
        "!Join [\"\", [a]]\n",
    ] {
        let text = piece.repeat((256 << 10) / piece.len());
        let begun = std::time::Instant::now();
        for name in ["a.tf", "a.py", "a.go", "a"] {
            let options = Options { input_type: Some(InputType::UserData), is_rendered: false };
            let _ = check(name, text.as_bytes(), options);
        }
        assert!(begun.elapsed().as_secs() < 20, "{piece:?} took {:?}", begun.elapsed());
    }
}

/// Pieces of source files, as a regular expression.
const PIECES: &str = "\
    (#!/bin/bash\\\\n|#!/bin/bash\n|echo |ECS_LOGLEVEL=loud|ECS_CLUSTER=| >> /etc/ecs/ecs.config|\\\\n\
    |\"|'|`|\"\"\"|\\$\\{|\\{|\\}|\\(|\\)|\\[|\\]|, |\n|join|base64encode|addCommands|Fn::Join|Fn::Sub\
    |: |!Join |!Ref |- |= |\\+|\\.|%s|f\"|\\\\|<<EOF\n|EOF\n|#|//|é|x|\\$\\(cat <<\
    |\\[settings.ecs\\]\n){0,40}";

proptest::proptest! {
    #[test]
    fn every_finding_has_a_place_in_the_file(
        text in PIECES,
        name in "x(\\.(tf|py|ts|go|json|java|rs|yaml|sh))?",
    ) {
        for is_rendered in [false, true] {
            let options = Options { input_type: Some(InputType::UserData), is_rendered };
            let Some(checked) = check(&name, text.as_bytes(), options) else { continue };
            let lines: Vec<&str> = text.split('\n').collect();
            for finding in checked.findings {
                let line = lines.get(finding.line as usize - 1);
                let is_inside = line.is_some_and(|line| finding.column as usize <= line.chars().count() + 2);
                assert!(is_inside, "{finding:?}\n{text}");
            }
        }
    }
}
