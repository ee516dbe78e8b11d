//! What tenants may leave in their folders.

use super::*;

/// Makes something bad at a path.
type Spoil = fn(&Path);

#[test]
fn a_final_record_that_is_none_fails_its_step() {
    let spoil: [(Spoil, &str); 6] = [
        (
            |exit| leave_as(exit, |p| symlink("/etc/passwd", p).unwrap()),
            "symbolic link",
        ),
        (
            |exit| leave_as(exit, |p| fs::create_dir(p).unwrap()),
            "regular file",
        ),
        (|exit| leave_as(exit, fifo), "regular file"),
        (
            |exit| leave_as(exit, |p| fs::write(p, "{}").unwrap()),
            "missing field",
        ),
        (
            |exit| leave_as(exit, |p| fs::write(p, b"\xff\x00").unwrap()),
            "expected value",
        ),
        (
            |exit| leave_as(exit, |p| File::create(p).unwrap().set_len(1 << 40).unwrap()),
            "longer than",
        ),
    ];
    for (spoil, want) in spoil {
        let pod = Pod::new(plan(2, 0));
        let second = Entrypoint::run(&pod.root, 2, false, 0);
        let (outcome, notices) = pod.run(Deaths::ByClose, |notice, _| {
            if matches!(notice, Notice::Run(RunNotice::TaskStarted { .. })) {
                spoil(&step_dir(&pod.root, 1).join(EXIT));
            }
        });
        assert_eq!((outcome.phase, outcome.exit_code), (Phase::Failed, 125));
        let bad = bad(&notices);
        assert!(
            matches!(bad[..], [(1, EXIT, cause)] if cause.contains(want)),
            "{bad:?}"
        );
        assert!(!second.join().unwrap());
    }
}

fn leave_as(exit: &Path, make: impl Fn(&Path)) {
    let made = exit.with_file_name(".exit");
    make(&made);
    fs::rename(made, exit).unwrap();
}

fn fifo(path: &Path) {
    nix::unistd::mkfifo(path, nix::sys::stat::Mode::from_bits_truncate(0o666)).unwrap();
}

#[test]
fn a_bad_event_file_harms_nothing() {
    let spoil: [(Spoil, usize, &str); 4] = [
        (|p| symlink("/dev/zero", p).unwrap(), 1, "symbolic link"),
        (fifo, 1, "regular file"),
        (
            |p| fs::write(p, "x\n".repeat(5000)).unwrap(),
            8,
            "is not an event",
        ),
        (
            |p| File::create(p).unwrap().set_len(1 << 40).unwrap(),
            2,
            "longer than",
        ),
    ];
    for (spoil, count, want) in spoil {
        let pod = Pod::new(plan(2, 0));
        let events = step_dir(&pod.root, 1).join(EVENTS);
        fs::remove_file(&events).unwrap();
        spoil(&events);
        let second = Entrypoint::run(&pod.root, 2, false, 0);
        let (outcome, notices) = pod.run(Deaths::Told, |notice, _| {
            if matches!(notice, Notice::Run(RunNotice::TaskStarted { .. })) {
                leave(&pod.root, 1, &ok_record());
            }
        });
        assert_eq!(outcome.phase, Phase::Succeeded);
        let bad = bad(&notices);
        assert_eq!(bad.len(), count, "{bad:?}");
        assert!(
            bad.iter().all(
                |(number, file, cause)| (*number, *file) == (1, EVENTS) && cause.contains(want)
            ),
            "{bad:?}"
        );
        assert!(second.join().unwrap());
    }
}

#[test]
fn what_a_pod_with_the_whole_volume_puts_in_the_way_blocks_nobody() {
    // A pod's author can mount the root of the volume for writing, as root.
    let pod = Pod::new(plan(2, 0));
    let made = [".order", ".turn"].map(|name| pod.root.join(name));
    made.iter().for_each(|path| fifo(path));
    let entrypoints = [1, 2].map(|number| Entrypoint::run(&pod.root, number, false, 0));
    let (done, finished) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let ran = pod.run(Deaths::ByClose, |notice, _| {
            if matches!(notice, Notice::Trouble { .. }) {
                made.iter().for_each(|path| drop(fs::remove_file(path)));
            }
        });
        done.send(ran).unwrap();
    });
    let (outcome, notices) = finished.recv_timeout(DEADLINE).expect("nobody is blocked");
    assert_eq!(outcome.phase, Phase::Succeeded);
    let troubles: Vec<_> = notices
        .iter()
        .filter(|n| matches!(n, Notice::Trouble { message } if message.contains("write the order")))
        .collect();
    assert_eq!(troubles.len(), 1, "{notices:?}");
    assert!(entrypoints.into_iter().all(|e| e.join().unwrap()));
}

#[test]
fn a_journal_that_is_no_file_of_ours_is_refused() {
    for (spoil, want) in [
        (fifo as Spoil, "regular file"),
        (|p| symlink("/dev/zero", p).unwrap(), "symbolic link"),
    ] {
        let pod = Pod::new(plan(1, 0));
        spoil(&pod.root.join("facts"));
        let (done, finished) = std::sync::mpsc::channel();
        let (root, plan) = (pod.root.clone(), pod.plan.clone());
        thread::spawn(move || done.send(Node::open(&root, plan, Deaths::ByClose).map(drop)));
        let opened = finished.recv_timeout(DEADLINE).expect("nobody is blocked");
        let error = opened.unwrap_err().to_string();
        assert!(error.contains(want), "{error}");
    }
}

#[test]
fn no_cause_is_longer_than_a_person_reads() {
    let long = "x".repeat(15 << 10);
    let pod = Pod::new(plan(1, 0));
    let dir = step_dir(&pod.root, 1);
    let at = "2026-01-01T00:00:00Z";
    let event = format!("{{\"at\":\"{at}\",\"type\":\"Retrying\",\"reason\":\"{long}\"}}\n");
    fs::write(dir.join(EVENTS), event).unwrap();
    let record = format!("{{\"reason\":\"{long}\",\"exitCode\":0,\"finishedAt\":\"{at}\"}}");
    leave(&pod.root, 1, record.as_bytes());
    let (_, notices) = pod.run(Deaths::Told, |_, _| {});
    let bad = bad(&notices);
    assert_eq!(bad.len(), 2, "{} notices", notices.len());
    for (_, file, cause) in bad {
        assert!(
            cause.contains("xxx") && cause.len() < 400,
            "{file}: {}",
            cause.len()
        );
    }
}

#[test]
fn a_record_keeps_no_more_than_the_beginning_of_its_message() {
    let pod = Pod::new(plan(1, 0));
    let mut record = Record::new(Reason::Error, 1, now());
    record.message = "é".repeat(20 << 10);
    leave(&pod.root, 1, &record.to_json());
    let (outcome, _) = pod.run(Deaths::Told, |_, _| {});
    let Some(Cause::Step { message, .. }) = outcome.cause else {
        panic!("{outcome:?}");
    };
    assert!(
        message.len() <= MAX_MESSAGE_BYTES && message.ends_with("é…"),
        "{}",
        message.len()
    );
    let journal = fs::metadata(pod.root.join("facts")).unwrap().len();
    assert!(journal < 4096, "{journal} bytes");
}

#[test]
fn a_pod_that_leads_to_another_ones_folders_takes_nothing_from_it() {
    let (victim, hostile) = (Pod::new(plan(2, 0)), Pod::new(plan(2, 0)));
    fs::rename(hostile.root.join(STEPS), hostile.root.join("away")).unwrap();
    symlink(victim.root.join(STEPS), hostile.root.join(STEPS)).unwrap();
    let mut watcher = Watcher::new();
    // As after a restart of an agent.
    let add = |watcher: &mut Watcher, pod: &Pod| {
        watcher.add(&pod.root, pod.plan.clone(), Deaths::ByClose)
    };
    let ours = add(&mut watcher, &victim).unwrap();
    let theirs = add(&mut watcher, &hostile).unwrap();
    watcher.apply(ours, Event::Begin, &mut |_, _| {});
    leave(&victim.root, 1, &ok_record());
    until("hand-off", || {
        watcher.dispatch(&mut |_, _| {});
        (order(&victim.root) == Order::Turn(2)).then_some(())
    });
    watcher.remove(theirs);
    leave(&victim.root, 2, &ok_record());
    until("end", || {
        watcher.dispatch(&mut |_, _| {});
        watcher.run(ours)?.outcome().cloned()
    });
}
