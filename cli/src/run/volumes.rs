//! Mount paths without mounts: wherever a step names a path below a `mountPath`, it gets the folder
//! that stands for the volume.
//!
//! This is a rewriting of text, so it knows what a path looks like and not what a program means by
//! it. It takes a mount path only where a path can begin (after white space, `=`, `:`, a quote, a
//! short option such as `-I`) and only as a whole path component: `/work` is not found in
//! `/home/work`, `$X/work` or `/workspace`.

/// Which folder stands for which mount path. The default one changes nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mapping(Vec<(Vec<u8>, Vec<u8>)>);

impl Mapping {
    /// Makes a mapping of (mount path, folder) pairs. Slashes at a mount path's end do not count; a
    /// mount path that is the root folder has no meaning here and is left out.
    pub fn new<P: AsRef<[u8]>, F: Into<Vec<u8>>>(
        pairs: impl IntoIterator<Item = (P, F)>,
    ) -> Mapping {
        let mut pairs: Vec<(Vec<u8>, Vec<u8>)> = pairs
            .into_iter()
            .map(|(mount, folder)| (without_last_slashes(mount.as_ref()), folder.into()))
            .filter(|(mount, _)| mount.starts_with(b"/"))
            .collect();
        // The longest first: a mount inside another one is the nearer.
        pairs.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then_with(|| a.cmp(b)));
        Mapping(pairs)
    }

    /// Replaces every mount path in a text. What is put in is not looked at again.
    pub fn rewrite(&self, text: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(text.len());
        let mut at = 0;
        while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
            // A slash is rare and a mapping is short: looking at each slash is fast enough.
            let slash = rest.iter().position(|b| *b == b'/').unwrap_or(rest.len());
            let start = at + slash;
            out.extend_from_slice(text.get(at..start).unwrap_or_default());
            match self.mount_at(text, start) {
                Some((mount, folder)) => {
                    out.extend_from_slice(folder);
                    at = start + mount.len();
                }
                None => {
                    out.extend(text.get(start));
                    at = start + 1;
                }
            }
        }
        out
    }

    /// Whether there is nothing to replace.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn mount_at(&self, text: &[u8], start: usize) -> Option<(&[u8], &[u8])> {
        let (before, after) = text.split_at_checked(start)?;
        if after.is_empty() || !path_can_begin_after(before) {
            return None;
        }
        self.0
            .iter()
            .find(|(mount, _)| {
                after
                    .strip_prefix(mount.as_slice())
                    .is_some_and(component_ends_before)
            })
            .map(|(mount, folder)| (mount.as_slice(), folder.as_slice()))
    }
}

fn without_last_slashes(path: &[u8]) -> Vec<u8> {
    let end = path.iter().rposition(|b| *b != b'/').map_or(0, |at| at + 1);
    path.get(..end).unwrap_or_default().to_vec()
}

/// A byte that belongs to the path component, expansion or glob that it stands in.
fn is_inner(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80 || b"._-+~@%/})]*?\\".contains(&byte)
}

fn path_can_begin_after(before: &[u8]) -> bool {
    let run = before
        .iter()
        .rposition(|b| !is_inner(*b))
        .map_or(0, |at| at + 1);
    let (outer, run) = before.split_at_checked(run).unwrap_or((before, &[]));
    match run {
        [] => !outer.ends_with(b"$"),
        // -I/work, as compilers take it; @/work, as curl takes it; file:///work.
        [b'-', letter] => letter.is_ascii_alphabetic(),
        // ${X:-/work}, as a shell takes it.
        b"@" | b"-" => true,
        b"//" => outer.ends_with(b"file:"),
        _ => false,
    }
}

/// Whether a component can be over before `rest`. A dot at the end of a sentence is no part of it.
fn component_ends_before(rest: &[u8]) -> bool {
    match rest {
        [] => true,
        [b'.', next, ..] => !(next.is_ascii_alphanumeric() || *next == b'.'),
        [next, ..] => !(next.is_ascii_alphanumeric() || *next >= 0x80 || b"_-+~@%".contains(next)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rewrite(pairs: &[(&str, &str)], text: &str) -> String {
        let mapping = Mapping::new(pairs.iter().copied());
        String::from_utf8(mapping.rewrite(text.as_bytes())).unwrap()
    }

    #[test]
    fn a_mount_path_is_found_where_a_path_begins() {
        for (text, want) in [
            ("/work", "/v/1"),
            ("/work/", "/v/1/"),
            ("/work/a/work", "/v/1/a/work"),
            ("cd /work && ls", "cd /v/1 && ls"),
            ("--out=/work/x", "--out=/v/1/x"),
            ("-I/work/include", "-I/v/1/include"),
            ("PATH=/bin:/work/bin:/work", "PATH=/bin:/v/1/bin:/v/1"),
            ("\"/work/a b\" '/work'", "\"/v/1/a b\" '/v/1'"),
            ("(/work);</work>/work|", "(/v/1);</v/1>/v/1|"),
            ("#!/work/bin/tool -x\n", "#!/v/1/bin/tool -x\n"),
            ("${D:-/work}", "${D:-/v/1}"),
            ("It is in /work.", "It is in /v/1."),
            (
                "curl -d @/work/f file:///work/g",
                "curl -d @/v/1/f file:///v/1/g",
            ),
            ("/work,/work\n/work", "/v/1,/v/1\n/v/1"),
        ] {
            assert_eq!(rewrite(&[("/work/", "/v/1")], text), want, "{text}");
        }
    }

    #[test]
    fn what_only_looks_like_it_stays() {
        for text in [
            "",
            "work",
            "/workspace",
            "/work-2",
            "/work.d",
            "/work_",
            "/home/work",
            "a/work",
            "$HOME/work",
            "${HOME}/work",
            "$(pwd)/work",
            "~/work",
            "../work",
            "./work",
            "*/work",
            "http://work",
            "http://host/work",
            "//work",
            "/worké",
            "é/work",
            "s/a\\/work/",
            "--I/work",
        ] {
            assert_eq!(rewrite(&[("/work", "/v/1")], text), text);
        }
    }

    #[test]
    fn the_longest_mount_wins_and_the_outcome_is_not_rewritten_again() {
        let pairs = [("/a", "/b/c"), ("/b", "/a"), ("/a/deep", "/d")];
        assert_eq!(
            rewrite(&pairs, "/a/deep/x /a/deeper /b"),
            "/d/x /b/c/deeper /a"
        );
    }

    #[test]
    fn the_root_folder_cannot_be_mapped() {
        assert!(Mapping::new([("/", "/v")]).is_empty());
        assert_eq!(rewrite(&[("/", "/v"), ("", "/w")], "/x /"), "/x /");
    }

    proptest! {
        #[test]
        fn other_bytes_stay(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mapping = Mapping::new([("/zzzz", "/v")]);
            prop_assume!(!text.windows(5).any(|w| w == b"/zzzz"));
            prop_assert_eq!(mapping.rewrite(&text), text);
        }

        #[test]
        fn no_mount_path_is_left_where_words_stand_alone(words in proptest::collection::vec("/(work|a|workx)(/[a-z]{1,3}){0,2}", 0..20)) {
            let mapping = Mapping::new([("/work", "/V/1"), ("/a", "/V/2")]);
            let got = String::from_utf8(mapping.rewrite(words.join(" ").as_bytes())).unwrap();
            for (word, got) in words.iter().zip(got.split(' ')) {
                let want = match word.split('/').nth(1).unwrap() {
                    "work" => word.replacen("/work", "/V/1", 1),
                    "a" => word.replacen("/a", "/V/2", 1),
                    _ => word.clone(),
                };
                prop_assert_eq!(got, want);
            }
        }
    }
}
