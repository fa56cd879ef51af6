//! Statements: the first two bytes choose the dialect, the rest is text.

use std::sync::Arc;

use clonelove_sql::{Charset, Dialect, Facts, Flavour, Kind, Lexer, Modes, TokenKind, digest_text};

use asker::{Asker, SCHEMA, essence};

#[path = "../../crates/clonelove-sql/tests/asker/mod.rs"]
mod asker;

/// A dialect and a text; letters choose what is usual.
fn statement(data: &[u8]) -> Option<(Dialect, &[u8])> {
    let [first, second, text @ ..] = data else { return None };
    let charset = match (first >> 1) % 8 {
        1 => Charset::AsciiCompatible,
        2 => Charset::Gbk,
        3 => Charset::Sjis,
        4 => Charset::Big5,
        5 => Charset::Gb18030,
        _ => Charset::Utf8,
    };
    let (flavour, version) = match first & 1 {
        0 => (Flavour::MariaDb, 101_119),
        _ => (Flavour::MySql, 80_400),
    };
    Some((Dialect { flavour, version, modes: Modes::from_bits_truncate(*second), charset }, text))
}

/// Tokens come in order, and cover everything but gaps.
pub fn lexer(data: &[u8]) {
    let Some((dialect, text)) = statement(data) else { return };
    let mut at = 0;
    let mut ended = false;
    for token in Lexer::new(text, &dialect) {
        assert!(!ended, "a token after an error");
        assert!(token.range.start >= at && token.range.end <= text.len());
        assert!(!token.range.is_empty() || token.kind == TokenKind::Error);
        ended = token.kind == TokenKind::Error;
        at = token.range.end;
    }
}

/// Facts agree with themselves, whatever stands in lists of literals is found, and the digest can be taken.
pub fn analyse(data: &[u8]) {
    let Some((dialect, text)) = statement(data) else { return };
    let facts = clonelove_sql::analyse(text, &dialect);
    check(&facts, text);
    digest_text(text, &dialect);
    // A comment behind each parenthesis keeps lists from being passed as a whole, and changes nothing.
    let mut spaced = Vec::with_capacity(text.len() * 2);
    let mut at = 0;
    for token in Lexer::new(text, &dialect).filter(|token| token.kind == TokenKind::Sign(b'(')) {
        spaced.extend_from_slice(&text[at..token.range.end]);
        spaced.extend_from_slice(b"/**/");
        at = token.range.end;
    }
    spaced.extend_from_slice(&text[at..]);
    let conditional = facts.assumed.iter().any(|assumed| assumed.contains("comment"))
        || has(text, b"/*!")
        || has(text, b"/*M!");
    if !conditional {
        assert_eq!(essence(&clonelove_sql::analyse(&spaced, &dialect)), essence(&facts));
    }
}

fn has(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

fn check(facts: &Facts, text: &[u8]) {
    if facts.why.is_none() {
        assert_eq!(facts.kind, Kind::Read);
        assert!(facts.tables_written.is_empty() && facts.functions.is_empty() && facts.previous.is_empty());
        assert!(facts.effects.is_empty());
    }
    assert!(facts.token.clone().is_none_or(|token| text.get(token).is_some()));
    assert!(
        facts.parts.is_empty() || facts.parts.iter().all(|part| part.why.is_none()) == facts.why.is_none()
    );
    facts.parts.iter().for_each(|part| check(part, text));
}

/// The cache of facts answers as a fresh analysis does: of several texts, separated by a byte that no UTF-8 has, each
/// asked twice.
pub fn cache(data: &[u8]) {
    let Some((dialect, texts)) = statement(data) else { return };
    let mut asker = Asker::new(16, Arc::clone(&SCHEMA));
    for text in texts.split(|byte| *byte == 0xFF) {
        asker.check(text, &dialect, Some("app"), 1);
        asker.check(text, &dialect, Some("app"), 1);
    }
}
