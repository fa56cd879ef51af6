use super::*;
use crate::report::Flavour;
use crate::report::fixture::{FLAVOURS, primary, replica, written};

const RULES: HealthRules = HealthRules {
    fall: 3,
    rise: 2,
    max_lag: Duration::from_secs(30),
    max_skew: Duration::from_secs(1),
    kept: Rules::all(),
};
const INTERVAL: Duration = Duration::from_secs(1);

/// A server that is probed once a second.
struct Probed {
    health: Health,
    now: Duration,
    report: Report,
}

impl Probed {
    fn new(report: Report) -> Self {
        Probed { health: Health::new(), now: Duration::from_secs(100), report }
    }

    fn replica() -> Self {
        Probed::new(replica(Flavour::MariaDb, 2, 1, 50))
    }

    /// A replica that has been up for a while.
    fn up() -> Self {
        let mut probed = Probed::replica();
        assert_eq!(probed.good(), Some((State::Down, State::Up)));
        assert_eq!(probed.good(), None);
        probed
    }

    fn good(&mut self) -> Option<(State, State)> {
        self.tick();
        self.health.observe(Ok(&self.report), &RULES, self.now).map(|change| (change.from, change.to))
    }

    fn bad(&mut self) -> Option<(State, State)> {
        self.tick();
        self.health
            .observe(Err("connection refused"), &RULES, self.now)
            .map(|change| (change.from, change.to))
    }

    fn down(&mut self) {
        for _ in 0..RULES.fall {
            self.bad();
        }
        assert_eq!(self.health.state(), State::Down);
    }

    fn tick(&mut self) {
        self.now += INTERVAL;
        self.report.uptime_seconds += INTERVAL.as_secs();
    }

    fn surround(&mut self, is_primary: bool, primary_up: bool) {
        self.health.surround(Surroundings { is_primary, primary_up }, &RULES, self.now);
    }

    fn channel(&mut self) -> &mut crate::report::Channel {
        &mut self.report.replication[0]
    }

    /// What the probe then leads to, and why.
    fn becomes(&mut self, state: State, word: &str) {
        self.good();
        assert_eq!(self.health.state(), state, "{}", self.health.why());
        assert!(self.health.why().contains(word), "{} lacks {word}", self.health.why());
    }
}

#[test]
fn the_first_good_probe_counts_at_once() {
    let mut server = Probed::replica();
    assert_eq!(server.health.state(), State::Down);
    assert!(!server.health.is_probed() && !server.health.is_reachable());
    assert_eq!(server.good(), Some((State::Down, State::Up)));
    assert!(server.health.is_probed() && server.health.is_reachable() && server.health.has_position());
    assert_eq!(server.health.why(), "");
    assert_eq!(server.health.since(), server.now);
}

#[test]
fn a_failure_before_the_first_good_probe_does_not_delay_it() {
    let mut server = Probed::replica();
    assert_eq!(server.bad(), None);
    assert_eq!(server.good(), Some((State::Down, State::Up)));
}

#[test]
fn down_after_fall_failures_and_up_after_rise_successes() {
    let mut server = Probed::up();
    assert_eq!((server.bad(), server.bad()), (None, None));
    assert_eq!(server.good(), None);
    assert_eq!((server.bad(), server.bad()), (None, None), "a good probe in between starts the count again");
    assert_eq!(server.bad(), Some((State::Up, State::Down)));
    assert_eq!(server.health.why(), "connection refused");
    assert_eq!(server.good(), None);
    assert!(server.health.why().contains("answers again"));
    assert_eq!(server.bad(), None, "not twice in sequence");
    assert_eq!(server.good(), None);
    assert_eq!(server.good(), Some((State::Down, State::Up)));
}

#[test]
fn one_that_was_down_from_the_start_has_to_rise() {
    let mut server = Probed::replica();
    server.down();
    assert_eq!(server.good(), None);
    assert_eq!(server.good(), Some((State::Down, State::Up)));
}

#[test]
fn suspicion_hastens_the_probe_and_declares_nothing() {
    let mut server = Probed::up();
    let due = |server: &Probed| server.health.next_probe(server.now, INTERVAL) - server.now;
    assert_eq!(due(&server), INTERVAL);
    for _ in 0..100 {
        server.health.suspect();
    }
    assert_eq!(server.health.state(), State::Up);
    assert!(due(&server) < INTERVAL);
    server.good();
    assert_eq!(due(&server), INTERVAL);
    server.bad();
    assert!(due(&server) < INTERVAL, "a failed probe is looked into soon");
    server.down();
    assert_eq!(due(&server), INTERVAL, "one that is down is left in peace");
}

#[test]
fn a_position_is_void_from_a_failed_probe_to_the_next_good_one() {
    let mut server = Probed::up();
    server.bad();
    assert!(server.health.is_reachable() && !server.health.has_position());
    server.good();
    assert!(server.health.has_position());
}

#[test]
fn broken_replication_counts_at_once_and_repair_after_rise() {
    let mut server = Probed::up();
    server.channel().sql_running = false;
    server.channel().last_error = "Duplicate entry".to_owned();
    assert_eq!(server.good(), Some((State::Up, State::Broken)));
    assert!(server.health.why().contains("Duplicate entry"), "{}", server.health.why());
    server.channel().sql_running = true;
    assert_eq!(server.good(), None);
    assert_eq!(server.good(), Some((State::Broken, State::Up)));
}

#[test]
fn only_probes_count_as_good_news() {
    let mut server = Probed::up();
    server.channel().sql_running = false;
    server.good();
    server.channel().sql_running = true;
    server.good();
    for primary_up in [false, true, false, true] {
        server.surround(false, primary_up);
        assert_eq!(server.health.state(), State::Broken);
    }
}

#[test]
fn every_way_in_which_replication_is_broken() {
    let mut server = Probed::up();
    server.channel().filtered = true;
    server.becomes(State::Broken, "filtered");
    server.surround(true, true);
    assert_eq!(server.health.state(), State::Up, "a primary's own sources are not its readers' business");
    server.surround(false, true);
    assert_eq!(server.health.state(), State::Broken);
    server.channel().filtered = false;
    server.channel().io_running = false;
    server.becomes(State::Broken, "receiving");
}

#[test]
fn lag_counts_from_max_lag_up() {
    let mut server = Probed::up();
    server.channel().lag = Some(30.0);
    server.becomes(State::Up, "");
    server.channel().lag = Some(31.0);
    server.becomes(State::Lagging, "31 s behind");
    server.channel().lag = Some(0.0);
    server.becomes(State::Lagging, "");
    server.becomes(State::Up, "");
    server.channel().intended_delay = 60;
    server.becomes(State::Lagging, "on purpose");
}

#[test]
fn the_primary_is_never_shunned_for_lag() {
    let mut server = Probed::up();
    server.channel().lag = Some(3000.0);
    server.becomes(State::Lagging, "");
    server.surround(true, true);
    assert_eq!(server.health.state(), State::Up);
    server.becomes(State::Up, "");
}

#[test]
fn a_replica_that_is_cut_off_lags_more_with_every_second() {
    let mut server = Probed::up();
    server.channel().lag = Some(5.0);
    server.good();
    server.channel().io_running = false;
    server.channel().io_connecting = true;
    server.channel().lag = None;
    for _ in 0..25 {
        server.becomes(State::Up, "");
    }
    server.becomes(State::Lagging, "31 s behind");
}

#[test]
fn with_the_primary_gone_replicas_go_on() {
    let mut server = Probed::up();
    server.surround(false, false);
    server.channel().io_running = false;
    server.channel().io_connecting = true;
    server.channel().lag = None;
    for _ in 0..100 {
        server.becomes(State::Up, "");
    }
    server.channel().io_connecting = false;
    server.becomes(State::Up, "");
    server.surround(false, true);
    assert_eq!(server.health.state(), State::Broken, "the primary is back, and nobody asks it for events");
    server.channel().io_connecting = true;
    server.becomes(State::Broken, "");
    server.becomes(State::Up, "");
}

#[test]
fn a_replica_that_never_connected_is_broken_unless_there_is_no_primary() {
    let mut server = Probed::replica();
    server.channel().io_running = false;
    server.channel().io_connecting = true;
    server.channel().lag = None;
    server.becomes(State::Broken, "not connected");
    let mut server = Probed { health: Health::new(), ..server };
    server.surround(false, false);
    server.becomes(State::Up, "");
}

#[test]
fn a_server_that_replicates_from_none_is_merely_up() {
    let mut server = Probed::new(primary(Flavour::MySql, 1, 50));
    server.becomes(State::Up, "");
}

#[test]
fn the_operator_takes_out_and_lets_in() {
    let mut server = Probed::up();
    let change = server.health.set_drained(true, server.now).unwrap();
    assert_eq!((change.from, change.to), (State::Up, State::Draining));
    assert!(server.health.is_drained() && change.why.contains("undrain"));
    assert_eq!(server.good(), None);
    server.down();
    server.good();
    assert_eq!(server.good(), Some((State::Down, State::Draining)));
    let change = server.health.set_drained(false, server.now).unwrap();
    assert_eq!((change.from, change.to), (State::Draining, State::Up));
}

#[test]
fn a_returning_server_is_warmed_up_slowly() {
    const WARM_UP: Duration = Duration::from_secs(30);
    let mut server = Probed::up();
    assert_eq!(
        server.health.warmth(server.now, WARM_UP),
        1.0,
        "at the start nobody is colder than the others"
    );
    server.down();
    server.channel().lag = Some(1000.0);
    server.good();
    server.becomes(State::Lagging, "");
    server.channel().lag = Some(0.0);
    server.good();
    server.becomes(State::Up, "");
    let after = |seconds| server.health.warmth(server.now + Duration::from_secs(seconds), WARM_UP);
    assert_eq!(after(0), COLD);
    assert_eq!(after(15), 0.5);
    assert_eq!(after(30), 1.0);
    assert_eq!(after(3000), 1.0);
    assert_eq!(server.health.warmth(server.now, Duration::ZERO), 1.0);
}

#[test]
fn connections_outlive_what_does_not_concern_them() {
    let mut server = Probed::up();
    let before = server.health.generation();
    server.bad();
    server.good();
    server.channel().sql_running = false;
    server.good();
    server.report.position = Some(written(Flavour::MariaDb, 1, 60));
    server.report.binlog_position = server.report.position.clone();
    server.good();
    assert_eq!(server.health.generation(), before);
}

#[test]
fn connections_are_void_after_a_fall() {
    let mut server = Probed::up();
    let before = server.health.generation();
    server.down();
    assert_eq!(server.health.generation(), before + 1);
    server.bad();
    assert_eq!(server.health.generation(), before + 1);
}

#[test]
fn connections_are_void_after_a_restart_between_two_probes() {
    for uptime in [0, 1, 2] {
        let mut server = Probed::new(replica(Flavour::MariaDb, 2, 1, 50));
        server.report.uptime_seconds = 1;
        server.good();
        let before = server.health.generation();
        server.now += Duration::from_secs(5);
        server.report.uptime_seconds = uptime;
        server.health.observe(Ok(&server.report), &RULES, server.now);
        assert_eq!(server.health.generation(), before + 1, "uptime {uptime}");
    }
}

#[test]
fn connections_are_void_after_transactions_were_lost() {
    for flavour in FLAVOURS {
        let mut server = Probed::new(replica(flavour, 2, 1, 50));
        server.good();
        let before = server.health.generation();
        server.report.position = Some(written(flavour, 1, 49));
        server.good();
        assert_eq!(server.health.generation(), before + 1);
        server.good();
        assert_eq!(server.health.generation(), before + 1);
    }
}

#[test]
fn connections_outlive_a_primarys_log_that_begins_anew() {
    let mut server = Probed::new(primary(Flavour::MariaDb, 1, 50));
    server.good();
    let before = server.health.generation();
    server.report.binlog_position = Some(written(Flavour::MariaDb, 1, 1));
    server.good();
    assert_eq!(server.health.generation(), before);
}

#[test]
fn another_server_at_the_address_is_a_replacement() {
    let mut server = Probed::up();
    let before = server.health.generation();
    server.report = replica(Flavour::MariaDb, 7, 1, 10);
    assert_eq!(server.good(), None);
    assert_eq!(server.health.generation(), before + 1);
    server.good();
    assert_eq!((server.health.state(), server.health.generation()), (State::Up, before + 1));
}

#[test]
fn an_address_of_several_servers_is_out_until_it_is_one_again() {
    let mut server = Probed::up();
    let other = replica(Flavour::MariaDb, 7, 1, 50);
    let own = std::mem::replace(&mut server.report, other);
    server.good();
    server.report = own;
    assert_eq!(server.good(), Some((State::Up, State::Down)));
    let why = server.health.why();
    assert!(
        why.contains("server_id 2") && why.contains("server_id 7") && why.contains("an entry of its own"),
        "{why}"
    );
    assert!(!server.health.is_reachable());
    for _ in 0..58 {
        server.good();
        assert_eq!(server.health.state(), State::Down);
    }
    server.good();
    server.good();
    server.good();
    assert_eq!(server.health.state(), State::Up);
}

#[test]
fn sessions_notice_several_servers_too() {
    let mut server = Probed::up();
    let before = server.health.generation();
    let own = server.report.identity.clone();
    let other = replica(Flavour::MariaDb, 7, 1, 50).identity;
    assert_eq!(server.health.recognise_connection(&own, server.now), (true, None));
    assert_eq!(server.health.generation(), before);
    assert_eq!(server.health.recognise_connection(&other, server.now), (false, None));
    assert_eq!(server.health.recognise_connection(&other, server.now), (false, None), "a replacement so far");
    assert_eq!(server.health.generation(), before + 1, "the probe's own connection is to be made anew");
    assert_eq!(server.good(), Some((State::Up, State::Down)));
}

#[test]
fn the_last_error_and_report_are_kept() {
    let mut server = Probed::up();
    assert_eq!(server.health.last_error(), None);
    server.down();
    assert_eq!(server.health.last_error(), Some("connection refused"));
    assert_eq!(server.health.report().map(|report| report.server_id()), Some(2));
}

#[test]
fn states_have_their_words() {
    let words: Vec<&str> = State::ALL.iter().map(|state| state.as_str()).collect();
    assert_eq!(words, ["up", "down", "draining", "lagging", "broken"]);
}

type Harm = fn(&mut crate::report::Channel);

/// What comes over a replica that gets no reads then, and would get them without the rule.
const TRAPS: [(Rules, Harm); 4] = [
    (Rules::INTENDED_DELAY, |channel| channel.intended_delay = 60),
    (Rules::BROKEN, |channel| (channel.sql_running, channel.lag) = (false, None)),
    (Rules::BROKEN, |channel| {
        (channel.io_running, channel.io_connecting, channel.lag) = (false, false, None)
    }),
    (Rules::BROKEN, |channel| (channel.io_running, channel.io_connecting, channel.lag) = (false, true, None)),
];

#[test]
fn each_rule_of_who_is_fit_for_reads_that_is_dropped_is_missed() {
    for flavour in FLAVOURS {
        for (number, (rule, harm)) in TRAPS.into_iter().enumerate() {
            for (kept, state) in [(Rules::all(), None), (Rules::all() - rule, Some(State::Up))] {
                let rules = HealthRules { kept, ..RULES };
                let mut server = Probed::new(replica(flavour, 2, 1, 50));
                // Who only tries to connect was never connected: one that was is given time.
                if number < 3 {
                    server.health.observe(Ok(&server.report), &rules, server.now);
                    assert_eq!(server.health.state(), State::Up);
                    server.tick();
                }
                harm(server.channel());
                server.health.observe(Ok(&server.report), &rules, server.now);
                let found = Some(server.health.state()).filter(|state| *state == State::Up);
                assert_eq!(found, state, "trap {number}, {flavour:?}, {kept:?}: {}", server.health.why());
            }
        }
    }
}
