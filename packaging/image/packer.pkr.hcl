# Provisioners for a `build` of Packer whose source is an ECS-optimized AMI (or any other with the agent in it). The file
# and its checksum are from packaging/build: dist/*.rpm for Amazon Linux, dist/*.deb for Debian and Ubuntu.

variable "ecs_bootstrap_package" { type = string }
variable "ecs_bootstrap_sha256" { type = string }

build {
  sources = ["source.amazon-ebs.ecs"]

  provisioner "file" {
    source      = var.ecs_bootstrap_package
    destination = "/tmp/ecs-bootstrap.package"
  }

  provisioner "file" {
    source      = "packaging/image/install"
    destination = "/tmp/install-ecs-bootstrap"
  }

  provisioner "shell" {
    inline = [
      "sudo bash /tmp/install-ecs-bootstrap --file /tmp/ecs-bootstrap.package --sha256 ${var.ecs_bootstrap_sha256} --enable",
    ]
  }

  # Whatever else goes into the image stands here; this is the last.
  provisioner "shell" {
    inline = ["sudo ecs-bootstrap prepare-image --yes"]
  }
}
