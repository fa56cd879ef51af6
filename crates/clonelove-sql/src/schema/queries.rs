//! What to ask a server for, to know its schemas: statements whose answers [`super::Schema::build`] understands.
//!
//! Every statement runs with the rights of the monitoring account; what that may not see is missing from the answer
//! without a word, so that its grants are asked for too.

use std::collections::BTreeMap;

use crate::dialect::Flavour;

/// One row of an answer: text, or NULL.
pub type Row = Vec<Option<String>>;

/// The answers, by the names of their questions. A question that failed has none.
pub type Answers = BTreeMap<&'static str, Vec<Row>>;

/// A statement to run on the primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// What its answer is known by.
    pub name: &'static str,
    /// The statement.
    pub sql: &'static str,
    /// Not every version understands it; an error is no fault.
    pub optional: bool,
}

const fn question(name: &'static str, sql: &'static str) -> Question {
    Question { name, sql, optional: false }
}

/// What every version of both flavours answers.
const COMMON: [Question; 8] = [
    question(
        "tables",
        "SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE, ENGINE FROM information_schema.TABLES \
         WHERE TABLE_SCHEMA NOT IN ('information_schema', 'performance_schema', 'mysql', 'sys')",
    ),
    question(
        "columns",
        "SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, ORDINAL_POSITION, DATA_TYPE, COLUMN_TYPE, \
         CHARACTER_MAXIMUM_LENGTH, COLLATION_NAME, EXTRA, GENERATION_EXPRESSION FROM information_schema.COLUMNS \
         WHERE TABLE_SCHEMA NOT IN ('information_schema', 'performance_schema', 'mysql', 'sys')",
    ),
    question(
        "indexes",
        "SELECT TABLE_SCHEMA, TABLE_NAME, INDEX_NAME, NON_UNIQUE, SEQ_IN_INDEX, COLUMN_NAME, SUB_PART \
         FROM information_schema.STATISTICS \
         WHERE TABLE_SCHEMA NOT IN ('information_schema', 'performance_schema', 'mysql', 'sys')",
    ),
    question(
        "foreign_keys",
        "SELECT CONSTRAINT_SCHEMA, TABLE_NAME, UNIQUE_CONSTRAINT_SCHEMA, REFERENCED_TABLE_NAME, UPDATE_RULE, \
         DELETE_RULE FROM information_schema.REFERENTIAL_CONSTRAINTS",
    ),
    question(
        "triggers",
        "SELECT EVENT_OBJECT_SCHEMA, EVENT_OBJECT_TABLE, TRIGGER_SCHEMA, ACTION_STATEMENT, SQL_MODE \
         FROM information_schema.TRIGGERS",
    ),
    question(
        "views",
        "SELECT TABLE_SCHEMA, TABLE_NAME, VIEW_DEFINITION FROM information_schema.VIEWS \
         WHERE TABLE_SCHEMA NOT IN ('information_schema', 'performance_schema', 'mysql', 'sys')",
    ),
    question(
        "routines",
        "SELECT ROUTINE_SCHEMA, ROUTINE_NAME, ROUTINE_TYPE, SQL_DATA_ACCESS, ROUTINE_BODY, ROUTINE_DEFINITION, \
         SQL_MODE FROM information_schema.ROUTINES \
         WHERE ROUTINE_SCHEMA NOT IN ('information_schema', 'performance_schema', 'mysql', 'sys')",
    ),
    question("grants", "SHOW GRANTS"),
];

const ROLES: Question =
    Question { name: "roles", sql: "SELECT ROLE_NAME FROM information_schema.ENABLED_ROLES", optional: true };

const PARTIAL_REVOKES: Question =
    Question { name: "partial_revokes", sql: "SELECT @@GLOBAL.partial_revokes", optional: true };

/// The statements that tell all there is to know, for a connection whose character set is utf8mb4 and whose sql_mode
/// is empty.
pub fn queries(flavour: Flavour) -> Vec<Question> {
    let mut questions = COMMON.to_vec();
    questions.push(match flavour {
        Flavour::MariaDb => ROLES,
        Flavour::MySql => PARTIAL_REVOKES,
    });
    questions
}
