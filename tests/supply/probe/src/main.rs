//! Uses enough of its dependencies so that their code, with the paths of their panics, is in the binary.

use std::collections::BTreeMap;

#[derive(serde::Deserialize, Debug)]
struct Wanted {
    names: BTreeMap<String, u32>,
}

#[derive(thiserror::Error, Debug)]
#[error("not JSON: {0}")]
struct NotJson(#[from] serde_json::Error);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), NotJson> {
    let mut wanted: Wanted = serde_json::from_str(&std::env::args().nth(1).unwrap_or_default())?;
    tokio::time::timeout(std::time::Duration::from_secs(1), async { wanted.names.remove("a") }).await.unwrap();
    let provider = rustls::crypto::ring::default_provider();
    println!("{} {:?} {}", file!(), wanted, provider.cipher_suites.len());
    Ok(())
}
