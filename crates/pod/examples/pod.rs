//! Shows the pod of a Task that a cluster has:
//!
//! ```sh
//! kubectl get task hello -o json | cargo run -p baton-pod --example pod -- volume
//! kubectl get task hello -o json | cargo run -p baton-pod --example pod -- downward TOOLS_IMAGE
//! ```

use std::io::{self, Read, Write};

use baton_api::status::Carrier;
use baton_pod::build::DEFAULT_USER;
use baton_pod::{PodInputs, build};
use serde_json::Value;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let carrier = match args.next().as_deref() {
        Some("downward") => Carrier::DownwardAPI,
        _ => Carrier::Volume,
    };
    let tools = args.next().unwrap_or_default();
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    let rendered = baton_api::review(&text).map_err(|mistakes| mistakes.join("\n"))?;
    let object: Value = serde_json::from_str(&text)?;
    let uid = object.pointer("/metadata/uid").and_then(Value::as_str);
    let inputs = PodInputs {
        run: 1,
        owner_uid: uid.unwrap_or_default(),
        carrier,
        tools_image: &tools,
        tools_pull_policy: None,
        user: Some(DEFAULT_USER),
        node: None,
    };
    let pod = build(&rendered, &inputs)?;
    writeln!(io::stdout(), "{}", serde_json::to_string_pretty(&pod)?)?;
    Ok(())
}
