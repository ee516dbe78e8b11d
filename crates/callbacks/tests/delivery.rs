//! Events reach a real receiver: in order, signed, retried, and nothing waits forever.

// A test fails by panicking, in its helpers too.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod receiver;

use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use base64::Engine;
use baton_callbacks::event::StepRef;
use baton_callbacks::{
    DeliveryReport, Event, Format, Happening, Kind, Policy, Secret, Sender, Sink, Source, TaskEnd,
    TaskOutcome,
};
use baton_protocol::{Reason, Record, Timestamp};
use hmac::{Hmac, KeyInit, Mac};
use socket2::{Domain, Socket, Type};

use receiver::{Act, OK, PATIENCE, Receiver, Request};

/// As patient as ever, at a thousandth of the pace.
const POLICY: Policy = Policy {
    base: Duration::from_millis(1),
    cap: Duration::from_millis(20),
    attempts: 8,
    timeout: Duration::from_secs(20),
};

fn now() -> Timestamp {
    Timestamp(std::time::SystemTime::now())
}

/// A run of a task with `steps` steps, as events: 2 per step, and 2 for the task.
fn story(steps: u32) -> Vec<Event> {
    let source = Source::new("9f2c", "build", "build-x7");
    let step = |number| StepRef {
        name: format!("step{number}"),
        number,
    };
    let mut told = vec![Happening::TaskStarted];
    for number in 1..=steps {
        told.push(Happening::StepStarted { step: step(number) });
        told.push(Happening::StepFinished {
            step: step(number),
            record: Record::new(Reason::Completed, 0, now()),
        });
    }
    told.push(Happening::TaskFinished(TaskEnd {
        outcome: TaskOutcome::Succeeded,
        exit_code: 0,
        failed_step: None,
        started_at: now(),
        finished_at: now(),
        message: String::new(),
    }));
    told.into_iter().map(|w| source.event(now(), w)).collect()
}

fn sink(url: &str) -> Sink {
    Sink::new(url, Format::CloudEvents, Vec::new(), None).unwrap()
}

/// Sends all of `events` and waits until each was accepted or given up.
fn send(sink: Sink, policy: Policy, events: &[Event]) -> DeliveryReport {
    let sender = Sender::start(vec![sink], policy).unwrap();
    events.iter().for_each(|event| sender.send(event));
    sender.finish(PATIENCE).pop().unwrap()
}

fn ids(requests: &[Request]) -> Vec<String> {
    requests.iter().map(|r| r.id().to_owned()).collect()
}

fn ids_of(events: &[Event]) -> Vec<String> {
    events.iter().map(|e| e.id.clone()).collect()
}

/// The ids in order of first arrival.
fn first_arrivals(requests: &[Request]) -> Vec<String> {
    let mut ids = ids(requests);
    ids.dedup();
    ids
}

#[test]
fn every_event_arrives_once_in_order_and_signed() {
    let receiver = Receiver::start(|_, _| OK);
    let key = b"a key of twenty-four byte";
    let secret = format!(
        "whsec_{}",
        base64::engine::general_purpose::STANDARD.encode(key)
    );
    let sink = Sink::new(
        &receiver.url("/hook?team=a"),
        Format::CloudEvents,
        Vec::new(),
        Some(secret.parse::<Secret>().unwrap()),
    )
    .unwrap();
    let events = story(5);
    let report = send(sink, POLICY, &events);
    assert_eq!((report.delivered, report.retries), (12, 0));
    assert_eq!(report.complaint(), None);
    let got = receiver.seen();
    assert_eq!(ids(&got), ids_of(&events));
    for (request, event) in got.iter().zip(&events) {
        assert_eq!(
            (&*request.method, &*request.target),
            ("POST", "/hook?team=a")
        );
        assert_eq!(
            request.headers["content-type"],
            "application/cloudevents+json"
        );
        assert_eq!(request.json()["id"], event.id);
        assert_eq!(request.json()["type"], event.kind().cloud_type());
        verify(request, key);
    }
}

/// What a receiver's own library does, written down from the specification.
fn verify(request: &Request, key: &[u8]) {
    let timestamp = &request.headers["webhook-timestamp"];
    let sent: u64 = timestamp.parse().unwrap();
    let age = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(sent);
    assert!(age.elapsed().unwrap() < Duration::from_secs(300));
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key).unwrap();
    mac.update(request.id().as_bytes());
    mac.update(b".");
    mac.update(timestamp.as_bytes());
    mac.update(b".");
    mac.update(&request.body);
    let signature = request.headers["webhook-signature"].strip_prefix("v1,");
    let signature = base64::engine::general_purpose::STANDARD
        .decode(signature.unwrap())
        .unwrap();
    mac.verify_slice(&signature).unwrap();
}

#[test]
fn failures_are_retried_and_order_holds() {
    // Of each three requests the first two fail, each in another way.
    let receiver = Receiver::start(|n, _| match (n % 3, n % 4) {
        (2, _) => OK,
        (_, 0) => Act::Answer(503, "", "overloaded"),
        (_, 1) => Act::Close,
        (_, 2) => Act::Answer(429, "retry-after: 3600\r\n", ""),
        _ => Act::Garble,
    });
    let events = story(3);
    let report = send(sink(&receiver.url("/")), POLICY, &events);
    assert_eq!((report.delivered, report.retries), (8, 16));
    let got = receiver.seen();
    assert_eq!(first_arrivals(&got), ids_of(&events));
    assert_eq!(got.len(), 24, "no repeats but retries");
    for attempts in got.chunks(3) {
        assert!(attempts.iter().all(|r| r.body == attempts[0].body));
    }
}

#[test]
fn a_receiver_that_is_down_at_first_misses_nothing() {
    // Bound and not listening: refuses, and keeps the port for later.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket
        .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    let policy = Policy {
        attempts: 100_000,
        ..POLICY
    };
    let sender = Sender::start(vec![sink(&format!("http://{addr}/"))], policy).unwrap();
    let events = story(2);
    events.iter().for_each(|event| sender.send(event));
    wait_until(|| sender.reports()[0].retries >= 3);
    assert_eq!(sender.reports()[0].unsent, 6);
    let last_error = sender.reports()[0].last_error.clone().unwrap();
    assert!(last_error.starts_with("connecting: "), "{last_error}");
    assert!(last_error.contains("refused"), "{last_error}");
    socket.listen(128).unwrap();
    let receiver = Receiver::on(socket.into(), |_, _| OK);
    let report = sender.finish(PATIENCE).pop().unwrap();
    assert_eq!((report.delivered, report.unsent), (6, 0));
    assert_eq!(report.last_error, None);
    assert_eq!(ids(&receiver.seen()), ids_of(&events));
}

#[test]
fn a_refusal_is_final_and_harms_no_other_event() {
    let events = story(1);
    let refused = events[1].id.clone();
    let receiver = Receiver::start(move |_, request| match request.id() == refused {
        true => Act::Answer(422, "", "no such\nproject"),
        false => OK,
    });
    let report = send(sink(&receiver.url("/")), POLICY, &events);
    assert_eq!((report.delivered, report.gave_up_total), (3, 1));
    assert_eq!(report.gave_up[0].id, events[1].id);
    assert_eq!(
        report.gave_up[0].cause,
        "the receiver answered 422 (no such project)"
    );
    assert_eq!(ids(&receiver.seen()), ids_of(&events));
}

#[test]
fn a_redirect_is_not_followed() {
    let receiver = Receiver::start(|_, _| Act::Answer(307, "location: /elsewhere\r\n", ""));
    let report = send(sink(&receiver.url("/hook")), POLICY, &story(0)[..1]);
    assert_eq!(
        report.gave_up[0].cause,
        "the receiver answered 307: redirects are not followed"
    );
    assert_eq!(receiver.seen().len(), 1);
}

#[test]
fn attempts_end() {
    let receiver = Receiver::start(|_, _| Act::Answer(500, "", ""));
    let report = send(sink(&receiver.url("/")), POLICY, &story(0));
    assert_eq!((report.delivered, report.gave_up_total), (0, 2));
    assert_eq!(receiver.seen().len(), 16);
    assert_eq!(
        report.complaint().unwrap(),
        format!(
            "callback http://{}/: 0 events delivered, 2 given up: \
             the receiver answered 500 (attempt 8 of 8)",
            receiver.addr
        )
    );
}

#[test]
fn an_answer_that_never_comes_times_out() {
    let receiver = Receiver::start(|n, _| if n == 0 { Act::Hang } else { OK });
    let policy = Policy {
        timeout: Duration::from_millis(300),
        attempts: 1000,
        ..POLICY
    };
    let report = send(sink(&receiver.url("/")), policy, &story(0));
    assert_eq!(report.delivered, 2);
    assert!(report.retries >= 1);
}

#[test]
fn an_answer_that_never_ends_is_an_answer() {
    let receiver = Receiver::start(|_, _| Act::Flood);
    let report = send(sink(&receiver.url("/")), POLICY, &story(0));
    assert_eq!((report.delivered, report.retries), (2, 0));
}

#[test]
fn the_end_waits_no_longer_than_it_was_told() {
    let receiver = Receiver::start(|_, _| Act::Hang);
    let policy = Policy {
        timeout: Duration::from_secs(3600),
        ..POLICY
    };
    let sender = Sender::start(vec![sink(&receiver.url("/"))], policy).unwrap();
    story(1).iter().for_each(|event| sender.send(event));
    receiver.wait_for(1);
    let report = sender.finish(Duration::from_millis(10)).pop().unwrap();
    assert_eq!((report.delivered, report.unsent), (0, 4));
}

#[test]
fn a_dead_sink_holds_up_no_other() {
    let (dead, alive) = (
        Receiver::start(|_, _| Act::Hang),
        Receiver::start(|_, _| OK),
    );
    let sinks = vec![sink(&dead.url("/")), sink(&alive.url("/"))];
    let sender = Sender::start(sinks, POLICY).unwrap();
    let events = story(4);
    events.iter().for_each(|event| sender.send(event));
    assert_eq!(ids(&alive.wait_for(10)), ids_of(&events));
    drop(sender);
}

#[test]
fn the_classic_form_tells_start_and_end() {
    let receiver = Receiver::start(|_, _| OK);
    let url = receiver.url("/api/code/test");
    let classic = || Sink::new(&url, Format::Get, Vec::new(), None).unwrap();
    let mut events = story(3);
    send(classic(), POLICY, &events);
    if let Some(Happening::TaskFinished(end)) = events.last_mut().map(|e| &mut e.what) {
        end.outcome = TaskOutcome::TimedOut;
    }
    send(classic(), POLICY, &events[7..]);
    let got: Vec<_> = receiver
        .seen()
        .iter()
        .map(|r| format!("{} {}", r.method, r.target))
        .collect();
    assert_eq!(
        got,
        [
            "GET /api/code/test?podName=build-x7&status=running",
            "GET /api/code/test?podName=build-x7&status=done",
            "GET /api/code/test?podName=build-x7&status=failed",
        ]
    );
}

#[test]
fn only_what_was_asked_for_is_told() {
    let receiver = Receiver::start(|_, _| OK);
    let kinds = vec![Kind::StepFinished, Kind::TaskFinished];
    let sink = Sink::new(&receiver.url("/"), Format::CloudEvents, kinds, None).unwrap();
    let report = send(sink, POLICY, &story(2));
    assert_eq!(report.delivered, 3);
    let types: Vec<_> = receiver
        .seen()
        .iter()
        .map(|r| r.json()["subject"].clone())
        .collect();
    assert_eq!(
        types,
        ["step1".into(), "step2".into(), serde_json::Value::Null]
    );
}

#[test]
fn batches_take_what_waits_and_repeat_unchanged() {
    // The first request is held until everything is queued; the second, a batch, fails once.
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let held = gate.clone();
    let receiver = Receiver::start(move |n, _| match n {
        0 => {
            let (open, changed) = &*held;
            let _open = changed
                .wait_while(open.lock().unwrap(), |open| !*open)
                .unwrap();
            OK
        }
        1 => Act::Answer(500, "", ""),
        _ => OK,
    });
    let url = receiver.url("/");
    let sink = Sink::new(&url, Format::CloudEventsBatch, Vec::new(), None).unwrap();
    let sender = Sender::start(vec![sink], POLICY).unwrap();
    let events = story(4);
    sender.send(&events[0]);
    receiver.wait_for(1);
    events[1..].iter().for_each(|event| sender.send(event));
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
    let report = sender.finish(PATIENCE).pop().unwrap();
    assert_eq!(report.delivered, 10);
    let got = receiver.seen();
    assert_eq!(got.len(), 3);
    assert_eq!(
        got[1].headers["content-type"],
        "application/cloudevents-batch+json"
    );
    assert_eq!((got[1].id(), &got[1].body), (got[2].id(), &got[2].body));
    let arrived: Vec<_> = [&got[0], &got[2]]
        .iter()
        .flat_map(|r| r.json().as_array().unwrap().clone())
        .map(|e| e["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(arrived, ids_of(&events));
}

#[test]
fn no_sinks_need_no_thread() {
    let sender = Sender::start(Vec::new(), POLICY).unwrap();
    sender.send(&story(0)[0]);
    assert_eq!(sender.finish(Duration::ZERO), []);
}

fn wait_until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "the condition never came true");
        std::thread::yield_now();
    }
}
