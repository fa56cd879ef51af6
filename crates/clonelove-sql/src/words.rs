//! Keywords, and the compile-time look-up tables that they and the built-in functions are found with.
//!
//! Owns which words mean something to the analysis; what they mean there is not its business.

/// The longest word worth looking up.
pub(crate) const LONGEST: usize = 40;

/// The hash of a word, whatever its case (FNV-1a, 32 bits).
pub(crate) const fn hash(word: &[u8]) -> usize {
    let mut hash = 0x811c_9dc5_u32;
    let mut rest = word;
    while let [byte, tail @ ..] = rest {
        hash = (hash ^ byte.to_ascii_uppercase() as u32).wrapping_mul(0x0100_0193);
        rest = tail;
    }
    (hash ^ (hash >> 15)) as usize
}

/// Puts a number under a word's hash into an open-addressed table; `0` marks free places.
#[expect(clippy::indexing_slicing, reason = "runs at compile time, where an index out of bounds is an error")]
pub(crate) const fn insert<const N: usize>(mut table: [u16; N], word: &[u8], number: u16) -> [u16; N] {
    assert!(word.len() <= LONGEST && N.is_power_of_two() && number != 0);
    let mut place = hash(word) & N.wrapping_sub(1);
    while table[place] != 0 {
        place = place.wrapping_add(1) & N.wrapping_sub(1);
    }
    table[place] = number;
    table
}

/// Finds the number that was put under a word, asking `matches` of each that stands where it could stand.
pub(crate) fn find<const N: usize>(
    table: &[u16; N],
    word: &[u8],
    mut matches: impl FnMut(u16) -> bool,
) -> Option<u16> {
    if word.len() > LONGEST {
        return None;
    }
    let mut place = hash(word) & N.wrapping_sub(1);
    loop {
        match table.get(place).copied() {
            None | Some(0) => return None,
            Some(number) if matches(number) => return Some(number),
            Some(_) => place = place.wrapping_add(1) & N.wrapping_sub(1),
        }
    }
}

macro_rules! keywords {
    ($($name:ident)*) => {
        /// A word that the analysis knows, when it stands where a keyword can.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        #[expect(clippy::upper_case_acronyms, non_camel_case_types, reason = "spelt as in SQL, which makes the table")]
        pub(crate) enum Keyword {
            /// No keyword: another word, or another token.
            #[default]
            None,
            /// The end of the statement.
            End,
            $($name,)*
        }

        const KEYWORDS: &[(&str, Keyword)] = &[$((stringify!($name), Keyword::$name),)*];
    };
}

keywords! {
    ADD ADMIN AGAINST ALL ALTER ANALYZE AND ANY AS ASC AT AUTHORS
    BACKUP BEGIN BETWEEN BINARY BINLOG BY
    CACHE CALL CASCADE CASE CHAIN CHANGE CHARACTER CHARSET CHECK CHECKSUM CLONE CLOSE COLLATE COLUMN COLUMNS COMMIT
    CONNECTION CONSISTENT CONSTRAINT COUNT CREATE CROSS CUBE CURRENT CURRENT_USER
    DATA DATABASE DATABASES DEALLOCATE DEFAULT DEFINER DELAYED DELETE DESC DESCRIBE DIAGNOSTICS DISTINCT DISTINCTROW
    DO DROP DUAL DUMPFILE DUPLICATE
    ELSE END ENGINE EVENT EXCEPT EXCHANGE EXCLUSIVE EXECUTE EXISTS EXPANSION EXPLAIN EXPORT EXTENDED ERRORS
    FALSE FIELDS FLUSH FOR FORCE FOREIGN FORMAT FROM FULL FULLTEXT FUNCTION
    GET GLOBAL GRANT GROUP
    HANDLER HAVING HELP HIGH_PRIORITY HISTORY
    IF IGNORE IMMEDIATE IMPORT IN INDEX INDEXES INFILE INNER INSERT INSTALL INSTANCE INTERSECT INTERVAL INTO IS ISOLATION
    JOIN JSON_TABLE
    KEY KEYS KILL
    LATERAL LEFT LEVEL LIKE LIMIT LOAD LOCAL LOCK LOW_PRIORITY
    MATCH MINUS MODE
    NAMES NATURAL NEXT NO NOT NOWAIT NO_WRITE_TO_BINLOG NULL
    OF OFF OFFSET OJ ON ONLINE ONLY OPEN OPTIMIZE OR ORDER OUTER OUTFILE OVERWRITE
    PACKAGE PARTITION PARTITIONS PASSWORD PERSIST PERSIST_ONLY PORTION PREPARE PREVIOUS PRIVILEGES PROCEDURE PURGE
    QUERY QUICK
    READ RECURSIVE REFERENCES RELEASE RENAME REPAIR REPEATABLE REPLACE RESET RESIGNAL RESOURCE RESTART RETURNING REVOKE
    RIGHT ROLE ROLLBACK ROLLUP ROW
    SAVEPOINT SCHEMA SCHEMAS SELECT SEQUENCE SERVER SESSION SET SHARE SHOW SHUTDOWN SIGNAL SLAVE SNAPSHOT SOME SONAME
    SPATIAL SQL_BIG_RESULT SQL_BUFFER_RESULT SQL_CACHE SQL_CALC_FOUND_ROWS SQL_NO_CACHE SQL_SMALL_RESULT STAGE START
    STATEMENT STOP STRAIGHT_JOIN SYSTEM SYSTEM_TIME
    TABLE TABLES TABLESPACE TEMPORARY TIES TO TRANSACTION TRIGGER TRUE TRUNCATE
    UNINSTALL UNION UNIQUE UNLOCK UPDATE USE USER USING
    VALUE VALUES VIEW
    WAIT WARNINGS WHERE WINDOW WITH WORK WRITE
    XA XML XOR
}

const PLACES: [u16; 1024] = {
    let mut table = [0; 1024];
    let mut number: u16 = 0;
    let mut rest = KEYWORDS;
    while let [(text, _), tail @ ..] = rest {
        number = number.wrapping_add(1);
        table = insert(table, text.as_bytes(), number);
        rest = tail;
    }
    table
};

impl Keyword {
    /// The keyword that an unquoted word is, whatever its case.
    pub(crate) fn of(word: &[u8]) -> Keyword {
        let entry = |number: u16| KEYWORDS.get(usize::from(number).wrapping_sub(1));
        let is_word =
            |number| entry(number).is_some_and(|(text, _)| text.as_bytes().eq_ignore_ascii_case(word));
        find(&PLACES, word, is_word).and_then(entry).map_or(Keyword::None, |(_, keyword)| *keyword)
    }

    /// Whether no table can have this name unquoted, in any version of either flavour.
    #[rustfmt::skip]
    pub(crate) fn is_reserved(self) -> bool {
        use Keyword::*;
        matches!(
            self,
            ALTER | ANALYZE | AND | AS | ASC | BETWEEN | BINARY | BY | CALL | CASE | CHANGE | CHARACTER | CHECK | COLLATE
                | COLUMN | CONSTRAINT | CREATE | CROSS | CURRENT_USER | DATABASE | DEFAULT | DELETE | DESC | DESCRIBE
                | DISTINCT | DISTINCTROW | DROP | EXISTS | EXPLAIN | FALSE | FOR | FORCE | FOREIGN | FROM | FULLTEXT | GRANT
                | GROUP | HAVING | IF | IGNORE | IN | INDEX | INNER | INSERT | INTERVAL | INTO | IS | JOIN | KEY | KEYS | KILL
                | LEFT | LIKE | LIMIT | LOAD | LOCK | NATURAL | NOT | NULL | ON | OPTIMIZE | OR | ORDER | OUTER | OUTFILE
                | PROCEDURE | PURGE | READ | REFERENCES | RELEASE | RENAME | REPLACE | REVOKE | RIGHT | SELECT | SET | SHOW
                | SPATIAL | STRAIGHT_JOIN | TABLE | TO | TRIGGER | TRUE | UNION | UNIQUE | UNLOCK | UPDATE | USE | USING
                | VALUES | WHERE | WITH | WRITE | XOR
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_every_keyword_in_any_case_and_no_other_word() {
        for (text, keyword) in KEYWORDS {
            assert_eq!(Keyword::of(text.as_bytes()), *keyword);
            assert_eq!(Keyword::of(text.to_ascii_lowercase().as_bytes()), *keyword);
            assert_eq!(Keyword::of(format!("{text}x").as_bytes()), Keyword::None);
        }
        assert_eq!(Keyword::of(b""), Keyword::None);
        assert_eq!(Keyword::of(&[b'a'; 1000]), Keyword::None);
    }
}
