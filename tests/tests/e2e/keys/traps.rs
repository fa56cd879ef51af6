//! For each rule of keys a change that a server really makes, and that would be missed without the rule.

use anyhow::{Result, ensure};
use clonelove_sql::Modes;
use clonelove_sql::keys::Rules;
use clonelove_testkit::Flavour;

use super::verdict::Judge;
use super::{answer, one_server, snapshot};

struct Trap {
    rule: Rules,
    /// Column definitions of `t`.
    table: &'static str,
    /// What else there is, then the rows.
    more: &'static [&'static str],
    read: &'static str,
    write: &'static str,
}

const KV: &str = "k VARCHAR(10) COLLATE utf8mb4_general_ci PRIMARY KEY, v INT";
const ROWS: &[&str] = &["INSERT INTO t VALUES ('x', 1), ('y', 1)"];

const fn simple(rule: Rules, read: &'static str, write: &'static str) -> Trap {
    Trap { rule, table: KV, more: ROWS, read, write }
}

#[rustfmt::skip]
const TRAPS: &[Trap] = &[
    simple(Rules::WHOLE_RIGHT, "SELECT * FROM t WHERE k = 'x' = 0", "DELETE FROM t WHERE k = 'y'"),
    simple(Rules::WHOLE_RIGHT, "SELECT * FROM t WHERE k = 'x' IS FALSE", "DELETE FROM t WHERE k = 'y'"),
    simple(Rules::WHOLE_RIGHT, "SELECT * FROM t WHERE k IN ('x') = 0", "DELETE FROM t WHERE k = 'y'"),
    simple(Rules::WHOLE_RIGHT, "SELECT * FROM t WHERE k = '' 'y'", "DELETE FROM t WHERE k = 'y'"),
    simple(Rules::WHOLE_LEFT, "SELECT * FROM t WHERE NOT k = 'x'", "DELETE FROM t WHERE k = 'y'"),
    simple(Rules::NO_OR, "SELECT * FROM t WHERE k = 'x' AND v = 1 OR v = 1", "DELETE FROM t WHERE k = 'y'"),
    simple(Rules::BETWEEN, "SELECT * FROM t WHERE v BETWEEN 0 AND k = 'x'", "DELETE FROM t WHERE k = 'y'"),
    simple(Rules::CASE, "SELECT * FROM t WHERE CASE WHEN v AND k = 'x' AND v THEN 0 ELSE 1 END", "DELETE FROM t WHERE k = 'y'"),
    simple(Rules::ONE_TABLE, "SELECT * FROM t WHERE k = 'x' AND v IN (SELECT COUNT(*) - 1 FROM t)", "DELETE FROM t WHERE k = 'y'"),
    simple(Rules::LENGTH, "SELECT * FROM t WHERE k = '0123456789'", "INSERT IGNORE INTO t VALUES ('0123456789abc', 1)"),
    simple(Rules::PRINTABLE, "SELECT * FROM t WHERE k = 'y'", "DELETE FROM t WHERE k = 'ý'"),
    simple(Rules::CASE_FOLDED, "SELECT * FROM t WHERE k = 'y'", "DELETE FROM t WHERE k = 'Y'"),
    simple(Rules::SPACE_FOLDED, "SELECT * FROM t WHERE k = 'y'", "DELETE FROM t WHERE k = 'y '"),
    simple(Rules::ASSIGNED, "SELECT * FROM t WHERE k = 'z'", "UPDATE t SET k = 'z' WHERE k = 'x'"),
    simple(Rules::ASSIGNED, "SELECT * FROM t WHERE k = 'z'", "INSERT INTO t VALUES ('x', 1) ON DUPLICATE KEY UPDATE k = 'z'"),
    Trap {
        rule: Rules::SAME_VALUE,
        table: "k VARCHAR(10) PRIMARY KEY, b VARCHAR(10)",
        more: &["INSERT INTO t VALUES ('x', 'a')"],
        read: "SELECT * FROM t WHERE k = 'z'",
        write: "INSERT INTO t VALUES ('x', 'z') ON DUPLICATE KEY UPDATE k = VALUES(b)",
    },
    Trap {
        rule: Rules::TYPES,
        table: "n INT PRIMARY KEY, v INT",
        more: &["INSERT INTO t VALUES (5, 1)"],
        read: "SELECT * FROM t WHERE n = '5.0'",
        write: "DELETE FROM t WHERE n = 5",
    },
    Trap {
        rule: Rules::TYPES,
        table: "d DECIMAL(5,2) PRIMARY KEY, v INT",
        more: &["INSERT INTO t VALUES (5, 1)"],
        read: "SELECT * FROM t WHERE d = 5",
        write: "DELETE FROM t WHERE d = 5.0",
    },
    Trap {
        rule: Rules::RANGE,
        table: "n TINYINT PRIMARY KEY, v INT",
        more: &[],
        read: "SELECT * FROM t WHERE n = 127",
        write: "INSERT IGNORE INTO t VALUES (300, 1)",
    },
    Trap {
        rule: Rules::COLLATION,
        table: "k VARCHAR(10) COLLATE utf8mb4_lithuanian_ci PRIMARY KEY, v INT",
        more: ROWS,
        read: "SELECT * FROM t WHERE k = 'i'",
        write: "DELETE FROM t WHERE k = 'y'",
    },
    Trap {
        rule: Rules::GENERATED,
        table: "id INT PRIMARY KEY, v INT, g INT AS (v + 1) STORED, KEY (g)",
        more: &["INSERT INTO t (id, v) VALUES (1, 1)"],
        read: "SELECT * FROM t WHERE g = 8",
        write: "UPDATE t SET v = 7 WHERE g = 2",
    },
    Trap {
        rule: Rules::AUTO_INCREMENT,
        table: "id INT AUTO_INCREMENT PRIMARY KEY, v INT",
        more: &["INSERT INTO t VALUES (6, 1)"],
        read: "SELECT * FROM t WHERE id = 7",
        write: "INSERT INTO t VALUES (0, 2)",
    },
    Trap {
        rule: Rules::UNIQUE_KEYS,
        table: "id INT PRIMARY KEY, k VARCHAR(10) UNIQUE",
        more: &["INSERT INTO t VALUES (7, 'x')"],
        read: "SELECT * FROM t WHERE id = 7",
        write: "REPLACE INTO t VALUES (5, 'x')",
    },
    Trap {
        rule: Rules::PREFIX,
        table: "k VARCHAR(10), v INT, UNIQUE KEY (k(2))",
        more: &["INSERT INTO t VALUES ('abc', 1)"],
        read: "SELECT * FROM t WHERE k = 'abc'",
        write: "REPLACE INTO t VALUES ('abd', 1)",
    },
    Trap {
        rule: Rules::TRIGGERS,
        table: KV,
        more: &["CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW SET NEW.k = 'z'"],
        read: "SELECT * FROM t WHERE k = 'z'",
        write: "INSERT INTO t VALUES ('x', 1)",
    },
    Trap {
        rule: Rules::CASCADES,
        table: "id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES t (id) ON DELETE CASCADE",
        more: &["INSERT INTO t VALUES (1, NULL), (2, 1)"],
        read: "SELECT * FROM t WHERE id = 2",
        write: "DELETE FROM t WHERE id = 1",
    },
    Trap {
        rule: Rules::RANKING,
        table: "id INT PRIMARY KEY, k TEXT, FULLTEXT KEY (k)",
        more: &["INSERT INTO t VALUES (1, 'green apple'), (2, 'green pear'), (3, 'red grape')"],
        read: "SELECT MATCH (k) AGAINST ('green') FROM t WHERE id = 1",
        write: "DELETE FROM t WHERE id = 2",
    },
];

/// Each trap is sprung on a server: the read's answer changes, the analysis knew, and would not have without the rule.
pub(super) fn each_rule_is_needed(flavour: Flavour) -> Result<()> {
    if !flavour.covered()? {
        return Ok(());
    }
    let cluster = one_server(flavour)?;
    let mut root = cluster.primary.connect()?;
    root.query("USE app")?;
    root.query("SET sql_mode = ''")?;
    let mut needed = Rules::empty();
    for Trap { rule, table, more, read, write } in TRAPS {
        root.query("DROP TABLE IF EXISTS t")?;
        root.query(&format!("CREATE TABLE t ({table}) ENGINE=InnoDB"))?;
        for sql in *more {
            root.query(sql)?;
        }
        let judge = Judge::new(snapshot(&cluster, flavour.family())?, flavour.family(), Modes::empty());
        let before = answer(&mut root, read)?;
        let wrote = answer(&mut root, write)?;
        let after = answer(&mut root, read)?;
        ensure!(before != after && wrote.is_ok(), "{write} changed nothing in {read}: {before:?}");
        ensure!(!judge.pair(read, write).independent, "told apart: {read}; {write}");
        let mutant = Rules::all().difference(*rule);
        ensure!(
            judge.pair_under(mutant, read, write).independent,
            "without {rule:?} as before: {read}; {write}"
        );
        needed |= *rule;
    }
    ensure!(needed == Rules::all(), "no trap shows {:?}", Rules::all().difference(needed));
    Ok(())
}
