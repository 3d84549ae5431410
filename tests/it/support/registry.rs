//! Simulates how docker pulls images ("Create an image", Docker Engine API), with registries that need a login.

use super::http::{Answer, Reply, Request, percent_decode};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The images of all registries, and those that docker has.
#[derive(Clone, Debug, Default)]
pub struct Images {
    /// By name with tag or digest.
    pub in_registries: BTreeMap<String, RemoteImage>,
    /// With tag or digest.
    pub present: BTreeSet<String>,
    /// The name and the login of each pull, `USER:PASSWORD at REGISTRY`; the login is empty if there was none.
    pub pulls: Vec<(String, String)>,
    /// How many pulls end with this error in their answer before the others succeed. `LOGIN` stands for the login.
    pub failures: Option<(usize, &'static str)>,
}

/// An image in a registry.
#[derive(Clone, Debug, Default)]
pub struct RemoteImage {
    /// The compressed size of each layer.
    pub layers: Vec<u64>,
    /// `USER:PASSWORD`, if the registry needs a login.
    pub login: Option<&'static str>,
    /// How long the pull takes.
    pub takes: Duration,
}

impl Images {
    /// The answer to a request about images; `None` if it is about something else.
    pub fn answer(&mut self, request: &Request) -> Option<Answer> {
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        if path == "/images/create" {
            return Some(self.pull(request, query));
        }
        let image = path.strip_prefix("/images/")?.strip_suffix("/json")?;
        let image = percent_decode(image, false);
        let is_present = self.present.contains(&image);
        let (status, body) =
            if is_present { (200, json!({"Id": "sha256:1"})) } else { (404, json!({"message": "No such image"})) };
        Some(Reply::new(status, "application/json", body.to_string()).into())
    }

    fn pull(&mut self, request: &Request, query: &str) -> Answer {
        let fields: BTreeMap<&str, String> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(key, value)| (key, percent_decode(value, true)))
            .collect();
        let separator = if fields["tag"].contains(':') { "@" } else { ":" };
        let image = format!("{}{separator}{}", fields["fromImage"], fields["tag"]);
        let login = request.header("x-registry-auth").map(login_of).unwrap_or_default();
        self.pulls.push((image.clone(), login.clone()));
        let refused = |status: u16, message: String| {
            Reply::new(status, "application/json", json!({"message": message}).to_string()).into()
        };
        if let Some((left, error)) = &mut self.failures
            && *left > 0
        {
            *left -= 1;
            let message = error.replace("LOGIN", &login);
            let lines = [json!({"status": "Pulling from x"}), json!({"errorDetail": {"message": message}})];
            let body: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
            return Reply::new(200, "application/json", body).into();
        }
        let Some(remote) = self.in_registries.get(&image) else {
            return refused(404, format!("manifest for {image} not found: manifest unknown: manifest unknown"));
        };
        if remote.login.is_some_and(|needed| !login.starts_with(&format!("{needed} at "))) {
            return refused(500, format!("Head \"https://registry/v2/{image}\": no basic auth credentials"));
        }
        let mut lines = vec![json!({"status": "Pulling from x", "id": "1"})];
        for (index, size) in remote.layers.iter().enumerate() {
            let id = format!("layer{index}");
            let at = |status: &str, current: u64| json!({"status": status, "id": id, "progressDetail": {"current": current, "total": size}});
            lines.extend([
                at("Downloading", size / 2),
                json!({"status": "Download complete", "id": id}),
                at("Extracting", 1),
            ]);
        }
        let body: String = lines.iter().map(|line: &Value| format!("{line}\r\n")).collect();
        let takes = remote.takes;
        self.present.insert(image);
        Answer::After(takes, Box::new(Reply::new(200, "application/json", body).into()))
    }
}

/// `USER:PASSWORD at REGISTRY` of the header `X-Registry-Auth`.
fn login_of(header: &str) -> String {
    let bytes = URL_SAFE.decode(header).expect("the header is base64 for URLs");
    let login: Value = serde_json::from_slice(&bytes).expect("the header has JSON");
    let text = |name: &str| login[name].as_str().expect("a text").to_owned();
    format!("{}:{} at {}", text("username"), text("password"), text("serveraddress"))
}
