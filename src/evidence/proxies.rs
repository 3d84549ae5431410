//! Parses proxy settings: environment variables, and the files that set them for a unit.
//!
//! In: text. Out: a proxy or none. The rules are the common subset of Go's and curl's
//! (`golang.org/x/net/http/httpproxy`).

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::boundary::proxy::Proxy;

/// The address of instance metadata. It is link-local, so requests to it must not go through a proxy.
pub const IMDS: &str = "169.254.169.254";
const MAX_BYTES: usize = 2048;

/// A proxy and the file that sets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxySetting {
    pub(crate) place: String,
    pub(crate) proxy: Proxy,
}

/// The variables of the agent's `ecs.config` files.
type Config = BTreeMap<String, String>;

/// The proxy that the agent uses for calls of ECS. Unlike most programs it uses HTTP_PROXY for https too
/// (`ecs-agent/utils/httpproxy`).
pub fn of_agent(config: &Config, host: &str) -> Option<Proxy> {
    proxy(config, &["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"], host)
}

/// The proxy that the agent uses for instance metadata, which is plain http.
pub fn of_metadata(config: &Config) -> Option<Proxy> {
    proxy(config, &["HTTP_PROXY", "http_proxy"], IMDS)
}

fn proxy(config: &Config, names: &[&str], host: &str) -> Option<Proxy> {
    let first = |names: &[&str]| names.iter().find_map(|name| config.get(*name).filter(|value| !value.is_empty()));
    let proxy = Proxy::of(first(names)?)?;
    let no_proxy = first(&["NO_PROXY", "no_proxy"]).map_or("", String::as_str);
    (!bypasses(no_proxy, host)).then_some(proxy)
}

/// Whether NO_PROXY contains this host, a parent domain of it, a network that contains it, or `*`.
pub fn bypasses(no_proxy: &str, host: &str) -> bool {
    let address: Option<Ipv4Addr> = host.parse().ok();
    no_proxy.split([',', ' ']).map(str::trim).filter(|entry| !entry.is_empty()).any(|entry| {
        let entry = entry.strip_prefix("*.").unwrap_or(entry).trim_start_matches('.');
        let in_network = || {
            let (network, length) = entry.split_once('/')?;
            let (network, length) = (network.parse::<Ipv4Addr>().ok()?, length.parse::<u32>().ok()?);
            let mask = u32::MAX.checked_shl(32_u32.checked_sub(length)?).unwrap_or(0);
            Some(u32::from(network) & mask == u32::from(address?) & mask)
        };
        let below = || host.strip_suffix(entry).is_some_and(|rest| rest.ends_with('.'));
        entry == "*" || entry.eq_ignore_ascii_case(host) || below() || in_network() == Some(true)
    })
}

/// The proxy for https that a drop-in of a unit (systemd.exec(5), `Environment=`) or a file of variables sets.
pub fn in_file(text: &str, place: &str) -> Option<ProxySetting> {
    let mut found: [Option<Proxy>; 2] = Default::default();
    for line in text.lines().filter(|line| line.len() < MAX_BYTES) {
        let line = line.trim();
        let line = line.strip_prefix("export ").unwrap_or(line).trim();
        let assignments = line.strip_prefix("Environment=").unwrap_or(line);
        for word in words(assignments) {
            let Some((key, value)) = word.split_once('=') else { continue };
            let value = value.trim_matches(['"', '\'']);
            let rank = match key {
                "HTTPS_PROXY" | "https_proxy" => 0,
                "HTTP_PROXY" | "http_proxy" => 1,
                _ => continue,
            };
            found[rank] = Proxy::of(value);
        }
    }
    found.into_iter().flatten().next().map(|proxy| ProxySetting { place: place.to_owned(), proxy })
}

/// Splits `A=1 "B=2 3" C="4 5"` at white space outside of quotes, and removes the quotes.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for c in text.chars() {
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            (None, c) if c.is_whitespace() => words.push(std::mem::take(&mut word)),
            (_, c) => word.push(c),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_proxy_names_hosts_domains_and_networks() {
        for (list, host, expected) in [
            ("169.254.169.254,169.254.170.2", IMDS, true),
            ("169.254.0.0/16", IMDS, true),
            ("10.0.0.0/8", IMDS, false),
            ("localhost, .amazonaws.com", "ecs.eu-west-1.amazonaws.com", true),
            ("amazonaws.com", "ecs.eu-west-1.amazonaws.com", true),
            ("zonaws.com", "ecs.eu-west-1.amazonaws.com", false),
            ("*", "x", true),
            ("0.0.0.0/0", IMDS, true),
            ("1.2.3.4/99", IMDS, false),
            ("", "x", false),
        ] {
            assert_eq!(bypasses(list, host), expected, "{list} {host}");
        }
    }

    #[test]
    fn reads_drop_ins_and_files_of_variables() {
        let shown = |text: &str| in_file(text, "f").map(|setting| setting.proxy.shown());
        let drop_in = "[Service]\nEnvironment=\"HTTP_PROXY=http://a:1\" \"HTTPS_PROXY=http://u:p@b:2/\" NO_PROXY=x\n";
        assert_eq!(shown(drop_in).as_deref(), Some("b:2"));
        assert_eq!(shown("Environment=http_proxy=http://a:1").as_deref(), Some("a:1"));
        assert_eq!(shown("# HTTP_PROXY=http://a:1\nexport HTTP_PROXY=\"http://c:3\"\n").as_deref(), Some("c:3"));
        assert_eq!(shown("[Service]\nExecStart=/usr/bin/dockerd\n"), None);
        assert_eq!(shown("HTTP_PROXY=\n"), None);
    }

    #[test]
    fn the_agent_uses_both_variables_and_metadata_only_http() {
        let config: Config = [("HTTPS_PROXY".to_owned(), "b:2".to_owned())].into();
        assert_eq!(of_agent(&config, "ecs.test").unwrap().shown(), "b:2");
        assert_eq!(of_metadata(&config), None);
        let mut config: Config = [("HTTP_PROXY".to_owned(), "a:1".to_owned())].into();
        assert_eq!(of_agent(&config, "ecs.test").unwrap().shown(), "a:1");
        assert_eq!(of_metadata(&config).unwrap().shown(), "a:1");
        config.insert("NO_PROXY".to_owned(), IMDS.to_owned());
        assert_eq!(of_metadata(&config), None);
    }

    proptest::proptest! {
        #[test]
        fn no_text_can_break_it(text: String, list in "[0-9./,* a-z]{0,40}", host in "[0-9.a-z]{0,20}") {
            in_file(&text, "f");
            bypasses(&list, &host);
            bypasses(&text, &host);
        }
    }
}
