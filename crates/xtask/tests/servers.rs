//! `cargo xtask servers` where roots cannot be made.

use std::process::Command;

#[test]
fn a_root_that_cannot_be_made_is_named_and_does_not_fail_the_run() {
    let cache = std::env::temp_dir().join(format!("clonelove-no-roots-{}", std::process::id()));
    // Without PATH there is no debootstrap; what is there already lies in another cache.
    let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .arg("servers")
        .env("CLONELOVE_CACHE", &cache)
        .env("PATH", "/nonexistent")
        .output()
        .unwrap();
    std::fs::remove_dir_all(&cache).unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", output.status);
    for root in ["mariadb-sid", "mysql-sid"] {
        let named = text.lines().any(|line| line.starts_with(&format!("NOT COVERED: {root} (")));
        assert!(named, "{root} is not named in: {text}");
    }
}
