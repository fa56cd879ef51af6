//! All that a client may find different through the proxy: the one list, which `docs/differences.md` repeats for people.
//! Nothing else is left out of the comparison.

use std::path::Path;

use anyhow::{Result, ensure};
use clonelove_testkit::Family;

use crate::commands::peer::Say;

/// A difference that is allowed, in the document's words.
struct Difference {
    what: &'static str,
    why: &'static str,
}

/// Each of them.
const ALLOWED: &[Difference] = &[
    Difference {
        what: "connection id in the greeting",
        why: "it is the client's number at the proxy; KILL and CONNECTION_ID() go by it",
    },
    Difference { what: "salt in the greeting", why: "it is random" },
    Difference {
        what: "capabilities in the greeting",
        why: "TLS and compression are offered as the proxy is configured, not as the servers are; what only old clients ask for and what the proxy does not offer is left out: `NO_SCHEMA`, `ODBC`, `IGNORE_SIGPIPE`, `RESERVED`, `MULTI_FACTOR`, `SSL_VERIFY_SERVER_CERT`, `REMEMBER_OPTIONS`, `PROGRESS_OBSOLETE`, `CACHE_METADATA`",
    },
    Difference {
        what: "packets of the log-in between greeting and OK",
        why: "a challenge is random, and whether a server has a password cached decides how many packets there are",
    },
    Difference {
        what: "proof of the certificate in the OK that ends a log-in by mysql_native_password over TLS",
        why: "the proxy proves that its certificate is its own, as MariaDB does from 11.4 on, also where its servers are older",
    },
    Difference {
        what: "host of the client in the error of a log-in that is denied",
        why: "the server may ask for the name of another machine; the proxy names its address, and its own machine `localhost` where the server does",
    },
    Difference {
        what: "number of warnings in the replies to COM_PING and COM_SET_OPTION (MySQL)",
        why: "MySQL repeats that of the statement before, which may have run on another connection",
    },
    Difference {
        what: "numbers of prepared statements",
        why: "they are the proxy's; errors that name one name the client's",
    },
];

/// The bits that may differ.
const CAPABILITIES: u64 = (1 << 4 | 1 << 5 | 1 << 6 | 1 << 11 | 1 << 12 | 1 << 14 | 1 << 26)
    | (1 << 28 | 1 << 29 | 1 << 30 | 1 << 31)
    | (1 << 36);

/// A greeting without what may differ of it: the rest, part by part.
pub(crate) fn greeting(bytes: &[u8], family: Family) -> Option<String> {
    let rest = bytes.get(1..)?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    let (version, rest) = (rest.get(..end)?, rest.get(end + 1..)?);
    // The number, eight bytes of salt, a zero.
    let rest = rest.get(4 + 8 + 1..)?;
    let [low, low2, charset, status, status2, high, high2, salt, ..] = *rest else { return None };
    let reserved = rest.get(8..18)?;
    let mut caps = u64::from(u32::from_le_bytes([low, low2, high, high2]));
    let mut filler = reserved.to_vec();
    if family == Family::MariaDb {
        let extended: [u8; 4] = reserved.get(6..)?.try_into().ok()?;
        caps |= u64::from(u32::from_le_bytes(extended)) << 32;
        filler.truncate(6);
    }
    let plugin = rest.get(18 + 13..)?;
    Some(format!(
        "version {}, capabilities {:#x}, character set {charset}, status {status:x}{status2:x}, salt of {salt}, {filler:?}, {}",
        version.escape_ascii(),
        caps & !CAPABILITIES,
        plugin.escape_ascii(),
    ))
}

/// The OK that ends a log-in, without the proof.
pub(crate) fn welcome(bytes: &[u8]) -> String {
    const OK: usize = 7;
    // A length, a version, a hash in hexadecimal.
    let proof = bytes.get(OK..OK + 2) == Some(b"A\x01") && bytes.len() == OK + 1 + 65;
    bytes.get(..if proof { OK } else { bytes.len() }).unwrap_or_default().escape_ascii().to_string()
}

/// A reply, without what may differ of it.
pub(crate) fn reply(say: &Say, heard: &str, family: Family) -> String {
    match say {
        Say::ChangeUser(..) => {
            heard.split_once("A\\x01").map_or_else(|| heard.to_owned(), |(before, _)| format!("{before}\n"))
        }
        Say::Command(bytes) if family == Family::MySql && matches!(bytes.first(), Some(0x0e | 0x1b)) => {
            let without = |head: &str, tail: &str| {
                let warnings = heard.strip_prefix(head)?.strip_suffix(tail)?;
                (warnings.len() == 4).then(|| format!("{head}\\x00{tail}"))
            };
            // As OK, as the OK in an EOF packet's place, as EOF.
            let found = without("\\x00\\x00\\x00\\x02\\x00", "\\x00\n")
                .or_else(|| without("\\xfe\\x00\\x00\\x02\\x00", "\\x00\n"))
                .or_else(|| without("\\xfe", "\\x00\\x02\\x00\n"));
            found.unwrap_or_else(|| heard.to_owned())
        }
        _ => heard.to_owned(),
    }
}

#[test]
fn the_document_has_the_same_list() -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/differences.md");
    let text = std::fs::read_to_string(&path)?;
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    let expected: Vec<String> =
        ALLOWED.iter().map(|Difference { what, why }| format!("| {what} | {why} |")).collect();
    ensure!(rows == expected, "{} should have these rows:\n{}", path.display(), expected.join("\n"));
    Ok(())
}
