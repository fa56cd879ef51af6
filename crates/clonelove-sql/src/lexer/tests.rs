//! Where tokens end.

use super::*;

/// The tokens of a text: their kinds' first letters and their bytes.
fn tokens(sql: &str, dialect: &Dialect) -> String {
    let kind = |kind| match kind {
        TokenKind::Word => "w",
        TokenKind::Name => "n",
        TokenKind::QuotedName => "q",
        TokenKind::Text => "t",
        TokenKind::Number => "#",
        TokenKind::Parameter => "p",
        TokenKind::UserVariable => "u",
        TokenKind::SystemVariable => "s",
        TokenKind::Assign | TokenKind::Operator => "o",
        TokenKind::Sign(_) => "",
        TokenKind::Error => "!",
    };
    let each = |token: Token| format!("{}{}", kind(token.kind), &sql[token.range]);
    Lexer::new(sql.as_bytes(), dialect).map(each).collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn check(sql: &str, expected: &str) {
    assert_eq!(tokens(sql, &Dialect::default()), expected, "{sql}");
}

#[test]
fn identifiers_beside_dots_are_no_keywords() {
    check("a.b", "na . nb");
    check("select.from.into", "nselect . nfrom . ninto");
    check("a . b", "wa . wb");
    check("a. b", "wa . wb");
    check("a .b", "wa . nb");
    check("a.`b`.c", "wa . q`b` . nc");
    check("`a`.b.5c", "q`a` . nb . n5c");
    check("a.5 a .5", "na . n5 wa #.5");
    check("$a a$b _c", "w$a wa$b w_c");
}

#[test]
fn numbers_end_where_the_servers_end_them() {
    check("1 1.5 .5 1. 1e5 1.5E-3 1.e5", "#1 #1.5 #.5 #1. #1e5 #1.5E-3 #1.e5");
    check("1e 1e+ 1ea 5a 0x 0xg 0X1f 0b2", "n1e n1e + n1ea n5a n0x n0xg n0X1f n0b2");
    check("0x1F 0b01 x'1f' B'01' N'a' n 'a'", "#0x1F #0b01 #x'1f' #B'01' tN'a' wn t'a'");
    check("1.a 1.from", "#1. wa #1. wfrom");
    check("1..2", "#1 . #.2");
    check("1.e x", "!1.e x");
    check("x'1g'", "!x'1g'");
    check(r"\N \M", r"#\N \ wM");
    check("-1 +-2", "- #1 + - #2");
}

#[test]
fn strings_and_names_in_quotes() {
    check(r"'a''b' 'a\'b' '\\' 'a' 'b'", r"t'a''b' t'a\'b' t'\\' t'a' t'b'");
    check("`a``b` ``", "q`a``b` q``");
    check(r"`a\` `b`", r"q`a\` q`b`");
    check("\"a\"\"b\"", "t\"a\"\"b\"");
    check("'a\0b'", "t'a\0b'");
    check("'open", "!'open");
    check("`a\0b`", "!`a\0b`");
    let ansi = Dialect { modes: Modes::ANSI_QUOTES, ..Dialect::default() };
    assert_eq!(tokens(r#""a\" "b""#, &ansi), r#"q"a\" q"b""#);
    let plain = Dialect { modes: Modes::NO_BACKSLASH_ESCAPES, ..Dialect::default() };
    assert_eq!(tokens(r"'a\' 'b'", &plain), r"t'a\' t'b'");
}

#[test]
fn variables() {
    check("@a @a.b @ @`b c` @'d' @\"e\"", "u@a u@a.b u@ u@`b c` u@'d' u@\"e\"");
    check("@@a @@global.b @@`c`", "s@@ wa s@@ nglobal . nb s@@ q`c`");
    check("@@ a", "!@@ a");
    check("@a:=1", "u@a o:= #1");
    check("u@h", "wu u@h");
}

#[test]
fn operators_and_signs() {
    check("a<=>b<=c<>d!=e<<f>>g||h&&i", "wa o<=> wb o<= wc o<> wd o!= we o<< wf o>> wg o|| wh o&& wi");
    check("a->b->>c=-d", "wa o-> wb o->> wc = - wd");
    check("(?),?a;", "( p? ) , ? wa ;");
}

#[test]
fn comments_and_what_is_none() {
    check("a--b", "wa - - wb");
    check("a-- b\nc", "wa wc");
    check("a#b\nc", "wa wc");
    check("a/*b*/c/**/d", "wa wc wd");
    check("a*/b", "wa * / wb");
    check("2*/*c*/3", "#2 * #3");
    check("a/*!b*/c", "wa wb wc");
    check("a/*!50000b*/c/*!99999d*/e", "wa wb wc we");
    check("a/*!99999b/*c*/d*/e", "wa we");
    check("a/*!b/*c*/d*/e", "wa wb wd we");
    check("a/*!b/*!c*/d", "wa wb wc wd");
    check("a/*b", "wa !/*b");
    check("a/*!b", "wa wb !");
    check("a/*!b;", "wa wb !;");
}

#[test]
fn lists_of_literals_are_passed_to_where_they_end() {
    fn passed(sql: &str, rows: bool) -> Option<&str> {
        let dialect = Dialect::default();
        let mut lexer = Lexer::new(sql.as_bytes(), &dialect);
        assert_eq!(lexer.next().map(|token| token.kind), Some(TokenKind::Sign(b'(')));
        lexer.skip_literals(rows).then(|| &sql[lexer.at()..])
    }
    assert_eq!(passed("(1, 'a)', -2.5,NULL ,?) x", false), Some(" x"));
    assert_eq!(passed("(1),(2), ( '3' )\n, (4)x", true), Some("x"));
    assert_eq!(passed("(1),(2)", false), Some(",(2)"));
    assert_eq!(passed("(1),(now()),(2)", true), Some(",(now()),(2)"));
    assert_eq!(passed("(1),(2),a", true), Some(",a"));
    for closer in [
        "()",
        "(1",
        "(1,)",
        "(,1)",
        "(1 2)",
        "(a)",
        "(1a)",
        "(1e5)",
        "(0x1F)",
        "(x'1f')",
        "('a' 'b')",
        "(1/*c*/)",
        "(1-- \n)",
        "(-'a')",
        "(- 1)",
        "(--1)",
        "(nully)",
        "(null.a)",
        "(1;)",
        "(?a)",
        "(1.e)",
        "('a)",
        "(1.a)",
        "((1))",
        "(.5)",
    ] {
        assert_eq!(passed(closer, true), None, "{closer}");
    }
}
