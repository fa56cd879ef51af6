//! Everything in the committed corpora still holds, and every target has a corpus and a file for cargo-fuzz.

use std::path::Path;

#[test]
fn what_is_in_the_corpora_holds() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut targets: Vec<_> = clonelove_fuzz::TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    for (name, target) in clonelove_fuzz::TARGETS {
        let files = std::fs::read_dir(root.join("corpus").join(name)).unwrap();
        let mut count = 0;
        for file in files {
            target(&std::fs::read(file.unwrap().path()).unwrap());
            count += 1;
        }
        assert!(count > 10, "{name} has a corpus of {count}");
    }
    let stem = |path: std::path::PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    let files = std::fs::read_dir(root.join("fuzz_targets")).unwrap();
    let mut files: Vec<_> = files.map(|file| stem(file.unwrap().path())).collect();
    files.sort();
    targets.sort();
    assert_eq!(files, targets);
}
