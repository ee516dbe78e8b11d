//! Drives the real binary on scratch folders.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "each test file uses a part"
)]

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub const INIT: &str = env!("CARGO_BIN_EXE_init");

pub struct Sandbox(pub tempfile::TempDir);

impl Sandbox {
    pub fn new() -> Sandbox {
        Sandbox(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: impl AsRef<OsStr>, content: impl AsRef<[u8]>) {
        let path = self.0.path().join(Path::new(name.as_ref()));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        String::from_utf8(fs::read(self.path(name)).unwrap()).unwrap()
    }

    pub fn exists(&self, name: &str) -> bool {
        fs::symlink_metadata(self.path(name)).is_ok()
    }

    /// Runs `init seed --from src --to vol` with more arguments.
    pub fn seed(&self, args: &[&str]) -> Run {
        self.seed_from("src", args)
    }

    pub fn seed_from(&self, from: &str, args: &[&str]) -> Run {
        let mut command = Command::new(INIT);
        command
            .current_dir(self.0.path())
            .args(["seed", "--from", from, "--to", "vol"]);
        Run::of(command.args(args))
    }
}

/// Copies the binary to `to`, to be run there. Another process does: a file that this one had open
/// for writing may still be so in the child that a test beside is just starting, and is then busy.
pub fn copy_binary(to: &Path) {
    let copied = Command::new("cp").arg(INIT).arg(to).status().unwrap();
    assert!(copied.success(), "cp {INIT} {to:?}: {copied}");
}

/// What a run of the binary came to.
#[derive(Debug)]
pub struct Run {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Run {
    pub fn of(command: &mut Command) -> Run {
        let Output {
            status,
            stdout,
            stderr,
        } = command.output().unwrap();
        Run {
            code: status.code(),
            out: String::from_utf8_lossy(&stdout).into_owned(),
            err: String::from_utf8_lossy(&stderr).into_owned(),
        }
    }

    #[track_caller]
    pub fn ok(self) -> Run {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }

    #[track_caller]
    pub fn fails(self, code: i32, text: &str) -> Run {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.err.contains(text), "no {text:?} in {:?}", self.err);
        // On a slow machine it says meanwhile how far it came.
        let lines = self.err.lines().filter(|l| !l.starts_with("seeding: "));
        assert_eq!(lines.count(), 1, "one clear error: {:?}", self.err);
        self
    }

    #[track_caller]
    pub fn says(self, text: &str) -> Run {
        assert!(self.err.contains(text), "no {text:?} in {:?}", self.err);
        self
    }
}

/// Everything that can be seen of a folder, `.baton-seed` left out: kind, mode, owner, size, time,
/// content or target, extended attributes, and what is hard-linked to what.
pub fn snapshot(root: &Path) -> BTreeMap<OsString, String> {
    let mut found = BTreeMap::new();
    let mut links = BTreeMap::new();
    let mut left = vec![PathBuf::new()];
    while let Some(dir) = left.pop() {
        let mut names: Vec<_> = fs::read_dir(root.join(&dir))
            .unwrap()
            .map(|entry| dir.join(entry.unwrap().file_name()))
            .filter(|path| path != Path::new(".baton-seed"))
            .collect();
        names.sort();
        names.extend((dir == Path::new("")).then(PathBuf::new));
        for path in names {
            let full = root.join(&path);
            let meta = fs::symlink_metadata(&full).unwrap();
            let kind = meta.file_type();
            let mut text = format!(
                "mode {:o} owner {}:{} time {}.{:09}",
                meta.mode(),
                meta.uid(),
                meta.gid(),
                meta.mtime(),
                meta.mtime_nsec()
            );
            if kind.is_file() {
                let content = fs::read(&full).unwrap();
                text += &format!(" {} bytes {:x?}", content.len(), fold(&content));
            } else if kind.is_symlink() {
                text += &format!(" to {:?}", fs::read_link(&full).unwrap());
            } else if kind.is_dir() && path != Path::new("") {
                left.push(path.clone());
            } else if kind.is_fifo() {
                text += " pipe";
            }
            if kind.is_file() || kind.is_dir() {
                text += &format!(" {:?}", xattrs(&full));
            }
            if meta.nlink() > 1 && !kind.is_dir() {
                text += &format!(" is {:?}", links.entry(meta.ino()).or_insert(path.clone()));
            }
            found.insert(path.into_os_string(), text);
        }
    }
    // Links are named by the first of their paths in order, not in the order of the walk.
    found
}

/// Asserts that two snapshots are the same, and names only what is not.
#[track_caller]
pub fn assert_same(
    found: &BTreeMap<OsString, String>,
    wanted: &BTreeMap<OsString, String>,
    context: &str,
) {
    let mut paths: Vec<_> = found.keys().chain(wanted.keys()).collect();
    paths.sort();
    paths.dedup();
    paths.retain(|path| found.get(*path) != wanted.get(*path));
    let lines: Vec<_> = paths
        .iter()
        .take(10)
        .map(|path| {
            format!(
                "{path:?}: {:?}\n  wanted {:?}",
                found.get(*path),
                wanted.get(*path)
            )
        })
        .collect();
    assert!(
        paths.is_empty(),
        "{context}: {} differ\n{}",
        paths.len(),
        lines.join("\n")
    );
}

fn fold(content: &[u8]) -> (u64, u64) {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let (mut a, mut b) = (DefaultHasher::new(), DefaultHasher::new());
    content.hash(&mut a);
    (1, content).hash(&mut b);
    (a.finish(), b.finish())
}

fn xattrs(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut list = vec![0; 4096];
    let Ok(n) = rustix::fs::listxattr(path, list.as_mut_slice()) else {
        return BTreeMap::new();
    };
    let names = list[..n].split(|&b| b == 0).filter(|name| !name.is_empty());
    names
        .map(|name| {
            let mut value = vec![0; 4096];
            let n = rustix::fs::getxattr(path, name, value.as_mut_slice()).unwrap();
            value.truncate(n);
            (String::from_utf8_lossy(name).into_owned(), value)
        })
        .collect()
}

/// The names in the state folder of `vol`.
pub fn state(sandbox: &Sandbox) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(sandbox.path("vol/.baton-seed"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A source with one of everything that needs no root.
pub fn varied(sandbox: &Sandbox, root: &str) {
    let at = |name: &str| format!("{root}/{name}");
    sandbox.write(at("a/b/c/deep"), "deep");
    sandbox.write(at("a.b/sorts between a and a_b"), "x");
    sandbox.write(at("settings.json"), "{}\n");
    sandbox.write(at("a/run"), "#!/bin/sh\n");
    sandbox.write(at("large"), vec![7; 3 << 20]);
    sandbox.write(at("nothing"), "");
    let odd = OsString::from_vec(
        format!("{root}/odd %20 \n")
            .into_bytes()
            .into_iter()
            .chain([0xff, 0xfe])
            .collect(),
    );
    sandbox.write(odd, "odd");
    fs::create_dir_all(sandbox.path(&at("empty"))).unwrap();
    let path = |name: &str| sandbox.path(&at(name));
    std::os::unix::fs::symlink("../outside", path("a/link")).unwrap();
    std::os::unix::fs::symlink("/nowhere at all", path("dangling")).unwrap();
    fs::hard_link(path("a/run"), path("a/b/again")).unwrap();
    fs::hard_link(path("a/run"), path("zz")).unwrap();
    let sparse = fs::File::create(path("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"middle", 3 << 20).unwrap();
    sparse.set_len(8 << 20).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        path("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o620),
        0,
    )
    .unwrap();
    let mode = |name: &str, mode: u32| {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    mode("a/run", 0o4755);
    mode("settings.json", 0o640);
    mode("empty", 0o1777);
    let flags = rustix::fs::XattrFlags::empty();
    // A file system without user attributes (an old tmpfs) has one thing less to copy.
    let _ = rustix::fs::setxattr(path("settings.json"), "user.origin", b"image", flags);
    let _ = rustix::fs::setxattr(path("empty"), "user.folder", b"too", flags);
    let _ = rustix::fs::setxattr(sandbox.path(root), "user.root", b"as well", flags);
    old(&path("a/b/c/deep"));
    old(&path("a/b"));
    old(&path("a/link"));
    mode("a/b/c", 0o555);
    old(&sandbox.path(root));
}

/// Gives something an old time with nanoseconds.
pub fn old(path: &Path) {
    set_time(path, 981_173_106, 789_000_001);
}

pub fn set_time(path: &Path, secs: i64, nanos: i64) {
    let time = rustix::fs::Timespec {
        tv_sec: secs,
        tv_nsec: nanos,
    };
    let times = rustix::fs::Timestamps {
        last_access: time,
        last_modification: time,
    };
    let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, flags).unwrap();
}

pub fn bytes(text: &OsStr) -> &[u8] {
    text.as_bytes()
}
