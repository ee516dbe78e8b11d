use super::*;
use rustix::fs::CWD;

fn rules(boot: &str, record_locks: bool) -> Rules {
    Rules {
        boot: boot.into(),
        record_locks,
        beat: Duration::from_millis(10),
        dead_after: Duration::from_millis(200),
        settle: Duration::from_millis(50),
    }
}

fn folder() -> (tempfile::TempDir, Arc<OwnedFd>, Place) {
    let dir = tempfile::tempdir().unwrap();
    let fd = rfs::openat(CWD, dir.path(), at::FOLDER, Mode::empty()).unwrap();
    let place = Place(dir.path().into());
    (dir, Arc::new(fd), place)
}

#[test]
fn a_released_lock_leaves_no_owner() {
    let (dir, fd, place) = folder();
    let lock = take(fd, &place, &rules("a", true), |_| {
        panic!("nobody to wait for")
    })
    .unwrap();
    assert!(dir.path().join(OWNER).exists());
    lock.check().unwrap();
    lock.release();
    assert!(!dir.path().join(OWNER).exists());
}

#[test]
fn a_dead_owner_of_this_kernel_is_replaced_at_once() {
    let (dir, fd, place) = folder();
    std::fs::write(dir.path().join(OWNER), "a token 0\n").unwrap();
    let lock = take(fd, &place, &rules("a", true), |_| {
        panic!("nobody to wait for")
    })
    .unwrap();
    lock.check().unwrap();
}

#[test]
fn a_silent_owner_of_another_kernel_is_waited_for_and_then_replaced() {
    let (dir, fd, place) = folder();
    std::fs::write(dir.path().join(OWNER), "b token 0\n").unwrap();
    let said = std::cell::Cell::new(0);
    let lock = take(fd, &place, &rules("a", true), |_| said.set(said.get() + 1)).unwrap();
    lock.check().unwrap();
    assert_eq!(said.get(), 1);
}

#[test]
fn without_record_locks_the_owner_file_alone_keeps_others_out() {
    let (_dir, fd, place) = folder();
    // Nobody dies here, however long a thread has to wait for its turn.
    let rules = |boot| Rules {
        dead_after: Duration::from_secs(3600),
        ..rules(boot, false)
    };
    let inside = AtomicBool::new(false);
    let turns = std::sync::atomic::AtomicU32::new(0);
    std::thread::scope(|scope| {
        for boot in ["a", "b", "c"] {
            let (fd, place, inside, turns) = (Arc::clone(&fd), &place, &inside, &turns);
            let rules = rules(boot);
            scope.spawn(move || {
                let lock = take(fd, place, &rules, |_| {}).unwrap();
                assert!(!inside.swap(true, Ordering::SeqCst), "two at once");
                std::thread::yield_now();
                turns.fetch_add(1, Ordering::SeqCst);
                inside.store(false, Ordering::SeqCst);
                lock.release();
            });
        }
    });
    assert_eq!(turns.into_inner(), 3);
}

#[test]
fn who_lost_the_lock_knows() {
    let (dir, fd, place) = folder();
    let lock = take(fd, &place, &rules("a", true), |_| {}).unwrap();
    // As another one takes it: by a rename, also amid a heartbeat.
    let made = dir.path().join("made");
    std::fs::write(&made, "b token 0\n").unwrap();
    std::fs::rename(made, dir.path().join(OWNER)).unwrap();
    assert!(matches!(lock.check(), Err(Error::LostLock(_))));
    lock.release();
    assert!(
        dir.path().join(OWNER).exists(),
        "another's name is not ours to remove"
    );
}
