//! Volumes as folders.

use crate::harness::{Bench, task};

#[test]
fn an_empty_dir_is_shared_by_the_steps() {
    let bench = Bench::with(&task(
        "t",
        "  steps:
  - name: write
    volumeMounts: [{name: work, mountPath: /work}]
    workingDir: /work/src
    script: |
      echo text > /work/file
      pwd > here
  - name: read
    volumeMounts: [{name: work, mountPath: /data}]
    env: [{name: FILE, value: /data/file}]
    command: [sh, -c, 'cat $FILE /data/file \"$0\"; cat /data/src/here | grep -c volumes/work/src', $(FILE)]
  - name: part
    volumeMounts: [{name: work, mountPath: /p, subPath: src}]
    stdout: {path: /p/log}
    command: [ls, /p]
  volumes: [{name: work, emptyDir: {}}]
",
    ));
    let ran = bench.run(&[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(
        ran.stdout,
        "read  | text\nread  | text\nread  | text\nread  | 1\npart  | here\npart  | log\n"
    );
    assert!(ran.stderr.contains("volume work is "), "{}", ran.stderr);
}

#[test]
fn a_host_path_is_that_folder() {
    let bench = Bench::new();
    let host = bench.path("host dir");
    bench.write(
        "t.yaml",
        &task(
            "t",
            &format!(
                "  steps:
  - name: write
    volumeMounts: [{{name: host, mountPath: /host}}, {{name: tmp, mountPath: /tmp}}]
    script: 'echo kept > /host/file; echo x > /tmp/x'
  volumes:
  - {{name: host, hostPath: {{path: \"{}\", type: DirectoryOrCreate}}}}
  - {{name: tmp, emptyDir: {{}}}}
",
                host.display()
            ),
        ),
    );
    let ran = bench.run(&[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(bench.read("host dir/file"), "kept\n");
}

#[test]
fn a_host_path_that_is_not_there_starts_nothing() {
    let bench = Bench::with(&task(
        "t",
        "  steps:
  - {name: a, command: [touch, STARTED]}
  volumes: [{name: v, hostPath: {path: /no/such/folder, type: Directory}}]
",
    ));
    let ran = bench.run(&[]);
    assert_eq!(ran.code, 125, "{}", ran.stderr);
    assert!(ran.stderr.contains("/no/such/folder"), "{}", ran.stderr);
    assert!(!bench.path("STARTED").exists());
}

#[test]
fn the_scratch_folder_can_be_kept() {
    let bench = Bench::with(&task(
        "t",
        "  steps:
  - name: a
    volumeMounts: [{name: work, mountPath: /work}]
    command: [touch, /work/file]
  volumes: [{name: work, emptyDir: {}}]
",
    ));
    let ran = bench.baton(&["run", "t.yaml", "--keep"]);
    let kept = bench.leftovers();
    assert_eq!(kept.len(), 1);
    assert!(kept[0].join("volumes/work/file").exists());
    assert!(
        ran.stderr.contains(&format!("kept: {}", kept[0].display())),
        "{}",
        ran.stderr
    );
}
