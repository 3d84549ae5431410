//! Something other than a regular file in every path that is read: pipes, folders, link loops, sockets, sparse files.
//!
//! In: nothing. Out: rows. The host's own `/etc/hosts` and `/etc/resolv.conf` are replaced in a mount namespace.

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use crate::row::{ExpectedCodes, JOINS, Row, SETTINGS};
use crate::support::Instance;

const REFUSED: ExpectedCodes = ExpectedCodes::all(SETTINGS).clean(SETTINGS);

/// Paths below the root that are read, and the expected exit codes if one is not a regular file.
const PATHS: [(&str, ExpectedCodes); 26] = [
    ("etc/ecs/ecs.config", ExpectedCodes::all(SETTINGS).clean(&[0, 20])),
    ("var/lib/ecs/ecs.config", JOINS),
    ("etc/ecs/ecs.config.json", JOINS),
    ("etc/ecs-bootstrap/config.toml", REFUSED),
    ("usr/lib/ecs-bootstrap/config.d/10.toml", REFUSED),
    ("var/lib/ecs-bootstrap/written.json", JOINS.clean(&[0, 24])),
    ("var/lib/ecs-bootstrap/signals.json", JOINS),
    ("var/lib/ecs/data/agent.db", JOINS),
    ("var/lib/ecs/data/ecs_agent_data.json", JOINS),
    ("var/log/cloud-init-output.log", JOINS),
    ("var/log/audit/audit.log", JOINS),
    ("run/cloud-init/result.json", JOINS),
    ("run/cloud-init/status.json", JOINS),
    ("var/lib/cloud/instance/user-data.txt", JOINS),
    ("var/lib/cloud/data/instance-id", JOINS),
    ("etc/docker/daemon.json", JOINS),
    ("etc/sysconfig/docker", JOINS),
    ("etc/systemd/system/docker.service.d/x.conf", JOINS),
    ("etc/ecs.config", JOINS),
    ("etc/default/ecs", JOINS),
    ("etc/ecs/other", JOINS),
    ("proc/meminfo", JOINS),
    ("proc/net/tcp6", JOINS),
    ("proc/net/route", JOINS),
    ("etc/os-release", JOINS),
    ("run/ecs-bootstrap/reset.json", JOINS),
];

fn clear(instance: &Instance, path: &str) {
    instance.disk.write(path, "");
    instance.disk.remove(path);
}

type Put = fn(&Instance, &str);

const SHAPES: [(&str, Put); 5] = [
    ("pipe", pipe),
    ("folder", |instance, path| instance.disk.folder(path)),
    ("sparse", sparse),
    ("socket", |instance, path| drop(UnixListener::bind(instance.disk.path(path)).unwrap())),
    ("loop", |instance, path| symlink(path.rsplit('/').next().unwrap(), instance.disk.path(path)).unwrap()),
];

fn pipe(instance: &Instance, path: &str) {
    clear(instance, path);
    nix::unistd::mkfifo(&instance.disk.path(path), nix::sys::stat::Mode::from_bits_truncate(0o644)).unwrap();
}

/// 8 GiB, without a block on the disk.
fn sparse(instance: &Instance, path: &str) {
    clear(instance, path);
    std::fs::File::create(instance.disk.path(path)).unwrap().set_len(8 << 30).unwrap();
}

pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (index, (path, expected)) in PATHS.into_iter().enumerate() {
        for (number, (name, put)) in SHAPES.into_iter().enumerate() {
            // A pipe can block a reader, so every path gets one. Of the other forms, each path gets two.
            if number == 0 || (index + number) % 2 == 0 {
                let row = Row::new(format!("shape/{name}/{path}"), expected, move |instance| {
                    clear(&instance, path);
                    put(&instance, path);
                    instance
                });
                rows.push(row.brief());
            }
        }
    }
    rows.extend(resolver_files());
    rows
}

/// `/etc/hosts` and `/etc/resolv.conf`, which are read if an endpoint has a name. The name server is on loopback and
/// does not answer.
fn resolver_files() -> Vec<Row> {
    const SERVER: &str = "nameserver 127.0.77.53\noptions timeout:1 attempts:1\n";
    let unresolved = ExpectedCodes::verify(&[0, 11, 13, 25]);
    let mut rows = Vec::new();
    for (name, own) in [("hosts", "/etc/hosts"), ("resolv.conf", "/etc/resolv.conf")] {
        let place = format!("home/{name}");
        let named = |instance: Instance| instance.without_name_server();
        let at = place.clone();
        rows.push(Row::new(format!("resolver/{name}/pipe"), unresolved, move |instance| {
            let instance = named(instance);
            pipe(&instance, &at);
            instance.bind_mount(own, &at)
        }));
        let at = place.clone();
        rows.push(Row::new(format!("resolver/{name}/many-lines"), unresolved, move |instance| {
            let line = if own == "/etc/hosts" {
                "127.0.77.1 host-of-a-long-name.example alias\n"
            } else {
                "search a.example\n"
            };
            let instance = named(instance);
            instance.disk.write(&at, SERVER.to_owned() + &line.repeat(150_000));
            instance.bind_mount(own, &at)
        }));
        let at = place.clone();
        rows.push(Row::new(format!("resolver/{name}/escapes"), unresolved, move |instance| {
            let instance = named(instance);
            instance.disk.write(&at, format!("{SERVER}search {}\n", crate::payload::ESCAPES_ON_ONE_LINE));
            instance.bind_mount(own, &at)
        }));
        rows.push(Row::new(format!("resolver/{name}/sparse"), unresolved, move |instance| {
            let instance = named(instance);
            sparse(&instance, &place);
            instance.bind_mount(own, &place)
        }));
    }
    rows.into_iter().map(|row| row.seconds(2)).collect()
}
