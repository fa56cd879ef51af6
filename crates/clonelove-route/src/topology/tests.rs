use super::*;
use crate::election::Election;
use crate::report::Flavour;
use crate::report::fixture::{FLAVOURS, channel, primary, replica, written};

const WARM_UP: Duration = Duration::from_secs(30);

/// db1 is primary, db2 and db3 replicate from it; all are probed once a second.
struct Cluster {
    flavour: Flavour,
    reports: Vec<Report>,
    up: Vec<bool>,
    lags: Vec<Option<f64>>,
    health: Vec<Health>,
    election: Election,
    topology: Topology,
    now: Duration,
}

const NAMES: [&str; 3] = ["db1", "db2", "db3"];

impl Cluster {
    fn new(flavour: Flavour) -> Self {
        let mut cluster = Cluster {
            flavour,
            reports: vec![primary(flavour, 1, 50), replica(flavour, 2, 1, 50), replica(flavour, 3, 1, 50)],
            up: vec![true; 3],
            lags: vec![None; 3],
            health: vec![Health::new(); 3],
            election: Election::new(),
            topology: Topology::unknown(),
            now: Duration::ZERO,
        };
        cluster.round();
        cluster
    }

    /// One probe of each, the election, and the snapshot: in the order of the prober.
    fn round(&mut self) {
        let rules = HealthRules::default();
        self.now += Duration::from_secs(1);
        for (index, health) in self.health.iter_mut().enumerate() {
            self.reports[index].uptime_seconds += 1;
            let sample = if self.up[index] { Ok(&self.reports[index]) } else { Err("gone") };
            health.observe(sample, &rules, self.now);
        }
        let mut candidates: Vec<Candidate<'_>> =
            members(&self.health, &self.lags).iter().map(Member::candidate).collect();
        let verdict = self.election.hold(&mut candidates);
        for (index, health) in self.health.iter_mut().enumerate() {
            health.surround(surroundings(&verdict, index), &rules, self.now);
        }
        let members = members(&self.health, &self.lags);
        self.topology = self.topology.next(&members, verdict, &rules, WARM_UP, self.now);
    }

    fn rounds(&mut self, count: usize) {
        (0..count).for_each(|_| self.round());
    }

    fn eligible(&self) -> Vec<&str> {
        self.topology.eligible().map(|(_, node)| node.name.as_str()).collect()
    }

    fn roles(&self) -> Vec<Role> {
        self.topology.servers.iter().map(|node| node.role).collect()
    }

    /// db2 serves no reads, and says why.
    fn expect_out(&mut self, word: &str) {
        self.round();
        let (_, node) = self.topology.find("db2").unwrap();
        assert!(!node.eligible && node.why.contains(word), "{} lacks {word}", node.why);
        assert_eq!(self.eligible(), ["db3"]);
    }
}

fn members<'a>(health: &'a [Health], lags: &[Option<f64>]) -> Vec<Member<'a>> {
    let member = |(index, health): (usize, &'a Health)| Member {
        name: NAMES[index],
        host: ["host1", "host2", "host3"][index],
        port: 3306,
        pinned: Pinned::Auto,
        weight: 100,
        zone: "",
        lag: lags[index],
        health,
    };
    health.iter().enumerate().map(member).collect()
}

fn each(test: fn(Cluster)) {
    FLAVOURS.into_iter().for_each(|flavour| test(Cluster::new(flavour)));
}

#[test]
fn nothing_is_known_at_first() {
    let unknown = Topology::default();
    assert!(unknown.servers.is_empty() && unknown.primary.is_none() && unknown.epoch == 0);
}

#[test]
fn a_healthy_cluster() {
    each(|cluster| {
        assert_eq!(cluster.roles(), [Role::Primary, Role::Replica, Role::Replica]);
        assert_eq!(cluster.eligible(), ["db2", "db3"]);
        assert_eq!(cluster.topology.primary_node().map(|node| node.name.as_str()), Some("db1"));
        assert_eq!(cluster.topology.epoch, 1);
        let [db1, db2, _] = cluster.topology.servers.as_slice() else { panic!() };
        assert_eq!((db1.why.as_str(), db2.why.as_str()), ("is the primary", ""));
        assert_eq!(db2.position(), Some(&written(cluster.flavour, 1, 50)));
        assert_eq!((db2.warm, db2.reported_lag), (1.0, Some(0.0)));
    });
}

#[test]
fn broken_lagging_and_unreachable_replicas_serve_no_reads() {
    each(|mut cluster| {
        cluster.reports[1].replication[0].sql_running = false;
        cluster.expect_out("applying");
        cluster.reports[1].replication[0].sql_running = true;
        cluster.rounds(2);
        cluster.reports[1].replication[0].lag = Some(31.0);
        cluster.expect_out("31 s behind");
        cluster.reports[1].replication[0].lag = Some(0.0);
        cluster.rounds(2);
        cluster.lags[1] = Some(40.0);
        cluster.expect_out("40 s behind by its position");
        cluster.lags[1] = None;
        cluster.up[1] = false;
        cluster.rounds(2);
        assert_eq!(cluster.eligible(), ["db2", "db3"], "not declared down yet");
        assert_eq!(cluster.topology.servers[1].position(), None, "but nothing is known of its position");
        cluster.expect_out("gone");
    });
}

#[test]
fn a_drained_replica_serves_no_reads() {
    each(|mut cluster| {
        cluster.health[1].set_drained(true, cluster.now);
        cluster.expect_out("operator");
    });
}

#[test]
fn a_clock_is_compared_with_the_primarys() {
    each(|mut cluster| {
        for report in &mut cluster.reports {
            report.clock_skew = 500.0;
        }
        cluster.round();
        assert_eq!(cluster.eligible(), ["db2", "db3"], "it is our own clock that is wrong");
        cluster.reports[1].clock_skew = 502.0;
        cluster.expect_out("2.0 s ahead");
        cluster.reports[1].clock_skew = 498.5;
        cluster.expect_out("1.5 s behind");
    });
}

#[test]
fn a_replica_of_another_server_serves_no_reads() {
    each(|mut cluster| {
        cluster.reports[1].replication = vec![channel(cluster.flavour, 77)];
        cluster.expect_out("does not replicate from db1");
        cluster.reports[1].replication = vec![channel(cluster.flavour, 3)];
        cluster.round();
        assert_eq!(cluster.eligible(), ["db2", "db3"], "by way of db3 it does");
        cluster.reports[1].replication.clear();
        cluster.expect_out("replicates from no server");
        assert_eq!(cluster.roles()[1], Role::Unknown);
    });
}

#[test]
fn a_replica_of_the_other_flavour_serves_no_reads() {
    let mut cluster = Cluster::new(Flavour::MySql);
    cluster.reports[1] = replica(Flavour::MariaDb, 2, 1, 50);
    cluster.expect_out("is mariadb, the primary is mysql");
}

#[test]
fn a_replica_whose_defaults_cannot_be_made_alike_serves_no_reads() {
    each(|mut cluster| {
        for (report, zone) in cluster.reports.iter_mut().zip(["0,3600", "0,0", "0,3600"]) {
            report.defaults.push(("time_zone".to_owned(), "SYSTEM".to_owned()));
            report.system_zone = zone.to_owned();
        }
        cluster.expect_out("time_zone");
    });
}

#[test]
fn with_the_primary_down_its_replicas_go_on() {
    each(|mut cluster| {
        cluster.up[0] = false;
        for report in cluster.reports.iter_mut().skip(1) {
            report.replication[0].io_running = false;
            report.replication[0].io_connecting = true;
        }
        cluster.reports[1].replication[0].lag = None;
        cluster.rounds(100);
        assert!(matches!(cluster.topology.verdict, Verdict::Gone { last: Some(0), .. }));
        assert_eq!((cluster.topology.primary, cluster.topology.last_primary.as_deref()), (None, Some("db1")));
        assert_eq!(cluster.eligible(), ["db2", "db3"]);
        cluster.up[0] = true;
        cluster.rounds(2);
        assert_eq!((cluster.topology.primary, cluster.topology.epoch), (Some(0), 1), "the same epoch");
    });
}

#[test]
fn an_epoch_begins_with_another_primary() {
    each(|mut cluster| {
        cluster.up[0] = false;
        cluster.rounds(3);
        cluster.reports[1].replication.clear();
        cluster.reports[1].read_only = false;
        cluster.round();
        assert_eq!((cluster.topology.primary, cluster.topology.epoch), (Some(1), 2));
        let (_, db3) = cluster.topology.find("db3").unwrap();
        assert!(!db3.eligible && db3.why.contains("does not replicate from db2"), "{}", db3.why);
        cluster.reports[2].replication = vec![channel(cluster.flavour, 2)];
        cluster.up[0] = true;
        cluster.rounds(3);
        assert_eq!(cluster.eligible(), ["db3"]);
        assert_eq!(cluster.roles(), [Role::Unknown, Role::Primary, Role::Replica]);
        assert_eq!(cluster.topology.epoch, 2);
    });
}

#[test]
fn an_epoch_begins_when_the_primary_lost_transactions() {
    each(|mut cluster| {
        cluster.reports[0].binlog_position = Some(written(cluster.flavour, 1, 51));
        cluster.round();
        assert_eq!(cluster.topology.epoch, 1);
        cluster.reports[0].binlog_position = Some(written(cluster.flavour, 1, 3));
        cluster.round();
        assert_eq!(cluster.topology.epoch, 2);
        cluster.round();
        assert_eq!(cluster.topology.epoch, 2);
    });
}

#[test]
fn a_primary_that_replicates_from_outside_keeps_its_epoch() {
    // MariaDB names the last GTID of a domain in its log: here one from outside, after an own one.
    let mut cluster = Cluster::new(Flavour::MariaDb);
    cluster.reports[0].replication = vec![channel(Flavour::MariaDb, 77)];
    cluster.round();
    let before = cluster.topology.servers[0].identity_generation;
    cluster.reports[0].binlog_position = Some(written(Flavour::MariaDb, 77, 3));
    cluster.round();
    assert_eq!((cluster.topology.epoch, cluster.topology.primary), (1, Some(0)));
    assert_eq!(cluster.topology.servers[0].identity_generation, before);
}

#[test]
fn with_two_primaries_their_replicas_go_on() {
    let mut cluster = Cluster::new(Flavour::MariaDb);
    cluster.up[0] = false;
    for index in [1, 2] {
        cluster.reports[index].replication.clear();
        cluster.reports[index].read_only = false;
    }
    cluster.rounds(3);
    assert!(matches!(cluster.topology.verdict, Verdict::Conflict { a: 1, b: 2, .. }));
    assert_eq!((cluster.topology.primary, cluster.topology.last_primary.as_deref()), (None, Some("db1")));
}

#[test]
fn roles_have_their_words() {
    let words: Vec<&str> = Role::ALL.iter().map(|role| role.as_str()).collect();
    assert_eq!(words, ["primary", "replica", "unknown"]);
}
