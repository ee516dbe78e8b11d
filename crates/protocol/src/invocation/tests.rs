use super::*;
use crate::reference::Operator;
use proptest::prelude::*;

fn parse(args: &[&str]) -> Result<Invocation, String> {
    match Invocation::parse(args.iter().map(Into::into)) {
        Ok(Request::Run(call)) => Ok(*call),
        Ok(other) => Err(format!("{other:?}")),
        Err(e) => Err(e.to_string()),
    }
}

#[test]
fn the_seed_form_is_understood() {
    let call = parse(&[
        "--wait",
        "/etc/podinfo/order",
        "--waitcontent",
        "2",
        "--out",
        "stdout",
        "--command",
        "sh",
        "-c",
        "exit 1",
        "--wait",
    ])
    .unwrap();
    assert_eq!(call.wait, [PathBuf::from("/etc/podinfo/order")]);
    assert_eq!(call.wait_content, "2");
    assert_eq!(call.out, None);
    assert_eq!(call.command, ["sh", "-c", "exit 1", "--wait"]);
}

#[test]
fn a_double_dash_of_the_command_stays() {
    assert_eq!(
        parse(&["--command", "git", "--", "log", "--", "f"])
            .unwrap()
            .command,
        ["git", "log", "--", "f"]
    );
    assert_eq!(
        parse(&["--command=git", "log", "--", "f"]).unwrap().command,
        ["git", "log", "--", "f"]
    );
}

#[test]
fn a_port_is_looked_at_alone() {
    let args = ["--check-port=5432".into()];
    assert_eq!(Invocation::parse(args).unwrap(), Request::CheckPort(5432));
}

#[test]
fn mistakes_are_named() {
    for (args, want) in [
        (
            &["--comand", "x"][..],
            "there is no option --comand; did you mean --command?",
        ),
        (
            &["--timeout", "5", "--command", "x"],
            "--timeout: \"5\" is not a duration",
        ),
        (
            &["--on-error", "ignore", "--command", "x"],
            "--on-error: \"ignore\" is neither stop nor continue",
        ),
        (
            &["--retries", "-1", "--command", "x"],
            "--retries: \"-1\" is no number that fits here",
        ),
        (
            &["--retries", "9999", "--command", "x"],
            "--retries: 9999 is more than 1000",
        ),
        (
            &["--when", "{}", "--command", "x"],
            "--when: \"{}\" is not the JSON that it takes: missing field",
        ),
        (
            &["--results-of", "a", "--command", "x"],
            "--results-of: \"a\" is not of the form STEP=FOLDER",
        ),
        (
            &["--script", "a", "--encode-file", "b"],
            "one script is enough",
        ),
        (&["ls"], "--command: \"ls\" stands alone"),
        (&["--", "ls"], "--command: \"ls\" stands alone"),
        (&[], "there is nothing to run"),
        (&["--until", "3", "--command", "x"], "--until needs --wait"),
        (
            &["--check-port", "80", "--command", "x"],
            "--check-port stands alone",
        ),
        (
            &["--step", "a", "--check-port", "80"],
            "--check-port stands alone",
        ),
        (
            &["--check-port", "65536"],
            "--check-port: \"65536\" is no number that fits here",
        ),
    ] {
        let got = parse(args).unwrap_err();
        assert!(got.starts_with(want), "{args:?}: {got}");
    }
}

fn words() -> impl Strategy<Value = Vec<OsString>> {
    use std::os::unix::ffi::OsStringExt;
    let word = proptest::collection::vec(1..=255_u8, 0..12).prop_map(OsString::from_vec);
    proptest::collection::vec(word, 1..5)
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        command in words(),
        text in "\\PC{1,20}",
        (flag, number, millis) in (any::<bool>(), 0..1000_u32, 0..10_000_000_u64),
        name in "[a-z][a-z0-9-]{0,20}",
    ) {
        let when = When { input: text.clone(), operator: Operator::NotIn, values: vec![text.clone()] };
        let call = Invocation {
            step: flag.then(|| name.clone()),
            wait: vec!["-odd".into(), "/baton/order".into()],
            wait_content: text.clone(),
            through_cancel: flag,
            until: flag.then_some(number),
            step_dir: Some("/baton/steps/1".into()),
            results_of: vec![(name, "/a=b".into())],
            out: Some(format!("f{text}").into()),
            err: flag.then(|| "x".into()),
            output_limit: millis,
            script: flag.then(|| ScriptSource::Inline(text.clone())),
            when: vec![when],
            timeout: flag.then_some(Duration::from_millis(millis)),
            grace: Duration::from_millis(millis),
            continue_on_error: flag,
            retries: number,
            retry_delay: Duration::from_millis(millis),
            ready: flag.then(|| Probe::Command(vec![text])),
            single_child: flag,
            success_codes: vec![3, 143],
            termination_message: Some("/dev/termination-log".into()),
            command,
        };
        let read = Invocation::parse(call.to_args()).unwrap();
        prop_assert_eq!(read, Request::Run(Box::new(call)));
    }

    #[test]
    fn no_command_line_panics(args in words()) {
        let _ = Invocation::parse(args);
    }
}
