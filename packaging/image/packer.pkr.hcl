# Provisioners for a Packer `build` whose source is an ECS-optimized AMI, or another AMI with the agent. packaging/build
# makes the package and its checksum: dist/*.rpm for Amazon Linux, dist/*.deb for Debian and Ubuntu.

variable "ecs_bootstrap_package" { type = string }
variable "ecs_bootstrap_sha256" { type = string }

build {
  sources = ["source.amazon-ebs.ecs"]

  # A folder in the home of the build's user, because another user could create the names in /tmp first. `mkdir` fails
  # if the folder exists.
  provisioner "shell" {
    inline = ["mkdir -m 700 ecs-bootstrap-image"]
  }

  provisioner "file" {
    source      = var.ecs_bootstrap_package
    destination = "ecs-bootstrap-image/package"
  }

  provisioner "file" {
    source      = "packaging/image/install"
    destination = "ecs-bootstrap-image/install"
  }

  provisioner "shell" {
    inline = [
      "sudo bash ecs-bootstrap-image/install --file ecs-bootstrap-image/package --sha256 ${var.ecs_bootstrap_sha256} --enable",
      "rm -r ecs-bootstrap-image",
    ]
  }

  # Put other provisioners before this one, which must be the last.
  provisioner "shell" {
    inline = ["sudo ecs-bootstrap prepare-image --yes"]
  }
}
