//! Says where the program `rbox` begins: `runtime/src/sys/entry.rs`. (The runtime's build.rs says it for its own.)

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "x86_64") {
        println!("cargo::rustc-link-arg-bins=-Wl,--entry=rbox_entry");
    }
}
