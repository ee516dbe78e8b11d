//! On a terminal: the command is its foreground process group, and a shell's job control works.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::support::{DEADLINE, Running, Scratch, binary, text};

/// `script` gives its command a terminal.
fn on_a_terminal(scratch: &Scratch, line: &str) -> Command {
    let mut command = Command::new("script");
    command
        .args(["-qec", line, "/dev/null"])
        .current_dir(scratch.path("."))
        .stdin(Stdio::piped());
    command
}

#[test]
fn the_command_may_read_from_the_terminal() {
    let scratch = Scratch::new();
    let line = format!(
        "{} --command sh -c 'echo up; read x; echo got $x'",
        binary().display()
    );
    let mut step = Running::start(on_a_terminal(&scratch, &line));
    assert_eq!(step.line(), "up");
    step.child
        .stdin
        .as_ref()
        .unwrap()
        .write_all(b"word\n")
        .unwrap();
    assert_eq!(step.line(), "word"); // the terminal's echo
    assert_eq!(step.line(), "got word");
    assert_eq!(step.end().0, 0);
}

#[test]
fn ctrl_c_reaches_the_command_once() {
    let scratch = Scratch::new();
    let script = "trap \"echo int\" INT; echo up; read x; read y; echo over";
    let line = format!("{} --command bash -c '{script}'", binary().display());
    let mut step = Running::start(on_a_terminal(&scratch, &line));
    assert_eq!(step.line(), "up");
    let mut stdin = step.child.stdin.take().unwrap();
    stdin.write_all(b"\x03").unwrap();
    let line = step.line();
    assert!(line.contains("int"), "{line}");
    stdin.write_all(b"a\nb\n").unwrap();
    let (code, out, _) = step.end();
    assert!(out.contains("over") && !out.contains("int"), "{out}");
    assert_eq!(code, 0);
}

#[test]
fn job_control_of_a_shell_inside_works() {
    let scratch = Scratch::new();
    let line = format!("{} --command bash --norc -i", binary().display());
    let mut command = on_a_terminal(&scratch, &line);
    command.env("PS1", "").env("HISTFILE", "/dev/null");
    let child = command.stdout(Stdio::piped()).spawn().unwrap();
    let script = b"sleep 1000 &\njobs\nkill %1; wait %1\necho status $?\nexit 6\n";
    child.stdin.as_ref().unwrap().write_all(script).unwrap();
    let output = child.wait_with_output().unwrap();
    let out = text(&output.stdout);
    assert!(!out.contains("no job control"), "{out}");
    assert!(
        out.contains("Running") && out.contains("status 143"),
        "{out}"
    );
    assert_eq!(output.status.code(), Some(6));
}

#[test]
fn ctrl_z_in_an_outer_shell_suspends_and_fg_resumes() {
    let scratch = Scratch::new();
    let mut command = on_a_terminal(&scratch, "bash --norc -i");
    command.env("PS1", "").env("HISTFILE", "/dev/null");
    let mut shell = Running::start(command);
    let mut stdin = shell.child.stdin.take().unwrap();
    let mut await_line = |wanted: &str| {
        let end = Instant::now() + DEADLINE;
        loop {
            assert!(Instant::now() < end, "waited in vain for {wanted}");
            let line = shell.line();
            if line.trim_end_matches('\r').ends_with(wanted) {
                return;
            }
        }
    };
    let line = format!(
        "{} --command sh -c 'echo u\"\"p; read x; echo got $x'\n",
        binary().display()
    );
    stdin.write_all(line.as_bytes()).unwrap();
    await_line("up");
    // A terminal forgets what was typed before it when it suspends: wait for each effect.
    stdin.write_all(b"\x1a").unwrap();
    await_line("echo got $x'"); // [1]+  Stopped  ...
    stdin.write_all(b"fg\n").unwrap();
    await_line("echo got $x'");
    stdin.write_all(b"word\n").unwrap();
    await_line("got word");
    stdin.write_all(b"exit\n").unwrap();
    assert_eq!(shell.end().0, 0);
}
