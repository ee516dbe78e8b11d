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
