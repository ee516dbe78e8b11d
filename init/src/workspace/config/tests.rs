//! What is read, and what is said of mistakes.

use super::*;

fn read(content: &str) -> Workspace {
    parse(Path::new("w.toml"), content).unwrap()
}

fn mistake(content: &str) -> String {
    parse(Path::new("w.toml"), content).unwrap_err().to_string()
}

#[test]
fn everything_can_be_said() {
    let workspace = read(
        r#"
        [workspace]
        folders = ["/user_data/workspace"]
        seed = [{ from = "/opt/seed", to = "/user_data/.local", version = "4.9", adopt = true }]
        stop_deadline = "20s"
        port = 9999

        [[service]]
        name = "prepare"
        kind = "oneshot"
        command = ["sh", "-c", "true"]
        restart = { when = "never" }

        [[service]]
        name = "ide"
        command = ["code-server", "--port", "9999"]
        needs = ["prepare"]
        user = "coder:users"
        cwd = "/root"
        env = { A = "1" }
        ready = { http = "/healthz" }
        restart = { when = "on-failure", delay = "1s", max_delay = "10s", healthy = "5m", deaths = 3, window = "2m" }
        main = true
        "#,
    );
    assert_eq!(workspace.folders, [PathBuf::from("/user_data/workspace")]);
    assert_eq!(workspace.seeds[0].version.as_deref(), Some("4.9"));
    assert!(workspace.seeds[0].adopt && !workspace.seeds[0].prune);
    assert_eq!(workspace.stop_deadline, Duration::from_secs(20));
    assert_eq!((workspace.main, workspace.port), (1, Some(9999)));
    assert_eq!(workspace.services[0].kind, Kind::Oneshot);
    assert_eq!(workspace.services[0].restart.when, When::Never);
    let ide = &workspace.services[1];
    assert_eq!(ide.needs, [0]);
    assert_eq!(ide.command, ["code-server", "--port", "9999"]);
    assert_eq!(ide.user.as_deref(), Some("coder:users"));
    assert_eq!(ide.cwd, Some("/root".into()));
    assert_eq!(ide.env, [("A".into(), "1".into())]);
    let path = "/healthz".to_owned();
    assert_eq!(ide.ready, Some(Ready::Http { port: 9999, path }));
    let restart = Restart {
        when: When::OnFailure,
        delay: Duration::from_secs(1),
        max_delay: Duration::from_secs(10),
        healthy: Duration::from_secs(300),
        deaths: 3,
        window: Duration::from_secs(120),
    };
    assert_eq!(ide.restart, restart);
}

#[test]
fn the_images_file_and_the_pages_example_are_read() {
    let image = read(include_str!("../../../../images/workspace/workspace.toml"));
    assert_eq!(image.services[0].name, "code-server");
    assert_eq!(image.services[0].ready.as_ref().unwrap().port(), Some(9999));
    let page = include_str!("../../../../docs/init-workspace.md");
    let example = page
        .split("```toml\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next());
    let workspace = read(example.unwrap());
    assert_eq!(workspace.services.len(), 3);
    let main = &workspace.services[workspace.main];
    assert_eq!(main.restart, RESTART, "the page shows the defaults");
}

#[test]
fn one_service_is_the_main_one() {
    let workspace = read("[[service]]\nname = \"a\"\ncommand = [\"sh\"]\n");
    assert_eq!((workspace.main, workspace.services.len()), (0, 1));
    assert_eq!(workspace.services[0].restart, RESTART);
    assert_eq!(workspace.stop_deadline, STOP_DEADLINE);
}

/// Services a, b, c..., one line each, with what follows their commands.
fn services(rest: &[&str]) -> String {
    let lines = rest.iter().zip('a'..).map(|(rest, name)| {
        format!("[[service]]\nname = \"{name}\"\ncommand = [\"sh\"]\n{rest}\n")
    });
    lines.collect()
}

#[test]
fn mistakes_have_their_line_and_a_suggestion() {
    for (content, said) in [
        ("x = 1", "w.toml:1: there is no key `x` here"),
        (
            "[[servce]]",
            "w.toml:1: there is no key `servce` here; did you mean `service`?",
        ),
        ("", "w.toml: there is no [[service]]"),
        (
            "[workspace]\nfolder = []",
            "w.toml:2: there is no key `folder` here; did you mean `folders`?",
        ),
        (
            "[workspace]\nport = 70000",
            "w.toml:2: `port` takes a number from 1 to 65535",
        ),
        (
            "[workspace]\nfolders = \"/x\"",
            "w.toml:2: `folders` takes a list",
        ),
        (
            "[workspace]\nstop_deadline = \"5 parsecs\"",
            "w.toml:2: `stop_deadline`: \"5 parsecs\" is not a duration",
        ),
        (
            "[workspace]\nseed = [{ from = \"/a\" }]",
            "w.toml:2: `to` is missing",
        ),
        (
            "[[service]]\nname = \"a b\"\ncommand = [\"sh\"]",
            "w.toml:2: `a b` cannot name a service",
        ),
        (
            "[[service]]\nname = \"a\"\n",
            "w.toml:2: the service `a` has no command",
        ),
        (
            "[[service]]\nnam = \"a\"\n",
            "w.toml:2: there is no key `nam` here; did you mean `name`?",
        ),
        (
            "[[service]]\nname = \"a\"\ncommand = [1]",
            "w.toml:3: `command` takes a string without NUL",
        ),
        (
            &services(&["kind = \"onshot\""]),
            "w.toml:4: `kind` cannot be `onshot`, but one of service, oneshot; did you mean `oneshot`?",
        ),
        (
            &services(&["ready = { port = 1, fd = 3 }"]),
            "w.toml:4: `ready` takes one of { port = N }",
        ),
        (
            &services(&["ready = { http = \"/\" }"]),
            "w.toml:4: the probe needs a port",
        ),
        (
            &services(&["ready = { http = \"x\", port = 1 }"]),
            "w.toml:4: `x` is no path of a request",
        ),
        (
            &services(&["kind = \"oneshot\"\nready = { port = 1 }"]),
            "w.toml:5: a oneshot has no `ready`",
        ),
        (
            &services(&["restart = { delay = \"1ms\" }"]),
            "w.toml:4: `delay` is at least 10ms",
        ),
        (
            &services(&["env = { \"A=B\" = \"1\" }"]),
            "w.toml:4: `A=B` cannot be a variable",
        ),
        (&services(&["", ""]), "w.toml: no service is the main one"),
        (
            &services(&["main = true", "main = true"]),
            "w.toml:6: both `a` and `b` say `main = true`",
        ),
        (
            &services(&["needs = [\"bb\"]\nmain = true", ""]),
            "w.toml:4: there is no service `bb` that could be needed; did you mean `b`?",
        ),
        (
            &services(&[
                "main = true",
                "needs = [\"c\"]",
                "needs = [\"d\"]",
                "needs = [\"b\"]",
            ]),
            "w.toml:6: services need each other in a circle: b -> c -> d -> b",
        ),
        (
            &services(&["needs = [\"a\"]"]),
            "w.toml:2: services need each other in a circle: a -> a",
        ),
        (
            &services(&["", ""]).replace("\"b\"", "\"a\""),
            "w.toml:6: there are two services `a`",
        ),
    ] {
        let error = mistake(content);
        assert!(
            error.starts_with(said),
            "{content}\n  says {error}\n  not  {said}"
        );
    }
    let error = mistake("[[service]]\nname = \"a\ncommand = 1");
    assert!(error.starts_with("w.toml:2: "), "{error}");
}

proptest::proptest! {
    #[test]
    fn no_file_panics(lines in proptest::collection::vec("(\\[\\[service\\]\\]|\\[workspace\\]|(name|command|needs|ready|restart|port|env|seed) = (\"[a-c]\"|1|\\[\"a\"\\]|\\{ (port|http|fd|from) = (1|\"/\") \\}|true|\\[\\]))", 0..12)) {
        let _ = parse(Path::new("w.toml"), &lines.join("\n"));
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,200}") {
        let _ = parse(Path::new("w.toml"), &text);
    }
}
