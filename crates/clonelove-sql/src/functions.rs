//! The built-in functions of both flavours, and what calling one means for routing.
//!
//! A white list: a name that is not here may be a stored or loadable function, which may do anything. A name counts
//! only where the server at hand has it built in, since elsewhere it may be somebody's own function.
//!
//! Sources: `sql/item_create.cc`, `sql/lex.h` and `sql/sql_yacc.yy` of MariaDB 10.11 and MySQL 9, and the release
//! notes of both for the versions.

use crate::dialect::{Dialect, Flavour, Modes};
use crate::words::{find, insert};

/// What a name directly before an opening parenthesis is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    /// No call at all: a keyword of an expression or of a clause, or a type.
    Syntax,
    /// A keyword, but only directly after an operand.
    AfterOperand,
    /// A built-in function without any effect, and with the same answer on every server that has the same data and
    /// session settings (but for clocks and chance).
    Harmless,
    /// Tells servers or connections apart, or waits for one server.
    ServerSpecific,
    ConnectionId,
    LastInsertId,
    RowCount,
    FoundRows,
    GetLock,
    ReleaseLock,
    ReleaseAllLocks,
    NextValue,
    SetValue,
    LastValue,
    /// DEFAULT(column): whatever expression that is, the next value of a sequence among others.
    ColumnDefault,
    /// Anything else: a stored or loadable function, as far as can be known.
    Unknown,
}

/// In no version.
const NEVER: u32 = u32::MAX;

/// Names with the same meaning, and the first versions that have them built in.
struct Group {
    call: Call,
    mariadb: u32,
    mysql: u32,
    names: &'static [&'static str],
}

const fn group(call: Call, mariadb: u32, mysql: u32, names: &'static [&'static str]) -> Group {
    Group { call, mariadb, mysql, names }
}

use Call::{Harmless, ServerSpecific, Syntax};

#[rustfmt::skip]
const GROUPS: &[Group] = &[
    // Keywords: never a stored function's name where a call can stand.
    group(Syntax, 0, 0, &[
        "ALL", "AND", "ANY", "AS", "BETWEEN", "BY", "CASE", "CHECK", "CROSS", "DISTINCT", "DISTINCTROW",
        "DIV", "ELSE", "EXCEPT", "EXISTS", "FOR", "FORCE", "FROM", "GROUP", "HAVING", "HIGH_PRIORITY", "IGNORE", "IN",
        "INDEX", "INNER", "INTERSECT", "INTO", "IS", "JOIN", "KEY", "KEYS", "LIKE", "LIMIT", "NATURAL", "NOT",
        "ON", "OR", "ORDER", "OUTER", "OVER", "PARTITION", "REFERENCES", "REGEXP", "RETURNING", "RLIKE", "ROWS", "SELECT",
        "SET", "SOME", "SOUNDS", "SQL_BIG_RESULT", "SQL_BUFFER_RESULT", "SQL_CACHE", "SQL_CALC_FOUND_ROWS",
        "SQL_NO_CACHE", "SQL_SMALL_RESULT", "STRAIGHT_JOIN", "THEN", "UNION", "USE", "USING", "VALUE", "VALUES", "WHEN",
        "WHERE", "WITH", "XOR",
        // Types, in CAST, CONVERT and JSON_TABLE.
        "BIGINT", "BINARY", "BIT", "BLOB", "CHARACTER", "DEC", "DECIMAL", "DOUBLE", "FIXED", "FLOAT", "INT", "INTEGER",
        "MEDIUMINT", "NATIONAL", "NCHAR", "NUMERIC", "PRECISION", "REAL", "SMALLINT", "TEXT", "TINYINT",
        "VARBINARY", "VARCHAR", "VARYING", "DATETIME", "DAY_SECOND",
    ]),
    group(Syntax, 100_300, NEVER, &["WITHIN"]),
    // Not reserved everywhere, so that they may be a stored function's name where an operand can begin.
    group(Call::AfterOperand, 0, 0, &["AGAINST", "COLUMNS", "ESCAPE"]),
    group(Syntax, NEVER, 80_000, &["OF", "GROUPING"]),
    // Functions of the grammar, which no stored function can hide.
    group(Harmless, 0, 0, &[
        "ADDDATE", "ASCII", "AVG", "BIT_AND", "BIT_OR", "BIT_XOR", "CAST", "CHAR", "CHARSET", "COALESCE", "COLLATION",
        "CONVERT", "COUNT", "CURDATE", "CURRENT_DATE", "CURRENT_TIME", "CURRENT_TIMESTAMP", "CURTIME", "DATABASE", "DATE",
        "DATE_ADD", "DATE_SUB", "DAY", "EXTRACT", "FORMAT", "GEOMETRYCOLLECTION", "GET_FORMAT", "GROUP_CONCAT",
        "HOUR", "IF", "INSERT", "INTERVAL", "LEFT", "LINESTRING", "LOCALTIME", "LOCALTIMESTAMP", "MATCH", "MAX",
        "MICROSECOND", "MID", "MIN", "MINUTE", "MOD", "MONTH", "MULTILINESTRING", "MULTIPOINT", "MULTIPOLYGON", "NOW",
        "PASSWORD", "POINT", "POLYGON", "POSITION", "QUARTER", "REPEAT", "REPLACE", "REVERSE", "RIGHT", "ROW", "SCHEMA",
        "SECOND", "STD", "STDDEV", "STDDEV_POP", "STDDEV_SAMP", "SUBDATE", "SUBSTR", "SUBSTRING", "SUM", "SYSDATE", "TIME",
        "TIMESTAMP", "TIMESTAMPADD", "TIMESTAMPDIFF", "TRIM", "TRUNCATE", "UTC_DATE", "UTC_TIME", "UTC_TIMESTAMP",
        "VARIANCE", "VAR_POP", "VAR_SAMP", "WEEK", "WEIGHT_STRING", "YEAR",
    ]),
    group(Harmless, 0, 0, &[
        "ABS", "ACOS", "ADDTIME", "AES_DECRYPT", "AES_ENCRYPT", "ASIN", "ATAN", "ATAN2", "BENCHMARK", "BIN", "BIT_COUNT",
        "BIT_LENGTH", "CEIL", "CEILING", "CHARACTER_LENGTH", "CHAR_LENGTH", "COERCIBILITY", "COMPRESS", "CONCAT",
        "CONCAT_WS", "CONV", "CONVERT_TZ", "COS", "COT", "CRC32", "DATEDIFF", "DATE_FORMAT", "DAYNAME", "DAYOFMONTH",
        "DAYOFWEEK", "DAYOFYEAR", "DEGREES", "ELT", "EXP", "EXPORT_SET", "EXTRACTVALUE", "FIELD", "FIND_IN_SET", "FLOOR",
        "FROM_BASE64", "FROM_DAYS", "FROM_UNIXTIME", "GREATEST", "HEX", "IFNULL", "INET_ATON", "INET_NTOA", "INET6_ATON",
        "INET6_NTOA", "INSTR", "ISNULL", "IS_IPV4", "IS_IPV4_COMPAT", "IS_IPV4_MAPPED", "IS_IPV6", "LAST_DAY", "LCASE",
        "LEAST", "LENGTH", "LN", "LOCATE", "LOG", "LOG10", "LOG2", "LOWER", "LPAD", "LTRIM", "MAKEDATE", "MAKETIME",
        "MAKE_SET", "MBRCONTAINS", "MBRDISJOINT", "MBRINTERSECTS", "MBROVERLAPS", "MBRTOUCHES", "MBRWITHIN", "MD5",
        "MONTHNAME", "NAME_CONST", "NULLIF", "OCT", "OCTET_LENGTH", "ORD", "PERIOD_ADD", "PERIOD_DIFF", "PI", "POW",
        "POWER", "QUOTE", "RADIANS", "RAND", "ROUND", "RPAD", "RTRIM", "SEC_TO_TIME", "SHA", "SHA1", "SHA2", "SIGN", "SIN",
        "SLEEP", "SOUNDEX", "SPACE", "SQRT", "STRCMP", "STR_TO_DATE", "SUBSTRING_INDEX", "SUBTIME", "TAN", "TIMEDIFF",
        "TIME_FORMAT", "TIME_TO_SEC", "TO_BASE64", "TO_DAYS", "TO_SECONDS", "UCASE", "UNCOMPRESS", "UNCOMPRESSED_LENGTH",
        "UNHEX", "UNIX_TIMESTAMP", "UPDATEXML", "UPPER", "UUID", "UUID_SHORT", "WEEKDAY", "WEEKOFYEAR", "YEARWEEK",
        "ST_AREA", "ST_ASBINARY", "ST_ASTEXT", "ST_ASWKB", "ST_ASWKT", "ST_BUFFER", "ST_CENTROID", "ST_CONTAINS",
        "ST_CONVEXHULL", "ST_CROSSES", "ST_DIFFERENCE", "ST_DIMENSION", "ST_DISJOINT", "ST_DISTANCE", "ST_ENDPOINT",
        "ST_ENVELOPE", "ST_EQUALS", "ST_EXTERIORRING", "ST_GEOMCOLLFROMTEXT", "ST_GEOMCOLLFROMWKB",
        "ST_GEOMETRYCOLLECTIONFROMTEXT", "ST_GEOMETRYCOLLECTIONFROMWKB", "ST_GEOMETRYFROMTEXT", "ST_GEOMETRYFROMWKB",
        "ST_GEOMETRYN", "ST_GEOMETRYTYPE", "ST_GEOMFROMTEXT", "ST_GEOMFROMWKB", "ST_INTERIORRINGN", "ST_INTERSECTION",
        "ST_INTERSECTS", "ST_ISCLOSED", "ST_ISEMPTY", "ST_ISSIMPLE", "ST_LENGTH", "ST_LINEFROMTEXT", "ST_LINEFROMWKB",
        "ST_LINESTRINGFROMTEXT", "ST_LINESTRINGFROMWKB", "ST_NUMGEOMETRIES", "ST_NUMINTERIORRINGS", "ST_NUMPOINTS",
        "ST_OVERLAPS", "ST_POINTFROMTEXT", "ST_POINTFROMWKB", "ST_POINTN", "ST_POLYFROMTEXT", "ST_POLYFROMWKB",
        "ST_POLYGONFROMTEXT", "ST_POLYGONFROMWKB", "ST_SRID", "ST_STARTPOINT", "ST_SYMDIFFERENCE", "ST_TOUCHES",
        "ST_UNION", "ST_WITHIN", "ST_X", "ST_Y",
        "JSON_ARRAY", "JSON_ARRAY_APPEND", "JSON_ARRAY_INSERT", "JSON_CONTAINS", "JSON_CONTAINS_PATH", "JSON_DEPTH",
        "JSON_EXTRACT", "JSON_INSERT", "JSON_KEYS", "JSON_LENGTH", "JSON_MERGE", "JSON_MERGE_PATCH", "JSON_MERGE_PRESERVE",
        "JSON_OBJECT", "JSON_QUOTE", "JSON_REMOVE", "JSON_REPLACE", "JSON_SEARCH", "JSON_SET", "JSON_TYPE",
        "JSON_UNQUOTE", "JSON_VALID",
    ]),
    // Built in since some version.
    group(Harmless, 100_200, 80_000, &[
        "CUME_DIST", "DENSE_RANK", "FIRST_VALUE", "LAG", "LAST_VALUE", "LEAD", "NTH_VALUE", "NTILE", "PERCENT_RANK",
        "RANK", "ROW_NUMBER",
    ]),
    group(Harmless, 100_500, 50_722, &["JSON_ARRAYAGG", "JSON_OBJECTAGG"]),
    group(Harmless, 100_005, 80_000, &["REGEXP_INSTR", "REGEXP_REPLACE", "REGEXP_SUBSTR"]),
    group(Harmless, 101_100, 50_604, &["RANDOM_BYTES"]),
    group(Harmless, 100_600, 80_021, &["JSON_VALUE"]),
    group(Harmless, 100_900, 80_017, &["JSON_OVERLAPS"]),
    group(Harmless, 101_008, 50_722, &["JSON_PRETTY"]),
    group(Harmless, 110_100, 80_017, &["JSON_SCHEMA_VALID"]),
    group(Harmless, 100_200, 80_000, &["CURRENT_ROLE"]),
    group(Harmless, 110_800, 80_016, &["FORMAT_PICO_TIME"]),
    group(Harmless, 100_201, 50_706, &["ST_ASGEOJSON", "ST_GEOMFROMGEOJSON"]),
    group(Harmless, 100_200, 50_706, &[
        "MBREQUALS", "ST_MLINEFROMTEXT", "ST_MLINEFROMWKB", "ST_MPOINTFROMTEXT", "ST_MPOINTFROMWKB", "ST_MPOLYFROMTEXT",
        "ST_MPOLYFROMWKB", "ST_MULTILINESTRINGFROMTEXT", "ST_MULTILINESTRINGFROMWKB", "ST_MULTIPOINTFROMTEXT",
        "ST_MULTIPOINTFROMWKB", "ST_MULTIPOLYGONFROMTEXT", "ST_MULTIPOLYGONFROMWKB",
    ]),
    group(Harmless, 110_800, 50_706, &[
        "ST_GEOHASH", "ST_ISVALID", "ST_LATFROMGEOHASH", "ST_LONGFROMGEOHASH", "ST_POINTFROMGEOHASH", "ST_SIMPLIFY",
        "ST_VALIDATE", "MBRCOVEREDBY", "ST_COLLECT",
    ]),
    group(Harmless, 100_500, 50_706, &["ST_DISTANCE_SPHERE"]),
    // MariaDB's own.
    group(Harmless, 0, NEVER, &[
        "ADD_MONTHS", "COLUMN_ADD", "COLUMN_CHECK", "COLUMN_CREATE", "COLUMN_DELETE", "COLUMN_EXISTS", "COLUMN_GET",
        "COLUMN_JSON", "COLUMN_LIST", "DECODE", "DECODE_HISTOGRAM", "ENCODE", "ENCRYPT", "OLD_PASSWORD",
        "AREA", "ASBINARY", "ASTEXT", "ASWKB", "ASWKT", "BOUNDARY", "BUFFER", "CENTROID", "CONTAINS", "CONVEXHULL",
        "CROSSES", "DIMENSION", "DISJOINT", "ENDPOINT", "ENVELOPE", "EQUALS", "EXTERIORRING", "GEOMCOLLFROMTEXT",
        "GEOMCOLLFROMWKB", "GEOMETRYCOLLECTIONFROMTEXT", "GEOMETRYCOLLECTIONFROMWKB", "GEOMETRYFROMTEXT",
        "GEOMETRYFROMWKB", "GEOMETRYN", "GEOMETRYTYPE", "GEOMFROMTEXT", "GEOMFROMWKB", "GLENGTH", "INTERIORRINGN",
        "INTERSECTS", "ISCLOSED", "ISEMPTY", "ISRING", "ISSIMPLE", "LINEFROMTEXT", "LINEFROMWKB", "LINESTRINGFROMTEXT",
        "LINESTRINGFROMWKB", "MBREQUAL", "MLINEFROMTEXT", "MLINEFROMWKB", "MPOINTFROMTEXT", "MPOINTFROMWKB",
        "MPOLYFROMTEXT", "MPOLYFROMWKB", "MULTILINESTRINGFROMTEXT", "MULTILINESTRINGFROMWKB", "MULTIPOINTFROMTEXT",
        "MULTIPOINTFROMWKB", "MULTIPOLYGONFROMTEXT", "MULTIPOLYGONFROMWKB", "NUMGEOMETRIES", "NUMINTERIORRINGS",
        "NUMPOINTS", "OVERLAPS", "POINTFROMTEXT", "POINTFROMWKB", "POINTN", "POINTONSURFACE", "POLYFROMTEXT",
        "POLYFROMWKB", "POLYGONFROMTEXT", "POLYGONFROMWKB", "SRID", "STARTPOINT", "ST_BOUNDARY", "ST_ISRING",
        "ST_POINTONSURFACE", "ST_RELATE", "TOUCHES", "X", "Y",
    ]),
    group(Harmless, 100_200, NEVER, &["JSON_COMPACT", "JSON_DETAILED", "JSON_EXISTS", "JSON_LOOSE", "JSON_QUERY"]),
    group(Harmless, 100_301, NEVER, &[
        "CHR", "LENGTHB", "MEDIAN", "NVL", "NVL2", "PERCENTILE_CONT", "PERCENTILE_DISC", "CONCAT_OPERATOR_ORACLE",
        "DECODE_ORACLE", "LPAD_ORACLE", "LTRIM_ORACLE", "REPLACE_ORACLE", "RPAD_ORACLE", "RTRIM_ORACLE", "SUBSTR_ORACLE",
        "TRIM_ORACLE",
    ]),
    group(Harmless, 100_600, NEVER, &["SYS_GUID", "TO_CHAR", "ROWNUM"]),
    group(Harmless, 100_700, NEVER, &["JSON_EQUALS", "JSON_NORMALIZE", "NATURAL_SORT_KEY", "SFORMAT"]),
    group(Harmless, 100_800, NEVER, &["CRC32C"]),
    group(Harmless, 110_300, NEVER, &["KDF"]),
    group(Harmless, 110_200, NEVER, &["JSON_ARRAY_INTERSECT", "JSON_KEY_VALUE", "JSON_OBJECT_FILTER_KEYS", "JSON_OBJECT_TO_ARRAY"]),
    group(Harmless, 110_700, NEVER, &["UUIDV4", "UUIDV7", "VEC_DISTANCE", "VEC_DISTANCE_COSINE",
        "VEC_DISTANCE_EUCLIDEAN", "VEC_FROMTEXT", "VEC_TOTEXT"]),
    // MySQL's own.
    group(Harmless, NEVER, 50_700, &["ANY_VALUE", "GTID_SUBSET", "GTID_SUBTRACT", "MBRCOVERS"]),
    group(Harmless, NEVER, 50_706, &[
        "ST_BUFFER_STRATEGY", "ST_GEOMCOLLFROMTXT", "ST_MAKEENVELOPE", "ST_NUMINTERIORRING",
    ]),
    group(Harmless, NEVER, 80_000, &[
        "BIN_TO_UUID", "GEOMCOLLECTION", "IS_UUID", "REGEXP_LIKE", "ST_LATITUDE", "ST_LONGITUDE", "ST_SWAPXY",
        "ST_TRANSFORM", "UUID_TO_BIN", "JSON_STORAGE_FREE", "JSON_STORAGE_SIZE", "STATEMENT_DIGEST",
        "STATEMENT_DIGEST_TEXT",
    ]),
    group(Harmless, NEVER, 80_016, &["FORMAT_BYTES"]),
    group(Harmless, NEVER, 80_017, &["JSON_SCHEMA_VALIDATION_REPORT"]),
    group(Harmless, NEVER, 80_024, &[
        "ST_FRECHETDISTANCE", "ST_HAUSDORFFDISTANCE", "ST_LINEINTERPOLATEPOINT", "ST_LINEINTERPOLATEPOINTS",
        "ST_POINTATDISTANCE",
    ]),
    group(Harmless, NEVER, 90_000, &["FROM_VECTOR", "STRING_TO_VECTOR", "TO_VECTOR", "VECTOR_DIM", "VECTOR_TO_STRING"]),
    group(Call::LastInsertId, 0, 0, &["LAST_INSERT_ID"]),
    group(Call::RowCount, 0, 0, &["ROW_COUNT"]),
    group(Call::FoundRows, 0, 0, &["FOUND_ROWS"]),
    group(Call::GetLock, 0, 0, &["GET_LOCK"]),
    group(Call::ReleaseLock, 0, 0, &["RELEASE_LOCK"]),
    group(Call::ReleaseAllLocks, 0, 0, &["RELEASE_ALL_LOCKS"]),
    group(Call::NextValue, 100_300, NEVER, &["NEXTVAL"]),
    group(Call::SetValue, 100_300, NEVER, &["SETVAL"]),
    group(Call::LastValue, 100_300, NEVER, &["LASTVAL"]),
    group(Call::ColumnDefault, 0, 0, &["DEFAULT"]),
    group(Call::ConnectionId, 0, 0, &["CONNECTION_ID"]),
    group(ServerSpecific, 0, 0, &[
        "CURRENT_USER", "IS_FREE_LOCK", "IS_USED_LOCK", "LOAD_FILE", "MASTER_POS_WAIT", "SESSION_USER", "SYSTEM_USER",
        "USER", "VERSION",
    ]),
    group(ServerSpecific, 0, NEVER, &[
        "BINLOG_GTID_POS", "DES_DECRYPT", "DES_ENCRYPT", "MASTER_GTID_WAIT", "WSREP_LAST_SEEN_GTID",
        "WSREP_LAST_WRITTEN_GTID", "WSREP_SYNC_WAIT_UPTO_GTID",
    ]),
    group(ServerSpecific, NEVER, 0, &[
        "ICU_VERSION", "PS_CURRENT_THREAD_ID", "PS_THREAD_ID", "ROLES_GRAPHML", "SOURCE_POS_WAIT",
        "VALIDATE_PASSWORD_STRENGTH", "WAIT_FOR_EXECUTED_GTID_SET", "WAIT_UNTIL_SQL_THREAD_AFTER_GTIDS",
    ]),
];

/// Names that are built in only where the parenthesis follows at once, or under IGNORE_SPACE: elsewhere a space makes
/// them a stored function's (`sql_functions` in `sql/lex.h` of both flavours).
#[rustfmt::skip]
const SPACELESS: &[&str] = &[
    "ADDDATE", "BIT_AND", "BIT_OR", "BIT_XOR", "CAST", "COUNT", "CUME_DIST", "CURDATE", "CURTIME", "DATE_ADD", "DATE_SUB",
    "DECODE", "DENSE_RANK", "EXTRACT", "FIRST_VALUE", "GROUP_CONCAT", "JSON_ARRAYAGG", "JSON_DUALITY_OBJECT",
    "JSON_OBJECTAGG", "LAG", "LEAD", "MAX", "MEDIAN", "MID", "MIN", "NOW", "NTH_VALUE", "NTILE", "PERCENTILE_CONT",
    "PERCENTILE_DISC", "PERCENT_RANK", "POSITION", "RANK", "ROW_NUMBER", "SESSION_USER", "STD", "STDDEV", "STDDEV_POP",
    "STDDEV_SAMP", "ST_COLLECT", "SUBDATE", "SUBSTR", "SUBSTRING", "SUM", "SYSDATE", "SYSTEM_USER", "TRIM", "TRIM_ORACLE",
    "VARIANCE", "VAR_POP", "VAR_SAMP",
];

/// Group and name share a number: the group's in the upper bits.
const NAME_BITS: u16 = 9;

const PLACES: [u16; 2048] = {
    let mut table = [0; 2048];
    let mut group: u16 = 0;
    let mut groups = GROUPS;
    while let [first, others @ ..] = groups {
        let mut name: u16 = 0;
        let mut names = first.names;
        while let [text, tail @ ..] = names {
            name = name.wrapping_add(1);
            assert!(name >> NAME_BITS == 0);
            table = insert(table, text.as_bytes(), (group << NAME_BITS) | name);
            names = tail;
        }
        group = group.wrapping_add(1);
        groups = others;
    }
    table
};

fn entry(number: u16) -> Option<(&'static Group, &'static str)> {
    let group = GROUPS.get(usize::from(number >> NAME_BITS))?;
    let name = (number & ((1 << NAME_BITS) - 1)).wrapping_sub(1);
    group.names.get(usize::from(name)).map(|name| (group, *name))
}

impl Call {
    /// What an unquoted, unqualified name before a parenthesis is; `spaced`: something stands between the two.
    pub(crate) fn of(name: &[u8], spaced: bool, dialect: &Dialect) -> Call {
        let is_name =
            |number| entry(number).is_some_and(|(_, text)| text.as_bytes().eq_ignore_ascii_case(name));
        let Some((group, text)) = find(&PLACES, name, is_name).and_then(entry) else { return Call::Unknown };
        let since = match dialect.flavour {
            Flavour::MariaDb => group.mariadb,
            Flavour::MySql => group.mysql,
        };
        if dialect.version < since {
            return Call::Unknown;
        }
        if spaced && !dialect.modes.contains(Modes::IGNORE_SPACE) && SPACELESS.contains(&text) {
            return Call::Unknown;
        }
        group.call
    }

    /// Whether a call means nothing that the analysis has to note.
    pub(crate) fn is_harmless(self) -> bool {
        matches!(self, Call::Syntax | Call::Harmless)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_name_is_found_and_stands_in_one_group_only() {
        let mut seen = HashSet::new();
        for group in GROUPS {
            for name in group.names {
                assert!(seen.insert(*name), "{name} stands twice");
                let newest = |flavour| Dialect { flavour, version: 999_999, ..Dialect::default() };
                let calls =
                    [Flavour::MariaDb, Flavour::MySql].map(|f| Call::of(name.as_bytes(), false, &newest(f)));
                assert!(calls.contains(&group.call), "{name}");
            }
        }
        for name in SPACELESS {
            assert!(seen.contains(name) || *name == "JSON_DUALITY_OBJECT", "{name} is no function of ours");
        }
    }

    #[test]
    fn a_version_without_the_function_may_have_somebodys_own() {
        let mysql = |version| Dialect { flavour: Flavour::MySql, version, ..Dialect::default() };
        assert_eq!(Call::of(b"bin_to_uuid", false, &mysql(80_400)), Call::Harmless);
        assert_eq!(Call::of(b"bin_to_uuid", false, &mysql(50_744)), Call::Unknown);
        assert_eq!(Call::of(b"BIN_TO_UUID", false, &Dialect::default()), Call::Unknown);
    }
}
