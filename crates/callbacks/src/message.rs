//! Who is told, and the request that an event becomes for them.

use reqwest::Url;

use crate::event::{Event, Happening, Kind, TaskOutcome};
use crate::sign::Secret;

/// Most events in one batch.
pub const MAX_BATCH: usize = 64;
/// Longest URL that is accepted, in bytes.
pub const MAX_URL_BYTES: usize = 4096;

/// The form in which a sink is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// One structured CloudEvent in each POST (`application/cloudevents+json`).
    #[default]
    CloudEvents,
    /// As many as wait, up to [`MAX_BATCH`], in each POST (`application/cloudevents-batch+json`).
    CloudEventsBatch,
    /// The classic form: `GET url?podName=NAME&status=running|done|failed`, on the start and the
    /// end of a task alone.
    Get,
}

/// A receiver of events.
#[derive(Debug, Clone)]
pub struct Sink {
    url: Url,
    format: Format,
    kinds: Vec<Kind>,
    secret: Option<Secret>,
}

/// Why a sink cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SinkError {
    /// No URL at all.
    #[error("the callback url {url:?} is not a URL: {cause}")]
    Malformed {
        /// The beginning of what was given.
        url: String,
        /// What is wrong with it.
        cause: String,
    },
    /// A URL that HTTP cannot reach.
    #[error("the callback url's scheme is {0}; it must be http or https")]
    Scheme(String),
}

impl Sink {
    /// A sink that is told of `kinds`, or of everything where that is empty; requests are signed
    /// where there is a secret.
    ///
    /// # Errors
    /// Where `url` is no `http` or `https` URL, or longer than [`MAX_URL_BYTES`].
    pub fn new(
        url: &str,
        format: Format,
        kinds: Vec<Kind>,
        secret: Option<Secret>,
    ) -> Result<Sink, SinkError> {
        let malformed = |cause: String| SinkError::Malformed {
            url: url.chars().take(80).collect(),
            cause,
        };
        if url.len() > MAX_URL_BYTES {
            return Err(malformed(format!("longer than {MAX_URL_BYTES} bytes")));
        }
        let mut parsed = Url::parse(url).map_err(|e| malformed(e.to_string()))?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(SinkError::Scheme(parsed.scheme().to_owned()));
        }
        parsed.set_fragment(None);
        Ok(Sink {
            url: parsed,
            format,
            kinds,
            secret,
        })
    }

    /// Whether this sink is told of such events.
    pub fn wants(&self, kind: Kind) -> bool {
        let possible =
            self.format != Format::Get || matches!(kind, Kind::TaskStarted | Kind::TaskFinished);
        possible && (self.kinds.is_empty() || self.kinds.contains(&kind))
    }

    /// The URL as messages show it: without user, password and query, which may hold secrets.
    pub fn label(&self) -> String {
        let mut shown = self.url.clone();
        shown.set_query(None);
        // These fail for URLs without a host, which http and https URLs always have.
        let _ = shown.set_username("");
        let _ = shown.set_password(None);
        shown.into()
    }

    /// The URL itself. It may hold secrets: see [`label`](Sink::label).
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// How many events one request takes.
    pub fn batch_size(&self) -> usize {
        match self.format {
            Format::CloudEventsBatch => MAX_BATCH,
            Format::CloudEvents | Format::Get => 1,
        }
    }

    /// The request that tells of `events`: the first of them alone, unless the format is the
    /// batched one. `None` where there is none.
    pub fn message(&self, events: &[Event]) -> Option<Message> {
        let (first, rest) = events.split_first()?;
        let (content_type, body) = match self.format {
            Format::CloudEvents => (Some("application/cloudevents+json"), first.to_json()),
            Format::CloudEventsBatch => {
                let all: Vec<_> = events.iter().map(Event::to_json).collect();
                let body = [&b"["[..], &all.join(&b','), b"]"].concat();
                (Some("application/cloudevents-batch+json"), body)
            }
            Format::Get => (None, Vec::new()),
        };
        let mut url = self.url.clone();
        if self.format == Format::Get {
            url.query_pairs_mut()
                .append_pair("podName", &first.pod)
                .append_pair("status", classic_status(first));
        }
        let id = match (self.format, rest.len()) {
            (Format::CloudEventsBatch, more @ 1..) => format!("{}-and-{more}", first.id),
            _ => first.id.clone(),
        };
        Some(Message {
            id,
            url,
            content_type,
            body,
            secret: self.secret.clone(),
        })
    }
}

fn classic_status(event: &Event) -> &'static str {
    match &event.what {
        Happening::TaskFinished(end) if end.outcome == TaskOutcome::Succeeded => "done",
        Happening::FlowFinished(end) if end.outcome == TaskOutcome::Succeeded => "done",
        Happening::TaskFinished(_) | Happening::FlowFinished(_) => "failed",
        _ => "running",
    }
}

/// One request, the same at each attempt but for its time and signature.
#[derive(Debug, Clone)]
pub struct Message {
    /// The `webhook-id`: that of its first event, by which repeats are known.
    pub id: String,
    /// Where it goes.
    pub url: Url,
    /// The body's type; `None` for a GET, which has no body.
    pub content_type: Option<&'static str>,
    /// The body.
    pub body: Vec<u8>,
    secret: Option<Secret>,
}

impl Message {
    /// The headers of an attempt made at `timestamp`, in seconds since 1970.
    pub fn headers(&self, timestamp: u64) -> Vec<(&'static str, String)> {
        let mut headers = vec![
            ("webhook-id", self.id.clone()),
            ("webhook-timestamp", timestamp.to_string()),
        ];
        if let Some(secret) = &self.secret {
            let signature = secret.sign(&self.id, timestamp, &self.body);
            headers.push(("webhook-signature", signature));
        }
        if let Some(content_type) = self.content_type {
            headers.push(("content-type", content_type.to_owned()));
        }
        headers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Source;
    use baton_protocol::Timestamp;
    use std::time::SystemTime;

    fn started() -> Event {
        Source::new("r", "build", "build x&y")
            .event(Timestamp(SystemTime::UNIX_EPOCH), Happening::TaskStarted)
    }

    fn sink(url: &str, format: Format) -> Sink {
        Sink::new(url, format, Vec::new(), None).unwrap()
    }

    #[test]
    fn bad_urls_are_refused() {
        for (url, want) in [
            ("ftp://x/y", "the callback url's scheme is ftp"),
            ("/hook", "the callback url \"/hook\" is not a URL"),
            ("", "the callback url \"\" is not a URL"),
            ("http://", "the callback url \"http://\" is not a URL"),
        ] {
            let got = Sink::new(url, Format::Get, Vec::new(), None).unwrap_err();
            assert!(got.to_string().starts_with(want), "{got}");
        }
        let long = format!("http://x/{}", "y".repeat(MAX_URL_BYTES));
        assert!(Sink::new(&long, Format::Get, Vec::new(), None).is_err());
    }

    #[test]
    fn what_may_be_secret_is_not_shown() {
        let sink = sink("https://me:pw@host:8443/hook?token=s3cret#top", Format::Get);
        assert_eq!(sink.label(), "https://host:8443/hook");
    }

    #[test]
    fn the_classic_form_keeps_the_query_and_escapes_the_name() {
        let message = sink("http://h/api?k=v", Format::Get)
            .message(&[started()])
            .unwrap();
        assert_eq!(
            message.url.as_str(),
            "http://h/api?k=v&podName=build+x%26y&status=running"
        );
        assert!(message.body.is_empty() && message.content_type.is_none());
    }

    #[test]
    fn the_classic_form_is_told_of_start_and_end_alone() {
        let all = sink("http://h/", Format::Get);
        let told: Vec<_> = Kind::ALL.into_iter().filter(|k| all.wants(*k)).collect();
        assert_eq!(told, [Kind::TaskStarted, Kind::TaskFinished]);
        let some = Sink::new(
            "http://h/",
            Format::CloudEvents,
            vec![Kind::StepRetrying],
            None,
        )
        .unwrap();
        let told: Vec<_> = Kind::ALL.into_iter().filter(|k| some.wants(*k)).collect();
        assert_eq!(told, [Kind::StepRetrying]);
    }

    #[test]
    fn a_batch_is_an_array_of_the_same_envelopes() {
        let events = [started(), started()];
        let message = sink("http://h/", Format::CloudEventsBatch)
            .message(&events)
            .unwrap();
        let body: Vec<serde_json::Value> = serde_json::from_slice(&message.body).unwrap();
        let one: serde_json::Value = serde_json::from_slice(&started().to_json()).unwrap();
        assert_eq!(body, [one.clone(), one]);
        assert_eq!(message.id, "r-build-task-started-and-1");
        assert!(sink("http://h/", Format::Get).message(&[]).is_none());
    }
}
