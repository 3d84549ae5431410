//! Runs of the product without permission, or with a full or read-only file system.
//!
//! In: a simulated instance. Out: the instance with a script that starts the product in a mount namespace or as another
//! user.

use std::os::unix::fs::PermissionsExt;

use crate::support::Instance;

const PRODUCT: &str = env!("CARGO_BIN_EXE_ecs-bootstrap");

/// Runs the product as an ordinary user, who does not own the files.
pub(crate) fn unprivileged(instance: Instance) -> Instance {
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    for folder in ["run", "run/ecs-bootstrap"] {
        instance.disk.folder(folder);
        std::fs::set_permissions(instance.disk.path(folder), PermissionsExt::from_mode(0o777)).unwrap();
    }
    if !is_root {
        return instance;
    }
    let script = format!("exec /usr/bin/setpriv --reuid=65534 --regid=65534 --clear-groups {PRODUCT} \"$@\"");
    wrapped(instance, &script)
}

fn wrapped(instance: Instance, script: &str) -> Instance {
    instance.disk.write_program("bin/wrapped", &format!("#!/bin/sh\n{script}\n"));
    let path = instance.disk.path("bin/wrapped");
    instance.binary(path)
}

/// Runs the product with a separate file system at `/etc/ecs`, in a mount namespace, which an ordinary user can create
/// too. Afterwards `home/after` has a copy of `ecs.config`, and `home/left` the list of the files there.
fn mounted(instance: Instance, options: &str, then: &str) -> Instance {
    let (folder, home) = (instance.disk.path("etc/ecs"), instance.disk.path("home"));
    let (folder, home) = (folder.display(), home.display());
    let inner = format!(
        "/bin/mount -t tmpfs -o {options} tmpfs {folder} && cd {folder} && {{ {then}; }} || exit 99; {PRODUCT} \"$@\"; \
         code=$?; /bin/cat ecs.config >{home}/after; /bin/ls -A >{home}/left; exit $code"
    );
    let script = format!("exec /usr/bin/unshare --user --map-root-user --mount /bin/sh -c '{inner}' product \"$@\"");
    wrapped(instance, &script)
}

/// Runs the product with a full file system at this folder.
pub(crate) fn full_at(instance: Instance, folder: &str) -> Instance {
    instance.disk.folder(folder);
    let folder = instance.disk.path(folder);
    let folder = folder.display();
    let inner = format!(
        "/bin/mount -t tmpfs -o size=64k tmpfs {folder} || exit 99; /bin/cat /dev/zero 2>/dev/null >{folder}/full; \
         exec {PRODUCT} \"$@\""
    );
    let script = format!("exec /usr/bin/unshare --user --map-root-user --mount /bin/sh -c '{inner}' product \"$@\"");
    wrapped(instance, &script)
}

/// Runs the product with an empty read-only file system at this folder.
pub(crate) fn read_only_at(instance: Instance, folder: &str) -> Instance {
    instance.disk.folder(folder);
    let folder = instance.disk.path(folder);
    let inner = format!("/bin/mount -t tmpfs -o ro tmpfs {} || exit 99; exec {PRODUCT} \"$@\"", folder.display());
    let script = format!("exec /usr/bin/unshare --user --map-root-user --mount /bin/sh -c '{inner}' product \"$@\"");
    wrapped(instance, &script)
}

/// Runs the product with a full file system at `/etc/ecs`.
pub(crate) fn full_disk(instance: Instance) -> Instance {
    mounted(instance, "size=4096", "echo ECS_LOGLEVEL=warn >ecs.config")
}

/// Runs the product with a read-only `/etc/ecs`.
pub(crate) fn read_only(instance: Instance) -> Instance {
    mounted(instance, "size=64k", "echo ECS_LOGLEVEL=warn >ecs.config && /bin/mount -o remount,ro .")
}
