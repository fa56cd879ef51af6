use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use clonelove_proxy::settings::{Limits, Pool, Routing};

use super::check::check;
use super::keys::{KEYS, Unwritten};
use super::secret::Sources;
use super::*;

/// What every config needs; tests put more before and after it.
const LEAST: &str = r#"
[[server]]
address = "db1:3306"
[monitor]
user = "m"
password = "p"
[[user]]
name = "u"
password = "p"
"#;

/// The config of `text`, or its problems as `line:column: problem (hint)`.
fn read_in(base: &Path, text: &str) -> Result<Config, Vec<String>> {
    let environment = BTreeMap::from([("SET", "from the environment"), ("EMPTY", "")]);
    let env = |name: &str| environment.get(name).map(OsString::from);
    check(Path::new("f"), text, Sources { env: &env, base }).map_err(|problems| {
        problems.iter().map(|problem| problem.to_string().trim_start_matches("f:").to_owned()).collect()
    })
}

fn read(text: &str) -> Result<Config, Vec<String>> {
    read_in(Path::new("/nonexistent"), text)
}

/// `LEAST` with `line` written into `section`.
fn least_with(section: &str, line: &str) -> String {
    match section {
        "server" => LEAST.replace("address = \"db1:3306\"", &format!("address = \"db1:3306\"\n{line}")),
        "monitor" => LEAST.replace("user = \"m\"", &format!("user = \"m\"\n{line}")),
        "user" => LEAST.replace("name = \"u\"", &format!("name = \"u\"\n{line}")),
        "listen.mysql" => {
            format!("[listen]\nmysql = [{{ address = \"127.0.0.1:3307\", {line} }}]\n{LEAST}")
        }
        other => format!("{LEAST}\n[{other}]\n{line}\n"),
    }
}

fn problem_of(section: &str, line: &str) -> String {
    match read(&least_with(section, line)) {
        Ok(_) => panic!("[{section}] {line} was taken"),
        Err(problems) => problems.join("\n"),
    }
}

#[test]
fn the_least_config_has_the_documented_defaults() {
    let config = read(LEAST).unwrap();
    assert_eq!(config.settings.routing, Routing::default());
    assert_eq!(config.settings.pool, Pool::default());
    assert_eq!(config.settings.limits, Limits::default());
    assert_eq!(config.settings.servers[0].name, "db1:3306");
    assert_eq!(config.settings.listen.unix_mode, 0o777);
    assert_eq!(config.http.unwrap().address(), "127.0.0.1:9307");
}

/// The documented names and defaults: section, key, default. Dashboards and scripts rely on them.
/// `routing.freshness` is documented as "key"; "session" is the default until that is built.
const DOCUMENTED: &str = r#"
listen mysql ["127.0.0.1:3307"]
listen http "127.0.0.1:9307"
listen http_token none
listen http_read_only false
listen unix_mode "0777"
listen compression ["zlib", "zstd"]
listen proxy_protocol []
listen.mysql address required
listen.mysql route "split"
listen.mysql tls "optional"
server address required
server name none
server role "auto"
server weight 100
server zone ""
server max_connections 200
server tls "preferred"
server tls_ca none
server compression "none"
server proxy_protocol false
monitor user required
monitor password required
monitor interval "1s"
monitor timeout "1s"
monitor fall 3
monitor rise 2
monitor schema_interval "60s"
user name required
user password required
user passwords none
user max_connections 0
user tls "optional"
user networks []
user route "split"
user admin false
users from "config"
routing freshness "key"
routing freshness_scope "proxy"
routing fresh_wait "5ms"
routing max_wait "10s"
routing max_lag "30s"
routing max_skew "1s"
routing max_primary_reads 0
routing over_budget "wait"
routing fallback "primary"
routing balance "least_in_flight"
routing zone ""
routing warm_up "30s"
routing mode "split"
pool connect_timeout "2s"
pool queue_timeout "5s"
pool max_idle 50
pool min_idle 2
pool idle_timeout "5m"
pool max_age "1h"
pool write_reserve 0.2
tls cert none
tls key none
tls client_ca none
tls server_ca none
tls min_version "1.2"
tls rsa_key none
limits client_connections 10000
limits login_timeout "10s"
limits client_idle_timeout "8h"
limits drain_timeout "30s"
limits max_packet "1GiB"
limits analyse_up_to "16MiB"
limits facts_cache 10000
limits watermarks 100000
limits prepared_per_connection 500
limits local_infile false
log level "info"
log format "auto"
"#;

#[test]
fn the_documented_keys_are_the_known_ones() {
    let known: Vec<String> = KEYS
        .iter()
        .map(|key| {
            let default = match key.default {
                Unwritten::Is(default) => default,
                Unwritten::Required => "required",
                Unwritten::Absent => "none",
            };
            format!("{} {} {default}", key.section, key.name)
        })
        .collect();
    assert_eq!(known, DOCUMENTED.trim().lines().collect::<Vec<_>>());
}

#[test]
fn writing_a_default_changes_nothing() {
    let plain = read(LEAST).unwrap();
    for key in KEYS {
        if let Unwritten::Is(default) = key.default {
            let text = least_with(key.section, &format!("{} = {default}", key.name));
            assert_eq!(read(&text).as_ref(), Ok(&plain), "{}.{}", key.section, key.name);
        }
    }
}

#[test]
fn a_missing_required_key_is_told() {
    for key in KEYS.iter().filter(|key| key.default == Unwritten::Required) {
        let text = match key.section {
            "listen.mysql" => format!("[listen]\nmysql = [{{ route = \"split\" }}]\n{LEAST}"),
            section => {
                let mut inside = false;
                let keep = |line: &&str| {
                    inside =
                        if line.starts_with('[') { line.trim_matches(['[', ']']) == section } else { inside };
                    !(inside && line.starts_with(&format!("{} =", key.name)))
                };
                LEAST.lines().filter(keep).collect::<Vec<_>>().join("\n")
            }
        };
        let problems = read(&text).unwrap_err().join("\n");
        assert!(problems.contains(&format!("{}.{} is missing", key.section, key.name)), "{problems}");
    }
}

fn project_file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config").join(name);
    std::fs::read_to_string(path).unwrap()
}

/// Their secrets come from places that a test machine has not.
fn with_plain_secrets(text: &str) -> String {
    text.replace("{ env = \"CLONELOVE_MONITOR_PASSWORD\" }", "\"p\"")
        .replace("{ file = \"/run/secrets/drupal\" }", "\"p\"")
}

#[test]
fn the_example_configs_load_and_show_the_real_defaults() {
    let smallest = read(&with_plain_secrets(&project_file("clonelove.toml"))).unwrap();
    let mut example = read(&with_plain_secrets(&project_file("clonelove.example.toml"))).unwrap();
    for (server, other) in example.settings.servers.iter_mut().zip(&smallest.settings.servers) {
        assert!(["db1", "db2"].contains(&server.name.as_str()));
        server.name.clone_from(&other.name);
    }
    assert_eq!(example, smallest);
}

#[test]
fn the_example_config_has_every_key_with_its_default() {
    let text = project_file("clonelove.example.toml");
    let section_of = |key: &keys::Key| {
        let heads = [format!("[{}]\n", key.section), format!("[[{}]]\n", key.section)];
        let start = heads.iter().find_map(|head| text.find(head.as_str())).unwrap();
        let rest = &text[start + 1..];
        rest[..rest.find("\n[").unwrap_or(rest.len())].to_owned()
    };
    for key in KEYS.iter().filter(|key| key.section != "listen.mysql") {
        let written = match key.default {
            Unwritten::Is(default) => format!("\n{} = {default}\n", key.name),
            Unwritten::Required => format!("\n{} = ", key.name),
            Unwritten::Absent if matches!(key.name, "name" | "passwords") => key.name.to_owned(),
            Unwritten::Absent => format!("\n# {} = ", key.name),
        };
        assert!(section_of(key).contains(&written), "{written:?} is not in [{}]", key.section);
    }
}

#[test]
fn five_mistakes_are_told_at_once_with_place_and_hint() {
    let text = r#"[listen]
htp = "127.0.0.1:9307"

[[server]]
address = "db1"

[[server]]
address = "db2:3306"
weight = 20000

[monitor]
user = "m"
password = { env = "NOT_SET" }
interval = "5 seconds"

[[user]]
name = "drupal"
password = "x"
"#;
    let expected = [
        "2:1: unknown key \"listen.htp\" (did you mean \"http\"?)",
        "5:11: server.address = \"db1\" is no address (a port is missing: \"db1:3306\")",
        "9:10: server.weight = 20000 is out of range (write a number from 0 to 10000, without quotes)",
        "13:12: monitor.password needs $NOT_SET, which is not set (set it, under systemd by Environment= or EnvironmentFile=)",
        "14:12: monitor.interval = \"5 seconds\" is not a duration (a duration is a whole number and a unit: us, ms, s, m, h or d, as in \"250ms\" or \"1h30m\")",
    ];
    assert_eq!(read(text).unwrap_err(), expected);
}

#[test]
fn broken_toml_does_not_hide_the_rest() {
    let text = format!(
        "{LEAST}\n[pool]\nmax_idle = lots\nmin_idle = \"2\"\nmax_age = \"1h\"\nmax_age = \"2h\"\n[log\n"
    );
    let problems = read(&text).unwrap_err();
    let expected = [
        "12:12: string values must be quoted, expected literal string (put it between double quotes)",
        "13:12: pool.min_idle must be a whole number (write a number from 0 to 1000000, without quotes)",
        "15:1: duplicate key \"max_age\" (keep one of them)",
        "16:5: unclosed table, expected `]` (TOML is written name = \"text\", name = 5, name = [ … ], [section] or [[list]])",
    ];
    assert_eq!(problems, expected);
}

#[test]
fn unknown_words_get_a_hint() {
    let table = [
        ("pool", "max_idel = 5", "unknown key \"pool.max_idel\" (did you mean \"max_idle\"?)"),
        ("pool", "fresh_wait = \"1s\"", "unknown key \"pool.fresh_wait\" (it belongs in [routing])"),
        ("log", "colour = 1", "unknown key \"log.colour\" (known here: level, format)"),
        ("server", "wieght = 5", "unknown key \"server.wieght\" (did you mean \"weight\"?)"),
        ("listen.mysql", "rout = \"split\"", "unknown key \"listen.mysql.rout\" (did you mean \"route\"?)"),
        (
            "server",
            "role = \"master\"",
            "server.role = \"master\" is not known (one of auto, primary, replica)",
        ),
        ("routing", "mode = \"primary-only\"", "(did you mean \"primary_only\"?)"),
        (
            "routing",
            "balance = 5",
            "routing.balance must be a string (write balance = \"…\", not a whole number)",
        ),
        ("rooting", "a = 5", "unknown section \"rooting\" (did you mean [routing]?)"),
        ("servers", "a = 5", "unknown section \"servers\" (did you mean [[server]]?)"),
    ];
    for (section, line, expected) in table {
        let problem = problem_of(section, line);
        assert!(problem.contains(expected), "{problem}");
    }
    let problem = read(&format!("max_lag = \"1s\"\n{LEAST}")).unwrap_err().join("\n");
    assert_eq!(problem, "1:1: unknown key \"max_lag\" (it belongs below [routing])");
}

#[test]
fn sections_of_the_wrong_shape_are_told() {
    let table = [
        (LEAST.replace("[[server]]", "[server]"), "server must be a list of sections, not a table"),
        (format!("[[routing]]\nmode = \"split\"\n{LEAST}"), "routing must be a section, not a list"),
        (format!("[[users]]\nname = \"u\"\n{LEAST}"), "(did you mean [[user]]?)"),
        (format!("log = 5\n{LEAST}"), "log must be a section, not a whole number"),
        (
            LEAST.replace("[[server]]\naddress = \"db1:3306\"", "server = [5]"),
            "server must be a list of sections",
        ),
    ];
    for (text, expected) in table {
        let problems = read(&text).unwrap_err().join("\n");
        assert!(problems.contains(expected), "{problems}");
    }
}

#[test]
fn values_out_of_range_are_told() {
    let table = [
        ("server", "weight = -1"),
        ("server", "weight = 99999999999999999999999"),
        ("server", "weight = 0.5"),
        ("server", "max_connections = 0"),
        ("server", "name = \"DB 1\""),
        ("server", "zone = \"a b\""),
        ("monitor", "interval = \"0s\""),
        ("monitor", "interval = 1"),
        ("monitor", "fall = 0"),
        ("pool", "write_reserve = 1.0"),
        ("pool", "write_reserve = -0.1"),
        ("pool", "write_reserve = nan"),
        ("pool", "write_reserve = \"0.2\""),
        ("pool", "min_idle = 51"),
        ("pool", "max_idle = 1"),
        ("limits", "max_packet = 1024"),
        ("limits", "max_packet = \"2GiB\""),
        ("limits", "max_packet = \"16MB\""),
        ("limits", "max_packet = \"1MiB\""),
        ("limits", "client_connections = 0"),
        ("listen", "mysql = []"),
        ("listen", "mysql = [\"a:1\", \"a:1\"]"),
        ("listen", "mysql = [5]"),
        ("listen", "mysql = \"127.0.0.1:3307\""),
        ("listen", "mysql = [\"127.0.0.1:9307\"]"),
        ("listen", "http = true"),
        ("listen", "http = \"9307\""),
        ("listen", "unix_mode = \"0999\""),
        ("listen", "unix_mode = \"+777\""),
        ("listen", "unix_mode = 777"),
        ("user", "networks = [\"10.0.0.0/33\"]"),
        ("user", "networks = \"10.0.0.0/8\""),
        ("log", "level = \"loud\""),
    ];
    for (section, line) in table {
        let problem = problem_of(section, line);
        assert_eq!(problem.lines().count(), 1, "{problem}");
        assert!(problem.contains(" (") && problem.ends_with(')'), "no hint: {problem}");
    }
}

/// A folder with files of TLS: `good` and `other` are pairs, `nothing` is no PEM.
fn files_of_tls() -> clonelove_testkit::Sandbox {
    let folder = clonelove_testkit::Sandbox::new().unwrap();
    let authority = clonelove_testkit::Authority::new("test").unwrap();
    for name in ["good", "other"] {
        authority.issue(name, &["localhost"]).unwrap().write(folder.path(), name).unwrap();
    }
    std::fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
    std::fs::write(folder.path().join("nothing.pem"), "nothing\n").unwrap();
    folder
}

#[test]
fn files_of_tls_are_checked_as_they_will_be_used() {
    let folder = files_of_tls();
    let tls = |lines: &str| read_in(folder.path(), &least_with("tls", lines));
    let good = tls("cert = \"good.pem\"\nkey = \"good.key\"\nclient_ca = \"ca.pem\"").unwrap();
    assert!(good.settings.tls.is_some());
    assert_eq!(good, tls("cert = \"good.pem\"\nkey = \"good.key\"\nclient_ca = \"ca.pem\"").unwrap());
    assert_ne!(good, tls("cert = \"other.pem\"\nkey = \"other.key\"\nclient_ca = \"ca.pem\"").unwrap());
    let pair = "cert = \"good.pem\"\nkey = \"good.key\"";
    let table = [
        ("cert = \"gone.pem\"\nkey = \"good.key\"", "12:8: tls.cert names gone.pem, which cannot be read"),
        ("cert = \"good.pem\"\nkey = \"gone.key\"", "13:7: tls.key names gone.key, which cannot be read"),
        (
            "cert = \"nothing.pem\"\nkey = \"good.key\"",
            "12:8: tls.cert names nothing.pem, which has no certificate",
        ),
        (
            "cert = \"good.pem\"\nkey = \"nothing.pem\"",
            "13:7: tls.key names nothing.pem, which has no private key",
        ),
        (
            "cert = \"good.pem\"\nkey = \"other.key\"",
            "13:7: tls.key names other.key, which is not the key of the certificate in good.pem",
        ),
        ("cert = \"good.pem\"", "12:8: tls.cert stands without tls.key"),
        ("key = \"good.key\"", "12:7: tls.key stands without tls.cert"),
        ("client_ca = \"ca.pem\"", "12:13: tls.client_ca stands without tls.cert and tls.key"),
        (
            &format!("{pair}\nclient_ca = \"nothing.pem\""),
            "14:13: tls.client_ca names nothing.pem, which has no",
        ),
        ("server_ca = \"nothing.pem\"", "12:13: tls.server_ca names nothing.pem, which has no certificate"),
        ("min_version = \"1.1\"", "tls.min_version = \"1.1\" is not known"),
    ];
    for (lines, wanted) in table {
        let problems = tls(lines).unwrap_err().join("\n");
        assert!(problems.contains(wanted), "{lines}: {problems}");
        assert_eq!(problems.lines().count(), 1, "{problems}");
    }
}

#[test]
fn tls_that_cannot_be_had_is_refused() {
    let folder = files_of_tls();
    let needs = "give clonelove a certificate";
    let table = [
        ("user", "tls = \"required\"", needs),
        ("listen.mysql", "tls = \"required\"", needs),
        ("server", "tls = \"verify-ca\"", "needs to know whom to trust"),
        ("server", "tls = \"verify-identity\"", "needs to know whom to trust"),
        ("server", "tls_ca = \"ca.pem\"", "has no effect: tls = \"preferred\" looks at no certificate"),
        ("server", "tls = \"required\"\ntls_ca = \"ca.pem\"", "has no effect"),
        ("server", "tls = \"verify-ca\"\ntls_ca = \"nothing.pem\"", "which has no certificate"),
    ];
    for (section, lines, wanted) in table {
        let problems = read_in(folder.path(), &least_with(section, lines)).unwrap_err().join("\n");
        assert!(problems.contains(wanted), "{lines}: {problems}");
        assert_eq!(problems.lines().count(), 1, "{problems}");
    }
    let unix = LEAST
        .replace("db1:3306", "unix:/run/db.sock")
        .replace("[monitor]", "name = \"db1\"\ntls = \"verify-identity\"\ntls_ca = \"ca.pem\"\n[monitor]");
    let problems = read_in(folder.path(), &unix).unwrap_err().join("\n");
    assert!(problems.contains("needs a host to compare the certificate with"), "{problems}");
    // Whoever must be safe can be on a unix socket.
    let local = "[listen]\nmysql = [\"unix:/run/c.sock\"]\n";
    let safe = least_with("user", "tls = \"required\"");
    assert!(read_in(folder.path(), &format!("{local}{safe}")).is_ok());
}

#[test]
fn servers_are_trusted_by_their_own_authority_or_by_all_servers() {
    let folder = files_of_tls();
    let own = least_with("server", "tls = \"verify-ca\"\ntls_ca = \"ca.pem\"");
    let all = format!("{}[tls]\nserver_ca = \"ca.pem\"\n", least_with("server", "tls = \"verify-ca\""));
    let read = |text: &str| read_in(folder.path(), text).unwrap().settings.servers[0].tls.clone();
    assert_eq!(read(&own), read(&all));
    assert_eq!(read(&own).mode(), clonelove_proxy::tls::ServerTls::VerifyCa);
}

#[test]
fn a_config_that_can_never_route_is_refused() {
    let cut = |what: &str| LEAST.replace(what, "");
    let server = |more: &str| format!("{LEAST}\n[[server]]\naddress = \"db2:3306\"\n{more}\n");
    let table = [
        (cut("[[server]]\naddress = \"db1:3306\"\n"), "no server is configured"),
        (cut("[[user]]\nname = \"u\"\npassword = \"p\"\n"), "no user is configured"),
        (cut("[monitor]\nuser = \"m\"\npassword = \"p\"\n"), "section [monitor] is missing"),
        (least_with("server", "role = \"replica\""), "every server is pinned to role = \"replica\""),
        (
            server("role = \"primary\"").replace("\"db1:3306\"", "\"db1:3306\"\nrole = \"primary\""),
            "a second server is pinned to role = \"primary\" beside \"db1:3306\"",
        ),
        (server("name = \"db1:3306\""), "the server name \"db1:3306\" is configured twice"),
        (server("").replace("db2:", "DB1:"), "is configured twice"),
        (
            format!("{LEAST}\n[[user]]\nname = \"u\"\npassword = \"q\"\n"),
            "the user \"u\" is configured twice",
        ),
        (String::new(), "no server is configured"),
    ];
    for (text, expected) in table {
        let problems = read(&text).unwrap_err().join("\n");
        assert!(problems.contains(expected), "{problems}");
    }
    assert!(read(&server("role = \"replica\"")).is_ok());
}

#[test]
fn an_admin_port_that_others_can_reach_needs_a_token() {
    let with = |listen: &str| read(&format!("[listen]\n{listen}\n{LEAST}"));
    for open in ["0.0.0.0:9307", "[::]:9307", "10.0.0.1:9307", "proxy.example.org:9307"] {
        let problems = with(&format!("http = \"{open}\"")).unwrap_err().join("\n");
        assert!(
            problems.starts_with("2:8: listen.http") && problems.contains("without a token"),
            "{problems}"
        );
        assert!(with(&format!("http = \"{open}\"\nhttp_read_only = true")).is_ok());
        assert!(with(&format!("http = \"{open}\"\nhttp_token = \"x\"")).is_ok());
    }
    for closed in ["\"127.0.0.1:9307\"", "\"[::1]:9307\"", "\"localhost:9307\"", "false"] {
        assert!(with(&format!("http = {closed}")).is_ok());
    }
    assert!(with("http_token = \"\"").is_err());
    assert_eq!(with("http = false").unwrap().http, None);
}

#[test]
fn secrets_by_value_environment_and_file() {
    let base = std::env::temp_dir().join(format!("clonelove-secrets-{}", std::process::id()));
    std::fs::create_dir_all(&base).unwrap();
    let file = |name: &str, content: &[u8]| std::fs::write(base.join(name), content).unwrap();
    file("plain", b"geheim");
    file("newline", b"geheim\n");
    file("two", b" a\nb\n\n");
    file("empty", b"\n");
    file("long", &[b'x'; 70_000]);
    let password = |secret: &str| {
        let text =
            LEAST.replace("name = \"u\"\npassword = \"p\"", &format!("name = \"u\"\npassword = {secret}"));
        read_in(&base, &text).map(|config| config.settings.users[0].passwords[0].expose().to_vec())
    };
    assert_eq!(password("\"ü\""), Ok("ü".as_bytes().to_vec()));
    assert_eq!(password("\"\""), Ok(Vec::new()));
    assert_eq!(password("{ env = \"SET\" }"), Ok(b"from the environment".to_vec()));
    assert_eq!(password("{ file = \"plain\" }"), Ok(b"geheim".to_vec()));
    assert_eq!(password("{ file = \"newline\" }"), Ok(b"geheim".to_vec()));
    assert_eq!(password("{ file = \"two\" }"), Ok(b" a\nb\n".to_vec()));
    let absolute = format!("{{ file = \"{}\" }}", base.join("plain").display());
    assert_eq!(password(&absolute), Ok(b"geheim".to_vec()));
    let bad = [
        "{ env = \"NOT_SET\" }",
        "{ env = \"EMPTY\" }",
        "{ env = 5 }",
        "{ env = \"SET\", file = \"plain\" }",
        "{ vault = \"x\" }",
        "{}",
        "{ file = \"absent\" }",
        "{ file = \"empty\" }",
        "{ file = \"long\" }",
        "{ file = \".\" }",
        "5",
        "[\"x\"]",
    ];
    for secret in bad {
        let problems = password(secret).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].starts_with("9:12: user.password "), "{problems:?}");
        assert!(!problems[0].contains("geheim"));
    }
    std::fs::remove_dir_all(&base).unwrap();
}

#[test]
fn several_passwords_during_a_rotation() {
    let with = |lines: &str| {
        read(&LEAST.replace("name = \"u\"\npassword = \"p\"", &format!("name = \"u\"\n{lines}")))
    };
    let users = with("passwords = [\"new\", { env = \"SET\" }]").unwrap().settings.users;
    let passwords: Vec<&[u8]> = users[0].passwords.iter().map(Secret::expose).collect();
    assert_eq!(passwords, [&b"new"[..], b"from the environment"]);
    for bad in
        ["passwords = []", "passwords = \"x\"", "passwords = [5]", "password = \"a\"\npasswords = [\"b\"]"]
    {
        assert_eq!(with(bad).unwrap_err().len(), 1, "{bad}");
    }
}

#[test]
fn no_secret_is_ever_shown() {
    let text = format!("[listen]\nhttp_token = \"geheim\"\n{LEAST}").replace("\"p\"", "\"geheim\"");
    assert!(!format!("{:?}", read(&text).unwrap()).contains("geheim"));
}

#[test]
fn listeners_in_both_forms() {
    let text = format!(
        "[listen]\nmysql = [\"[::1]:3307\", {{ address = \"unix:/run/c.sock\", route = \"primary\", tls = \"optional\" }}]\n{LEAST}"
    );
    let listeners = read(&text).unwrap().settings.listen.mysql;
    let told: Vec<String> =
        listeners.iter().map(|each| format!("{} {:?}", each.address, each.route)).collect();
    assert_eq!(told, ["[::1]:3307 Split", "unix:/run/c.sock Primary"]);
}

#[test]
fn a_server_is_named_after_its_address() {
    let name = |address: &str| {
        read(&LEAST.replace("db1:3306", address)).map(|config| config.settings.servers[0].name.clone())
    };
    assert_eq!(name("DB1.Example.org:3306").unwrap(), "db1.example.org:3306");
    assert_eq!(name("[::1]:3306").unwrap(), "::1:3306");
    let problem = name("unix:/run/mysqld.sock").unwrap_err().join("\n");
    assert!(problem.contains("cannot serve as the server's name (add name = \"db1\""), "{problem}");
}

#[test]
fn no_text_can_make_the_check_panic() {
    let text = project_file("clonelove.example.toml");
    for cut in (0..text.len()).filter(|at| text.is_char_boundary(*at)).step_by(7) {
        let _ = read(&text[..cut]);
        let _ = read(&text[cut..]);
        let swapped = text.replacen(['=', '"', '[', '\n'], ["]", "{", "''", "5"][cut % 4], cut % 40);
        let _ = read(&swapped[..cut.min(swapped.len() / 2 * 2)].chars().rev().collect::<String>());
    }
    let _ = read(&"[".repeat(100_000));
    let _ = read(&format!("a = {}", "[".repeat(100_000)));
    let _ = read("\u{feff}\0\r[listen]\r\nmysql = [\"\\u0000\"]");
}
