//! What the monitoring account may see, from its SHOW GRANTS.
//!
//! Owns the rules by which privileges let parts of information_schema be seen. What cannot be told counts as not seen.

use crate::dialect::{Dialect, Flavour};
use crate::lexer::{Lexer, Token, TokenKind};

use super::id::folded;
use super::queries::{Answers, Row};

/// A part of the definitions that needs a privilege of its own to be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Sight {
    /// Tables with their columns, indexes and foreign keys: SELECT.
    Tables,
    /// What views are made of: SHOW VIEW.
    Views,
    /// Triggers: TRIGGER.
    Triggers,
    /// What stored functions and procedures do: SHOW_ROUTINE on MySQL, SELECT on `mysql.proc` on MariaDB.
    Routines,
}

impl Sight {
    /// All of them.
    pub const ALL: [Sight; 4] = [Sight::Tables, Sight::Views, Sight::Triggers, Sight::Routines];

    /// The name that status, metrics and logs use.
    pub fn as_str(self) -> &'static str {
        match self {
            Sight::Tables => "tables",
            Sight::Views => "views",
            Sight::Triggers => "triggers",
            Sight::Routines => "routines",
        }
    }
}

/// A privilege that the monitoring account lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingGrant {
    /// What cannot be seen without it, so that writes touch all tables, or keys are off.
    pub cause: Sight,
    /// The statement that mends it.
    pub hint: String,
}

/// What the account may see, and where.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Coverage {
    account: Option<String>,
    mysql: bool,
    global: Vec<Sight>,
    /// By schema pattern, what a grant there lets be seen.
    local: Vec<(Pattern, Vec<Sight>)>,
    revoked: Vec<(String, Vec<Sight>)>,
}

/// A schema's name in a grant, in lower case, with `%` and `_` as in LIKE unless `literal`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    text: String,
    literal: bool,
}

impl Coverage {
    pub(super) fn of(flavour: Flavour, answers: &Answers) -> Coverage {
        let rows = |name: &str| answers.get(name).map(Vec::as_slice).unwrap_or_default();
        let mysql = flavour == Flavour::MySql;
        let literal = rows("partial_revokes").first().is_some_and(|row| text(row, 0) != "0");
        let roles: Vec<&str> = rows("roles").iter().map(|row| text(row, 0)).collect();
        let mut coverage = Coverage { mysql, ..Coverage::default() };
        for row in rows("grants") {
            coverage.add(text(row, 0), &roles, literal);
        }
        coverage
    }

    fn add(&mut self, line: &str, roles: &[&str], literal: bool) {
        let Some(grant) = Grant::parse(line) else { return };
        match (&self.account, grant.at_host) {
            (None, true) => self.account = Some(grant.grantee.clone()),
            (Some(account), true) if *account != grant.grantee => return,
            (_, true) => {}
            (_, false) => {
                if grant.grantee != "PUBLIC" && !roles.contains(&grant.grantee.as_str()) {
                    return;
                }
            }
        }
        let sights: Vec<Sight> =
            Sight::ALL.into_iter().filter(|sight| grant.lets_see(*sight, self.mysql)).collect();
        let schema = folded(&grant.schema).into_owned();
        match (grant.revoke, grant.schema.as_str(), grant.table.as_str()) {
            (true, "*", _) => {}
            (true, _, _) => self.revoked.push((unescaped(&schema), sights)),
            (false, "*", "*") => self.global.extend(sights),
            (false, _, "*") => {
                if schema == "mysql" && !self.mysql && sights.contains(&Sight::Tables) {
                    self.global.push(Sight::Routines);
                }
                self.local.push((Pattern { text: schema, literal }, sights));
            }
            (false, _, table) => {
                if schema == "mysql" && table.eq_ignore_ascii_case("proc") && sights.contains(&Sight::Tables)
                {
                    self.global.push(Sight::Routines);
                }
            }
        }
    }

    /// Whether all of a sort is seen in every schema there may be.
    pub(super) fn sees_everywhere(&self, sight: Sight) -> bool {
        self.global.contains(&sight) && !self.revoked.iter().any(|(_, lost)| lost.contains(&sight))
    }

    /// Whether all of a sort is seen in a schema, named in lower case.
    pub(super) fn sees(&self, sight: Sight, schema: &str) -> bool {
        if self.global.contains(&sight) {
            return !self.revoked.iter().any(|(name, lost)| name == schema && lost.contains(&sight));
        }
        // Of several grants that fit, a server follows one only: each must do.
        let mut fitting = self.local.iter().filter(|(pattern, _)| pattern.fits(schema)).peekable();
        fitting.peek().is_some() && fitting.all(|(_, sights)| sights.contains(&sight))
    }

    /// What is missing, given the schemas that are seen at all.
    pub(super) fn missing<'a>(&self, schemas: impl Iterator<Item = &'a str> + Clone) -> Vec<MissingGrant> {
        let seen = |sight| {
            self.sees_everywhere(sight)
                || (!self.local.is_empty() && schemas.clone().all(|schema| self.sees(sight, schema)))
        };
        let account = self.account.as_deref().unwrap_or("the monitoring account");
        Sight::ALL
            .into_iter()
            .filter(|sight| !seen(*sight))
            .map(|cause| {
                let privilege = match (cause, self.mysql) {
                    (Sight::Tables, _) => "SELECT ON *.*",
                    (Sight::Views, _) => "SHOW VIEW ON *.*",
                    (Sight::Triggers, _) => "TRIGGER ON *.*",
                    (Sight::Routines, true) => "SHOW_ROUTINE ON *.*",
                    (Sight::Routines, false) => "SELECT ON mysql.proc",
                };
                MissingGrant { cause, hint: format!("GRANT {privilege} TO {account}") }
            })
            .collect()
    }
}

impl Pattern {
    fn fits(&self, schema: &str) -> bool {
        if self.literal {
            return unescaped(&self.text) == schema;
        }
        like(self.text.as_bytes(), schema.as_bytes())
    }
}

/// LIKE with `%`, `_` and backslash escapes, in time bounded by the product of the lengths.
fn like(pattern: &[u8], text: &[u8]) -> bool {
    // Which beginnings of the text the pattern so far fits.
    let mut fits = vec![false; text.len().saturating_add(1)];
    if let Some(first) = fits.first_mut() {
        *first = true;
    }
    let mut rest = pattern.iter();
    while let Some(byte) = rest.next() {
        let (wanted, wild) = match byte {
            b'%' => {
                let mut any = false;
                for fit in &mut fits {
                    any |= *fit;
                    *fit = any;
                }
                continue;
            }
            b'\\' => (rest.next().copied().unwrap_or(b'\\'), false),
            byte => (*byte, *byte == b'_'),
        };
        let mut before = false;
        for (at, fit) in fits.iter_mut().enumerate() {
            let byte = at.checked_sub(1).and_then(|at| text.get(at));
            let now = before && byte.is_some_and(|byte| wild || *byte == wanted);
            before = std::mem::replace(fit, now);
        }
    }
    fits.last().copied().unwrap_or(false)
}

fn unescaped(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    let mut rest = name.chars();
    while let Some(letter) = rest.next() {
        text.push(if letter == '\\' { rest.next().unwrap_or('\\') } else { letter });
    }
    text
}

/// One line of SHOW GRANTS.
#[derive(Debug)]
struct Grant {
    revoke: bool,
    /// Upper case, single spaces; those on columns only are left out.
    privileges: Vec<String>,
    schema: String,
    table: String,
    grantee: String,
    at_host: bool,
}

impl Grant {
    /// `None` for grants of roles and of routines, for PROXY, and for what is not understood.
    fn parse(line: &str) -> Option<Grant> {
        let dialect = Dialect::default();
        let mut tokens = Lexer::new(line.as_bytes(), &dialect).peekable();
        let bytes = |token: &Token| line.get(token.range.clone()).unwrap_or_default();
        let revoke = match bytes(&tokens.next()?).to_ascii_uppercase().as_str() {
            "GRANT" => false,
            "REVOKE" => true,
            _ => return None,
        };
        let mut privileges = Vec::new();
        let mut privilege = String::new();
        loop {
            let token = tokens.next()?;
            let word = bytes(&token).to_ascii_uppercase();
            match token.kind {
                TokenKind::Word if word == "ON" => break,
                TokenKind::Word => {
                    if !privilege.is_empty() {
                        privilege.push(' ');
                    }
                    privilege.push_str(&word);
                }
                TokenKind::Sign(b',') => privileges.push(std::mem::take(&mut privilege)),
                TokenKind::Sign(b'(') => {
                    // Of some columns: none of the table.
                    privilege.clear();
                    while tokens.next()?.kind != TokenKind::Sign(b')') {}
                }
                _ => return None,
            }
        }
        privileges.push(privilege);
        let mut object = tokens.next()?;
        if object.kind == TokenKind::Word && tokens.peek()?.kind != TokenKind::Sign(b'.') {
            if !bytes(&object).eq_ignore_ascii_case("TABLE") {
                return None;
            }
            object = tokens.next()?;
        }
        let schema = unquoted(bytes(&object));
        if tokens.next()?.kind != TokenKind::Sign(b'.') {
            return None;
        }
        let table = unquoted(bytes(&tokens.next()?));
        if !matches!(bytes(&tokens.next()?).to_ascii_uppercase().as_str(), "TO" | "FROM") {
            return None;
        }
        let mut grantee = tokens.next()?;
        let host = tokens.next().filter(|token| token.kind == TokenKind::UserVariable);
        let at_host = host.is_some();
        let name = unquoted(bytes(&grantee));
        if let Some(host) = host {
            grantee.range.end = host.range.end;
        }
        let grantee = if at_host { bytes(&grantee).to_owned() } else { name };
        Some(Grant { revoke, privileges, schema, table, grantee, at_host })
    }

    fn lets_see(&self, sight: Sight, mysql: bool) -> bool {
        let has = |name: &str| self.privileges.iter().any(|privilege| privilege == name);
        let all = has("ALL PRIVILEGES") || has("ALL");
        let global = self.schema == "*";
        // ALL of one schema does not reach the bodies of its routines.
        (all && (global || sight != Sight::Routines))
            || match sight {
                Sight::Tables => has("SELECT"),
                Sight::Views => has("SHOW VIEW"),
                Sight::Triggers => has("TRIGGER"),
                Sight::Routines if mysql => global && (has("SHOW_ROUTINE") || has("SELECT")),
                Sight::Routines => has("SHOW CREATE ROUTINE") || (global && has("SELECT")),
            }
    }
}

fn unquoted(name: &str) -> String {
    let Some(quote @ ('`' | '\'' | '"')) = name.chars().next() else { return name.to_owned() };
    let inner = name.strip_prefix(quote).and_then(|name| name.strip_suffix(quote)).unwrap_or(name);
    inner.replace(&format!("{quote}{quote}"), &quote.to_string())
}

/// A row's value, where it has one.
pub(super) fn text(row: &Row, at: usize) -> &str {
    row.get(at).and_then(Option::as_deref).unwrap_or_default()
}
