//! What only root can set up: full and read-only volumes, devices, owners. Run with
//! `cargo test -p baton-init -- --ignored` as root.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail as tests do"
)]

mod common;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{INIT, Run, Sandbox, assert_same, copy_binary, snapshot, state, varied};

/// A mount that goes when the test does.
struct Mount(PathBuf);

impl Mount {
    fn new(at: &Path, args: &[&str]) -> Mount {
        fs::create_dir_all(at).unwrap();
        let mut command = Command::new("mount");
        assert!(command.args(args).arg(at).status().unwrap().success());
        Mount(at.to_owned())
    }

    fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        let mut command = Command::new("mount");
        assert!(
            command
                .args(["-o", &options])
                .arg(&self.0)
                .status()
                .unwrap()
                .success()
        );
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn tmpfs(s: &Sandbox, options: &str) -> Mount {
    Mount::new(&s.path("vol"), &["-t", "tmpfs", "-o", options, "tmpfs"])
}

#[test]
#[ignore = "needs root"]
fn a_full_volume_is_one_clear_error_and_is_as_before() {
    let s = Sandbox::new();
    for n in 0..40 {
        s.write(format!("src/{n}"), vec![n; 200_000]);
    }
    let _mount = tmpfs(&s, "size=4m");
    s.seed(&[]).fails(
        1,
        "the seed needs about 8.0 MB and the volume has 4.2 MB free",
    );
    assert_eq!(fs::read_dir(s.path("vol")).unwrap().count(), 0);

    // An upgrade that does not fit leaves the seed that is there, and what the user made of it.
    s.write("small/a", "one");
    s.seed_from("small", &[]).ok();
    s.write("vol/own", "the user's");
    let before = snapshot(&s.path("vol"));
    let marker = s.read("vol/.baton-seed/manifest");
    s.write("src/a", "two");
    s.seed(&[]).fails(1, "No space left on device");
    assert_same(&snapshot(&s.path("vol")), &before, "a failed upgrade");
    assert_eq!(s.read("vol/.baton-seed/manifest"), marker);
    assert_eq!(state(&s), ["lock", "manifest"]);

    // From an archive.
    let tar = Command::new("tar")
        .current_dir(s.0.path())
        .args(["-cf", "a.tar", "-C", "src", "."])
        .status();
    assert!(tar.unwrap().success());
    s.seed_from("a.tar", &[])
        .fails(1, "No space left on device");
    assert_same(
        &snapshot(&s.path("vol")),
        &before,
        "a failed upgrade from an archive",
    );
    assert_eq!(state(&s), ["lock", "manifest"]);
}

#[test]
#[ignore = "needs root"]
fn no_inodes_left_is_a_full_volume() {
    let s = Sandbox::new();
    for n in 0..100 {
        s.write(format!("src/{n}/{n}"), "x");
    }
    let _mount = tmpfs(&s, "nr_inodes=50");
    s.seed(&[]).fails(1, "No space left on device");
    assert_eq!(fs::read_dir(s.path("vol")).unwrap().count(), 0);
}

#[test]
#[ignore = "needs root"]
fn a_read_only_volume_is_fine_where_there_is_nothing_to_do() {
    let s = Sandbox::new();
    s.write("src/a", "one");
    let mount = tmpfs(&s, "size=1m");
    mount.remount("ro");
    s.seed(&[]).fails(
        1,
        "cannot make the folder vol/.baton-seed: Read-only file system",
    );
    mount.remount("rw");
    s.seed(&[]).ok();
    mount.remount("ro");
    s.seed(&[]).ok().says("up to date");
    s.write("src/a", "two");
    s.seed(&[]).fails(1, "Read-only file system");
}

#[test]
#[ignore = "needs root"]
fn another_file_system_gets_the_same_and_a_mounts_root_stays_the_platforms() {
    let s = Sandbox::new();
    varied(&s, "src");
    // Owners that are nobody's here, and a device boundary, so that all content passes through us.
    for (path, uid, gid) in [
        ("src/settings.json", 1000, 2000),
        ("src/a/run", 7, 8),
        ("src/a", 9, 10),
    ] {
        std::os::unix::fs::chown(s.path(path), Some(uid), Some(gid)).unwrap();
    }
    std::os::unix::fs::lchown(s.path("src/dangling"), Some(11), Some(12)).unwrap();
    chmod(&s.path("src/a/run"), 0o6755);
    let _mount = tmpfs(&s, "size=200m,mode=3770,uid=5,gid=6");
    let root = snapshot(&s.path("vol")).remove(OsStr::new("")).unwrap();
    s.seed(&[]).ok();
    let mut found = snapshot(&s.path("vol"));
    let mut wanted = snapshot(&s.path("src"));
    let after = found.remove(OsStr::new("")).unwrap();
    wanted.remove(OsStr::new(""));
    assert_same(&found, &wanted, "tmpfs");
    let owner = |text: &str| text.split(" time").next().map(str::to_owned);
    assert_eq!(owner(&root), owner(&after));
    s.seed(&[]).ok().says("up to date");
}

fn chmod(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
#[ignore = "needs root"]
fn devices_are_refused_and_sockets_left_out() {
    let s = Sandbox::new();
    s.write("src/a", "x");
    let socket = std::os::unix::net::UnixListener::bind(s.path("src/socket")).unwrap();
    s.seed(&[]).ok().says("left out the socket socket");
    assert!(!s.exists("vol/socket") && s.exists("vol/a"));
    drop(socket);
    let mut command = Command::new("mknod");
    assert!(
        command
            .arg(s.path("src/dev"))
            .args(["c", "1", "3"])
            .status()
            .unwrap()
            .success()
    );
    s.seed(&[]).fails(1, "src/dev: a device cannot be seeded");
}

#[test]
#[ignore = "needs root"]
fn anybody_may_seed_and_keeps_what_he_may() {
    let s = Sandbox::new();
    varied(&s, "src");
    // Readable to all, and not his.
    chmod(&s.path("src/settings.json"), 0o644);
    chmod(s.0.path(), 0o755);
    fs::create_dir(s.path("vol")).unwrap();
    std::os::unix::fs::chown(s.path("vol"), Some(65534), Some(65534)).unwrap();
    let nobody = |args: &[&str]| {
        let mut command = Command::new("setpriv");
        command.current_dir(s.0.path());
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", INIT]);
        Run::of(
            command
                .args(["seed", "--from", "src", "--to", "vol"])
                .args(args),
        )
    };
    nobody(&[]).ok();
    // The same but for owners, and the setuid bit that goes with one.
    let plain = |name: &str| {
        let mut found = snapshot(&s.path(name));
        for text in found.values_mut() {
            let owner = text.find(" owner").unwrap()..text.find(" time").unwrap();
            text.replace_range(owner, "");
        }
        found
    };
    assert_same(&plain("vol"), &plain("src"), "as nobody");
    assert_eq!(fs::metadata(s.path("vol/a/b/c/deep")).unwrap().uid(), 65534);
    nobody(&[]).ok().says("up to date");

    // A read-only folder of his own does not stop an upgrade, and stays read-only.
    chmod(&s.path("src/a/b/c"), 0o755);
    s.write("src/a/b/c/deep", "deeper");
    s.write("src/a/b/c/new", "new");
    chmod(&s.path("src/a/b/c"), 0o555);
    nobody(&["--version", "2"]).ok();
    assert_eq!(s.read("vol/a/b/c/deep"), "deeper");
    assert_eq!(s.read("vol/a/b/c/new"), "new");
    assert_eq!(
        fs::metadata(s.path("vol/a/b/c")).unwrap().mode() & 0o7777,
        0o555
    );

    // A folder that he may not write to.
    fs::create_dir(s.path("locked")).unwrap();
    let mut command = Command::new("setpriv");
    command.current_dir(s.0.path());
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", INIT]);
    let run = Run::of(command.args(["seed", "--from", "src", "--to", "locked"]));
    run.fails(
        1,
        "cannot make the folder locked/.baton-seed: Permission denied",
    );
}

#[test]
#[ignore = "needs root"]
fn tools_are_placed_by_anybody_from_a_read_only_root() {
    let s = Sandbox::new();
    s.write("img/entrypoint", "x");
    copy_binary(&s.path("img/init"));
    chmod(s.0.path(), 0o755);
    let _image = Mount::new(&s.path("img"), &["--bind", s.path("img").to_str().unwrap()]);
    _image.remount("bind,ro");
    fs::create_dir(s.path("vol")).unwrap();
    std::os::unix::fs::chown(s.path("vol"), Some(65534), Some(65534)).unwrap();
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(s.path("img/init"));
    Run::of(command.args(["install", "--to"]).arg(s.path("vol"))).ok();
    assert_eq!(
        fs::metadata(s.path("vol/init")).unwrap().mode() & 0o7777,
        0o755
    );
}
