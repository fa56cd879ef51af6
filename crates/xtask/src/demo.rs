//! `cargo xtask demo`: clonelove in front of real servers, with traffic, for a person to watch. Owns the order of
//! things, from the first package to the last process; who asks what is `traffic`'s, how it looks is `screen`'s.

mod screen;
mod traffic;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clonelove_testkit::{APP_PASSWORD, APP_USER, Clonelove, Cluster, ClusterOptions, Config, Flavour};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;

use crate::setup;
use crate::shell::{cargo, on_path, read, show, workspace};
use screen::{Addresses, Screen};
use traffic::{SCHEMA, Visitors};

/// How many visit at once.
const VISITORS: usize = 5;
/// Between two requests, of all visitors together.
const PACE: Duration = Duration::from_millis(30);
/// Between two of the statements that are explained.
const EXPLAIN_EVERY: Duration = Duration::from_secs(4);
/// What the last requests may take when the demo ends.
const LAST_REQUESTS: Duration = Duration::from_secs(15);

/// All that can wake the demo.
pub(crate) enum Event {
    /// A visitor told of a request.
    Told(usize, String),
    /// A visitor ended.
    Left(usize),
    /// Ctrl-C, or a request to end.
    Interrupted,
}

/// Runs the demo until Ctrl-C, or for the time given by `--for`. `false` when the application saw an error.
pub(crate) fn run(args: &[&str]) -> Result<bool> {
    let limit = parse(args)?;
    prepare()?;
    let (sender, events) = channel();
    listen_for_signals(sender.clone())?;
    println!("starting a MariaDB primary with two replicas");
    let options = ClusterOptions { uniform: true, ..ClusterOptions::default() };
    let cluster = Cluster::start(Flavour::MariaDbDistribution, options)?;
    println!("starting clonelove in front of them");
    let config =
        Config::for_cluster(&cluster).set("monitor", "interval", "\"250ms\"").set("log", "level", "\"info\"");
    let proxy = Clonelove::start_with(config)?;
    println!("making the site's tables, through clonelove");
    traffic::install(&proxy, VISITORS)?;
    cluster.wait_caught_up()?;
    let visitors = Visitors::enter(&proxy, VISITORS, &sender)?;
    drop(sender);
    watch(cluster, proxy, visitors, &events, limit)
}

/// Drives and shows until the end, then ends everything and sums up.
fn watch(
    cluster: Cluster,
    proxy: Clonelove,
    mut visitors: Visitors,
    events: &Receiver<Event>,
    limit: Option<Duration>,
) -> Result<bool> {
    let mut screen = Screen::new(limit);
    let addresses = Addresses::new(&cluster, &proxy);
    let begun = Instant::now();
    let end = limit.map(|limit| begun + limit);
    let mut ticket = Due::now(PACE);
    let mut look = Due::now(screen.pause());
    let mut explain = Due::now(EXPLAIN_EVERY);
    let why = loop {
        let now = Instant::now();
        if end.is_some_and(|end| now >= end) {
            break "its time was over";
        }
        if ticket.is_due(now) {
            visitors.send_next();
        }
        if explain.is_due(now)
            && let Some(sql) = visitors.tally.sample.take()
        {
            screen.explained(&explained(&sql)?)?;
        }
        if look.is_due(now) {
            screen.show(&addresses, &proxy.status()?, &visitors.tally, begun.elapsed())?;
        }
        let wake = [Some(ticket.at), Some(look.at), end].into_iter().flatten().min().unwrap_or(now);
        match events.recv_timeout(wake.saturating_duration_since(now)) {
            Ok(Event::Interrupted) => break "it was asked to",
            Ok(event) => visitors.hear(event),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => bail!("nobody is left to wait for"),
        }
        if visitors.all_gone() {
            break "all visitors had left";
        }
    };
    visitors.leave(events, LAST_REQUESTS);
    let status = proxy.status()?;
    let panics = proxy.metric("clonelove_panics_total", &[])?;
    screen.show(&addresses, &status, &visitors.tally, begun.elapsed())?;
    proxy.shut_down()?;
    drop(cluster);
    println!("\nended after {:.0} s because {why}; nothing is left running", begun.elapsed().as_secs_f64());
    println!("{}", screen::summary(&status, &visitors.tally));
    let well = visitors.tally.errors == 0 && panics == 0.0 && visitors.tally.requests > 0;
    if !well {
        println!("FAILED: the application saw errors, or clonelove panicked ({panics})");
    }
    Ok(well)
}

/// The arguments: how long at most.
fn parse(args: &[&str]) -> Result<Option<Duration>> {
    match args {
        [] => Ok(None),
        ["--for", time] => Ok(Some(duration(time)?)),
        [one] if one.starts_with("--for=") => Ok(Some(duration(one.trim_start_matches("--for="))?)),
        _ => bail!("not understood: {args:?}; `cargo xtask demo [--for 20s]`"),
    }
}

fn duration(text: &str) -> Result<Duration> {
    let digits = text.trim_end_matches(char::is_alphabetic);
    let unit = text.get(digits.len()..).unwrap_or_default();
    let factor = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => bail!("no time: {text:?}; write 20s, 5m or 1h"),
    };
    let number: u64 = digits.parse().with_context(|| format!("no time: {text:?}; write 20s, 5m or 1h"))?;
    Ok(Duration::from_millis(number.saturating_mul(factor)))
}

/// Everything that must be there before the first server starts.
fn prepare() -> Result<()> {
    let server = on_path("mariadbd") || Path::new("/usr/sbin/mariadbd").is_file();
    let php = read(Command::new("php").args(["-r", "exit(extension_loaded('pdo_mysql') ? 0 : 1);"])).is_ok();
    if !(server && php && on_path("make")) {
        setup::install_for_demo()?;
    }
    println!("building clonelove (the first time takes some minutes)");
    show(cargo().args(["build", "--package", "clonelove", "--locked"]))
}

/// The first signal ends the demo in good order, the second at once.
fn listen_for_signals(sender: Sender<Event>) -> Result<()> {
    let ending = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        flag::register_conditional_shutdown(signal, 1, Arc::clone(&ending))?;
        flag::register(signal, Arc::clone(&ending))?;
    }
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    std::thread::spawn(move || {
        for _ in signals.forever() {
            // When nobody listens any more the demo is at its end already.
            let _ = sender.send(Event::Interrupted);
        }
    });
    Ok(())
}

/// What `clonelove explain` says of a statement, in the sql_mode that Drupal sets.
fn explained(sql: &str) -> Result<String> {
    read(Command::new(program()?).args(["explain", "--sql-mode", "ANSI,TRADITIONAL", sql]))
}

/// The clonelove that was built beside us.
fn program() -> Result<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name("clonelove"))
}

fn visitor_script() -> PathBuf {
    workspace().join("crates/xtask/src/demo/visitor.php")
}

/// How a person reaches the application's schema.
fn client_line(port: u16) -> String {
    format!("mariadb -h127.0.0.1 -P{port} -u{APP_USER} -p{APP_PASSWORD} {SCHEMA}")
}

/// Something that is to be done again and again.
struct Due {
    at: Instant,
    every: Duration,
}

impl Due {
    fn now(every: Duration) -> Self {
        Self { at: Instant::now(), every }
    }

    /// Whether it is time; then the next time is set. What was missed is not made up for.
    fn is_due(&mut self, now: Instant) -> bool {
        let due = now >= self.at;
        if due {
            self.at = now + self.every;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_nonsense_is_refused() {
        assert_eq!(parse(&[]).unwrap(), None);
        assert_eq!(parse(&["--for", "20s"]).unwrap(), Some(Duration::from_secs(20)));
        assert_eq!(parse(&["--for=1500ms"]).unwrap(), Some(Duration::from_millis(1500)));
        assert_eq!(parse(&["--for", "2m"]).unwrap(), Some(Duration::from_secs(120)));
        for wrong in [&["--for"][..], &["--for", "20"], &["--for", "s"], &["20s"], &["--for", "20s", "x"]] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
