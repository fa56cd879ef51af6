//! `plain TARGET SECONDS [SEED]`: mutates what is in a target's corpus and runs the target on it, without sanitizers or
//! coverage, where there is no cargo-fuzz. What breaks a target is kept in `artifacts/TARGET`.
#![forbid(unsafe_code)]

use std::error::Error;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Pieces of what the targets read.
const PIECES: &[&[u8]] = &[
    b"'",
    b"\"",
    b"`",
    b"\\",
    b"/*",
    b"*/",
    b"/*!",
    b"/*!50000 ",
    b"--",
    b"-- ",
    b"#",
    b"\n",
    b"\0",
    b"(",
    b")",
    b",",
    b";",
    b".",
    b"@",
    b"@@",
    b":=",
    b"?",
    b"0x",
    b"x'1f'",
    b"1e",
    b"1.e",
    b".5",
    b"-1",
    b"NULL",
    b"\xff",
    b" ",
    b"  ",
    b"\xbf\x27",
    b"\x81\x5c",
    b"\x95\x5c",
    b"SELECT ",
    b" FROM t ",
    b" WHERE ",
    b"k = 'x'",
    b" AND ",
    b" OR ",
    b" IN (1,2)",
    b"INSERT INTO t (k, n) VALUES ",
    b"('a', 1),('b', 2)",
    b" FOR UPDATE",
    b"DELETE FROM t ",
    b"f(",
    b"count(",
    b"IN(",
];

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (name, seconds) = match words.as_slice() {
        [name, seconds, ..] => (name, seconds.parse()?),
        _ => return Err("usage: plain TARGET SECONDS [SEED]".into()),
    };
    let seed = words.get(2).map_or(Ok(1), |seed| seed.parse())?;
    let target = clonelove_fuzz::TARGETS.iter().find(|(known, _)| known == name).ok_or("no such target")?.1;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let corpus = corpus(&root.join("corpus").join(name))?;
    let mut dice = Dice(seed);
    let (end, mut runs) = (Instant::now() + Duration::from_secs(seconds), 0_u64);
    while runs % 64 != 0 || Instant::now() < end {
        let data = mutated(&corpus, &mut dice);
        runs += 1;
        if catch_unwind(|| target(&data)).is_err() {
            let kept = keep(&root.join("artifacts").join(name), &data)?;
            return Err(format!("{name} does not hold for {}", kept.display()).into());
        }
    }
    println!("{name}: {runs} inputs in {seconds} s, seed {seed}");
    Ok(())
}

fn corpus(folder: &Path) -> Result<Vec<Vec<u8>>, Box<dyn Error>> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    files.sort();
    let all: Vec<Vec<u8>> = files.iter().map(std::fs::read).collect::<Result<_, _>>()?;
    if all.is_empty() { Err(format!("{} is empty", folder.display()).into()) } else { Ok(all) }
}

/// One of the corpus, cut, spliced, and with bytes and pieces put in.
fn mutated(corpus: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    let mut data = corpus[dice.below(corpus.len())].clone();
    for _ in 0..dice.below(6) {
        let at = dice.below(data.len() + 1);
        let until = (at + dice.below(12)).min(data.len());
        match dice.below(6) {
            0 => drop(data.drain(at..until)),
            1 => drop(data.splice(at..at, PIECES[dice.below(PIECES.len())].iter().copied())),
            2 => drop(data.splice(at..until, PIECES[dice.below(PIECES.len())].iter().copied())),
            3 => data.iter_mut().skip(at).take(1).for_each(|byte| *byte = dice.next() as u8),
            4 => {
                let copy = data[at..until].to_vec();
                let to = dice.below(data.len() + 1);
                drop(data.splice(to..to, copy));
            }
            _ => {
                let other = &corpus[dice.below(corpus.len())];
                let from = dice.below(other.len() + 1);
                data.truncate(at);
                data.extend_from_slice(&other[from..]);
            }
        }
    }
    data
}

fn keep(folder: &Path, data: &[u8]) -> Result<PathBuf, Box<dyn Error>> {
    std::fs::create_dir_all(folder)?;
    let name = data.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let path = folder.join(format!("crash-{name:016x}"));
    std::fs::write(&path, data)?;
    Ok(path)
}

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}
