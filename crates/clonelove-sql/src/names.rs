//! Names of system variables and of the servers' own tables, by what reading them means for routing.

/// What reading a system variable tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Variable {
    /// A setting of the session, the same on whichever connection the session uses.
    Carried,
    LastInsertId,
    Diagnostics,
    /// Anything else: the server's own, or not known to be the session's alone.
    ServerSpecific,
}

impl Variable {
    /// By a variable's name, in lower case, without scope.
    pub(crate) fn of(name: &str) -> Variable {
        match name {
            "sql_mode" | "autocommit" | "time_zone" | "tx_isolation" | "transaction_isolation" => {
                Variable::Carried
            }
            "character_set_client"
            | "character_set_connection"
            | "character_set_results"
            | "collation_connection" => Variable::Carried,
            "last_insert_id" | "identity" => Variable::LastInsertId,
            "warning_count" | "error_count" => Variable::Diagnostics,
            _ => Variable::ServerSpecific,
        }
    }
}

/// Whether a table, named in lower case, holds a server's own state rather than replicated data, so that reads of it
/// belong on the primary. To be asked of an unqualified table too, once its schema is known.
pub fn is_server_specific_table(schema: &str, table: &str) -> bool {
    /// What is the same wherever the same definitions were replicated. Not among them: events, which a replica has
    /// with another status (SLAVESIDE_DISABLED).
    const DEFINITIONS: [&str; 25] = [
        "applicable_roles",
        "character_sets",
        "check_constraints",
        "collation_character_set_applicability",
        "collations",
        "column_privileges",
        "columns",
        "enabled_roles",
        "geometry_columns",
        "key_column_usage",
        "keywords",
        "parameters",
        "partitions",
        "referential_constraints",
        "routines",
        "schema_privileges",
        "schemata",
        "spatial_ref_sys",
        "st_geometry_columns",
        "statistics",
        "table_constraints",
        "table_privileges",
        "tables",
        "triggers",
        "views",
    ];
    match schema {
        "performance_schema" | "sys" | "mysql" => true,
        "information_schema" => !DEFINITIONS.contains(&table),
        _ => false,
    }
}
