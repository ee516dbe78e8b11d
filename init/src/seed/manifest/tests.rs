use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::*;

fn name() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        Just(b'a'),
        Just(b' '),
        Just(b'\n'),
        Just(b'%'),
        Just(0xff),
        Just(b'.'),
        any::<u8>()
    ];
    vec(byte, 1..6).prop_filter("one component", |n| is_component(n))
}

fn attrs() -> impl Strategy<Value = Attrs> {
    (
        0..0o10000_u32,
        any::<u32>(),
        any::<u32>(),
        any::<i64>(),
        0..1_000_000_000_u32,
    )
        .prop_map(|(mode, uid, gid, secs, nanos)| Attrs {
            mode,
            uid,
            gid,
            mtime: Time { secs, nanos },
        })
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        (
            any::<u64>(),
            any::<Option<u128>>(),
            proptest::option::of(name())
        )
            .prop_map(|(size, digest, same_as)| Kind::File {
                size,
                digest: digest.map(Digest),
                same_as,
            }),
        vec(1..=255_u8, 1..9).prop_map(|target| Kind::Symlink { target }),
        Just(Kind::Fifo),
    ]
}

prop_compose! {
    fn dir(path: Vec<u8>)(
        attrs in attrs(),
        gone: bool,
        entries in btree_map(name(), (attrs(), kind(), any::<bool>()), 0..4),
    ) -> Dir {
        let entries = entries.into_iter().map(|(name, (attrs, kind, gone))| Entry { name, attrs, kind, gone });
        Dir { path: path.clone(), attrs, gone, entries: entries.collect() }
    }
}

fn manifest() -> impl Strategy<Value = Manifest> {
    let origin = prop_oneof![
        Just(Origin::Folder),
        (any::<u64>(), attrs(), any::<u128>()).prop_map(|(size, a, digest)| Origin::Archive {
            size,
            mtime: a.mtime,
            digest: Digest(digest),
        }),
    ];
    let dirs = proptest::collection::btree_set(name(), 0..4).prop_flat_map(|paths| {
        let all = std::iter::once(Vec::new()).chain(paths);
        all.map(dir).collect::<Vec<_>>()
    });
    let version = proptest::option::of(vec(any::<u8>(), 1..9));
    (version, origin, any::<bool>(), dirs, vec(name(), 0..3)).prop_map(
        |(version, origin, own_root, dirs, remove)| Manifest {
            version,
            origin,
            own_root,
            tree: Tree { dirs },
            remove,
        },
    )
}

proptest! {
    #[test]
    fn a_manifest_survives_writing(manifest in manifest()) {
        prop_assert_eq!(Manifest::parse(&manifest.encode()), Ok(manifest));
    }

    #[test]
    fn a_manifest_that_is_cut_short_is_none(manifest in manifest(), part in 0.0..1.0_f64) {
        let text = manifest.encode();
        let cut = (text.len() as f64 * part) as usize;
        prop_assert!(Manifest::parse(&text[..cut]).is_err());
    }

    #[test]
    fn no_change_of_a_byte_panics(manifest in manifest(), at: usize, byte: u8) {
        let mut text = manifest.encode();
        let at = at % text.len();
        text[at] = byte;
        if let Ok(read) = Manifest::parse(&text) {
            for dir in &read.tree.dirs {
                prop_assert!(is_path(&dir.path));
                prop_assert!(dir.entries.iter().all(|e| is_component(&e.name)));
            }
        }
    }

    #[test]
    fn no_bytes_panic(bytes in vec(any::<u8>(), 0..200)) {
        prop_assert!(Manifest::parse(&bytes).is_err());
    }
}

#[test]
fn paths_that_lead_elsewhere_are_refused() {
    for line in [
        "D 755 0 0 0.000000000 ../x",
        "D 755 0 0 0.000000000 /x",
        "D 755 0 0 0.000000000 a//b",
        "F 644 0 0 0.000000000 1 - ..",
        "F 644 0 0 0.000000000 1 - a/b",
        "F 644 0 0 0.000000000 1 - a%00",
        "F 644 0 0 0.000000000 1 - a ../b",
        "F 644 0 0 0.000000000 1 - a b c",
        "F 99999 0 0 0.000000000 1 - a",
        "F 644 +0 0 0.000000000 1 - a",
        "F 644 0 0 0.0 1 - a",
        "R ../x",
        "R .",
        "X 644 0 0 0.000000000 a",
        "",
    ] {
        assert!(parse_line(line.as_bytes()).is_err(), "{line}");
    }
}
