//! Links the processor check in, where the compiler was told to use newer instructions.

#[expect(clippy::disallowed_methods, reason = "this is how cargo speaks to build scripts")]
fn main() {
    println!("cargo::rerun-if-changed=../.cargo/processor.c");
    // The console is compiled in: a file that is added there is not in the program otherwise.
    println!("cargo::rerun-if-changed=console");
    let features = std::env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default();
    if features.split(',').any(|feature| feature == "avx2") {
        // Whole archive: nothing calls it, the loader does.
        cc::Build::new()
            .file("../.cargo/processor.c")
            .flag("-march=x86-64")
            .link_lib_modifier("+whole-archive")
            .compile("processor");
    }
}
