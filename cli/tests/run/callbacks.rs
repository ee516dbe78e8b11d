//! Callbacks to a real receiver.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};

use nix::sys::signal::Signal;

use crate::harness::{Bench, finish, signal, task};

/// Nobody listens there: no program is given a port that low.
const NOBODY: &str = "http://127.0.0.1:9/";

/// One request: its first line, its headers and its body.
struct Request {
    line: String,
    headers: Vec<String>,
    body: String,
}

/// A receiver that answers every request, one connection each, with what `answer` says.
fn receiver(
    answer: impl Fn(usize) -> &'static str + Send + 'static,
) -> (String, Receiver<Request>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (tell, requests) = channel();
    std::thread::spawn(move || {
        for (count, stream) in listener.incoming().enumerate() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut head = Vec::new();
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).unwrap();
                match line.trim_end() {
                    "" => break,
                    line => head.push(line.to_ascii_lowercase()),
                }
            }
            let length = head
                .iter()
                .find_map(|h| h.strip_prefix("content-length: "))
                .map_or(0, |n| n.parse().unwrap());
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            let request = Request {
                line: head[0].clone(),
                headers: head,
                body: String::from_utf8(body).unwrap(),
            };
            // First of all: who gets the last answer ends, and then this is looked at.
            if tell.send(request).is_err() {
                return;
            }
            let answer = answer(count);
            let text =
                format!("HTTP/1.1 {answer}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
            let _ = stream.get_mut().write_all(text.as_bytes());
        }
    });
    (url, requests)
}

#[test]
fn events_arrive_in_order_signed_and_again_where_they_were_refused() {
    let (url, requests) = receiver(|count| if count == 1 { "503 No" } else { "204 Yes" });
    let bench = Bench::with(&task(
        "t",
        &format!(
            "  steps:
  - {{name: a, command: [echo, hi]}}
  - {{name: b, script: 'exit 3'}}
  callbacks: [{{url: '{url}', secret: {{value: 'a secret of the test'}}}}]
"
        ),
    ));
    let ran = bench.run(&[]);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    // A slow machine may make it wait for them for a while.
    let waits = "waiting for callbacks to be accepted; Ctrl-C gives them up\n";
    let said = ran.stderr.replace(waits, "");
    assert!(!said.contains("callback"), "{}", ran.stderr);
    let requests: Vec<_> = requests.try_iter().collect();
    let told: Vec<_> = requests
        .iter()
        .map(|request| {
            let event: serde_json::Value = serde_json::from_str(&request.body).unwrap();
            let kind = event["type"].as_str().unwrap().to_owned();
            let kind = kind.strip_prefix("dev.baton.").unwrap().to_owned();
            (kind, event["subject"].as_str().unwrap_or("").to_owned())
        })
        .collect();
    let want = [
        ("task.started", ""),
        ("step.started", "a"),
        ("step.started", "a"),
        ("step.finished", "a"),
        ("step.started", "b"),
        ("step.finished", "b"),
        ("task.finished", ""),
    ];
    assert_eq!(told, want.map(|(k, s)| (k.to_owned(), s.to_owned())));
    for request in &requests {
        assert!(request.line.starts_with("post /hook "));
        assert!(
            request
                .headers
                .iter()
                .any(|h| h.starts_with("webhook-signature: v1,"))
        );
    }
}

#[test]
fn a_secret_from_the_environment_signs_and_is_hidden_from_the_steps() {
    let (url, requests) = receiver(|_| "204 Yes");
    let bench = Bench::with(&task(
        "t",
        &format!(
            "  steps: [{{name: a, script: 'echo \"secret: $HOOK_SECRET_OF_TEST.\"'}}]
  callbacks: [{{url: '{url}', secret: {{env: HOOK_SECRET_OF_TEST}}}}]
"
        ),
    ));
    let mut command = bench.command(&["run", "t.yaml"]);
    command.env("HOOK_SECRET_OF_TEST", "never to be seen");
    let ran = finish(command.spawn().unwrap());
    assert_eq!(ran.stdout, "a | secret: .\n", "{}", ran.stderr);
    let signed = |h: &String| h.starts_with("webhook-signature: v1,");
    assert!(
        requests
            .try_iter()
            .all(|request| request.headers.iter().any(signed))
    );
}

#[test]
fn a_receiver_that_is_not_there_is_told_of_and_can_be_given_up() {
    let bench = Bench::with(&task(
        "t",
        &format!(
            "  steps: [{{name: a, command: ['true']}}]
  callbacks: [{{url: '{NOBODY}'}}]
"
        ),
    ));
    let mut child = bench.command(&["run", "t.yaml"]).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut before = String::new();
    while !before.contains("waiting for callbacks") {
        assert_ne!(stderr.read_line(&mut before).unwrap(), 0);
    }
    // How it went is said before anybody is waited for.
    assert!(before.contains("task t: Succeeded"), "{before}");
    signal(&child, Signal::SIGINT);
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("callbacks were given up"), "{rest}");
    assert_eq!(finish(child).code, 0);
    assert!(bench.leftovers().is_empty());
}

#[test]
fn a_flow_tells_of_its_nodes_in_order() {
    let (url, requests) = receiver(|_| "204 No Content");
    let node = |name: &str, needs: &str, command: &str| {
        format!(
            "  - {{name: {name}, dependencies: [{needs}], jobTemplate: {{backoffLimit: 0, template: {{spec: {{containers: [{{name: c, command: ['{command}']}}]}}}}}}}}\n"
        )
    };
    let manifest = format!(
        "apiVersion: baton.dev/v1alpha1\nkind: JobFlow\nmetadata: {{name: f}}\nspec:\n  callbacks: [{{url: '{url}'}}]\n  flows:\n{}{}{}",
        node("a", "", "true"),
        node("b", "a", "false"),
        node("c", "b", "true"),
    );
    let ran = Bench::with(&manifest).run(&[]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    let told: Vec<serde_json::Value> = requests
        .try_iter()
        .map(|r| serde_json::from_str(&r.body).unwrap())
        .collect();
    let said: Vec<_> = told
        .iter()
        .map(|e| {
            let kind = e["type"].as_str().unwrap();
            let node = e["data"]["node"].as_str().unwrap_or_default();
            (kind.strip_prefix("dev.baton.").unwrap(), node)
        })
        .collect();
    let expected = [
        ("flow.started", ""),
        ("node.started", "a"),
        ("node.finished", "a"),
        ("node.started", "b"),
        ("node.finished", "b"),
        ("node.finished", "c"),
        ("flow.finished", ""),
    ];
    assert_eq!(said, expected);
    let last = &told[6]["data"];
    assert_eq!(last["flow"], "f");
    assert_eq!(last["outcome"], "Failed");
    assert_eq!(last["failedNode"], "b");
    assert_eq!(told[5]["data"]["state"], "Skipped");
}

#[test]
fn what_depends_on_a_task_does_not_wait_for_its_receivers() {
    let manifest = format!(
        "apiVersion: baton.dev/v1alpha1
kind: JobFlow
metadata: {{name: f}}
spec:
  flows:
  - {{name: a, taskTemplate: {{callbacks: [{{url: '{NOBODY}'}}], steps: [{{name: s, command: ['true']}}]}}}}
  - {{name: b, dependencies: [a], jobTemplate: {{template: {{spec: {{containers: [{{name: c, command: [echo, next]}}]}}}}}}}}
"
    );
    let bench = Bench::with(&manifest);
    let mut child = bench.command(&["run", "t.yaml"]).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut before = String::new();
    while !before.contains("waiting for callbacks") || !before.contains("b ✔ succeeded") {
        assert_ne!(stderr.read_line(&mut before).unwrap(), 0);
    }
    signal(&child, Signal::SIGINT);
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("callbacks were given up"), "{rest}");
    assert!(rest.contains("jobflow f: Succeeded"), "{rest}");
    assert_eq!(finish(child).code, 0);
}
