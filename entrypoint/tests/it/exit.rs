//! What passes through: exit codes, words, the environment, the signal state.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::CommandExt;
use std::process::Stdio;

use crate::support::{Scratch, text};

fn code(args: &[&str]) -> (i32, String) {
    let output = Scratch::new().run(args);
    (output.status.code().unwrap(), text(&output.stderr))
}

#[test]
fn the_commands_code_is_ours() {
    for wanted in [0, 1, 2, 42, 125, 255] {
        assert_eq!(
            code(&["--command", "sh", "-c", &format!("exit {wanted}")]).0,
            wanted
        );
    }
}

#[test]
fn a_signal_gives_128_and_its_number() {
    for (signal, wanted) in [("KILL", 137), ("TERM", 143), ("SEGV", 139), ("34", 162)] {
        let (code, err) = code(&["--command", "sh", "-c", &format!("kill -{signal} $$")]);
        assert_eq!(code, wanted);
        assert!(err.contains("it was killed by "), "{err}");
    }
}

#[test]
fn codes_that_count_as_success() {
    let args = [
        "--success-code",
        "3",
        "--success-code",
        "143",
        "--command",
        "sh",
        "-c",
        "exit 3",
    ];
    assert_eq!(code(&args).0, 0);
}

#[test]
fn what_cannot_be_run_says_why() {
    let scratch = Scratch::new();
    scratch.write("plain", "echo from a file without a shebang");
    let (missing, err) = code(&["--step", "build", "--command", "no-such-program"]);
    assert_eq!(missing, 127);
    assert_eq!(
        err,
        "entrypoint: build: cannot run \"no-such-program\": there is no program of this name in PATH\n"
    );
    assert_eq!(code(&["--command", "/no/such/program"]).0, 127);
    let output = scratch.run(["--command", "./plain"]);
    assert_eq!(output.status.code(), Some(126));
    assert!(
        text(&output.stderr).contains("is it executable"),
        "{output:?}"
    );
    assert_eq!(code(&["--command", "/"]).0, 126);
    assert_eq!(code(&["--command", ""]).0, 125);
}

#[test]
fn a_file_without_a_shebang_runs_in_a_shell_as_elsewhere() {
    let scratch = Scratch::new();
    // Written by another process: what this one had open for writing may still be so in the child that
    // a test beside is just starting, and cannot be executed then.
    let written = std::process::Command::new("sh")
        .args(["-c", "echo 'echo $1' >plain && chmod 755 plain"])
        .current_dir(scratch.path("."))
        .status();
    assert!(written.unwrap().success());
    assert_eq!(
        scratch.run(["--command", "./plain", "word"]).stdout,
        b"word\n"
    );
}

#[test]
fn wrong_usage_starts_nothing() {
    let (usage, err) = code(&["--timeut", "3s", "--command", "touch", "started"]);
    assert_eq!(usage, 2);
    assert!(
        err.starts_with("entrypoint: there is no option --timeut; did you mean --timeout?\n"),
        "{err}"
    );
    assert_eq!(code(&[]).0, 2);
}

#[test]
fn help_and_version() {
    let scratch = Scratch::new();
    let help = text(&scratch.run(["--help"]).stdout);
    for option in [
        "--wait FILE",
        "--script BASE64",
        "--on-error continue",
        "124 timed out",
    ] {
        assert!(help.contains(option), "{option}");
    }
    assert!(text(&scratch.run(["--version"]).stdout).starts_with("entrypoint 0."));
}

#[test]
fn words_and_variables_that_are_no_text_pass_untouched() {
    let scratch = Scratch::new();
    let odd = OsString::from_vec(vec![0xff, 0xfe, b' ', b'\n', b'x']);
    let mut command = scratch.entrypoint(["--command", "sh", "-c", "printf %s \"$1$ODD\"", "sh"]);
    let output = command.arg(&odd).env("ODD", &odd).output().unwrap();
    assert_eq!(
        output.stdout,
        [odd.as_encoded_bytes(), odd.as_encoded_bytes()].concat()
    );
}

#[test]
fn the_commands_options_are_not_ours() {
    let output = Scratch::new().run(["--command", "echo", "--", "--wait", "x", "--help", "--"]);
    assert_eq!(output.stdout, b"--wait x --help --\n");
}

/// Mask, ignored signals: the command gets exactly what we were given.
#[test]
fn the_signal_state_is_inherited_exactly() {
    let show = ["grep", "-E", "^Sig(Blk|Ign)|^ShdPnd", "/proc/self/status"];
    for (blocked, ignored) in [
        (&[][..], &[][..]),
        (
            &[libc::SIGUSR1, libc::SIGTTOU, 40],
            &[libc::SIGPIPE, libc::SIGINT, libc::SIGCHLD],
        ),
        (
            &[libc::SIGTERM, libc::SIGCHLD],
            &[libc::SIGHUP, libc::SIGTTIN],
        ),
    ] {
        let run = |mut command: std::process::Command| {
            let (blocked, ignored) = (blocked.to_vec(), ignored.to_vec());
            // SAFETY: system calls alone, on data that was prepared.
            unsafe {
                command.pre_exec(move || {
                    let mut set = std::mem::zeroed();
                    libc::sigemptyset(&mut set);
                    for signal in &blocked {
                        libc::sigaddset(&mut set, *signal);
                    }
                    libc::sigprocmask(libc::SIG_SETMASK, &set, std::ptr::null_mut());
                    for signal in &ignored {
                        libc::signal(*signal, libc::SIG_IGN);
                    }
                    Ok(())
                });
            }
            let output = command.stdin(Stdio::null()).output().unwrap();
            assert!(output.status.success(), "{output:?}");
            text(&output.stdout)
        };
        let mut bare = std::process::Command::new(show[0]);
        bare.args(&show[1..]);
        let scratch = Scratch::new();
        let with_us = scratch.entrypoint(["--command"].iter().chain(&show));
        assert_eq!(
            run(with_us),
            run(bare),
            "blocked {blocked:?}, ignored {ignored:?}"
        );
    }
}

#[test]
fn no_descriptor_of_ours_leaks_into_the_command() {
    let scratch = Scratch::new();
    scratch.step("s");
    scratch.write("order", "1");
    let args = [
        "--step-dir",
        "s",
        "--wait",
        "order",
        "--wait-content",
        "1",
        "--out",
        "f",
        "--command",
        "ls",
        "/proc/self/fd",
    ];
    let output = scratch.run(args);
    let bare = std::process::Command::new("ls")
        .arg("/proc/self/fd")
        .output()
        .unwrap();
    assert_eq!(text(&output.stdout), text(&bare.stdout));
}

#[test]
fn closed_standard_streams_harm_nothing() {
    for closed in [0..3, 1..3, 0..1] {
        let scratch = Scratch::new();
        let mut command = scratch.entrypoint(["--command", "sh", "-c", "exit 5"]);
        // SAFETY: close touches no memory.
        unsafe {
            command.pre_exec(move || {
                for fd in closed.clone() {
                    libc::close(fd);
                }
                Ok(())
            });
        }
        assert_eq!(command.status().unwrap().code(), Some(5));
    }
}
