//! Kubernetes' own `$(NAME)` in commands, arguments and environment.

/// Replaces `$(NAME)` by the value of a variable, as the kubelet does: an unknown name stays as it
/// is written, `$$` is one dollar. References to steps' results, `$(steps.` and `$$(steps.`, are left
/// alone: the entrypoint resolves them.
///
/// In an environment variable's own value, `lookup` is to know the variables that stand before it.
pub fn expand_env<T: AsRef<str>>(text: &str, lookup: impl Fn(&str) -> Option<T>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let (mut rest, mut closes) = (text, true);
    while let Some((before, from)) = rest.find('$').and_then(|at| rest.split_at_checked(at)) {
        expanded.push_str(before);
        rest = if let Some(name) = ["$$(steps.", "$(steps."]
            .iter()
            .find(|p| from.starts_with(**p))
        {
            copy(&mut expanded, from, name.len())
        } else if let Some(after) = from.strip_prefix("$$") {
            expanded.push('$');
            after
        } else if let Some((name, after)) = name_in(from, &mut closes) {
            match lookup(name) {
                Some(value) => expanded.push_str(value.as_ref()),
                None => {
                    copy(&mut expanded, from, name.len() + 3);
                }
            }
            after
        } else {
            copy(&mut expanded, from, 1)
        };
    }
    expanded.push_str(rest);
    expanded
}

/// Writes a text such that the kubelet makes of it what [`expand_env`] makes of `text`: references to
/// steps' results come through as they are, for the entrypoint.
pub fn for_kubelet(text: &str) -> String {
    let mut written = String::with_capacity(text.len());
    let (mut rest, mut closes) = (text, true);
    while let Some((before, from)) = rest.find('$').and_then(|at| rest.split_at_checked(at)) {
        written.push_str(before);
        rest = if let Some(after) = from.strip_prefix("$$(steps.") {
            written.push_str("$$$$(steps.");
            after
        } else if let Some(after) = from.strip_prefix("$(steps.") {
            // Two dollars are one to the kubelet, even where a variable has this name.
            written.push_str("$$(steps.");
            after
        } else if from.starts_with("$$") {
            copy(&mut written, from, 2)
        } else if let Some((name, _)) = name_in(from, &mut closes) {
            copy(&mut written, from, name.len() + 3)
        } else {
            copy(&mut written, from, 1)
        };
    }
    written.push_str(rest);
    written
}

/// The name of the variable that `from` begins with, and what follows it. `closes` becomes false where there is
/// no `)` any more: a text of nothing but beginnings is searched once.
fn name_in<'a>(from: &'a str, closes: &mut bool) -> Option<(&'a str, &'a str)> {
    let text = from.strip_prefix("$(").filter(|_| *closes)?;
    let found = text.split_once(')');
    *closes = found.is_some();
    found
}

/// Copies the first `len` bytes, and gives what follows them.
fn copy<'a>(to: &mut String, from: &'a str, len: usize) -> &'a str {
    let (copied, rest) = from.split_at_checked(len).unwrap_or((from, ""));
    to.push_str(copied);
    rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn expand(text: &str) -> String {
        expand_env(text, |name| match name {
            "A" => Some("1"),
            "B" => Some("$(A)"),
            "" => Some("empty"),
            _ => None,
        })
    }

    /// The cases of Kubernetes' own test, third_party/forked/golang/expansion, and ours.
    #[test]
    fn as_the_kubelet_does_it() {
        for (text, want) in [
            ("$(A)", "1"),
            ("___$(A)___", "___1___"),
            ("$(A)$(A)", "11"),
            ("$(B)", "$(A)"),
            ("$(NONE)-x", "$(NONE)-x"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$$$$(A)", "$$(A)"),
            ("$A", "$A"),
            ("$", "$"),
            ("a$", "a$"),
            ("$$", "$"),
            ("$(A", "$(A"),
            ("$()", "empty"),
            ("\n$(A)é$(é)", "\n1é$(é)"),
            ("$(steps.a.results.b)$(A)", "$(steps.a.results.b)1"),
            ("$$(steps.a.results.b)", "$$(steps.a.results.b)"),
            ("$(params.a)", "$(params.a)"),
            ("$(X$(A)", "$(X$(A)"),
        ] {
            assert_eq!(expand(text), want, "{text}");
        }
    }

    /// The kubelet's algorithm, third_party/forked/golang/expansion/expand.go, byte by byte.
    fn kubelet(text: &str, lookup: impl Fn(&str) -> Option<&'static str>) -> String {
        let (bytes, mut out, mut done, mut at) = (text.as_bytes(), String::new(), 0, 0);
        while at < bytes.len() {
            if bytes[at] == b'$' && at + 1 < bytes.len() {
                out.push_str(&text[done..at]);
                let rest = &text[at + 1..];
                let advance = match bytes[at + 1] {
                    b'$' => {
                        out.push('$');
                        1
                    }
                    b'(' => match rest.find(')') {
                        Some(end) => {
                            let name = &rest[1..end];
                            match lookup(name) {
                                Some(value) => out.push_str(value),
                                None => out.push_str(&format!("$({name})")),
                            }
                            end + 1
                        }
                        None => {
                            out.push_str("$(");
                            1
                        }
                    },
                    _ => {
                        let next = rest.chars().next().unwrap();
                        out.push('$');
                        out.push(next);
                        next.len_utf8()
                    }
                };
                at += advance;
                done = at + 1;
            }
            at += 1;
        }
        out.push_str(text.get(done..).unwrap_or_default());
        out
    }

    #[test]
    fn beginnings_without_end_take_no_time() {
        let begun = std::time::Instant::now();
        let endless = "$(".repeat(1 << 20);
        assert_eq!(for_kubelet(&endless), endless);
        assert_eq!(expand_env(&endless, |_| None::<&str>), endless);
        assert!(begun.elapsed().as_secs() < 30, "{:?}", begun.elapsed());
    }

    proptest! {
        #[test]
        fn the_kubelet_makes_of_it_what_a_run_without_it_makes(
            text in "(\\$|\\$\\$|\\(|\\)|A|B|N|é|steps\\.a|\\(steps\\.|\\$\\(steps\\.){0,12}",
        ) {
            let lookup = |name: &str| match name {
                "A" => Some("1"),
                "B" => Some("$(A)$$"),
                "steps.a" => Some("a variable of this name"),
                _ => None,
            };
            prop_assert_eq!(kubelet(&for_kubelet(&text), lookup), expand_env(&text, lookup));
        }

        #[test]
        fn doubled_dollars_bring_any_text_through(text in "[$()A é]*") {
            prop_assert_eq!(expand(&text.replace('$', "$$")), text);
        }
    }
}
