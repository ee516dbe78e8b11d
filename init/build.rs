//! A static x86-64 build starts at `baton_start`, which blocks every signal (see `baton_pid1::early`).

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(early_start)");
    let is = |name: &str, value: &str| {
        std::env::var(name).is_ok_and(|v| v.split(',').any(|v| v == value))
    };
    if is("CARGO_CFG_TARGET_FEATURE", "crt-static") && is("CARGO_CFG_TARGET_ARCH", "x86_64") {
        println!("cargo::rustc-cfg=early_start");
        println!("cargo::rustc-link-arg-bin=init=-Wl,-e,baton_start");
    }
}
