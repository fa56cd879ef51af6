//! What is written and read: tables, the ways in which versions get into them, and the reads that show them.
//!
//! In the texts `$t` is the number of a table among its like, `$k` a row, `$l` one at or after it, `$n` the version
//! that is written, `$u` one that is taken back, `$x` a number that nobody else has.

use clonelove_testkit::Family;

use super::judge::Becomes;

/// A family of tables.
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    /// Only servers of this family have it.
    pub(crate) only: Option<Family>,
    /// How many tables there are of the kind.
    pub(crate) tables: usize,
    /// How many rows each has.
    pub(crate) rows: usize,
    /// Made once for each table, as root.
    pub(crate) setup: &'static [&'static str],
    /// Made once for each row, as root; without it the rows are not there at first.
    pub(crate) first: &'static [&'static str],
    pub(crate) writes: &'static [Writing],
    pub(crate) reads: &'static [Reading],
    /// How often it is written, among the others.
    pub(crate) weight: usize,
}

/// Whether a way of writing needs the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    Any,
    Present,
    Absent,
}

/// A way of writing a version.
pub(crate) struct Writing {
    pub(crate) when: When,
    pub(crate) becomes: Becomes,
    /// Statements; [`ACKNOWLEDGED`] stands after the one whose answer promises the version.
    pub(crate) steps: &'static [&'static str],
    /// The error that the last statement before [`ACKNOWLEDGED`] must come to; the version is written all the same.
    pub(crate) fails_with: Option<u16>,
    /// Only servers of this family can.
    pub(crate) only: Option<Family>,
}

/// See [`Writing::steps`].
pub(crate) const ACKNOWLEDGED: &str = "!";

/// In [`Writing::steps`]: what follows is said over another connection.
pub(crate) const ELSEWHERE: &str = "elsewhere";

/// Which connection to the primary this one has: what goes on [`ELSEWHERE`] waits until that one is gone.
pub(crate) const WHICH: &str = "SELECT thread FROM which";

/// What a read's rows say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sees {
    /// The row `$k`: its number and its version.
    Row,
    /// The rows `$k` and `$l`.
    Ends,
    /// The rows from `$k` to `$l`.
    Range,
    /// All rows of the table.
    Whole,
    /// The sum of all versions of the table.
    Sum,
    /// The row `$k`: its number, and its version in two tables.
    Pair,
}

/// A way of reading.
pub(crate) struct Reading {
    pub(crate) sql: &'static str,
    pub(crate) sees: Sees,
    /// Which of the subject's tables it shows.
    pub(crate) place: u8,
    /// The error that says that there is no table, and so no row.
    pub(crate) no_table: Option<u16>,
}

const fn by(steps: &'static [&'static str]) -> Writing {
    Writing { when: When::Any, becomes: Becomes::Kept, steps, fails_with: None, only: None }
}

const fn mariadb(steps: &'static [&'static str]) -> Writing {
    Writing { only: Some(Family::MariaDb), ..by(steps) }
}

const fn when(when: When, becomes: Becomes, steps: &'static [&'static str]) -> Writing {
    Writing { when, becomes, ..by(steps) }
}

const fn undone(steps: &'static [&'static str]) -> Writing {
    Writing { becomes: Becomes::Undone, ..by(steps) }
}

const fn failing(code: u16, steps: &'static [&'static str]) -> Writing {
    Writing { fails_with: Some(code), ..by(steps) }
}

const fn row(place: u8, sql: &'static str) -> Reading {
    sees(Sees::Row, place, sql)
}

const fn sees(sees: Sees, place: u8, sql: &'static str) -> Reading {
    Reading { sql, sees, place, no_table: None }
}

/// A subject to begin from.
const PLAIN: Subject = Subject {
    name: "",
    only: None,
    tables: 1,
    rows: 16,
    setup: &[],
    first: &[],
    writes: &[],
    reads: &[],
    weight: 8,
};

/// All of them, the hottest first.
pub(crate) const SUBJECTS: &[Subject] = &[
    ROWS,
    NAMES,
    PAIRS,
    PROCEDURES,
    FUNCTIONS,
    TRIGGERS,
    CASCADES,
    NON_TRANSACTIONAL,
    ARIA,
    RETURNING,
    XA,
    DOMAINS,
    COPIES,
    LOADED,
    SEQUENCES,
    ALTERED,
    SWAPPED,
    COMING_AND_GOING,
    EMPTIED,
];

const ROWS: Subject = Subject {
    name: "rows",
    tables: 12,
    rows: 32,
    weight: 30,
    setup: &[
        "CREATE TABLE app.rows_$t (id INT PRIMARY KEY, v BIGINT NOT NULL)",
        "CREATE VIEW app.view_$t AS SELECT id, v FROM app.rows_$t",
    ],
    first: &["INSERT INTO app.rows_$t VALUES ($k, 0)"],
    writes: &[
        by(&["UPDATE rows_$t SET v = $n WHERE id = $k", "!"]),
        by(&["UPDATE rows_$t SET v = $n WHERE id = $k; SELECT 1", "!"]),
        by(&["UPDATE view_$t SET v = $n WHERE id = $k", "!"]),
        by(&["REPLACE INTO rows_$t (id, v) VALUES ($k, $n)", "!"]),
        by(&["INSERT INTO rows_$t (id, v) VALUES ($k, $n) ON DUPLICATE KEY UPDATE v = $n", "!"]),
        by(&[
            "SET autocommit = 0",
            "UPDATE rows_$t SET v = $n WHERE id = $k",
            "COMMIT",
            "!",
            "SET autocommit = 1",
        ]),
        by(&["SET autocommit = 0", "UPDATE rows_$t SET v = $n WHERE id = $k", "SET autocommit = 1", "!"]),
        by(&["UPDATE rows_$t SET v = $n WHERE id BETWEEN $k AND $k", "!"]),
        by(&[
            "PREPARE written FROM 'UPDATE rows_$t SET v = ? WHERE id = ?'",
            "SET @version = $n, @row = $k",
            "EXECUTE written USING @version, @row",
            "!",
            "DEALLOCATE PREPARE written",
        ]),
        mariadb(&["EXECUTE IMMEDIATE 'UPDATE rows_$t SET v = $n WHERE id = $k'", "!"]),
        mariadb(&["SET STATEMENT max_statement_time = 60 FOR UPDATE rows_$t SET v = $n WHERE id = $k", "!"]),
        undone(&["BEGIN", "UPDATE rows_$t SET v = $u WHERE id = $k", "ROLLBACK", "!"]),
    ],
    reads: &[
        row(0, "SELECT id, v FROM rows_$t WHERE id = $k"),
        row(0, "SELECT id, v FROM rows_$t WHERE id = $k"),
        row(0, "SELECT id, v FROM view_$t WHERE id = $k"),
        sees(Sees::Ends, 0, "SELECT id, v FROM rows_$t WHERE id IN ($k, $l)"),
        sees(Sees::Range, 0, "SELECT id, v FROM rows_$t WHERE id BETWEEN $k AND $l ORDER BY id"),
        sees(Sees::Whole, 0, "SELECT id, v FROM rows_$t"),
        sees(Sees::Sum, 0, "SELECT SUM(v) FROM rows_$t"),
    ],
    ..PLAIN
};

const NAMES: Subject = Subject {
    name: "names",
    tables: 12,
    rows: 32,
    weight: 30,
    setup: &["CREATE TABLE app.names_$t (name VARCHAR(40) PRIMARY KEY, id INT NOT NULL, v BIGINT NOT NULL)"],
    first: &["INSERT INTO app.names_$t VALUES ('name:$k', $k, 0)"],
    writes: &[
        by(&["INSERT INTO names_$t VALUES ('name:$k', $k, $n) ON DUPLICATE KEY UPDATE v = VALUES(v)", "!"]),
        by(&["REPLACE INTO names_$t VALUES ('NAME:$k', $k, $n)", "!"]),
        when(When::Present, Becomes::Kept, &["UPDATE names_$t SET v = '$n' WHERE name = 'name:$k'", "!"]),
        when(When::Present, Becomes::Gone, &["DELETE FROM names_$t WHERE name IN ('name:$k')", "!"]),
        when(
            When::Present,
            Becomes::Gone,
            &["DELETE n FROM names_$t n JOIN rows_0 r ON r.id = n.id WHERE n.name = 'name:$k'", "!"],
        ),
        when(
            When::Absent,
            Becomes::Kept,
            &["INSERT INTO names_$t (name, id, v) VALUES ('name:$k', $k, $n)", "!"],
        ),
    ],
    reads: &[
        row(0, "SELECT id, v FROM names_$t WHERE name = 'name:$k'"),
        row(0, "SELECT `id`, v FROM names_$t WHERE name IN ('Name:$k')"),
        sees(Sees::Ends, 0, "SELECT id, v FROM names_$t WHERE name IN ('name:$k', 'name:$l') ORDER BY name"),
        sees(Sees::Whole, 0, "SELECT id, v FROM names_$t WHERE name LIKE 'name:%'"),
    ],
    ..PLAIN
};

const PAIRS: Subject = Subject {
    name: "pairs",
    tables: 3,
    weight: 20,
    setup: &[
        "CREATE TABLE app.pair_$t (id INT PRIMARY KEY, v BIGINT NOT NULL)",
        "CREATE TABLE app.twin_$t (id INT PRIMARY KEY, v BIGINT NOT NULL)",
    ],
    first: &["INSERT INTO app.pair_$t VALUES ($k, 0)", "INSERT INTO app.twin_$t VALUES ($k, 0)"],
    writes: &[
        by(&[
            "START TRANSACTION",
            "UPDATE pair_$t SET v = $n WHERE id = $k",
            "UPDATE twin_$t SET v = $n WHERE id = $k",
            "COMMIT",
            "!",
        ]),
        by(&[
            "BEGIN",
            "UPDATE pair_$t SET v = $n WHERE id = $k",
            "UPDATE twin_$t SET v = $n WHERE id = $k",
            "COMMIT AND CHAIN",
            "!",
            "ROLLBACK",
        ]),
        by(&[
            "BEGIN",
            "UPDATE pair_$t SET v = $n WHERE id = $k",
            "UPDATE twin_$t SET v = $n WHERE id = $k",
            "START TRANSACTION",
            "!",
            "COMMIT",
        ]),
        by(&["UPDATE pair_$t p JOIN twin_$t t ON t.id = p.id SET p.v = $n, t.v = $n WHERE p.id = $k", "!"]),
        by(&[
            "START TRANSACTION; UPDATE pair_$t SET v = $n WHERE id = $k; \
             UPDATE twin_$t SET v = $n WHERE id = $k; COMMIT",
            "!",
        ]),
        undone(&[
            "START TRANSACTION",
            "UPDATE pair_$t SET v = $u WHERE id = $k",
            "UPDATE twin_$t SET v = $u WHERE id = $k",
            "ROLLBACK",
            "!",
        ]),
        by(&[
            "START TRANSACTION",
            "UPDATE pair_$t SET v = $n WHERE id = $k",
            "SAVEPOINT here",
            "UPDATE twin_$t SET v = $u WHERE id = $k",
            "ROLLBACK TO SAVEPOINT here",
            "UPDATE twin_$t SET v = $n WHERE id = $k",
            "COMMIT",
            "!",
        ]),
    ],
    reads: &[
        row(0, "SELECT id, v FROM pair_$t WHERE id = $k"),
        row(1, "SELECT id, v FROM twin_$t WHERE id = $k"),
        sees(
            Sees::Pair,
            0,
            "SELECT p.id, p.v, t.v FROM pair_$t p JOIN twin_$t t ON t.id = p.id WHERE p.id = $k",
        ),
        sees(Sees::Pair, 0, "SELECT id, v, (SELECT v FROM twin_$t WHERE id = $k) FROM pair_$t WHERE id = $k"),
        sees(Sees::Whole, 1, "SELECT id, v FROM twin_$t WHERE id IN (SELECT id FROM pair_$t)"),
    ],
    ..PLAIN
};

const PROCEDURES: Subject = Subject {
    name: "procedures",
    setup: &[
        "CREATE TABLE app.proc_a (id INT PRIMARY KEY, v BIGINT NOT NULL)",
        "CREATE TABLE app.proc_b (id INT PRIMARY KEY, v BIGINT NOT NULL)",
        "CREATE PROCEDURE app.twice(k INT, n BIGINT) BEGIN \
         UPDATE app.proc_a SET v = n WHERE id = k; UPDATE app.proc_b SET v = n WHERE id = k; END",
        "CREATE PROCEDURE app.fails(k INT, n BIGINT) BEGIN \
         UPDATE app.proc_a SET v = n WHERE id = k; UPDATE app.proc_b SET v = n WHERE id = k; \
         SIGNAL SQLSTATE '45000'; END",
        "CREATE PROCEDURE app.shows(k INT, n BIGINT) BEGIN \
         UPDATE app.proc_a SET v = n WHERE id = k; UPDATE app.proc_b SET v = n WHERE id = k; \
         SELECT k; END",
        "CREATE PROCEDURE app.commits(k INT, n BIGINT) BEGIN \
         START TRANSACTION; UPDATE app.proc_a SET v = n WHERE id = k; COMMIT; \
         START TRANSACTION; UPDATE app.proc_b SET v = n WHERE id = k; COMMIT; END",
    ],
    first: &["INSERT INTO app.proc_a VALUES ($k, 0)", "INSERT INTO app.proc_b VALUES ($k, 0)"],
    writes: &[
        by(&["CALL twice($k, $n)", "!"]),
        by(&["CALL shows($k, $n)", "!"]),
        by(&["CALL commits($k, $n)", "!"]),
        failing(1644, &["CALL fails($k, $n)", "!"]),
    ],
    reads: &[
        row(0, "SELECT id, v FROM proc_a WHERE id = $k"),
        row(1, "SELECT id, v FROM proc_b WHERE id = $k"),
        sees(Sees::Sum, 0, "SELECT SUM(v) FROM proc_b"),
    ],
    ..PLAIN
};

const FUNCTIONS: Subject = Subject {
    name: "functions",
    setup: &[
        "CREATE TABLE app.func (id INT PRIMARY KEY, v BIGINT NOT NULL)",
        "CREATE FUNCTION app.bump(k INT, n BIGINT) RETURNS INT MODIFIES SQL DATA BEGIN \
         UPDATE app.func SET v = n WHERE id = k; RETURN 1; END",
    ],
    first: &["INSERT INTO app.func VALUES ($k, 0)"],
    writes: &[by(&["SELECT bump($k, $n)", "!"]), by(&["DO bump($k, $n)", "!"])],
    reads: &[
        row(0, "SELECT id, v FROM func WHERE id = $k"),
        sees(Sees::Whole, 0, "SELECT id, v FROM func ORDER BY id DESC"),
    ],
    ..PLAIN
};

const TRIGGERS: Subject = Subject {
    name: "triggers",
    setup: &[
        "CREATE TABLE app.trig (id INT PRIMARY KEY, v BIGINT NOT NULL)",
        "CREATE TABLE app.trig_log (id INT PRIMARY KEY, v BIGINT NOT NULL)",
        "CREATE TRIGGER app.trig_update AFTER UPDATE ON app.trig FOR EACH ROW \
         UPDATE app.trig_log SET v = NEW.v WHERE id = NEW.id",
    ],
    first: &["INSERT INTO app.trig VALUES ($k, 0)", "INSERT INTO app.trig_log VALUES ($k, 0)"],
    writes: &[by(&["UPDATE trig SET v = $n WHERE id = $k", "!"])],
    reads: &[
        row(0, "SELECT id, v FROM trig WHERE id = $k"),
        row(1, "SELECT id, v FROM trig_log WHERE id = $k"),
        sees(Sees::Pair, 0, "SELECT t.id, t.v, l.v FROM trig t, trig_log l WHERE t.id = $k AND l.id = $k"),
    ],
    ..PLAIN
};

const CASCADES: Subject = Subject {
    name: "cascades",
    setup: &[
        "CREATE TABLE app.parent (id INT PRIMARY KEY, v BIGINT NOT NULL, UNIQUE (id, v)) ENGINE = InnoDB",
        "CREATE TABLE app.child (id INT PRIMARY KEY, v BIGINT NOT NULL, \
         FOREIGN KEY (id, v) REFERENCES app.parent (id, v) ON UPDATE CASCADE ON DELETE CASCADE) ENGINE = InnoDB",
    ],
    first: &["INSERT INTO app.parent VALUES ($k, 0)", "INSERT INTO app.child VALUES ($k, 0)"],
    writes: &[
        when(When::Present, Becomes::Kept, &["UPDATE parent SET v = $n WHERE id = $k", "!"]),
        when(When::Present, Becomes::Gone, &["DELETE FROM parent WHERE id = $k", "!"]),
        when(
            When::Absent,
            Becomes::Kept,
            &[
                "BEGIN",
                "INSERT INTO parent VALUES ($k, $n)",
                "INSERT INTO child VALUES ($k, $n)",
                "COMMIT",
                "!",
            ],
        ),
    ],
    reads: &[
        row(1, "SELECT id, v FROM child WHERE id = $k"),
        row(1, "SELECT id, v FROM child WHERE id = $k"),
        row(0, "SELECT id, v FROM parent WHERE id = $k"),
        sees(Sees::Whole, 1, "SELECT c.id, c.v FROM parent p JOIN child c ON c.id = p.id"),
    ],
    ..PLAIN
};

const NON_TRANSACTIONAL: Subject = Subject {
    name: "non-transactional",
    setup: &[
        "CREATE TABLE app.legacy (id INT NOT NULL, v BIGINT NOT NULL, PRIMARY KEY (id, v)) ENGINE = MyISAM",
    ],
    first: &["INSERT INTO app.legacy VALUES ($k, 0)"],
    writes: &[
        by(&["INSERT INTO legacy VALUES ($k, $n)", "!"]),
        by(&["UPDATE legacy SET v = $n WHERE id = $k ORDER BY v DESC LIMIT 1", "!"]),
        failing(1062, &["INSERT INTO legacy VALUES ($k, $n), ($k, $n)", "!"]),
        mariadb(&["START TRANSACTION", "INSERT INTO legacy VALUES ($k, $n)", "!", "ROLLBACK"]),
        mariadb(&[
            "START TRANSACTION",
            "UPDATE rows_0 SET v = v WHERE id = $k",
            "INSERT INTO legacy VALUES ($k, $n)",
            "COMMIT",
            "!",
        ]),
    ],
    reads: &[
        row(0, "SELECT $k, MAX(v) FROM legacy WHERE id = $k"),
        sees(Sees::Whole, 0, "SELECT id, MAX(v) FROM legacy GROUP BY id"),
    ],
    ..PLAIN
};

const ARIA: Subject = Subject {
    name: "aria",
    only: Some(Family::MariaDb),
    setup: &["CREATE TABLE app.aria (id INT NOT NULL, v BIGINT NOT NULL, PRIMARY KEY (id, v)) ENGINE = Aria"],
    first: &["INSERT INTO app.aria VALUES ($k, 0)"],
    writes: &[
        failing(1062, &["INSERT INTO aria VALUES ($k, $n), ($k, $n)", "!"]),
        by(&["INSERT INTO aria VALUES ($k, $n)", "!"]),
    ],
    reads: &[row(0, "SELECT $k, MAX(v) FROM aria WHERE id = $k")],
    ..PLAIN
};

const RETURNING: Subject = Subject {
    name: "returning",
    only: Some(Family::MariaDb),
    setup: &["CREATE TABLE app.back (id INT PRIMARY KEY, v BIGINT NOT NULL)"],
    first: &["INSERT INTO app.back VALUES ($k, 0)"],
    writes: &[
        by(&["INSERT INTO back (id, v) VALUES ($k, $n) ON DUPLICATE KEY UPDATE v = $n RETURNING v", "!"]),
        by(&["REPLACE INTO back VALUES ($k, $n) RETURNING id", "!"]),
        when(When::Present, Becomes::Gone, &["DELETE FROM back WHERE id = $k RETURNING v", "!"]),
    ],
    reads: &[
        row(0, "SELECT id, v FROM back WHERE id = $k"),
        sees(Sees::Range, 0, "SELECT id, v FROM back WHERE id >= $k AND id <= $l"),
    ],
    ..PLAIN
};

const XA: Subject = Subject {
    name: "xa",
    setup: &[
        "CREATE TABLE app.xa (id INT PRIMARY KEY, v BIGINT NOT NULL)",
        "CREATE VIEW app.which AS SELECT CONNECTION_ID() AS thread",
    ],
    first: &["INSERT INTO app.xa VALUES ($k, 0)"],
    writes: &[
        by(&[
            "XA START 'x$x'",
            "UPDATE xa SET v = $n WHERE id = $k",
            "XA END 'x$x'",
            "XA PREPARE 'x$x'",
            "XA COMMIT 'x$x'",
            "!",
        ]),
        by(&[
            "XA START 'x$x'",
            "UPDATE xa SET v = $n WHERE id = $k",
            WHICH,
            "XA END 'x$x'",
            "XA PREPARE 'x$x'",
            ELSEWHERE,
            "XA COMMIT 'x$x'",
            "!",
        ]),
        by(&[
            "XA START 'x$x'",
            "UPDATE xa SET v = $n WHERE id = $k",
            "XA END 'x$x'",
            "XA COMMIT 'x$x' ONE PHASE",
            "!",
        ]),
        undone(&[
            "XA START 'x$x'",
            "UPDATE xa SET v = $u WHERE id = $k",
            "XA END 'x$x'",
            "XA PREPARE 'x$x'",
            "XA ROLLBACK 'x$x'",
            "!",
        ]),
    ],
    reads: &[row(0, "SELECT id, v FROM xa WHERE id = $k"), sees(Sees::Sum, 0, "SELECT SUM(v) FROM xa")],
    ..PLAIN
};

/// A block that writes in two domains tells only the last one's position.
const DOMAINS: Subject = Subject {
    name: "domains",
    only: Some(Family::MariaDb),
    setup: &[
        "CREATE TABLE app.domain_a (id INT PRIMARY KEY, v BIGINT NOT NULL)",
        "CREATE TABLE app.domain_b (id INT PRIMARY KEY, v BIGINT NOT NULL)",
        "CREATE PROCEDURE app.two_domains(k INT, n BIGINT) BEGIN \
         SET SESSION gtid_domain_id = 1; UPDATE app.domain_a SET v = n WHERE id = k; \
         SET SESSION gtid_domain_id = 0; UPDATE app.domain_b SET v = n WHERE id = k; END",
        "GRANT BINLOG REPLAY ON *.* TO app@'%'",
        "CREATE PROCEDURE app.domains_back(k INT, n BIGINT) BEGIN \
         SET SESSION gtid_domain_id = 0; UPDATE app.domain_b SET v = n WHERE id = k; \
         SET SESSION gtid_domain_id = 1; UPDATE app.domain_a SET v = n WHERE id = k; \
         SET SESSION gtid_domain_id = 0; END",
    ],
    first: &["INSERT INTO app.domain_a VALUES ($k, 0)", "INSERT INTO app.domain_b VALUES ($k, 0)"],
    writes: &[
        by(&["CALL two_domains($k, $n)", "!"]),
        by(&["CALL domains_back($k, $n)", "!"]),
        by(&[
            "SET SESSION gtid_domain_id = 1",
            "UPDATE domain_a SET v = $n WHERE id = $k",
            "SET SESSION gtid_domain_id = 0",
            "UPDATE domain_b SET v = $n WHERE id = $k",
            "!",
        ]),
    ],
    reads: &[
        row(0, "SELECT id, v FROM domain_a WHERE id = $k"),
        row(1, "SELECT id, v FROM domain_b WHERE id = $k"),
    ],
    ..PLAIN
};

const COPIES: Subject = Subject {
    name: "copies",
    setup: &["CREATE TABLE app.copy (id INT PRIMARY KEY, v BIGINT NOT NULL)"],
    first: &["INSERT INTO app.copy VALUES ($k, 0)"],
    writes: &[
        by(&[
            "INSERT INTO copy SELECT id, $n FROM rows_0 WHERE rows_0.id = $k ON DUPLICATE KEY UPDATE v = $n",
            "!",
        ]),
        by(&["REPLACE INTO copy SELECT id, $n FROM rows_1 WHERE id = $k", "!"]),
    ],
    reads: &[
        row(0, "SELECT id, v FROM copy WHERE id = $k"),
        row(0, "WITH c AS (SELECT id, v FROM copy) SELECT id, v FROM c WHERE id = $k"),
    ],
    ..PLAIN
};

/// From a file of the primary's, which holds one line.
const LOADED: Subject = Subject {
    name: "loaded",
    setup: &[
        "CREATE TABLE app.loaded (id INT PRIMARY KEY, v BIGINT NOT NULL)",
        "SELECT 1 INTO OUTFILE 'line'",
        "GRANT FILE ON *.* TO app@'%'",
    ],
    first: &["INSERT INTO app.loaded VALUES ($k, 0)"],
    writes: &[by(&["LOAD DATA INFILE 'line' REPLACE INTO TABLE loaded (@line) SET id = $k, v = $n", "!"])],
    reads: &[
        row(0, "SELECT id, v FROM loaded WHERE id = $k"),
        sees(Sees::Sum, 0, "SELECT SUM(v) FROM loaded"),
    ],
    ..PLAIN
};

const SEQUENCES: Subject = Subject {
    name: "sequences",
    only: Some(Family::MariaDb),
    tables: 2,
    rows: 1,
    weight: 4,
    setup: &["CREATE SEQUENCE app.seq_$t START WITH 1 NOCACHE"],
    first: &[],
    writes: &[by(&["SELECT SETVAL(seq_$t, $n)", "!"])],
    reads: &[row(0, "SELECT 1, next_not_cached_value - 1 FROM seq_$t")],
};

const ALTERED: Subject = Subject {
    name: "altered",
    tables: 2,
    rows: 1,
    weight: 1,
    setup: &["CREATE TABLE app.altered_$t (id INT PRIMARY KEY, c BIGINT NOT NULL DEFAULT 0)"],
    first: &["INSERT INTO app.altered_$t (id) VALUES (1)"],
    writes: &[by(&["ALTER TABLE altered_$t DROP COLUMN c, ADD COLUMN c BIGINT NOT NULL DEFAULT $n", "!"])],
    reads: &[row(0, "SELECT id, c FROM altered_$t"), row(0, "SELECT * FROM altered_$t WHERE id = 1")],
    ..PLAIN
};

const SWAPPED: Subject = Subject {
    name: "swapped",
    tables: 2,
    rows: 1,
    weight: 1,
    setup: &["CREATE TABLE app.swap_$t (id INT PRIMARY KEY, v BIGINT NOT NULL)"],
    first: &["INSERT INTO app.swap_$t VALUES (1, 0)"],
    writes: &[by(&[
        "DROP TABLE IF EXISTS swap_$t_new, swap_$t_old",
        "CREATE TABLE swap_$t_new LIKE swap_$t",
        "INSERT INTO swap_$t_new VALUES (1, $n)",
        "RENAME TABLE swap_$t TO swap_$t_old, swap_$t_new TO swap_$t",
        "!",
        "DROP TABLE swap_$t_old",
    ])],
    reads: &[row(0, "SELECT id, v FROM swap_$t WHERE id = 1")],
    ..PLAIN
};

const COMING_AND_GOING: Subject = Subject {
    name: "coming and going",
    only: None,
    tables: 3,
    rows: 1,
    weight: 1,
    setup: &[],
    first: &[],
    writes: &[
        when(When::Absent, Becomes::Kept, &["CREATE TABLE coming_$t AS SELECT 1 AS id, $n AS v", "!"]),
        when(When::Present, Becomes::Gone, &["DROP TABLE coming_$t", "!"]),
    ],
    reads: &[Reading { no_table: Some(1146), ..row(0, "SELECT id, v FROM coming_$t") }],
};

const EMPTIED: Subject = Subject {
    name: "emptied",
    tables: 3,
    rows: 1,
    weight: 2,
    setup: &["CREATE TABLE app.emptied_$t (id INT PRIMARY KEY, v BIGINT NOT NULL)"],
    first: &["INSERT INTO app.emptied_$t VALUES (1, 0)"],
    writes: &[
        when(When::Present, Becomes::Gone, &["TRUNCATE TABLE emptied_$t", "!"]),
        when(When::Absent, Becomes::Kept, &["INSERT INTO emptied_$t VALUES (1, $n)", "!"]),
    ],
    reads: &[row(0, "SELECT id, v FROM emptied_$t")],
    ..PLAIN
};
