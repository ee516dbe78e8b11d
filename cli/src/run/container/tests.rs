use super::*;
use baton_api::core::{EnvSource, Volume};

fn var(name: &str, value: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value: Some(value.to_owned()),
        value_from: None,
    }
}

fn from_cluster(name: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value: None,
        value_from: Some(EnvSource::default()),
    }
}

fn mount(name: &str, path: &str) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        ..VolumeMount::default()
    }
}

fn set_up(container: Container<'_>, call: Invocation, scratch: &Path) -> Result<Setup, SetupError> {
    let volumes = ["work", "tmp"].map(|name| Volume {
        name: name.to_owned(),
        ..Volume::default()
    });
    let site = Site {
        scratch,
        folders: &Folders::make(&volumes, scratch).unwrap(),
        env: &[("GIVEN".to_owned(), "g".to_owned())],
        base: Path::new("/"),
    };
    setup(container, call, &site)
}

#[test]
fn variables_are_expanded_and_mount_paths_become_folders() {
    let scratch = tempfile::tempdir().unwrap();
    let env = [
        var("DIR", "/work"),
        var("OUT", "$(DIR)/out-$(GIVEN)"),
        from_cluster("GIVEN"),
    ];
    let mounts = [mount("work", "/work"), mount("tmp", "/tmp")];
    let container = Container {
        name: "a",
        env: &env,
        working_dir: Some("/work/src"),
        mounts: &mounts,
    };
    let own = scratch.path().join("baton/steps/1/results/x");
    let call = Invocation {
        command: vec![
            "cc".into(),
            "-o$(OUT)".into(),
            "/tmp/x".into(),
            own.clone().into(),
        ],
        script: Some(ScriptSource::Inline(script::encode(b"cp /work/a $DIR\n"))),
        out: Some("/work/log".into()),
        ..Invocation::default()
    };
    let got = set_up(container, call, scratch.path()).unwrap();
    let volumes = scratch.path().join("volumes");
    let work = volumes.join("work");
    assert_eq!(got.cwd, work.join("src"));
    assert!(got.cwd.is_dir());
    assert_eq!(
        got.invocation.command,
        [
            OsString::from("cc"),
            format!("-o{}/out-g", work.display()).into(),
            volumes.join("tmp/x").into(),
            own.into()
        ]
    );
    assert_eq!(got.invocation.out, Some(work.join("log")));
    match &got.invocation.script {
        Some(ScriptSource::Inline(packed)) => assert_eq!(
            String::from_utf8(script::decode(packed.as_bytes()).unwrap()).unwrap(),
            format!("cp {}/a $DIR\n", work.display())
        ),
        other => panic!("{other:?}"),
    }
    let env: BTreeMap<_, _> = got.env.into_iter().collect();
    assert_eq!(env["OUT"], work.join("out-g").into_os_string());
    assert_eq!(env["GIVEN"], "g");
}

#[test]
fn a_long_script_goes_to_a_file() {
    let scratch = tempfile::tempdir().unwrap();
    let container = Container {
        name: "a",
        env: &[],
        working_dir: None,
        mounts: &[],
    };
    // Digits of a chaotic sequence: gzip cannot shrink them much.
    let mut x = 1_u64;
    let text: String = (0..60_000)
        .map(|_| {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            format!("{:x}", x >> 40)
        })
        .collect();
    let call = Invocation {
        script: Some(ScriptSource::Inline(script::encode(text.as_bytes()))),
        ..Invocation::default()
    };
    let got = set_up(container, call, scratch.path()).unwrap();
    match &got.invocation.script {
        Some(ScriptSource::File(path)) => {
            assert_eq!(
                script::decode(&fs::read(path).unwrap()).unwrap(),
                text.as_bytes()
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_cluster_would_provide_has_to_be_given() {
    let scratch = tempfile::tempdir().unwrap();
    let env = [from_cluster("BATON_TEST_NO_SUCH_VARIABLE")];
    let container = Container {
        name: "a",
        env: &env,
        working_dir: None,
        mounts: &[],
    };
    let error = set_up(container, Invocation::default(), scratch.path()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("--env BATON_TEST_NO_SUCH_VARIABLE=VALUE"),
        "{error}"
    );
    let container = Container {
        env: &[],
        working_dir: Some("/no/such/folder"),
        ..container
    };
    let error = set_up(container, Invocation::default(), scratch.path()).unwrap_err();
    assert!(
        error.to_string().contains("/no/such/folder cannot be used"),
        "{error}"
    );
}
