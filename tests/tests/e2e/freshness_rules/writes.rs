//! What was written, and what it raises: every way in which something can come to be committed.

use anyhow::Result;
use clonelove_testkit::{Family, Flavour};

use super::rule::{RULE, Rule, play, play_all};

const ONE: &[&str] = &["CREATE TABLE one_$ (id INT PRIMARY KEY, v INT NOT NULL DEFAULT 0)"];
const ONE_WITH_A_ROW: &[&str] =
    &["CREATE TABLE one_$ (id INT PRIMARY KEY, v INT NOT NULL DEFAULT 0)", "INSERT INTO one_$ VALUES (1, 0)"];
const TWO: &[&str] = &[
    "CREATE TABLE one_$ (id INT PRIMARY KEY, v INT NOT NULL DEFAULT 0)",
    "CREATE TABLE two_$ (id INT PRIMARY KEY, v INT NOT NULL DEFAULT 0)",
];
const COUNT: &str = "SELECT COUNT(*) FROM one_$";
const COUNT_TWO: &str = "SELECT COUNT(*) FROM two_$";
const VALUE: &str = "SELECT v FROM one_$ WHERE id = 1";

/// A rule with one table, which has no row at first and one afterwards.
const fn inserts(name: &'static str, done: &'static [&'static str]) -> Rule {
    Rule { name, given: ONE, done, read: COUNT, ..RULE }
}

/// A rule with one table, in which one row's value changes.
const fn changes(name: &'static str, done: &'static [&'static str]) -> Rule {
    Rule { name, given: ONE_WITH_A_ROW, done, read: VALUE, ..RULE }
}

const fn mariadb(rule: Rule) -> Rule {
    Rule { only: Some(Family::MariaDb), ..rule }
}

/// All of them, one family of statements after the other.
pub(super) fn hold(flavour: Flavour) -> Result<()> {
    play_all(flavour, "table", &all())
}

/// The one of this name.
pub(super) fn hold_one(flavour: Flavour, name: &str) -> Result<()> {
    play(flavour, "table", &all(), |one| one == name)
}

fn all() -> Vec<Rule> {
    [PLAIN, PARTS, SILENT, TRANSACTIONS, XA, INDIRECT, DEFINITIONS, ACCOUNTS].concat()
}

const PLAIN: &[Rule] = &[
    inserts("INSERT", &["INSERT INTO one_$ VALUES (1, 1)"]),
    inserts("INSERT, schema named", &["INSERT INTO app.one_$ VALUES (1, 1)"]),
    inserts("INSERT from another schema", &["USE test", "INSERT INTO app.one_$ VALUES (1, 1)"]),
    inserts("INSERT … SELECT", &["INSERT INTO one_$ SELECT id, v FROM bystander"]),
    changes("UPDATE", &["UPDATE one_$ SET v = 1 WHERE id = 1"]),
    changes("REPLACE", &["REPLACE INTO one_$ VALUES (1, 1)"]),
    changes("ON DUPLICATE KEY UPDATE", &["INSERT INTO one_$ VALUES (1, 0) ON DUPLICATE KEY UPDATE v = 1"]),
    changes("UPDATE of several tables", &["UPDATE one_$, bystander b SET one_$.v = 1 WHERE one_$.id = b.id"]),
    Rule { before: "1", after: "0", ..changes_count("DELETE", &["DELETE FROM one_$ WHERE id = 1"]) },
    Rule {
        before: "1",
        after: "0",
        ..changes_count("DELETE of several tables", &["DELETE o FROM one_$ o JOIN bystander b USING (id)"])
    },
    Rule { before: "1", after: "0", ..changes_count("TRUNCATE", &["TRUNCATE TABLE one_$"]) },
    changes("a prepared statement", &["PREPARED UPDATE one_$ SET v = 1 WHERE id = 1"]),
    // What its text says is not looked at: it may be anything.
    Rule {
        spares: "",
        ..changes(
            "PREPARE and EXECUTE",
            &["PREPARE s FROM 'UPDATE one_$ SET v = 1 WHERE id = 1'", "EXECUTE s"],
        )
    },
    Rule {
        spares: "",
        ..mariadb(changes("EXECUTE IMMEDIATE", &["EXECUTE IMMEDIATE 'UPDATE one_$ SET v = 1 WHERE id = 1'"]))
    },
    mariadb(changes(
        "SET STATEMENT",
        &["SET STATEMENT sort_buffer_size = 100000 FOR UPDATE one_$ SET v = 1"],
    )),
];

const fn changes_count(name: &'static str, done: &'static [&'static str]) -> Rule {
    Rule { name, given: ONE_WITH_A_ROW, done, read: COUNT, ..RULE }
}

/// Replies of several parts.
const PARTS: &[Rule] = &[
    inserts("several statements, the first writes", &["INSERT INTO one_$ VALUES (1, 1); SELECT 1"]),
    inserts(
        "several statements, the last fails",
        &["!1146 INSERT INTO one_$ VALUES (1, 1); SELECT 1 FROM no"],
    ),
    Rule {
        given: TWO,
        read: COUNT,
        ..inserts(
            "several statements write",
            &["INSERT INTO one_$ VALUES (1, 1); INSERT INTO two_$ VALUES (1, 1)"],
        )
    },
    Rule {
        given: &[
            "CREATE TABLE one_$ (id INT PRIMARY KEY, v INT NOT NULL DEFAULT 0)",
            "CREATE PROCEDURE proc_$() BEGIN INSERT INTO one_$ VALUES (1, 1); SELECT 1; END",
        ],
        ..inserts("CALL that selects", &["CALL proc_$()"])
    },
    // Its last part has nothing to tell, and nothing was affected as far as that says.
    Rule {
        given: &[
            "CREATE TABLE one_$ (id INT PRIMARY KEY, v INT NOT NULL DEFAULT 0)",
            "CREATE PROCEDURE proc_$() BEGIN INSERT INTO one_$ VALUES (1, 1); SELECT 1; \
             UPDATE one_$ SET v = 2 WHERE id = 7; END",
        ],
        ..inserts("CALL that selects and ends with nothing", &["CALL proc_$()"])
    },
    Rule {
        given: &[
            "CREATE TABLE one_$ (id INT PRIMARY KEY, v INT NOT NULL DEFAULT 0)",
            "CREATE TABLE two_$ (id INT PRIMARY KEY, v INT NOT NULL DEFAULT 0)",
            "CREATE PROCEDURE proc_$() BEGIN INSERT INTO one_$ VALUES (1, 1); INSERT INTO two_$ VALUES (1, 1); END",
        ],
        read: COUNT,
        ..inserts("CALL that commits several times", &["CALL proc_$()"])
    },
    Rule {
        only: Some(Family::MariaDb),
        given: &[
            "CREATE TABLE one_$ (id INT PRIMARY KEY, v INT NOT NULL DEFAULT 0)",
            "CREATE TABLE two_$ (id INT PRIMARY KEY, v INT NOT NULL DEFAULT 0)",
            "CREATE PROCEDURE proc_$() BEGIN SET SESSION gtid_domain_id = 7; INSERT INTO one_$ VALUES (1, 1); \
             SET SESSION gtid_domain_id = 0; INSERT INTO two_$ VALUES (1, 1); END",
        ],
        read: COUNT,
        ..inserts("CALL that writes in two domains", &["CALL proc_$()"])
    },
];

/// Replies that tell no position although something was committed.
const SILENT: &[Rule] = &[
    Rule {
        given: &[
            "CREATE TABLE one_$ (id INT PRIMARY KEY, v INT NOT NULL DEFAULT 0)",
            "CREATE PROCEDURE proc_$() BEGIN INSERT INTO one_$ VALUES (1, 1); SIGNAL SQLSTATE '45000'; END",
        ],
        ..inserts("an error after a commit", &["!1644 CALL proc_$()"])
    },
    Rule {
        given: &["CREATE TABLE one_$ (id INT PRIMARY KEY, v INT NOT NULL DEFAULT 0) ENGINE = MyISAM"],
        ..inserts("MyISAM, fails half-way", &["!1062 INSERT INTO one_$ VALUES (1, 1), (1, 1)"])
    },
    Rule {
        given: &["CREATE TABLE one_$ (id INT PRIMARY KEY, v INT NOT NULL DEFAULT 0) ENGINE = Aria"],
        ..mariadb(inserts("Aria, fails half-way", &["!1062 INSERT INTO one_$ VALUES (1, 1), (1, 1)"]))
    },
    mariadb(inserts("INSERT … RETURNING", &["INSERT INTO one_$ VALUES (1, 1) RETURNING id"])),
    mariadb(changes("REPLACE … RETURNING", &["REPLACE INTO one_$ VALUES (1, 1) RETURNING id"])),
    mariadb(Rule {
        before: "1",
        after: "0",
        ..changes_count("DELETE … RETURNING", &["DELETE FROM one_$ WHERE id = 1 RETURNING id"])
    }),
    Rule {
        given: &[
            "CREATE TABLE one_$ (id INT PRIMARY KEY, v INT NOT NULL DEFAULT 0)",
            "CREATE FUNCTION func_$() RETURNS INT MODIFIES SQL DATA \
             BEGIN INSERT INTO one_$ VALUES (1, 1); RETURN 1; END",
        ],
        ..inserts("SELECT of a function that writes", &["SELECT func_$()"])
    },
    Rule {
        given: &[
            "CREATE TABLE one_$ (id INT PRIMARY KEY, v INT NOT NULL DEFAULT 0)",
            "CREATE FUNCTION func_$() RETURNS INT MODIFIES SQL DATA \
             BEGIN INSERT INTO one_$ VALUES (1, 1); RETURN 1; END",
        ],
        ..inserts("DO of a function that writes", &["DO func_$()"])
    },
    Rule {
        given: &["CREATE SEQUENCE seq_$ START WITH 1 NOCACHE"],
        read: "SELECT next_not_cached_value FROM seq_$",
        before: "1",
        after: "2",
        primary_only: true,
        ..mariadb(inserts("NEXTVAL", &["SELECT NEXTVAL(seq_$)"]))
    },
    Rule {
        for_good: true,
        ..inserts(
            "never logged",
            &[
                "SET SESSION sql_log_bin = 0",
                "INSERT INTO one_$ VALUES (1, 1)",
                "SET SESSION sql_log_bin = 1",
            ],
        )
    },
];

/// What a transaction wrote is visible from its end on, however that comes about.
const TRANSACTIONS: &[Rule] = &[
    inserts("COMMIT", &["BEGIN", "INSERT INTO one_$ VALUES (1, 1)", "COMMIT"]),
    Rule {
        given: TWO,
        ..inserts(
            "COMMIT of what several statements wrote",
            &["BEGIN", "INSERT INTO one_$ VALUES (1, 1)", "INSERT INTO two_$ VALUES (1, 1)", "COMMIT"],
        )
    },
    inserts("COMMIT AND CHAIN", &["BEGIN", "INSERT INTO one_$ VALUES (1, 1)", "COMMIT AND CHAIN"]),
    Rule {
        given: TWO,
        read: COUNT_TWO,
        ..inserts(
            "COMMIT after COMMIT AND CHAIN",
            &[
                "BEGIN",
                "INSERT INTO one_$ VALUES (1, 1)",
                "COMMIT AND CHAIN",
                "INSERT INTO two_$ VALUES (1, 1)",
                "COMMIT",
            ],
        )
    },
    inserts("BEGIN in a transaction", &["BEGIN", "INSERT INTO one_$ VALUES (1, 1)", "BEGIN"]),
    Rule {
        given: TWO,
        read: COUNT_TWO,
        ..inserts(
            "COMMIT after BEGIN in a transaction",
            &[
                "BEGIN",
                "INSERT INTO one_$ VALUES (1, 1)",
                "BEGIN",
                "INSERT INTO two_$ VALUES (1, 1)",
                "COMMIT",
            ],
        )
    },
    inserts(
        "a definition in a transaction",
        &["BEGIN", "INSERT INTO one_$ VALUES (1, 1)", "CREATE TABLE new_$ (a INT)"],
    ),
    inserts(
        "LOCK TABLES in a transaction",
        &["BEGIN", "INSERT INTO one_$ VALUES (1, 1)", "LOCK TABLES bystander READ"],
    ),
    inserts(
        "autocommit switched on",
        &["SET autocommit = 0", "INSERT INTO one_$ VALUES (1, 1)", "SET autocommit = 1"],
    ),
    inserts(
        "COMMIT without autocommit",
        &["SET autocommit = 0", "INSERT INTO one_$ VALUES (1, 1)", "COMMIT"],
    ),
    inserts(
        "COMMIT after ROLLBACK TO SAVEPOINT",
        &[
            "BEGIN",
            "INSERT INTO one_$ VALUES (1, 1)",
            "SAVEPOINT s",
            "INSERT INTO one_$ VALUES (2, 1)",
            "ROLLBACK TO SAVEPOINT s",
            "COMMIT",
        ],
    ),
    inserts("COMMIT in one packet with the rest", &["BEGIN; INSERT INTO one_$ VALUES (1, 1); COMMIT"]),
    inserts("prepared, in a transaction", &["BEGIN", "PREPARED INSERT INTO one_$ VALUES (1, 1)", "COMMIT"]),
    Rule {
        only: Some(Family::MariaDb),
        given: &["CREATE TABLE one_$ (id INT PRIMARY KEY, v INT NOT NULL DEFAULT 0) ENGINE = MyISAM"],
        ..inserts("MyISAM in a transaction", &["BEGIN", "INSERT INTO one_$ VALUES (1, 1)"])
    },
    Rule {
        only: Some(Family::MariaDb),
        given: &["CREATE TABLE one_$ (id INT PRIMARY KEY, v INT NOT NULL DEFAULT 0) ENGINE = MyISAM"],
        ..inserts(
            "MyISAM in a transaction that is rolled back",
            &["BEGIN", "INSERT INTO one_$ VALUES (1, 1)", "ROLLBACK"],
        )
    },
    Rule {
        only: Some(Family::MariaDb),
        given: &[
            "CREATE TABLE one_$ (id INT PRIMARY KEY, v INT NOT NULL DEFAULT 0)",
            "CREATE TABLE two_$ (id INT PRIMARY KEY, v INT NOT NULL DEFAULT 0) ENGINE = MyISAM",
        ],
        ..inserts(
            "MyISAM amid a transaction tells a position before COMMIT",
            &["BEGIN", "INSERT INTO one_$ VALUES (1, 1)", "INSERT INTO two_$ VALUES (1, 1)", "COMMIT"],
        )
    },
];

const XA: &[Rule] = &[
    inserts(
        "XA COMMIT",
        &[
            "XA START 'x$'",
            "INSERT INTO one_$ VALUES (1, 1)",
            "XA END 'x$'",
            "XA PREPARE 'x$'",
            "XA COMMIT 'x$'",
        ],
    ),
    inserts(
        "XA COMMIT ONE PHASE",
        &["XA START 'x$'", "INSERT INTO one_$ VALUES (1, 1)", "XA END 'x$'", "XA COMMIT 'x$' ONE PHASE"],
    ),
    // Prepared by somebody of whom the proxy knows nothing: it may have written anything.
    Rule {
        given: &[
            "CREATE TABLE one_$ (id INT PRIMARY KEY, v INT NOT NULL DEFAULT 0)",
            "XA START 'u$'",
            "INSERT INTO one_$ VALUES (1, 1)",
            "XA END 'u$'",
            "XA PREPARE 'u$'",
        ],
        spares: "",
        ..inserts("XA COMMIT of what is not known", &["XA COMMIT 'u$'"])
    },
];

/// Tables that a statement writes without naming them.
const INDIRECT: &[Rule] = &[
    Rule {
        given: &[
            "CREATE TABLE one_$ (id INT PRIMARY KEY, v INT NOT NULL DEFAULT 0)",
            "CREATE TABLE two_$ (id INT PRIMARY KEY, v INT NOT NULL DEFAULT 0)",
            "CREATE TRIGGER trig_$ AFTER INSERT ON two_$ FOR EACH ROW INSERT INTO one_$ VALUES (NEW.id, 1)",
        ],
        ..inserts("a trigger", &["INSERT INTO two_$ VALUES (1, 1)"])
    },
    Rule {
        given: &[
            "CREATE TABLE two_$ (id INT PRIMARY KEY) ENGINE = InnoDB",
            "CREATE TABLE one_$ (id INT PRIMARY KEY, FOREIGN KEY (id) REFERENCES two_$ (id) ON DELETE CASCADE)",
            "INSERT INTO two_$ VALUES (1)",
            "INSERT INTO one_$ VALUES (1)",
        ],
        before: "1",
        after: "0",
        ..inserts("a cascade", &["DELETE FROM two_$ WHERE id = 1"])
    },
    Rule {
        given: &[
            "CREATE TABLE three_$ (id INT PRIMARY KEY) ENGINE = InnoDB",
            "CREATE TABLE two_$ (id INT PRIMARY KEY, FOREIGN KEY (id) REFERENCES three_$ (id) ON DELETE CASCADE)",
            "CREATE TABLE one_$ (id INT PRIMARY KEY, FOREIGN KEY (id) REFERENCES two_$ (id) ON DELETE CASCADE)",
            "INSERT INTO three_$ VALUES (1)",
            "INSERT INTO two_$ VALUES (1)",
            "INSERT INTO one_$ VALUES (1)",
        ],
        before: "1",
        after: "0",
        ..inserts("a cascade of a cascade", &["DELETE FROM three_$ WHERE id = 1"])
    },
    Rule {
        given: &[
            "CREATE TABLE one_$ (id INT PRIMARY KEY, v INT NOT NULL DEFAULT 0)",
            "CREATE VIEW view_$ AS SELECT id, v FROM one_$",
        ],
        ..inserts("a write through a view", &["INSERT INTO view_$ VALUES (1, 1)"])
    },
    Rule {
        given: &[
            "CREATE TABLE one_$ (id INT PRIMARY KEY, v INT NOT NULL DEFAULT 0)",
            "CREATE VIEW inner_$ AS SELECT id, v FROM one_$",
            "CREATE VIEW view_$ AS SELECT id, v FROM inner_$",
        ],
        read: "SELECT COUNT(*) FROM view_$",
        ..inserts("a read through views", &["INSERT INTO one_$ VALUES (1, 1)"])
    },
    Rule {
        given: &[
            "CREATE TABLE one_$ (id INT PRIMARY KEY, v INT NOT NULL DEFAULT 0)",
            "CREATE FUNCTION func_$() RETURNS INT READS SQL DATA RETURN (SELECT COUNT(*) FROM one_$)",
        ],
        read: "SELECT func_$()",
        ..inserts("a read by a function", &["INSERT INTO one_$ VALUES (1, 1)"])
    },
    Rule {
        given: &[
            "CREATE TABLE one_$ (id INT PRIMARY KEY, v INT NOT NULL DEFAULT 0)",
            "CREATE FUNCTION func_$() RETURNS INT MODIFIES SQL DATA \
             BEGIN INSERT INTO one_$ VALUES (1, 1); RETURN 1; END",
            "CREATE TABLE two_$ (id INT PRIMARY KEY, v INT NOT NULL DEFAULT 0)",
        ],
        ..inserts("a function within a write", &["INSERT INTO two_$ VALUES (1, func_$())"])
    },
    // The trigger came after the schema was last looked at.
    Rule {
        given: TWO,
        spares: "",
        ..inserts(
            "a trigger that is just made",
            &[
                "CREATE TRIGGER trig_$ AFTER INSERT ON two_$ FOR EACH ROW INSERT INTO one_$ VALUES (NEW.id, 1)",
                "INSERT INTO two_$ VALUES (1, 1)",
            ],
        )
    },
];

/// Definitions are data, too.
const DEFINITIONS: &[Rule] = &[
    Rule {
        given: &[],
        read: "SELECT COUNT(*) FROM new_$",
        before: "error 1146",
        after: "0",
        ..inserts("CREATE TABLE", &["CREATE TABLE new_$ (id INT PRIMARY KEY)"])
    },
    Rule {
        read: "SELECT c FROM one_$",
        before: "error 1054",
        after: "5",
        ..changes("ALTER TABLE", &["ALTER TABLE one_$ ADD COLUMN c INT NOT NULL DEFAULT 5"])
    },
    Rule { after: "error 1146", ..changes("DROP TABLE", &["DROP TABLE one_$"]) },
    Rule { after: "error 1146", ..changes("RENAME TABLE", &["RENAME TABLE one_$ TO renamed_$"]) },
    Rule {
        given: &[
            "CREATE TABLE one_$ (id INT PRIMARY KEY, v INT NOT NULL)",
            "CREATE TABLE two_$ (id INT PRIMARY KEY, v INT NOT NULL)",
            "INSERT INTO one_$ VALUES (1, 0)",
            "INSERT INTO two_$ VALUES (1, 1)",
        ],
        // A name that stands for something else may stand for a view, and reading one may write.
        spares: "",
        ..changes("tables change names", &["RENAME TABLE one_$ TO old_$, two_$ TO one_$"])
    },
    Rule {
        given: &["CREATE DEFINER = app@'%' VIEW view_$ AS SELECT 0 FROM bystander"],
        read: "SELECT * FROM view_$",
        spares: "",
        ..inserts("ALTER VIEW", &["ALTER VIEW view_$ AS SELECT 1 FROM bystander"])
    },
    Rule {
        given: &["CREATE DEFINER = app@'%' FUNCTION func_$() RETURNS INT DETERMINISTIC NO SQL RETURN 0"],
        read: "SELECT func_$() FROM bystander",
        spares: "",
        ..inserts(
            "a function made anew",
            &["DROP FUNCTION func_$", "CREATE FUNCTION func_$() RETURNS INT DETERMINISTIC NO SQL RETURN 1"],
        )
    },
    Rule {
        given: &[],
        read: "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'app' AND table_name = 'seen_$'",
        spares: "",
        ..inserts("information_schema", &["CREATE TABLE seen_$ (id INT PRIMARY KEY)"])
    },
    Rule {
        given: &[],
        read: "SELECT id FROM from_$",
        before: "error 1146",
        after: "1",
        ..inserts("CREATE TABLE … SELECT", &["CREATE TABLE from_$ AS SELECT id FROM bystander"])
    },
];

/// Every read needs to know who may.
const ACCOUNTS: &[Rule] = &[Rule {
    name: "REVOKE",
    given: &[
        "CREATE TABLE test.secret_$ (v INT)",
        "INSERT INTO test.secret_$ VALUES (0)",
        "CREATE SCHEMA own_$",
        "CREATE TABLE own_$.secret (v INT)",
        "INSERT INTO own_$.secret VALUES (0)",
        "GRANT SELECT ON own_$.* TO app@'%' WITH GRANT OPTION",
    ],
    done: &["REVOKE SELECT ON own_$.* FROM app@'%'"],
    read: "SELECT v FROM own_$.secret",
    before: "0",
    after: "error 1142",
    spares: "",
    only: None,
    primary_only: false,
    for_good: false,
}];
