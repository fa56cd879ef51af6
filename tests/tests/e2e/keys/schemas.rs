//! Random schemas: a table `t` of many types, keys and habits, a table `o` beside it, views and a function over them.

use clonelove_testkit::Family;

use super::dice::Dice;

/// A column of `t`.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) sort: Sort,
}

/// What sort of literals suit it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    Text,
    Number,
    Other,
    Generated,
}

/// What was thought up.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) definitions: Vec<String>,
    pub(super) rows: Vec<String>,
    pub(super) columns: Vec<Column>,
    /// The place of the column that most statements ask by.
    pub(super) favourite: usize,
}

impl Made {
    /// The columns that can be written.
    pub(super) fn writable(&self) -> Vec<&Column> {
        self.columns.iter().filter(|column| column.sort != Sort::Generated).collect()
    }
}

const COLLATIONS: [&str; 6] = [
    "utf8mb4_general_ci",
    "utf8mb4_bin",
    "latin1_swedish_ci",
    "utf8mb4_unicode_ci",
    "utf8mb4_lithuanian_ci",
    "utf8mb4_swedish_ci",
];

fn collation(dice: &mut Dice, family: Family) -> &'static str {
    let own = match family {
        Family::MariaDb => ["utf8mb4_nopad_bin", "utf8mb4_unicode_520_nopad_ci"],
        Family::MySql => ["utf8mb4_0900_ai_ci", "utf8mb4_0900_as_cs"],
    };
    match dice.below(5) {
        0 => dice.pick(&own),
        1 | 2 => COLLATIONS[0],
        _ => dice.pick(&COLLATIONS),
    }
}

#[expect(clippy::too_many_lines, reason = "one schema, told from its first column to its last trigger")]
pub(super) fn make(dice: &mut Dice, family: Family) -> Made {
    let mut columns = vec![
        Column { name: "k", sort: Sort::Text },
        Column { name: "c", sort: Sort::Text },
        Column { name: "n", sort: Sort::Number },
        Column { name: "m", sort: Sort::Number },
        Column { name: "v", sort: Sort::Number },
        Column { name: "e", sort: Sort::Other },
    ];
    let key = dice.below(7);
    let auto = if dice.percent(25) && matches!(key, 1 | 4) { " AUTO_INCREMENT" } else { "" };
    let whole = dice.pick(&["INT", "TINYINT", "BIGINT", "INT UNSIGNED", "MEDIUMINT"]);
    let not_null = if dice.percent(50) { " NOT NULL" } else { "" };
    let mut parts = vec![
        format!("k VARCHAR(6) COLLATE {}{not_null}", collation(dice, family)),
        format!("c CHAR(5) COLLATE {}", collation(dice, family)),
        format!("n {whole}{}{auto}", if auto.is_empty() { "" } else { " NOT NULL" }),
        format!("m {}", dice.pick(&["INT", "SMALLINT UNSIGNED", "BIGINT UNSIGNED", "TINYINT"])),
        "v INT".to_owned(),
        format!(
            "e {}",
            dice.pick(&[
                "ENUM('a','b','5')",
                "DECIMAL(6,2)",
                "FLOAT",
                "YEAR",
                "BINARY(4)",
                "DATE",
                "VARBINARY(5)"
            ])
        ),
    ];
    if dice.percent(30) {
        columns.push(Column { name: "g", sort: Sort::Generated });
        let of = dice.pick(&["VARCHAR(9) AS (CONCAT(k, 'x'))", "INT AS (v + 1)", "VARCHAR(9) AS (UPPER(c))"]);
        parts.push(format!("g {of} {}", dice.pick(&["STORED", "VIRTUAL"])));
        parts.push("KEY (g)".to_owned());
    }
    match key {
        0 => parts.push("PRIMARY KEY (k)".to_owned()),
        1 => parts.push("PRIMARY KEY (n)".to_owned()),
        2 => parts.push("PRIMARY KEY (k, n)".to_owned()),
        3 => parts.push("PRIMARY KEY (k(2))".to_owned()),
        4 => parts.extend(["PRIMARY KEY (n)".to_owned(), "UNIQUE KEY (k)".to_owned()]),
        5 => parts.extend(["UNIQUE KEY (m)".to_owned(), "UNIQUE KEY (c, m)".to_owned()]),
        _ => {}
    }
    for column in ["k", "c", "n", "m", "e"] {
        if dice.percent(92) {
            parts.push(format!("KEY (`{column}`)"));
        }
    }
    let tree = matches!(key, 1 | 4) && dice.percent(20);
    if tree {
        columns.push(Column { name: "p", sort: Sort::Number });
        let rule = dice.pick(&["ON DELETE CASCADE", "ON DELETE SET NULL", "ON UPDATE SET NULL"]);
        parts.push(format!("p {whole}"));
        parts.push(format!("FOREIGN KEY (p) REFERENCES t (n) {rule}"));
    }
    let mut definitions = vec![format!("CREATE TABLE t ({}) ENGINE=InnoDB", parts.join(", "))];
    let parent = if matches!(key, 1 | 4) && dice.percent(50) {
        let rule =
            dice.pick(&["ON DELETE CASCADE", "ON DELETE SET NULL ON UPDATE CASCADE", "ON UPDATE CASCADE"]);
        format!(", FOREIGN KEY (p) REFERENCES t (n) {rule}")
    } else {
        String::new()
    };
    definitions.push(format!(
        "CREATE TABLE o (id INT PRIMARY KEY, k VARCHAR(6), v INT, p {whole}, KEY (k){parent}) ENGINE=InnoDB"
    ));
    definitions.push("CREATE TABLE log (what VARCHAR(20)) ENGINE=InnoDB".to_owned());
    definitions.push("CREATE VIEW part AS SELECT k, n, v FROM t WHERE v < 3".to_owned());
    definitions.push("CREATE VIEW both_of AS SELECT part.v, o.k FROM part JOIN o ON o.v = part.v".to_owned());
    definitions.push(
        "CREATE FUNCTION counted() RETURNS INT READS SQL DATA RETURN (SELECT COUNT(*) FROM o)".to_owned(),
    );
    definitions.push("CREATE FUNCTION twice(a INT) RETURNS INT NO SQL DETERMINISTIC RETURN a * 2".to_owned());
    definitions.push(
        "CREATE PROCEDURE both_change() BEGIN UPDATE o SET v = v + 1; DELETE FROM t WHERE v = 2; END"
            .to_owned(),
    );
    if dice.percent(14) {
        definitions.push(dice.pick(&TRIGGERS).to_owned());
    }
    let mut made = Made { definitions, rows: Vec::new(), columns, favourite: dice.pick(&[0, 0, 2, 2, 2, 3]) };
    made.rows = rows(dice, &made);
    made
}

const TRIGGERS: [&str; 6] = [
    "CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW SET NEW.k = 'a'",
    "CREATE TRIGGER tr BEFORE UPDATE ON t FOR EACH ROW SET NEW.c = 'b', NEW.m = 5",
    "CREATE TRIGGER tr AFTER INSERT ON t FOR EACH ROW INSERT INTO log VALUES ('inserted')",
    "CREATE TRIGGER tr AFTER DELETE ON t FOR EACH ROW UPDATE o SET v = v + 1",
    "CREATE TRIGGER tr AFTER UPDATE ON t FOR EACH ROW BEGIN IF NEW.v > 0 THEN DELETE FROM o WHERE id = 1; END IF; END",
    "CREATE TRIGGER tr AFTER UPDATE ON o FOR EACH ROW UPDATE t SET v = v + 1",
];

fn rows(dice: &mut Dice, made: &Made) -> Vec<String> {
    let writable = made.writable();
    let names: Vec<&str> = writable.iter().map(|column| column.name).collect();
    let mut rows = Vec::new();
    for _ in 0..24 {
        let values: Vec<String> = writable
            .iter()
            .map(|column| match column.name {
                "p" => "NULL".to_owned(),
                "v" => dice.below(5).to_string(),
                _ => super::statements::common(dice, column.sort),
            })
            .collect();
        rows.push(format!("INSERT IGNORE INTO t ({}) VALUES ({})", names.join(", "), values.join(", ")));
    }
    rows.push("UPDATE IGNORE t SET v = v + 1 WHERE n = 1".to_owned());
    if names.contains(&"p") {
        rows.push("UPDATE t SET p = 1 WHERE n IN (2, 5)".to_owned());
    }
    for id in 1..5 {
        rows.push(format!("INSERT IGNORE INTO o VALUES ({id}, 'a{id}', {id}, NULL)"));
        rows.push(format!("UPDATE IGNORE o SET p = {} WHERE id = {id}", dice.pick(&["1", "2", "5"])));
    }
    rows
}
