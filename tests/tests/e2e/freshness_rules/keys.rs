//! Writes to keys: who reads the key must see them, who reads another key of the table may read on a replica.

use anyhow::Result;
use clonelove_testkit::{Family, Flavour};

use super::rule::{RULE, Rule, play_all};

const NUMBERED: &[&str] = &[
    "CREATE TABLE one_$ (id INT PRIMARY KEY, v INT NOT NULL, KEY (v))",
    "INSERT INTO one_$ VALUES (1, 0), (2, 0), (3, 0)",
];
const NAMED: &[&str] = &[
    "CREATE TABLE one_$ (name VARCHAR(20) PRIMARY KEY, v INT NOT NULL)",
    "INSERT INTO one_$ VALUES ('a', 0), ('b', 0), ('c', 0)",
];

const fn numbered(name: &'static str, done: &'static [&'static str]) -> Rule {
    Rule {
        name,
        given: NUMBERED,
        done,
        read: "SELECT v FROM one_$ WHERE id = 1",
        spares: "SELECT v FROM one_$ WHERE id = 2",
        ..RULE
    }
}

const fn named(name: &'static str, done: &'static [&'static str]) -> Rule {
    Rule {
        name,
        given: NAMED,
        done,
        read: "SELECT v FROM one_$ WHERE name = 'a'",
        spares: "SELECT v FROM one_$ WHERE name = 'b'",
        ..RULE
    }
}

/// Of this one nothing is said about other keys; but other tables stay on the replica.
const fn table(rule: Rule) -> Rule {
    Rule { spares: RULE.spares, ..rule }
}

/// All of them.
pub(super) fn hold(flavour: Flavour) -> Result<()> {
    play_all(flavour, "key", &[BY_KEY, WIDER, TRAPS].concat())
}

/// What is bounded by a key, on both sides.
const BY_KEY: &[Rule] = &[
    numbered("UPDATE of a key", &["UPDATE one_$ SET v = 1 WHERE id = 1"]),
    numbered("UPDATE of some keys", &["UPDATE one_$ SET v = 1 WHERE id IN (1, 3)"]),
    numbered("UPDATE of a key and more", &["UPDATE one_$ SET v = 1 WHERE v = 0 AND id = 1"]),
    numbered("REPLACE of a key", &["REPLACE INTO one_$ (id, v) VALUES (1, 1)"]),
    numbered(
        "ON DUPLICATE KEY UPDATE of a key",
        &["INSERT INTO one_$ VALUES (1, 9) ON DUPLICATE KEY UPDATE v = 1"],
    ),
    numbered("a key in a transaction", &["BEGIN", "UPDATE one_$ SET v = 1 WHERE id = 1", "COMMIT"]),
    Rule { after: "nothing", ..numbered("DELETE of a key", &["DELETE FROM one_$ WHERE id = 1"]) },
    Rule {
        read: "SELECT v FROM one_$ WHERE id = 4",
        before: "nothing",
        ..numbered("INSERT of a key", &["INSERT INTO one_$ (id, v) VALUES (4, 1)"])
    },
    Rule {
        read: "SELECT MAX(v) FROM one_$ WHERE id IN (3, 1)",
        ..numbered("a read of some keys", &["UPDATE one_$ SET v = 1 WHERE id = 1"])
    },
    named("UPDATE of a name", &["UPDATE one_$ SET v = 1 WHERE name = 'a'"]),
    named("UPDATE of a name, otherwise written", &["UPDATE one_$ SET v = 1 WHERE name = 'A'"]),
    // MySQL's usual collation does not pad.
    Rule {
        only: Some(Family::MariaDb),
        ..named("UPDATE of a name with spaces", &["UPDATE one_$ SET v = 1 WHERE name = 'A  '"])
    },
    named(
        "ON DUPLICATE KEY UPDATE of a name",
        &["INSERT INTO one_$ (name, v) VALUES ('A', 1) ON DUPLICATE KEY UPDATE v = VALUES(v)"],
    ),
    Rule {
        read: "SELECT v FROM one_$ WHERE name = 'A'",
        ..named("a name read otherwise", &["UPDATE one_$ SET v = 1 WHERE name IN ('a')"])
    },
];

/// What is written to a key is read without one, or the other way about.
const WIDER: &[Rule] = &[
    table(Rule {
        read: "SELECT SUM(v) FROM one_$",
        ..numbered("a read of all", &["UPDATE one_$ SET v = 1 WHERE id = 1"])
    }),
    table(Rule {
        read: "SELECT MAX(v) FROM one_$ WHERE id BETWEEN 1 AND 2",
        ..numbered("a read of a range", &["UPDATE one_$ SET v = 1 WHERE id = 1"])
    }),
    table(Rule {
        read: "SELECT o.v FROM one_$ o JOIN bystander b ON b.id = o.id WHERE b.id = 1",
        ..numbered("a join", &["UPDATE one_$ SET v = 1 WHERE id = 1"])
    }),
    table(numbered("UPDATE of all", &["UPDATE one_$ SET v = 1"])),
    table(numbered("UPDATE of a range", &["UPDATE one_$ SET v = 1 WHERE id < 3"])),
    table(numbered("UPDATE by another column", &["UPDATE one_$ SET v = 1 WHERE v = 0"])),
    table(numbered("UPDATE by two keys", &["UPDATE one_$ SET v = 1 WHERE id = 2 OR id = 1"])),
    table(Rule {
        read: "SELECT COUNT(*) FROM one_$ WHERE id = 9",
        ..numbered("UPDATE of the key itself", &["UPDATE one_$ SET id = 9 WHERE id = 1"])
    }),
    table(numbered(
        "INSERT … SELECT",
        &["INSERT INTO one_$ SELECT id, 1 FROM bystander ON DUPLICATE KEY UPDATE v = 1"],
    )),
    table(numbered(
        "UPDATE of several tables",
        &["UPDATE one_$ o JOIN bystander b USING (id) SET o.v = 1 WHERE b.id = 1"],
    )),
    table(Rule {
        given: &[
            "CREATE TABLE one_$ (id INT PRIMARY KEY, v INT NOT NULL)",
            "INSERT INTO one_$ VALUES (1, 0), (2, 0)",
            "CREATE TABLE two_$ (id INT PRIMARY KEY)",
            "CREATE TRIGGER trig_$ AFTER INSERT ON two_$ FOR EACH ROW UPDATE one_$ SET v = 1 WHERE id = 1",
        ],
        ..numbered("a trigger of another table", &["INSERT INTO two_$ VALUES (2)"])
    }),
];

/// What looks like a key and is none. Each gave a row that a glance would have excluded.
const TRAPS: &[Rule] = &[
    table(Rule {
        read: "SELECT v FROM one_$ WHERE name = 'b' = 0 AND name < 'b'",
        ..named("a comparison compared", &["UPDATE one_$ SET v = 1 WHERE name = 'a'"])
    }),
    table(Rule {
        read: "SELECT v FROM one_$ WHERE NOT name = 'b' AND name < 'c'",
        ..named("NOT", &["UPDATE one_$ SET v = 1 WHERE name = 'a'"])
    }),
    table(Rule {
        read: "SELECT MAX(v) FROM one_$ WHERE name = 'b' OR v = 1",
        ..named("OR", &["UPDATE one_$ SET v = 1 WHERE name = 'a'"])
    }),
    table(Rule {
        read: "SELECT MAX(v) FROM one_$ WHERE name IN ('b') = 0",
        ..named("IN compared", &["UPDATE one_$ SET v = 1 WHERE name = 'a'"])
    }),
    table(Rule {
        read: "SELECT MAX(v) FROM one_$ WHERE v BETWEEN 0 AND id = 1",
        ..numbered("BETWEEN … AND", &["UPDATE one_$ SET v = 1 WHERE id = 3"])
    }),
    table(Rule {
        read: "SELECT (SELECT v FROM one_$ WHERE id = 1) FROM one_$ WHERE id = 2",
        ..numbered("a sub-select on the same table", &["UPDATE one_$ SET v = 1 WHERE id = 1"])
    }),
    table(numbered("a number in quotes with more", &["UPDATE IGNORE one_$ SET v = 1 WHERE id = '1'"])),
    table(Rule {
        given: &[
            "CREATE TABLE one_$ (id INT PRIMARY KEY, v INT NOT NULL, u INT NOT NULL, UNIQUE (u))",
            "INSERT INTO one_$ VALUES (1, 0, 11), (2, 0, 12)",
        ],
        // It is row 1 that has the 11.
        ..numbered(
            "another unique key decides",
            &["INSERT INTO one_$ VALUES (7, 0, 11) ON DUPLICATE KEY UPDATE v = 1"],
        )
    }),
    table(Rule {
        given: &[
            "CREATE TABLE one_$ (id INT PRIMARY KEY, v INT NOT NULL, u INT NOT NULL, UNIQUE (u))",
            "INSERT INTO one_$ VALUES (1, 0, 11), (2, 0, 12)",
        ],
        after: "nothing",
        ..numbered("REPLACE by another unique key", &["REPLACE INTO one_$ VALUES (7, 0, 11)"])
    }),
    table(Rule {
        given: &[
            "CREATE TABLE one_$ (id INT PRIMARY KEY, v INT NOT NULL, up INT, \
             FOREIGN KEY (up) REFERENCES one_$ (id) ON DELETE CASCADE) ENGINE = InnoDB",
            "INSERT INTO one_$ VALUES (3, 0, NULL), (1, 0, 3)",
        ],
        after: "nothing",
        ..numbered("a table that refers to itself", &["DELETE FROM one_$ WHERE id = 3"])
    }),
    table(Rule {
        given: &[
            "CREATE TABLE one_$ (name VARCHAR(3) PRIMARY KEY, v INT NOT NULL)",
            "INSERT INTO one_$ VALUES ('abc', 0), ('b', 0)",
        ],
        read: "SELECT v FROM one_$ WHERE name = 'abc'",
        ..named(
            "a literal that is cut",
            &["SET sql_mode = ''", "INSERT INTO one_$ VALUES ('abcdef', 1) ON DUPLICATE KEY UPDATE v = 1"],
        )
    }),
    table(Rule {
        given: &[
            "CREATE TABLE one_$ (id INT PRIMARY KEY, v INT NOT NULL)",
            "INSERT INTO one_$ VALUES (2, 0), (5, 0)",
        ],
        read: "SELECT v FROM one_$ WHERE id = 2",
        ..numbered(
            "a fraction is rounded",
            &["INSERT INTO one_$ VALUES (1.5, 1) ON DUPLICATE KEY UPDATE v = 1"],
        )
    }),
];
