//! Receivers of every Task's events, as an operator lists them in a file.

use serde::{Deserialize, Serialize};

use crate::decode::decode;
use crate::diagnostic::{Diagnostic, FieldPath, Origin};
use crate::document::{Source, one, text};
use crate::report::Report;
use crate::task::{CallbackEvent, CallbackFormat};
use crate::tree;
use crate::validate::callback_url;

/// Most receivers of one file.
pub const MAX_SINKS: usize = 16;

/// A receiver of every Task's events.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ClusterSink {
    /// Where: an `http` or `https` URL.
    pub url: String,
    /// In which form.
    pub format: CallbackFormat,
    /// Of which events; of all where nothing is said.
    pub events: Vec<CallbackEvent>,
    /// The file that holds the key which signs what is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<String>,
}

/// Reads a list of receivers, YAML or JSON.
///
/// # Errors
/// Everything that is wrong with it, each with its place.
pub fn parse_sinks(source: Source<'_>) -> Result<Vec<ClusterSink>, Vec<Diagnostic>> {
    let name = source.name.into();
    let text = text(source, &name)?;
    let roots = tree::read(text).map_err(|e| vec![one(&name, text, Some(e.at), e.message)])?;
    let mut roots = roots.into_iter();
    let Some(root) = roots.next() else {
        return Ok(Vec::new());
    };
    if roots.next().is_some() {
        let message = "there is more than one document in it".to_owned();
        return Err(vec![one(&name, "", None, message)]);
    }
    let origin = Origin::new(name, text.into(), root);
    let mut report = Report::new(origin.clone());
    let root = origin.root();
    let sinks: Vec<ClusterSink> = root
        .and_then(|root| decode(root, &mut report))
        .unwrap_or_default();
    let top = FieldPath::default();
    if sinks.len() > MAX_SINKS {
        report.at(&top, format!("there are more than {MAX_SINKS} receivers"));
    }
    for (i, sink) in sinks.iter().enumerate() {
        let path = top.index(i);
        callback_url(&sink.url, &path.key("url"), &mut report);
        for (j, event) in sink.events.iter().enumerate() {
            if sink.events.iter().take(j).any(|e| e == event) {
                report.at(&path.key("events").index(j), "this event is named twice");
            }
        }
        if sink.secret_file.as_ref().is_some_and(String::is_empty) {
            report.at(&path.key("secretFile"), "is empty");
        }
    }
    if report.is_clean() {
        Ok(sinks)
    } else {
        Err(report.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Vec<ClusterSink>, Vec<String>> {
        let source = Source {
            name: "sinks.yaml",
            text: text.as_bytes(),
        };
        parse_sinks(source).map_err(|found| found.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_list_is_read() {
        let got = parse(
            "- url: https://hooks.example/baton\n  events: [task.finished]\n  secretFile: /etc/k\n\
             - {url: 'http://h/x', format: get}\n",
        )
        .unwrap();
        assert_eq!(got.len(), 2);
        assert_eq!(got[0].events, [CallbackEvent::TaskFinished]);
        assert_eq!(got[0].secret_file.as_deref(), Some("/etc/k"));
        assert_eq!(got[1].format, CallbackFormat::Get);
        assert_eq!(parse("").unwrap(), []);
        assert_eq!(parse("[]").unwrap(), []);
    }

    #[test]
    fn every_mistake_is_named() {
        for (text, want) in [
            ("- url: ftp://x", "[0].url"),
            ("- {url: 'http://h/', events: [task.ended]}", "task.ended"),
            (
                "- {url: 'http://h/', events: [task.started, task.started]}",
                "named twice",
            ),
            ("- {url: 'http://h/', secret: x}", "secret"),
            ("url: http://h/", "list"),
            ("- url: [", "sinks.yaml:"),
            (
                "- url: http://h/\n---\n- url: http://h/",
                "more than one document",
            ),
        ] {
            let got = parse(text).unwrap_err().join("\n");
            assert!(got.contains(want), "{text}: {got}");
        }
    }
}
