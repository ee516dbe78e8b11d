//! `init seed` from archives: the same as from a folder, and nothing that an archive may try.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail as tests do"
)]

mod common;

use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use common::{Sandbox, assert_same, old, snapshot, state, varied};
use tar::{Builder, EntryType, Header};

/// Packs a folder as GNU tar does: root first, hard links as links, times in whole seconds.
fn pack(folder: &Path) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    tar.follow_symlinks(false);
    tar.append_dir(".", folder).unwrap();
    tar.append_dir_all(".", folder).unwrap();
    tar.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

/// A source whose every time is in whole seconds, and that the tar crate can pack.
fn source(s: &Sandbox) {
    varied(s, "src");
    for name in ["pipe", "sparse"] {
        fs::remove_file(s.path("src").join(name)).unwrap();
    }
    let mut left = vec![s.path("src")];
    let mut all = Vec::new();
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if fs::symlink_metadata(&path).unwrap().is_dir() {
                left.push(path.clone());
            }
            all.push(path);
        }
    }
    all.push(s.path("src"));
    all.iter()
        .for_each(|path| common::set_time(path, 981_173_106, 0));
}

/// Extended attributes and hard links are not packed by the tar crate; the rest must be there.
fn comparable(root: &Path) -> std::collections::BTreeMap<std::ffi::OsString, String> {
    let mut found = snapshot(root);
    for text in found.values_mut() {
        let end = text.find(" {").unwrap_or(text.len());
        text.truncate(end);
    }
    found
}

#[test]
fn every_packing_gives_what_the_folder_holds() {
    let s = Sandbox::new();
    source(&s);
    let tar = pack(&s.path("src"));
    let (half, rest) = tar.split_at(tar.len() / 2);
    // Several members or frames in a row, and a frame to skip, are one stream.
    let skip = [&b"\x50\x2a\x4d\x18\x03\0\0\0abc"[..]].concat();
    for (name, packed) in [
        ("plain.tar", tar.clone()),
        ("one.tar.gz", gzip(&tar)),
        ("two.tar.gz", [gzip(half), gzip(rest)].concat()),
        ("one.tar.zst", zstd(&tar)),
        ("two.tar.zst", [skip, zstd(half), zstd(rest)].concat()),
    ] {
        s.write(name, packed);
        s.seed_from(name, &[]).ok().says("seeded vol from");
        assert_same(
            &comparable(&s.path("vol")),
            &comparable(&s.path("src")),
            name,
        );
        assert_eq!(state(&s), ["lock", "manifest"]);
        s.seed_from(name, &[]).ok().says("up to date");
        // The same content with another time is the same archive.
        old(&s.path(name));
        s.seed_from(name, &[]).ok().says("up to date");
        fs::remove_dir_all(s.path("vol")).unwrap();
    }
}

#[test]
fn what_gnu_tar_packs_is_kept() {
    let s = Sandbox::new();
    varied(&s, "src");
    let tar = |args: &[&str]| {
        let mut command = std::process::Command::new("tar");
        command
            .current_dir(s.0.path())
            .args(args)
            .args(["-C", "src", "."]);
        assert!(command.status().unwrap().success());
    };
    // Nanoseconds and attributes need PAX headers, holes the GNU format.
    fs::rename(s.path("src/sparse"), s.path("sparse")).unwrap();
    tar(&["--format=posix", "-cf", "a.tar"]);
    s.seed_from("a.tar", &[])
        .fails(1, "pack with tar --format=gnu");
    let name = |path: &Path| path.as_os_str().as_encoded_bytes().contains(&b'%');
    let mut names = fs::read_dir(s.path("src"))
        .unwrap()
        .map(|e| e.unwrap().path());
    let odd = names.find(|path| name(path)).unwrap();
    let plain = std::ffi::OsStr::from_bytes(b"src/odd \xff\xfe");
    fs::rename(odd, s.0.path().join(plain)).unwrap();
    old(&s.path("src"));
    tar(&["--format=posix", "--xattrs", "-cf", "a.tar"]);
    s.seed_from("a.tar", &[]).ok();
    assert_same(
        &snapshot(&s.path("vol")),
        &snapshot(&s.path("src")),
        "posix",
    );
    fs::remove_dir_all(s.path("vol")).unwrap();
    fs::rename(s.path("sparse"), s.path("src/sparse")).unwrap();
    tar(&["--format=gnu", "-S", "-cf", "b.tar"]);
    s.seed_from("b.tar", &[]).ok();
    assert_eq!(
        fs::read(s.path("vol/sparse")).unwrap(),
        fs::read(s.path("src/sparse")).unwrap()
    );
    let meta = fs::metadata(s.path("vol/sparse")).unwrap();
    assert!(meta.blocks() * 512 < 2 << 20, "{} blocks", meta.blocks());
    fs::remove_dir_all(s.path("vol")).unwrap();
    tar(&["--format=posix", "-S", "-cf", "c.tar"]);
    s.seed_from("c.tar", &[])
        .fails(1, "pack with tar --format=gnu");
    assert!(!s.exists("vol"));
}

#[test]
fn a_newer_archive_is_followed() {
    let s = Sandbox::new();
    source(&s);
    s.write("1.tar", pack(&s.path("src")));
    s.write("src/settings.json", "newer");
    s.write("src/a/b/new", "new");
    s.write("src/large", "small now");
    s.write("2.tar.gz", gzip(&pack(&s.path("src"))));
    s.seed_from("1.tar", &[]).ok();
    s.write("vol/large", "the user's");
    let plan = s.seed_from("2.tar.gz", &["--dry-run"]).ok().out;
    assert!(plan.contains("update settings.json") && plan.contains("keep (changed here) large"));
    s.seed_from("2.tar.gz", &[]).ok().says("add a/b/new");
    assert_eq!(s.read("vol/settings.json"), "newer");
    assert_eq!(s.read("vol/a/b/new"), "new");
    assert_eq!(s.read("vol/large"), "the user's");
    assert_eq!(state(&s), ["lock", "manifest"]);
    s.seed_from("2.tar.gz", &[]).ok().says("up to date");
}

#[test]
fn a_hard_link_is_followed_also_where_its_first_name_is_the_users() {
    let s = Sandbox::new();
    let archive = |content: &str| {
        let mut tar = Builder::new(Vec::new());
        add(
            &mut tar,
            "first",
            EntryType::Regular,
            None,
            content.as_bytes(),
        );
        add(&mut tar, "second", EntryType::Link, Some("first"), b"");
        add(&mut tar, "third", EntryType::Link, Some("second"), b"");
        tar.into_inner().unwrap()
    };
    s.write("1.tar", archive("one"));
    s.write("2.tar", archive("two"));
    // Of the same size; a kernel may give both the same time, too.
    old(&s.path("1.tar"));
    s.seed_from("1.tar", &[]).ok();
    assert_eq!(fs::metadata(s.path("vol/third")).unwrap().nlink(), 3);
    fs::remove_file(s.path("vol/first")).unwrap();
    s.write("vol/first", "the user's");
    s.seed_from("2.tar", &[]).ok();
    assert_eq!(s.read("vol/first"), "the user's");
    assert_eq!(s.read("vol/second"), "two");
    let (second, third) = (s.path("vol/second"), s.path("vol/third"));
    assert_eq!(
        fs::metadata(second).unwrap().ino(),
        fs::metadata(third).unwrap().ino()
    );
}

/// Adds a member exactly as named, however wrong that is.
fn add(
    tar: &mut Builder<Vec<u8>>,
    name: &str,
    kind: EntryType,
    link: Option<&str>,
    content: &[u8],
) {
    let mut header = Header::new_gnu();
    let raw = header.as_gnu_mut().unwrap();
    raw.name[..name.len()].copy_from_slice(name.as_bytes());
    if let Some(link) = link {
        raw.linkname[..link.len()].copy_from_slice(link.as_bytes());
    }
    header.set_entry_type(kind);
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1);
    header.set_cksum();
    tar.append(&header, content).unwrap();
}

#[test]
fn members_that_lead_elsewhere_are_refused_and_nothing_is_written() {
    use EntryType::{Block, Char, Directory, Link, Regular, Symlink};
    type Member = (&'static str, EntryType, Option<&'static str>);
    let cases: &[(&[Member], &str)] = &[
        (&[("../evil", Regular, None)], "a path with `..`"),
        (&[("a/../../evil", Regular, None)], "a path with `..`"),
        (&[("/evil", Regular, None)], "an absolute path"),
        (&[("dev", Char, None)], "a device cannot be seeded"),
        (&[("dev", Block, None)], "a device cannot be seeded"),
        (
            &[
                ("a", Symlink, Some("../outside")),
                ("a/evil", Regular, None),
            ],
            "lies below a file or link",
        ),
        (
            &[("a", Symlink, Some("/")), ("a/b/evil", Directory, None)],
            "lies below a file or link",
        ),
        (&[("a", Link, Some("../outside/f"))], "a path with `..`"),
        (&[("a", Link, Some("/etc/passwd"))], "an absolute path"),
        (&[("a", Link, Some("missing"))], "a hard link to no file"),
        (
            &[("s", Symlink, Some("/etc")), ("a", Link, Some("s"))],
            "a hard link to no file",
        ),
        (
            &[("d/x", Regular, None), ("d", Symlink, Some("../outside"))],
            "takes the place of a folder",
        ),
        (
            &[("d", Symlink, Some("../outside")), ("d", Directory, None)],
            "a folder takes the place of a file or link",
        ),
        (
            &[(".baton-seed/manifest", Regular, None)],
            "a seed's own state",
        ),
        (
            &[("./.baton-seed", Symlink, Some("x"))],
            "a seed's own state",
        ),
        (
            &[("x", EntryType::new(b'?'), None)],
            "an unknown kind of member",
        ),
    ];
    for (members, text) in cases {
        let s = Sandbox::new();
        s.write("outside/f", "precious");
        let mut tar = Builder::new(Vec::new());
        add(&mut tar, "fine", Regular, None, b"fine");
        for (name, kind, link) in *members {
            add(&mut tar, name, *kind, *link, b"");
        }
        s.write("evil.tar", tar.into_inner().unwrap());
        s.seed_from("evil.tar", &[]).fails(1, text);
        assert!(!s.exists("vol") && !s.exists("evil"), "{text}");
        assert_eq!(fs::read_dir(s.path("outside")).unwrap().count(), 1);
    }
}

#[test]
fn a_member_that_comes_again_counts_as_it_comes_last() {
    let s = Sandbox::new();
    let mut tar = Builder::new(Vec::new());
    add(&mut tar, "f", EntryType::Regular, None, b"first");
    add(&mut tar, "f", EntryType::Symlink, Some("g"), b"");
    add(&mut tar, "g", EntryType::Symlink, Some("f"), b"");
    add(&mut tar, "g", EntryType::Regular, None, b"last");
    s.write("a.tar", tar.into_inner().unwrap());
    s.seed_from("a.tar", &[]).ok();
    assert_eq!(fs::read_link(s.path("vol/f")).unwrap(), Path::new("g"));
    assert_eq!(s.read("vol/g"), "last");
}

#[test]
fn broken_archives_are_one_clear_error() {
    let s = Sandbox::new();
    s.write("src/f", vec![b'x'; 300_000]);
    fs::create_dir(s.path("vol")).unwrap();
    symlink("nowhere", s.path("vol/lost+found")).unwrap();
    let tar = pack(&s.path("src"));
    let cut = |bytes: &[u8]| bytes[..bytes.len() / 2].to_vec();
    // A long name that claims to be a gigabyte: bounded, and not believed.
    let mut long = Header::new_gnu();
    long.set_entry_type(EntryType::GNULongName);
    long.set_size(1 << 30);
    long.set_cksum();
    let zeros = vec![0; 8 << 20];
    for (name, bytes) in [
        ("cut.tar", cut(&tar)),
        ("cut.tar.gz", cut(&gzip(&tar))),
        ("cut.tar.zst", cut(&zstd(&tar))),
        ("long.tar", [long.as_bytes().as_slice(), &zeros].concat()),
        ("text.tar", b"no archive at all".to_vec()),
        ("empty.tar", Vec::new()),
    ] {
        s.write(name, bytes);
        s.seed_from(name, &[])
            .fails(1, &format!("archive {name}: "));
        assert_eq!(fs::read_dir(s.path("vol")).unwrap().count(), 1, "{name}");
    }
}
