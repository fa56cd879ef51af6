use super::*;

fn json(sql: &str, mode: &str) -> serde_json::Value {
    let dialect = Dialect { modes: Modes::from_sql_mode(mode), ..Dialect::default() };
    let session = Session { dialect, ..Session::default() };
    serde_json::from_str(&answer(sql.as_bytes(), &session, true)).unwrap()
}

#[test]
fn the_answer_has_the_documented_fields() {
    let answer = json("SELECT a FROM d.t WHERE b = 5", "");
    let mut fields: Vec<&str> = answer.as_object().unwrap().keys().map(String::as_str).collect();
    fields.sort_unstable();
    let documented = [
        "all_tables",
        "assumed",
        "digest",
        "digest_text",
        "effects",
        "keys",
        "kind",
        "parts",
        "reason",
        "sql",
        "tables_read",
        "tables_written",
        "target",
        "token",
    ];
    assert_eq!(fields, documented);
    assert_eq!(answer["sql"], "SELECT a FROM d.t WHERE b = 5");
    assert_eq!(answer["digest"].as_str().unwrap().len(), 16);
}

#[test]
fn statements_are_explained() {
    let table = [
        ("SELECT a FROM d.t", "read", "replica", "read"),
        ("SELECT a FROM d.t FOR UPDATE", "read", "primary", "locking_read"),
        ("INSERT INTO d.t VALUES (1)", "write", "primary", "write"),
        ("CREATE TABLE d.t (a INT)", "ddl", "primary", "ddl"),
        ("START TRANSACTION", "transaction", "primary", "transaction_control"),
        ("SET NAMES utf8mb4", "session", "primary", "session_setting"),
        ("SELECT my_function(1)", "write", "primary", "unknown_function"),
        ("FROBNICATE d.t", "unknown", "primary", "unknown_statement"),
        ("-- only a comment", "unknown", "primary", "unknown_statement"),
    ];
    for (sql, kind, target, reason) in table {
        let answer = json(sql, "");
        let told = ["kind", "target", "reason"].map(|field| answer[field].as_str().unwrap().to_owned());
        assert_eq!(told, [kind, target, reason], "{sql}");
    }
}

#[test]
fn the_deciding_token_and_the_tables_are_shown() {
    let answer = json("SELECT a FROM d.t, u FOR UPDATE", "");
    assert_eq!(answer["tables_read"], serde_json::json!(["d.t", "u"]));
    assert!(answer["token"].is_string(), "{answer}");
    let assumed = answer["assumed"].to_string();
    assert!(assumed.contains("schema unknown: d.t taken as a base table"), "{assumed}");
    let answer = json("INSERT INTO d.t SELECT a FROM u", "");
    assert_eq!(answer["tables_written"], serde_json::json!(["d.t"]));
}

#[test]
fn the_sql_mode_counts() {
    assert_eq!(json(r#"SELECT "a" FROM "t""#, "ANSI,TRADITIONAL")["tables_read"], serde_json::json!(["t"]));
    assert_ne!(json(r#"SELECT "a" FROM "t""#, "")["target"], "replica");
}

#[test]
fn several_statements_are_one_object_with_parts() {
    let answer = json("SELECT 1; UPDATE t SET a = 1", "");
    assert_eq!(answer["target"], "primary");
    let parts = answer["parts"].as_array().unwrap();
    let reasons: Vec<&str> = parts.iter().map(|part| part["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["read", "write"]);
}

#[test]
fn a_text_beyond_the_limit_is_not_analysed() {
    let text = format!("SELECT '{}'", "x".repeat(17 << 20));
    assert_eq!(json(&text, "")["reason"], "too_large");
}

#[test]
fn bytes_that_are_no_text_are_explained_too() {
    let session = Session::default();
    for bytes in [&b"\xff\xfe"[..], b"SELECT '\xff'", b"\0", b"", b"SELECT \xc3"] {
        for json in [true, false] {
            assert!(!answer(bytes, &session, json).is_empty());
        }
    }
}

#[test]
fn texts_are_lines_or_end_with_nul() {
    let lines = |input: &[u8], nul| texts(input, nul).map(<[u8]>::to_vec).collect::<Vec<_>>();
    assert_eq!(lines(b"a\nb\r\n\n\r\nc", false), [b"a", b"b", b"c"]);
    assert_eq!(lines(b"a\nb\0c\r\0\0", true), [&b"a\nb"[..], b"c\r"]);
    assert!(lines(b"", false).is_empty());
}

#[test]
fn people_read_reasons_in_words() {
    let text = answer(b"SELECT a FROM d.t FOR UPDATE", &Session::default(), false);
    assert!(
        text.contains("goes to   primary, because: locking_read (it locks the rows that it reads)\n"),
        "{text}"
    );
}

#[test]
fn effects_and_digests_are_shown() {
    let of = |sql: &str| json(sql, "");
    let effects = [
        ("SELECT GET_LOCK('Cron', 1)", serde_json::json!(["get_lock cron"])),
        ("CREATE TEMPORARY TABLE d.x (a INT)", serde_json::json!(["create_temporary d.x"])),
        ("START TRANSACTION READ ONLY", serde_json::json!(["begin read_only"])),
        ("SET NAMES utf8mb4, @a = 1", serde_json::json!(["set names, @a"])),
        ("SELECT 1", serde_json::json!([])),
    ];
    for (sql, expected) in effects {
        assert_eq!(of(sql)["effects"], expected, "{sql}");
    }
    let (one, other) =
        (of("SELECT a FROM t WHERE b IN (1, 2)"), of("select  a from t where b in ( 3 ) -- x"));
    assert_eq!((&one["digest"], &one["digest_text"]), (&other["digest"], &other["digest_text"]));
    assert_ne!(one["digest"], of("SELECT a FROM u WHERE b IN (1)")["digest"]);
    assert_eq!(one["digest_text"], "SELECT a FROM t WHERE b IN ( ... )");
    assert_eq!(of("SELECT a FROM t WHERE b = 'x'")["digest_text"], "SELECT a FROM t WHERE b = ?");
}
