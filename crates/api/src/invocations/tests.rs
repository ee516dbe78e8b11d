use std::collections::BTreeMap;
use std::time::Duration;

use baton_protocol::invocation::Request;

use super::*;
use crate::render::render;
use crate::render::tests::task;

fn everything() -> Rendered {
    let task = task(include_str!("../../tests/good/everything.yaml"));
    let params = BTreeMap::from([("who".to_owned(), "me".into())]);
    render(&task, &params).unwrap()
}

fn places() -> Places {
    Places {
        root: "/baton".into(),
        also_wait: vec!["/etc/podinfo/order".into()],
        termination_message: Some("/dev/termination-log".into()),
    }
}

#[test]
fn the_plan_has_the_names_in_order() {
    let plan = plan(&everything());
    assert_eq!(plan.check(), Ok(()));
    let names: Vec<_> = plan
        .numbered()
        .map(|(n, _, name)| format!("{n} {name}"))
        .collect();
    assert_eq!(
        names,
        [
            "1 fetch", "2 build", "3 push", "4 tell", "5 sweep", "6 db", "7 proxy", "8 log"
        ]
    );
    assert_eq!(plan.last(), 5);
    let awaited: Vec<_> = plan.sidecars.iter().map(|s| s.awaited).collect();
    assert_eq!(awaited, [true, true, false]);
    assert_eq!(plan.timeout, Some(Duration::from_secs(5400)));
    assert_eq!(plan.grace, Duration::from_secs(5));
}

#[test]
fn every_container_has_its_command_line() {
    let all = invocations(&everything(), &places());
    let [fetch, build, push, tell, sweep, db, proxy, log] = &all[..] else {
        panic!("{all:#?}");
    };
    assert_eq!(
        fetch.wait,
        ["/baton/turns/1/order", "/etc/podinfo/order"].map(PathBuf::from)
    );
    assert_eq!(fetch.wait_content, "1");
    assert_eq!(fetch.command, ["git", "clone", "--branch=main", "me"]);
    assert_eq!(fetch.retries, 3);
    assert_eq!(fetch.retry_delay, Duration::from_secs(2));
    assert_eq!(fetch.timeout, Some(Duration::from_secs(300)));
    assert_eq!(fetch.grace, Duration::from_secs(5));
    assert!(!fetch.through_cancel && !fetch.continue_on_error);
    assert!(fetch.results_of.is_empty());

    assert!(build.continue_on_error);
    assert_eq!(build.command[4], "-o");
    assert_eq!(build.command[5], "/baton/steps/2/results/binary");
    assert_eq!(build.out, Some("/work/out".into()));
    assert_eq!(build.err, Some("/baton/steps/2/results/binary.err".into()));

    let first = vec![("fetch".to_owned(), PathBuf::from("/baton/steps/1"))];
    assert_eq!(push.results_of, first);
    assert_eq!(push.when.len(), 1);
    assert_eq!(push.command, ["registry.example/app:v1"]);
    let Some(ScriptSource::Inline(packed)) = &push.script else {
        panic!("{:?}", push.script);
    };
    let unpacked = script::decode(packed.as_bytes()).unwrap();
    assert_eq!(
        String::from_utf8(unpacked).unwrap(),
        "push \"$COMMIT\" \"$(hostname)\" > /baton/steps/3/results/digest\n"
    );

    assert!(tell.through_cancel && sweep.through_cancel);
    assert_eq!(tell.wait_content, "4");
    let both: Vec<_> = tell
        .results_of
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(both, ["fetch", "push"]);

    for (sidecar, number) in [(db, "6"), (proxy, "7"), (log, "8")] {
        assert_eq!(sidecar.until, Some(6));
        assert!(sidecar.through_cancel);
        assert_eq!(sidecar.wait_content, "");
        assert_eq!(
            sidecar.step_dir,
            Some(places().root.join("steps").join(number))
        );
    }
    assert_eq!(db.ready, Some(Probe::Port(5432)));
    assert_eq!(db.command, ["me"]);
    assert!(matches!(&proxy.ready, Some(Probe::Command(words)) if words.len() == 3));
    assert_eq!(log.ready, None);
}

#[test]
fn the_entrypoint_reads_what_is_written() {
    for invocation in invocations(&everything(), &places()) {
        // A script's arguments are words after `--command`, as the entrypoint has it.
        match Invocation::parse(invocation.to_args()) {
            Ok(Request::Run(read)) => assert_eq!(*read, invocation),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn environments_go_with_the_invocations() {
    let all = environments(&everything(), &places());
    assert_eq!(all.len(), 8);
    assert_eq!(all[0][1].value.as_deref(), Some("me@$(HOME)"));
    assert_eq!(
        all[2][0].value.as_deref(),
        Some("$(steps.fetch.results.commit)")
    );
    assert!(all[2][1].value_from.is_some());
}
