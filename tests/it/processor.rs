//! On a processor without the instructions that we are built for, the programs say so instead of crashing.

use std::process::Command;

#[test]
fn an_older_processor_gets_a_sentence() {
    let target = std::env::current_exe().unwrap();
    let folder = target.parent().and_then(|deps| deps.parent()).unwrap();
    for program in ["commonwatt", "commonwatt-node"] {
        let emulated =
            Command::new("qemu-x86_64").args(["-cpu", "Nehalem"]).arg(folder.join(program)).arg("--version").output();
        let Ok(output) = emulated else {
            println!("SKIPPED: no qemu-x86_64 on this machine (Debian: apt-get install qemu-user)");
            return;
        };
        assert_eq!(output.status.code(), Some(1), "{program}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.starts_with("This program is built for processors with AVX2"), "{program}: {said}");
    }
}
