//! A receiver as it is configured, and as it is sent to.

use std::collections::BTreeMap;
use std::path::PathBuf;

use baton_api::sinks::ClusterSink;
use baton_api::task::{Callback, CallbackEvent, CallbackFormat};
use baton_callbacks::{Format, Kind, Secret, Sink};

/// A receiver.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// What the status calls it: its URL without what could be secret, unique among the receivers of
    /// one Task.
    pub(super) label: String,
    /// Where to, or why nothing can be sent.
    pub(super) to: Result<Destination, String>,
}

/// Where to.
#[derive(Debug, Clone)]
pub(super) struct Destination {
    url: String,
    format: Format,
    kinds: Vec<Kind>,
    /// The receiver, without its key.
    sink: Sink,
    pub(super) key: Key,
}

/// Where the key is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// Nothing is signed.
    None,
    /// In the Task.
    Value(String),
    /// In a Secret of the Task's namespace.
    Secret { name: String, key: String },
    /// In a file of ours.
    File(PathBuf),
}

impl Target {
    /// The receivers of a Task: its own, then those of the cluster.
    pub(super) fn all(callbacks: &[Callback], cluster: &[ClusterSink]) -> Vec<Target> {
        let own = callbacks.iter().map(own);
        let mut targets: Vec<_> = own.chain(cluster.iter().map(everybodys)).collect();
        let mut seen = BTreeMap::new();
        for target in &mut targets {
            let count = seen.entry(target.label.clone()).or_insert(0_u32);
            *count += 1;
            if *count > 1 {
                target.label.push_str(&format!(" ({count})"));
            }
        }
        targets
    }

    pub(super) fn wants(&self, kind: Kind) -> bool {
        // Where nothing can be sent everything is given up, which the status then says.
        self.to.as_ref().map_or(true, |to| to.sink.wants(kind))
    }
}

impl Destination {
    /// The receiver without its key.
    pub(super) fn sink(&self) -> &Sink {
        &self.sink
    }

    /// The receiver with its key.
    pub(super) fn signed(&self, secret: Option<Secret>) -> Result<Sink, String> {
        Sink::new(&self.url, self.format, self.kinds.clone(), secret).map_err(|e| e.to_string())
    }
}

fn own(callback: &Callback) -> Target {
    let key = match &callback.secret {
        None => Ok(Key::None),
        Some(secret) => match (&secret.env, &secret.value, &secret.value_from) {
            (None, Some(value), None) => Ok(Key::Value(value.clone())),
            (None, None, Some(from)) => Ok(Key::Secret {
                name: from.secret_key_ref.name.clone(),
                key: from.secret_key_ref.key.clone(),
            }),
            (Some(_), _, _) => Err(
                "its secret is in an environment variable (secret.env), which a cluster does not have; \
                 give secret.valueFrom"
                    .to_owned(),
            ),
            _ => Err("its secret must be one of value and valueFrom".to_owned()),
        },
    };
    target(&callback.url, callback.format, &callback.events, key)
}

fn everybodys(sink: &ClusterSink) -> Target {
    let key = sink.secret_file.as_ref();
    let key = key.map_or(Key::None, |path| Key::File(path.into()));
    target(&sink.url, sink.format, &sink.events, Ok(key))
}

fn target(
    url: &str,
    format: CallbackFormat,
    events: &[CallbackEvent],
    key: Result<Key, String>,
) -> Target {
    let format = match format {
        CallbackFormat::CloudEvents => Format::CloudEvents,
        CallbackFormat::Get => Format::Get,
    };
    let kinds: Vec<_> = events.iter().map(kind).collect();
    match Sink::new(url, format, kinds.clone(), None) {
        Ok(sink) => Target {
            label: sink.label(),
            to: key.map(|key| Destination {
                url: url.to_owned(),
                format,
                kinds,
                sink,
                key,
            }),
        },
        Err(error) => Target {
            label: "not a URL".to_owned(),
            to: Err(error.to_string()),
        },
    }
}

fn kind(event: &CallbackEvent) -> Kind {
    match event {
        CallbackEvent::TaskStarted => Kind::TaskStarted,
        CallbackEvent::TaskFinished => Kind::TaskFinished,
        CallbackEvent::StepStarted => Kind::StepStarted,
        CallbackEvent::StepFinished => Kind::StepFinished,
        CallbackEvent::StepRetrying => Kind::StepRetrying,
        CallbackEvent::FlowStarted => Kind::FlowStarted,
        CallbackEvent::FlowFinished => Kind::FlowFinished,
        CallbackEvent::NodeStarted => Kind::NodeStarted,
        CallbackEvent::NodeFinished => Kind::NodeFinished,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_unique_and_hide_secrets() {
        let callback = |url: &str| Callback {
            url: url.to_owned(),
            ..Callback::default()
        };
        let own = [
            callback("https://me:pw@h/x?token=1"),
            callback("https://h/x?token=2"),
            callback("nonsense"),
        ];
        let cluster = [ClusterSink {
            url: "https://h/x".to_owned(),
            ..ClusterSink::default()
        }];
        let targets = Target::all(&own, &cluster);
        let labels: Vec<_> = targets.iter().map(|t| t.label.as_str()).collect();
        assert_eq!(
            labels,
            [
                "https://h/x",
                "https://h/x (2)",
                "not a URL",
                "https://h/x (3)"
            ]
        );
        assert!(targets[2].to.is_err());
    }
}
