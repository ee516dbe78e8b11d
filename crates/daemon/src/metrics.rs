//! Metrics as Prometheus reads them.

use prometheus_client::registry::Registry;

/// Everything in the registry, in the text format.
pub fn text(registry: &Registry) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = prometheus_client::encoding::text::encode(&mut text, registry);
    text
}
