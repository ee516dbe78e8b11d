//! `spec.schedule` of Tasks and JobFlows: runs that begin by the clock.

use std::time::{Duration, SystemTime};

use baton_api::schedule::ScheduleStatus;
use baton_e2e::{Cluster, Namespace};
use baton_protocol::Timestamp;
use serde_json::{Value, json};

/// A minute begins, and something short runs.
const MINUTE: Duration = Duration::from_secs(180);
const SOON: Duration = Duration::from_secs(90);

fn task(name: &str, schedule: &Value, command: &str) -> Value {
    json!({
        "apiVersion": "baton.dev/v1alpha1",
        "kind": "Task",
        "metadata": {"name": name, "labels": {"team": "a"}},
        "spec": {
            "schedule": schedule,
            "gracePeriod": "1s",
            "steps": [{"name": "one", "image": "busybox", "command": ["sh", "-c", command]}],
        },
    })
}

fn flow(name: &str, schedule: &Value) -> Value {
    let pod = json!({"spec": {
        "restartPolicy": "Never",
        "containers": [{"name": "c", "image": "busybox", "command": ["true"]}],
    }});
    json!({
        "apiVersion": "baton.dev/v1alpha1",
        "kind": "JobFlow",
        "metadata": {"name": name},
        "spec": {
            "schedule": schedule,
            "flows": [
                {"name": "first", "jobTemplate": {"template": pod}},
                {"name": "second", "dependencies": ["first"], "jobTemplate": {"template": pod}},
            ],
        },
    })
}

/// A run as the controller would have made it, of some time in the past.
fn by_hand(ns: &Namespace, template: &str, due: &str, command: &str) -> String {
    let owner = ns.get("task", template).expect("the template");
    let name = format!(
        "{template}-{}",
        due.replace([':', 'T', 'Z'], "-").trim_end_matches('-')
    );
    let mut run = task(&name, &Value::Null, command);
    run["spec"].as_object_mut().unwrap().remove("schedule");
    run["metadata"]["labels"] = json!({"baton.dev/schedule": template});
    run["metadata"]["annotations"] = json!({"baton.dev/due": due});
    run["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "baton.dev/v1alpha1", "kind": "Task", "name": template,
        "uid": owner["metadata"]["uid"], "controller": true,
    }]);
    ns.apply(&run.to_string());
    name
}

fn schedule(object: &Value) -> ScheduleStatus {
    match object["status"].get("schedule") {
        Some(status) => serde_json::from_value(status.clone()).expect("the status of a schedule"),
        None => ScheduleStatus::default(),
    }
}

fn runs(ns: &Namespace, kind: &str, template: &str) -> Vec<Value> {
    ns.list(kind, &format!("baton.dev/schedule={template}"))
}

fn reason(object: &Value) -> &str {
    object["status"]["reason"].as_str().unwrap_or_default()
}

fn seconds(at: &Value) -> u64 {
    let at: Timestamp = serde_json::from_value(at.clone()).expect("a time");
    let since =
        at.0.duration_since(SystemTime::UNIX_EPOCH)
            .expect("after 1970");
    since.as_secs()
}

/// A run of this minute, as its template says it has to be.
fn check_run(ns: &Namespace, kind: &str, template: &Value) {
    let (name, status) = (
        template["metadata"]["name"].as_str().unwrap(),
        schedule(template),
    );
    assert_eq!(template["status"]["phase"], "Scheduled", "{template}");
    let all = runs(ns, kind, name);
    // A slow machine comes here after the next one began.
    let run = all
        .iter()
        .find(|run| run["metadata"]["name"] == status.last_run);
    let run = run.unwrap_or_else(|| panic!("{} is not among {all:?}", status.last_run));
    let due = seconds(&json!(status.last_schedule_time));
    assert_eq!(due % 60, 0);
    assert_eq!(run["metadata"]["name"], format!("{name}-{}", due / 60));
    assert!(run["spec"].get("schedule").is_none(), "{run}");
    let owner = &run["metadata"]["ownerReferences"][0];
    assert_eq!(owner["uid"], template["metadata"]["uid"]);
    assert_eq!(
        (&owner["kind"], &owner["controller"]),
        (&template["kind"], &json!(true))
    );
    let late = seconds(&run["metadata"]["creationTimestamp"]).saturating_sub(due);
    assert!(late < 60, "it began {late} s after it was due");
    assert_eq!(seconds(&json!(status.next_schedule_time)) % 60, 0);
}

#[test]
#[ignore = "needs a cluster"]
fn runs_begin_each_minute_and_make_way_for_each_other() {
    let cluster = Cluster::shared();
    let ns = cluster.namespace("schedules");
    let each = json!({"cron": "* * * * *", "timeZone": "Asia/Kolkata"});
    let mut forbid = each.clone();
    forbid["concurrencyPolicy"] = json!("Forbid");
    let mut replace = each.clone();
    replace["concurrencyPolicy"] = json!("Replace");
    let mut suspended = each.clone();
    suspended["suspend"] = json!(true);
    ns.apply(&task("tick", &each, "echo tick").to_string());
    ns.apply(&flow("flow", &each).to_string());
    ns.apply(&task("suspended", &suspended, "true").to_string());
    // Both have a run that is active before they may begin one.
    let [held, replaced] = [("forbid", &forbid), ("replace", &replace)].map(|(name, schedule)| {
        let mut still = schedule.clone();
        still["suspend"] = json!(true);
        ns.apply(&task(name, &still, "sleep 600").to_string());
        let run = by_hand(&ns, name, "2026-01-01T00:00:00Z", "sleep 600");
        ns.apply(&task(name, schedule, "sleep 600").to_string());
        run
    });

    let succeeded = |object: &Value| schedule(object).last_successful_time.is_some();
    let tick = ns.wait("task", "tick", MINUTE, "a run that succeeded", succeeded);
    check_run(&ns, "task", &tick);
    let run = &runs(&ns, "task", "tick")[0];
    assert_eq!(run["metadata"]["labels"]["team"], "a");
    let flow = ns.wait("jobflow", "flow", MINUTE, "a run that succeeded", succeeded);
    check_run(&ns, "jobflow", &flow);
    // Nothing of a template runs itself.
    assert!(ns.list("pods", "baton.dev/task=tick").is_empty());
    assert!(ns.list("jobs", "baton.dev/jobflow=flow").is_empty());
    let shown = ns.kubectl(&["get", "task", "tick"]).success("get");
    assert!(shown.contains("Scheduled"), "{shown}");

    // One that is active holds up the next, until it is over.
    let waits = |object: &Value| reason(object) == "Waiting";
    let waiting = ns.wait("task", "forbid", SOON, "it waits", waits);
    assert_eq!(schedule(&waiting).active, [held.as_str()]);
    assert_eq!(runs(&ns, "task", "forbid").len(), 1);
    let cancel = [
        "patch",
        "task",
        &held,
        "--type=merge",
        "-p",
        r#"{"spec":{"cancel":true}}"#,
    ];
    ns.kubectl(&cancel).success("cancel");
    let began = |object: &Value| {
        let status = schedule(object);
        status.active_count == 1 && status.active[0] == status.last_run
    };
    ns.wait("task", "forbid", SOON, "the run that waited", began);

    // Or makes way.
    ns.wait("task", "replace", SOON, "the run in its place", began);
    assert!(
        ns.get("task", &replaced)
            .is_none_or(|t| { t["metadata"].get("deletionTimestamp").is_some() })
    );

    // What was due while it was suspended begins once, when it goes on.
    let still = ns.get("task", "suspended").expect("it is there");
    assert_eq!(reason(&still), "Suspended");
    assert!(runs(&ns, "task", "suspended").is_empty());
    let resume = r#"{"spec":{"schedule":{"suspend":false}}}"#;
    ns.kubectl(&["patch", "task", "suspended", "--type=merge", "-p", resume])
        .success("resume");
    let made = |object: &Value| !schedule(object).last_run.is_empty();
    ns.wait("task", "suspended", SOON, "a run at once", made);

    // The runs go with their template.
    ns.kubectl(&["delete", "task", "tick"]).success("delete");
    let run = run["metadata"]["name"].as_str().unwrap();
    ns.kubectl(&[
        "wait",
        "--for=delete",
        &format!("task/{run}"),
        "--timeout=90s",
    ])
    .success("the run goes");
}

#[test]
#[ignore = "needs a cluster"]
fn the_newest_runs_are_kept() {
    let cluster = Cluster::shared();
    let ns = cluster.namespace("schedule-history");
    let yearly = json!({
        "cron": "0 0 1 1 *", "successfulRunsHistoryLimit": 2, "failedRunsHistoryLimit": 0,
    });
    ns.apply(&task("old", &yearly, "true").to_string());
    let due = |minute: u32| format!("2026-01-01T00:{minute:02}:00Z");
    let all: Vec<_> = (0..4)
        .map(|i| by_hand(&ns, "old", &due(i), "true"))
        .collect();
    by_hand(&ns, "old", &due(9), "exit 3");
    let names = |status: &str| {
        let runs = runs(&ns, "task", "old").into_iter();
        let mut names: Vec<_> = runs
            .filter(|r| status.is_empty() || r["status"]["phase"] == status)
            .map(|r| r["metadata"]["name"].as_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    };
    let over = |object: &Value| {
        let status = schedule(object);
        let kept = names("");
        status.active_count == 0 && kept.len() == 2 && names("Succeeded") == all[2..]
    };
    // What is left of them tells no event of the template.
    let old = baton_e2e::until(MINUTE, "two runs are left", || {
        ns.get("task", "old").filter(over)
    });
    assert!(schedule(&old).last_successful_time.is_some());
    // The last start is known although its run is gone.
    assert_eq!(
        seconds(&json!(schedule(&old).last_schedule_time)),
        seconds(&json!(due(9)))
    );
}

#[test]
#[ignore = "needs a cluster"]
fn a_mistake_is_refused_by_its_field() {
    let cluster = Cluster::shared();
    let ns = cluster.namespace("schedule-bad");
    let refused = |object: &Value, said: &str| {
        let out = ns.try_apply(&object.to_string());
        assert!(
            !out.ok && out.stderr.contains(said),
            "{said}: {}",
            out.stderr
        );
    };
    let cron = json!({"cron": "61 * * * *"});
    refused(
        &task("bad", &cron, "true"),
        "spec.schedule.cron: \"61 * * * *\": the minute",
    );
    refused(
        &flow("bad", &cron),
        "spec.schedule.cron: \"61 * * * *\": the minute",
    );
    let zone = json!({"cron": "@daily", "timeZone": "Europe/Berlin2"});
    refused(
        &flow("bad", &zone),
        "spec.schedule.timeZone: \"Europe/Berlin2\": there is no time zone of this name",
    );
    let mut cancelled = task("bad", &json!({"cron": "@daily"}), "true");
    cancelled["spec"]["cancel"] = json!(true);
    refused(&cancelled, "spec.cancel: ");
    let mut nested = flow("bad", &json!({"cron": "@daily"}));
    let inner = task("x", &json!({"cron": "@daily"}), "true")["spec"].clone();
    nested["spec"]["flows"] = json!([{"name": "a", "taskTemplate": inner}]);
    refused(&nested, "spec.flows[0].taskTemplate.schedule: ");

    // What runs does not become a template, nor a template what runs.
    let mut plain = task("plain", &Value::Null, "true");
    plain["spec"].as_object_mut().unwrap().remove("schedule");
    ns.apply(&plain.to_string());
    refused(
        &task("plain", &json!({"cron": "@daily"}), "true"),
        "spec.schedule: it cannot be given",
    );
    ns.apply(&task("template", &json!({"cron": "@yearly"}), "true").to_string());
    let out = ns.kubectl(&[
        "patch",
        "task",
        "template",
        "--type=merge",
        "-p",
        r#"{"spec":{"schedule":null}}"#,
    ]);
    assert!(
        !out.ok
            && out
                .stderr
                .contains("spec.schedule: it cannot be taken away"),
        "{}",
        out.stderr
    );
    let phase = |object: &Value| object["status"]["phase"] == "Scheduled";
    ns.wait("task", "template", SOON, "its status", phase);
}
