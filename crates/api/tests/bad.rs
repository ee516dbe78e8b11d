//! Every file of `tests/bad` is refused with exactly the messages in the `.err` file beside it.
//! `BATON_UPDATE_GOLDEN=1 cargo test -p baton-api --test bad` writes those anew.

use std::path::PathBuf;

use baton_api::{Source, parse};

#[test]
fn bad_manifests_are_refused_with_these_messages() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/bad");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e != "err"))
        .collect();
    files.sort();
    assert!(files.len() > 30, "{} files", files.len());
    let update = std::env::var_os("BATON_UPDATE_GOLDEN").is_some();
    let mut failures = Vec::new();
    for file in files {
        let text = std::fs::read(&file).unwrap();
        let name = file.file_name().unwrap().to_str().unwrap();
        let got: String = match parse(Source { name, text: &text }) {
            Ok(_) => format!("{name} was accepted\n"),
            Err(mistakes) => mistakes.iter().map(|m| format!("{m}\n")).collect(),
        };
        let golden = file.with_extension("err");
        if update {
            std::fs::write(&golden, &got).unwrap();
        }
        let want = std::fs::read_to_string(&golden).unwrap_or_default();
        if got != want {
            failures.push(format!("--- {name}: expected\n{want}--- got\n{got}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
